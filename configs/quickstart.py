"""The quickstart: the whole program in 15 minutes on two cores, without a GPU."""

from biomechgpt_jax.config import Experiment


def config() -> Experiment:
    return Experiment(name="quickstart")
