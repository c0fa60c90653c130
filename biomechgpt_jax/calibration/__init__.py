"""How sure an answer may be: probabilities, sets, intervals and abstention, fitted on a run's validation people."""
