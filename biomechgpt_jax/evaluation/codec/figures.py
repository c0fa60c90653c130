"""Figures of a motion codec on held-out participants: measured trial by trial, then summarized."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from biomechgpt_jax.biomechanics.features import FORWARD, YAW_RATE
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT, COORDINATES, INDEX
from biomechgpt_jax.biomechanics.trajectory import Trial, replace
from biomechgpt_jax.codec.backends import MotionCodec
from biomechgpt_jax.codec.batching import features_of
from biomechgpt_jax.config import CANONICAL_RATE_HZ
from biomechgpt_jax.evaluation import bootstrap
from biomechgpt_jax.evaluation.bootstrap import Estimate, Metric
from biomechgpt_jax.evaluation.codec import matching, reconstruction

WALKING = "walking"
GAIT = {
    "cadence": "steps/min",
    "walking_speed": "m/s",
    "stride_length": "m",
    "step_time_asymmetry": "points",
    "double_support": "% of the stride",
}
_RATES = ("velocity", "acceleration", "own_velocity", "own_acceleration")
# Number of trials in memory at once.
_CHUNK = 64


@dataclass
class Measurements:
    """Measurements of each trial and of each code of the first layer. Lists have one entry per trial."""

    index: list[int] = field(default_factory=list)  # index among the trials given
    participant: list[str] = field(default_factory=list)
    activity: list[str] = field(default_factory=list)
    diagnosis: list[str] = field(default_factory=list)
    frames: list[int] = field(default_factory=list)
    coded_frames: int = 0
    tokens: int = 0
    median: list[np.ndarray] = field(default_factory=list)  # f64[40] degrees
    own: list[np.ndarray] = field(default_factory=list)  # f64[40] degrees, error of the codec's input
    p95: list[np.ndarray] = field(default_factory=list)
    rates: dict[str, list[np.ndarray]] = field(default_factory=lambda: {name: [] for name in _RATES})
    speed: list[float] = field(default_factory=list)  # m/s, NaN where the root is not observed
    speed_error: list[float] = field(default_factory=list)
    windows_cm: list[list[float]] = field(default_factory=list)
    drift_cm: list[float] = field(default_factory=list)
    height_cm: list[float] = field(default_factory=list)
    walks: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in GAIT})
    walker: list[int] = field(default_factory=list)  # for each walk, the index of its trial in these lists
    failures: int = 0
    counts: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), int))  # i64[Q, N]
    by_activity: dict[str, np.ndarray] = field(default_factory=dict)  # i64[N], token count of each first-layer code
    in_step: bool = True  # whether every token covers `stride` frames; if not, the next two are unused
    movement: np.ndarray = field(default_factory=lambda: np.zeros(0))  # f64[N, stride, 40], sum of decoded features
    square: np.ndarray = field(default_factory=lambda: np.zeros(0))  # f64[N, 40], sum of squares in the middle frame


def gather(codec: MotionCodec, trials: Sequence[Trial], progress: Callable[[int, int], None]) -> Measurements:
    """Encode, decode and measure trials in chunks. Trials shorter than a token are left out."""
    codes, stride = codec.codes, codec.stride
    measured = Measurements(
        counts=np.zeros((codec.layers, codes), int),
        movement=np.zeros((codes, stride, COORDINATE_COUNT)),
        square=np.zeros((codes, COORDINATE_COUNT)),
    )
    for begin in range(0, len(trials), _CHUNK):
        numbers = range(begin, min(begin + _CHUNK, len(trials)))
        chunk = [(number, trials[number]) for number in numbers]
        chunk = [(number, trial) for number, trial in chunk if trial.trajectory.frames >= stride]
        if chunk:
            _add(measured, codec, chunk)
        progress(numbers.stop, len(trials))
    return measured


def _add(measured: Measurements, codec: MotionCodec, chunk: Sequence[tuple[int, Trial]]) -> None:
    shown = [trial.trajectory for _, trial in chunk]
    tokens, back = reconstruction.encode_and_decode(codec, [t.coordinates for t in shown], [t.observed for t in shown])
    first = len(measured.index)
    for (number, trial), made in zip(chunk, back, strict=True):
        true, seen = trial.true_coordinates[: len(made)], trial.trajectory.observed
        measured.index.append(number)
        measured.participant.append(trial.participant)
        measured.activity.append(trial.trajectory.metadata.activity)
        measured.diagnosis.append(trial.diagnosis)
        measured.frames.append(trial.trajectory.frames)
        measured.coded_frames += len(made)
        error = reconstruction.angles(true, made, seen)
        measured.median.append(error.median)
        measured.p95.append(error.p95)
        measured.own.append(reconstruction.angles(true, trial.trajectory.coordinates, seen).median)
        rates = reconstruction.rates(true, made, seen)
        for name in _RATES:
            measured.rates[name].append(getattr(rates, name))
        rooted = reconstruction.has_root(seen)
        speed = reconstruction.path_speed(true) if rooted else np.nan
        measured.speed.append(speed)
        measured.speed_error.append(abs(reconstruction.path_speed(made) - speed))
        measured.windows_cm.append(reconstruction.root_cm(true, made) if rooted else [])
        measured.drift_cm.append(reconstruction.drift_cm(true, made) if rooted else np.nan)
        height = INDEX["pelvis_ty"]
        measured.height_cm.append(100 * float(np.median(abs(made - true)[:, height])) if seen[height] else np.nan)
    walking = [place for place, one in enumerate(shown) if one.metadata.activity == WALKING]
    true_walks = [replace(shown[i], coordinates=chunk[i][1].true_coordinates) for i in walking]
    gait = reconstruction.walks(true_walks, [back[i] for i in walking], tuple(GAIT))
    for name, values in gait.errors.items():
        measured.walks[name] += values.tolist()
    measured.walker += [first + walking[number] for number in gait.trial]
    measured.failures += gait.failures
    _add_codes(measured, codec, tokens, back, [one.metadata.activity for one in shown])


def _add_codes(
    measured: Measurements,
    codec: MotionCodec,
    tokens: Sequence[np.ndarray],
    back: Sequence[np.ndarray],
    activities: Sequence[str],
) -> None:
    measured.tokens += sum(map(len, tokens))
    measured.counts += reconstruction.counts(tokens, codec.codes)
    features = features_of(back, [np.ones(COORDINATE_COUNT, bool)] * len(back))
    for codes, movement, activity in zip(tokens, features, activities, strict=True):
        tally = measured.by_activity.setdefault(activity, np.zeros(codec.codes, int))
        np.add.at(tally, codes[:, 0], 1)
        measured.in_step &= len(movement) == len(codes) * codec.stride
        if not measured.in_step:
            continue
        parts = movement.reshape(len(codes), codec.stride, COORDINATE_COUNT).astype(np.float64)
        np.add.at(measured.movement, codes[:, 0], parts)
        np.add.at(measured.square, codes[:, 0], parts[:, codec.stride // 2] ** 2)


def figures(codec: MotionCodec, measured: Measurements, resamples: int, seed: int, most_codes: int) -> dict[str, Any]:
    """All figures of the report, JSON-serializable except for NaN. Intervals are over participants.

    Keys that the tokenizer stage prints too have the meaning they have in `reconstruction.measure`, over all trials.
    """
    group, people = bootstrap.groups(measured.participant)
    known = np.array([bool(name) for name in measured.diagnosis])
    impaired = np.array([name not in ("", "healthy") for name in measured.diagnosis])
    median, p95 = np.stack(measured.median), np.stack(measured.p95)

    def estimate(metric: Metric) -> dict[str, Any]:
        return _as_json(bootstrap.estimate(metric, people, resamples, seed))

    stratum = matching.strata(measured.activity, np.array(measured.speed))

    def ratios(columns: np.ndarray) -> dict[str, Any]:
        rows = median[known][:, columns]
        total, count = np.nansum(rows, axis=1), np.isfinite(rows).sum(axis=1).astype(float)

        def ratio(stratum: np.ndarray) -> dict[str, Any]:
            return estimate(matching.ratio(total, count, impaired[known], stratum, group[known], people))

        return {"ratio": ratio(np.zeros(known.sum(), int)), "matched_ratio": ratio(stratum[known])}

    states = {"healthy": known & ~impaired, "impaired": impaired}
    by_coordinate = {}
    for column, name in enumerate(COORDINATES):
        if np.isfinite(median[:, column]).any():
            here = np.arange(COORDINATE_COUNT) == column
            by_coordinate[name] = {
                "median_deg": reconstruction.mean(measured.median, here),
                "p95_deg": reconstruction.mean(measured.p95, here),
                "trials": int(np.isfinite(median[:, column]).sum()),
                **{
                    state: {
                        "median_deg": reconstruction.mean(median[chosen], here),
                        "p95_deg": reconstruction.mean(p95[chosen], here),
                        "trials": int(np.isfinite(median[chosen, column]).sum()),
                    }
                    for state, chosen in states.items()
                },
                **ratios(here),
            }
    both = [s for s in range(stratum.max() + 1) if all((chosen & (stratum == s)).any() for chosen in states.values())]
    per_layer = [
        {"used": int((layer > 0).sum()), "perplexity": reconstruction.perplexity(layer)} for layer in measured.counts
    ]
    per_second = CANONICAL_RATE_HZ * measured.tokens / measured.coded_frames
    return {
        "median_deg": reconstruction.mean(measured.median),
        "p95_deg": reconstruction.mean(measured.p95),
        "input_median_deg": reconstruction.mean(measured.own),
        "speed_error": _mean(np.array(measured.speed_error)),
        "code_usage": float((measured.counts > 0).mean()),
        "tokens": measured.tokens,
        "healthy_median_deg": reconstruction.mean(median[states["healthy"]]),
        "impaired_median_deg": reconstruction.mean(median[impaired]),
        "healthy_p95_deg": reconstruction.mean(p95[states["healthy"]]),
        "impaired_p95_deg": reconstruction.mean(p95[impaired]),
        "lower_limb_median_deg": reconstruction.mean(measured.median, reconstruction.LOWER_LIMB),
        "by_group_deg": {
            name: reconstruction.mean(measured.median, columns) for name, columns in reconstruction.GROUPS.items()
        },
        "codes": codec.codes,
        "codes_used": per_layer[0]["used"],
        "perplexity": per_layer[0]["perplexity"],
        "tokens_per_second": per_second,
        "bits_per_second": per_second * codec.layers * float(np.log2(codec.codes)),
        "layers": per_layer,
        "digest": codec.digest,
        "data": {
            "participants": people,
            "healthy_participants": len(set(group[states["healthy"]])),
            "impaired_participants": len(set(group[states["impaired"]])),
            "trials": len(measured.index),
            "hours": sum(measured.frames) / CANONICAL_RATE_HZ / 3600,
        },
        "impaired_over_healthy": ratios(reconstruction.ANGLES)
        | {
            "strata": len(both),
            "trials_in_strata": int(np.isin(stratum[known], both).sum()),
            "trials": int(known.sum()),
        },
        "coordinates": by_coordinate,
        "rates": {
            name: {rate: reconstruction.mean(measured.rates[rate], columns) for rate in _RATES}
            for name, columns in {"all": reconstruction.ANGLES, **reconstruction.GROUPS}.items()
        },
        "root": _root(measured, estimate, group, people),
        "gait": _gait(measured, estimate, group, people),
        "first_layer": _codes(codec, measured, most_codes),
    }


def _root(
    measured: Measurements, estimate: Callable[[Metric], dict[str, Any]], group: np.ndarray, people: int
) -> dict[str, Any]:
    windows = np.array([cm for own in measured.windows_cm for cm in own])
    owner = np.array([group[i] for i, own in enumerate(measured.windows_cm) for _ in own], int)
    drift = np.array(measured.drift_cm)
    finite_drift = drift[np.isfinite(drift)]
    return {
        "windows": len(windows),
        "window_cm": {
            "median": _percentile(windows, 50),
            "p95": _percentile(windows, 95),
            "mean": estimate(matching.mean(windows, owner, people)),
        },
        "trials": len(finite_drift),
        "whole_trial_cm": {
            "median": _percentile(finite_drift, 50),
            "p95": _percentile(finite_drift, 95),
            "mean": estimate(matching.mean(drift, group, people)),
        },
        "height_cm": estimate(matching.mean(np.array(measured.height_cm), group, people)),
        "speed_m_s": estimate(matching.mean(np.array(measured.speed_error), group, people)),
    }


def _gait(
    measured: Measurements, estimate: Callable[[Metric], dict[str, Any]], group: np.ndarray, people: int
) -> dict[str, Any]:
    owner = group[np.array(measured.walker, int)]
    impaired = np.array([measured.diagnosis[i] not in ("", "healthy") for i in measured.walker], bool)
    healthy = np.array([measured.diagnosis[i] == "healthy" for i in measured.walker], bool)
    parameters = {}
    for name, unit in GAIT.items():
        errors = np.array(measured.walks[name])
        parameters[name] = {
            "unit": unit,
            "mae": estimate(matching.mean(errors, owner, people)),
            "healthy_mae": _mean(errors[healthy]),
            "impaired_mae": _mean(errors[impaired]),
            "walks": int(np.isfinite(errors).sum()),
        }
    return {"walks": len(measured.walker), "failures": measured.failures, "parameters": parameters}


def _codes(codec: MotionCodec, measured: Measurements, most: int) -> list[dict[str, Any]]:
    """The most frequent first-layer codes: their counts, activities, and the spread of the movements they encode."""
    counts = measured.counts[0]
    order = np.argsort(-counts, kind="stable")[:most]
    made: list[dict[str, Any]] = []
    for code in order[counts[order] > 0]:
        count = int(counts[code])
        often = Counter({name: int(tally[code]) for name, tally in measured.by_activity.items() if tally[code]})
        row = {
            "code": int(code),
            "count": count,
            "share": count / measured.tokens,
            "activities": {name: tally / count for name, tally in often.most_common(3)},
        }
        if measured.in_step:
            mean = measured.movement[code] / count
            spread = np.sqrt(np.maximum(measured.square[code] / count - mean[codec.stride // 2] ** 2, 0.0))
            row["spread_deg"] = float(np.degrees(spread[reconstruction.ANGLES]).mean())
            row["forward_m_s"] = float(mean[:, FORWARD].mean())
            row["yaw_deg_s"] = float(np.degrees(mean[:, YAW_RATE].mean()))
        made.append(row)
    return made


def _as_json(estimate: Estimate) -> dict[str, Any]:
    return {"value": estimate.value, "ci95": estimate.interval}


def _mean(values: np.ndarray) -> float:
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else float("nan")


def _percentile(values: np.ndarray, percent: float) -> float:
    return float(np.percentile(values, percent)) if len(values) else float("nan")
