"""Ahead-of-time compilation for absent accelerators: memory, collectives, roofline; the cache of programs on disk."""
