"""The sizes hold as many parameters as their names say, and suit matrix units."""

import math
from dataclasses import replace
from pathlib import Path

import jax
import pytest

from biomechgpt_jax import config, overrides
from biomechgpt_jax.model import decoder, flops

SIZES = Path(__file__).parents[2] / "configs" / "sizes.py"
LLAMA_VOCABULARY = 128_256


def count(tree: dict) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize(
    ("size", "parameters"),
    [("1m", 1e6), ("10m", 10e6), ("100m", 100e6), ("300m", 300e6), ("1b", 1e9), ("8b", 7e9)],
)
def test_the_layers_of_a_size_have_its_parameters(size, parameters):
    made = overrides.load(f"{SIZES}:{size}")
    cfg = made.model
    shapes = decoder.abstract(cfg, 1024)
    assert count(shapes["layers"]) == pytest.approx(parameters, rel=0.05)
    assert cfg.model_size % 128 == cfg.hidden_size % 128 == 0
    assert cfg.head_size in (64, 128)
    assert made.pack.row_length % 128 == 0


def test_8b_is_llama_3_8b():
    # 8,030,261,248 parameters: the sum over the published checkpoint's tensors.
    assert count(decoder.abstract(overrides.load(f"{SIZES}:8b").model, LLAMA_VOCABULARY)) == 8_030_261_248


@pytest.mark.parametrize(
    ("name", "parameters"),  # of the published checkpoints: tied tables count once
    [
        ("smollm2", 134_515_008),
        ("gemma3_270m", 268_098_176),
        ("qwen3_0_6b", 596_049_920),
        ("llama3_1b", 1_235_814_400),
        ("llama3_8b", 8_030_261_248),
    ],
)
def test_a_pretrained_configuration_has_the_parameters_of_its_model(name, parameters):
    cfg = overrides.load(SIZES.parent / f"qlora_{name}.py").model
    plain = replace(cfg, base="float32", table="float32", double_scales=False, adapter=config.Adapter(), text_rows=0)
    assert count(decoder.abstract(plain, cfg.text_rows)) == parameters
    shapes = decoder.abstract(cfg, cfg.text_rows + 128)
    layers = shapes["layers"]["block"]
    held = sum(
        leaf.size * leaf.dtype.itemsize
        for part in ("attention", "mlp")
        for matrix in layers[part].values()
        for kind, leaf in matrix.items()
        if kind in ("nf4", "absmax_codes", "absmax_scale", "absmax_offset")
    )
    assert held / flops.matrices(cfg) == pytest.approx(0.516, abs=1e-3)
