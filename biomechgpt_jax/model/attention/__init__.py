"""Attention under the trunk-and-branches mask, by several kernels."""
