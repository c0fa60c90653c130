"""Errors of the scores measured on trajectories, against the exact truth of a simulated cohort.

A trial counts as refused if the score raises InputError although the cohort knows its truth. The movements are those of
the cohort itself, so errors on clean movements show whether the rules are implemented correctly, not how the scores
perform on people. The bars are this program's own. The detectors were adjusted on participants of another seed.
"""

from collections.abc import Callable

import numpy as np
from figures import Figure, parser, publish
from scipy.stats import spearmanr

from biomechgpt_jax import config
from biomechgpt_jax.biomechanics import scores
from biomechgpt_jax.biomechanics.scores import Points, Result
from biomechgpt_jax.biomechanics.trajectory import Trajectory, Trial
from biomechgpt_jax.cohort.activities.protocol import PROTOCOL
from biomechgpt_jax.cohort.simulate import GROUP, group_trials
from biomechgpt_jax.errors import InputError

TESTS: dict[str, Callable[[Trajectory], Result]] = {
    "tug_time": scores.timed_up_and_go,
    "five_times_sit_to_stand_time": scores.five_times_sit_to_stand,
    "ten_metre_walk_time": scores.ten_metre_walk,
    "four_square_step_time": scores.four_square_step,
    "single_leg_stance_time": scores.single_leg_stance,
    "tandem_stance_time": scores.tandem_stance,
    "functional_reach": scores.functional_reach,
    "box_and_block": scores.box_and_block,
}
# Activities of the protocol whose truth is compared.
_KEYS = (
    *("walk_free", "tug", "chair_rise", "tandem_stance", "single_leg_stance"),
    *("functional_reach", "box_and_block", "four_square"),
)
ACTIVITIES = tuple(key for key, _ in PROTOCOL if key in _KEYS)
# Bars by unit: mean absolute error on clean and on markerless movements, and bias on clean movements.
BARS = {"s": (0.15, 0.5, 0.10), "cm": (2.0, 3.0, 1.5), "blocks/min": (1.0, 2.0, 0.5)}
UNITS = {"functional_reach": "cm", "box_and_block": "blocks/min"}


def trials_of(cohort: config.Cohort) -> list[Trial]:
    return [trial for begin in range(0, cohort.participants, GROUP) for trial in group_trials(cohort, begin)]


def errors(trials: list[Trial], name: str) -> tuple[np.ndarray, int, int]:
    """Signed errors of one score, number of trials with its truth, and number of trials flagged as cut short."""
    signed, cut = [], 0
    known = [trial for trial in trials if name in trial.scores]
    for trial in known:
        try:
            result = TESTS[name](trial.trajectory)
        except InputError:
            continue
        cut += "cut short by the recording" in result.flags
        signed.append(result.value - trial.scores[name].value)
    return np.array(signed), len(known), cut


def measure(participants: int, seed: int) -> dict[str, Figure]:
    """Errors of every score on clean and on markerless movements."""
    figures: dict[str, Figure] = {}
    for noise, label in (("none", "clean"), ("markerless", "markerless")):
        trials = trials_of(
            config.Cohort(participants=participants, hours=0.001, seed=seed, noise=noise, activities=ACTIVITIES)
        )
        for name in TESTS:
            unit = UNITS.get(name, "s")
            error, known, cut = errors(trials, name)
            if not known:
                figures[f"{name}, {label}, MAE"] = Figure(None, unit, note="the cohort has no such activity")
                continue
            clean_bar, noisy_bar, bias_bar = BARS[unit]
            mae, bias = (float(np.mean(np.abs(error))), float(np.mean(error))) if len(error) else (np.inf, np.inf)
            p90 = float(np.percentile(np.abs(error), 90)) if len(error) else np.inf
            note = f"n={known}, refused {known - len(error)}, cut short {cut}, p90 {p90:.2f}"
            clean = label == "clean"
            figures[f"{name}, {label}, MAE"] = Figure(mae, unit, clean_bar if clean else noisy_bar, note=note)
            figures[f"{name}, {label}, |bias|"] = Figure(
                abs(bias), unit, bias_bar if clean else None, note=f"mean error {bias:+.3f} {unit}"
            )
    return figures | {"MDS-UPDRS 3.10 proxy and severity in Parkinson disease, Spearman": proxy(seed)}


def proxy(seed: int, participants: int = 48) -> Figure:
    """Rank correlation of the proxy with the latent severity: how well it orders people, not whether it is right."""
    cohort = config.Cohort(
        participants=participants,
        hours=0.001,
        seed=seed,
        noise="markerless",
        activities=("walk_free",),
        etiologies=("Parkinson disease",),
    )
    pairs = []
    for trial in trials_of(cohort):
        item = scores.assess(trial.trajectory, device=trial.device != "none").get("MDS-UPDRS 3.10 proxy")
        if isinstance(item, Points) and item.points is not None:
            pairs.append((item.points, trial.severity))
    points, severity = np.array(pairs).T
    by_points = ", ".join(f"{k}: {int(np.sum(points == k))}" for k in range(4))
    return Figure(float(spearmanr(points, severity)[0]), "", note=f"n={len(pairs)}, people by points {by_points}")


def main() -> None:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--participants", type=int, default=36)
    arguments.add_argument("--seed", type=int, default=23)
    args = arguments.parse_args()
    publish("scores", measure(args.participants, args.seed), args.json)


if __name__ == "__main__":
    main()
