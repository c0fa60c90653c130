"""Numbers by the median of their distribution against greedy decoding: time, and how right they are.

    python benchmarks/number_distributions.py --workdir runs/quickstart [--repeats 5] [--people 46] [--json]

The questions about numbers of a run's own evaluation, answered in both ways, which alternate in one process after a
call that warms up; a ratio is the median of the pairs. Errors, correlations and coverages are those of metrics.json,
over the held-out people of the run (or the first of them).
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from figures import Figure, parser, publish

from biomechgpt_jax import workdir as workdirs
from biomechgpt_jax.answering import predict
from biomechgpt_jax.answering.asked import Asked
from biomechgpt_jax.answering.predictions import Prediction
from biomechgpt_jax.data import movements
from biomechgpt_jax.evaluation import metrics, naming
from biomechgpt_jax.model import distributions
from biomechgpt_jax.questions.registry import QUESTIONS
from biomechgpt_jax.stages import held_out
from biomechgpt_jax.tasks import trained
from biomechgpt_jax.tasks.id_space import IdSpace
from biomechgpt_jax.tasks.parameters import NOTHING
from biomechgpt_jax.tokenizer import vocabulary
from biomechgpt_jax.workdir import Workdir

BAR = 2.0


def load(directory: Path, people: int) -> tuple[predict.LanguageModel, list[Asked], list[np.ndarray]]:
    """The model of a run, and the questions about numbers of its evaluation with the codes of their crops."""
    work, cfg = Workdir(directory), workdirs.load_experiment(directory)
    codec, words = vocabulary.load(work.tokenizer)
    params = trained.load_params(
        work.checkpoints, cfg.model, IdSpace.of(words), frozen=NOTHING.with_code_vectors(codec.code_vectors())
    )
    trials = list(movements.read(work.movements, "test"))
    chosen = sorted({trial.participant for trial in trials})[:people]
    asked = held_out.questions_of([trial for trial in trials if trial.participant in chosen], cfg)
    asked = [item for item in asked if item.kind == "number"]
    model = predict.LanguageModel(params, cfg.model, words, cfg.evaluation.batch_size)
    crops = {id(item.coordinates): item for item in asked}
    tokens = codec.encode([item.coordinates for item in crops.values()], [item.observed for item in crops.values()])
    tokens_of = dict(zip(crops, tokens, strict=True))
    return model, asked, [tokens_of[id(item.coordinates)] for item in asked]


def alternated(models: Sequence[predict.LanguageModel], repeats: int, *asked: Any) -> tuple[np.ndarray, list[Any]]:
    """Wall and CPU seconds of every call, [repeats, models, 2], and the answers."""
    answers = [predict.answers(model, *asked, QUESTIONS) for model in models]
    taken = np.zeros((repeats, len(models), 2))
    for row in taken:
        for column, model in enumerate(models):
            begin = np.array([time.perf_counter(), time.process_time()])
            predict.answers(model, *asked, QUESTIONS)
            row[column] = np.array([time.perf_counter(), time.process_time()]) - begin
    return taken, answers


def walked(model: predict.LanguageModel, *asked: Any) -> list[distributions.Distribution]:
    """The distributions themselves, with what they cost."""
    seen: list[distributions.Distribution] = []
    real = distributions.distributions

    def watch(*arguments: Any) -> list[list[distributions.Distribution]]:
        found = real(*arguments)
        seen.extend(one for of_request in found for one in of_request)
        return found

    distributions.distributions = watch
    try:
        predict.answers(model, *asked, QUESTIONS)
    finally:
        distributions.distributions = real
    return seen


def quality(greedy: list[Prediction], median: list[Prediction]) -> dict[str, Figure]:
    """Error, correlation and coverage of every number; greedy decoding in the note."""
    before, after = (metrics.summarise(rows, 0, 0) for rows in (greedy, median))
    rows = {}
    for name, summary in naming.questions(after):
        old, title = metrics.find(before, name), naming.question_title(name)
        note = f"greedy {old['mae']:.3g}; r {summary['r']:.3f}, greedy {old['r']:.3f}; {summary['n']} answers"
        rows[f"{title}, MAE"] = Figure(summary["mae"], summary["unit"], note=note)
        note = f"mean width {summary['width90']:.3g} {summary['unit']}"
        rows[f"{title}, in 90 %"] = Figure(summary["coverage90"], note=note)
    return rows


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--workdir", type=Path, default=Path("runs/quickstart"), help="a finished run (%(default)s)")
    arguments.add_argument("--people", type=int, default=10**6, help="at most so many held-out people")
    arguments.add_argument("--repeats", type=int, default=5, help="alternated calls, of which the median counts")
    options = arguments.parse_args()
    model, *asked = load(options.workdir, options.people)
    taken, (greedy, median) = alternated([replace(model, numbers="greedy"), model], options.repeats, *asked)
    ones = walked(model, *asked)
    spread = np.array([one.spread for one in ones])
    ratio, cpu_ratio = np.median(taken[:, 1] / taken[:, 0], axis=0).tolist()
    wall, cpu = (f"greedy {before:.2f} s, distribution {after:.2f} s" for before, after in np.median(taken, axis=0).T)
    figures = {
        "distribution against greedy": Figure(ratio, "x", BAR, note=f"{wall}, {len(ones)} questions"),
        "the same, CPU time": Figure(cpu_ratio, "x", note=cpu),
        "nodes of a question": Figure(
            float(np.mean([one.nodes for one in ones])), note=f"at most {max(one.nodes for one in ones)}"
        ),
        "spread over pruned prefixes": Figure(float(spread.mean()), note=f"at most {spread.max():.4f}"),
    }
    publish("number_distributions", figures | quality(greedy, median), options.json)


if __name__ == "__main__":
    main()
