"""Measure how faithfully a motion codec preserves a movement."""
