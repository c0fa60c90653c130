"""The law L(N, D) = E + A / N^a + B / D^b (Hoffmann et al., 2203.15556, approach 3) and how it is fitted.

Given a and b the law is linear in E, A and B: the fit begins with a grid over (a, b) and non-negative least squares for
the rest (variable projection, Golub and Pereyra 1973), and only then descends on Huber's loss of the residuals of the
logarithms, with its analytic gradient. The objective is a SUM: the mean of small numbers lets a minimiser stop early
(2404.10102). Internally the law is written around the geometric means of N and D, which takes the condition of the
problem from 1e11 to the order of 1e3.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy import optimize

from biomechgpt_jax.errors import InputError

DELTA = 1e-3  # Huber's, in logarithms: what the published fits use
NAMES = ("E", "A", "a", "B", "b")  # the order of `Fit.vector`; A and B stand there as logarithms at the centre
COUNT = len(NAMES)
_EXPONENTS = np.linspace(0.02, 1.5, 20)  # of the grid
_STEEPEST = 3.0  # largest exponent
_STARTS = 5  # best points of the grid that are descended from


class Law(NamedTuple):
    """E, A, B, a and b of L = E + A / N^a + B / D^b."""

    E: float
    A: float
    B: float
    a: float
    b: float

    def loss(self, params: Any, tokens: Any) -> Any:
        """Loss after training so many parameters on so many tokens."""
        return self.E + self.A * np.asarray(params, float) ** -self.a + self.B * np.asarray(tokens, float) ** -self.b

    def optimum(self, flops: Any, operations: float = 6.0) -> tuple[Any, Any]:
        """Parameters and tokens of the lowest loss for a budget, where a training takes `operations` N D."""
        both = self.a + self.b
        product = np.asarray(flops, float) / operations
        params = np.exp((np.log(self.a * self.A) - np.log(self.b * self.B)) / both) * product ** (self.b / both)
        return params, product / params

    @property
    def exponent(self) -> float:
        """Of N* ~ C^exponent."""
        return self.b / (self.a + self.b)


@dataclass(frozen=True)
class Fit:
    """A fitted law.

    Attributes:
        vector: f64[5], E, log A/N0^a, a, log B/D0^b, b.
        centre: f64[2], logarithms of N0 and D0, the geometric means.
        objective: sum of Huber's loss of the residuals.
        residuals: f64[n], log predicted - log measured.
        delta: Huber's.
    """

    vector: np.ndarray
    centre: np.ndarray
    objective: float
    residuals: np.ndarray
    delta: float

    @property
    def law(self) -> Law:
        E, log_A, a, log_B, b = self.vector
        n0, d0 = self.centre
        return Law(float(E), float(np.exp(log_A + a * n0)), float(np.exp(log_B + b * d0)), float(a), float(b))

    @property
    def free(self) -> np.ndarray:
        """bool[5]: parameters that do not lie on a bound."""
        low, high = _bounds(np.inf)
        return (self.vector > low + 1e-12) & (self.vector < high - 1e-12)

    def jacobian(self, params: Any, tokens: Any) -> np.ndarray:
        """f64[n, 5]: derivatives of the log of the predicted loss with respect to `vector`."""
        n, d = np.atleast_1d(np.log(params)) - self.centre[0], np.atleast_1d(np.log(tokens)) - self.centre[1]
        terms, derivatives = _terms(self.vector, n, d)
        return derivatives / terms[:, None]


def _bounds(lowest_loss: float) -> tuple[np.ndarray, np.ndarray]:
    low = np.array([0.0, -80.0, 1e-3, -80.0, 1e-3])
    return low, np.array([lowest_loss, 80.0, _STEEPEST, 80.0, _STEEPEST])


def _terms(vector: np.ndarray, n: np.ndarray, d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Predicted losses f64[m] and their derivatives f64[m, 5]."""
    E, log_A, a, log_B, b = vector
    of_n, of_d = np.exp(log_A - a * n), np.exp(log_B - b * d)
    return E + of_n + of_d, np.stack([np.ones_like(n), of_n, -of_n * n, of_d, -of_d * d], axis=1)


def huber(residuals: np.ndarray, delta: float) -> float:
    """Sum of Huber's loss: r^2 / 2 up to delta, a straight line beyond."""
    size = np.abs(residuals)
    return float(np.where(size <= delta, 0.5 * size**2, delta * (size - 0.5 * delta)).sum())


def check(params: np.ndarray, tokens: np.ndarray) -> None:
    """Refuse what five constants cannot be fitted to.

    Raises:
        InputError: too few runs, sizes or amounts of data.
    """
    for values, what, least in ((params, "params", 3), (tokens, "tokens", 3)):
        if len(np.unique(values)) < least:
            raise InputError(f"the law needs at least {least} different values of {what}, these runs have fewer")
    if len(params) <= COUNT:
        raise InputError(f"the law has {COUNT} constants and needs at least {COUNT + 1} runs, there are {len(params)}")


def fit(
    params: np.ndarray,
    tokens: np.ndarray,
    loss: np.ndarray,
    delta: float = DELTA,
    start: Fit | None = None,
    fixed: Mapping[str, float] | None = None,
) -> Fit:
    """Fit the law to losses.

    Args:
        params, tokens, loss: f64[n], positive.
        delta: Huber's, in logarithms; a large one gives least squares.
        start: a fit of similar runs to begin from; without it the whole plane of exponents is searched.
        fixed: values of E, a or b that are held, for profiles.

    Raises:
        InputError: see `check`.
    """
    check(params, tokens)
    centre = np.array([np.log(params).mean(), np.log(tokens).mean()]) if start is None else start.centre
    n, d, y = np.log(params) - centre[0], np.log(tokens) - centre[1], np.log(loss)
    starts = [start.vector.copy()] if start is not None else _search(n, d, loss)
    low, high = _bounds(float(loss.min()))
    held = {NAMES.index(name): value for name, value in (fixed or {}).items()}
    free = np.array([i not in held for i in range(COUNT)])
    problem = _Problem(free, low, high, n, d, y, delta)
    for vector in starts:
        vector[:] = np.clip(vector, low, high)
        for index, value in held.items():
            vector[index] = value
    best = min((problem.descend(vector) for vector in starts), key=problem.objective)
    best = min(best, problem.descend(problem.polish(best)), key=problem.objective)
    best = problem.polish(best)
    residuals = problem.residuals(best)
    return Fit(best, centre, huber(residuals, delta), residuals, delta)


def _search(n: np.ndarray, d: np.ndarray, loss: np.ndarray) -> list[np.ndarray]:
    """The best points of a grid over both exponents, by non-negative least squares of relative residuals."""
    found = []
    for a in _EXPONENTS:
        for b in _EXPONENTS:
            columns = np.stack([np.ones_like(n), np.exp(-a * n), np.exp(-b * d)], axis=1)
            (E, A, B), left = optimize.nnls(columns / loss[:, None], np.ones_like(loss))
            # A vanished term keeps a spark, so that the descent can revive it.
            found.append((left, np.array([E, np.log(max(A, 1e-4)), a, np.log(max(B, 1e-4)), b])))
    found.sort(key=lambda pair: pair[0])
    return [vector for _, vector in found[:_STARTS]]


@dataclass(frozen=True)
class _Problem:
    """Huber's loss of the residuals as a function of the free entries of a vector.

    Attributes:
        free: bool[5], which entries of the vector may change.
        low, high: f64[5], bounds.
        n, d, y: f64[n], logarithms of params and tokens from the centre, and of losses.
        delta: Huber's.
    """

    free: np.ndarray
    low: np.ndarray
    high: np.ndarray
    n: np.ndarray
    d: np.ndarray
    y: np.ndarray
    delta: float

    def residuals(self, vector: np.ndarray) -> np.ndarray:
        return np.log(_terms(vector, self.n, self.d)[0]) - self.y

    def jacobian(self, vector: np.ndarray) -> np.ndarray:
        predicted, derivatives = _terms(vector, self.n, self.d)
        return (derivatives / predicted[:, None])[:, self.free]

    def objective(self, vector: np.ndarray) -> float:
        return huber(self.residuals(vector), self.delta)

    def _whole(self, vector: np.ndarray, part: np.ndarray) -> np.ndarray:
        full = vector.copy()
        full[self.free] = part
        return full

    def descend(self, vector: np.ndarray) -> np.ndarray:
        """The minimum that sequential quadratic programming finds from a vector.

        Its dense estimate of the Hessian follows the long flat valley of an unidentified E in 50 steps; L-BFGS-B takes
        thousands.
        """

        def scaled(part: np.ndarray) -> tuple[float, np.ndarray]:
            # In units of delta^2: with the tiny values as they are a minimiser would stop at once.
            full = self._whole(vector, part)
            r = self.residuals(full) / self.delta
            return huber(r, 1.0), self.jacobian(full).T @ np.clip(r, -1.0, 1.0) / self.delta

        limits = list(zip(self.low[self.free], self.high[self.free], strict=True))
        found = optimize.minimize(
            scaled, vector[self.free], jac=True, method="SLSQP", bounds=limits, options={"maxiter": 300, "ftol": 1e-13}
        )
        return self._whole(vector, found.x)

    def polish(self, vector: np.ndarray) -> np.ndarray:
        """The same minimum to the last digits, by Gauss-Newton; the vector itself where that is no better."""
        low, high = self.low[self.free], self.high[self.free]
        part = optimize.least_squares(
            lambda part: self.residuals(self._whole(vector, part)),
            np.clip(vector[self.free], low + 1e-9, high - 1e-9),  # strictly inside, as the method wants it
            lambda part: self.jacobian(self._whole(vector, part)),
            bounds=(low, high),
            loss="huber",
            f_scale=self.delta,
            x_scale="jac",
            xtol=1e-15,
            ftol=1e-15,
            gtol=1e-15,
            max_nfev=30,
        ).x
        return min(vector, self._whole(vector, part), key=self.objective)
