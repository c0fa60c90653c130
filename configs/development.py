"""The development cohort: 320 people of a seed of their own, on whom every choice is made.

Defaults, back ends, thresholds and temperatures are chosen on these people, never on the test participants of a run:
those are read by `evaluate` alone. They perform all activities of the quickstart, or those of another configuration of
this folder: `configs/development.py:answers`.

    biomechgpt simulate configs/development.py --workdir runs/development
    biomechgpt tokenizer --workdir runs/quickstart --report --people runs/development/movements
    biomechgpt evaluate --workdir runs/quickstart --people runs/development/movements
"""

import dataclasses
import runpy
from pathlib import Path

from biomechgpt_jax.config import Experiment

SEED = 1000
PARTICIPANTS = 320


def config(of: str = "quickstart") -> Experiment:
    made: Experiment = runpy.run_path(str(Path(__file__).with_name(f"{of}.py")))["config"]()
    # Hours are a lower bound: everybody performs each activity once.
    cohort = dataclasses.replace(made.cohort, participants=PARTICIPANTS, hours=7.8, activities_per_person=0, seed=SEED)
    return dataclasses.replace(made, name=f"development_{of}", cohort=cohort)
