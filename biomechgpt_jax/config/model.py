"""The decoder."""

from dataclasses import dataclass
from typing import Literal

from biomechgpt_jax.config.checks import require


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
