"""Which labels of trials become questions, and why the others do not."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

MOST_LINES = 20  # shown to a person; the report holds all of them


@dataclass
class LabelUse:
    """Counts labels and those that became questions.

    Attributes:
        given: labels.
        asked: those that at least one question asks.
        lost: of files that a person labelled, the labels that no question asks: {"file", "questions", "none_asked",
            "reason"}. none_asked: the file lost all of its labels.
    """

    given: int = 0
    asked: int = 0
    lost: list[dict[str, Any]] = field(default_factory=list)

    def add(
        self, file: str, given: Collection[str], asked: Collection[str], reason: Callable[[str], str] | None
    ) -> None:
        """Count one file or trial.

        Args:
            given: questions that its labels answer.
            asked: questions that are asked of it.
            reason: from a label that is not asked to the reason why; None: its labels are counted and not listed.
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
        for words, names in by_reason.items():
            self.lost.append({"file": file, "questions": names, "none_asked": none_asked, "reason": words})

    def report(self) -> dict[str, Any]:
        """As JSON."""
        return {"given": self.given, "asked": self.asked, "lost": self.lost}

    def words(self) -> str:
        """How many labels became questions; nothing where there are no labels."""
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
