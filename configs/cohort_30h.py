"""Thirty hours of movement: 500 people, every activity and etiology. Minutes on two cores."""

from biomechgpt_jax.config import Cohort, Experiment


def config() -> Experiment:
    return Experiment(name="cohort_30h", cohort=Cohort(participants=500, hours=30.0))
