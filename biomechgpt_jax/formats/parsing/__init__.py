"""What readers of text files share: decoding, columns, times."""
