"""Bring any number of recordings to the canonical 30 Hz, by one fused function per bucket of lengths.

Angles are unwrapped, single outlying frames and short gaps are filled, frames in long gaps and beyond jumps are
trimmed, the rest is low-pass filtered and resampled, the travel of a treadmill's belt is removed, and features and
quality flags are computed. Recordings of similar length and rate are processed together, padded and vectorised; the
rows of a group may be sharded over the devices of a mesh.

The host checks whether a group has any gap, jump or turn: most have none, and neither compile nor run the repairs.

Shapes: B recordings of a group, T frames, M new frames, C coordinates (40).
"""

import dataclasses
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from biomechgpt_jax.biomechanics import filtering, gaps, kinematics, quality, treadmill
from biomechgpt_jax.biomechanics.features import feature_mask, features
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT, COORDINATES, HORIZONTAL_ROOT, INDEX
from biomechgpt_jax.biomechanics.trajectory import FRAGMENT, Trajectory
from biomechgpt_jax.config import CANONICAL_RATE_HZ
from biomechgpt_jax.errors import InputError

# Recordings of a bucket are processed this many at a time; a smaller group is padded, so that it compiles once.
GROUP = 8
_ROOT = np.array([INDEX[name] for name in HORIZONTAL_ROOT])
# Fewest consecutive frames that can be processed.
_FEWEST_FRAMES = 2
# A recording of which more than this is cut off bears the flag FRAGMENT: no result of a timed test can be read off it.
# Less is within what a stopwatch errs.
_MOST_CUT_S = 0.5


class Prepared(NamedTuple):
    """A recording at the canonical rate.

    Attributes:
        trajectory: at 30 Hz, without gaps; coordinates with too many missing frames are masked in `observed`, and
            quality flags are in its metadata.
        features: f32[M, 40] of `biomechanics.features`; 0 where not observed.
        used: frames of the recording that were kept.
        belt_m_s: f32[2] velocity of the treadmill's belt whose travel was removed, world x and z; 0 over ground.
    """

    trajectory: Trajectory
    features: np.ndarray
    used: slice
    belt_m_s: np.ndarray


class _Body(NamedTuple):
    """Properties of each recording other than its frames."""

    rate_B: Any
    height_B: Any
    kernel_BK: Any  # of the low-pass filter at this rate; K is 0 where nothing is resampled


class _Group(NamedTuple):
    """Padded recordings."""

    values_BTC: Any
    count_B: Any
    observed_BC: Any
    body: _Body


class _Mended(NamedTuple):
    """Recordings without gaps, and what was done to them."""

    values_BTC: Any
    observed_BC: Any
    first_B: Any
    used_B: Any
    trimmed_B: Any
    gap_B: Any
    spike_BC: Any
    jump_BC: Any
    lost_BC: Any


class _Found(NamedTuple):
    coordinates_BMC: jax.Array
    features_BMC: jax.Array
    frames_B: jax.Array
    first_B: jax.Array
    used_B: jax.Array
    observed_BC: jax.Array
    belt_B2: jax.Array
    flags: quality.Flags


class _Shape(NamedTuple):
    """What a compilation depends on: new frames, and an upper limit on the rate (0 where the rate is kept)."""

    size: int
    fastest: int

    @property
    def frames(self) -> int:
        """Frames of the padded recordings."""
        return filtering.old_frames(self.size, self.fastest, CANONICAL_RATE_HZ) if self.fastest else self.size


def canonical(trajectory: Trajectory) -> Trajectory:
    """The same movement at 30 Hz, without gaps and trimmed; see `prepare`."""
    return prepare([trajectory])[0].trajectory


def prepare(trajectories: Sequence[Trajectory], sharding: jax.sharding.NamedSharding | None = None) -> list[Prepared]:
    """Clean, filter and resample recordings of any lengths and rates, and compute their features and flags.

    Args:
        trajectories: NaN where an observed coordinate is missing; unobserved coordinates are ignored and become zero.
        sharding: of the first axis of a group over a mesh; None computes on one device.

    Returns:
        One for each trajectory, in the same order.

    Raises:
        InputError: a recording has fewer than 2 consecutive usable frames.
    """
    members: dict[_Shape, list[int]] = defaultdict(list)
    for index, trajectory in enumerate(trajectories):
        members[_shape(trajectory)].append(index)
    rows = GROUP if len(trajectories) > 1 else 1
    if sharding is not None:
        rows = -(-rows // sharding.num_devices) * sharding.num_devices
    pending = []
    for shape, indices in sorted(members.items()):
        for begin in range(0, len(indices), rows):
            part = indices[begin : begin + rows]
            # Dispatched asynchronously: the next group is padded while the devices compute.
            mended, body = _mend_group([trajectories[i] for i in part], rows, shape, sharding)
            pending.append((part, _fused(mended, body, shape)))
    results: dict[int, Prepared] = {}
    for part, found in pending:
        host = jax.device_get(found)
        for row, index in enumerate(part):
            results[index] = _prepared(trajectories[index], host, row)
    return [results[index] for index in range(len(trajectories))]


def at_own_rate(trajectory: Trajectory, prepared: Prepared) -> Trajectory:
    """The recording as cleaned and trimmed by `prepare`, over ground, but at its own rate and unfiltered.

    Gait events are detected in it.
    """
    mended, _ = _mend_group([trajectory], 1, _shape(trajectory))
    coordinates = np.asarray(mended.values_BTC)[0, prepared.used]
    coordinates = treadmill.overground(coordinates, prepared.belt_m_s, trajectory.rate_hz)
    observed = prepared.trajectory.observed
    coordinates[:, ~observed] = 0.0
    return dataclasses.replace(
        trajectory, coordinates=coordinates, observed=observed, metadata=prepared.trajectory.metadata
    )


def _shape(trajectory: Trajectory) -> _Shape:
    rate = trajectory.rate_hz
    if abs(rate - CANONICAL_RATE_HZ) <= filtering.SAME_HZ:
        return _Shape(filtering.bucket(trajectory.frames), 0)
    frames = filtering.new_frames(trajectory.frames, rate, CANONICAL_RATE_HZ)
    return _Shape(filtering.bucket(frames), filtering.rate_class(rate))


def _group(trajectories: Sequence[Trajectory], rows: int, shape: _Shape) -> _Group:
    """Recordings padded with zeros, which are never used; surplus rows hold zeros only."""
    values_BTC = np.zeros((rows, shape.frames, COORDINATE_COUNT), np.float32)
    count_B = np.full(rows, _FEWEST_FRAMES, np.int32)
    rate_B = np.full(rows, CANONICAL_RATE_HZ, np.float32)
    height_B = np.full(rows, kinematics.DEFAULT_HEIGHT_M, np.float32)
    observed_BC = np.zeros((rows, COORDINATE_COUNT), bool)
    reach = filtering.kernel_reach(shape.fastest)
    kernel_BK = np.zeros((rows, 2 * reach + 1 if shape.fastest else 0), np.float32)
    for row, trajectory in enumerate(trajectories):
        values_BTC[row, : trajectory.frames] = np.where(trajectory.observed, trajectory.coordinates, 0.0)
        count_B[row], rate_B[row] = trajectory.frames, trajectory.rate_hz
        observed_BC[row] = trajectory.observed
        for height in (trajectory.metadata.height_m, trajectory.metadata.leg_height_m):  # legs decide where feet are
            height_B[row] = height if np.isfinite(height) else height_B[row]
        if shape.fastest:
            kernel_BK[row] = filtering.kernel(trajectory.rate_hz, reach)
    return _Group(values_BTC, count_B, observed_BC, _Body(rate_B, height_B, kernel_BK))


def _mend_group(
    trajectories: Sequence[Trajectory],
    rows: int,
    shape: _Shape,
    sharding: jax.sharding.NamedSharding | None = None,
) -> tuple[_Mended, _Body]:
    """A padded group without gaps, sharded over the devices."""
    group = _group(trajectories, rows, shape)
    if all(gaps.is_sound(one.coordinates, one.rate_hz, one.observed) for one in trajectories):
        none_BC = np.zeros_like(group.observed_BC)
        mended = _Mended(
            values_BTC=group.values_BTC,
            observed_BC=group.observed_BC,
            first_B=np.zeros_like(group.count_B),
            used_B=group.count_B,
            trimmed_B=none_BC[:, 0],
            gap_B=none_BC[:, 0],
            spike_BC=none_BC,
            jump_BC=none_BC,
            lost_BC=none_BC,
        )
        return (mended, group.body) if sharding is None else jax.device_put((mended, group.body), sharding)
    if sharding is not None:
        group = jax.device_put(group, sharding)
    return _mend_all(group), group.body


class _Ground(NamedTuple):
    """Movement over ground; the belt is detected in the first of at most two rounds."""

    round: jax.Array
    moved_BMC: jax.Array
    feet: treadmill.Feet
    belt: treadmill.Belt


def _take_out_belt(moved_BMC: jax.Array, frames_B: jax.Array, known_B: jax.Array, height_B: jax.Array) -> _Ground:
    """Subtract the travel of a treadmill's belt from the path, and compute the motion of the feet over ground.

    The feet are computed once where there is no belt, and again where its travel has been subtracted: in a loop, so
    that they are compiled once.
    """

    def look(before: _Ground) -> _Ground:
        feet = jax.vmap(partial(treadmill.feet, rate_hz=CANONICAL_RATE_HZ))(before.moved_BMC, height_B, frames_B)
        belt_of = jax.vmap(partial(treadmill.belt, rate_hz=CANONICAL_RATE_HZ))
        belt = belt_of(before.moved_BMC, feet, frames_B, known_B & (before.round == 0))
        over_ground = jax.vmap(partial(treadmill.overground, rate_hz=CANONICAL_RATE_HZ))
        moved_BMC = over_ground(before.moved_BMC, belt.velocity)
        belt = treadmill.Belt(before.belt.found | belt.found, before.belt.velocity + belt.velocity)
        return _Ground(before.round + 1, moved_BMC, feet, belt)

    def unsettled(state: _Ground) -> jax.Array:
        return (state.round == 0) | ((state.round == 1) & state.belt.found.any())

    rows, frames = moved_BMC.shape[:2]
    zero_BM = jnp.zeros((rows, frames))
    feet = treadmill.Feet(zero_BM, jnp.zeros((rows, frames, 3)), zero_BM, zero_BM)
    belt = treadmill.Belt(jnp.zeros(rows, bool), jnp.zeros((rows, 2)))
    return jax.lax.while_loop(unsettled, look, _Ground(jnp.int32(0), moved_BMC, feet, belt))


@partial(jax.jit, static_argnums=2)
def _fused(mended: _Mended, body: _Body, shape: _Shape) -> _Found:
    moved_BMC, frames_B = _at_30_hz(mended, body, shape)
    known_B = mended.observed_BC[:, _ROOT].all(1)
    _, moved_BMC, feet, belt = _take_out_belt(moved_BMC, frames_B, known_B, body.height_B)
    live_BM1 = (jnp.arange(shape.size) < frames_B[:, None])[..., None]
    moved_BMC = jnp.where(live_BM1 & mended.observed_BC[:, None], moved_BMC, 0.0)
    described_BMC = features(moved_BMC, CANONICAL_RATE_HZ, frames_B) * feature_mask(mended.observed_BC)[:, None]
    flags = quality.Flags(
        gap=mended.gap_B,
        trimmed=mended.trimmed_B,
        floating=jax.vmap(partial(quality.floating, rate_hz=CANONICAL_RATE_HZ))(feet, mended.observed_BC, frames_B),
        treadmill=belt.found,
        spike_C=mended.spike_BC,
        jump_C=mended.jump_BC,
        frozen_C=jax.vmap(quality.frozen)(moved_BMC, mended.observed_BC, frames_B),
        out_of_range_C=jax.vmap(quality.out_of_range)(moved_BMC, mended.observed_BC, frames_B),
        lost_C=mended.lost_BC,
    )
    return _Found(
        moved_BMC, described_BMC, frames_B, mended.first_B, mended.used_B, mended.observed_BC, belt.velocity, flags
    )


def _mend(group: _Group) -> _Mended:
    """Unwrap the angles of one recording (no axis B), fill its short gaps and find its longest usable part."""
    values_TC, count, asked_C, body = group
    observed_C, rate_hz = asked_C, body.rate_B
    live_T1 = (jnp.arange(len(values_TC)) < count)[:, None]
    asked_TC = live_T1 & observed_C
    known_TC = jnp.isfinite(values_TC) & asked_TC
    values_TC = gaps.unwrap(jnp.where(known_TC, values_TC, jnp.nan), live_T1[:, 0])
    spiked_TC = gaps.spikes(values_TC, rate_hz) & asked_TC
    missing_TC = asked_TC & (~known_TC | spiked_TC)
    values_TC, unknown_TC = gaps.fill(values_TC, known_TC & ~spiked_TC, count, rate_hz)
    unknown_TC &= missing_TC
    # Frames that hold nothing at all were not recorded: they are cut out, and speak against no coordinate.
    recorded_T1 = known_TC.any(1)[:, None]
    observed_C &= (unknown_TC & recorded_T1).sum(0) <= gaps.LOST_SHARE * recorded_T1.sum()
    jumped_TC = gaps.jumps(values_TC, rate_hz) & live_T1 & observed_C
    whole_T = live_T1[:, 0] & ~(unknown_TC & observed_C).any(1)
    first, used = gaps.longest_stretch(whole_T, jumped_TC.any(1))
    return _Mended(
        values_BTC=jnp.where(observed_C, values_TC, 0.0),
        observed_BC=observed_C,
        first_B=first,
        used_B=used,
        trimmed_B=used < count,
        gap_B=(missing_TC & ~spiked_TC & ~unknown_TC).any(),
        spike_BC=spiked_TC.any(0),
        jump_BC=jumped_TC.any(0),
        lost_BC=asked_C & ~observed_C,
    )


_mend_all = jax.jit(jax.vmap(_mend))


def _at_30_hz(mended: _Mended, body: _Body, shape: _Shape) -> tuple[jax.Array, jax.Array]:
    """New frames f32[B, M, C], the first at the first used frame, and how many of them are not padding."""
    if not shape.fastest:
        padded_BTC = jnp.pad(mended.values_BTC, ((0, 0), (0, shape.size), (0, 0)))
        cut = jax.vmap(lambda values_TC, first: jax.lax.dynamic_slice_in_dim(values_TC, first, shape.size))
        return cut(padded_BTC, mended.first_B), mended.used_B
    steps = int(np.ceil(shape.fastest / CANONICAL_RATE_HZ))

    def one(
        values_TC: jax.Array, first: jax.Array, used: jax.Array, rate_hz: jax.Array, kernel_K: jax.Array
    ) -> jax.Array:
        faster = rate_hz > CANONICAL_RATE_HZ
        return filtering.sample(
            values_TC, first, used, rate_hz, CANONICAL_RATE_HZ, faster, kernel_K, shape.size, shape.fastest, steps
        )

    moved_BMC = jax.vmap(one)(mended.values_BTC, mended.first_B, mended.used_B, body.rate_B, body.kernel_BK)
    return moved_BMC, filtering.new_frames_on_device(mended.used_B, body.rate_B, CANONICAL_RATE_HZ)


def _why_nothing_is_left(trajectory: Trajectory) -> str:
    """The coordinate that spoils a recording of which no two consecutive frames can be used."""
    unknown_C = np.where(trajectory.observed, (~np.isfinite(trajectory.coordinates)).mean(axis=0), 0.0)
    worst = int(unknown_C.argmax())
    if not trajectory.observed.any() or unknown_C[worst] == 0:
        return "no two consecutive frames can be used: its coordinates jump from frame to frame; export it again"
    return (
        f"no two consecutive frames can be used: {COORDINATES[worst]} is missing in {100 * unknown_C[worst]:.0f} % of "
        "the frames, or others are when it is not; fill or cut the gaps"
    )


def _prepared(trajectory: Trajectory, found: Any, row: int) -> Prepared:
    """The result for one row of a `_Found` of NumPy arrays."""
    frames, first = int(found.frames_B[row]), int(found.first_B[row])
    if frames < _FEWEST_FRAMES or not found.observed_BC[row].any():
        raise InputError(_why_nothing_is_left(trajectory))
    known = trajectory.metadata
    raised = quality.Flags(*(value[row] for value in found.flags)).names()
    if trajectory.frames - int(found.used_B[row]) > _MOST_CUT_S * trajectory.rate_hz:
        raised += (FRAGMENT,)
    moved = dataclasses.replace(
        trajectory,
        coordinates=found.coordinates_BMC[row, :frames].copy(),
        observed=found.observed_BC[row].copy(),
        rate_hz=CANONICAL_RATE_HZ,
        metadata=dataclasses.replace(known, flags=tuple(dict.fromkeys(known.flags + raised))),
    )
    used = slice(first, first + int(found.used_B[row]))
    return Prepared(moved, found.features_BMC[row, :frames].copy(), used, found.belt_B2[row].copy())
