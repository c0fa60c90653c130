"""The four square step test (Dite and Temple 2002 [memory])."""

import numpy as np
from scipy.ndimage import gaussian_filter1d

from biomechgpt_jax.biomechanics.scores.body import LEGS, PATH, Body, Phase, Result, body_of
from biomechgpt_jax.biomechanics.trajectory import Trajectory
from biomechgpt_jax.errors import InputError

# Feet that cover less than this, forward or sideways, have not been in four squares.
_SQUARE_M = 0.20
# A foot has crossed the middle once it is this far past it, so that noise does not carry it back and forth.
_PAST_M = 0.03
# A foot that has entered a square is down once it is slower than this.
_DOWN_M_S = 0.3
# Speeds of the feet are computed from positions smoothed further, by a Gaussian of this width.
_SMOOTHING_S = 0.06
# People are asked to face forward throughout.
_TURNED_RAD = np.radians(60.0)
CROSS_OVERS = 8


def _side(place: np.ndarray, middle: float) -> np.ndarray:
    """On which side of the middle a foot is, bool[T]; the side changes once the foot is _PAST_M beyond the middle."""
    over = place > middle
    sure = np.abs(place - middle) > _PAST_M
    last = np.maximum.accumulate(np.where(sure, np.arange(len(place)), 0))
    return over[last]


def _feet(body: Body) -> np.ndarray:
    """Floor positions of the ankles along and across the initial heading, f64[T, foot, 2] metres; right foot first."""
    heading = float(np.median(body.facing()[: max(3, round(0.3 * body.rate_hz))]))
    ahead, right = np.array([np.cos(heading), np.sin(heading)]), np.array([-np.sin(heading), np.cos(heading)])
    feet = np.stack([body.point(f"ankle_{side}")[:, [0, 2]] for side in "rl"], axis=1)
    return np.stack([feet @ ahead, feet @ right], axis=-1)


def cross_overs(place: np.ndarray, rate_hz: float) -> list[float]:
    """Time at which the first foot is down in the second square, followed by the end of each cross-over; seconds.

    Args:
        place: f[T, foot, 2] metres along and across the squares.

    Raises:
        InputError: the feet do not go around the four squares once and back.
    """
    centre = place.mean(axis=1)
    span = np.ptp(centre, axis=0)
    if np.min(span) < _SQUARE_M:
        raise InputError(
            f"four square step: the feet cover {span[0]:.2f} by {span[1]:.2f} m, too little for four squares; give "
            "another recording"
        )
    middle = 0.5 * (centre.max(axis=0) + centre.min(axis=0))
    square = np.stack(
        [2 * _side(place[:, foot, 0], middle[0]) + _side(place[:, foot, 1], middle[1]) for foot in (0, 1)], axis=1
    )
    together = np.flatnonzero(square[:, 0] == square[:, 1])
    visited = square[together, 0]
    entries = together[np.concatenate([[True], visited[1:] != visited[:-1]])]
    order = [int(number) for number in square[entries, 0]]
    round_trip = len(order) == CROSS_OVERS + 1 and len(set(order[:4])) == 4 and order[4] == order[0]
    if not (round_trip and order == order[::-1]):
        raise InputError(
            f"four square step: {len(order) - 1} cross-overs, not once around and back; give the whole test"
        )
    steady = gaussian_filter1d(place, _SMOOTHING_S * rate_hz, axis=0, mode="nearest")
    speed = np.linalg.norm(np.gradient(steady, axis=0), axis=-1) * rate_hz

    def down(feet: tuple[int, ...], frame: int) -> float:
        """Time in seconds at which all of these feet, which are in a square from `frame` on, stand still in it."""
        slow = np.flatnonzero((speed[frame:, feet] < _DOWN_M_S).all(axis=1))
        return float(frame + slow[0] if len(slow) else len(speed) - 1) / rate_hz

    first = int(np.flatnonzero((square == order[1]).any(axis=1))[0])
    begin = down((int(np.argmax(square[first] == order[1])),), first)
    return [begin, *(down((0, 1), int(entry)) for entry in entries[1:])]


def four_square_step(trajectory: Trajectory) -> Result:
    """Seconds from the first foot down in the second square until the second foot is down in the first again.

    The squares are the quarters of the area that the feet cover, along and across the initial heading. The phases are
    the eight cross-overs, each lasting until both feet are down in the next square.

    Raises:
        InputError: the feet do not go around the four squares once and back.
    """
    body = body_of(trajectory, "four square step", (*LEGS, *PATH))
    edges = cross_overs(_feet(body), body.rate_hz)
    names = [f"cross-over {count}" for count in range(1, CROSS_OVERS + 1)]
    phases = tuple(Phase(name, a, b) for name, a, b in zip(names, edges[:-1], edges[1:], strict=True))
    flags = ("turned while stepping",) if float(np.ptp(body.facing())) > _TURNED_RAD else ()
    return Result("four_square_step_time", edges[-1] - edges[0], "s", edges[0], edges[-1], phases, flags)
