"""How faithfully a motion codec keeps a movement."""
