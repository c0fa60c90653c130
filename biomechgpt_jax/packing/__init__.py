"""Crops of trials, the questions that a crop can answer, and rows of fixed length."""
