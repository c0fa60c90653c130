"""Pretrained language models: the names of their weights."""
