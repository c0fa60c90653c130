"""Tests of walking: ten metres, how straight a walk is, heel-to-toe steps, and a full turn on the spot."""

from typing import Literal, NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter1d

from biomechgpt_jax.biomechanics.kinematics import FRACTIONS
from biomechgpt_jax.biomechanics.scores.balance import CUT
from biomechgpt_jax.biomechanics.scores.body import LEGS, PATH, Body, Phase, Result, begins, body_of, crossing, runs
from biomechgpt_jax.biomechanics.trajectory import Contacts, Trajectory
from biomechgpt_jax.errors import InputError

COURSE_M, TIMED_M = 10.0, 6.0
# The walkway of the functional gait assessment: 12 inches (form of the FGA [physio-pedia]).
WALKWAY_M = 0.305
# A path that is this much longer than the way from its start to its end is no straight walk.
_CROOKED = 1.08
# The path of the body without the sway of its steps.
_PATH_S = 0.5
# A walk starts from standing if it begins slower than this share of its mean speed.
_STATIC = 0.4
# Heel to toe: the front foot is a foot's length before the other within this share of it, and this near its line as a
# share of body height [this program's own; the scale says heel to toe].
_TOE_GAP, _LINE_SHARE = 0.50, 0.050
_FOOT = FRACTIONS.heel_back + FRACTIONS.ball_forward + FRACTIONS.toe_forward
# A foot that moves faster than this over the floor, and farther than this share of its length, swings.
_SWING_M_S, _SWUNG = 0.4, 0.6
FULL_TURN_RAD = np.radians(330.0)


class _Course(NamedTuple):
    """Distance along and beside the straight way from first to last frame, f64[T] metres each."""

    along: np.ndarray
    beside: np.ndarray


def _course(body: Body, test: str, least_m: float) -> _Course:
    """The straight way of a walk of at least `least_m`.

    Raises:
        InputError: it is shorter, or not straight.
    """
    floor = body.point("pelvis")[:, [0, 2]]
    way = floor[-1] - floor[0]
    distance = float(np.linalg.norm(way))
    axis = way / max(distance, 1e-6)
    if distance < least_m:
        raise InputError(f"{test}: the walk goes {distance:.1f} m one way, the test needs {least_m:g} m")
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
        start: "flying" takes the mean speed of the middle `timed_m` and gives the seconds for `course_m` at it;
            "static" takes the seconds from the first movement until `course_m` are walked.
        timed_m, course_m: in metres.

    Raises:
        InputError: the pelvis does not go `timed_m` straight one way; for "static", not the whole course, or the
            walk is under way at the first frame.
    """
    test = "ten metre walk"
    body = body_of(trajectory, test, PATH)
    along, _ = _course(body, test, timed_m if start == "flying" else course_m)
    rising = along + 1e-9 * np.arange(len(along))
    standing = _starts_from_standing(body, along)
    if start == "static":
        if not standing:
            raise InputError(f"{test}: the walk is under way at the first frame; give one that starts from standing")
        first = begins(along, int(np.argmax(np.gradient(along)))) / body.rate_hz
        end = float(np.interp(np.interp(first, body.seconds(), along) + course_m, rising, body.seconds()))
        if end >= body.seconds()[-1]:
            raise InputError(f"{test}: fewer than {course_m:g} m from the first movement; give the whole course")
        return Result("ten_metre_walk_time", end - first, "s", first, end, flags=("static start",))
    lead = min(0.5 * (along[-1] - timed_m), 0.5 * (course_m - timed_m))
    begin, end = (float(at) for at in np.interp([lead, lead + timed_m], rising, body.seconds()))
    short = (f"course shorter than {course_m:g} m",) if along[-1] < course_m else ()
    # Less than a metre is not enough to come to speed.
    slow = ("gathers speed inside the timed part",) if standing and lead < 1.0 else ()
    value = (end - begin) * course_m / timed_m
    return Result("ten_metre_walk_time", value, "s", begin, end, flags=(*short, *slow))


def level_walk(trajectory: Trajectory) -> tuple[float, float]:
    """Seconds for six metres, and centimetres that the walk goes outside the walkway of the functional gait assessment.

    The walkway is as straight as the way from first to last frame and 30.5 cm wide; a walk is outside by how far the
    pelvis, without the sway of its steps, leaves it.

    Raises:
        InputError: the pelvis does not go six metres straight.
    """
    body = body_of(trajectory, "level walking", PATH)
    along, beside = _course(body, "level walking", TIMED_M)
    lead = 0.5 * (along[-1] - TIMED_M)
    begin, end = np.interp([lead, lead + TIMED_M], along + 1e-9 * np.arange(len(along)), body.seconds())
    path = gaussian_filter1d(beside, _PATH_S * body.rate_hz, mode="nearest")
    outside = float(np.max(np.abs(path - np.median(path)))) - 0.5 * WALKWAY_M
    return float(end - begin), 100.0 * max(0.0, outside)


def _plants(body: Body) -> Contacts:
    """Where feet stand between their swings, for steps too short and slow for the detector of gait.

    The place of a plant is the median of the whole of it; only swings that take a foot somewhere count.
    """
    found: list[tuple[int, int, int, np.ndarray]] = []
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
                found.append((a, b, foot, np.median(place[a:b], axis=0)))
    # Of two feet that stand at the first frame, the one behind leaves first.
    found.sort(key=lambda plant: plant[:2])
    return Contacts(
        np.array([begin / body.rate_hz for begin, _, _, _ in found], np.float32),
        np.array([foot for _, _, foot, _ in found], np.int32),
        np.array([place for _, _, _, place in found], np.float32).reshape(-1, 2),
    )


def tandem_steps(trajectory: Trajectory, contacts: Contacts | None = None) -> Result:
    """How many steps in a row go heel to toe on a line, for the narrow-base item of the functional gait assessment.

    Each step is judged by where the foot stands that made it, and the foot behind.

    Args:
        contacts: of the trajectory; places of the feet are found in it unless given.

    Raises:
        InputError: fewer than three steps.
    """
    body = body_of(trajectory, "tandem walk", (*LEGS, *PATH))
    found = _plants(body) if contacts is None else contacts
    time, foot, place = found.strike_time, found.strike_foot, found.strike_xz.astype(np.float64)
    if len(time) < 4:
        raise InputError(f"tandem walk: {max(0, len(time) - 1)} steps found; give a walk of ten")
    way = 0.5 * (place[-1] + place[-2] - place[1] - place[0])
    axis = way / max(float(np.linalg.norm(way)), 1e-6)
    step = np.diff(place, axis=0)
    along, aside = step @ axis, step @ np.array([-axis[1], axis[0]])
    length = _FOOT * body.height_m
    # Angles wrong by a constant lengthen every other step: two in a row must fit on average, each more loosely.
    pair = 0.5 * (along[1:] + along[:-1])
    fits = np.abs(pair - length) <= _TOE_GAP * length
    fits = np.concatenate([fits, fits[-1:]]) | np.concatenate([fits[:1], fits])
    good = fits & (np.abs(along - length) <= 1.5 * _TOE_GAP * length)
    good &= (np.abs(aside) <= _LINE_SHARE * body.height_m) & (foot[1:] != foot[:-1])
    spans = runs(good)
    first, last = max(spans, key=lambda span: span[1] - span[0]) if spans else (0, 0)
    # A run that the recording cuts may have gone on.
    cut = last > first and (first == 0 or last == len(good)) and last - first < 10
    start, end = float(time[first]), float(time[last])
    flags = (CUT,) if cut else ()
    return Result("tandem_steps", float(last - first), "steps", start, end, flags=flags)


def full_turns(trajectory: Trajectory) -> dict[str, Result]:
    """Seconds of the quickest full turn on the spot to the "left" and to the "right", for the item of the Berg scale.

    Empty where nobody turns all the way round.
    """
    body = body_of(trajectory, "full turn")
    heading = gaussian_filter1d(body.facing(), 0.25 * body.rate_hz, mode="nearest")
    rate = np.gradient(heading)
    found: dict[str, Result] = {}
    # The heading in the floor plane (x, z right) grows to the right.
    for side, sign in (("right", 1.0), ("left", -1.0)):
        turning = sign * rate > 0.1 * max(float(np.max(sign * rate)), 1e-6)
        for a, b in runs(turning):
            if abs(heading[b - 1] - heading[a]) < FULL_TURN_RAD:
                continue
            level = 0.1 * float(np.max(sign * rate[a:b]))
            start = (crossing(sign * rate, level, a - 1) if a else 0.0) / body.rate_hz
            end = (crossing(sign * rate, level, b - 1) if b < len(rate) else len(rate) - 1.0) / body.rate_hz
            if side not in found or end - start < found[side].value:
                phase = Phase(f"turn to the {side}", start, end)
                found[side] = Result("full_turn_time", end - start, "s", start, end, (phase,))
    return found
