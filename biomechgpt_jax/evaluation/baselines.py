"""Control baselines: how well questions can be answered without understanding the movement.

Each control is fitted on TRAIN participants and answers the same questions about the same test crops as the model, from
the same noisy coordinates. All but one are weak on purpose: a question that they answer needs no understanding. The
strong one is `features`, gradient boosting of plain features of the movement: what it reads and the model does not is
lost between the movement and the answer. Gradient boosting is scikit-learn's histogram method (Friedman 2001; Ke et
al. 2017).
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from biomechgpt_jax.answering.asked import Asked, prediction
from biomechgpt_jax.answering.predictions import Prediction
from biomechgpt_jax.biomechanics.skeleton import INDEX
from biomechgpt_jax.evaluation import plain_features

CONTROLS = ("constant", "label_prior", "speed_only", "length_only", "mean_pose", "mean_pose_tree", "features")
# The tree answers a single question: do the postures of the cohort give diagnoses away?
TREE_QUESTION = "diagnosis"

# Gradient boosting of the few figures of a weak control, and of the many plain features, chosen on development people.
_WEAK = {"max_iter": 60, "max_leaf_nodes": 8}
_STRONG = {"max_iter": 100, "max_leaf_nodes": 8, "max_bins": 63}
# Of the plain features each question is given those that tell most about it: four times as fast, and as good.
_MOST_FEATURES = 250
_SMOOTH_S = 0.5  # moving-average window applied to the root path before its length is measured
_MINIMUM_TO_FIT = 20


def speed(coordinates: np.ndarray, observed: np.ndarray, rate_hz: float) -> np.ndarray:
    """Net horizontal speed of the pelvis and its speed along the path in m/s, f64[2], from the noisy trajectory.

    A moving average of half a second smooths the path; without it, the length of the path would measure the noise.
    """
    columns = [INDEX["pelvis_tx"], INDEX["pelvis_tz"]]
    if not observed[columns].all():
        return np.full(2, np.nan)
    path = coordinates[:, columns].astype(np.float64)
    width = max(1, min(round(_SMOOTH_S * rate_hz), len(path) // 2))
    smooth = np.stack([np.convolve(axis, np.full(width, 1.0 / width), "valid") for axis in path.T], axis=1)
    duration = max(len(smooth) - 1, 1) / rate_hz
    net = np.linalg.norm(smooth[-1] - smooth[0]) / duration
    along = np.linalg.norm(np.diff(smooth, axis=0), axis=1).sum() / duration
    return np.array([net, along])


def length(coordinates: np.ndarray, observed: np.ndarray, rate_hz: float) -> np.ndarray:
    """Duration of the crop in seconds, f64[1]."""
    return np.array([len(coordinates) / rate_hz])


def mean_pose(coordinates: np.ndarray, observed: np.ndarray, rate_hz: float) -> np.ndarray:
    """Mean of each coordinate over the crop, f64[40]; NaN where a coordinate is not observed."""
    return np.where(observed, coordinates.mean(axis=0, dtype=np.float64), np.nan)


_PerCrop = Callable[[np.ndarray, np.ndarray, float], np.ndarray]
_FEW: dict[str, _PerCrop] = {
    "speed_only": speed,
    "length_only": length,
    "mean_pose": mean_pose,
    "mean_pose_tree": mean_pose,
}


def _describe(name: str, rows: Sequence[Asked], known: dict[int, np.ndarray]) -> None:
    """Add to `known` what a control sees of every crop, f64[F], by the identity of its array."""
    crop_of = {id(row.coordinates): row for row in rows}
    crops = list(crop_of.values())
    if name == "features":
        described = plain_features.describe([c.coordinates for c in crops], [c.observed for c in crops])
        known |= dict(zip(crop_of, described, strict=True))
    elif name in _FEW:
        known |= {i: _FEW[name](c.coordinates, c.observed, c.rate_hz) for i, c in crop_of.items()}


def _label_shares(labels: Sequence[Any]) -> tuple[list[str], np.ndarray]:
    """The labels that occur, sorted, and the share of each, f64[K]."""
    names, counts = np.unique(np.asarray(labels, dtype=str), return_counts=True)
    return [str(name) for name in names], counts / counts.sum()


def _answer_closed(rows: Sequence[Asked], labels: Sequence[str], table: np.ndarray) -> list[Prediction]:
    """Predict the label with the largest of the probabilities f64[N, K]."""
    predictions = []
    for row, chances in zip(rows, table, strict=True):
        best = int(np.argmax(chances))
        made = prediction(row, labels[best], float(chances[best]))
        made["options"] = {label: float(chance) for label, chance in zip(labels, chances, strict=True)}
        predictions.append(made)
    return predictions


def _answer_constant(train: Sequence[Asked], test: Sequence[Asked]) -> list[Prediction]:
    if test[0].kind == "number":
        median = float(np.median([float(row.truth) for row in train]))
        return [prediction(row, median, None) for row in test]
    labels, share = _label_shares([row.truth for row in train])
    return _answer_closed(test, labels, np.tile(share, (len(test), 1)))


def _draw_from_prior(train: Sequence[Asked], test: Sequence[Asked], generator: np.random.Generator) -> list[Prediction]:
    if test[0].kind == "number":
        drawn = generator.choice([float(row.truth) for row in train], len(test))
        return [prediction(row, float(value), None) for row, value in zip(test, drawn, strict=True)]
    labels, share = _label_shares([row.truth for row in train])
    predictions = _answer_closed(test, labels, np.tile(share, (len(test), 1)))
    for row, choice in zip(predictions, generator.choice(len(labels), len(test), p=share), strict=True):
        row["answer"], row["probability"] = labels[choice], float(share[choice])
    return predictions


def _most_telling(x_NF: np.ndarray, truths: Sequence[str | float]) -> np.ndarray:
    """Indices of the `_MOST_FEATURES` features that correlate most with the answer, or with one of the labels."""
    if isinstance(truths[0], str):
        y_NK = (np.array(truths)[:, None] == np.unique(truths)).astype(np.float64)
    else:
        y_NK = np.array(truths, np.float64)[:, None]
    spread = np.nanstd(x_NF, axis=0)
    z_NF = (x_NF - np.nanmean(x_NF, axis=0)) / np.where(spread > 0, spread, 1.0)
    z_NF = np.nan_to_num(np.clip(z_NF, -3.0, 3.0))
    alike_FK = np.abs(z_NF.T @ ((y_NK - y_NK.mean(0)) / np.maximum(y_NK.std(0), 1e-12)))
    rank_F = np.argsort(np.argsort(-alike_FK, axis=0), axis=0).min(axis=1)
    return np.sort(np.argsort(rank_F, kind="stable")[:_MOST_FEATURES])


def _fit_and_answer(
    name: str, train: Sequence[Asked], test: Sequence[Asked], known: dict[int, np.ndarray], seed: int
) -> list[Prediction]:
    """Answers of a model fitted to the features of a control; the constant answer if there is nothing to fit."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        return _fit(name, train, test, known, seed)


def _fit(
    name: str, train: Sequence[Asked], test: Sequence[Asked], known: dict[int, np.ndarray], seed: int
) -> list[Prediction]:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.tree import DecisionTreeClassifier

    x_train, x_test = (np.stack([known[id(row.coordinates)] for row in rows]) for rows in (train, test))
    seen = np.isfinite(x_train).any(axis=0)  # gradient boosting accepts missing values, but not in a whole column
    if len(train) < _MINIMUM_TO_FIT or len({row.truth for row in train}) < 2 or not seen.any():
        return _answer_constant(train, test)
    x_train, x_test = x_train[:, seen], x_test[:, seen]
    if x_train.shape[1] > _MOST_FEATURES:
        chosen = _most_telling(x_train, [row.truth for row in train])
        x_train, x_test = x_train[:, chosen], x_test[:, chosen]
    settings = {**(_STRONG if name == "features" else _WEAK), "early_stopping": False, "random_state": seed}
    if test[0].kind == "number":
        regressor = HistGradientBoostingRegressor(**settings)
        regressor.fit(x_train, [float(row.truth) for row in train])
        answers = regressor.predict(x_test)
        return [prediction(row, float(value), None) for row, value in zip(test, answers, strict=True)]
    if name == "mean_pose_tree":
        # No class balancing: this is the stronger of the two trees (0.17 against 0.10 macro-F1 with balanced classes).
        classifier = DecisionTreeClassifier(max_depth=2, random_state=seed)
    else:
        classifier = HistGradientBoostingClassifier(**settings)
    classifier.fit(x_train, [str(row.truth) for row in train])
    return _answer_closed(test, [str(label) for label in classifier.classes_], classifier.predict_proba(x_test))


def answers(name: str, train: Sequence[Asked], test: Sequence[Asked], seed: int) -> list[Prediction]:
    """Answers of one control to the test questions, in their order.

    Args:
        name: one of `CONTROLS`. mean_pose_tree answers only the diagnosis.
        train: questions about crops of train participants, with their true answers.
        test: questions about crops of held-out participants. A question absent from train is left out.
        seed: seed of the draws and the fits.
    """
    generator = np.random.default_rng([seed, CONTROLS.index(name)])
    known: dict[int, np.ndarray] = {}
    _describe(name, [*train, *test], known)

    def answer(question: str) -> dict[int, Prediction]:
        seen = [row for row in train if row.question == question]
        index = [i for i, row in enumerate(test) if row.question == question]
        rows = [test[i] for i in index]
        if not seen or (name == "mean_pose_tree" and question != TREE_QUESTION):
            return {}
        if name == "constant":
            made = _answer_constant(seen, rows)
        elif name == "label_prior":
            made = _draw_from_prior(seen, rows, generator)
        else:
            made = _fit_and_answer(name, seen, rows, known, seed)
        return dict(zip(index, made, strict=True))

    # With so few rows a fit is fastest on one thread, so that as many questions are fitted at once as there are cores;
    # draws come one after the other, in the order of the questions.
    at_once = 1 if name == "label_prior" else (os.cpu_count() or 1)
    with ThreadPoolExecutor(at_once) as pool:
        made = list(pool.map(answer, dict.fromkeys(row.question for row in test)))
    by_index = {i: row for part in made for i, row in part.items()}
    return [by_index[i] for i in sorted(by_index)]
