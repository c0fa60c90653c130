"""The page about the laws that were fitted to a table of runs."""
