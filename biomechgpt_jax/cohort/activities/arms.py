"""Activities of the arms: functional reach, finger to nose, box and block. Angles in degrees."""

import numpy as np

from biomechgpt_jax.biomechanics.kinematics import POINT_INDEX
from biomechgpt_jax.biomechanics.skeleton import INDEX
from biomechgpt_jax.biomechanics.trajectory import LEFT, RIGHT, Score
from biomechgpt_jax.cohort.activities import postures
from biomechgpt_jax.cohort.footing.performance import RATE_HZ, Measure, Performance, clock, movement_of
from biomechgpt_jax.cohort.footing.schedule import smooth_step, standing_contact
from biomechgpt_jax.cohort.people.participants import Participant
from biomechgpt_jax.cohort.people.styles import Style

_SIDES = {RIGHT: "r", LEFT: "l"}
# Arm postures (shoulder flexion, adduction, internal rotation, elbow), from inverse kinematics of the hand in our own
# body model: finger at the nose, arm stretched out, hand over the near half, the partition and the far half of the box.
_ARM = ("arm_flex", "arm_add", "arm_rot", "elbow_flex")
_NOSE = np.array([80.0, 11.0, 39.0, 126.0])
_STRETCHED = np.array([82.0, 2.0, 8.0, 26.0])
_NEAR = np.array([13.0, -2.0, 0.0, 70.0])
_OVER = np.array([30.0, 2.0, 28.0, 92.0])
_FAR = np.array([44.0, 6.0, 68.0, 62.0])
# Frequency band of intention tremor [section 2.5 of the clinical sources, memory].
_INTENTION_HZ = (3.0, 5.0)
# Scatter of a reach's end point in severe ataxia, in the unit of `Style.dysmetria_deg`.
_DYSMETRIA_DEG = 6.0
# Blocks per minute of a healthy adult: mean, SD, and loss per decade past 50 [memory: 60-80].
_BLOCKS, _BLOCKS_SD, _BLOCKS_PER_DECADE = 74.0, 6.0, 4.5


def _columns(foot: int) -> list[int]:
    return [INDEX[f"{name}_{_SIDES[foot]}"] for name in _ARM]


def _tested_arm(person: Participant, rng: np.random.Generator) -> tuple[int, float]:
    """The arm that is tested and how strongly the condition impairs it, 0..1."""
    arm = int(rng.integers(2))
    affected = {"right": RIGHT, "left": LEFT}.get(person.side)
    if affected is None:
        return arm, person.severity
    return arm, person.severity * (1.0 if arm == affected else 0.35)


def _move_through(time: np.ndarray, at: list[float], poses: list[np.ndarray]) -> np.ndarray:
    """Minimum-jerk movement from pose to pose, at rest at each of the times `at`, [T, 4] (Flash and Hogan 1985)."""
    angles = np.tile(poses[0], (len(time), 1))
    for begin, end, low, high in zip(at[:-1], at[1:], poses[:-1], poses[1:], strict=True):
        x = np.clip((time - begin) / (end - begin), 0, 1)
        angles += (10 * x**3 - 15 * x**4 + 6 * x**5)[:, None] * (high - low)
    return angles


def functional_reach(person: Participant, style: Style, rng: np.random.Generator) -> Performance:
    """Reach forward as far as balance allows, standing, one arm at shoulder height; one to three times."""
    arm, impairment = _tested_arm(person, rng)
    far = 1 - 0.55 * person.severity - 0.004 * max(0.0, person.age - 50) + 0.10 * rng.normal() + 0.04 * person.fitness
    lean = 38.0 * float(np.clip(far, 0.12, 1.25))
    raised = float(rng.uniform(1.2, 2.2))
    at, reaches = raised + 0.6, []
    for _ in range(int(rng.integers(1, 4))):
        half = float(rng.uniform(1.0, 1.7)) * (1 + 0.6 * person.severity)
        hold = float(rng.uniform(0.2, 1.0))
        reaches.append((at, at + half, at + half + hold, at + 2 * half + hold, float(rng.normal(1, 0.04))))
        at = reaches[-1][3] + float(rng.uniform(0.4, 1.2))
    time = clock(at + float(rng.uniform(0.8, 1.6)))
    amount = np.zeros(len(time))
    for begin, reached, leave, end, scale in reaches:
        amount += scale * (smooth_step(time, begin, reached) - smooth_step(time, leave, end))
    q = np.tile(postures.standing(style), (len(time), 1))
    up = smooth_step(time, raised - 0.9, raised) - smooth_step(time, at, at + 0.8)
    side = _SIDES[arm]
    goal = np.array([90.0 - 12 * impairment, 0.0, 5.0, 8.0 + 20 * impairment])
    q[:, _columns(arm)] += up[:, None] * (goal - q[:, _columns(arm)])
    # Pelvis and trunk lean forward and the ankles yield backwards; the arm stays level.
    for name, share in (("pelvis_tilt", -0.55), ("lumbar_extension", -0.45)):
        q[:, INDEX[name]] += share * lean * amount
    for leg in "rl":
        q[:, INDEX[f"hip_flexion_{leg}"]] += 0.65 * lean * amount
        q[:, INDEX[f"ankle_angle_{leg}"]] -= 0.10 * lean * amount
    q[:, INDEX[f"arm_flex_{side}"]] += 0.95 * lean * amount
    q[:, INDEX["lumbar_rotation"]] += (1 if arm == RIGHT else -1) * 0.3 * lean * amount
    postures.add_sway(q, style, RATE_HZ, 1.0, rng)
    start = raised + 0.1
    defining = [(raised - 0.9, end) for _, _, _, end, _ in reaches[:1]] + [
        (begin, end) for begin, _, _, end, _ in reaches[1:]
    ]
    return Performance(
        "functional reach",
        movement_of(q, standing_contact(len(q)), person),
        None,
        defining,
        measure=_measure_reach(arm, start, at),
    )


def _measure_reach(arm: int, start: float, end: float) -> Measure:
    def measure(points: np.ndarray) -> dict[str, Score]:
        """Farthest excursion of the hand from its resting place with the arm raised, in cm along the heading."""
        first, last = round(start * RATE_HZ), min(round(end * RATE_HZ), len(points) - 1)
        hand = points[first : last + 1, POINT_INDEX[f"hand_{_SIDES[arm]}"], 0]
        # The measuring stick is read where the hand rests before the reach.
        rest = hand[: max(1, round(0.4 * RATE_HZ))].mean()
        return {"functional_reach": Score(float(100 * (hand.max() - rest)), start, last / RATE_HZ)}

    return measure


def finger_to_nose(person: Participant, style: Style, rng: np.random.Generator) -> Performance:
    """Touch the nose and a target at arm's length in turn, seated or standing; inaccurate where the style is ataxic."""
    arm, impairment = _tested_arm(person, rng)
    seated = bool(rng.random() < 0.5 + 0.4 * person.severity)
    pose = postures.sitting(style, False) if seated else postures.standing(style)
    ataxic = min(1.0, style.dysmetria_deg / _DYSMETRIA_DEG)
    half = 0.5 / float(rng.uniform(0.9, 1.2)) * (1 + 0.9 * impairment)
    dysmetria = 1.5 + 2.5 * style.dysmetria_deg + 2.0 * impairment
    reach = 1 - 0.25 * impairment
    at, poses = [float(rng.uniform(0.8, 1.8))], [pose[_columns(arm)]]
    arrivals = []
    for number in range(2 * int(rng.integers(4, 8))):
        at.append(at[-1] + half * float(np.exp((0.06 + 0.2 * ataxic) * rng.normal())))
        ideal = _NOSE if number % 2 else poses[0] + reach * (_STRETCHED - poses[0])
        poses.append(ideal + dysmetria * np.array([0.5, 0.4, 0.6, 0.7]) * rng.normal(size=4))
        arrivals.append(at[-1])
        # A short stop at the end point, so that the next movement starts from rest.
        at.append(at[-1] + 0.06 + 0.25 * ataxic)
        poses.append(poses[-1])
    at.append(at[-1] + 0.9)
    poses.append(poses[0])
    time = clock(at[-1] + float(rng.uniform(0.5, 1.2)))
    angles = _move_through(time, at, poses)
    # Intention tremor grows towards the end point.
    near: np.ndarray = np.exp(-((time[:, None] - np.array(arrivals)) ** 2 / (2 * 0.18**2))).max(axis=1)
    shaking = postures.noise(len(time), RATE_HZ, *_INTENTION_HZ, 4, rng)
    angles += (6.0 * ataxic * near)[:, None] * shaking * np.array([0.5, 0.5, 0.6, 1.0])
    q = np.tile(pose, (len(time), 1))
    q[:, _columns(arm)] = angles
    postures.add_sway(q, style, RATE_HZ, 0.4 if seated else 0.9, rng)
    pairs = list(zip([at[0], *arrivals[1:-2:2]], arrivals[1::2], strict=True))
    return Performance(
        "finger to nose",
        movement_of(q, standing_contact(len(q)), person),
        None,
        [(float(a), float(b)) for a, b in zip([p[0] for p in pairs[:-1]], [p[1] for p in pairs[1:]], strict=True)],
    )


def box_and_block(person: Participant, style: Style, rng: np.random.Generator) -> Performance:
    """Move blocks one by one over the partition of a box, seated; part of the test's minute."""
    arm, impairment = _tested_arm(person, rng)
    decades = max(0.0, person.age - 50) / 10
    healthy_rate = _BLOCKS + _BLOCKS_SD * 0.6 * (person.fitness + rng.normal()) - _BLOCKS_PER_DECADE * decades
    rate = max(10.0, healthy_rate * (1 - 0.68 * impairment))
    cycle = 60.0 / rate
    count = max(4, round(float(rng.uniform(9, 13)) / cycle))
    at, poses = [float(rng.uniform(0.8, 1.6))], [postures.sitting(style, False)[_columns(arm)]]
    at.append(at[0] + 0.7)
    poses.append(_NEAR)
    spread = 2.0 + 4.0 * impairment
    for _ in range(count):
        duration = cycle * float(np.exp((0.05 + 0.10 * impairment) * rng.normal()))
        scatter = spread * rng.normal(size=(4, 4))
        for share, goal, error in zip((0.28, 0.50, 0.76, 1.0), (_OVER, _FAR, _OVER, _NEAR), scatter, strict=True):
            at.append(at[-1] + duration * (share - (0.0, 0.28, 0.50, 0.76)[(len(at) - 2) % 4]))
            poses.append(goal + error)
    begin, end = at[1], at[-1]
    at.append(at[-1] + 0.8)
    poses.append(poses[0])
    time = clock(at[-1] + float(rng.uniform(0.4, 1.0)))
    seat = postures.sitting(style, False)
    q = np.tile(seat, (len(time), 1))
    q[:, _columns(arm)] = _move_through(time, at, poses)
    across = (q[:, INDEX[f"arm_rot_{_SIDES[arm]}"]] / 60.0).clip(-0.2, 1.2)
    q[:, INDEX["lumbar_rotation"]] += (1 if arm == RIGHT else -1) * (3 + 6 * impairment) * across
    postures.add_sway(q, style, RATE_HZ, 0.4, rng)
    edges = begin + cycle * np.arange(0, count - 2)
    return Performance(
        "box and block",
        movement_of(q, standing_contact(len(q)), person),
        None,
        [(float(a), float(min(a + 3 * cycle, end))) for a in edges],
        measure=_measure_blocks(arm, begin, end),
    )


def _measure_blocks(arm: int, begin: float, end: float) -> Measure:
    def measure(points: np.ndarray) -> dict[str, Score]:
        """Crossings of the partition towards the other side per minute, from the first crossing to the last."""
        outwards = 1.0 if arm == RIGHT else -1.0
        hand = points[:, POINT_INDEX[f"hand_{_SIDES[arm]}"], 2]
        near, far = np.percentile(outwards * hand[round(begin * RATE_HZ) : round(end * RATE_HZ)], [10, 90])
        height = outwards * hand - 0.5 * (near + far)
        time = np.arange(len(hand)) / RATE_HZ
        crossing = np.flatnonzero((height[:-1] >= 0) & (height[1:] < 0))
        times = time[crossing] + height[crossing] / (height[crossing] - height[crossing + 1]) / RATE_HZ
        times = times[(times >= begin) & (times <= end)]
        if len(times) < 2:
            return {}
        value = 60.0 * (len(times) - 1) / (times[-1] - times[0])
        return {"box_and_block": Score(float(value), float(times[0]), float(times[-1]))}

    return measure
