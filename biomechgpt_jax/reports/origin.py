"""The origin of a report's data and the program that made each part of it, in the same words everywhere."""

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

NOT_A_DEVICE = "This is research software, not a medical device."


@dataclass(frozen=True)
class Origin:
    """The origin of the data.

    Attributes:
        name: name of the experiment.
        noise: noise of a synthetic cohort, as configured: "none" or "markerless"; "" for imported recordings.
        participants, trials: counts over all splits of the dataset.
    """

    name: str
    synthetic: bool
    noise: str
    participants: int
    trials: int

    @property
    def kind(self) -> str:
        """The kind of data, as words within a sentence."""
        return {
            "none": "a synthetic cohort without measurement noise",
            "markerless": "a synthetic cohort with markerless measurement noise",
            "": "imported recordings",
        }[self.noise if self.synthetic else ""]

    @property
    def recordings(self) -> str:
        """The amount of imported data, as words within a sentence."""
        trials = f"{self.trials:,} imported recording{'s' * (self.trials != 1)}"
        return f"{trials} of {self.participants:,} participant{'s' * (self.participants != 1)}"

    @property
    def noisy(self) -> bool:
        """Whether the model sees movements with noise whose noise-free originals are known."""
        return self.synthetic and self.noise != "none"

    @property
    def participants_note(self) -> str:
        """Whom the results describe, and for whom they may not hold."""
        if self.synthetic:
            return (
                "The participants are synthetic: they come from a generator built on published gait data, not from a "
                f"clinic. Results here may not carry over to real people. {NOT_A_DEVICE}"
            )
        return (
            f"The data are {self.recordings}. The results may not carry over to other people or other "
            f"recording methods. {NOT_A_DEVICE}"
        )

    @property
    def truth_note(self) -> str:
        """What the model and every control see, and the truth that their answers are compared with."""
        if self.noisy:
            return "The model and every control see the same noisy movement; the truth is measured on the clean one."
        if self.synthetic:
            return "The model and every control see the movement on which the truth is measured: it has no noise."
        return (
            "The model and every control see the movement as it was recorded. Labels and results of tests are those "
            "given with the files; the truth of gait parameters is computed from the recorded movement itself and "
            "shares its errors."
        )


def from_facts(name: str, noise: str, facts: Mapping[str, Any]) -> Origin:
    """Build the origin of a `movements` dataset.

    Args:
        name: name of the experiment.
        noise: noise of the experiment's cohort, used if the facts of a synthetic dataset do not record it.
        facts: metadata of the dataset.
    """
    synthetic = bool(facts.get("synthetic", True))
    noise = facts.get("noise", noise) if synthetic else ""
    return Origin(name, synthetic, noise, int(facts["participants"]), int(facts["trials"]))


def programs(made: Mapping[str, Mapping[str, str]]) -> str:
    """Version and revision of the program that made each stage, as HTML; empty if nothing is known.

    Args:
        made: by stage, the value of `provenance.program`; empty for a stage that did not record its program.
    """
    words = {stage: _program(program) for stage, program in made.items()}
    if not words:
        return ""
    if len(set(words.values())) == 1:
        return f"<p>Every stage was made by {escape(next(iter(words.values())))}.</p>"
    rows = "".join(f"<tr><td>{escape(stage)}</td><td>{escape(said)}</td></tr>" for stage, said in words.items())
    return (
        "<p>Not all stages were made by the same program.</p>"
        f"<table><thead><tr><th>Stage</th><th>Made by</th></tr></thead><tbody>{rows}</tbody></table>"
    )


def _program(program: Mapping[str, str]) -> str:
    if not program.get("version"):
        return "a version that was not recorded"
    revision = program.get("git_revision", "")
    changed = " with changes" if revision.endswith("+") else ""
    return f"biomechgpt_jax {program['version']}" + (f", revision {revision[:12]}{changed}" if revision else "")
