"""Two filters over time in NumPy, as SciPy has them: `ask` measures gait, and importing SciPy takes longer than that.

The first and the last value are taken to continue beyond the ends.
"""

import numpy as np

# The Gaussian is cut off at this many standard deviations.
_REACH = 4.0
# Most values that are sorted at once.
_AT_ONCE = 2**22


def gaussian(values: np.ndarray, sigma: float) -> np.ndarray:
    """Smooth f[T, ...] over its first axis with a Gaussian of this standard deviation in frames, f64[T, ...]."""
    reach = int(_REACH * sigma + 0.5)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / max(sigma, 1e-9)) ** 2)
    kernel /= kernel.sum()
    columns = _continued(values.reshape(len(values), -1), reach, reach).T
    smooth = np.stack([np.convolve(column, kernel, mode="valid") for column in columns], axis=1)
    return smooth.reshape(values.shape)


def percentile(values_T: np.ndarray, percent: float, window: int) -> np.ndarray:
    """Percentile in a window of this many frames around each, f64[T]: the value of that rank, not interpolated."""
    rank = min(int(window * percent / 100.0), window - 1)
    before = window // 2
    around = np.lib.stride_tricks.sliding_window_view(_continued(values_T, before, window - 1 - before), window)
    rows = max(1, _AT_ONCE // window)
    parts = (around[start : start + rows] for start in range(0, len(around), rows))
    return np.concatenate([np.partition(part, rank, axis=1)[:, rank] for part in parts])


def _continued(values: np.ndarray, before: int, after: int) -> np.ndarray:
    width = [(before, after)] + [(0, 0)] * (values.ndim - 1)
    return np.pad(values.astype(np.float64), width, mode="edge")
