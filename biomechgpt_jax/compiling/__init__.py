"""Compilation ahead of time for absent accelerators: memory, collectives and roofline."""
