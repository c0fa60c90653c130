"""Gait events and spatiotemporal parameters.

`parameters` turns a contact schedule into the parameters a clinician reads; `detect_contacts` finds the
schedule in coordinates by forward kinematics. Definitions: asymmetry = 100 |L - R| / mean(L, R); double
support = both phases as a percentage of the stride; event times are sub-frame.
"""

import numpy as np
from scipy.ndimage import gaussian_filter1d, percentile_filter

from biomechgpt_jax.biomechanics import kinematics
from biomechgpt_jax.biomechanics.trajectory import LEFT, RIGHT, Contacts, Trajectory

# A stride outside this range of seconds is a pause or a missed event, not a stride.
STRIDE_SECONDS = (0.4, 3.5)
# A step in which the path turns more than this is left out of gait means.
TURN_LIMIT_RAD = np.radians(20.0)
# Fewer strides of one foot say nothing about how they vary.
MIN_STRIDES = 3

# A foot is down while its lower point is below this height above the floor ...
CONTACT_HEIGHT_M = 0.03
# ... and that point moves slower than this.
CONTACT_SPEED_M_S = 0.5
# Positions are smoothed over this long (standard deviation) before speeds are taken: about a 5 Hz low-pass filter.
SMOOTHING_S = 0.025
# The floor under a point is this percentile of its height over this long about each moment: a foot is down for more
# than a third of any stride, stairs rise, and the floor of a recording may drift.
FLOOR_PERCENTILE, FLOOR_WINDOW_S = 15, 2.0


def _within(contacts: Contacts, start_s: float, end_s: float) -> Contacts:
    keep = (contacts.strike_time >= start_s) & (contacts.strike_time <= end_s)
    off = (contacts.off_time >= start_s) & (contacts.off_time <= end_s)
    return Contacts(
        contacts.strike_time[keep],
        contacts.strike_foot[keep],
        contacts.strike_xz[keep],
        contacts.off_time[off],
        contacts.off_foot[off],
    )


def _strides(contacts: Contacts) -> np.ndarray:
    """Index pairs (first, last) of strikes of one foot with exactly one strike of the other between, i32[s, 2]."""
    foot = contacts.strike_foot
    if len(foot) < 3:
        return np.zeros((0, 2), np.int32)
    first = np.arange(len(foot) - 2)
    duration = contacts.strike_time[2:] - contacts.strike_time[:-2]
    alternates = (foot[:-2] == foot[2:]) & (foot[:-2] != foot[1:-1])
    sane = (duration >= STRIDE_SECONDS[0]) & (duration <= STRIDE_SECONDS[1])
    straight = _turn_angles(contacts.strike_xz) <= TURN_LIMIT_RAD
    first = first[alternates & sane & straight]
    return np.stack([first, first + 2], axis=1).astype(np.int32)


def _turn_angles(xz: np.ndarray) -> np.ndarray:
    """Angle between the stride that starts at each strike and the one before or after it, f32[n - 2]."""
    stride = xz[2:] - xz[:-2]
    if len(stride) < 2:
        return np.zeros(len(stride), np.float32)
    heading = np.arctan2(stride[:, 1], stride[:, 0])
    change = np.abs((np.diff(heading) + np.pi) % (2 * np.pi) - np.pi)
    # A stride is left out only if it turns against both neighbours it has.
    before = np.concatenate([[np.inf], change])
    after = np.concatenate([change, [np.inf]])
    return np.minimum(before, after)


def parameters(contacts: Contacts, start_s: float = -np.inf, end_s: float = np.inf) -> dict[str, float]:
    """Spatiotemporal parameters of the strides that lie whole between two times.

    One stride supports walking_speed (m/s), cadence (steps/min), stride_time (s), step_length, stride_length and
    step_width (m: how far a heel strikes from the line through the strikes of the other before and after);
    double_support and stance (%) need the toe offs inside a stride; step_time_asymmetry (%) needs two steps a side;
    stride_time_cv (%, standard deviation over mean within each foot) needs three strides of one foot.
    What the movement does not support is left out of the result.
    """
    inside = _within(contacts, start_s, end_s)
    strides = _strides(inside)
    if len(strides) == 0:
        return {}
    time, xz, foot = inside.strike_time, inside.strike_xz, inside.strike_foot
    first, last = strides[:, 0], strides[:, 1]
    duration = time[last] - time[first]
    length = np.linalg.norm(xz[last] - xz[first], axis=1)
    direction = (xz[last] - xz[first]) / np.maximum(length, 1e-6)[:, None]
    stride_time = float(duration.mean())
    step_lengths = [
        np.sum((xz[index + 1] - xz[index]) * axis)
        for start, axis in zip(first, direction, strict=True)
        for index in (start, start + 1)
    ]
    found = {
        "walking_speed": float(length.sum() / duration.sum()),
        "cadence": 120.0 / stride_time,
        "step_length": float(np.mean(step_lengths)),
        "stride_time": stride_time,
        "stride_length": float(length.mean()),
        "step_width": float(np.abs(_cross(direction, xz[first + 1] - xz[first])).mean()),
    }
    double = [_double_support(inside, a, b) for a, b in strides]
    measured = [value for value in double if value is not None]
    if measured:
        found["double_support"] = float(np.mean(measured))
    stance = [_stance(inside, a, b) for a, b in strides]
    measured = [value for value in stance if value is not None]
    if measured:
        found["stance"] = float(np.mean(measured))
    variability = _stride_time_cv(duration, foot[first])
    if variability is not None:
        found["stride_time_cv"] = variability
    steps = np.unique(np.concatenate([first, first + 1]))
    step_time = time[steps + 1] - time[steps]
    by_side = [step_time[foot[steps + 1] == side] for side in (RIGHT, LEFT)]
    if min(len(values) for values in by_side) >= 2:
        right, left = (float(values.mean()) for values in by_side)
        found["step_time_asymmetry"] = 100.0 * abs(left - right) / (0.5 * (left + right))
    return found


def _double_support(contacts: Contacts, first: int, last: int) -> float | None:
    """Share in percent of one stride in which both feet are down, or None if a toe off is missing."""
    time = contacts.strike_time
    own, other = contacts.strike_foot[first], contacts.strike_foot[first + 1]
    offs_other = contacts.off_time[(contacts.off_foot == other) & (contacts.off_time >= time[first])]
    offs_own = contacts.off_time[(contacts.off_foot == own) & (contacts.off_time >= time[first + 1])]
    if len(offs_other) == 0 or len(offs_own) == 0:
        return None
    initial = offs_other[0] - time[first]
    final = offs_own[0] - time[first + 1]
    duration = time[last] - time[first]
    if initial > 0.5 * duration or final > 0.5 * duration:
        return None
    return float(100.0 * (initial + final) / duration)


def _stance(contacts: Contacts, first: int, last: int) -> float | None:
    """Share in percent of one stride in which its own foot is down, or None if that foot's toe off is missing."""
    start, end = contacts.strike_time[first], contacts.strike_time[last]
    own = contacts.off_foot == contacts.strike_foot[first]
    offs = contacts.off_time[own & (contacts.off_time > start) & (contacts.off_time < end)]
    return float(100.0 * (offs[0] - start) / (end - start)) if len(offs) else None


def _stride_time_cv(duration: np.ndarray, foot: np.ndarray) -> float | None:
    """Standard deviation of stride times over their mean in percent, pooled over the feet so that a steady difference
    between them does not count; None below MIN_STRIDES strides of one foot."""
    by_foot = [duration[foot == side] for side in (RIGHT, LEFT)]
    enough = [times.astype(np.float64) for times in by_foot if len(times) >= MIN_STRIDES]
    if not enough:
        return None
    squares = sum(float(np.sum((times - times.mean()) ** 2)) for times in enough)
    freedom = sum(len(times) - 1 for times in enough)
    return float(100.0 * np.sqrt(squares / freedom) / np.concatenate(enough).mean())


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Signed area spanned by vectors f[n, 2] of the floor plane."""
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def _crossings(down: np.ndarray, margin: np.ndarray, rate_hz: float) -> tuple[np.ndarray, np.ndarray]:
    """Sub-frame times at which a foot meets and leaves the floor, by where its margin crosses zero."""
    change = np.diff(down.astype(np.int8))
    times = []
    for step in (1, -1):
        frame = np.flatnonzero(change == step)
        before, after = margin[frame], margin[frame + 1]
        fraction = np.clip(before / np.where(before == after, 1.0, before - after), 0.0, 1.0)
        times.append(((frame + fraction) / rate_hz).astype(np.float32))
    return times[0], times[1]


def _clean(down: np.ndarray, shortest: int) -> np.ndarray:
    """Fill gaps and drop islands shorter than `shortest` frames that have neighbours on both sides."""
    down = down.copy()
    for value in (True, False):
        edges = np.flatnonzero(np.diff(np.concatenate([[~down[0]], down, [~down[-1]]]).astype(np.int8)))
        for start, end in zip(edges[:-1], edges[1:], strict=True):
            inner = start > 0 and end < len(down)
            if inner and end - start < shortest and down[start] != value:
                down[start:end] = value
    return down


def detect_contacts(trajectory: Trajectory, height_m: float | None = None) -> Contacts:
    """Foot contacts of a trajectory, from the height and speed of heel and ball.

    Body height is that of the metadata unless given; 1.70 m where neither is known. The floor is the level on which
    each point of the foot rests, so neither a constant height offset nor stairs matter.
    """
    height = height_m or trajectory.metadata.height_m
    if not np.isfinite(height):
        height = kinematics.DEFAULT_HEIGHT_M
    body = np.asarray(kinematics.points_jit(trajectory.coordinates, height))
    heel, ball = (
        body[:, [kinematics.POINT_INDEX[f"{point}_{side}"] for side in ("r", "l")]] for point in ("heel", "ball")
    )
    return contacts_from_points(heel, ball, trajectory.rate_hz)


def contacts_from_points(heel: np.ndarray, ball: np.ndarray, rate_hz: float) -> Contacts:
    """Foot contacts from the positions of heel and ball, be they points of the body or markers on it.

    A foot is down while its heel or its ball is both low and slow; how high a marker sits does not matter.

    Args:
        heel, ball: f[T, 2, 3] metres, y up, right foot first; no gaps.
        rate_hz: frames per second; event times are sub-frame.
    """
    strikes: list[tuple[float, int, np.ndarray]] = []
    offs: list[tuple[float, int]] = []
    frames = np.arange(len(heel)) / rate_hz
    for foot in (RIGHT, LEFT):
        margin = np.maximum(_contact_margin(heel[:, foot], rate_hz), _contact_margin(ball[:, foot], rate_hz))
        down = _clean(margin > 0, max(2, round(0.1 * rate_hz)))
        on, off = _crossings(down, margin, rate_hz)
        for time in on:
            later = min(time + 0.05, frames[-1])
            xz = np.array([np.interp(later, frames, heel[:, foot, axis]) for axis in (0, 2)])
            strikes.append((float(time), foot, xz))
        offs += [(float(time), foot) for time in off]
    strikes.sort(key=lambda strike: strike[0])
    offs.sort()
    return Contacts(
        np.array([time for time, _, _ in strikes], np.float32),
        np.array([foot for _, foot, _ in strikes], np.int32),
        np.array([xz for _, _, xz in strikes], np.float32).reshape(-1, 2),
        np.array([time for time, _ in offs], np.float32),
        np.array([foot for _, foot in offs], np.int32),
    )


def _contact_margin(point: np.ndarray, rate_hz: float) -> np.ndarray:
    """Positive while a point of the foot is on the floor: the smaller of its two scaled margins, f32[T]."""
    smooth = gaussian_filter1d(point, SMOOTHING_S * rate_hz, axis=0, mode="nearest")
    speed = np.linalg.norm(np.gradient(smooth, axis=0) * rate_hz, axis=1)
    window = min(len(point), max(3, round(FLOOR_WINDOW_S * rate_hz)))
    floor = percentile_filter(point[:, 1], FLOOR_PERCENTILE, window, mode="nearest")
    low = (CONTACT_HEIGHT_M - (point[:, 1] - floor)) / CONTACT_HEIGHT_M
    slow = (CONTACT_SPEED_M_S - speed) / CONTACT_SPEED_M_S
    return np.minimum(low, slow)
