"""biomechgpt_jax: a language model that answers clinical questions about human movement."""

__version__ = "0.1.0"
