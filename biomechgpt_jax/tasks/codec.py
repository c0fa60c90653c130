"""Training of the motion codec on random windows of movement, by the loop that also trains the language model.

Everything random follows from the seed and the number of the step. Shapes: B batch, T frames of a window,
C features (40), S tokens, K size of a latent.
"""

import functools
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from biomechgpt_jax import config
from biomechgpt_jax.biomechanics import features as features_lib
from biomechgpt_jax.codec import codes, quantizers, windows
from biomechgpt_jax.codec.batching import features_of
from biomechgpt_jax.codec.codec import Codec
from biomechgpt_jax.codec.loss import Scale, reconstruction, units, weights
from biomechgpt_jax.codec.network import from_components, initial_parameters, linear_latents, networks
from biomechgpt_jax.codec.scaling import fit_scaling
from biomechgpt_jax.codec.windows import Batch
from biomechgpt_jax.parallel import feed, sharding
from biomechgpt_jax.training import loop, optimizer
from biomechgpt_jax.training import step as steps_lib
from biomechgpt_jax.training.step import Metrics, State, StepFunction

POLICY = config.Loop(log_every=20)
ALL_DEVICES = config.Mesh()
# Fields of the configuration that may change when a run is resumed.
_FREE = ("text_pieces", "chat_template")

Trials = Sequence[tuple[np.ndarray, np.ndarray]]


def train(
    cfg: config.Tokenizer,
    trials: Trials,
    progress: Callable[[int, dict[str, Any]], None],
    policy: config.Loop = POLICY,
    mesh: config.Mesh = ALL_DEVICES,
    places: loop.Places = loop.NOWHERE,
    targets: Sequence[np.ndarray] | None = None,
) -> Codec:
    """Train a codec.

    Args:
        cfg: the codec, its batch, steps and seed.
        trials: (coordinates f32[T_i, 40] at 30 Hz, observed bool[40]) of TRAINING participants only, because the
            scaling is measured on them too.
        progress: called with (completed steps, the logged entry); the entry's `loss` is None if it was not finite.
        policy: how often to log and to save, and when to give up.
        mesh: sizes of the device mesh.
        places: where checkpoints and metrics are written; by default nothing is.
        targets: f32[T_i, 40], what the codec reconstructs of each trial, such as the movement without measurement
            noise, so that it spends no code on noise; None: the trial itself.

    Raises:
        InputError: there is no movement long enough for a token, the batch cannot be laid out on the mesh, or the
            checkpoints are of another run.
        loop.Diverged: too many steps were skipped, because the loss was not finite or the gradient a spike.
        SystemExit: code 75 after a SIGTERM, once the state is saved.
    """
    task = CodecTask(cfg, trials, policy.spike_factor, targets)
    return task.codec(loop.train(task, policy, mesh, cfg.steps, places, progress).state)


class CodecTask:
    """The codec as a task of the loop; see `loop.Task`. Arguments as those of `train`."""

    counted = ("frames",)
    remedy = "lower tokenizer.learning_rate"

    def __init__(
        self,
        cfg: config.Tokenizer,
        trials: Trials,
        spike_factor: float = POLICY.spike_factor,
        targets: Sequence[np.ndarray] | None = None,
    ) -> None:
        observed = [np.asarray(seen, bool) for _, seen in trials]
        raw = features_of([movement for movement, _ in trials], observed)
        wanted = None if targets is None else features_of(list(targets), observed)
        self._cfg, self._spike_factor = cfg, spike_factor
        self._movements = _digest(trials, targets or ())
        self._scaling = fit_scaling(raw, [features_lib.feature_mask(seen) for seen in observed])
        self._windows = windows.gather(raw, observed, self._scaling, cfg.window_frames, cfg.stride, wanted)

    def identity(self, steps: int) -> dict[str, Any]:
        """What a checkpoint must share with a run that resumes from it."""
        tokenizer = {name: value for name, value in config.described(self._cfg).items() if name not in _FREE}
        return {"tokenizer": tokenizer | {"steps": steps}, "movements": {"digest": self._movements}}

    def frozen(self, mesh: Mesh) -> dict[str, Any]:
        """Nothing: all parameters are trained."""
        return {}

    def abstract_state(self, mesh: Mesh) -> State:
        """The state with its shardings."""
        return _abstract_state(self._cfg, mesh)

    def fresh_state(self, mesh: Mesh, frozen: Any) -> State:
        """Networks that compute principal components of the movement; for VQ also a codebook from k-means of them."""
        cfg, layout = self._cfg, self.abstract_state(mesh)
        importance = weights() * (self._scaling.spread / units()) ** 2
        patches = windows.patches(self._windows, cfg.seed)
        start = from_components(cfg, initial_parameters(cfg, cfg.seed), patches, importance)
        params = jax.device_put(start, steps_lib.shardings_of(layout["params"]))
        others = {}
        if cfg.quantizer == "vq":
            first = codes.first_codebook(cfg, linear_latents(start, patches), jax.random.key(cfg.seed))
            others["codebook"] = jax.device_put(first, steps_lib.replicated(mesh))
        return steps_lib.fresh_state(params, optimizer.make(optimizer_of(cfg)), layout, **others)

    def make_step(self, mesh: Mesh, steps: int) -> StepFunction:
        """The jitted step; its metrics also hold the parts of the loss and the frames of movement in the batch."""
        whole = steps_lib.replicated(mesh)
        scale = Scale(jax.device_put(self._scaling.center, whole), jax.device_put(self._scaling.spread, whole))
        compiled = _compiled_step(self._cfg, mesh, steps, self._spike_factor)
        return lambda state, frozen, drawn: compiled(scale, state, drawn)

    def batches(self, mesh: Mesh, start: int, stop: int) -> feed.Prefetch:
        """Windows drawn at random, prefetched to the devices."""
        return feed.Prefetch(self._draws(mesh), start, stop)

    def make_validation(self, mesh: Mesh) -> loop.Validation:
        """Nothing: the finished codec is judged in clinical units."""
        return lambda state, frozen: {}

    def codec(self, state: State) -> Codec:
        """The codec of a trained state."""
        mesh = state["step"].sharding.mesh
        whole = jax.jit(lambda tree: tree, out_shardings=steps_lib.replicated(mesh))
        params = jax.device_get(whole(state["params"]))
        vectors = np.asarray(state["codebook"].vectors) if "codebook" in state else None
        return Codec(self._cfg, self._scaling, params, vectors)

    def _draws(self, mesh: Mesh) -> windows.Draws:
        def layout(shape: tuple[int, ...]) -> jax.sharding.Sharding:
            return sharding.named_sharding(mesh, ("batch", *[None] * (len(shape) - 1)), shape, "tokenizer.batch_size")

        return windows.Draws(self._windows, self._cfg.batch_size, self._cfg.seed, layout)


def optimizer_of(cfg: config.Tokenizer) -> config.Optimizer:
    """The optimizer of a codec: a short warm-up, then cosine to a fiftieth of the peak."""
    return config.Optimizer(
        peak_learning_rate=cfg.learning_rate,
        final_fraction=0.02,
        warmup_fraction=0.05,
        schedule="cosine",
        b1=0.9,
        b2=0.99,
        weight_decay=1e-4,
        clip_norm=10.0,
    )


def parameter_axes(params: Any, fsdp: int) -> Any:
    """Logical axes of a tree of parameters: kernels are split by output, else input channels, if fsdp divides them."""

    def one(leaf: Any) -> sharding.LogicalAxes:
        names: list[str | None] = [None] * leaf.ndim
        divided = [axis for axis in (leaf.ndim - 1, leaf.ndim - 2) if axis >= 0 and leaf.shape[axis] % fsdp == 0]
        if leaf.ndim > 1 and divided:
            names[divided[0]] = "channels"
        return tuple(names)

    return jax.tree.map(one, params)


def _abstract_state(cfg: config.Tokenizer, mesh: Mesh) -> State:
    params = jax.eval_shape(lambda: jax.tree.map(jnp.asarray, initial_parameters(cfg, 0)))
    layout = sharding.tree_shardings(mesh, parameter_axes(params, mesh.shape["fsdp"]), params)
    others = {}
    if cfg.quantizer == "vq":
        vectors = jax.ShapeDtypeStruct((cfg.layers, cfg.codes, cfg.code_size), jnp.float32)
        counts = jax.ShapeDtypeStruct(vectors.shape[:2], jnp.float32)
        others["codebook"] = jax.eval_shape(jax.vmap(quantizers.codebook_from), vectors, counts)
    return steps_lib.abstract_state(params, layout, optimizer.make(optimizer_of(cfg)), mesh, **others)


def _latents(cfg: config.Tokenizer, params: Any, batch: Batch) -> jax.Array:
    """Latents f32[B, S, K] of the visible part of a batch of windows."""
    shown_BTC = batch.shown_BTC.astype(jnp.float32)
    latents: Any = networks(cfg)[0].apply(
        {"params": params["encoder"]}, batch.scaled_BTC * shown_BTC, shown_BTC, batch.lengths_B
    )
    return latents


def loss(
    params: Any,
    codebook: quantizers.Codebook | None,
    cfg: config.Tokenizer,
    batch: Batch,
    scale: Scale,
    kept_B: jax.Array,
) -> tuple[jax.Array, tuple[dict[str, jax.Array], codes.Quantized]]:
    """The training loss of a batch, its parts, and its quantized latents; kept_B as in `codes.draw_kept_layers`."""
    z_BSK = _latents(cfg, params, batch)
    seen = codes.quantize(cfg, z_BSK, codebook, kept_B, _whole(cfg, batch, z_BSK.shape[1]))
    decoded_BTC: Any = networks(cfg)[1].apply({"params": params["decoder"]}, seen.values, batch.lengths_B)

    total, parts = reconstruction(cfg, batch, decoded_BTC, scale)
    total += cfg.commitment_weight * seen.commitment
    return total, (parts | ({} if codebook is None else {"commitment": seen.commitment}), seen)


def _whole(cfg: config.Tokenizer, batch: Batch, tokens: int) -> jax.Array:
    """Which tokens are movement rather than padding, bool[B, S]."""
    return jnp.arange(tokens) < batch.lengths_B[:, None] // cfg.stride


@functools.cache
def _compiled_step(
    cfg: config.Tokenizer, mesh: Mesh, steps: int, spike_factor: float
) -> Callable[[Scale, State, steps_lib.Batch], tuple[State, Metrics]]:
    """The jitted (scale, state, batch) -> (state, metrics), cached for the next codec of the same configuration.

    One step a call: on CPU XLA runs convolutions inside a compiled loop tens of times slower.
    """
    transform = optimizer.make(optimizer_of(cfg))
    learning_rate = optimizer.schedule(optimizer_of(cfg), steps)
    differentiate = jax.value_and_grad(loss, has_aux=True)

    def step(scale: Scale, state: State, drawn: steps_lib.Batch) -> tuple[State, Metrics]:
        key = jax.random.fold_in(jax.random.key(cfg.seed + 1), state["step"])
        key_rows, key_reset, key_kept = jax.random.split(key, 3)
        batch = windows.augment(drawn, cfg.stride, key_rows, cfg.varied)
        kept_B = codes.draw_kept_layers(cfg, cfg.batch_size, key_kept)
        codebook = state.get("codebook")
        (value, (parts, seen)), gradients = differentiate(state["params"], codebook, cfg, batch, scale, kept_B)
        others = {}
        if codebook is not None:
            whole_BS = _whole(cfg, batch, cfg.window_frames // cfg.stride)
            others["codebook"] = codes.update_codebooks(cfg, codebook, seen, kept_B, whole_BS, key_reset)
        rate = learning_rate(state["step"])
        state, metrics = steps_lib.advance(state, value, gradients, transform, rate, spike_factor, **others)
        return state, metrics | parts | {"frames": batch.lengths_B.sum()}

    layout = steps_lib.shardings_of(_abstract_state(cfg, mesh))
    return jax.jit(step, donate_argnums=1, out_shardings=(layout, steps_lib.replicated(mesh)))


def _digest(trials: Trials, targets: Sequence[np.ndarray]) -> str:
    """SHA-256 of the movements, of their masks and of the targets."""
    state = hashlib.sha256()
    for movement, seen in trials:
        state.update(f"{np.shape(movement)}".encode())
        state.update(np.ascontiguousarray(movement, np.float32).tobytes())
        state.update(np.asarray(seen, bool).tobytes())
    for movement in targets:
        state.update(np.ascontiguousarray(movement, np.float32).tobytes())
    return state.hexdigest()
