"""Evaluation on held-out participants: metrics with intervals, controls and bars."""
