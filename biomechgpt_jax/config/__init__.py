"""One experiment as nested frozen dataclasses.

Every field has a plain type so that a dotted override (`--train.steps 100`) can set it. Sizes that follow
from others are properties, never fields: an override cannot leave them stale. Divisibility is checked in
`__post_init__` and refused with `InputError`.
"""

from dataclasses import dataclass, field
from typing import Literal

from biomechgpt_jax.config.adapter import Adapter
from biomechgpt_jax.config.checks import CANONICAL_RATE_HZ, described, require
from biomechgpt_jax.config.cluster import Distributed, Mesh
from biomechgpt_jax.config.cohort import Cohort
from biomechgpt_jax.config.model import Model
from biomechgpt_jax.config.tokens import Pack, Tokenizer
from biomechgpt_jax.config.training import Loop, Optimizer, Train

__all__ = [
    "CANONICAL_RATE_HZ",
    "Adapter",
    "Cohort",
    "Distributed",
    "Evaluation",
    "Experiment",
    "Loop",
    "Mesh",
    "Model",
    "Optimizer",
    "Pack",
    "Tokenizer",
    "Train",
    "described",
]


@dataclass(frozen=True)
class Evaluation:
    """Evaluation on held-out participants."""

    batch_size: int = 32
    bootstrap: int = 1000  # resamples of participants behind each 95 % interval
    # A number is the median of its distribution, with an interval, or what greedy decoding writes, which is faster.
    numbers: Literal["distribution", "greedy"] = "distribution"
    stick_figures: int = 4  # trials drawn in the report
    encoder_steps: int = 400  # training steps of the convolutional control; 0: without it
    bars: Literal["none", "quickstart"] = "none"  # figures that the answers are expected to reach
    seed: int = 0

    def __post_init__(self) -> None:
        require(self.encoder_steps >= 0, f"evaluation.encoder_steps {self.encoder_steps} must be 0 or more")


@dataclass(frozen=True)
class Experiment:
    """Everything that defines a run."""

    name: str = "experiment"
    cohort: Cohort = field(default_factory=Cohort)
    tokenizer: Tokenizer = field(default_factory=Tokenizer)
    pack: Pack = field(default_factory=Pack)
    model: Model = field(default_factory=Model)
    optimizer: Optimizer = field(default_factory=Optimizer)
    train: Train = field(default_factory=Train)
    text_only_steps: int = 150  # training steps of the text-only control
    mesh: Mesh = field(default_factory=Mesh)
    distributed: Distributed = field(default_factory=Distributed)
    evaluation: Evaluation = field(default_factory=Evaluation)
