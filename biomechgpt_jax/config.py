"""One experiment as nested frozen dataclasses.

Every field has a plain type so that a dotted override (`--train.steps 100`) can set it. Sizes that follow
from others are properties, never fields: an override cannot leave them stale. Divisibility is checked in
`__post_init__` and refused with `InputError`.
"""

import math
from dataclasses import dataclass, field
from typing import Literal

from biomechgpt_jax.errors import InputError

CANONICAL_RATE_HZ = 30.0


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise InputError(message)


def _require_at_least(least: int, section: str, values: object, *names: str) -> None:
    for name in names:
        value = getattr(values, name)
        _require(value >= least, f"{section}.{name} is {value}; give {f'at least {least}' if least else '0 or more'}")


def _is_positive(word: str) -> bool:
    try:
        return 0 < float(word) < math.inf
    except ValueError:
        return False


@dataclass(frozen=True)
class Cohort:
    """The synthetic clinical cohort."""

    participants: int = 256
    hours: float = 6.2  # trials are added per participant until the cohort lasts at least this long
    seed: int = 0
    noise: Literal["none", "markerless"] = "markerless"
    activities: tuple[str, ...] = ()  # keys of the protocol to perform; empty: the whole protocol
    etiologies: tuple[str, ...] = ()  # beside healthy; empty: all
    # Sizes of markerless noise (see cohort/artefacts.py)
    joint_error_deg: float = 2.9  # root mean square, offset, drift and jitter together
    pelvis_drift_m: float = 0.010
    dropouts_per_minute: float = 1.0
    edge_glitches: float = 0.05  # share of trial ends with a filter's kick
    masked: float = 0.10  # probability that forearm, toe, subtalar or arm rotation is not reported

    def __post_init__(self) -> None:
        _require(self.participants >= 1, f"cohort.participants is {self.participants}; give at least 1")
        _require(self.hours > 0, f"cohort.hours is {self.hours}; give a positive number")
        _require_at_least(0, "cohort", self, "joint_error_deg", "pelvis_drift_m", "dropouts_per_minute")
        for name in ("edge_glitches", "masked"):
            _require(0 <= getattr(self, name) <= 1, f"cohort.{name} is {getattr(self, name)}; give a share of 0 to 1")


@dataclass(frozen=True)
class Tokenizer:
    """The motion codec (a 1-D convolutional VQ-VAE) and the text tokenizer."""

    quantizer: Literal["fsq", "vq", "dct"] = "fsq"
    # FSQ: one string per code of a token, the levels of the code's dimensions; the number of codes is their product.
    levels: tuple[str, ...] = ("8x5x5x5",) * 6
    # VQ: codes of a token, each of what the ones before left over. DCT: of a token, that follow one another.
    codebooks: int = 1
    layer_dropout: float = 0.2  # share of training windows whose last layers are left out, so that the first hold most
    codebook_size: int = 512  # VQ and DCT
    code_size: int = 64  # VQ only: size of a code vector
    ema_decay: float = 0.99  # VQ only
    commitment_weight: float = 0.25  # VQ only
    reset_below: float = 0.03  # VQ only: a code used less than this (EMA count per batch) is reset
    dct_frames: int = 120  # DCT only: frames of a block
    dct_rate: float = 10.0  # DCT only: tokens a second of training movement, on average, that may not be passed
    dct_step: float = 0.0  # DCT only: step of the spectra in units of codec/loss.py; 0: as fine as the rate allows
    width: int = 128
    depth: int = 2  # residual blocks per resolution
    stride: int = 4
    window_frames: int = 64
    batch_size: int = 32
    steps: int = 1200
    learning_rate: float = 1e-3
    velocity_weight: float = 0.5
    path_weight: float = 0.1
    foot_weight: float = 0.2
    denoise: bool = True  # give back the movement without measurement noise, where the data set knows it; not DCT
    varied: float = 0.0  # share of training windows whose joints are shifted and move more or less; not DCT
    text_pieces: int = 512
    seed: int = 0

    def __post_init__(self) -> None:
        _require(
            self.stride >= 1 and self.stride & (self.stride - 1) == 0,
            f"tokenizer.stride is {self.stride}; give a power of two",
        )
        _require(
            self.window_frames % self.stride == 0,
            f"tokenizer.window_frames {self.window_frames} is not a multiple of tokenizer.stride {self.stride}",
        )
        _require(2 <= self.dct_frames <= 512, f"tokenizer.dct_frames is {self.dct_frames}; give 2 to 512")
        _require(self.dct_rate > 0, f"tokenizer.dct_rate is {self.dct_rate}; give a positive number")
        _require(self.dct_step >= 0, f"tokenizer.dct_step is {self.dct_step}; give 0 or more")
        _require(
            self.quantizer != "dct" or 64 <= self.codebook_size <= 65_536,
            f"tokenizer.codebook_size is {self.codebook_size}; DCT needs 64 to 65536",
        )
        for one in self.levels:
            sizes = one.split("x")
            known = all(size.isdecimal() and int(size) >= 2 for size in sizes)
            _require(known, f'tokenizer.levels has "{one}"; give whole numbers from 2 joined by x, such as "8x5x5x5"')
        _require(len(self.levels) > 0, 'tokenizer.levels is empty; give one string per code, such as "8x5x5x5"')
        products = sorted({math.prod(levels) for levels in self.grid})
        _require(len(products) == 1, f"tokenizer.levels gives layers of {products} codes; each must have as many")
        _require(1 <= self.codebooks <= 32, f"tokenizer.codebooks is {self.codebooks}; give 1 to 32")
        _require(0 <= self.varied <= 1, f"tokenizer.varied is {self.varied}; give a share of 0 to 1")
        _require(
            0 <= self.layer_dropout <= 1, f"tokenizer.layer_dropout is {self.layer_dropout}; give a share of 0 to 1"
        )

    @property
    def grid(self) -> tuple[tuple[int, ...], ...]:
        """FSQ's levels as numbers: of each layer, those of its dimensions."""
        return tuple(tuple(map(int, one.split("x"))) for one in self.levels)

    @property
    def granularity(self) -> int:
        """The codec keeps a multiple of so many frames: those of a token; with DCT all of them."""
        return 1 if self.quantizer == "dct" else self.stride

    @property
    def frames_per_token(self) -> float:
        """Frames of movement that a token stands for; with DCT where much happens, which takes half as many again."""
        return CANONICAL_RATE_HZ / (1.5 * self.dct_rate) if self.quantizer == "dct" else self.stride

    @property
    def layers(self) -> int:
        """Codes of a token."""
        return len(self.levels) if self.quantizer == "fsq" else self.codebooks

    @property
    def codes(self) -> int:
        """Number of motion codes of a layer."""
        return math.prod(self.grid[0]) if self.quantizer == "fsq" else self.codebook_size


@dataclass(frozen=True)
class Pack:
    """Crops, questions and fixed rows."""

    row_length: int = 384
    crops_per_trial: int = 9  # training crops drawn from each trial
    questions_per_crop: int = 8  # at most; drawn at random from those the crop supports
    shortest_crop_s: float = 1.2
    longest_crop_s: float = 32.0
    mirror_probability: float = 0.5
    mask_probability: float = 0.5  # probability that a crop hides coordinates real files lack
    seed: int = 0

    def __post_init__(self) -> None:
        _require(self.row_length >= 64, f"pack.row_length is {self.row_length}; give at least 64")
        _require(
            0 < self.shortest_crop_s <= self.longest_crop_s,
            f"pack.shortest_crop_s {self.shortest_crop_s} must be positive and <= pack.longest_crop_s",
        )


@dataclass(frozen=True)
class Model:
    """The decoder. One module covers the Llama 3, Qwen 3 and Gemma 3 families by these fields."""

    layers: int = 4
    model_size: int = 128  # D
    heads: int = 4  # H
    kv_heads: int = 2
    head_size: int = 32  # K
    hidden_size: int = 384  # F
    activation: Literal["silu", "gelu"] = "silu"
    qk_norm: bool = True
    post_norms: bool = False  # Gemma: the outputs of attention and MLP are normed as well
    unit_norms: bool = False  # Gemma: norms multiply by 1 + scale, so that a scale of 0 changes nothing
    tied_embeddings: bool = True
    scale_embeddings: bool = False  # Gemma: embeddings times sqrt(D)
    query_size: float = 0.0  # scores are divided by its square root; 0: the head size
    rope_theta: float = 10_000.0
    rope_scaling: Literal["none", "linear", "llama3"] = "none"  # of the layers that see everything
    rope_factor: float = 8.0  # positions are slowed down by this; llama3: only the slow frequencies
    rope_low: float = 1.0  # llama3: turns within rope_length below which a frequency is slow ...
    rope_high: float = 4.0  # ... and above which it is left as it is
    rope_length: int = 8192
    window: int = 0  # sliding window in positions; 0 is off
    global_every: int = 0  # of so many layers the last one sees everything (Gemma 3: 6); 0: the window is for all
    local_rope_theta: float = 0.0  # of the layers with a window where others have none; 0: rope_theta
    attention_soft_cap: float = 0.0  # of the scores (Gemma 2); 0 is off
    logit_soft_cap: float = 0.0  # 0 is off
    norm_epsilon: float = 1e-6
    attention: Literal["auto", "reference", "blockwise", "splash", "cudnn"] = "auto"
    remat: Literal["none", "dots", "full"] = "dots"
    compute_dtype: Literal["auto", "float32", "bfloat16"] = "auto"  # auto: float32 on CPU, bfloat16 elsewhere

    def __post_init__(self) -> None:
        _require(
            self.heads % self.kv_heads == 0,
            f"model.heads {self.heads} is not a multiple of model.kv_heads {self.kv_heads}",
        )
        _require(self.head_size % 2 == 0, f"model.head_size {self.head_size} must be even for rotary positions")
        _require_at_least(0, "model", self, "window", "global_every", "query_size", "local_rope_theta")
        _require_at_least(0, "model", self, "attention_soft_cap", "logit_soft_cap")
        _require(
            self.rope_low < self.rope_high,
            f"model.rope_low is {self.rope_low}; give less than model.rope_high {self.rope_high}",
        )

    @property
    def windows(self) -> tuple[int, ...]:
        """Of each kind of layer, how many positions a query looks back; 0: all. Kind 1 exists where layers differ."""
        return (0, self.window) if self.window and self.global_every else (self.window,)

    @property
    def kinds(self) -> tuple[int, ...]:
        """Of each layer, its kind."""
        local = len(self.windows) - 1
        return tuple(local if self.global_every and (i + 1) % self.global_every else 0 for i in range(self.layers))

    @property
    def score_scale(self) -> float:
        """What products of queries and keys are multiplied by."""
        return (self.query_size or self.head_size) ** -0.5


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

    def __post_init__(self) -> None:
        _require_at_least(0, "optimizer", self, "warmup_steps")
        _require(
            0 <= self.warmup_fraction < 1,
            f"optimizer.warmup_fraction is {self.warmup_fraction}; give a share of 0 to below 1",
        )
        _require(
            0 < self.decay_fraction <= 1, f"optimizer.decay_fraction is {self.decay_fraction}; give a share over 0 to 1"
        )
        _require(0 <= self.muon_momentum < 1, f"optimizer.muon_momentum is {self.muon_momentum}; give a share below 1")


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
        _require_at_least(1, "train", self, "log_every", "checkpoint_every", "keep_last", "profile_steps")
        _require_at_least(0, "train", self, "validate_every", "keep_every", "skip_limit", "profile_from")
        _require(self.spike_factor > 1, f"train.spike_factor is {self.spike_factor}; give a number above 1")


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

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_at_least(1, "train", self, "steps", "batch_size", "validation_rows", "accumulation", "loss_chunk")
        _require_at_least(0, "train", self, "answer_weight", "question_weight", "motion_weight", "z_loss")
        _require(
            self.answer_weight + self.question_weight + self.motion_weight > 0,
            "train.answer_weight, train.question_weight and train.motion_weight are all 0; nothing would be trained",
        )
        _require(
            self.batch_size % self.accumulation == 0,
            f"train.batch_size {self.batch_size} is not a multiple of train.accumulation {self.accumulation}",
        )
        for entry in self.mixture:
            directory, _, weight = entry.rpartition("=")
            _require(
                directory != "" and _is_positive(weight),
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


@dataclass(frozen=True)
class Mesh:
    """Sizes of the mesh axes; -1 once: whatever devices are left."""

    replica: int = 1
    data: int = -1
    fsdp: int = 1
    sequence: int = 1
    tensor: int = 1


@dataclass(frozen=True)
class Distributed:
    """Several processes as one run. A field at its default takes BIOMECHGPT_<FIELD> of the environment, where set."""

    coordinator: str = ""  # host:port of process 0; empty: found from the cluster, or a single process
    processes: int = 0  # 0: as the cluster says
    process_id: int = -1  # -1: as the cluster says
    start_timeout_s: int = 300  # until the coordinator is reached and all have come
    heartbeat_timeout_s: int = 100  # a process silent for so long is lost, which ends the others (134)
    shutdown_timeout_s: int = 300
    barrier_timeout_s: int = 300  # at the checks of the start and where processes meet between stages
    stall_s: float = 45.0  # without a finished step: the host that is behind is named and dumps its stacks
    first_step_stall_s: float = 900.0  # the same for the first steps, which compile

    def __post_init__(self) -> None:
        timeouts = ("start_timeout_s", "heartbeat_timeout_s", "shutdown_timeout_s", "barrier_timeout_s")
        _require_at_least(1, "distributed", self, *timeouts)
        for name in ("stall_s", "first_step_stall_s"):
            _require(getattr(self, name) > 0, f"distributed.{name} is {getattr(self, name)}; give a positive number")
        _require_at_least(0, "distributed", self, "processes")
        port = self.coordinator.rpartition(":")[2]
        _require(
            not self.coordinator or (":" in self.coordinator and port.isdecimal()),
            f'distributed.coordinator is "{self.coordinator}"; give host:port, such as "node1:8476"',
        )


@dataclass(frozen=True)
class Evaluation:
    """Evaluation on held-out participants."""

    batch_size: int = 32
    bootstrap: int = 1000  # resamples of participants behind each 95 % interval
    stick_figures: int = 4  # trials drawn in the report
    bars: Literal["none", "quickstart"] = "none"  # figures that the answers are expected to reach
    seed: int = 0


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
