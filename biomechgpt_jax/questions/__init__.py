"""What can be asked about a movement: phrasings, answers, and which crop supports which truth."""
