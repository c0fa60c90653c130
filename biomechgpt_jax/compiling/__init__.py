"""Ahead-of-time compilation for absent accelerators: memory, collectives and roofline."""
