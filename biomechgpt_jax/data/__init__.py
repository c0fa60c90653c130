"""Datasets on disk: movements, splits, labels, importing, and the loader addressed by step."""
