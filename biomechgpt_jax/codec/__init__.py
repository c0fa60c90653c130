"""The motion codec: trajectories to discrete codes and back, behind one interface for every back end."""
