"""Compare impaired with healthy participants at matched activity and speed.

Impaired people walk more slowly and perform a different mix of activities, and both change how much a codec loses.
Trials are grouped into strata of one activity and one speed class. Each stratum compares the two means and has the
weight w = n_healthy n_impaired / (n_healthy + n_impaired) on BOTH sides (the weights of Mantel and Haenszel, 1959), so
that both sides have the same mix of activities and speeds. A stratum that holds only one side has weight zero.
"""

from collections.abc import Sequence

import numpy as np

from biomechgpt_jax.evaluation import bootstrap
from biomechgpt_jax.evaluation.bootstrap import Metric

SPEED_CLASS_M_S = 0.25


def strata(activities: Sequence[str], speeds: np.ndarray) -> np.ndarray:
    """Stratum index of each trial, i64[N]; speeds f64[N] in m/s, NaN (a separate class) where unknown."""
    classes = np.where(np.isfinite(speeds), np.floor(np.nan_to_num(speeds) / SPEED_CLASS_M_S), -1).astype(int)
    keys = [f"{activity}/{speed}" for activity, speed in zip(activities, classes, strict=True)]
    return np.unique(keys, return_inverse=True)[1].reshape(-1)


def ratio(
    total_N: np.ndarray,
    count_N: np.ndarray,
    impaired_N: np.ndarray,
    stratum_N: np.ndarray,
    group_N: np.ndarray,
    participants: int,
) -> Metric:
    """Mean error of impaired over healthy participants, matched by stratum; NaN if no stratum holds both.

    Args:
        total_N: f64[N] sum of the errors of each trial.
        count_N: f64[N] number of errors in that sum.
        impaired_N: bool[N].
        stratum_N: i64[N] stratum of each trial; all zero gives the unmatched ratio.
        group_N: i64[N] the participant of each trial.
    """
    width = int(stratum_N.max()) + 1 if len(stratum_N) else 0
    sums_PSHV = np.zeros((participants, width, 2, 2))
    np.add.at(sums_PSHV, (group_N, stratum_N, impaired_N.astype(int)), np.stack([total_N, count_N], axis=1))

    def metric(counts: np.ndarray) -> np.ndarray:
        sums_SHV = np.tensordot(counts, sums_PSHV, axes=1)
        total, number = sums_SHV[..., 0], sums_SHV[..., 1]
        both = (number > 0).all(-1)
        weight = np.where(both, number.prod(-1) / np.maximum(number.sum(-1), 1e-9), 0.0)
        means = total / np.where(number > 0, number, 1.0)
        healthy, impaired = np.moveaxis((weight[..., None] * means).sum(-2), -1, 0)
        return np.where(healthy > 0, impaired / np.where(healthy > 0, healthy, 1.0), np.nan)

    return metric


def mean(values_N: np.ndarray, group_N: np.ndarray, participants: int) -> Metric:
    """Mean of values f64[N]; NaN values are left out."""
    defined = np.isfinite(values_N)
    table = np.stack([np.where(defined, values_N, 0.0), defined], axis=1).astype(np.float64)
    sums_P2 = bootstrap.sums(group_N, table, participants)

    def metric(counts: np.ndarray) -> np.ndarray:
        total = counts @ sums_P2
        return np.where(total[..., 1] > 0, total[..., 0] / np.maximum(total[..., 1], 1e-9), np.nan)

    return metric
