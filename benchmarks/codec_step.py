"""One training step of the codec's base network against the same network in PyTorch on the same processor.

    python benchmarks/codec_step.py [--repeats 9] [--quick] [--json]

The network is that of codec/network.py at width 512, depth 3 and stride 8, on 16 windows of 128 frames: forward,
smooth L1, backward and AdamW, in float32. PyTorch gets the parameters of the JAX network in its own layout (NCW), and
the outputs are compared before anything is timed. Steps of the two alternate in one process, each library with its
default threads. PyTorch is spared what the JAX network does for padding: no window here is shorter than the batch.
Without PyTorch (`pip install torch`) the figure is not measured.
"""

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from figures import Figure, parser, publish

from biomechgpt_jax import config
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT
from biomechgpt_jax.codec.loss import smooth_l1
from biomechgpt_jax.codec.network import GAIN, initial_parameters, networks

try:
    import torch
except ImportError:
    torch = None  # type: ignore[assignment]

BASE = config.Tokenizer(width=512, depth=3, stride=8, quantizer="vq", code_size=512)
WINDOWS, FRAMES, RATE, DECAY, CLOSE = 16, 128, 2e-4, 1e-4, 1e-3


def movement() -> tuple[np.ndarray, np.ndarray]:
    """Scaled features and mask f32[16, 128, 40]."""
    x_BTC = np.random.default_rng(0).normal(size=(WINDOWS, FRAMES, COORDINATE_COUNT)).astype(np.float32)
    return x_BTC, np.ones_like(x_BTC)


class InJax:
    """The network as the project trains it."""

    def __init__(self, cfg: config.Tokenizer, params: Any):
        self._encoder, self._decoder = networks(cfg)
        self._optimizer = optax.adamw(RATE, weight_decay=DECAY)
        self._params = jax.tree.map(jnp.array, params)
        self._state = self._optimizer.init(self._params)
        self._x, self._mask = map(jnp.asarray, movement())
        self._lengths = jnp.full(WINDOWS, FRAMES)
        self._update = jax.jit(self._updated, donate_argnums=(0, 1))

    def decoded(self, params: Any) -> jax.Array:
        """Scaled features f32[16, 128, 40] after encoder and decoder."""
        z_BSK: Any = self._encoder.apply({"params": params["encoder"]}, self._x, self._mask, self._lengths)
        back_BTC: Any = self._decoder.apply({"params": params["decoder"]}, z_BSK, self._lengths)
        return back_BTC

    def _updated(self, params: Any, state: Any) -> tuple[Any, Any, jax.Array]:
        value, gradient = jax.value_and_grad(lambda p: smooth_l1(self.decoded(p) - self._x, 1.0).mean())(params)
        updates, state = self._optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, value

    def output(self) -> np.ndarray:
        """What the network gives now."""
        return np.asarray(jax.jit(self.decoded)(self._params))

    def step(self) -> float:
        """One step; returns the loss before it."""
        self._params, self._state, value = jax.block_until_ready(self._update(self._params, self._state))
        return float(value)


class InTorch:
    """The same network in PyTorch, time last."""

    def __init__(self, cfg: config.Tokenizer, params: Any):
        x_BTC, mask_BTC = movement()
        self._x_BCT = torch.from_numpy(x_BTC).transpose(1, 2).contiguous()
        self._seen_BCT = torch.cat([self._x_BCT, torch.from_numpy(mask_BTC).transpose(1, 2)], dim=1).contiguous()
        self._depth, self._doublings = cfg.depth, cfg.stride.bit_length() - 1
        self._stride = cfg.stride
        self._layers: dict[tuple[str, ...], Any] = {}
        for half in ("encoder", "decoder"):
            self._fill((half,), params[half])
        self._all = torch.nn.ModuleList(self._layers.values())
        self._optimizer = torch.optim.AdamW(self._all.parameters(), lr=RATE, weight_decay=DECAY)

    def _fill(self, name: tuple[str, ...], held: Any) -> None:
        """Convolutions with the parameters of a JAX module: kernels [width, in, out] become [out, in, width]."""
        if "kernel" not in held:
            for child, inner in held.items():
                self._fill((*name, child), inner)
            return
        kernel = np.asarray(held["kernel"])
        kernel = kernel[None] if kernel.ndim == 2 else kernel  # a dense layer is a convolution of width 1
        size, before, after = kernel.shape
        stride = self._stride if name == ("encoder", "linear") else 2 if size == 4 else 1
        block = int(name[1].rpartition("_")[2]) % self._depth if name[1].startswith("ResidualBlock") else 0
        dilation = 3 ** (self._depth - 1 - block) if name[1].startswith("ResidualBlock") and size == 3 else 1
        padding = 0 if name[1] == "linear" else (dilation * (size - 1) + 1 - stride) // 2
        layer = torch.nn.Conv1d(before, after, size, stride, padding, dilation)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(np.ascontiguousarray(kernel.transpose(2, 1, 0))))
            layer.bias.copy_(torch.from_numpy(np.array(held["bias"])))
        self._layers[name] = layer

    def _blocks(self, half: str, level: int, x_BDT: Any) -> Any:
        for block in range(level * self._depth, (level + 1) * self._depth):
            name = (half, f"ResidualBlock_{block}")
            inner = self._layers[*name, "Conv_0"](torch.relu(x_BDT))
            x_BDT = x_BDT + self._layers[*name, "Conv_1"](torch.relu(inner))
        return x_BDT

    def decoded(self) -> Any:
        """Scaled features f32[16, 40, 128] after encoder and decoder."""
        of, levels = self._layers, self._doublings
        x_BDT = of["encoder", "Conv_0"](self._seen_BCT)
        for level in range(levels):
            x_BDT = self._blocks("encoder", level, of["encoder", f"Conv_{level + 1}"](torch.relu(x_BDT)))
        z_BKS = GAIN * (of["encoder", "linear"](self._x_BCT) + of["encoder", "out"](torch.relu(x_BDT)))
        x_BDT = of["decoder", "Conv_0"](z_BKS)
        for level in range(levels):
            x_BDT = self._blocks("decoder", level, x_BDT)
            x_BDT = of["decoder", f"Conv_{level + 1}"](x_BDT.repeat_interleave(2, dim=2))
        x_BDT = of["decoder", f"Conv_{levels + 1}"](torch.relu(x_BDT))
        linear_BPS = of["decoder", "linear"](z_BKS)  # P: the frames of a token, each with its features
        batch, _, tokens = linear_BPS.shape
        linear_BCT = linear_BPS.reshape(batch, self._stride, COORDINATE_COUNT, tokens).permute(0, 2, 3, 1)
        return GAIN * (linear_BCT.reshape(batch, COORDINATE_COUNT, -1) + of["decoder", "out"](torch.relu(x_BDT)))

    def output(self) -> np.ndarray:
        """What the network gives now, time second as in JAX."""
        with torch.no_grad():
            return self.decoded().transpose(1, 2).numpy()

    def step(self) -> float:
        """One step; returns the loss before it."""
        value = torch.nn.functional.smooth_l1_loss(self.decoded(), self._x_BCT)
        self._optimizer.zero_grad(set_to_none=True)
        value.backward()
        self._optimizer.step()
        return value.item()


def seconds(run: Any) -> float:
    """How long one step takes."""
    begin = time.perf_counter()
    run.step()
    return time.perf_counter() - begin


def measure(cfg: config.Tokenizer, repeats: int) -> dict[str, Figure]:
    """Medians of alternated steps, after two that warm up; refuses networks that do not agree."""
    params = initial_parameters(cfg, 0)
    ours, theirs = InJax(cfg, params), InTorch(cfg, params)
    apart = float(np.abs(ours.output() - theirs.output()).max() / np.abs(ours.output()).max())
    losses = [(ours.step(), theirs.step()) for _ in range(2)]
    if apart > CLOSE or not np.allclose(*np.transpose(losses), rtol=CLOSE):
        raise SystemExit(f"not the same network: outputs {apart:.2g} apart, losses {losses}")
    taken = np.array([[seconds(ours), seconds(theirs)] for _ in range(repeats)])
    jax_s, torch_s = np.median(taken, axis=0)
    count = sum(np.size(leaf) for leaf in jax.tree.leaves(params))
    note = f"{count / 1e6:.1f}M parameters, {repeats} steps each, outputs {apart:.1g} apart, torch {torch.__version__}"
    return {
        "step against PyTorch": Figure(float(torch_s / jax_s), "x", 1.3, "above", note=note),
        "step": Figure(float(jax_s), "s"),
        "step in PyTorch": Figure(float(torch_s), "s"),
    }


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--repeats", type=int, default=9, help="alternated steps, of which the median counts")
    arguments.add_argument("--quick", action="store_true", help="a network 64 wide: whether it runs")
    options = arguments.parse_args()
    if torch is None:
        why = "PyTorch is not installed here (pip install torch)"
        publish("codec_step", {"step against PyTorch": Figure(None, "x", 1.3, "above", note=why)}, options.json)
        return
    cfg = config.Tokenizer(width=64, depth=3, stride=8, quantizer="vq", code_size=64) if options.quick else BASE
    publish("codec_step", measure(cfg, options.repeats), options.json)


if __name__ == "__main__":
    main()
