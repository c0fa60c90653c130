"""Errors of the scores measured on trajectories, against the exact truth of a simulated cohort.

A trial counts as refused where the score raises InputError although the cohort knows its truth. The movements are
those of the cohort itself, so that clean errors say whether the rules are kept, not how they fare on people.
"""

from collections.abc import Callable

import numpy as np
from figures import Figure, parser, publish

from biomechgpt_jax import config
from biomechgpt_jax.biomechanics import scores
from biomechgpt_jax.biomechanics.scores.body import Result
from biomechgpt_jax.biomechanics.trajectory import Trajectory, Trial
from biomechgpt_jax.cohort.simulate import simulate
from biomechgpt_jax.errors import InputError

TESTS: dict[str, Callable[[Trajectory], Result]] = {
    "tug_time": scores.timed_up_and_go,
    "five_times_sit_to_stand_time": scores.five_times_sit_to_stand,
    "ten_metre_walk_time": scores.ten_metre_walk,
    "four_square_step_time": scores.four_square_step,
    "single_leg_stance_time": scores.single_leg_stance,
    "tandem_stance_time": scores.tandem_stance,
    "functional_reach": scores.functional_reach,
}
ACTIVITIES = ("walk_free", "tug", "chair_rise", "tandem_stance", "single_leg_stance", "functional_reach")
# Bars in seconds on clean movements; a reach is in centimetres.
MEDIAN_BAR, P90_BAR = 0.15, 0.5


def errors(trials: list[Trial], name: str) -> tuple[np.ndarray, int, int]:
    """Signed errors of one score where it was found, how many trials have its truth, how many were flagged."""
    found, flagged = [], 0
    known = [trial for trial in trials if name in trial.scores]
    for trial in known:
        try:
            result = TESTS[name](trial.trajectory)
        except InputError:
            continue
        flagged += bool(result.flags)
        found.append(result.value - trial.scores[name].value)
    return np.array(found), len(known), flagged


def measure(participants: int, seed: int) -> dict[str, Figure]:
    figures: dict[str, Figure] = {}
    for noise in ("none", "markerless"):
        cohort = config.Cohort(participants=participants, hours=0.001, seed=seed, noise=noise, activities=ACTIVITIES)
        trials = list(simulate(cohort))
        for name in TESTS:
            error, known, flagged = errors(trials, name)
            unit = "cm" if name == "functional_reach" else "s"
            barred = noise == "none" and unit == "s"
            label = f"{name}, {'clean' if noise == 'none' else noise}"
            if not known:
                figures[f"{label}, median"] = Figure(None, unit, note="the cohort has no such activity")
                continue
            middle, high = np.percentile(np.abs(error), [50, 90]) if len(error) else (np.inf, np.inf)
            mean = float(np.mean(error)) if len(error) else np.nan
            note = f"n={known}, refused {known - len(error)}, flagged {flagged}, mean error {mean:+.2f}"
            figures[f"{label}, median"] = Figure(float(middle), unit, MEDIAN_BAR if barred else None, note=note)
            figures[f"{label}, p90"] = Figure(float(high), unit, P90_BAR if barred else None)
    return figures


def main() -> None:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--participants", type=int, default=64)
    arguments.add_argument("--seed", type=int, default=7)
    args = arguments.parse_args()
    publish("scores", measure(args.participants, args.seed), args.json)


if __name__ == "__main__":
    main()
