"""A convolutional encoder with a head for every question: the model made for this one task.

It reads the trajectory itself, without motion tokens or text. Four frames of scaled features, with the mask of what was
observed, make a step; residual convolutions look at steps of 4, 8 and 16 frames. The means and standard deviations of
each level over the crop, and how long learned events last in it, go to a hidden layer and to the heads: a softmax for a
closed question, a standardised value for a number. It is trained on crops that are drawn as those of the language model
are, but for the measurement systems, and answers with the mean over a crop and its mirror image.

Crops lie in rows of one length, with gaps that no convolution crosses, so that a single program is compiled.
Shapes: R rows, S steps, M crops of a row, C = 40 features, I = 200 inputs of a step, D width, N crops, O outputs of all
heads, Q questions.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from biomechgpt_jax import config
from biomechgpt_jax.answering.asked import Asked, prediction
from biomechgpt_jax.answering.predictions import Prediction
from biomechgpt_jax.biomechanics.features import feature_mask
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT, MIRROR_PERMUTATION, MIRROR_SIGN, mirror
from biomechgpt_jax.biomechanics.trajectory import Trial
from biomechgpt_jax.codec import batching
from biomechgpt_jax.codec.scaling import Scaling, fit_scaling
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.packing import crops

_FRAMES = 4  # of a step
_COARSEST = 4  # steps that the last level sees as one
_INPUTS = (_FRAMES + 1) * COORDINATE_COUNT
_WIDTHS = (64, 96, 128)
_BLOCKS = (1, 2, 2)
_KERNEL = 3
_GATES = 16
_HIDDEN = 256
_ROWS = 16  # of a batch
_ROW_STEPS = 256
_CROPS = 16  # of a row, at most
_PASSES = 20  # over the trials, of which one finds at least one crop that can be asked about
_CLIP = 6.0  # a scaled feature beyond this is an artefact

# Chosen on development people.
_WHOLE_SHARE = 0.5  # of the training crops that are those of an evaluation; the others are drawn as for packing
_LEARNING_RATE = 2e-3
_WEIGHT_DECAY = 0.05
_DROPOUT = 0.2
_WEIGHTS = {"diagnosis": 4.0, "impairment": 2.0, "assistive_device": 2.0}  # most can be learnt about them
_AVERAGED = 0.99  # decay of the running average of weights, which answers

Params = dict[str, Any]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Head:
    """The outputs [start, stop) that answer a question: a logit for each option, or one standardised number."""

    start: int
    stop: int
    options: tuple[str, ...]
    centre: float
    spread: float
    weight: float


class _Crop(NamedTuple):
    """A crop as the network reads it: inputs f32[s, I], and what each head should say f32[Q], NaN where unknown."""

    inputs: np.ndarray
    target: np.ndarray


def _heads(asked: Sequence[Asked]) -> dict[str, Head]:
    """A head for every question, those of numbers first, with the options or the spread of its answers.

    Questions that are rarely asked weigh more, and so do those of `_WEIGHTS`.
    """
    answers: dict[str, list[Any]] = {}
    for item in asked:
        answers.setdefault(item.question, []).append(item.truth)
    most = max(len(values) for values in answers.values())
    heads: dict[str, Head] = {}
    start = 0
    for name, values in sorted(answers.items(), key=lambda item: isinstance(item[1][0], str)):
        weight = (most / len(values)) ** 0.5 * _WEIGHTS.get(name, 1.0)
        if isinstance(values[0], str):
            options, centre, spread = tuple(sorted(set(values))), 0.0, 1.0
        else:
            low, centre, high = (float(value) for value in np.quantile(values, [0.05, 0.5, 0.95]))
            options, spread = (), max((high - low) / 3.29, 1e-6)
        heads[name] = Head(start, start + max(len(options), 1), options, centre, spread, weight)
        start = heads[name].stop
    return heads


def _target(truths: Mapping[str, str | float], heads: Mapping[str, Head]) -> np.ndarray:
    """The number of an option or a standardised value for each head, f32[Q]; NaN where the truth is unknown."""
    target = np.full(len(heads), np.nan, np.float32)
    for q, (name, head) in enumerate(heads.items()):
        if name in truths and head.options:
            truth = truths[name]
            target[q] = head.options.index(str(truth)) if truth in head.options else np.nan
        elif name in truths:
            target[q] = (float(truths[name]) - head.centre) / head.spread
    return target


def _inputs(features_TC: np.ndarray, mask_C: np.ndarray, scaling: Scaling) -> np.ndarray:
    """Inputs f32[T // 4, I] of a crop: scaled features of the frames of each step, and their mask."""
    count = len(features_TC) // _FRAMES
    scaled = (features_TC[: count * _FRAMES] - scaling.center) / scaling.spread
    scaled = np.clip(scaled, -_CLIP, _CLIP) * mask_C
    return np.concatenate([scaled.reshape(count, -1), np.broadcast_to(mask_C, (count, COORDINATE_COUNT))], axis=1)


def _draw(
    trials: Sequence[Trial], cfg: config.Experiment, heads: Mapping[str, Head], scaling: Scaling, seed: int
) -> Iterator[_Crop]:
    """Training crops without end, every trial equally often; InputError if nothing is known of any of them."""
    rng = np.random.default_rng(seed)
    cfg = replace(cfg, pack=replace(cfg.pack, systems=0.0, children=0.0))
    shown = [trial.trajectory for trial in trials]
    features = batching.features_of([t.coordinates for t in shown], [t.observed for t in shown])
    fruitless = 0  # passes in a row: a crop may show nothing that can be asked about, but not all of them
    while fruitless < _PASSES:
        fruitless += 1
        for i in rng.permutation(len(trials)):
            trial = trials[i]
            if rng.random() < _WHOLE_SHARE:
                crop, mirrored = crops.evaluation(trial, cfg)[0], bool(rng.random() < 0.5)
                observed = crop.observed[MIRROR_PERMUTATION] if mirrored else crop.observed
            else:
                crop = crops.training(trial, cfg, rng)
                observed, mirrored = crop.observed, crop.mirrored
            truths = crops.answerable(trial, crop, cfg)
            part = features[i][crop.start_frame : crop.end_frame]
            if truths and len(part) >= _FRAMES:
                fruitless = 0
                inputs = _inputs(mirror(part) if mirrored else part, feature_mask(observed), scaling)
                yield _Crop(inputs, _target(truths, heads))
    raise InputError("encoder: nothing can be asked about the training trials; do they have labels?")


def _room(steps: int) -> int:
    """Steps that a crop takes in a row: whole ones of the coarsest level, and a gap of one of them."""
    return (-(-steps // _COARSEST) + 1) * _COARSEST


def _batches(stream: Iterator[_Crop], row_steps: int, questions: int) -> Iterator[dict[str, np.ndarray]]:
    """Rows filled with crops in order; a crop longer than a row is cut.

    x f32[R, S, I]; member i32[R, S], the number of the crop within its row, -1 in gaps; target f32[R, M, Q].
    """
    crop = next(stream, None)
    while crop is not None:
        x = np.zeros((_ROWS, row_steps, _INPUTS), np.float32)
        member = np.full((_ROWS, row_steps), -1, np.int32)
        target = np.full((_ROWS, _CROPS, questions), np.nan, np.float32)
        used, held = [0] * _ROWS, [0] * _ROWS
        while crop is not None:
            inputs = crop.inputs[: row_steps - _COARSEST]
            fits = [r for r in range(_ROWS) if used[r] + _room(len(inputs)) <= row_steps and held[r] < _CROPS]
            if not fits:
                break
            r = fits[0]
            x[r, used[r] : used[r] + len(inputs)] = inputs
            member[r, used[r] : used[r] + len(inputs)] = held[r]
            target[r, held[r]] = crop.target
            used[r], held[r] = used[r] + _room(len(inputs)), held[r] + 1
            crop = next(stream, None)
        yield {"x": x, "member": member, "target": target}


def _initial(outputs: int, rng: np.random.Generator) -> Params:
    def dense(*shape: int, gain: float = 1.0) -> dict[str, np.ndarray]:
        deviation = gain / np.sqrt(np.prod(shape[:-1]))
        return {"w": rng.normal(0, deviation, shape).astype(np.float32), "b": np.zeros(shape[-1], np.float32)}

    params: Params = {}
    inputs = _INPUTS
    pooled = 7 * COORDINATE_COUNT + 1
    for level, (width, blocks) in enumerate(zip(_WIDTHS, _BLOCKS, strict=True)):
        params[f"into{level}"] = dense(_KERNEL if level == 0 else 2, inputs, width)
        for block in range(blocks):
            params[f"block{level}_{block}a"] = dense(_KERNEL, width, width, gain=1.4)
            params[f"block{level}_{block}b"] = dense(_KERNEL, width, width, gain=0.3)
        pooled += 2 * width
        inputs = width
    params["gates"] = dense(inputs, _GATES)
    params["hidden"] = dense(pooled + 2 * _GATES, _HIDDEN)
    params["heads"] = dense(_HIDDEN, outputs, gain=0.3)
    return params


def _conv(p: Params, x_RSD: jax.Array, stride: int = 1) -> jax.Array:
    padding = "SAME" if stride == 1 else "VALID"
    return (
        jax.lax.conv_general_dilated(x_RSD, p["w"], (stride,), padding, dimension_numbers=("NWC", "WIO", "NWC"))
        + p["b"]
    )


def _norm(x: jax.Array) -> jax.Array:
    centred = x - x.mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-5)


def _pool(x_RSD: jax.Array, share_RSM: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and standard deviation of every crop, f32[R, M, D] each."""
    mean = jnp.einsum("rsd,rsm->rmd", x_RSD, share_RSM)
    square = jnp.einsum("rsd,rsm->rmd", x_RSD**2, share_RSM)
    return mean, jnp.sqrt(jnp.maximum(square - mean**2, 0.0) + 1e-4)


def _posture(x_RSI: jax.Array, share_RSM: jax.Array) -> jax.Array:
    """Of every crop the mean, spread and speed of each feature, how far each differs from its mirror, and the mask.

    f32[R, M, 7 * C].
    """
    frames_RSFC = x_RSI[..., : _FRAMES * COORDINATE_COUNT].reshape(*x_RSI.shape[:2], _FRAMES, COORDINATE_COUNT)
    speed = jnp.abs(jnp.diff(frames_RSFC, axis=2)).mean(2)
    mask = x_RSI[..., _FRAMES * COORDINATE_COUNT :]
    of_steps = jnp.concatenate([frames_RSFC.mean(2), (frames_RSFC**2).mean(2), speed, mask], axis=-1)
    mean, square, speed, mask = jnp.split(jnp.einsum("rsd,rsm->rmd", of_steps, share_RSM), 4, axis=-1)
    spread, speed = jnp.sqrt(jnp.maximum(square - mean**2, 0.0) + 1e-4), 4.0 * speed
    mirrored = [mean[..., MIRROR_PERMUTATION] * MIRROR_SIGN, spread[..., MIRROR_PERMUTATION]]
    mirrored.append(speed[..., MIRROR_PERMUTATION])
    sides = [jnp.abs(own - other) for own, other in zip((mean, spread, speed), mirrored, strict=True)]
    return jnp.concatenate([mean, spread, speed, *sides, mask], axis=-1)


def _apply(params: Params, batch: Mapping[str, jax.Array], key: jax.Array | None) -> jax.Array:
    """Outputs f32[R, M, O] of the crops of a batch."""
    member_RSM = (batch["member"][..., None] == jnp.arange(_CROPS)).astype(jnp.float32)
    count_R1M = member_RSM.sum(1, keepdims=True)
    log_steps = jnp.log(jnp.maximum(count_R1M, 1.0))[:, 0, :, None]
    x = batch["x"]
    parts = [0.5 * (log_steps - 4.0), _posture(x, member_RSM / jnp.maximum(count_R1M, 1.0))]
    for level, blocks in enumerate(_BLOCKS):
        if level:
            member_RSM = member_RSM.reshape(len(x), -1, 2, _CROPS).max(2)
        live_RS1 = member_RSM.max(-1, keepdims=True)
        share_RSM = member_RSM / jnp.maximum(member_RSM.sum(1, keepdims=True), 1.0)
        x = _conv(params[f"into{level}"], x, 1 if level == 0 else 2) * live_RS1
        for block in range(blocks):
            inner = _conv(params[f"block{level}_{block}a"], _norm(x) * live_RS1)
            x = (x + _conv(params[f"block{level}_{block}b"], jax.nn.gelu(inner) * live_RS1)) * live_RS1
        parts += _pool(_norm(x) * live_RS1, share_RSM)
    gates = jnp.einsum(
        "rsg,rsm->rmg", jax.nn.sigmoid(_norm(x) @ params["gates"]["w"] + params["gates"]["b"]), share_RSM
    )
    open_steps = gates * jnp.exp(log_steps)  # how long something lasts
    parts += [jnp.log(gates + 1e-3), open_steps / 60.0]
    pooled = jnp.concatenate(parts, axis=-1)
    if key is not None:
        keys = jax.random.split(key)
        pooled = pooled * jax.random.bernoulli(keys[0], 1 - _DROPOUT, pooled.shape) / (1 - _DROPOUT)
    hidden = jax.nn.gelu(pooled @ params["hidden"]["w"] + params["hidden"]["b"])
    if key is not None:
        hidden = hidden * jax.random.bernoulli(keys[1], 1 - _DROPOUT, hidden.shape) / (1 - _DROPOUT)
    return hidden @ params["heads"]["w"] + params["heads"]["b"]


def _loss(params: Params, batch: Mapping[str, jax.Array], key: jax.Array, heads: tuple[Head, ...]) -> jax.Array:
    """Cross-entropy of closed questions and Huber's loss of numbers, over the answers that are known.

    `batch["target"]` is f32[R, M, Q] (see `_target`).
    """
    out = _apply(params, batch, key)
    known = jnp.isfinite(batch["target"])
    target = jnp.where(known, batch["target"], 0.0)
    numbers = sum(not head.options for head in heads)
    losses = [optax.losses.huber_loss(out[..., :numbers], target[..., :numbers])]
    for q, head in enumerate(heads[numbers:], numbers):
        logits = jax.nn.log_softmax(out[..., head.start : head.stop])
        losses.append(-jnp.take_along_axis(logits, target[..., q : q + 1].astype(jnp.int32), -1))
    weight = known * jnp.array([head.weight for head in heads])
    return (jnp.concatenate(losses, axis=-1) * weight).sum() / jnp.maximum(weight.sum(), 1.0)


@dataclass(frozen=True)
class Encoder:
    """A trained encoder.

    Attributes:
        params: its parameters.
        heads: by question, in the order of its targets.
        scaling: units of its inputs.
        row_steps: length of a row.
    """

    params: Params
    heads: Mapping[str, Head]
    scaling: Scaling
    row_steps: int

    def outputs(self, coordinates: Sequence[np.ndarray], observed: Sequence[np.ndarray]) -> np.ndarray:
        """Outputs f32[N, O] for crops f32[T_i, 40] with masks bool[40]: the mean over a crop and its mirror image."""
        features = batching.features_of(coordinates, observed)
        masks = [feature_mask(mask) for mask in observed]
        own = [_inputs(f, mask, self.scaling) for f, mask in zip(features, masks, strict=True)]
        other = [
            _inputs(mirror(f), mask[MIRROR_PERMUTATION], self.scaling) for f, mask in zip(features, masks, strict=True)
        ]
        return 0.5 * (self._read(own) + self._read(other))

    def _read(self, inputs: Sequence[np.ndarray]) -> np.ndarray:
        order = np.argsort([-len(x) for x in inputs], kind="stable")
        # The target of a crop is here its place among the inputs.
        stream = iter([_Crop(inputs[i], np.array([i], np.float32)) for i in order])
        result = np.zeros((len(inputs), max(head.stop for head in self.heads.values())), np.float32)
        for batch in _batches(stream, self.row_steps, 1):
            place = batch.pop("target")[..., 0]
            made = np.asarray(_answer(self.params, batch))
            result[place[np.isfinite(place)].astype(int)] = made[np.isfinite(place)]
        return result


@jax.jit
def _answer(params: Params, batch: Mapping[str, jax.Array]) -> jax.Array:
    return _apply(params, batch, None)


def train(
    trials: Sequence[Trial], asked: Sequence[Asked], cfg: config.Experiment, progress: Progress = lambda *_: None
) -> Encoder:
    """Train an encoder for `cfg.evaluation.encoder_steps` steps.

    Args:
        trials: of train participants.
        asked: the questions about their evaluation crops, with the true answers; there is at least one.
        progress: called with (steps done, steps in all).
    """
    steps, seed = cfg.evaluation.encoder_steps, cfg.evaluation.seed
    of = {id(item.coordinates): item for item in asked}
    features = batching.features_of([i.coordinates for i in of.values()], [i.observed for i in of.values()])
    scaling = fit_scaling(features, [feature_mask(item.observed) for item in of.values()])
    heads = _heads(asked)
    row_steps = max(_ROW_STEPS, *(_room(len(f) // _FRAMES) for f in features))
    schedule = optax.schedules.warmup_cosine_decay_schedule(0.0, _LEARNING_RATE, steps // 20 + 1, steps + 1)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, b2=0.98, weight_decay=_WEIGHT_DECAY))

    @partial(jax.jit, donate_argnums=0)
    def step(state: Any, batch: Mapping[str, jax.Array], number: int) -> Any:
        params, moments, average = state
        key = jax.random.fold_in(jax.random.key(seed), number)
        gradient = jax.grad(_loss)(params, batch, key, tuple(heads.values()))
        updates, moments = optimizer.update(gradient, moments, params)
        params = optax.apply_updates(params, updates)
        decay = jnp.minimum(_AVERAGED, (1.0 + number) / (10.0 + number))
        average = jax.tree.map(lambda a, p: decay * a + (1 - decay) * p, average, params)
        return params, moments, average

    params = _initial(max(head.stop for head in heads.values()), np.random.default_rng(seed))
    state = (params, optimizer.init(params), jax.tree.map(np.copy, params))
    stream = _batches(_draw(trials, cfg, heads, scaling, seed), row_steps, len(heads))
    for number in range(steps):
        state = step(state, next(stream), number)
        progress(number + 1, steps)
    return Encoder(jax.tree.map(np.asarray, state[2]), heads, scaling, row_steps)


def answers(
    trials: Sequence[Trial],
    train_asked: Sequence[Asked],
    test: Sequence[Asked],
    cfg: config.Experiment,
    progress: Progress = lambda *_: None,
) -> list[Prediction]:
    """Train an encoder and answer the test questions, in their order; those absent from train are left out."""
    if not train_asked:
        return []
    encoder = train(trials, train_asked, cfg, progress)
    of = {id(item.coordinates): item for item in test}
    table = encoder.outputs([i.coordinates for i in of.values()], [i.observed for i in of.values()])
    output_of = dict(zip(of, table, strict=True))
    made = []
    for item in test:
        if item.question not in encoder.heads:
            continue
        head = encoder.heads[item.question]
        out = output_of[id(item.coordinates)][head.start : head.stop].astype(np.float64)
        if not head.options:
            made.append(prediction(item, float(out[0] * head.spread + head.centre), None))
            continue
        shares = np.exp(out - out.max())
        shares /= shares.sum()
        best = int(shares.argmax())
        made.append(prediction(item, head.options[best], float(shares[best])))
        made[-1]["options"] = dict(zip(head.options, map(float, shares), strict=True))
    return made
