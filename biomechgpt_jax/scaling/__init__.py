"""Scaling laws: tables of runs, fits with their uncertainty, forecasts that are stored and judged. NumPy and SciPy "
"only."""
