"""The activities of the protocol, one builder per family of movements."""
