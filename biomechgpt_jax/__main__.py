"""`python -m biomechgpt_jax`: the same as `biomechgpt`."""

from biomechgpt_jax.cli import entry

entry()
