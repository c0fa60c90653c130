"""Activities on foot: walking of several kinds, backward and heel to toe, timed up and go."""

from dataclasses import dataclass, replace

import numpy as np

from biomechgpt_jax.biomechanics.skeleton import INDEX
from biomechgpt_jax.biomechanics.trajectory import LEFT, RIGHT, Score
from biomechgpt_jax.cohort.activities import postures, walking
from biomechgpt_jax.cohort.activities.transfers import rise_and_sit
from biomechgpt_jax.cohort.footing.headings import rotate_heading_deg
from biomechgpt_jax.cohort.footing.performance import RATE_HZ, Performance, clock, movement_of
from biomechgpt_jax.cohort.footing.rollover import roll_over
from biomechgpt_jax.cohort.footing.schedule import (
    Bout,
    bout,
    reverse_in_time,
    smooth_step,
    step_times,
    walking_contact,
)
from biomechgpt_jax.cohort.people.participants import GRAVITY, Participant
from biomechgpt_jax.cohort.people.styles import Style


def _stride_intervals(steps: Bout, seconds: float) -> list[tuple[float, float]]:
    inside = steps.strike[(steps.strike >= 0) & (steps.strike <= seconds)]
    return [(float(a), float(b)) for a, b in zip(inside[:-2], inside[2:], strict=True)]


def _steady(person: Participant, style: Style, speed: float, seconds: float, rng: np.random.Generator):
    """Times, steps and angles of steady walking that is already under way at both ends."""
    setting = walking.pace(person, style, speed)
    count = int(np.ceil(2 * (seconds + 6 * setting.stride_s) / setting.stride_s))
    durations, foot = step_times(
        count, setting.stride_s, style.step_asymmetry, style.stride_time_cv, int(rng.integers(2)), rng
    )
    start = -(2.5 + rng.random()) * setting.stride_s
    toe_off = walking.waveforms.toe_off_phase(setting.normalised)
    steps = bout(durations, foot, start, setting.stance_share, toe_off, starts=False, stops=False)
    time = clock(seconds)
    phase = (steps.phase(RIGHT, time), steps.phase(LEFT, time))
    q = walking.angles(style, setting.normalised, phase)
    if setting.amplitude < 1:
        q = _shrink(q, setting.amplitude)
    q = walking.modulate(q, steps, time, style.amplitude_cv, style.lateral_cv, rng)
    return time, steps, q


def _shrink(q: np.ndarray, amplitude: float) -> np.ndarray:
    """Scale the movement of the legs and the pelvis about their means."""
    columns = [INDEX[f"{name}_{side}"] for name in ("hip_flexion", "knee_angle", "ankle_angle") for side in "rl"]
    columns.append(INDEX["pelvis_rotation"])
    mean = q[:, columns].mean(axis=0)
    q[:, columns] = mean + amplitude * (q[:, columns] - mean)
    return q


def walk(person: Participant, style: Style, rng: np.random.Generator, pace: str) -> Performance:
    """Walk over ground at a slow, free or fast pace or with a second task; straight, with a slight drift of heading."""
    factor = {
        "slow": rng.uniform(0.62, 0.8),
        "free": rng.normal(1.0, 0.03),
        "fast": rng.uniform(1.2, 1.4),
        "dual task": rng.uniform(0.80, 0.90) - 0.08 * person.severity,
    }[pace]
    if pace == "dual task":  # less attention is left for the feet
        style = replace(style, stride_time_cv=1.5 * style.stride_time_cv, amplitude_cv=1.3 * style.amplitude_cv)
    if person.etiology != "healthy" and pace == "fast":
        factor = 1 + (factor - 1) * (1 - 0.5 * person.severity)
    speed = float(np.clip(person.free_speed * factor, 0.18, 2.2))
    seconds = float(np.clip(rng.uniform(6.5, 10.5) / speed, 5.5, 22.0))
    time, steps, q = _steady(person, style, speed, seconds, rng)
    q[:, INDEX["pelvis_rotation"]] += 2.0 * postures.noise(len(q), RATE_HZ, 0.03, 0.2, 1, rng)[:, 0]
    postures.add_sway(q, style, RATE_HZ, 0.5, rng)
    movement = movement_of(q, roll_over(walking_contact(steps, time), steps, time, style), person)
    return Performance(
        "walking",
        movement,
        steps,
        _stride_intervals(steps, time[-1]),
        course=pace == "free",
        device_used=True,
    )


def walk_curved(person: Participant, style: Style, rng: np.random.Generator) -> Performance:
    """Walk around a circle of two to seven metres' radius, in either direction, leaning into it."""
    speed = float(np.clip(person.free_speed * rng.uniform(0.82, 0.95), 0.18, 2.0))
    radius = float(np.exp(rng.uniform(np.log(2.0), np.log(7.0))))
    left = float(rng.choice([-1.0, 1.0]))
    seconds = float(np.clip(rng.uniform(7.0, 11.0) / speed, 6.0, 22.0))
    time, steps, q = _steady(person, style, speed, seconds, rng)
    inward = np.degrees(np.arctan(speed**2 / (GRAVITY * radius)))
    q[:, INDEX["pelvis_list"]] -= 0.5 * left * inward
    q[:, INDEX["lumbar_bending"]] -= 0.5 * left * inward
    q[:, INDEX["neck_rotation"]] += left * min(20.0, 25.0 / radius)
    postures.add_sway(q, style, RATE_HZ, 0.5, rng)
    q = rotate_heading_deg(q, left * np.degrees(speed / radius) * time)
    movement = movement_of(q, roll_over(walking_contact(steps, time), steps, time, style), person)
    return Performance("walking", movement, steps, _stride_intervals(steps, time[-1]), device_used=True)


def walk_on_treadmill(person: Participant, style: Style, rng: np.random.Generator) -> Performance:
    """Walk on a treadmill, with the belt's motion removed as preprocessing does: evenly and straight ahead.

    In a laboratory's recording the body stays in place and the belt carries the feet back. With the belt's velocity
    subtracted, this is walking over ground at the belt's speed; only its evenness still shows the treadmill.
    """
    speed = float(np.clip(person.free_speed * rng.uniform(0.7, 1.05), 0.18, 2.0))
    even = replace(style, stride_time_cv=0.7 * style.stride_time_cv, amplitude_cv=0.6 * style.amplitude_cv)
    time, steps, q = _steady(person, even, speed, float(rng.uniform(10.0, 18.0)), rng)
    postures.add_sway(q, style, RATE_HZ, 0.4, rng)
    movement = movement_of(q, roll_over(walking_contact(steps, time), steps, time, style), person)
    return Performance("walking", movement, steps, _stride_intervals(steps, time[-1]), device_used=False)


# Ratios of backward to forward walking: speed, and flexion of the knees [memory: 0.6-0.9 m/s].
_BACKWARD_SPEED, _BACKWARD_KNEE = (0.5, 0.65), 0.8


def walk_backward(person: Participant, style: Style, rng: np.random.Generator) -> Performance:
    """Walk backward: forward walking reversed in time, which nearly fits the joint angles, with less knee flexion."""
    speed = float(np.clip(person.free_speed * rng.uniform(*_BACKWARD_SPEED), 0.18, 1.2))
    time, forward, q = _steady(person, style, speed, float(np.clip(rng.uniform(3.5, 6.0) / speed, 5.0, 16.0)), rng)
    for side in "rl":
        knee = INDEX[f"knee_angle_{side}"]
        q[:, knee] = 6.0 + _BACKWARD_KNEE * (q[:, knee] - 6.0)
        q[:, INDEX[f"arm_flex_{side}"]] *= 0.6
        q[:, INDEX[f"hip_flexion_{side}"]] += 4.0
    q = q[::-1].copy()
    q[:, INDEX["neck_rotation"]] += rng.choice([-1.0, 1.0]) * rng.uniform(0.0, 25.0)  # looking over a shoulder
    postures.add_sway(q, style, RATE_HZ, 0.8, rng)
    contact, steps = reverse_in_time(walking_contact(forward, time), forward, float(time[-1]))
    movement = movement_of(q, contact, person)
    return Performance("backward walk", movement, steps, _stride_intervals(steps, time[-1]))


def walk_heel_to_toe(person: Participant, style: Style, rng: np.random.Generator) -> Performance:
    """Walk heel to toe on a line; unsteady people raise their arms and miss the line."""
    trouble = max(0.0, style.sway - 1)
    speed = person.free_speed * float(rng.uniform(0.24, 0.32))
    slow = replace(
        style,
        width_m=0.0,
        cadence=style.cadence * rng.uniform(0.55, 0.7),
        stride_time_cv=style.stride_time_cv * 1.8,
    )
    unit = walking.step_length(person, replace(slow, amplitude=1.0), max(speed, 0.35))
    slow = replace(slow, amplitude=float(np.clip(0.16 * person.height_m / unit, 0.3, 0.8)))
    time, steps, q = _steady(person, slow, max(speed, 0.35), float(rng.uniform(8, 12)), rng)
    for side in "rl":
        q[:, INDEX[f"hip_adduction_{side}"]] += 5.0
        q[:, INDEX[f"arm_add_{side}"]] -= 10 + min(25.0, 9 * trouble)
    sway = postures.noise(len(q), RATE_HZ, 0.2, 1.0, 1, rng)[:, 0]
    q[:, INDEX["lumbar_bending"]] += (1.2 + 1.8 * trouble) * sway
    postures.add_sway(q, style, RATE_HZ, 1.0, rng)
    stances = int(walking_contact(steps, time).stance.max()) + 2
    error = 0.008 + 0.018 * trouble
    miss = tuple(rng.normal(0, error, stances) + np.array(sign * 0.4 * error) for sign in (1, -1))
    movement = movement_of(q, walking_contact(steps, time), person, line_error=(miss[0], miss[1]))
    # Two strides are enough to distinguish heel-to-toe stepping from slow walking.
    pairs = _stride_intervals(steps, time[-1])
    defining = [(a[0], b[1]) for a, b in zip(pairs[:-2], pairs[2:], strict=True)]
    return Performance("tandem walk", movement, steps, defining, device_used=False)


# Ratio of the speed in a timed up and go to the comfortable speed, and a healthy adult's comfortable speed in m/s.
QUICK = 1.55
TYPICAL_SPEED = 1.35


@dataclass(frozen=True)
class _Path:
    """Numbers of steps of a timed up and go: out, half turn, back, half turn."""

    out: int
    turn: int
    back: int
    last_turn: int

    @property
    def total(self) -> int:
        return self.out + self.turn + self.back + self.last_turn


def timed_up_and_go(person: Participant, style: Style, rng: np.random.Generator) -> Performance:
    """Rise, walk three metres, turn, walk back, turn, sit; quiet sitting at both ends."""
    # A healthy person's speed in one test says little about another (correlations of timed tests in 51 visits); a
    # patient's severity drives them all.
    healthy = max(0.0, 1 - 2 * person.severity)
    quick = QUICK * TYPICAL_SPEED * (person.free_speed / TYPICAL_SPEED) ** (1 - healthy)
    speed = float(np.clip(quick * np.exp((0.08 + 0.14 * healthy) * rng.normal()), 0.2, 2.7))
    setting = walking.pace(person, style, speed)
    length = walking.step_length(person, style, speed)
    turn = max(2, round(style.turn_steps - 2 + 0.5 * rng.normal()))
    path = _Path(max(3, round(2.6 / length)), turn, max(2, round(1.8 / length)), turn)
    quiet = rng.uniform(0.5, 9.0, 2)
    # Rising once with the help of the arms is quicker than five times against the clock, most of all for weak legs.
    rise = 0.72 * style.rise_s**0.6 * float(np.exp(0.08 * rng.normal()))
    begin = float(quiet[0])
    durations, foot = step_times(
        path.total, setting.stride_s, style.step_asymmetry, style.stride_time_cv, int(rng.integers(2)), rng
    )
    first = begin + rise
    toe_off = walking.waveforms.toe_off_phase(setting.normalised)
    steps = bout(durations, foot, first, setting.stance_share, toe_off, starts=True, stops=True)
    seated = steps.strike[-1] + 0.1 + 1.1 * rise
    time = clock(seated + float(quiet[1]))
    q = _walk_between_chairs(person, style, setting, steps, path, time, (begin, first, seated), rng)
    postures.add_sway(q, style, RATE_HZ, 0.6, rng)
    turn_ends = steps.strike[path.out + path.turn - 1]
    # Rising straight into walking identifies the test, and so does a half turn into sitting down.
    defining = [(begin, float(steps.strike[1])), (float(turn_ends), float(seated))]
    return Performance(
        "timed up and go",
        movement_of(q, walking_contact(steps, time), person),
        steps,
        defining,
        {"tug_time": Score(float(seated - begin), begin, float(seated))},
        device_used=True,
    )


def _walk_between_chairs(
    person: Participant,
    style: Style,
    setting: walking.Pace,
    steps: Bout,
    path: _Path,
    time: np.ndarray,
    chair: tuple[float, float, float],
    rng: np.random.Generator,
) -> np.ndarray:
    """Angles of a timed up and go, [T, 40] degrees.

    Args:
        chair: times at which the rise begins, the first foot lifts, and the person is seated again.
    """
    begin, first, seated = chair
    strike = steps.strike
    leave = np.array([strike[path.out - 1], strike[-path.last_turn - 1]])
    arrive = np.array([strike[path.out + path.turn - 1], strike[-1]])
    direction = rng.choice([-1.0, 1.0])
    heading = sum(direction * 180.0 * smooth_step(time, a - 0.15, b) for a, b in zip(leave, arrive, strict=True))
    turning = sum(
        smooth_step(time, a - 0.3, a + 0.2) - smooth_step(time, b - 0.2, b + 0.3)
        for a, b in zip(leave, arrive, strict=True)
    )
    amount = smooth_step(time, first, strike[0]) - smooth_step(time, strike[-2], strike[-1] + 0.1)
    phase = (steps.phase(RIGHT, time), steps.phase(LEFT, time))
    moving = walking.angles(style, setting.normalised, phase)
    inside = (time > strike[0]) & (time < strike[-2])
    moving = _shrink_about(moving, setting.amplitude * (1 - 0.65 * np.clip(turning, 0, 1)), inside)
    moving = walking.modulate(moving, steps, time, style.amplitude_cv, style.lateral_cv, rng)
    still = rise_and_sit(
        time,
        postures.sitting(style, False),
        postures.standing(style),
        [(begin, first)],
        [(float(strike[-1]) + 0.1, seated)],
    )
    q = still + np.clip(amount, 0, 1)[:, None] * (moving - still)
    return rotate_heading_deg(q, heading)


def _shrink_about(q: np.ndarray, amplitude: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Scale the movement of the legs by an amplitude per frame, about the means of the frames `inside`."""
    columns = [INDEX[f"{name}_{side}"] for name in ("hip_flexion", "knee_angle", "ankle_angle") for side in "rl"]
    mean = q[inside][:, columns].mean(axis=0)
    q[:, columns] = mean + amplitude[:, None] * (q[:, columns] - mean)
    return q
