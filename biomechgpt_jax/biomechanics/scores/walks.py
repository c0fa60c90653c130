"""Tests of walking: ten metres, straightness, heel-to-toe steps, and a full turn on the spot."""

from typing import Literal, NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter1d

from biomechgpt_jax.biomechanics.kinematics import FRACTIONS
from biomechgpt_jax.biomechanics.scores.balance import CUT
from biomechgpt_jax.biomechanics.scores.body import (
    LEGS,
    PATH,
    Body,
    Phase,
    Result,
    body_of,
    crossing,
    runs,
    start_of_movement,
)
from biomechgpt_jax.biomechanics.trajectory import Contacts, Trajectory
from biomechgpt_jax.errors import InputError

COURSE_M, TIMED_M = 10.0, 6.0
# The walkway of the functional gait assessment: 12 inches (form of the FGA [physio-pedia]).
WALKWAY_M = 0.305
# A walk whose path is longer than this multiple of the distance from its start to its end is not straight.
_CROOKED = 1.08
# A Gaussian of this width removes the sway of the steps from the path of the body.
_PATH_S = 0.5
# A walk starts from standing if its initial speed is below this share of its mean speed.
_STATIC = 0.4
# Heel to toe: the front foot is a foot's length ahead of the other, give or take this share of it, and this close to
# its line as a share of body height [this program's own; the scale says heel to toe].
_TOE_GAP, _LINE_SHARE = 0.50, 0.050
_FOOT = FRACTIONS.heel_back + FRACTIONS.ball_forward + FRACTIONS.toe_forward
# A foot swings if it moves faster than this over the floor, and farther than this share of its length.
_SWING_M_S, _SWUNG = 0.4, 0.6
FULL_TURN_RAD = np.radians(330.0)


class _Course(NamedTuple):
    """Distances along and across the straight line from the first to the last position, f64[T] metres each."""

    along: np.ndarray
    beside: np.ndarray


def _straight_course(body: Body, test: str, least_m: float) -> _Course:
    """The course of a straight walk of at least `least_m`.

    Raises:
        InputError: the walk is shorter, or not straight.
    """
    floor = body.point("pelvis")[:, [0, 2]]
    displacement = floor[-1] - floor[0]
    distance = float(np.linalg.norm(displacement))
    axis = displacement / max(distance, 1e-6)
    if distance < least_m:
        raise InputError(
            f"{test}: the walk covers {distance:.1f} m, but the test needs {least_m:g} m; give a longer walk"
        )
    path = gaussian_filter1d(floor, _PATH_S * body.rate_hz, axis=0, mode="nearest")
    length = float(np.linalg.norm(np.diff(path, axis=0), axis=1).sum())
    if length > _CROOKED * float(np.linalg.norm(path[-1] - path[0])):
        raise InputError(f"{test}: the walk is not straight ({length:.1f} m for {distance:.1f} m); give a straight one")
    along, beside = (floor - floor[0]) @ axis, (floor - floor[0]) @ np.array([-axis[1], axis[0]])
    return _Course(np.maximum.accumulate(along), beside)


def _starts_from_standing(body: Body, along: np.ndarray) -> bool:
    first = max(2, round(0.3 * body.rate_hz))
    return bool(along[first] / first < _STATIC * along[-1] / len(along))


def ten_metre_walk(
    trajectory: Trajectory,
    start: Literal["flying", "static"] = "flying",
    timed_m: float = TIMED_M,
    course_m: float = COURSE_M,
) -> Result:
    """Seconds for the course of a straight walk (10-metre walk test; the timed middle as in Watson 2002 [memory]).

    Args:
        start: "flying" measures the mean speed over the middle `timed_m` and returns the seconds for `course_m` at that
            speed; "static" measures the seconds from the first movement until `course_m` are walked.
        timed_m, course_m: lengths in metres.

    Raises:
        InputError: the pelvis does not move `timed_m` straight; for "static", it does not cover the whole course, or
            the walk is under way at the first frame.
    """
    test = "ten metre walk"
    body = body_of(trajectory, test, PATH)
    along, _ = _straight_course(body, test, timed_m if start == "flying" else course_m)
    rising = along + 1e-9 * np.arange(len(along))
    standing = _starts_from_standing(body, along)
    if start == "static":
        if not standing:
            raise InputError(f"{test}: the walk is under way at the first frame; give one that starts from standing")
        first = start_of_movement(along, int(np.argmax(np.gradient(along)))) / body.rate_hz
        end = float(np.interp(np.interp(first, body.seconds(), along) + course_m, rising, body.seconds()))
        if end >= body.seconds()[-1]:
            raise InputError(f"{test}: fewer than {course_m:g} m from the first movement; give the whole course")
        return Result("ten_metre_walk_time", end - first, "s", first, end, flags=("static start",))
    lead = min(0.5 * (along[-1] - timed_m), 0.5 * (course_m - timed_m))
    begin, end = (float(at) for at in np.interp([lead, lead + timed_m], rising, body.seconds()))
    short = (f"course shorter than {course_m:g} m",) if along[-1] < course_m else ()
    # Less than a metre is not enough to reach full speed.
    slow = ("gathers speed inside the timed part",) if standing and lead < 1.0 else ()
    value = (end - begin) * course_m / timed_m
    return Result("ten_metre_walk_time", value, "s", begin, end, flags=(*short, *slow))


def level_walk(trajectory: Trajectory) -> tuple[float, float]:
    """Seconds for six metres, and centimetres by which the walk leaves the walkway of the functional gait assessment.

    The walkway is 30.5 cm wide and parallel to the line from the first to the last position; the deviation is that of
    the pelvis, without the sway of its steps.

    Raises:
        InputError: the pelvis does not move six metres straight.
    """
    body = body_of(trajectory, "level walking", PATH)
    along, beside = _straight_course(body, "level walking", TIMED_M)
    lead = 0.5 * (along[-1] - TIMED_M)
    begin, end = np.interp([lead, lead + TIMED_M], along + 1e-9 * np.arange(len(along)), body.seconds())
    path = gaussian_filter1d(beside, _PATH_S * body.rate_hz, mode="nearest")
    outside = float(np.max(np.abs(path - np.median(path)))) - 0.5 * WALKWAY_M
    return float(end - begin), 100.0 * max(0.0, outside)


def _plants(body: Body) -> Contacts:
    """Where feet stand between their swings, for steps too short and slow for the gait event detector.

    The place of a plant is the median over all of it; only swings that move a foot to another place count.
    """
    plants: list[tuple[int, int, int, np.ndarray]] = []
    for foot, side in enumerate("rl"):
        place = 0.5 * (body.point(f"heel_{side}") + body.point(f"ball_{side}"))[:, [0, 2]]
        speed = np.linalg.norm(np.gradient(place, axis=0), axis=1) * body.rate_hz
        wide = round(0.2 * body.rate_hz)
        swings = [
            (a, b)
            for a, b in runs(speed > _SWING_M_S)
            if np.linalg.norm(place[min(b + wide, len(place) - 1)] - place[max(0, a - wide)])
            > _SWUNG * _FOOT * body.height_m
        ]
        edges = [0, *(frame for swing in swings for frame in swing), len(place)]
        for a, b in zip(edges[::2], edges[1::2], strict=True):
            if b - a >= wide:
                plants.append((a, b, foot, np.median(place[a:b], axis=0)))
    # Of two feet that stand at the first frame, the one behind leaves first.
    plants.sort(key=lambda plant: plant[:2])
    return Contacts(
        np.array([begin / body.rate_hz for begin, _, _, _ in plants], np.float32),
        np.array([foot for _, _, foot, _ in plants], np.int32),
        np.array([place for _, _, _, place in plants], np.float32).reshape(-1, 2),
    )


def tandem_steps(trajectory: Trajectory, contacts: Contacts | None = None) -> Result:
    """Number of consecutive heel-to-toe steps on a line, for the narrow-base item of the functional gait assessment.

    Each step is judged by the place of the foot that made it relative to the foot behind.

    Args:
        contacts: contacts of the trajectory; by default the places of the feet are detected in it.

    Raises:
        InputError: fewer than three steps.
    """
    body = body_of(trajectory, "tandem walk", (*LEGS, *PATH))
    plants = _plants(body) if contacts is None else contacts
    time, foot, place = plants.strike_time, plants.strike_foot, plants.strike_xz.astype(np.float64)
    if len(time) < 4:
        raise InputError(f"tandem walk: only {max(0, len(time) - 1)} steps; give a walk of ten")
    displacement = 0.5 * (place[-1] + place[-2] - place[1] - place[0])
    axis = displacement / max(float(np.linalg.norm(displacement)), 1e-6)
    step = np.diff(place, axis=0)
    along, aside = step @ axis, step @ np.array([-axis[1], axis[0]])
    length = _FOOT * body.height_m
    # A constant error of the angles lengthens every other step: pairs of steps must fit on average, each less tightly.
    pair = 0.5 * (along[1:] + along[:-1])
    fits = np.abs(pair - length) <= _TOE_GAP * length
    fits = np.concatenate([fits, fits[-1:]]) | np.concatenate([fits[:1], fits])
    good = fits & (np.abs(along - length) <= 1.5 * _TOE_GAP * length)
    good &= (np.abs(aside) <= _LINE_SHARE * body.height_m) & (foot[1:] != foot[:-1])
    spans = runs(good)
    first, last = max(spans, key=lambda span: span[1] - span[0]) if spans else (0, 0)
    # A run that the recording cuts short may have continued.
    cut = last > first and (first == 0 or last == len(good)) and last - first < 10
    start, end = float(time[first]), float(time[last])
    flags = (CUT,) if cut else ()
    return Result("tandem_steps", float(last - first), "steps", start, end, flags=flags)


def full_turns(trajectory: Trajectory) -> dict[str, Result]:
    """Seconds of the quickest full turn on the spot to the "left" and to the "right", for the item of the Berg scale.

    Sides to which the person does not turn all the way around are absent.
    """
    body = body_of(trajectory, "full turn")
    heading = gaussian_filter1d(body.facing(), 0.25 * body.rate_hz, mode="nearest")
    rate = np.gradient(heading)
    quickest: dict[str, Result] = {}
    # The heading in the floor plane (x forward, z right) increases to the right.
    for side, sign in (("right", 1.0), ("left", -1.0)):
        turning = sign * rate > 0.1 * max(float(np.max(sign * rate)), 1e-6)
        for a, b in runs(turning):
            if abs(heading[b - 1] - heading[a]) < FULL_TURN_RAD:
                continue
            level = 0.1 * float(np.max(sign * rate[a:b]))
            start = (crossing(sign * rate, level, a - 1) if a else 0.0) / body.rate_hz
            end = (crossing(sign * rate, level, b - 1) if b < len(rate) else len(rate) - 1.0) / body.rate_hz
            if side not in quickest or end - start < quickest[side].value:
                phase = Phase(f"turn to the {side}", start, end)
                quickest[side] = Result("full_turn_time", end - start, "s", start, end, (phase,))
    return quickest
