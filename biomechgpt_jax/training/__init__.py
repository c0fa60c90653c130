"""The training step, its loss and optimizer, checkpoints, metrics, and the loop that ties them."""
