"""Evaluation on held-out participants: metrics, controls, predictions, report."""
