"""Where is it lost? What plain readers answer from the movement, from what the codec keeps of it, and from the model.

    python benchmarks/information.py runs/quickstart --people runs/development/movements [--groups] [--bands] [--json]

Every reader is fitted on the training participants of a run and judged on all people of another dataset, such as a
development cohort. Gradient boosting on plain features (`evaluation/plain_features.py`) reads the movement without
measurement noise, the movement as it is shown, and the reconstruction of that by the run's codec; a convolutional
encoder (`evaluation/encoder.py`) reads the movement as it is shown; linear readers (`probes.py`) read the tokens and
the hidden states of the trained model; and the model answers itself. What a reader loses to the one before it in that
order, is lost there.

With --groups and --bands, one group of features or one frequency band of the movement as shown is replaced by that of
the reconstruction ("only ... of the reconstruction"), and the reverse ("all but ..."): the first says what a loss is
due to, the second what would mend it.

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
import probes
from figures import Figure, parser, publish

from biomechgpt_jax import config
from biomechgpt_jax import workdir as workdirs
from biomechgpt_jax.answering import predict
from biomechgpt_jax.answering.asked import Asked
from biomechgpt_jax.answering.predictions import Prediction, by_question
from biomechgpt_jax.biomechanics import features as features_lib
from biomechgpt_jax.biomechanics import trajectory as trajectories
from biomechgpt_jax.biomechanics.features import FEATURES
from biomechgpt_jax.biomechanics.trajectory import Trial
from biomechgpt_jax.codec import backends, batching
from biomechgpt_jax.data import movements
from biomechgpt_jax.evaluation import baselines, comparison, controls, encoder, metrics
from biomechgpt_jax.questions.registry import QUESTIONS
from biomechgpt_jax.stages import evaluate, held_out
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
ROWS = (
    "features of the movement without noise",
    "features of the movement",
    "encoder of the movement",
    "features of the reconstruction",
    "linear reader of the tokens",
    "linear reader of the hidden states",
    "the model's answers",
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
        yield f"only {name} of the reconstruction", part
        yield f"all but {name} of the reconstruction", lambda change, part=part: change - part(change)


def figures(predictions: Sequence[Prediction]) -> dict[str, Figure]:
    """The columns of one reader."""
    asked = by_question(predictions)
    found = {}
    for question, metric, unit, title in COLUMNS:
        value = metrics.measure(asked[question], metric, 0, 0).value if question in asked else None
        found[title] = Figure(value, unit, better="below" if metric == "mae" else "above")
    for name in ("scores", "gait"):
        found[f"{name} mean r"] = Figure(comparison.measure(predictions, name, 0, 0).value, better="above")
    return found


class Table:
    """The rows that were asked for, each computed only then.

    Attributes:
        rows: figures by the name of a reader.
    """

    def __init__(self, only: str, names: Sequence[str]) -> None:
        self.rows: dict[str, dict[str, Figure]] = {}
        self._words = [word for word in only.split(",") if word]
        for word in self._words:
            if not any(word in name for name in names):  # said before hours are spent
                raise SystemExit(f"information: no row has the word {word} of --only; the rows are: {', '.join(names)}")

    def add(self, name: str, answer: Callable[[], list[Prediction]]) -> None:
        if self._words and not any(word in name for word in self._words):
            return
        started = time.monotonic()
        self.rows[name] = figures(answer())
        print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr)


def main() -> None:
    """Fit every reader on the training participants and judge it on the other people."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("workdir", type=Path, help="a run with movements and a tokenizer")
    arguments.add_argument("--people", type=Path, required=True, help="movements of people that the run never saw")
    arguments.add_argument("--groups", action="store_true", help="replace one group of features at a time")
    arguments.add_argument("--bands", action="store_true", help="replace one frequency band at a time")
    arguments.add_argument("--fast", action="store_true", help="only the questions of the columns, not all of a mean")
    arguments.add_argument("--most", type=int, default=0, help="so many participants on each side; 0: all")
    arguments.add_argument("--only", default="", help="rows whose name has one of these words, joined by commas")
    options = arguments.parse_args()
    work, cfg = Workdir(options.workdir), workdirs.load_experiment(options.workdir)
    codec = backends.load(work.tokenizer)
    cfg = dataclasses.replace(cfg, tokenizer=codec.config)
    trials = {
        "train": list(movements.read(work.movements, "train")),
        "test": movements.read_other_people(options.people, work.movements),
    }
    trials = {part: some(people, options.most) for part, people in trials.items()}
    wanted = {question for question, *_ in COLUMNS}

    def ask(part: str, shown: Callable[[Sequence[Trial]], Sequence[Trial]] = list) -> list[Asked]:
        asked = held_out.questions_of(shown(trials[part]), cfg)
        return [item for item in asked if item.question in wanted] if options.fast else asked

    shares = dict(_shares(options.groups, options.bands))
    table = Table(options.only, (*ROWS, *(f"features with {name}" for name in shares)))
    train, test = ask("train"), ask("test")
    table.add(
        "features of the movement without noise",
        lambda: baselines.answers("features", ask("train", clean), ask("test", clean), _SEED),
    )
    table.add("features of the movement", lambda: baselines.answers("features", train, test, _SEED))
    table.add("encoder of the movement", lambda: encoder.answers(trials["train"], train, test, cfg))
    back = {part: controls.reconstruct(codec, rows) for part, rows in (("train", train), ("test", test))}

    def read(version: Callable[[Sequence[Asked], Crops], Crops]) -> list[Prediction]:
        changed = [
            controls.replace_movements(rows, version(rows, back[part]))
            for part, rows in (("train", train), ("test", test))
        ]
        return baselines.answers("features", changed[0], changed[1], _SEED)

    table.add("features of the reconstruction", lambda: read(lambda rows, crops: crops))
    for name, share in shares.items():
        table.add(f"features with {name}", lambda share=share: read(lambda rows, crops: mix(rows, crops, share)))
    add_readers_of_tokens(table, cfg, work, options.people, codec, train, test)
    if options.json:
        publish("information", {f"{row}: {c}": f for row, cells in table.rows.items() for c, f in cells.items()}, True)
    else:
        print_table(table.rows)


def some(trials: Sequence[Trial], most: int) -> list[Trial]:
    """The trials of the first `most` participants by name; all of them for 0."""
    kept = set(sorted({trial.participant for trial in trials})[: most or None])
    return [trial for trial in trials if trial.participant in kept]


def add_readers_of_tokens(
    table: Table,
    cfg: config.Experiment,
    work: Workdir,
    people: Path,
    codec: backends.MotionCodec,
    train: Sequence[Asked],
    test: Sequence[Asked],
) -> None:
    """Add a linear reader of the tokens and, of a trained model, one of its hidden states and its own answers."""
    crops = {id(item.coordinates): item for item in (*train, *test)}
    codes = codec.encode([item.coordinates for item in crops.values()], [item.observed for item in crops.values()])

    def probe(tokens: Sequence[np.ndarray]) -> list[Prediction]:
        input_of = dict(zip(crops, probes.pool(tokens), strict=True))
        x_train, x_test = (np.stack([input_of[id(item.coordinates)] for item in rows]) for rows in (train, test))
        return probes.answers(train, test, x_train, x_test)

    table.add("linear reader of the tokens", lambda: probe(probes.vectors(codes, codec.code_vectors())))
    if not work.checkpoints.is_dir():
        return
    model = evaluate.load_inputs(cfg, work, {}, people).model
    length = cfg.pack.row_length
    table.add("linear reader of the hidden states", lambda: probe(probes.hidden_states(model, codes, length)))
    codes_of = dict(zip(crops, codes, strict=True))
    own = [codes_of[id(item.coordinates)] for item in test]
    table.add("the model's answers", lambda: predict.answers(model, test, own, QUESTIONS))


def print_table(table: dict[str, dict[str, Figure]]) -> None:
    """Print a row a reader, in Markdown."""
    titles = list(next(iter(table.values())))
    print("| reader | " + " | ".join(titles) + " |")
    print("| --- " * (len(titles) + 1) + "|")
    for row, cells in table.items():
        shown: list[Any] = ["–" if f.value is None else f"{f.value:.3f}" for f in cells.values()]
        print(f"| {row} | " + " | ".join(shown) + " |")


if __name__ == "__main__":
    main()
