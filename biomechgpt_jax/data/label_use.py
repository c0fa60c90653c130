"""Which labels of trials become questions, and why the others do not."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

MOST_LINES = 20  # printed; the report holds all of them


@dataclass
class LabelUse:
    """Counts labels, and how many of them became questions.

    Attributes:
        given: number of labels.
        asked: number of labels that at least one question asks for.
        lost: for hand-labelled files, the labels that no question asks for: {"file", "questions", "none_asked",
            "reason"}; none_asked is true where the file lost all of its labels.
    """

    given: int = 0
    asked: int = 0
    lost: list[dict[str, Any]] = field(default_factory=list)

    def add(
        self, file: str, given: Collection[str], asked: Collection[str], reason: Callable[[str], str] | None
    ) -> None:
        """Count one file or trial.

        Args:
            given: names of the questions that its labels answer.
            asked: names of the questions that are asked about it.
            reason: maps a label that is not asked for to the reason why; if None, labels are counted but not listed.
        """
        lost = [name for name in given if name not in asked]
        self.given += len(given)
        self.asked += len(given) - len(lost)
        if reason is None:
            return
        by_reason: dict[str, list[str]] = {}
        for name in lost:
            by_reason.setdefault(reason(name), []).append(name)
        none_asked = len(lost) == len(given)
        for why, names in by_reason.items():
            self.lost.append({"file": file, "questions": names, "none_asked": none_asked, "reason": why})

    def report(self) -> dict[str, Any]:
        """The counts as a JSON-able object."""
        return {"given": self.given, "asked": self.asked, "lost": self.lost}

    def words(self) -> str:
        """How many labels became questions, in words; empty where there are no labels."""
        return f"{self.asked:,} of {self.given:,} labels became questions" if self.given else ""

    def lines(self) -> list[str]:
        """One line for each file and reason, files that lost all of their labels first."""
        ordered = sorted(self.lost, key=lambda entry: not entry["none_asked"])
        lines = [
            f"{entry['file']}: {'no label' if entry['none_asked'] else 'not every label'} became a question "
            f"({', '.join(entry['questions'])}): {entry['reason']}"
            for entry in ordered[:MOST_LINES]
        ]
        return lines + ([f"and {len(ordered) - MOST_LINES} more"] if len(ordered) > MOST_LINES else [])
