"""Format answers for people: lines on a terminal, and a CSV table for a folder."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from biomechgpt_jax.answering.answers import Answers, FileAnswers
from biomechgpt_jax.files import write_text
from biomechgpt_jax.questions.registry import QUESTIONS

_MOST_SHOWN = 4  # options of a set


def refusals(found: Answers) -> list[str]:
    """One sentence for each reason why questions have no answer: "TUG time? cannot be answered: ..."."""
    return [
        f"{', '.join(QUESTIONS[name].short for name in names)} cannot be answered: {reason}"
        for reason, names in _by_reason(found.left_out)
    ]


def lines(found: Answers, with_left_out: bool) -> list[str]:
    """Notes on the file, each answer beside the question that was understood, and, if wanted, what was left out."""
    texts = [_text(one) for one in found.answers]
    several = len(texts) > 1
    question_width = max(len(one["understood"]) for one in found.answers) if several else 0
    answer_width = max(map(len, texts)) if several else 0
    rows = [f"note: {note}" for note in found.notes]
    for one, text in zip(found.answers, texts, strict=True):
        rows.append(f"{one['understood']:<{question_width}} {text:<{answer_width}}  {_certainty(one)}".rstrip())
        if one["abstains"]:
            rows.append(f"  {one['doubt']}; --risk sets how many may be")
        if one["explanation"]:
            rows.append(f'  "{one["asked"]}" {_explain(one)}')
        if one.get("measured") is not None:
            question = QUESTIONS[one["name"]]
            rows.append(f"  measured from the file: {one['measured']:.{question.decimals}f} {question.unit}".rstrip())
        if one.get("not_measured"):
            rows.append(f"  not measured from the file: {one['not_measured']}")
        for band in one.get("bands", ()):
            rows.append(f"  {band['band']}: probability {band['probability']:.2f} ({band['meaning']})")
        if one["caution"]:
            rows.append(f"  {one['caution']}, which does not show this")
    for reason, names in _by_reason(found.left_out) if with_left_out else ():
        rows.append(f"left out: {', '.join(QUESTIONS[name].short.rstrip('?') for name in names)}: {reason}")
    return rows


def _text(one: dict[str, Any]) -> str:
    """The answer, or that there is none."""
    if one["abstains"]:
        return f"would rather not answer (likeliest: {one['text']})"
    return one["text"] or "no answer that is a number"


def _certainty(one: dict[str, Any]) -> str:
    """How sure an answer is: the 90 % interval of a number with a distribution, the probability of any other answer.

    Beside the probability stand the options of a calibrated set, if it has more than one.
    """
    if "interval" in one:
        decimals = QUESTIONS[one["name"]].decimals
        low, high = (f"{end:.{decimals}f}" for end in one["interval"])
        return f"(90 %: {low} to {high})"
    if one["probability"] is None:
        return ""
    within = one.get("set", [])
    more = f" or {len(within) - _MOST_SHOWN} more" if len(within) > _MOST_SHOWN else ""
    others = f"; 90 %: {' or '.join(within[:_MOST_SHOWN])}{more}" if len(within) > 1 else ""
    return f"(probability {one['probability']:.2f}{others})"


def _explain(one: dict[str, Any]) -> str:
    """Answer a question that was asked the other way round: "yes: impairment is unlikely (probability 0.17)"."""
    turned = f"{one['answer_as_asked']}: " if one["answer_as_asked"] is not None else ""
    share = f" (probability {one['options']['yes']:.2f})" if "options" in one else ""
    return f"{turned}{one['explanation']}{share}"


def write_table(path: Path, files: Sequence[FileAnswers], names: Sequence[str]) -> None:
    """Write a CSV with a row for each file: answers and their probabilities, notes on questions, and errors.

    A number has two columns more, for the ends of its 90 % interval, empty where it has none.

    Args:
        path: destination of the CSV, which is written atomically.
        names: names of the questions that were asked; each gets its columns whether or not a file answers it.
    """
    columns = {name: f"{name} ({QUESTIONS[name].unit})" if QUESTIONS[name].unit else name for name in names}
    ends = {name: [f"{name} low", f"{name} high"] * (QUESTIONS[name].kind == "number") for name in names}
    of_questions = (part for name in names for part in (columns[name], f"{name} probability", *ends[name]))
    header = ["file", *of_questions, "notes", "error"]
    text = io.StringIO()
    table = csv.DictWriter(text, header, restval="", lineterminator="\n")
    table.writeheader()
    for file in files:
        row: dict[str, Any] = {"file": file.file, "error": file.error}
        for one in file.found.answers:
            row[columns[one["name"]]] = "" if one["answer"] is None else one["answer"]
            row[f"{one['name']} probability"] = "" if one["probability"] is None else round(one["probability"], 4)
            if "interval" in one:
                row |= dict(zip(ends[one["name"]], one["interval"], strict=True))
        cautions = {one["name"]: one["caution"] for one in file.found.answers if one["caution"]}
        doubts = {one["name"]: f"would rather not answer: {one['doubt']}" for one in file.found.answers if one["doubt"]}
        notes = _by_reason(file.found.left_out | doubts | cautions)
        words = [f"file: {note}" for note in file.found.notes]
        row["notes"] = "; ".join(words + [f"{', '.join(group)}: {reason}" for reason, group in notes])
        table.writerow(row)
    write_text(path, text.getvalue())


def _by_reason(reasons: dict[str, str]) -> list[tuple[str, list[str]]]:
    """Group question names by reason."""
    groups: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        groups.setdefault(reason, []).append(name)
    return list(groups.items())
