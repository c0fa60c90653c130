"""The decoder language model: layers, attention, the functional core, generation."""
