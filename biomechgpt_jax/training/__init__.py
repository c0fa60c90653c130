"""The training engine: step, loss, optimizer, checkpoints, metrics, and the loop that ties them."""
