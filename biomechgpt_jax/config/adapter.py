"""Low-rank adapters of the decoder's matrices."""

from dataclasses import dataclass

from biomechgpt_jax.config.checks import require

LINEAR = ("query", "key", "value", "output", "gate", "up", "down")  # the matrices of a layer


@dataclass(frozen=True)
class Adapter:
    """Low-rank updates of frozen matrices (LoRA, Hu et al. 2021, arXiv 2106.09685)."""

    rank: int = 0  # 0: no adapters
    alpha: float = 16.0  # the update is scaled by alpha / rank ...
    rank_stabilised: bool = False  # ... or by alpha / sqrt(rank) (Kalajdzievski 2023, arXiv 2312.03732)
    dropout: float = 0.0  # share of an adapter's inputs that a training step leaves out
    on: tuple[str, ...] = LINEAR

    def __post_init__(self) -> None:
        require(self.rank >= 0, f"model.adapter.rank is {self.rank}; give 0 or more")
        require(self.alpha > 0, f"model.adapter.alpha is {self.alpha}; give a positive number")
        require(0 <= self.dropout < 1, f"model.adapter.dropout is {self.dropout}; give a share of 0 to below 1")
        if unknown := [name for name in self.on if name not in LINEAR]:
            require(False, f'model.adapter.on has "{unknown[0]}"; give some of {", ".join(LINEAR)}')
        require(len(set(self.on)) == len(self.on), "model.adapter.on names a matrix twice; leave one of them out")
        require(
            len(self.on) > 0 or self.rank == 0,
            f"model.adapter.on is empty, and model.adapter.rank is {self.rank}; give some of {', '.join(LINEAR)}",
        )

    @property
    def scale(self) -> float:
        """What the product of an adapter's two matrices is multiplied by."""
        return self.alpha / (self.rank**0.5 if self.rank_stabilised else self.rank)
