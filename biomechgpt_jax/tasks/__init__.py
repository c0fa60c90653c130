"""What can be trained by the engine: the language model and the motion codec."""
