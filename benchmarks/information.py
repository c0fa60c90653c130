"""Where is it lost? What a strong plain reader answers from the movement, and from what the codec keeps of it.

    python benchmarks/information.py runs/quickstart --people runs/development/movements [--groups] [--bands] [--json]

The control `features` (gradient boosting on plain features, `evaluation/plain_features.py`) is fitted on the training
participants of a run and judged on all people of another dataset, such as a development cohort. It reads the movement
without measurement noise, the movement as it is shown, and the reconstruction of that by the run's codec. With --groups
and --bands, one group of features or one frequency band of the movement as shown is replaced by that of the
reconstruction ("only ... from the codec"), and the reverse ("all but ... from the codec"): the first says what a loss
is due to, the second what would mend it.

Columns: accuracy of the activity, AUROC of the impairment, macro-F1 of diagnosis and device, correlation with the truth
or mean absolute error of numbers, and the mean correlations of all clinical scores and of all gait parameters.
"""

import dataclasses
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from figures import Figure, parser, publish

from biomechgpt_jax import config
from biomechgpt_jax import workdir as workdirs
from biomechgpt_jax.answering.asked import Asked
from biomechgpt_jax.answering.predictions import Prediction, by_question
from biomechgpt_jax.biomechanics import features as features_lib
from biomechgpt_jax.biomechanics import trajectory as trajectories
from biomechgpt_jax.biomechanics.features import FEATURES
from biomechgpt_jax.biomechanics.trajectory import Trial
from biomechgpt_jax.codec import backends, batching
from biomechgpt_jax.data import movements
from biomechgpt_jax.evaluation import baselines, comparison, controls, metrics
from biomechgpt_jax.stages import evaluate
from biomechgpt_jax.workdir import Workdir

# Question or family of the summary, metric, unit, name of the column.
COLUMNS = (
    ("activity", "accuracy", "", "activity"),
    ("impairment", "auroc", "", "impairment AUROC"),
    ("diagnosis", "macro_f1", "", "diagnosis F1"),
    ("assistive_device", "macro_f1", "", "device F1"),
    ("walking_speed", "r", "", "speed r"),
    ("walking_speed", "mae", "m/s", "speed MAE"),
    ("cadence", "r", "", "cadence r"),
    ("cadence", "mae", "steps/min", "cadence MAE"),
    ("tug_time", "r", "", "TUG r"),
    ("five_times_sit_to_stand_time", "r", "", "5 rises r"),
    ("five_times_sit_to_stand_time", "mae", "s", "5 rises MAE"),
    ("step_time_asymmetry", "r", "", "asymmetry r"),
    ("step_width", "r", "", "width r"),
)
_SEED = 0
_GROUPS: dict[str, tuple[str, ...]] = {
    "path and heading": ("forward_velocity", "rightward_velocity", "yaw_rate"),
    "pelvis height": ("pelvis_height",),
    "pelvis tilt and list": ("tilt", "list"),
    "hips": ("hip_",),
    "knees": ("knee_",),
    "ankles and feet": ("ankle_", "subtalar_", "mtp_"),
    "spine": ("lumbar_", "neck_"),
    "arms": ("arm_", "elbow_", "pro_sup", "wrist_"),
}
GROUPS = {name: np.array([f.startswith(prefixes) for f in FEATURES]) for name, prefixes in _GROUPS.items()}
# Hz; the mean over the crop is a band of its own.
BANDS = {"offsets": (-1.0, 0.0), "below 1 Hz": (0.0, 1.0), "1 to 4 Hz": (1.0, 4.0), "above 4 Hz": (4.0, 1e3)}

Crops = dict[int, np.ndarray]  # coordinates f32[T, 40] by the identity of the array that questions share


def clean(trials: Sequence[Trial]) -> list[Trial]:
    """The trials as they were before measurement noise."""
    return [
        dataclasses.replace(t, trajectory=trajectories.replace(t.trajectory, coordinates=t.true_coordinates))
        for t in trials
    ]


Share = Callable[[np.ndarray], np.ndarray]


def mix(asked: Sequence[Asked], back: Crops, share: Share) -> Crops:
    """The movement plus a share of what the codec changes: `share` takes and gives a difference of features [T, 40]."""
    of = {id(item.coordinates): item for item in asked}
    own = [item.coordinates[: len(back[key])] for key, item in of.items()]
    observed = [item.observed for item in of.values()]
    f_own, f_back = batching.features_of(own, observed), batching.features_of([back[key] for key in of], observed)
    mixed = [f + share(g - f) for f, g in zip(f_own, f_back, strict=True)]
    starts = [
        np.asarray(features_lib.start_pose(np.where(mask, movement[:1], 0.0)))
        for movement, mask in zip(own, observed, strict=True)
    ]
    return dict(zip(of, batching.movements_of(mixed, starts), strict=True))


def _band(low: float, high: float) -> Share:
    def keep(change_TC: np.ndarray) -> np.ndarray:
        hz = np.fft.rfftfreq(len(change_TC), 1.0 / config.CANONICAL_RATE_HZ)
        kept = (hz > low) & (hz <= high)
        return np.fft.irfft(np.fft.rfft(change_TC, axis=0) * kept[:, None], len(change_TC), axis=0)

    return keep


def _shares(groups: bool, bands: bool) -> Iterator[tuple[str, Share]]:
    parts: dict[str, Share] = {}
    if groups:
        parts |= {name: lambda change, chosen=chosen: change * chosen for name, chosen in GROUPS.items()}
    if bands:
        parts |= {name: _band(*edges) for name, edges in BANDS.items()}
    for name, part in parts.items():
        yield f"only {name} from the codec", part
        yield f"all but {name} from the codec", lambda change, part=part: change - part(change)


def figures(predictions: Sequence[Prediction], wanted: Sequence[str] = ()) -> dict[str, Figure]:
    """The columns of one reader."""
    asked = by_question(predictions)
    found = {}
    for question, metric, unit, title in COLUMNS:
        value = metrics.measure(asked[question], metric, 0, 0).value if question in asked else None
        found[title] = Figure(value, unit, better="below" if metric == "mae" else "above")
    for name in ("scores", "gait"):
        found[f"{name} mean r"] = Figure(comparison.measure(predictions, name, 0, 0).value, better="above")
    return found


def main() -> None:
    """Fit and judge the control on each version of the movement."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("workdir", type=Path, help="a run with movements and a tokenizer")
    arguments.add_argument("--people", type=Path, required=True, help="movements of people that the run never saw")
    arguments.add_argument("--groups", action="store_true", help="replace one group of features at a time")
    arguments.add_argument("--bands", action="store_true", help="replace one frequency band at a time")
    arguments.add_argument(
        "--fast", action="store_true", help="only the questions of the columns, not all of the means"
    )
    arguments.add_argument("--only", default="", help="rows whose name has one of these words, joined by commas")
    options = arguments.parse_args()
    work, cfg = Workdir(options.workdir), workdirs.load_experiment(options.workdir)
    codec = backends.load(work.tokenizer)
    cfg = dataclasses.replace(cfg, tokenizer=codec.config)
    people = {
        "train": list(movements.read(work.movements, "train")),
        "judged": movements.read_other_people(options.people, work.movements),
    }
    wanted = {question for question, *_ in COLUMNS}

    def ask(trials: Sequence[Trial]) -> list[Asked]:
        asked = evaluate.questions_of(trials, cfg)
        return [item for item in asked if item.question in wanted] if options.fast else asked

    table: dict[str, dict[str, Figure]] = {}
    chosen = [word for word in options.only.split(",") if word]

    def read(row: str, versions: Callable[[str], list[Asked]]) -> None:
        if chosen and not any(word in row for word in chosen):
            return
        started = time.monotonic()
        table[row] = figures(baselines.answers("features", versions("train"), versions("judged"), _SEED))
        print(f"{row}: {time.monotonic() - started:.0f} s", file=sys.stderr)

    asked = {part: ask(trials) for part, trials in people.items()}
    read("the movement without noise", lambda part: ask(clean(people[part])))
    read("the movement", lambda part: asked[part])
    back = {part: controls.reconstruct(codec, rows) for part, rows in asked.items()}
    read("the reconstruction", lambda part: controls.replace_movements(asked[part], back[part]))
    for name, share in _shares(options.groups, options.bands):
        read(
            name, lambda part, share=share: controls.replace_movements(asked[part], mix(asked[part], back[part], share))
        )
    if options.json:
        publish("information", {f"{row}: {c}": f for row, cells in table.items() for c, f in cells.items()}, True)
    else:
        print_table(table)


def print_table(table: dict[str, dict[str, Figure]]) -> None:
    """Print a row a reader, in Markdown."""
    titles = list(next(iter(table.values())))
    print("| features of | " + " | ".join(titles) + " |")
    print("| --- " * (len(titles) + 1) + "|")
    for row, cells in table.items():
        shown: list[Any] = ["–" if f.value is None else f"{f.value:.3f}" for f in cells.values()]
        print(f"| {row} | " + " | ".join(shown) + " |")


if __name__ == "__main__":
    main()
