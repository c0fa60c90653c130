"""Timed tests that start on a chair: sit to stand, five times sit to stand, timed up and go."""

import numpy as np
from scipy.ndimage import gaussian_filter1d

from biomechgpt_jax.biomechanics.scores.body import (
    SEATED,
    STANDING,
    Body,
    Phase,
    Result,
    body_of,
    end_of_rise,
    end_of_sitting_down,
    rising_course,
    runs,
    start_of_rise,
)
from biomechgpt_jax.biomechanics.trajectory import Trajectory
from biomechgpt_jax.errors import InputError

# A turn of the timed up and go covers at least this angle.
TURN_RAD = np.radians(100.0)
# A rise that starts this soon after the person stood is the second half of a squat.
_SQUAT_S = 1.5
# A turn is under way while the pelvis turns faster than this share of its greatest rate.
_TURNING = 0.15


def _find_stands(course: np.ndarray) -> list[tuple[int, int]]:
    """Frames of leaving the seat and of standing, for every rise."""
    stands, left = [], None
    for frame in range(1, len(course)):
        if course[frame - 1] < SEATED <= course[frame]:
            left = frame - 1
        if left is not None and course[frame - 1] < STANDING <= course[frame]:
            stands.append((left, frame))
            left = None
    return stands


def _require_seated_before(course: np.ndarray, left: int, rate_hz: float, test: str) -> None:
    """Refuse a rise that immediately follows a descent: that is a squat, not a stand from a chair."""
    high = np.flatnonzero(course[:left] > STANDING)
    if len(high) and left - high[-1] < _SQUAT_S * rate_hz:
        raise InputError(
            f"{test}: the person starts standing, as in a squat; give a recording that starts on the chair"
        )


def sit_to_stand(trajectory: Trajectory) -> Result:
    """Seconds of the first rise from a chair, from the first lean of the trunk until knees and trunk are straight.

    Raises:
        InputError: nobody rises from a chair.
    """
    body = body_of(trajectory, "sit to stand")
    course = rising_course(body, "sit to stand")
    stands = _find_stands(course)
    if not stands:
        raise InputError("sit to stand: the person does not reach standing; give the whole movement")
    left, up = stands[0]
    _require_seated_before(course, left, body.rate_hz, "sit to stand")
    start, end = start_of_rise(body, left) / body.rate_hz, end_of_rise(body, left, up) / body.rate_hz
    return Result("sit_to_stand_time", end - start, "s", start, end, (Phase("rise", start, end),))


def five_times_sit_to_stand(trajectory: Trajectory) -> Result:
    """Seconds from the first lean of the trunk until the person stands the fifth time (Guralnik 1994 [memory]).

    The phases are the five stands.

    Raises:
        InputError: there are fewer than five stands, or they do not start on a chair.
    """
    body = body_of(trajectory, "five times sit to stand")
    course = rising_course(body, "five times sit to stand")
    stands = _find_stands(course)
    if len(stands) < 5:
        raise InputError(f"five times sit to stand: only {len(stands)} stands; give the whole test")
    _require_seated_before(course, stands[0][0], body.rate_hz, "five times sit to stand")
    # Stands after the first start no sooner than the lowest point of sitting, because the trunk keeps leaning between.
    pairs = zip(stands[:4], stands[1:5], strict=True)
    lowest = [0, *(up + int(np.argmin(course[up:left])) for (_, up), (left, _) in pairs)]
    begins = [max(start_of_rise(body, left), low) for (left, _), low in zip(stands[:5], lowest, strict=True)]
    ends = [end_of_rise(body, left, up) for left, up in stands[:5]]
    rate = body.rate_hz
    spans = enumerate(zip(begins, ends, strict=True), 1)
    phases = tuple(Phase(f"stand {count}", a / rate, b / rate) for count, (a, b) in spans)
    start, end = begins[0] / rate, ends[4] / rate
    flags = ("more than five stands",) if len(stands) > 5 else ()
    return Result("five_times_sit_to_stand_time", end - start, "s", start, end, phases, flags)


def _turns(body: Body, begin: int, end: int) -> list[tuple[int, int]]:
    """First frame and end of every turn of more than TURN_RAD between two frames."""
    heading = gaussian_filter1d(body.facing(), 0.25 * body.rate_hz, mode="nearest")
    rate = np.gradient(heading)
    rate[:begin] = rate[end:] = 0.0
    turns = []
    for sign in (1.0, -1.0):
        turning = sign * rate > _TURNING * np.max(np.abs(rate))
        turns += [(a, b) for a, b in runs(turning) if abs(heading[b - 1] - heading[a]) > TURN_RAD]
    return sorted(turns)


def timed_up_and_go(trajectory: Trajectory) -> Result:
    """Seconds from the first lean of the trunk in the chair until the person is seated again (Podsiadlo 1991 [memory]).

    Phases: sit (before the clock starts), rise, walk out, turn, walk back, turn and sit; the last five add up to the
    value.

    Raises:
        InputError: a rise, one of the two half turns or the sitting down is missing.
    """
    body = body_of(trajectory, "timed up and go")
    course = rising_course(body, "timed up and go")
    stands = _find_stands(course)
    down = [frame for frame in range(1, len(course)) if course[frame] < SEATED <= course[frame - 1]]
    if not stands or not down or down[-1] <= stands[0][1]:
        raise InputError("timed up and go: no rise from a chair with sitting down again; give the whole test")
    left, up = stands[0]
    seated = end_of_sitting_down(body, down[-1])
    turns = _turns(body, up, min(round(seated) + 1, len(course)))
    if len(turns) < 2:
        raise InputError(f"timed up and go: {len(turns)} half turns, but the test has two; give the whole test")
    begin, upright = start_of_rise(body, left), end_of_rise(body, left, up)
    first, last = turns[0], turns[-1]
    edges = [0.0, begin, min(upright, first[0]), first[0], first[1], last[0], seated]
    names = ("sit", "rise", "walk out", "turn", "walk back", "turn and sit")
    rate = body.rate_hz
    phases = tuple(Phase(name, a / rate, b / rate) for name, a, b in zip(names, edges[:-1], edges[1:], strict=True))
    flags = ("more than two turns",) if len(turns) > 2 else ()
    return Result("tug_time", (seated - begin) / rate, "s", begin / rate, seated / rate, phases, flags)
