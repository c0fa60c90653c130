"""The language model's answers.

Closed questions: every option is a branch of the movement's trunk, and the answer is the option with the
largest log-likelihood, its end token included. Numbers: the median of the distribution over all numbers that the
question allows, or the number that greedy decoding writes. All questions share the cached trunk of their movement. The
text-only model answers the same way without a trunk.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np

from biomechgpt_jax import config
from biomechgpt_jax.answering import numbers as distributed
from biomechgpt_jax.answering.asked import Asked, prediction
from biomechgpt_jax.answering.predictions import Prediction
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.model import constraints, distributions, generation, trees
from biomechgpt_jax.model.requests import Request, Settings
from biomechgpt_jax.packing.rows import Branch, Item, assign_rows, lay_out_row, make_branch
from biomechgpt_jax.questions.question import Question
from biomechgpt_jax.questions.scope import NEEDS_WHOLE_TEST
from biomechgpt_jax.tokenizer import prompt
from biomechgpt_jax.tokenizer.vocabulary import Vocabulary

ROW_LENGTH = 512  # of the packed rows in which options are scored; longer only if one branch needs it
ROUNDING = 128  # row lengths and prompt lengths are multiples of this: each compiles once
LONGEST_ANSWER = 12  # tokens of a decoded number; more only if a question's numbers need them
# Sizes that hold a few questions about any movement that fits a row (see `LanguageModel`).
ONE_SHAPE = {"bucket": ROW_LENGTH, "fewest_questions": 8, "fewest_states": 128}

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class LanguageModel:
    """Parameters with what is needed to speak to them.

    Attributes:
        batch_size: rows scored, and numbers decoded, together.
        one_shape: whatever is asked is padded to `ONE_SHAPE`, so that it runs programs that were compiled for another
            question: for processes that answer a few and would compile for longer than they compute.
        numbers: whether a number is the median of its distribution, or what greedy decoding writes, which is faster and
            has no interval.
    """

    params: Any
    cfg: config.Model
    vocabulary: Vocabulary
    batch_size: int = 32
    one_shape: bool = False
    numbers: Literal["distribution", "greedy"] = "distribution"


@dataclass(frozen=True)
class _Piece:
    """A segment of a packed row, and which option of which question each of its branches is."""

    item: Item
    labels: tuple[tuple[int, str], ...]


def _rounded(length: int) -> int:
    return -(-length // ROUNDING) * ROUNDING


_Options = list[tuple[Branch, tuple[int, str]]]


def _pieces(trunk: np.ndarray, options: _Options) -> list[_Piece]:
    """Share options out to as few segments as hold them, each with its own copy of the trunk.

    Without a trunk every option is a segment of its own, as in training. The token with which a pretrained model begins
    a text is a trunk.
    """
    groups: list[_Options] = []
    room = 0
    for branch, label in options:
        if not groups or len(branch.tokens) > room or len(trunk) == 0:
            groups.append([])
            room = ROW_LENGTH - len(trunk)
        groups[-1].append((branch, label))
        room -= len(branch.tokens)
    return [
        _Piece(Item(trunk, tuple(branch for branch, _ in group)), tuple(label for _, label in group))
        for group in groups
    ]


def _score(model: LanguageModel, pieces: Sequence[_Piece], progress: Progress) -> dict[int, dict[str, float]]:
    """Total log-probability of every option, by question."""
    if not pieces:
        return {}
    lengths = [piece.item.length for piece in pieces]
    length = max(ROW_LENGTH, _rounded(max(lengths)))
    rows = assign_rows(lengths, length)
    count = max(1, min(model.batch_size, len(rows)))
    layers = pieces[0].item.trunk.shape[1]
    text = model.vocabulary.motion_offset  # as in training, the softmax of an answer runs over text ids
    found: dict[int, dict[str, float]] = {}
    for first in range(0, len(rows), count):
        members = rows[first : first + count]
        members += [[]] * (count - len(members))  # empty rows: every batch has one shape
        laid = [lay_out_row([pieces[i].item for i in row], length, model.vocabulary.pad, layers) for row in members]
        batch = {name: np.stack([row[name] for row in laid]) for name in laid[0]}
        logprobs = np.asarray(generation.branch_logprobs(model.params, batch, model.cfg, text), np.float64)
        for row, chosen in enumerate(members):
            for segment, index in enumerate(chosen, 1):
                for number, (owner, option) in enumerate(pieces[index].labels, 1):
                    cells = (laid[row]["segments"] == segment) & (laid[row]["branches"] == number)
                    found.setdefault(owner, {})[option] = float(logprobs[row, cells].sum())
        progress(min(first + count, len(rows)), len(rows))
    return found


def probabilities(logprobs: Mapping[str, float]) -> dict[str, float]:
    """Softmax over the options."""
    values = np.array(list(logprobs.values()))
    shares = np.exp(values - values.max())
    shares /= shares.sum()
    return {option: float(share) for option, share in zip(logprobs, shares, strict=True)}


def _closed(
    model: LanguageModel,
    asked: Sequence[tuple[int, Asked]],
    codes: Sequence[np.ndarray] | None,
    questions: Mapping[str, Question],
    progress: Progress,
) -> dict[int, Prediction]:
    vocabulary = model.vocabulary
    of_movement: dict[Any, list[tuple[int, Asked]]] = {}
    for index, item in asked:
        # Without a movement, the same words have the same answer: score them once.
        what = (item.trial, item.start_s) if codes is not None else (item.question, item.phrasing)
        of_movement.setdefault(what, []).append((index, item))
    pieces: list[_Piece] = []
    same_as: dict[int, int] = {}
    for group in of_movement.values():
        options: _Options = []
        for index, item in group if codes is not None else group[:1]:
            question = questions[item.question]
            for option in question.options:
                branch = make_branch(vocabulary, item.phrasing, question.answer_text(option))
                options.append((branch, (index, option)))
        same_as |= {index: index if codes is not None else group[0][0] for index, _ in group}
        trunk = prompt.trunk(vocabulary, codes[group[0][0]] if codes is not None else None)
        pieces += _pieces(trunk, options)
    scores = _score(model, pieces, progress)
    found = {}
    for index, item in asked:
        chances = probabilities(scores[same_as[index]])
        best = max(chances, key=lambda option: chances[option])
        found[index] = prediction(item, best, chances[best])
        found[index]["options"] = chances
    return found


def _numbers(
    model: LanguageModel,
    asked: Sequence[tuple[int, Asked]],
    codes: Sequence[np.ndarray] | None,
    questions: Mapping[str, Question],
) -> dict[int, Prediction]:
    vocabulary = model.vocabulary
    # All questions about a movement share its trunk; the same words about the same movement are asked once.
    asked_of: dict[Any, dict[tuple[str, str], int]] = {}
    trunks: dict[Any, np.ndarray] = {}
    wanted = []
    for index, item in asked:
        what = (item.trial, item.start_s) if codes is not None else item.phrasing
        trunks.setdefault(what, prompt.trunk(vocabulary, codes[index] if codes is not None else None))
        places = asked_of.setdefault(what, {})
        wanted.append((what, places.setdefault((item.question, item.phrasing), len(places))))
    names = sorted({item.question for _, item in asked})
    # Only the numbers that the question allows can be answered, written as the model was trained on them.
    texts = {name: [vocabulary.encode_text(text) for text in questions[name].answers()] for name in names}
    prompts = [
        Request(trunks[what], [prompt.question(vocabulary, phrasing) for _, phrasing in places])
        for what, places in asked_of.items()
    ]
    settings = Settings(
        max_new=max(LONGEST_ANSWER, *(len(text) + 1 for allowed in texts.values() for text in allowed)),
        end_id=vocabulary.end,
        ids=vocabulary.motion_offset,
        batch_size=model.batch_size,
        **(ONE_SHAPE if model.one_shape else {"bucket": ROUNDING}),
    )
    names_of = [[name for name, _ in places] for places in asked_of.values()]
    answer = _decode if model.numbers == "greedy" else _weigh
    answered = dict(zip(asked_of, answer(model, _Put(prompts, names_of, texts, settings), questions), strict=True))
    return {
        index: _with(prediction(item, None, None), answered[what][place])
        for (index, item), (what, place) in zip(asked, wanted, strict=True)
    }


class _Put(NamedTuple):
    """Questions about numbers as they are put to the model."""

    prompts: list[Request]
    names: list[list[str]]  # of the questions of each request
    texts: dict[str, list[list[int]]]  # ids of the numbers that each question allows, by its name
    settings: Settings


def _with(one: Prediction, answer: Mapping[str, Any]) -> Prediction:
    return {**one, **answer}  # type: ignore[typeddict-item]


def _decode(model: LanguageModel, put: _Put, questions: Mapping[str, Question]) -> list[list[Mapping[str, Any]]]:
    """The number that greedy decoding writes, for each question of each request."""
    allowed = {name: constraints.one_of(ids, put.settings.end_id) for name, ids in put.texts.items()}
    requests = [
        replace(request, answers=[allowed[name] for name in names])
        for request, names in zip(put.prompts, put.names, strict=True)
    ]

    def describe(name: str, answer: generation.Answer) -> Mapping[str, Any]:
        text = model.vocabulary.decode_text(answer.tokens)
        value = questions[name].parse(text)
        number = float(value) if isinstance(value, (int, float)) else None
        probability = float(np.exp(np.sum(answer.logprobs, dtype=np.float64)))
        return {"answer": number, "probability": probability, "text": text}

    decoded = generation.generate(model.params, model.cfg, requests, put.settings)
    return [list(map(describe, names, answers)) for names, answers in zip(put.names, decoded, strict=True)]


def _weigh(model: LanguageModel, put: _Put, questions: Mapping[str, Question]) -> list[list[Mapping[str, Any]]]:
    """The distribution over all numbers, summarised, for each question of each request."""
    allowed = {name: trees.tree_of(ids, put.settings.end_id) for name, ids in put.texts.items()}
    values = {name: np.array([questions[name].parse(text) for text in questions[name].answers()]) for name in allowed}

    def describe(name: str, one: distributions.Distribution) -> Mapping[str, Any]:
        distribution = distributed.Distribution(values[name], one.probabilities)
        return distributed.summarise(distribution, questions[name].decimals, questions[name].unit)

    of_request = [[allowed[name] for name in names] for names in put.names]
    weighed = distributions.distributions(model.params, model.cfg, put.prompts, of_request, put.settings)
    return [list(map(describe, names, ones)) for names, ones in zip(put.names, weighed, strict=True)]


def _no_progress(done: int, total: int) -> None:
    return None


def answers(
    model: LanguageModel,
    asked: Sequence[Asked],
    codes: Sequence[np.ndarray] | None,
    questions: Mapping[str, Question],
    progress: Progress = _no_progress,
) -> list[Prediction]:
    """What the model answers, in the order of the questions.

    Args:
        model: the language model; the text-only one where `codes` is None.
        asked: questions about crops. Those about one crop (the same trial and start) share one trunk.
        codes: motion codes i32[m, Q] of each question's crop.
        questions: the registry, by name.
        progress: called with (rows done, rows in all) while options are scored.
    """
    closed = [(index, item) for index, item in enumerate(asked) if item.kind == "closed"]
    numbers = [(index, item) for index, item in enumerate(asked) if item.kind != "closed"]
    found = _closed(model, closed, codes, questions, progress)
    if numbers:
        found |= _numbers(model, numbers, codes, questions)
    return [found[index] for index in range(len(asked))]


def combine(parts: Sequence[Prediction]) -> Prediction:
    """One answer from answers about windows of one movement: of mean probabilities, or the median number.

    Numbers with distributions are the median of their mixture, with its interval.
    This is right for what every window shows (who moves, how they walk), not for the time of a test (see `ask`).
    """
    if len(parts) == 1:
        return parts[0]
    if parts[0]["kind"] == "closed":
        options = {name: float(np.mean([part["options"][name] for part in parts])) for name in parts[0]["options"]}
        best = max(options, key=lambda name: options[name])
        return {**parts[0], "answer": best, "probability": options[best], "options": options}
    if all("distribution" in part for part in parts):
        whole = distributed.mixture([part["distribution"] for part in parts])
        return _with(parts[0], distributed.summarise(whole, parts[0]["decimals"], parts[0]["unit"]))
    usable = [part for part in parts if part["answer"] is not None]
    ordered = sorted(usable, key=lambda part: float(part["answer"]))  # type: ignore[arg-type]
    return ordered[(len(ordered) - 1) // 2] if ordered else parts[0]


def windows(frames: int, longest: int) -> list[slice]:
    """As few equal windows of at most `longest` frames as cover all frames."""
    count = max(1, -(-frames // longest))
    edges = np.linspace(0, frames, count + 1).round().astype(int)
    return [slice(int(a), int(b)) for a, b in zip(edges[:-1], edges[1:], strict=True)]


def model_windows(frames: int, longest_s: float) -> list[slice]:
    """The windows in which a model that sees `longest_s` at once is shown a movement at the canonical 30 Hz."""
    return windows(frames, max(1, int(longest_s * config.CANONICAL_RATE_HZ)))


def too_long_for_tests(frames: int, longest_s: float) -> str:
    """Why a clinical test in a movement cannot be judged, which its parts do not show; empty where it can."""
    if len(model_windows(frames, longest_s)) == 1:
        return ""
    return (
        f"the movement lasts {frames / config.CANONICAL_RATE_HZ:.1f} s, more than the {longest_s:.1f} s that the model "
        "sees at once, and a test must be judged as a whole; cut the file to the test"
    )


def ask(
    model: LanguageModel,
    encode: Callable[[list[np.ndarray], list[np.ndarray]], list[np.ndarray]],
    coordinates: np.ndarray,
    observed: np.ndarray,
    wanted: Sequence[tuple[str, str]],
    questions: Mapping[str, Question],
    longest_s: float,
) -> list[Prediction]:
    """Answer questions about one movement, all of them over one trunk.

    Args:
        encode: the codec's, from lists of f32[T, 40] and bool[40] to lists of i32[m, Q].
        coordinates: f32[T, 40] at the canonical 30 Hz.
        wanted: name of each question in the registry, and the question in words; one the model was trained on is
            answered best.
        longest_s: the longest movement the model was trained on. A longer one is cut into equal windows
            whose answers are combined (see `combine`).

    Returns:
        A prediction for each question, in their order, without a truth.

    Raises:
        InputError: the movement is shorter than a motion token, or it is cut and a question needs a whole test.
    """
    too_long = too_long_for_tests(len(coordinates), longest_s)
    if too_long and any(name in NEEDS_WHOLE_TEST for name, _ in wanted):
        raise InputError(too_long)
    parts = model_windows(len(coordinates), longest_s)
    crops = [np.ascontiguousarray(coordinates[part]) for part in parts]
    codes = encode(crops, [observed] * len(crops))
    if min(len(code) for code in codes) == 0:
        raise InputError(
            f"the movement lasts {len(coordinates) / config.CANONICAL_RATE_HZ:.2f} s, less than one "
            "motion token; give a longer one"
        )
    asked = [
        Asked(
            trial="",
            participant="",
            coordinates=crop,
            observed=observed,
            rate_hz=config.CANONICAL_RATE_HZ,
            start_s=part.start / config.CANONICAL_RATE_HZ,
            family=questions[name].family,
            question=name,
            kind=questions[name].kind,
            unit=questions[name].unit,
            phrasing=phrasing,
            truth="",
        )
        for name, phrasing in wanted
        for part, crop in zip(parts, crops, strict=True)
    ]
    said = answers(model, asked, codes * len(wanted), questions)
    return [combine(said[first : first + len(parts)]) for first in range(0, len(said), len(parts))]
