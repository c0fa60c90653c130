"""The simulated people: participants, their personal habits, and the styles of movement composed from both."""
