"""One rule for the time column of every text format: the rate, the gaps, and an even grid of frames.

The rate is the mean of the steps that are no gaps, because a median of rounded times is none: 150 Hz written with three
decimals has steps of 7 and 6 ms. A gap is a step of more than one and a half frames by which all later times stay
behind; a row that merely comes late is jitter.
"""

import math
from typing import NamedTuple

import numpy as np

from biomechgpt_jax.biomechanics.flags import CAUTION
from biomechgpt_jax.errors import InputError

# Times further than this from an even grid are resampled; smaller differences are rounding of the time column.
UNEVEN_FRAMES = 0.05
# Gaps shorter than this are filled by interpolation where a format fills at all, and need no word of caution.
LONGEST_GAP_S = 0.2
_GAP_STEPS = 1.5
# Uneven rows further apart than this have unseen frames between them.
_APART_FRAMES = 2.5
# Slower than any recording of movement: such a time column counts frames, or is in another unit.
_SLOWEST_HZ, _FASTEST_HZ = 5.0, 10_000.0
# Rows on either side of a long step, by whose medians late rows are told from lost ones.
_AROUND = 5
_MOST_DECIMALS = 6
_DIFFERS = 0.02  # of the rate
# So many unseen frames at most: as many as there are rows, or a minute.
_MOST_MISSING_S = 60.0


class Timing(NamedTuple):
    """Where the rows of a table lie on an even grid of frames.

    Attributes:
        rate_hz: frames per second.
        at_R: f64[R] place of each row on the grid, in frames; the first is 0.
        frames: number of frames of the grid; those without a row were not recorded.
        even: whether the rows lie on frames, but for the rounding of their times.
        flags: what was assumed, and what is missing.
    """

    rate_hz: float
    at_R: np.ndarray
    frames: int
    even: bool
    flags: tuple[str, ...]

    def on_grid(self, values: np.ndarray) -> np.ndarray:
        """Values [R, ...] of the rows on the grid, [frames, ...]: NaN in frames of a gap; uneven rows interpolated."""
        if self.even:
            grid = np.full((self.frames, *values.shape[1:]), np.nan)
            grid[np.rint(self.at_R).astype(int)] = values
            return grid
        frame = np.arange(self.frames, dtype=np.float64)
        left = np.clip(np.searchsorted(self.at_R, frame, side="right") - 1, 0, len(self.at_R) - 2)
        after, width = frame - self.at_R[left], np.diff(self.at_R)[left]
        share = np.clip(after / width, 0.0, 1.0).reshape(-1, *(1,) * (values.ndim - 1))
        # A value that is not seen spoils only what lies between it and the next.
        grid = np.where(share < 1, values[left] * (1 - share), 0.0) + np.where(share > 0, values[left + 1] * share, 0.0)
        grid[(width > _APART_FRAMES) & (after > 0.5) & (width - after > 0.5)] = np.nan
        return grid


def timing(time: np.ndarray, header_hz: float, where: str, fill: bool) -> Timing:
    """Find the rate and the frame of each row.

    Args:
        time: f64[R] the time column, in seconds as far as is known; NaN where a cell holds no number.
        header_hz: the rate that the header states; NaN or 0 if it states none.
        where: the file, for the reason of a refusal.
        fill: whether frames that are missing for long become unseen ones; otherwise such a file is refused.

    Raises:
        InputError: the times decrease, there is no rate, or too much is missing.
    """
    if not (math.isfinite(header_hz) and header_hz > 0):
        header_hz = math.nan
    seconds, flags = _in_seconds(time, header_hz, where)
    rounding = _rounding(time) * float(seconds[-1] - seconds[0]) / float(np.ptp(time)) if np.ptp(time) > 0 else 0.0
    steps = np.diff(seconds)
    if (steps == 0).any() and _reproduces(seconds, header_hz, rounding):
        return Timing(header_hz, np.arange(len(seconds), dtype=np.float64), len(seconds), True, flags)
    if (steps <= 0).any():
        row = int(np.flatnonzero(steps <= 0)[0]) + 2
        raise InputError(f"{where}: time does not increase at data row {row}; correct the time column")
    gaps = _gaps(steps, rounding)
    rate = _rate(steps, gaps, header_hz, rounding)
    if not _SLOWEST_HZ <= rate <= _FASTEST_HZ:
        raise InputError(f"{where}: {rate:.3g} frames per second are implausible; is time in seconds?")
    if abs(header_hz - rate) > _DIFFERS * rate:
        flags += (f"{CAUTION}the header says {header_hz:g} Hz, the times {rate:.4g}: the times are followed",)
    flags += _tell_gaps(steps, gaps, rate, where, fill)
    at = (seconds - seconds[0]) * rate
    frame = np.concatenate([[0.0], np.cumsum(np.where(gaps, np.maximum(np.rint(steps * rate), 1.0), 1.0))])
    # Times are rounded both at the row and at the first one.
    if np.abs(at - frame).max() <= max(UNEVEN_FRAMES, 1.01 * rounding * rate):
        return Timing(rate, frame, int(frame[-1]) + 1, True, flags)
    return Timing(rate, at, int(np.rint(at[-1])) + 1, False, (*flags, "uneven-time"))


def _in_seconds(time: np.ndarray, header_hz: float, where: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """The time column in seconds, whatever it counts."""
    known = math.isfinite(header_hz)
    if not np.isfinite(time).all() or np.ptp(time) == 0:
        if not known:
            raise InputError(f"{where} has neither times in every row nor a frame rate in its header; add one of them")
        said = f"{CAUTION}not every row has a time: the header's {header_hz:g} Hz is used"
        return np.arange(len(time)) / header_hz, (said,)
    steps = np.diff(time)
    forward = steps[steps > 0]
    step = float(np.median(forward)) if len(forward) else math.nan
    typical = float(forward[forward <= _GAP_STEPS * step].mean()) if len(forward) else math.nan
    if not known or abs(1.0 - header_hz * typical) <= _DIFFERS:
        return time, ()
    for unit, per_second in (("milliseconds", 1e3), ("microseconds", 1e6)):
        if abs(per_second / typical - header_hz) < _DIFFERS * header_hz:
            return time / per_second, (f"{CAUTION}the times are {unit}, not seconds: they agree with {header_hz:g} Hz",)
    whole = (time == np.rint(time)).all() and step >= 1
    if whole and (forward == np.rint(forward / step) * step).all():
        said = f"{CAUTION}the time column counts frames: the header's {header_hz:g} Hz is used"
        return time / (step * header_hz), (said,)
    return time, ()


def _rounding(time: np.ndarray) -> float:
    """The unit to which times are rounded: 10 to the power of minus their decimals; 0 for more than six."""
    for decimals in range(_MOST_DECIMALS + 1):
        scaled = time * 10.0**decimals
        if np.abs(scaled - np.rint(scaled)).max() < 1e-3:
            return 10.0**-decimals
    return 0.0


def _reproduces(seconds: np.ndarray, header_hz: float, rounding: float) -> bool:
    """Whether frames at the header's rate have these times when rounded."""
    if not math.isfinite(header_hz):
        return False
    return bool(np.abs(seconds - seconds[0] - np.arange(len(seconds)) / header_hz).max() <= rounding * 1.001)


def _gaps(steps: np.ndarray, rounding: float) -> np.ndarray:
    """Which steps skip frames, bool[R - 1]."""
    usual = float(steps[steps <= 2.5 * np.median(steps) + rounding].mean())
    long = steps > _GAP_STEPS * usual * (1 + 1e-6)
    if not long.any():
        return long
    if rounding < 0.2 * usual:  # otherwise the long steps may be no longer than others
        usual = float(steps[~long].mean())
    late = np.concatenate([[0.0], np.cumsum(steps - usual)])
    for index in np.flatnonzero(long):
        before, after = late[max(0, index + 1 - _AROUND) : index + 1], late[index + 1 : index + 1 + _AROUND]
        long[index] = np.median(after) - np.median(before) > 0.5 * usual
    return long


def _rate(steps: np.ndarray, gaps: np.ndarray, header_hz: float, rounding: float) -> float:
    """Frames per second over the steps that are no gaps; the header's or a whole number if the times allow it."""
    seconds = float(steps[~gaps].sum())
    rate = float((~gaps).sum()) / seconds
    doubt = rate * (rounding * (1 + gaps.sum()) / seconds + 1e-3 / (len(steps) + 1))
    for candidate in (header_hz, float(round(rate))):
        if candidate > 0 and abs(candidate - rate) <= doubt:
            return float(candidate)
    return rate


def _tell_gaps(steps: np.ndarray, gaps: np.ndarray, rate: float, where: str, fill: bool) -> tuple[str, ...]:
    """Flags of the missing frames.

    Raises:
        InputError: there are too many.
    """
    if not gaps.any():
        return ()
    worst = int(np.argmax(np.where(gaps, steps, 0.0)))
    missing_s = float(steps[gaps].sum() - gaps.sum() / rate)
    if not fill and steps[worst] >= LONGEST_GAP_S:
        raise InputError(f"{where}: {steps[worst]:.2f} s are missing after data row {worst + 1}; cut the file there")
    if missing_s > max((len(steps) + 1) / rate, _MOST_MISSING_S):
        raise InputError(f"{where}: {missing_s:.0f} s are missing, most after data row {worst + 1}; cut the file there")
    flags: tuple[str, ...] = ("filled-time",) if (steps[gaps] < LONGEST_GAP_S).any() else ()
    long = np.flatnonzero(gaps & (steps >= LONGEST_GAP_S))
    for index in long[:1]:
        more = f", and {len(long) - 1} more gaps follow" if len(long) > 1 else ""
        flags += (f"{CAUTION}{steps[index] - 1 / rate:.2f} s are missing after data row {index + 1}{more}",)
    return flags
