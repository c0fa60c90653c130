"""A thousand hours of movement: 10,000 people, every activity and etiology; made to be written by many workers."""

from biomechgpt_jax.config import Cohort, Experiment


def config() -> Experiment:
    return Experiment(name="cohort_1000h", cohort=Cohort(participants=10_000, hours=1000.0))
