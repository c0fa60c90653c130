"""Datasets on disk: movements, packed sequences, and the loader."""
