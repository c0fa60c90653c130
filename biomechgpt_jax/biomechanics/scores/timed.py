"""Tests against the clock: timed up and go, chair stands, 10-metre walk, four square step."""

import numpy as np
from scipy.ndimage import gaussian_filter1d

from biomechgpt_jax.biomechanics.scores.body import (
    SEATED,
    STANDING,
    Body,
    Phase,
    Result,
    body_of,
    rise_begins,
    rise_ends,
    risen,
    runs,
    sitting_ends,
)
from biomechgpt_jax.biomechanics.trajectory import Trajectory
from biomechgpt_jax.errors import InputError

COURSE_M, TIMED_M = 10.0, 6.0
# A turn of the timed up and go goes through at least this much.
TURN_RAD = np.radians(100.0)
# A turn is under way while the pelvis turns faster than this share of its fastest.
_TURNING = 0.15
# A step of the four square step lands in another square if it goes this far.
_SQUARE_M = 0.15


def _stands(course: np.ndarray) -> list[tuple[int, int]]:
    """Frames from leaving the seat to standing of every rise."""
    found, left = [], None
    for frame in range(1, len(course)):
        if course[frame - 1] < SEATED <= course[frame]:
            left = frame - 1
        if left is not None and course[frame - 1] < STANDING <= course[frame]:
            found.append((left, frame))
            left = None
    return found


def five_times_sit_to_stand(trajectory: Trajectory) -> Result:
    """Seconds from the first lean of the trunk until the person stands the fifth time.

    Phases are the five stands. Raises InputError where there are not five.
    """
    body = body_of(trajectory)
    course = risen(body, "five times sit to stand")
    stands = _stands(course)
    if len(stands) < 5:
        raise InputError(f"five times sit to stand: {len(stands)} stands found; give the whole test")
    begins = [rise_begins(body, left) for left, _ in stands[:5]]
    ends = [rise_ends(body, left, up) for left, up in stands[:5]]
    rate = body.rate_hz
    spans = enumerate(zip(begins, ends, strict=True), 1)
    phases = tuple(Phase(f"stand {count}", a / rate, b / rate) for count, (a, b) in spans)
    start, end = begins[0] / rate, ends[4] / rate
    flags = ("more than five stands",) if len(stands) > 5 else ()
    return Result("five_times_sit_to_stand_time", end - start, "s", start, end, phases, flags)


def _turns(body: Body, begin: int, end: int) -> list[tuple[int, int]]:
    """Frames of every turn of more than TURN_RAD between two frames."""
    heading = gaussian_filter1d(body.facing(), 0.25 * body.rate_hz, mode="nearest")
    rate = np.gradient(heading)
    rate[:begin] = rate[end:] = 0.0
    found = []
    for sign in (1.0, -1.0):
        turning = sign * rate > _TURNING * np.max(np.abs(rate))
        found += [(a, b) for a, b in runs(turning) if abs(heading[b - 1] - heading[a]) > TURN_RAD]
    return sorted(found)


def timed_up_and_go(trajectory: Trajectory) -> Result:
    """Seconds from the first lean of the trunk in the chair until the person is seated again.

    Phases: rise, walk out, turn, walk back, turn and sit. Raises InputError where a rise, one of
    the two half turns or the sitting down is missing.
    """
    body = body_of(trajectory)
    course = risen(body, "timed up and go")
    stands = _stands(course)
    down = [frame for frame in range(1, len(course)) if course[frame] < SEATED <= course[frame - 1]]
    if not stands or not down or down[-1] <= stands[0][1]:
        raise InputError("timed up and go: needs a rise from a chair and sitting down again; give the whole test")
    left, up = stands[0]
    seated = sitting_ends(body, down[-1])
    turns = _turns(body, up, min(round(seated) + 1, len(course)))
    if len(turns) < 2:
        raise InputError(f"timed up and go: {len(turns)} half turns found, the test has two; give the whole test")
    begin, upright = rise_begins(body, left), rise_ends(body, left, up)
    first, last = turns[0], turns[-1]
    edges = [begin, min(upright, first[0]), first[0], first[1], last[0], seated]
    names = ("rise", "walk out", "turn", "walk back", "turn and sit")
    rate = body.rate_hz
    phases = tuple(
        Phase(name, a / rate, b / rate) for name, a, b in zip(names, edges[:-1], edges[1:], strict=True)
    )
    flags = ("more than two turns",) if len(turns) > 2 else ()
    return Result("tug_time", (seated - begin) / rate, "s", begin / rate, seated / rate, phases, flags)


def ten_metre_walk(trajectory: Trajectory) -> Result:
    """Seconds for ten metres at the mean speed of the middle six of a straight walk.

    Raises InputError where the pelvis does not go six metres in one direction.
    """
    body = body_of(trajectory)
    floor = body.point("pelvis")[:, [0, 2]]
    way = floor[-1] - floor[0]
    travelled = np.maximum.accumulate((floor - floor[0]) @ (way / max(float(np.linalg.norm(way)), 1e-6)))
    if travelled[-1] < TIMED_M:
        raise InputError(f"ten metre walk: the walk goes {travelled[-1]:.1f} m one way, the test needs {TIMED_M:.0f} m")
    lead = min(0.5 * (travelled[-1] - TIMED_M), 0.5 * (COURSE_M - TIMED_M))
    start, end = np.interp([lead, lead + TIMED_M], travelled + 1e-9 * np.arange(len(floor)), body.seconds())
    flags = ("course shorter than 10 m",) if travelled[-1] < COURSE_M else ()
    value = float((end - start) * COURSE_M / TIMED_M)
    return Result("ten_metre_walk_time", value, "s", float(start), float(end), flags=flags)


def four_square_step(trajectory: Trajectory) -> Result:
    """Seconds from the first foot's contact in the second square until the last foot is back in the first.

    The squares are the quarters of the ground that the feet cover, along and across the heading at the start. The eight
    cross-overs must go round once and back. Raises InputError where they do not.
    """
    body = body_of(trajectory)
    heading = float(np.median(body.facing()[: max(3, round(0.3 * body.rate_hz))]))
    ahead, right = np.array([np.cos(heading), np.sin(heading)]), np.array([-np.sin(heading), np.cos(heading)])
    feet = np.stack([body.point(f"ankle_{side}")[:, [0, 2]] for side in "rl"], axis=1)
    place = np.stack([feet @ ahead, feet @ right], axis=-1)
    middle = place.mean(axis=1)
    span = np.ptp(middle, axis=0)
    if np.min(span) < _SQUARE_M:
        raise InputError(f"four square step: the feet cover {span[0]:.2f} by {span[1]:.2f} m; give another recording")
    centre = 0.5 * (middle.max(axis=0) + middle.min(axis=0))
    # A foot is in a square once it rests there.
    speed = np.linalg.norm(np.gradient(place, axis=0), axis=-1) * body.rate_hz
    rests = speed < 0.3
    quarter = (place > centre).astype(int)
    code = quarter[..., 0] * 2 + quarter[..., 1]
    both = rests.all(axis=1) & (code[:, 0] == code[:, 1])
    visited = [int(one) for one in code[both, 0]]
    order = [one for i, one in enumerate(visited) if i == 0 or one != visited[i - 1]]
    if len(order) != 9 or order != order[::-1] or len(set(order[:4])) != 4 or order[0] != order[4]:
        raise InputError(f"four square step: {len(order) - 1} cross-overs, not once round and back; give it whole")
    first = int(np.flatnonzero((rests & (code == order[1])).any(axis=1))[0])
    last_other = int(np.flatnonzero(both & (code[:, 0] == order[1]))[-1])
    end = last_other + int(np.flatnonzero(both[last_other:] & (code[last_other:, 0] == order[0]))[0])
    turned = float(np.ptp(body.facing()))
    flags = ("turned while stepping",) if turned > np.radians(60.0) else ()
    rate = body.rate_hz
    return Result("four_square_step_time", (end - first) / rate, "s", first / rate, end / rate, flags=flags)
