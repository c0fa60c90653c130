"""Motion codec, text tokenizer and the vocabulary that joins them."""
