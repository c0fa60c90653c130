"""How sure a fitted law is: the delta method, refits to simulated noise, refits to resampled runs, and profiles.

All intervals take their width from Student's t, because the noise is estimated from few runs. Runs are resampled and
never rows: checkpoints of one run are not independent.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats

from biomechgpt_jax.scaling import law
from biomechgpt_jax.scaling.law import COUNT, Fit
from biomechgpt_jax.scaling.table import Runs

LEVEL = 0.95
_NORMAL = float(stats.norm.ppf(0.5 + LEVEL / 2))
_WINSOR = 3.0  # robust standard deviations beyond which a residual counts no further towards the noise
Quantity = Callable[[law.Law], float]


@dataclass(frozen=True)
class Noise:
    """Noise of the log loss.

    Attributes:
        sigma: standard deviation of a row.
        freedom: degrees of freedom it is estimated with: runs less constants.
    """

    sigma: float
    freedom: int

    @property
    def t(self) -> float:
        """Quantile that an interval has for its half-width, in standard errors."""
        return float(stats.t.ppf(0.5 + LEVEL / 2, self.freedom))


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval, in the unit of the quantity."""

    value: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        return 0.5 * (self.high - self.low)


@dataclass(frozen=True)
class Profile:
    """The objective where one constant is held and the others are fitted.

    Attributes:
        name: the constant.
        values: f64[m], increasing.
        excess: f64[m], objective above the best, in units in which 1 is the end of the 95 % interval.
        rms: f64[m], root mean square of the residuals.
        low, high: ends of the interval; infinite where the profile does not rise to 1 before the end of the values.
    """

    name: str
    values: np.ndarray
    excess: np.ndarray
    rms: np.ndarray
    low: float
    high: float


def noise(fit: Fit, runs: Runs) -> Noise:
    """The noise that residuals show, with outliers counted as no more than three standard deviations."""
    count = len(np.unique(runs.run))
    freedom = max(count - COUNT, 1)
    size = np.abs(fit.residuals)
    robust = 1.4826 * np.median(size) * np.sqrt(count / freedom)
    # A robust scale of zero comes of residuals that vanish: then every residual counts as it is.
    clipped = np.minimum(size, _WINSOR * robust) if robust > 0 else size
    return Noise(float(np.sqrt(np.mean(clipped**2) * count / freedom)), freedom)


def huber_loss(sigma: float, delta: float) -> tuple[float, float]:
    """Mean of the squared influence and mean slope of the influence of Huber's loss, for normal noise.

    Their ratio squared is what the estimate is less efficient by than least squares (Huber 1964).
    """
    if sigma <= 0:
        return 0.0, 1.0
    k = delta / sigma
    inside = 2 * stats.norm.cdf(k) - 1
    tails = 2 * stats.norm.sf(k)
    return float(sigma**2 * (inside - 2 * k * stats.norm.pdf(k) + k**2 * tails)), float(inside)


def covariance(fit: Fit, runs: Runs) -> np.ndarray:
    """f64[5, 5]: covariance of `fit.vector`; rows and columns of what lies on a bound are zero.

    Where runs have several rows it is the sandwich over runs (Liang and Zeger 1986), otherwise that of an estimate with
    Huber's loss and normal noise.
    """
    free = fit.free
    jacobian = fit.jacobian(runs.params, runs.tokens)[:, free]
    squared, slope = huber_loss(noise(fit, runs).sigma, fit.delta)
    bread = np.linalg.pinv(jacobian.T @ jacobian) / max(slope, 1e-12)
    groups = runs.groups()
    if len(groups) == len(runs):
        inner = bread @ (jacobian.T @ jacobian) @ bread * squared
    else:
        scores = np.clip(fit.residuals, -fit.delta, fit.delta)[:, None] * jacobian
        sums = np.stack([scores[rows].sum(axis=0) for rows in groups])
        inner = bread @ (sums.T @ sums) @ bread * len(groups) / max(len(groups) - COUNT, 1)
    full = np.zeros((COUNT, COUNT))
    full[np.ix_(free, free)] = inner
    return full


def delta_method(fit: Fit, runs: Runs, quantity: Quantity, observed: bool = False) -> Interval:
    """Interval of a positive quantity of the law, linearised in its logarithm.

    Args:
        fit, runs: the fit and what it was made from.
        quantity: of the law, such as a loss or a ratio of exponents.
        observed: the quantity is a loss that will be measured, so that the noise of one run is added.
    """
    gradient = np.zeros(COUNT)
    for index in np.flatnonzero(fit.free):
        step = 1e-5 * max(abs(fit.vector[index]), 1e-3)
        ends = [np.log(quantity(_moved(fit, int(index), sign * step).law)) for sign in (1, -1)]
        gradient[index] = (ends[0] - ends[1]) / (2 * step)
    found = noise(fit, runs)
    variance = gradient @ covariance(fit, runs) @ gradient + observed * found.sigma**2
    value, reach = quantity(fit.law), found.t * float(np.sqrt(max(variance, 0.0)))
    # An exponent can be too uncertain for its logarithm to have a finite interval.
    return Interval(value, value * float(np.exp(-reach)), value * float(np.exp(min(reach, 700.0))))


def _moved(fit: Fit, index: int, step: float) -> Fit:
    vector = fit.vector.copy()
    vector[index] += step
    return Fit(vector, fit.centre, fit.objective, fit.residuals, fit.delta)


def refits_to_noise(fit: Fit, runs: Runs, draws: int, seed: int) -> list[law.Law]:
    """Laws fitted to losses of the fitted law with simulated normal noise (parametric bootstrap).

    The rows of one run share nothing in this noise; where runs have several rows, resample runs instead.
    """
    rng, sigma = np.random.default_rng([seed, 1]), noise(fit, runs).sigma
    clean = np.asarray(fit.law.loss(runs.params, runs.tokens))
    losses = (clean * np.exp(sigma * rng.standard_normal(len(runs))) for _ in range(draws))
    return [law.fit(runs.params, runs.tokens, one, fit.delta, start=fit).law for one in losses]


def refits_to_resampled(fit: Fit, runs: Runs, draws: int, seed: int) -> list[law.Law]:
    """Laws fitted to runs drawn with replacement; a draw that has too few sizes for a law is drawn again."""
    rng, groups = np.random.default_rng([seed, 2]), runs.groups()
    found: list[law.Law] = []
    while len(found) < draws:
        rows = np.concatenate([groups[i] for i in rng.integers(len(groups), size=len(groups))])
        if min(len(np.unique(values[rows])) for values in (runs.params, runs.tokens)) < 3:
            continue
        found.append(law.fit(runs.params[rows], runs.tokens[rows], runs.loss[rows], fit.delta, start=fit).law)
    return found


def resampled(fit: Fit, runs: Runs, laws: list[law.Law], quantity: Quantity, observed: bool = False) -> Interval:
    """Interval of a positive quantity from refits: percentiles of its logarithm, stretched to Student's t.

    Args:
        fit, runs, quantity, observed: as in `delta_method`.
        laws: of the refits.
    """
    found = noise(fit, runs)
    value = quantity(fit.law)
    shifts = np.log([quantity(one) for one in laws]) - np.log(value)
    low, high = np.quantile(shifts, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2]) * found.t / _NORMAL
    alone = found.t * found.sigma if observed else 0.0
    low, high = -float(np.hypot(min(low, 0.0), alone)), float(np.hypot(max(high, 0.0), alone))
    return Interval(value, value * float(np.exp(low)), value * float(np.exp(min(high, 700.0))))


def profile(fit: Fit, runs: Runs, name: str, values: np.ndarray) -> Profile:
    """Hold one of E, a and b at each of the values and fit the others.

    The excess is scaled so that 1 bounds the 95 % interval: twice the rise of the objective is about t^2 times the mean
    squared influence over its mean slope.
    """
    found = noise(fit, runs)
    squared, slope = huber_loss(found.sigma, fit.delta)
    unit = 0.5 * found.t**2 * squared / max(slope, 1e-12)
    centre = int(np.argmin(np.abs(values - fit.vector[law.NAMES.index(name)])))
    fits: dict[int, Fit] = {}
    for order in (range(centre, len(values)), range(centre - 1, -1, -1)):
        last = fit
        for index in order:  # outwards, each from its neighbour
            last = law.fit(runs.params, runs.tokens, runs.loss, fit.delta, last, {name: float(values[index])})
            fits[index] = last
    objective = np.array([fits[i].objective for i in range(len(values))])
    excess = (objective - min(objective.min(), fit.objective)) / max(unit, 1e-300)
    rms = np.array([np.sqrt(np.mean(fits[i].residuals ** 2)) for i in range(len(values))])
    inside = np.flatnonzero(excess <= 1.0)
    if not len(inside):
        estimate = float(fit.vector[law.NAMES.index(name)])
        return Profile(name, values, excess, rms, estimate, estimate)
    first, final = inside[0], inside[-1]
    low = -np.inf if first == 0 else float(np.interp(1.0, excess[[first, first - 1]], values[[first, first - 1]]))
    end = len(values) - 1
    high = np.inf if final == end else float(np.interp(1.0, excess[[final, final + 1]], values[[final, final + 1]]))
    return Profile(name, values, excess, rms, low, high)


def profile_of_E(fit: Fit, runs: Runs, count: int = 17) -> Profile:
    """Profile of the irreducible loss between 0 and just below the lowest loss."""
    # A form that does not hold can put E at the lowest loss.
    top = max(0.98 * float(runs.loss.min()), float(fit.vector[0]))
    return profile(fit, runs, "E", np.unique([*np.linspace(0.0, top, count), fit.vector[0]]))
