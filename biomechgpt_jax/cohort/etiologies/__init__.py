"""How each etiology changes movement, following published findings."""
