"""Our own runs as rows of a table: working directories with a configuration and a log.

`params` are operations for each token over six, so that attention and every softmax count as they were computed
(operations per token as the measure of size: DeepSeek-AI, 2401.02954, section 3.2). `tokens` are those that are not
padding.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from biomechgpt_jax import config
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.scaling.table import OPERATIONS, Runs
from biomechgpt_jax.training import metrics
from biomechgpt_jax.workdir import Workdir, load_experiment

LOSS = "validation_loss"
_RATES = ("tokens_per_second", "nonpadding_tokens_per_second", "flops_per_second")


def read(directory: Path, field: str = LOSS) -> Runs:
    """A working directory, or those right below a directory; runs that have not reached their last step are left out.

    Args:
        directory: of one run or of several.
        field: of metrics.jsonl, the loss at the last step.

    Raises:
        InputError: there is no finished run, or none that logs the field.
    """
    places = [directory] if (directory / "config.json").is_file() else sorted(directory.iterdir())
    places = [place for place in places if (place / "config.json").is_file()]
    if not places:
        raise InputError(f"{directory} holds no run; give a working directory, a directory of such, or a CSV")
    found, unfinished, digest = [], 0, hashlib.sha256()
    for place in places:
        experiment, entries = load_experiment(place), metrics.read(Workdir(place).metrics)
        row = _row(experiment, entries, field)
        unfinished += row is None
        if row is not None:
            found.append((place.resolve().name, *row))
            digest.update(repr(found[-1]).encode())
    if not found:
        raise InputError(
            f"{directory}: no run has '{field}' at its last step and the rates of its work in metrics.jsonl"
        )
    names, params, tokens, flops, loss = zip(*found, strict=True)
    notes = ["The sizes of our own runs are operations per token / 6: attention and softmaxes count as computed."]
    notes += [f"{unfinished} runs were left out: they have no '{field}' at their last step."] * (unfinished > 0)
    return Runs(
        np.array(params),
        np.array(tokens),
        np.array(flops),
        np.array(loss),
        np.array(names),
        np.full(len(found), np.nan),
        directory.resolve().name,
        digest.hexdigest(),
        tuple(notes),
    )


def _row(
    experiment: config.Experiment, entries: Iterable[dict[str, Any]], field: str
) -> tuple[float, float, float, float] | None:
    """Params, tokens, flops and loss of a finished run."""
    entries, steps = list(entries), experiment.train.steps
    last = [entry[field] for entry in entries if entry["step"] == steps and entry.get(field) is not None]
    rates = np.array([[entry[name] for name in _RATES] for entry in entries if all(entry.get(n) for n in _RATES)])
    if not last or not len(rates):
        return None
    padded, filled, work = rates.T
    whole = float(steps) * experiment.train.batch_size * experiment.pack.row_length
    tokens, flops = whole * float(np.mean(filled / padded)), whole * float(np.mean(work / padded))
    return flops / (OPERATIONS * tokens), tokens, flops, float(last[-1])
