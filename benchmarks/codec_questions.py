"""Answers of an otherwise equal experiment with each back end of the motion codec.

    python benchmarks/codec_questions.py [--only fsq,rvq] [--participants 256] [--workdir DIR] [--json]

Every back end is trained on the same participants of the development cohort (configs/development.py), and a language
model of the same size for the same number of steps on its tokens; the figures are those of the report, on held-out
participants of that cohort. A longer movement takes fewer tokens with some back ends, so that a row of the same length
holds more questions. The last figure of a back end, `answers`, is the mean of six shares: accuracy of the activity,
AUROC of impairment, macro-F1 of the diagnosis, and the correlations of walking speed, cadence and timed up and go. The
back end with the best of them is the one to take as the default.
"""

import dataclasses
import json
import runpy
import shutil
import tempfile
from pathlib import Path
from typing import Any

from codec import BACK_ENDS
from figures import Figure, parser, publish

from biomechgpt_jax import config, pipeline
from biomechgpt_jax.workdir import Workdir

_DEVELOPMENT = Path(__file__).parent.parent / "configs" / "development.py"
# The control without movement is not compared.
_TEXT_ONLY_STEPS = 1
# Family, question in it, metric, unit and whether more is better.
_COLUMNS = (
    ("activity", "", "accuracy", "", "above"),
    ("impairment", "", "auroc", "", "above"),
    ("diagnosis", "", "macro_f1", "", "above"),
    ("gait", "walking_speed", "mae", "m/s", "below"),
    ("gait", "cadence", "mae", "steps/min", "below"),
    ("gait", "step_time_asymmetry", "mae", "points", "below"),
    ("outcome_scores", "tug_time", "mae", "s", "below"),
    ("gait", "walking_speed", "r", "", "above"),
    ("gait", "cadence", "r", "", "above"),
    ("outcome_scores", "tug_time", "r", "", "above"),
)
# Between 0 and 1, more is better.
_SHARES = ("accuracy", "auroc", "macro_f1", "r")


def answers(name: str, measured: dict[str, Any]) -> dict[str, Figure]:
    """The figures of one back end, with their intervals over participants."""
    found: dict[str, Figure] = {}
    shares = []
    for family, question, metric, unit, better in _COLUMNS:
        part = measured["families"].get(family, {})
        part = part.get(question, {}) if question else part
        interval = part.get("ci95" if metric in ("accuracy", "mae") else f"{metric}_ci95")
        note = f"95 % interval {interval[0]:.3f} to {interval[1]:.3f}" if interval else ""
        title = f"{question or family} {metric}".replace("_", " ")
        shares += [part.get(metric) or 0.0] if metric in _SHARES else []  # an answer that is constant has no r
        found[f"{name}: {title}"] = Figure(part.get(metric), unit, better=better, note=note)  # type: ignore[arg-type]
    found[f"{name}: answers"] = Figure(sum(shares) / len(shares), better="above", note="mean of the six shares")
    return found


def main() -> None:
    """Simulate once, then train and judge with every back end."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--only", default=",".join(BACK_ENDS))
    arguments.add_argument("--participants", type=int, default=256)
    arguments.add_argument("--steps", type=int, default=0, help="of the codec; 0: as many as its configuration says")
    arguments.add_argument("--workdir", type=Path, help="kept; by default a temporary one")
    options = arguments.parse_args()
    base: config.Experiment = runpy.run_path(str(_DEVELOPMENT))["config"]()
    hours = base.cohort.hours * options.participants / base.cohort.participants
    cohort = dataclasses.replace(base.cohort, participants=options.participants, hours=hours)
    base = dataclasses.replace(base, cohort=cohort, text_only_steps=_TEXT_ONLY_STEPS)
    figures: dict[str, Figure] = {}
    with tempfile.TemporaryDirectory() as temporary:
        root = options.workdir or Path(temporary)
        pipeline.run(base, root / "cohort", until="simulate")
        for name in options.only.split(","):
            tokenizer = BACK_ENDS[name]
            if options.steps:
                tokenizer = dataclasses.replace(tokenizer, steps=options.steps)
            own = root / name.replace(" ", "_")
            if not own.exists():
                shutil.copytree(root / "cohort", own)
            pipeline.run(dataclasses.replace(base, name=name, tokenizer=tokenizer), own)
            figures |= answers(name, json.loads(Workdir(own).evaluation.joinpath("metrics.json").read_text()))
    publish("codec_questions", figures, options.json)


if __name__ == "__main__":
    main()
