"""Anchor movement to the floor: the root follows the stance foot, the legs are corrected so that no foot slides.

Joint angles alone describe how the body moves relative to its feet. The root is integrated so that the loaded contact
point stands still. In double support no root path can hold both feet, so a small damped least-squares inverse
kinematics of each leg (Levenberg-Marquardt with a fixed damping towards the uncorrected angles) brings heel and ball to
their plants and keeps the swing foot above the floor.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from scipy.ndimage import gaussian_filter1d, median_filter

from biomechgpt_jax.biomechanics import kinematics
from biomechgpt_jax.biomechanics.kinematics import FRACTIONS
from biomechgpt_jax.biomechanics.skeleton import INDEX, limits
from biomechgpt_jax.cohort.footing.schedule import BALL, HEEL, FootContact

_LEG_START = (INDEX["hip_flexion_r"], INDEX["hip_flexion_l"])
_ROOT = [INDEX["pelvis_tx"], INDEX["pelvis_ty"], INDEX["pelvis_tz"]]
_PELVIS = [INDEX["pelvis_tilt"], INDEX["pelvis_list"], INDEX["pelvis_rotation"]]
_SIDE = (1.0, -1.0)
_KNEE = 3
_FREE = 6  # hip flexion, adduction, rotation, knee, ankle and subtalar are corrected; mtp is not

# Resistance of each angle to correction (m per rad); hip rotation and the subtalar angle resist most.
_DAMPING = np.array([0.05, 0.05, 0.06, 0.05, 0.05, 0.08], np.float32)
_FLOOR_SOFTNESS_M = 0.006
# Iterations of each pass; between passes the root absorbs what the legs cannot reach.
_PASSES = (4, 2, 3)
_NEIGHBOURS = 5
_CHUNK = 16_384


@dataclass
class Movement:
    """Raw movement of one trial before and after anchoring.

    Attributes:
        coordinates: f32[T, 40]; raw ones may have any root translation, and anchoring replaces them.
        contact: when and how firmly each foot is on the floor.
        height_m: body height.
        line_error: lateral error per stance with which the feet are held to one straight line (tandem walk), or None.
        feet: f32[T, 2 feet, 2 points, 3] prescribed paths of heel and ball, to which the root's path in `coordinates`
            belongs (`footfalls`); None if they follow from the joint angles.
        heel_plant: for each foot f32[stances, 2], floor position (x, z) of the planted heel; set by `anchor`.
        correction_deg: root-mean-square correction of the leg angles; set by `anchor`.
    """

    coordinates: np.ndarray
    contact: FootContact
    height_m: float
    rate_hz: float
    line_error: tuple[np.ndarray, np.ndarray] | None = None
    feet: np.ndarray | None = None
    heel_plant: list[np.ndarray] | None = None
    correction_deg: float = 0.0


@partial(jax.jit, static_argnames="foot")
def _foot_points(coordinates: jax.Array, height_m: jax.Array, foot: int) -> jax.Array:
    """Heel and ball relative to the pelvis origin, f32[N, 2, 3]."""
    pelvis = kinematics.pelvis_frame(*(coordinates[:, i] for i in _PELVIS))
    start = _LEG_START[foot]
    leg = kinematics.leg(pelvis, coordinates[:, start : start + 7], _SIDE[foot], height_m)
    return jnp.stack([leg["heel"], leg["ball"]], axis=1)


def _residuals(
    change: jax.Array,
    q: jax.Array,
    origin: jax.Array,
    target: jax.Array,
    weight: jax.Array,
    floor: jax.Array,
    h: jax.Array,
    foot: int,
) -> jax.Array:
    """Residuals f32[N, 8 + 6]: errors of the held heel and ball, depth of both below the floor, damping."""
    start = _LEG_START[foot]
    pelvis = kinematics.pelvis_frame(*(q[:, i] for i in _PELVIS))
    angles = jnp.concatenate([q[:, start : start + _FREE] + change, q[:, start + _FREE : start + 7]], axis=1)
    leg = kinematics.leg(pelvis, angles, _SIDE[foot], h)
    heel, ball = leg["heel"] + origin, leg["ball"] + origin
    held_heel = (heel - target[:, HEEL]) * weight[:, HEEL, None]
    held_ball = (ball - target[:, BALL]) * weight[:, BALL, None]
    # A smooth one-sided residual: a hinge would switch off at the floor and let the next iteration fall back.
    above = jnp.stack([heel[:, 1], ball[:, 1]], axis=1) - floor[:, None]
    under = -_FLOOR_SOFTNESS_M * jax.nn.softplus((0.004 - above) / _FLOOR_SOFTNESS_M)
    return jnp.concatenate([held_heel, held_ball, under, change * _DAMPING], axis=1)


def _solve_spd(matrix: list[list[jax.Array]], right: list[jax.Array]) -> list[jax.Array]:
    """Solve small symmetric positive definite systems, given entry by entry as batches, by an unrolled Cholesky."""
    n = len(right)
    low: list[list[jax.Array]] = [[right[0]] * n for _ in range(n)]
    for i in range(n):
        for j in range(i + 1):
            rest = matrix[i][j] - sum((low[i][k] * low[j][k] for k in range(j)), jnp.zeros_like(right[0]))
            low[i][j] = jnp.sqrt(jnp.maximum(rest, 1e-12)) if i == j else rest / low[j][j]
    y: list[jax.Array] = []
    for i in range(n):
        y.append((right[i] - sum((low[i][k] * y[k] for k in range(i)), jnp.zeros_like(right[0]))) / low[i][i])
    x: list[jax.Array] = [right[0]] * n
    for i in reversed(range(n)):
        later = sum((low[k][i] * x[k] for k in range(i + 1, n)), jnp.zeros_like(right[0]))
        x[i] = (y[i] - later) / low[i][i]
    return x


@partial(jax.jit, static_argnames=("foot", "iterations"))
def _correct(
    q: jax.Array,
    change: jax.Array,
    origin: jax.Array,
    target: jax.Array,
    weight: jax.Array,
    floor: jax.Array,
    h: jax.Array,
    foot: int,
    iterations: int,
) -> jax.Array:
    """Refine the correction `change` f32[N, 6] of one leg's angles in `q`."""
    start = _LEG_START[foot]
    bounds = jnp.asarray(limits()[start : start + _FREE])
    raw = q[:, start : start + _FREE]
    # A nearly straight leg can reach a point with the knee bent either way: exclude the way the raw knee does not bend.
    lower = jnp.broadcast_to(bounds[:, 0], raw.shape).at[:, _KNEE].set(jnp.minimum(raw[:, _KNEE] - 0.03, 0.02))
    basis = jnp.eye(_FREE, dtype=jnp.float32)

    def iterate(_: int, change: jax.Array) -> jax.Array:
        def function(x: jax.Array) -> jax.Array:
            return _residuals(x, q, origin, target, weight, floor, h, foot)

        value = function(change)
        columns = [jax.jvp(function, (change,), (jnp.broadcast_to(basis[i], change.shape),))[1] for i in range(_FREE)]
        matrix = [[jnp.sum(a * b, axis=1) + 1e-8 * (a is b) for b in columns] for a in columns]
        step = _solve_spd(matrix, [jnp.sum(a * value, axis=1) for a in columns])
        updated = change - jnp.clip(jnp.stack(step, axis=1), -0.25, 0.25)
        return jnp.clip(raw + updated, lower, bounds[:, 1]) - raw

    return jax.lax.fori_loop(0, iterations, iterate, change)


def _in_chunks(function, *arrays: np.ndarray, **static: int) -> np.ndarray:
    """Apply a jitted per-frame function in chunks of equal shape, so that it compiles once."""
    count = len(arrays[0])
    pieces = []
    for begin in range(0, count, _CHUNK):
        part = [np.asarray(array[begin : begin + _CHUNK], np.float32) for array in arrays]
        short = _CHUNK - len(part[0])
        if short:
            part = [np.concatenate([x, np.repeat(x[-1:], short, axis=0)]) for x in part]
        pieces.append(np.asarray(function(*part, **static))[: _CHUNK - short])
    return np.concatenate(pieces)


def _integrate_root(movement: Movement, relative: np.ndarray) -> np.ndarray:
    """Root path f32[T, 3] in (x, y, z) from the loaded contact points.

    Args:
        relative: f32[T, 2 feet, 2 points, 3] heel and ball relative to the pelvis.
    """
    contact, dt = movement.contact, 1.0 / movement.rate_hz
    weight = contact.weight + 1e-3
    share = weight / weight.sum(axis=2, keepdims=True)  # [T, 2, 2]
    velocity = np.diff(relative, axis=0) / dt
    middle = 0.5 * (share[1:] + share[:-1])
    foot_velocity = (velocity * middle[..., None]).sum(axis=2)
    load = 0.5 * (contact.load[1:] + contact.load[:-1])
    root_velocity = -(foot_velocity * load[..., None]).sum(axis=1)
    path = np.concatenate([np.zeros((1, 3)), np.cumsum(root_velocity * dt, axis=0)])
    height = (-relative[..., 1].min(axis=2) * contact.load).sum(axis=1)
    path[:, 1] = height
    # Smooth the jumps where the raw legs disagree in double support; the legs' correction makes up the rest.
    return gaussian_filter1d(path, 1.2, axis=0, mode="nearest")


def _plants(movement: Movement, world: np.ndarray, foot: int) -> tuple[np.ndarray, np.ndarray]:
    """Planted heel and ball (x, y, z) of each stance, f32[S, 3] each, averaged over the frames that load the foot."""
    weight, load = movement.contact.weight[:, foot], movement.contact.load[:, foot]
    stance = movement.contact.stance[:, foot]
    count = int(stance.max()) + 1
    firm = weight[:, BALL] * load**2 + 1e-6 * weight.max(axis=1) + 1e-12
    flat = weight[:, HEEL] * weight[:, BALL] * load + 1e-6 * weight.max(axis=1) + 1e-12
    total: np.ndarray = np.bincount(stance, firm, count) + 1e-12
    ball = np.stack([np.bincount(stance, firm * world[:, BALL, axis], count) / total for axis in (0, 2)], axis=1)
    along = world[:, BALL] - world[:, HEEL]
    direction: np.ndarray = np.stack([np.bincount(stance, flat * along[:, axis], count) for axis in (0, 2)], axis=1)
    direction = direction / np.maximum(np.linalg.norm(direction, axis=1, keepdims=True), 1e-9)
    if movement.line_error is not None:
        direction = np.tile([1.0, 0.0], (count, 1))
        ball[:, 1] = movement.line_error[foot][:count]
    length = (FRACTIONS.heel_back + FRACTIONS.ball_forward) * movement.height_m
    heel = ball - length * direction
    floor = np.zeros(count)
    return np.stack([heel[:, 0], floor, heel[:, 1]], 1), np.stack([ball[:, 0], floor, ball[:, 1]], 1)


def _set_given_plants(movement: Movement) -> np.ndarray:
    """Set the plants of prescribed feet and return the height of the floor under each, f32[T, 2]."""
    assert movement.feet is not None
    movement.heel_plant, floors = [], np.zeros((len(movement.feet), 2), np.float32)
    for foot in (0, 1):
        heel, down = movement.feet[:, foot, HEEL], movement.contact.weight[:, foot, HEEL] > 0
        stance = movement.contact.stance[:, foot]
        first = [int(np.flatnonzero(down & (stance == s))[0]) for s in range(int(stance.max()) + 1)]
        movement.heel_plant.append(heel[first][:, [0, 2]].astype(np.float32))
        # In swing the floor is the lower of the plant and the heel's path, which itself provides the clearance.
        level = heel[first][:, 1]
        floors[:, foot] = np.where(down, level[stance], np.minimum(level[stance], heel[:, 1]))
    return floors


def anchor(movements: list[Movement]) -> None:
    """Anchor every movement in place: root translation and leg angles; sets `heel_plant` and `correction_deg`."""
    if not movements:
        return
    q = np.concatenate([m.coordinates for m in movements]).astype(np.float32)
    height = np.concatenate([np.full(len(m.coordinates), m.height_m, np.float32) for m in movements])
    ends = np.cumsum([len(m.coordinates) for m in movements])
    slices = [slice(end - len(m.coordinates), end) for m, end in zip(movements, ends, strict=True)]
    relative = np.stack([_in_chunks(_foot_points, q, height, foot=foot) for foot in (0, 1)], axis=1)
    root = np.zeros((len(q), 3), np.float32)
    target = np.zeros((len(q), 2, 2, 3), np.float32)
    weights, floors = [], np.zeros((len(q), 2), np.float32)
    for movement, part in zip(movements, slices, strict=True):
        weights.append(movement.contact.weight)
        if movement.feet is not None:
            weights[-1] = np.ones_like(movement.contact.weight)  # prescribed feet are held in swing as well
            root[part], target[part] = q[part][:, _ROOT], movement.feet
            floors[part] = _set_given_plants(movement)
            continue
        root[part] = _integrate_root(movement, relative[part])
        movement.heel_plant = []
        for foot in (0, 1):
            world = relative[part, foot] + root[part, None]
            heel, ball = _plants(movement, world, foot)
            index = movement.contact.stance[:, foot]
            target[part, foot, HEEL], target[part, foot, BALL] = heel[index], ball[index]
            movement.heel_plant.append(heel[:, [0, 2]].astype(np.float32))
    weight = np.concatenate(weights)
    load = np.concatenate([m.contact.load for m in movements])
    raw = q.copy()
    change = np.zeros((2, len(q), _FREE), np.float32)
    for number, iterations in enumerate(_PASSES):
        if number:
            root += _residual_shift(q, root, target, weight, load, height, slices)
            # Single frames that did not converge, as at a quick toe off, restart from their neighbours' median.
            for part in slices:
                change[:, part] = median_filter(change[:, part], size=(1, _NEIGHBOURS, 1), mode="nearest")
        for foot in (0, 1):
            change[foot] = _in_chunks(
                _correct,
                *(raw, change[foot], root, target[:, foot], weight[:, foot], floors[:, foot], height),
                foot=foot,
                iterations=iterations,
            )
            start = _LEG_START[foot]
            q[:, start : start + _FREE] = raw[:, start : start + _FREE] + change[foot]
    q[:, _ROOT] = root
    for movement, part in zip(movements, slices, strict=True):
        movement.coordinates = q[part]
        movement.correction_deg = float(np.degrees(np.sqrt(np.mean((q[part, 6:20] - raw[part, 6:20]) ** 2))))


def _residual_shift(q, root, target, weight, load, height, slices) -> np.ndarray:
    """Smooth shift of the root f32[N, 3] that makes up for what the legs could not reach."""
    shift = np.zeros_like(root)
    total = np.full((len(q), 1), 1e-3, np.float32)
    for foot in (0, 1):
        points = _in_chunks(_foot_points, q, height, foot=foot) + root[:, None]
        share = weight[:, foot] * (0.2 + load[:, foot, None])
        shift += ((target[:, foot] - points) * share[..., None]).sum(axis=1)
        total += share.sum(axis=1, keepdims=True)
    shift /= total
    for part in slices:
        shift[part] = gaussian_filter1d(shift[part], 1.5, axis=0, mode="nearest")
    return shift
