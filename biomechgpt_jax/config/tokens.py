"""What a movement becomes before a model sees it: motion tokens, crops and rows."""

import math
from dataclasses import dataclass
from typing import Literal

from biomechgpt_jax.config.checks import CANONICAL_RATE_HZ, later, require


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
    chat_template: bool = later(False)  # put questions as the pretrained model's chat template does

    def __post_init__(self) -> None:
        require(
            self.stride >= 1 and self.stride & (self.stride - 1) == 0,
            f"tokenizer.stride is {self.stride}; give a power of two",
        )
        require(
            self.window_frames % self.stride == 0,
            f"tokenizer.window_frames {self.window_frames} is not a multiple of tokenizer.stride {self.stride}",
        )
        require(2 <= self.dct_frames <= 512, f"tokenizer.dct_frames is {self.dct_frames}; give 2 to 512")
        require(self.dct_rate > 0, f"tokenizer.dct_rate is {self.dct_rate}; give a positive number")
        require(self.dct_step >= 0, f"tokenizer.dct_step is {self.dct_step}; give 0 or more")
        require(
            self.quantizer != "dct" or 64 <= self.codebook_size <= 65_536,
            f"tokenizer.codebook_size is {self.codebook_size}; DCT needs 64 to 65536",
        )
        for one in self.levels:
            sizes = one.split("x")
            known = all(size.isdecimal() and int(size) >= 2 for size in sizes)
            require(known, f'tokenizer.levels has "{one}"; give whole numbers from 2 joined by x, such as "8x5x5x5"')
        require(len(self.levels) > 0, 'tokenizer.levels is empty; give one string per code, such as "8x5x5x5"')
        products = sorted({math.prod(levels) for levels in self.grid})
        require(len(products) == 1, f"tokenizer.levels gives layers of {products} codes; each must have as many")
        require(1 <= self.codebooks <= 32, f"tokenizer.codebooks is {self.codebooks}; give 1 to 32")
        require(0 <= self.varied <= 1, f"tokenizer.varied is {self.varied}; give a share of 0 to 1")
        require(
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
    systems: float = 0.0  # share of training crops seen through a random measurement system (packing/strangers.py)
    children: float = 0.0  # share of training crops of walking, standing and squatting performed by a child's body
    seed: int = 0

    def __post_init__(self) -> None:
        for name, share in (("systems", self.systems), ("children", self.children)):
            require(0 <= share <= 1, f"pack.{name} is {share}; give a share of 0 to 1")
        require(self.row_length >= 64, f"pack.row_length is {self.row_length}; give at least 64")
        require(
            0 < self.shortest_crop_s <= self.longest_crop_s,
            f"pack.shortest_crop_s {self.shortest_crop_s} must be positive and <= pack.longest_crop_s",
        )
