"""The `pack` stage: encode crops of trials as motion tokens, add questions, and pack both into rows of fixed length."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from biomechgpt_jax import config
from biomechgpt_jax.biomechanics.trajectory import Trial
from biomechgpt_jax.codec.backends import MotionCodec
from biomechgpt_jax.data import movements, store
from biomechgpt_jax.data.label_use import LabelUse
from biomechgpt_jax.data.loader import CODE_VECTORS
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.packing import crops, strangers
from biomechgpt_jax.packing.rows import Branch, Item, array_names, assign_rows, lay_out_row, make_branch
from biomechgpt_jax.questions.registry import FAMILIES, QUESTIONS
from biomechgpt_jax.questions.truth import labels
from biomechgpt_jax.tokenizer import prompt
from biomechgpt_jax.tokenizer.vocabulary import Vocabulary

Progress = Callable[[str, int, int], None]

TRIALS_AT_ONCE = 128  # trials whose crops are in memory and encoded together
_FAMILIES = sorted(FAMILIES)  # in the order in which rows number them and the metadata lists them

# Sampling weight of a question relative to a gait parameter, where not all can be asked: by name, else by family.
# A trial supports up to six gait parameters, but one or two timed tests and one diagnosis.
_WEIGHTS = {"outcome_scores": 4.0, "diagnosis": 3.0, "impairment": 2.0, "fall_risk": 2.0}


@dataclass(frozen=True)
class _LabelledCrop:
    """A crop with the true answers to its questions.

    Attributes:
        trial: index of its trial among those packed together.
    """

    trial: int
    coordinates: np.ndarray
    observed: np.ndarray
    truths: dict[str, str | float]


def _draw_crop(number: int, trial: Trial, cfg: config.Experiment, rng: np.random.Generator) -> _LabelledCrop | None:
    """Draw a training crop that answers at least one question; None only if no part of the trial answers any."""
    # Nothing is drawn where there are no children, so that rows packed without them stay as they are.
    if cfg.pack.children and strangers.can_be_of_a_child(trial) and rng.random() < cfg.pack.children:
        trial = strangers.as_a_child(trial, rng)
    for informative in (False, True):
        crop = crops.training(trial, cfg, rng, informative)
        true = crops.answerable(trial, crop, cfg)
        if true:
            return _LabelledCrop(number, crop.coordinates(trial), crop.observed, true)
    return None


def choose(
    names: Sequence[str], count: int, rng: np.random.Generator, first: Collection[str] = frozenset()
) -> list[str]:
    """Draw questions without replacement in proportion to their weights; those in `first` come before the others.

    Sorting by exponential arrival times is such a draw (Efraimidis and Spirakis 2006).
    """
    weights = [_WEIGHTS.get(name, _WEIGHTS.get(QUESTIONS[name].family, 1.0)) for name in names]
    arrivals = rng.exponential(size=len(names)) / np.array(weights)
    order = sorted(range(len(names)), key=lambda i: (names[i] not in first, arrivals[i]))
    return [names[i] for i in order[:count]]


class LeftOut:
    """Counts what could not be packed, by reason.

    Attributes:
        no_room: questions that do not fit in a row together with their movement, by family.
        uninformative: crops that answer no question.
        empty: crops none of whose questions fit in a row.
    """

    def __init__(self) -> None:
        self.no_room: Counter[str] = Counter()
        self.uninformative = 0
        self.empty = 0

    def report(self) -> dict[str, Any]:
        """The counts as a JSON-able object."""
        by_family = dict(sorted(self.no_room.items()))
        return {
            "questions_without_room": by_family,
            "crops_without_truth": self.uninformative,
            "crops_without_room": self.empty,
        }


def left_out_words(left_out: Mapping[str, Any]) -> str:
    """Describe what a report lists as left out; empty if nothing was left out."""
    by_family, words = left_out["questions_without_room"], []
    if by_family:
        families = ", ".join(f"{name} {count}" for name, count in by_family.items())
        words.append(f"{sum(by_family.values())} questions without room in a row ({families})")
    if left_out["crops_without_room"]:
        words.append(f"{left_out['crops_without_room']} crops without room for a question")
    if left_out["crops_without_truth"]:
        words.append(f"{left_out['crops_without_truth']} crops that answer no question")
    return "; ".join(words)


def _items(
    trials: Sequence[Trial],
    generators: Sequence[np.random.Generator],
    codec: MotionCodec,
    vocabulary: Vocabulary,
    cfg: config.Experiment,
    left_out: LeftOut,
    use: LabelUse,
) -> list[Item]:
    """Items of the crops of some trials, each drawn with the trial's own generator; counts what is left out.

    Questions about the hand-given labels of a recorded file come first until each has been asked once.
    """
    drawn: list[tuple[_LabelledCrop, np.random.Generator]] = []
    for number, (trial, rng) in enumerate(zip(trials, generators, strict=True)):
        attempts = [_draw_crop(number, trial, cfg, rng) for _ in range(cfg.pack.crops_per_trial)]
        left_out.uninformative += attempts.count(None)
        drawn += [(crop, rng) for crop in attempts if crop]
    codes = codec.encode([crop.coordinates for crop, _ in drawn], [crop.observed for crop, _ in drawn])
    asked: list[set[str]] = [set() for _ in trials]
    by_hand = [labels(trial).keys() if trial.throughout else frozenset() for trial in trials]
    items = []
    for (crop, rng), code in zip(drawn, codes, strict=True):
        start = prompt.trunk(vocabulary, code)
        room = cfg.pack.row_length - len(start)
        kept: list[Branch] = []
        first = by_hand[crop.trial] - asked[crop.trial]
        for name in choose(sorted(crop.truths), cfg.pack.questions_per_crop, rng, first):
            question = QUESTIONS[name]
            phrasing, answer = str(rng.choice(question.templates)), question.answer_text(crop.truths[name])
            branch = make_branch(vocabulary, phrasing, answer, question.family)
            if len(branch.tokens) <= room:
                kept.append(branch)
                asked[crop.trial].add(name)
                room -= len(branch.tokens)
            else:
                left_out.no_room[question.family] += 1
        if kept:
            items.append(Item(start, tuple(kept)))
        else:
            left_out.empty += 1
    for trial, names in zip(trials, asked, strict=True):
        crops.count_labels(use, trial, names, cfg)
    return items


def _without_movement(items: Sequence[Item], vocabulary: Vocabulary) -> list[Item]:
    """The same questions and answers as separate items, with an empty trunk."""
    no_trunk = prompt.trunk(vocabulary, None)
    return [Item(no_trunk, (branch,)) for item in items for branch in item.branches]


def _rows(
    split: str, items: Sequence[Item], order: Sequence[Sequence[int]], length: int, pad: int, layers: int
) -> store.Lazy:
    """Packed rows, laid out one at a time."""

    def make(row: int) -> store.Record:
        return lay_out_row([items[i] for i in order[row]], length, pad, layers, _FAMILIES)

    return store.Lazy([f"{split}-{row:07d}" for row in range(len(order))], make)


def pack(
    movements_dir: Path,
    out: Path,
    out_text_only: Path,
    codec: MotionCodec,
    vocabulary: Vocabulary,
    cfg: config.Experiment,
    progress: Progress,
) -> dict[str, Any]:
    """Write the `sequences` dataset and its text-only twin; returns the report that their metadata also hold.

    The twin holds the same questions and answers with the movement and its position offsets removed. Memory holds the
    movements of `TRIALS_AT_ONCE` trials, the rows of one shard, and the tokens of all items of a split while they are
    assigned to rows. The crops of a trial depend only on the seed and on the trial's index in its split.

    Raises:
        InputError: no question can be asked about the training split; then nothing is written.
    """
    length = cfg.pack.row_length
    rows: dict[bool, dict[str, store.Lazy]] = {False: {}, True: {}}
    report: dict[str, Any] = {"rows": {}, "fill": {}, "questions": {}}
    left_out, use = LeftOut(), LabelUse()
    for number, split in enumerate(("train", "validation")):
        items: list[Item] = []
        trials = movements.read(movements_dir, split)
        for first in range(0, len(trials), TRIALS_AT_ONCE):
            progress(f"crops of {split}", first, len(trials))
            some = trials[first : first + TRIALS_AT_ONCE]
            own = [np.random.default_rng([cfg.pack.seed, number, first + index]) for index in range(len(some))]
            items += _items(some, own, codec, vocabulary, cfg, left_out, use)
        if split == "train" and not items:
            lost = left_out_words(left_out.report()) or "nobody is in the training split"
            raise InputError(
                f"{movements_dir}: no question can be asked of the training participants ({lost}); import recordings "
                "with --labels, or give rows more room (pack.row_length)"
            )
        report["questions"][split] = sum(len(item.branches) for item in items)
        for text_only, chosen in ((False, items), (True, _without_movement(items, vocabulary))):
            lengths = [item.length for item in chosen]
            order = assign_rows(lengths, length)
            if order:
                layers = 1 if text_only else vocabulary.layers
                rows[text_only][split] = _rows(split, chosen, order, length, vocabulary.pad, layers)
            if not text_only:
                report["rows"][split] = len(order)
                report["fill"][split] = round(sum(lengths) / max(1, len(order) * length), 4)
        progress(f"rows of {split}", len(trials), len(trials))
    report |= {"left_out": left_out.report(), "labels": use.report()}
    facts = {
        **report,
        "row_length": length,
        "families": _FAMILIES,
        "codec": codec.digest,
        "vocabulary": vocabulary.digest,
        "ids": {"size": vocabulary.size, "motion_offset": vocabulary.motion_offset, "codes": vocabulary.codes},
        "movements": store.metadata(movements_dir)["digest"],
    }
    for target, name, text_only in ((out, "sequences", False), (out_text_only, "sequences_text_only", True)):
        features: dict[str, Any] = {
            array: ((length,), np.float32 if array == "loss_weights" else np.int32)
            for array in array_names(1 if text_only else vocabulary.layers)
        }
        beside = {} if text_only else {CODE_VECTORS: codec.code_vectors()}
        store.write(target, name, features, rows[text_only], facts, beside)
    return report
