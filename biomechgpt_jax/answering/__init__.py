"""Questions put to a model about a movement, and the predictions that come back."""
