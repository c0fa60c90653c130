"""How a model is trained."""

from dataclasses import dataclass
from typing import Literal

from biomechgpt_jax.config.checks import is_positive, later, require


@dataclass(frozen=True)
class Optimizer:
    """AdamW, or Muon for the matrices of the layers, with warm-up and decay."""

    kind: Literal["adamw", "muon"] = "adamw"
    peak_learning_rate: float = 2e-3  # Muon's steps are scaled to the size of AdamW's: the same rate serves both
    final_fraction: float = 0.05  # of the peak, reached at the last step
    warmup_steps: int = 50  # of the warm-up, which takes at most half of a run
    warmup_fraction: float = 0.0  # the warm-up as a share of the steps, instead of warmup_steps; 0: off
    # wsd: warm-up, stable, decay. It holds the peak until the last decay_fraction of the steps. Before these begin, a
    # run may be resumed with another number of steps, unless warmup_fraction makes the warm-up depend on it.
    schedule: Literal["cosine", "linear", "wsd"] = "cosine"
    decay_fraction: float = 0.2  # wsd only
    b1: float = 0.9
    b2: float = 0.98
    muon_momentum: float = 0.95
    weight_decay: float = 0.05
    clip_norm: float = 1.0
    adapter_rate: float = later(1.0)  # the learning rate of adapters as a multiple of that of the rest ...
    row_rate: float = later(1.0)  # ... and that of the rows that are added to a pretrained table

    def __post_init__(self) -> None:
        require(self.warmup_steps >= 0, f"optimizer.warmup_steps is {self.warmup_steps}; give 0 or more")
        require(
            0 <= self.warmup_fraction < 1,
            f"optimizer.warmup_fraction is {self.warmup_fraction}; give a share of 0 to below 1",
        )
        require(
            0 < self.decay_fraction <= 1, f"optimizer.decay_fraction is {self.decay_fraction}; give a share over 0 to 1"
        )
        for name in ("adapter_rate", "row_rate"):
            require(getattr(self, name) > 0, f"optimizer.{name} is {getattr(self, name)}; give a positive number")
        require(0 <= self.muon_momentum < 1, f"optimizer.muon_momentum is {self.muon_momentum}; give a share below 1")


@dataclass(frozen=True)
class Loop:
    """How any training run is logged, saved and guarded: the language model, its text-only control, and the codec.

    Nothing here is part of a digest or an identity: all of it may change when a run is resumed.
    """

    log_every: int = 10
    checkpoint_every: int = 200
    validate_every: int = 0  # steps between losses on held-out rows; 0: with every checkpoint
    keep_last: int = 2  # newest checkpoints that are kept
    keep_every: int = 0  # also keep the checkpoints of every so many steps; 0: none
    skip_limit: int = 50  # stop after this many steps skipped for a NaN or a spike
    spike_factor: float = 20.0  # skip a step whose gradient norm exceeds this multiple of its running mean
    wandb: str = ""  # project of Weights & Biases that the metrics go to as well (extra `wandb`)
    profile_from: int = 0  # first step that jax.profiler traces, into `profile` beside metrics.jsonl; 0: none
    profile_steps: int = 5

    def __post_init__(self) -> None:
        for name in ("log_every", "checkpoint_every", "keep_last", "profile_steps"):
            require(getattr(self, name) >= 1, f"train.{name} is {getattr(self, name)}; give at least 1")
        for name in ("validate_every", "keep_every", "skip_limit", "profile_from"):
            require(getattr(self, name) >= 0, f"train.{name} is {getattr(self, name)}; give 0 or more")
        require(self.spike_factor > 1, f"train.spike_factor is {self.spike_factor}; give a number above 1")


@dataclass(frozen=True)
class Train(Loop):
    """Training of the language model."""

    steps: int = 700
    batch_size: int = 8  # rows of the global batch
    validation_rows: int = 64  # the first rows of the validation split, whose loss is logged; the same every time
    # Further packed datasets, "directory=weight" each; the weight is relative to that of the experiment's own, 1.
    mixture: tuple[str, ...] = ()
    accumulation: int = 1  # parts of the global batch whose gradients are computed one after another, to save memory
    loss_chunk: int = 1024  # tokens per chunk of the cross-entropy, inside each device's shard; fewer over 8,192 ids
    # The weight of a token in the loss, by its kind. Movement is worth training on if it is to be generated.
    answer_weight: float = 1.0
    question_weight: float = 0.0
    motion_weight: float = 0.0  # above 0 the softmax runs over motion codes too
    z_loss: float = 0.0  # factor of the squared log of the softmax's normaliser in the loss (1e-4 if logits drift)
    seed: int = 0
    start_from: str = later("")  # working directory or adapter folder whose trained weights are the first ones

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("steps", "batch_size", "validation_rows", "accumulation", "loss_chunk"):
            require(getattr(self, name) >= 1, f"train.{name} is {getattr(self, name)}; give at least 1")
        for name in ("answer_weight", "question_weight", "motion_weight", "z_loss"):
            require(getattr(self, name) >= 0, f"train.{name} is {getattr(self, name)}; give 0 or more")
        require(
            self.answer_weight + self.question_weight + self.motion_weight > 0,
            "train.answer_weight, train.question_weight and train.motion_weight are all 0; nothing would be trained",
        )
        require(
            self.batch_size % self.accumulation == 0,
            f"train.batch_size {self.batch_size} is not a multiple of train.accumulation {self.accumulation}",
        )
        for entry in self.mixture:
            directory, _, weight = entry.rpartition("=")
            require(
                directory != "" and is_positive(weight),
                f'train.mixture has "{entry}"; give a directory of packed rows and its weight, such as "DIR=0.5"',
            )

    @property
    def mixed(self) -> tuple[tuple[str, float], ...]:
        """Directory and weight of each further dataset of the mixture."""
        entries = (entry.rpartition("=") for entry in self.mixture)
        return tuple((directory, float(weight)) for directory, _, weight in entries)

    @property
    def teaches(self) -> dict[str, float]:
        """Settings that change what the model learns, so that a resume may not change them."""
        names = ("seed", "batch_size", "answer_weight", "question_weight", "motion_weight", "z_loss")
        return {name: getattr(self, name) for name in names}
