"""A toy pretrained base: random weights of a plain model, held as a configuration says."""

from dataclasses import replace
from typing import Any

import jax
import numpy as np

from biomechgpt_jax import config
from biomechgpt_jax.model import decoder, parameters, quantized

TEXT_ROWS, ROWS, CODES = 40, 64, 40  # pretrained rows, all rows of the table, motion codes
MODEL = config.Model(
    layers=2,
    model_size=64,
    heads=2,
    kv_heads=1,
    head_size=64,
    hidden_size=128,
    text_rows=TEXT_ROWS,
    adapter=config.Adapter(rank=2, alpha=4.0),
)


def plain_of(cfg: config.Model) -> config.Model:
    """The same model without base and adapters."""
    return replace(
        cfg, text_rows=0, base="float32", table="float32", double_scales=False, adapter=config.Adapter(), freeze="base"
    )


def draw(shapes: Any, seed: int = 0) -> Any:
    """A tree of f32 arrays of these shapes: scales of norms about 1, the rest small."""
    random = np.random.default_rng(seed)

    def one(path: tuple[Any, ...], leaf: Any) -> np.ndarray:
        noise = random.standard_normal(leaf.shape).astype(np.float32)
        return 1 + np.float32(0.1) * noise if path[-1].key == "scale" else np.float32(0.125) * noise

    return jax.tree_util.tree_map_with_path(one, shapes)


def weights(cfg: config.Model = MODEL, seed: int = 0) -> dict[str, Any]:
    """All parameters of the plain model with the pretrained rows alone, in f32."""
    return draw(decoder.abstract(plain_of(cfg), cfg.text_rows), seed)


def base(cfg: config.Model = MODEL, seed: int = 0) -> dict[str, Any]:
    """The frozen part of `cfg` that holds `weights`."""
    params = weights(cfg, seed)

    def hold(stack: quantized.Held, contracted: int) -> dict[str, np.ndarray]:
        layers = [quantized.quantize(one, cfg.base, contracted, cfg.double_scales) for one in stack["kernel"]]
        return {name: np.stack([layer[name] for layer in layers]) for name in layers[0]}

    params["layers"] = {"block": quantized.laid_out(params["layers"]["block"], hold)}
    for name in ("embedding", "head"):
        if name in params and cfg.table == "bfloat16":
            params[name] = quantized.to_bits(params[name])
    return parameters.base_of(params, cfg)


def trained(cfg: config.Model = MODEL, motion: decoder.MotionShape | None = None, seed: int = 1) -> dict[str, Any]:
    """The other part, with adapters whose `b` is not 0."""
    shapes = decoder.abstract(cfg, ROWS, motion)
    return draw(_without(shapes, parameters.base_of(shapes, cfg)), seed)


def _without(tree: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
    left = {
        name: _without(value, known.get(name, {})) if isinstance(value, dict) else value
        for name, value in tree.items()
        if isinstance(value, dict) or name not in known
    }
    return {name: value for name, value in left.items() if not (isinstance(value, dict) and not value)}


def merged(params: dict[str, Any], cfg: config.Model) -> dict[str, Any]:
    """The plain model f32 that computes what `params`, base and adapters together, do."""

    def one(held: quantized.Held, contracted: int, layer: int) -> np.ndarray:
        own = {name: np.asarray(array)[layer] for name, array in held.items()}
        kernel = np.asarray(quantized.dequantize(own, np.float32, contracted))
        return kernel + cfg.adapter.scale * np.tensordot(own["a"], own["b"], 1) if "a" in own else kernel

    def stack(held: quantized.Held, contracted: int) -> dict[str, np.ndarray]:
        return {"kernel": np.stack([one(held, contracted, layer) for layer in range(cfg.layers)])}

    whole = {name: value for name, value in params.items() if name not in ("rows", "head_rows", "layers")}
    whole["layers"] = {"block": quantized.laid_out(params["layers"]["block"], stack)}
    table = np.asarray(quantized.widen(np.asarray(params["embedding"]), np.float32))
    whole["embedding"] = np.concatenate([table, params["rows"]])
    if "head" in params:
        head = np.asarray(quantized.widen(np.asarray(params["head"]), np.float32))
        whole["head"] = np.concatenate([head, params["head_rows"]], axis=1)
    return whole
