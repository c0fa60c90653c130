"""The development cohort: 320 people of a seed of their own, on whom every choice is made.

Defaults, back ends, thresholds and temperatures are chosen on these people, never on the test participants of a run:
those are read by `evaluate` alone. Apart from seed and size everything is as in the quickstart.

    biomechgpt simulate configs/development.py --workdir runs/development
    biomechgpt tokenizer --workdir runs/quickstart --report --people runs/development/movements
"""

import dataclasses
import runpy
from pathlib import Path

from biomechgpt_jax.config import Experiment

SEED = 1000


def config() -> Experiment:
    quickstart: Experiment = runpy.run_path(str(Path(__file__).with_name("quickstart.py")))["config"]()
    cohort = dataclasses.replace(quickstart.cohort, participants=320, hours=7.8, seed=SEED)
    return dataclasses.replace(quickstart, name="development", cohort=cohort)
