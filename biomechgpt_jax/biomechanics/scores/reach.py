"""Tests of the arm: how far a person reaches without a step, and how often a hand crosses the box."""

import numpy as np
from scipy.ndimage import gaussian_filter1d, maximum_filter1d, minimum_filter1d

from biomechgpt_jax.biomechanics.scores.balance import steps
from biomechgpt_jax.biomechanics.scores.body import ARMS, LEGS, PATH, Phase, Result, body_of, end_of_movement, runs
from biomechgpt_jax.biomechanics.skeleton import INDEX
from biomechgpt_jax.biomechanics.trajectory import Trajectory
from biomechgpt_jax.errors import InputError

# An arm counts as raised while it is this close to horizontal.
_LEVEL_RAD = np.radians(30.0)
# An arm that is horizontal for less than this is only passing.
_LEVEL_S = 1.0
# The resting place of the hand is measured for this long from the moment the arm stops rising.
_REST_S = 0.4
# Reaches are slower than a Gaussian of this width, so the farthest point of the smoothed hand is not a spike of noise.
_SMOOTHING_S = 0.12
# A hand that swings less than this across the body carries no blocks over a partition.
_SWING_M = 0.12
# The swing is measured in a window of this length around each moment; a crossing leads from this share of the swing on
# one side of its middle to the same share on the other.
_SWING_WINDOW_S, _MARGIN = 4.0, 0.12


def functional_reach(trajectory: Trajectory) -> Result:
    """Centimetres that the hand moves forward from its place with the arm level, feet in place (Duncan 1990 [memory]).

    The reaching arm is the one whose hand moves farther.

    Raises:
        InputError: no arm is raised to the horizontal.
    """
    body = body_of(trajectory, "functional reach", (*LEGS, *ARMS))
    heading = float(np.median(body.facing()))
    ahead = np.array([np.cos(heading), 0.0, np.sin(heading)])
    # A recording without the path of the pelvis shows the hand only relative to the feet.
    anchored = trajectory.observed[[INDEX[name] for name in PATH]].all()
    feet = 0.0 if anchored else 0.5 * (body.point("ankle_r") + body.point("ankle_l"))
    best: tuple[float, int, int, str] | None = None
    for side in "rl":
        arm = body.point(f"wrist_{side}") - body.point(f"shoulder_{side}")
        raised = np.arctan2(arm[:, 1], arm @ ahead)
        spans = [(a, b) for a, b in runs(np.abs(raised) < _LEVEL_RAD) if b - a >= _LEVEL_S * body.rate_hz]
        if not spans:
            continue
        begin, end = max(spans, key=lambda span: span[1] - span[0])
        hand = gaussian_filter1d((body.point(f"hand_{side}") - feet) @ ahead, _SMOOTHING_S * body.rate_hz)
        rest = round(end_of_movement(raised, begin))
        place = float(np.median(hand[rest : max(rest + round(_REST_S * body.rate_hz), rest + 2)]))
        far = begin + int(np.argmax(hand[begin:end]))
        reach = 100.0 * (float(hand[far]) - place)
        if best is None or reach > best[0]:
            best = reach, begin, far, side
    if best is None:
        raise InputError("functional reach: no arm is raised forward to the horizontal; give another recording")
    reach, begin, far, side = best
    flags = ("stepped",) if any(begin < landed and left < far for left, landed in steps(body)) else ()
    start, end_s = begin / body.rate_hz, far / body.rate_hz
    phase = Phase("right hand" if side == "r" else "left hand", start, end_s)
    return Result("functional_reach", reach, "cm", start, end_s, (phase,), flags)


def box_and_block(trajectory: Trajectory) -> Result:
    """Times per minute that the busier hand crosses the middle of its swing towards the other side of the body.

    Movement does not show whether the hand carries a block over the partition. The rate is measured between the first
    crossing and the last, so part of the test's minute is enough (Mathiowetz 1985 [memory]).

    Raises:
        InputError: fewer than three crossings.
    """
    body = body_of(trajectory, "box and block", (*ARMS, "arm_rot_r", "arm_rot_l"))
    across = np.stack([np.sin(body.facing()), -np.cos(body.facing())], axis=1)  # to the left of the body
    best: tuple[list[float], str] | None = None
    for side, sign in (("r", 1.0), ("l", -1.0)):
        hand = sign * ((body.point(f"hand_{side}") - body.point("lumbar"))[:, [0, 2]] * across).sum(axis=1)
        window = round(_SWING_WINDOW_S * body.rate_hz)
        near, far = minimum_filter1d(hand, window), maximum_filter1d(hand, window)
        times: list[float] = []
        ready = False
        for frame in range(1, len(hand)):
            middle, margin = 0.5 * (near[frame] + far[frame]), _MARGIN * (far[frame] - near[frame])
            if far[frame] - near[frame] < _SWING_M:
                ready = False
                continue
            # A crossing counts only once the hand has been on the near side, so tremor at the middle does not count.
            ready = ready or hand[frame] < middle - margin
            if ready and hand[frame] > middle + margin:
                times.append(frame / body.rate_hz)
                ready = False
        if best is None or len(times) > len(best[0]):
            best = times, "right hand" if side == "r" else "left hand"
    if best is None or len(best[0]) < 3:
        raise InputError("box and block: no hand crosses in front of the body three times; give another recording")
    times, name = best
    start, end = times[0], times[-1]
    rate = 60.0 * (len(times) - 1) / (end - start)
    flags = ("crossings of the hand, not blocks",)
    return Result("box_and_block", rate, "blocks/min", start, end, (Phase(name, start, end),), flags)
