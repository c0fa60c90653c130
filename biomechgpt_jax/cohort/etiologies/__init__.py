"""How each etiology changes a movement, by published recipes."""
