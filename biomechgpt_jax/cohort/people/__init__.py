"""Who is simulated: participants, their personal habits, and the styles of movement that those compose."""
