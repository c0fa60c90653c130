"""The `pack` stage: crops of trials become motion tokens with questions, packed into fixed rows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from biomechgpt_jax import config
from biomechgpt_jax.biomechanics.trajectory import Trial
from biomechgpt_jax.data import crops, movements, packing, store
from biomechgpt_jax.data.packing import Branch, Item
from biomechgpt_jax.questions.registry import FAMILIES, QUESTIONS, Question
from biomechgpt_jax.questions.truth import truths
from biomechgpt_jax.tokenizer.backends import MotionCodec
from biomechgpt_jax.tokenizer.vocabulary import Vocabulary

Progress = Callable[[str, int, int], None]

_FAMILIES = sorted(FAMILIES)  # the array `families` of a row counts them from 1

# How much more often than a gait parameter a question is asked where not all can be: by name, else by family.
# A trial supports up to six gait parameters, but one or two timed tests and one diagnosis.
_WEIGHTS = {"outcome_scores": 4.0, "diagnosis": 3.0, "impairment": 2.0, "fall_risk": 2.0}


@dataclass(frozen=True)
class _Shown:
    """A crop with what is true of it."""

    coordinates: np.ndarray
    observed: np.ndarray
    truths: dict[str, str | float]


def branch(vocabulary: Vocabulary, question: Question, phrasing: str, value: str | float) -> Branch:
    """Tokens of a question with its answer."""
    asked = [vocabulary.question, *vocabulary.encode_text(phrasing), vocabulary.answer]
    answer = [*vocabulary.encode_text(question.answer_text(value)), vocabulary.end]
    return Branch(np.array(asked + answer, np.int32), len(asked), 1 + _FAMILIES.index(question.family))


def _show(trial: Trial, cfg: config.Experiment, rng: np.random.Generator) -> _Shown | None:
    """A training crop of which something can be asked; None only if no part of the trial tells anything."""
    rate = trial.trajectory.rate_hz
    for telling in (False, True):
        crop = crops.training(trial, cfg, rng, telling)
        true = truths(trial, crop.start_frame / rate, (crop.end_frame - 1) / rate)
        hidden = crops.unanswerable(crop.observed)
        true = {name: value for name, value in true.items() if name not in hidden}
        if true:
            return _Shown(crop.coordinates(trial), crop.observed, true)
    return None


def choose(names: Sequence[str], count: int, rng: np.random.Generator) -> list[str]:
    """Questions to ask, drawn without replacement in proportion to their weights.

    The order of exponential arrival times is such a draw (Efraimidis and Spirakis 2006).
    """
    weights = [_WEIGHTS.get(name, _WEIGHTS.get(QUESTIONS[name].family, 1.0)) for name in names]
    arrivals = rng.exponential(size=len(names)) / np.array(weights)
    return [names[i] for i in np.argsort(arrivals)[:count]]


def _items(
    shown: Sequence[_Shown],
    codec: MotionCodec,
    vocabulary: Vocabulary,
    cfg: config.Experiment,
    rng: np.random.Generator,
) -> tuple[list[Item], int]:
    """Items that fit a row, and the number of questions left out because they did not."""
    codes = codec.encode([s.coordinates for s in shown], [s.observed for s in shown])
    items, left_out = [], 0
    for crop, code in zip(shown, codes, strict=True):
        start = packing.trunk(vocabulary, code)
        room = cfg.pack.row_length - len(start)
        kept: list[Branch] = []
        for name in choose(sorted(crop.truths), cfg.pack.questions_per_crop, rng):
            question = QUESTIONS[name]
            made = branch(vocabulary, question, str(rng.choice(question.templates)), crop.truths[name])
            if len(made.tokens) <= room:
                kept.append(made)
                room -= len(made.tokens)
            else:
                left_out += 1
        if kept:
            items.append(Item(start, tuple(kept)))
    return items, left_out


def _text_only(items: Sequence[Item]) -> list[Item]:
    nothing = np.zeros((0, 1), np.int32)
    return [Item(nothing, (one,)) for item in items for one in item.branches]


def pack(
    movements_dir: Path,
    out: Path,
    out_text_only: Path,
    codec: MotionCodec,
    vocabulary: Vocabulary,
    cfg: config.Experiment,
    progress: Progress,
) -> dict[str, Any]:
    """Write the `sequences` dataset and its text-only twin; returns the report that is also in their metadata.

    The twin holds the same questions and answers with the movement and its position offsets removed.
    """
    rows: dict[bool, dict[str, list[tuple[str, store.Record]]]] = {False: {}, True: {}}
    report: dict[str, Any] = {"rows": {}, "fill": {}, "questions": {}, "left_out": 0}
    for number, split in enumerate(("train", "validation")):
        rng = np.random.default_rng([cfg.pack.seed, number])
        shown = []
        trials = movements.read(movements_dir, split)
        for index, trial in enumerate(trials):
            drawn = [_show(trial, cfg, rng) for _ in range(cfg.pack.crops_per_trial)]
            shown += [one for one in drawn if one]
            if index % 50 == 0:
                progress(f"crops of {split}", index, len(trials))
        items, left_out = _items(shown, codec, vocabulary, cfg, rng)
        report["left_out"] += left_out
        report["questions"][split] = sum(len(item.branches) for item in items)
        for text_only, chosen in ((False, items), (True, _text_only(items))):
            lengths = [item.length for item in chosen]
            order = packing.assign(lengths, cfg.pack.row_length)
            if order:
                rows[text_only][split] = [
                    (
                        f"{split}-{row:07d}",
                        packing.lay_out(
                            [chosen[i] for i in members],
                            cfg.pack.row_length,
                            vocabulary.pad,
                            1 if text_only else vocabulary.layers,
                        ),
                    )
                    for row, members in enumerate(order)
                ]
            if not text_only:
                report["rows"][split] = len(order)
                report["fill"][split] = round(sum(lengths) / max(1, len(order) * cfg.pack.row_length), 4)
        progress(f"rows of {split}", len(trials), len(trials))
    facts = {
        **report,
        "row_length": cfg.pack.row_length,
        "families": _FAMILIES,
        "codec": codec.digest,
        "vocabulary": vocabulary.digest,
        "movements": store.metadata(movements_dir)["digest"],
    }
    length = cfg.pack.row_length
    for target, name, text_only in ((out, "sequences", False), (out_text_only, "sequences_text_only", True)):
        features: dict[str, Any] = {
            array: ((length,), np.float32 if array == "loss_weights" else np.int32)
            for array in packing.arrays(1 if text_only else vocabulary.layers)
        }
        store.write(target, name, features, rows[text_only], facts)
    return report
