"""How fast the cohort is simulated, how long it is, and whether it is the same however it is divided.

    python benchmarks/cohort.py [--participants 64] [--json]

Compilation (a first group of other participants) is timed separately. Peak memory is that of the whole process.
"""

import resource
import time

import numpy as np
from figures import Figure, parser, publish

from biomechgpt_jax import config
from biomechgpt_jax.biomechanics.trajectory import Trial
from biomechgpt_jax.cohort.simulate import GROUP, group_trials, participant_trials, simulate

BAR_REAL_TIME = 200.0


def _count_differences(trials: list[Trial], others: list[Trial]) -> float:
    """Number of trials that differ in any bit of movement, mask or score."""
    others_by_id = {trial.trial_id: trial for trial in others}
    count = 0
    for trial in trials:
        other = others_by_id[trial.trial_id]
        same = np.array_equal(trial.trajectory.coordinates, other.trajectory.coordinates)
        same &= np.array_equal(trial.trajectory.observed, other.trajectory.observed)
        count += not (same and dict(trial.scores) == dict(other.scores))
    return float(count)


def main() -> None:
    command = parser(__doc__ or "")
    command.add_argument("--participants", type=int, default=64, help="people to simulate (one round)")
    arguments = command.parse_args()
    cohort = config.Cohort(participants=arguments.participants, hours=1e-3)

    begin = time.perf_counter()
    group_trials(config.Cohort(participants=GROUP, hours=1e-3, seed=1), 0)
    warm_up = time.perf_counter() - begin

    begin = time.perf_counter()
    seconds, trials = 0.0, 0
    first: list[Trial] = []
    for trial in simulate(cohort):
        seconds += trial.trajectory.seconds
        trials += 1
        if trials <= 200:
            first.append(trial)
    wall = time.perf_counter() - begin

    names = [trial.participant for trial in first]
    alone = participant_trials(cohort, 1)
    together = [trial for trial, name in zip(first, names, strict=True) if name == alone[0].participant]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    figures = {
        "real_time": Figure(seconds / wall, "x", BAR_REAL_TIME, "above", "seconds of movement per second, warm"),
        "warm_up": Figure(warm_up, "s", note=f"compilation and a first group of {GROUP} people"),
        "wall": Figure(wall, "s"),
        "movement": Figure(seconds / 3600, "h", note=f"{arguments.participants} people, one round of the protocol"),
        "trials": Figure(float(trials)),
        "peak_memory": Figure(peak, "MB"),
        "differing_trials": Figure(
            _count_differences(together, alone),
            bar=0.0,
            note=f"one person alone against the same person in a group, {len(alone)} trials",
        ),
    }
    publish("cohort", figures, arguments.json)


if __name__ == "__main__":
    main()
