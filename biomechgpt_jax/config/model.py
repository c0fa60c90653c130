"""The decoder."""

from dataclasses import dataclass
from typing import Literal

from biomechgpt_jax.config.adapter import Adapter
from biomechgpt_jax.config.checks import later, require

BLOCK = 64  # inputs of a matrix that share a scale in 4 bits; two of them share a byte


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
    motion_context: int = 5  # motion tokens, itself and those before it, that a token's embedding is made from; 0: one
    motion_statistics: int = 0  # hidden size of the map of a trunk's mean and standard deviation; 0: without
    attention: Literal["auto", "reference", "blockwise", "splash", "cudnn"] = "auto"
    remat: Literal["none", "dots", "full"] = "dots"
    compute_dtype: Literal["auto", "float32", "bfloat16"] = "auto"  # auto: float32 on CPU, bfloat16 elsewhere
    # A model that training starts from. Its folder (config.json, safetensors) fills in the fields above.
    pretrained: str = later("")
    random_weights: bool = later(False)  # the folder's sizes and tokenizer, and weights from scratch
    text_rows: int = later(0)  # rows of the pretrained table, below those that are added for our own tokens; 0: none
    base: Literal["float32", "bfloat16", "int8", "nf4"] = later("float32")  # how the layers' frozen matrices are held
    table: Literal["float32", "bfloat16"] = later("float32")  # how the frozen embedding and head are held
    double_scales: bool = later(False)  # nf4: the scales are quantised as well
    freeze: Literal["base", "nothing"] = later("base")  # nothing: all weights are trained from the pretrained ones on
    train_text_rows: bool = later(False)  # train the pretrained rows of embedding and head too
    adapter: Adapter = later(Adapter())  # noqa: RUF009  # it is frozen

    def __post_init__(self) -> None:
        require(
            self.heads % self.kv_heads == 0,
            f"model.heads {self.heads} is not a multiple of model.kv_heads {self.kv_heads}",
        )
        require(self.head_size % 2 == 0, f"model.head_size {self.head_size} must be even for rotary positions")
        for name in (
            "motion_context",
            "motion_statistics",
            "window",
            "global_every",
            "query_size",
            "local_rope_theta",
            "attention_soft_cap",
            "logit_soft_cap",
        ):
            require(getattr(self, name) >= 0, f"model.{name} is {getattr(self, name)}; give 0 or more")
        require(
            self.rope_low < self.rope_high,
            f"model.rope_low is {self.rope_low}; give less than model.rope_high {self.rope_high}",
        )
        self._check_base()

    def _check_base(self) -> None:
        """Refuse settings of a pretrained base that contradict one another."""
        require(self.text_rows >= 0, f"model.text_rows is {self.text_rows}; give 0 or more")
        only = {  # settings that only a frozen base can have, where they are given
            f"model.base {self.base}": self.base != "float32",
            f"model.table {self.table}": self.table != "float32",
            f"model.adapter.rank {self.adapter.rank}": self.adapter.rank > 0,
        }
        given = next((name for name, is_given in only.items() if is_given), None)
        if given is not None:
            has_base = bool(self.pretrained or self.text_rows)
            require(has_base, f"{given} needs a pretrained model; give --model.pretrained DIR")
            require(not self.random_weights, f"{given} needs pretrained weights; leave it out or model.random_weights")
            require(self.freeze == "base", f'{given} needs a frozen base, and model.freeze is "nothing"; leave one out')
        require(
            self.base == "nf4" or not self.double_scales,
            f"model.double_scales is for model.base nf4, and this is {self.base}; leave it out",
        )
        require(
            self.table == "float32" or not self.train_text_rows,
            f"model.train_text_rows trains the table, and model.table is {self.table}; give model.table float32",
        )
        if self.base == "nf4" and self.text_rows:
            for name in ("model_size", "head_size", "hidden_size"):
                size = getattr(self, name)
                require(
                    size % BLOCK == 0,
                    f"model.base nf4 has blocks of {BLOCK} inputs, which do not divide model.{name} {size}; "
                    "give model.base int8",
                )

    @property
    def has_base(self) -> bool:
        """Whether the weights are those of a pretrained model, with rows for our own tokens beside its table."""
        return self.text_rows > 0 and not self.random_weights

    @property
    def table_is_frozen(self) -> bool:
        """Whether the pretrained rows of embedding and head are not trained."""
        return self.has_base and self.freeze == "base" and not self.train_text_rows

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
