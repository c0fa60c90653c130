"""The report of a run: one self-contained HTML file."""

from html import escape
from pathlib import Path

from biomechgpt_jax.files import write_text
from biomechgpt_jax.reports import page, sections, strong_controls
from biomechgpt_jax.reports.origin import Origin, programs
from biomechgpt_jax.reports.sections import Material

_NOTES = (
    "Intervals are 95 % percentile intervals of a bootstrap over participants: they show how much a figure "
    "would vary with other people of the same cohort, not with another cohort or another training run.",
    "A closed answer is the option with the largest likelihood, and its probability is its share among the "
    "options. Numbers are decoded token by token and parsed; an answer that is not a number is counted as not "
    "parsed and enters no other metric. A closed answer that is not one of the options counts as wrong.",
    "Limits of agreement are the bias ± 1.96 standard deviations of the difference. They treat the answers "
    "as independent, although several come from one participant.",
    "Controls: constant (most frequent label, median), label prior (a draw from the training answers), text "
    "only (a model that never sees the movement), and gradient boosting on walking speed, on the length of "
    "the clip, and on the mean of each coordinate. The mean-pose tree has depth 2 and answers only the "
    "diagnosis. Strong controls: gradient boosting on several hundred plain features of the movement (moments, "
    "quantiles, power by frequency, differences and lags between left and right, speed), the same on the movement as "
    "the motion codec gives it back from the tokens, and a convolutional network on the trajectories with an output "
    "for every question.",
    "Sensitivity at 90 % specificity: the share of impaired movements called impaired where one in ten of the others "
    "is.",
)


def _notes(origin: Origin) -> list[str]:
    split = "Participants are split by a hash of their identity; nobody is in two splits."
    return [origin.participants_note, f"{split} {origin.truth_note}", *_NOTES]


def html(material: Material) -> str:
    """Build the page as text."""
    origin = material.origin
    shown = "as they were recorded" if not origin.synthetic else "as the model saw them"
    people = material.metrics["test_participants"]
    answers = len(material.predictions["model"])
    parts = [
        (
            "results",
            "Results",
            "Each question is on a scale from 0 (nothing) to 1 (perfect): AUROC for yes or no, macro-F1 "
            "or accuracy for labels, Pearson’s r for numbers.",
            sections.tracks(material),
        ),
        (
            "controls",
            "Against the controls",
            "Controls answer the same questions about the same movements: weak ones without understanding the "
            "movement, strong ones as models made for nothing else. The 95 % interval is under each value. MAE is the "
            "mean absolute error, r is Pearson’s correlation.",
            strong_controls.section(material) + sections.table(material) + sections.text_only(material),
        ),
        (
            "movements",
            "Movements and answers",
            f"Held-out participants {shown}{', noise included' * origin.noisy}. Right side of the body orange, "
            "left side blue; the ground is ruled every half metre. Drag a figure to turn it.",
            sections.clips(material),
        ),
        (
            "labels",
            "Which answers are confused",
            "Counts of answers; shading is the share of the true label.",
            sections.confusions(material),
        ),
        (
            "numbers",
            "Agreement of numbers",
            "Each dot is one answer about one clip. The line on the left is identity; lines on the right are "
            "the bias and the 95 % limits of agreement.",
            sections.agreement(material),
        ),
        (
            "probabilities",
            "Can the probabilities be trusted?",
            "If the dots lie on the diagonal, an answer given with 80 % is correct 8 times in 10. The area of a "
            "dot is proportional to its number of answers.",
            sections.calibration(material),
        ),
        (
            "training",
            "Training",
            "Faint lines are single logged steps, strong lines their running mean.",
            sections.training(material),
        ),
        ("cohort", "The cohort", "Participants by diagnosis and split.", sections.cohort(material)),
        (
            "codec",
            "The motion codec",
            "Movement reaches the language model as tokens, so no answer can recover what the codec loses. Bars: "
            "median absolute error by joint.",
            sections.fidelity(material),
        ),
        (
            "time",
            "Time",
            "Wall time of each stage of the run, and the program that made it.",
            sections.seconds(material) + programs(material.metrics.get("made", {})),
        ),
    ]
    head = (
        f"<p>Run “{escape(origin.name)}”: {answers:,} questions about the movement of {people} participants it was "
        "not trained on, answered from motion tokens alone.</p>"
    )
    return page.document(
        f"{origin.name}: questions about movement",
        "What the model reads from movement",
        head,
        [page.Section(*part) for part in parts],
        _notes(origin),
        " · ".join(f"{name} {value}" for name, value in material.made.items()),
        sections.tiles(material),
    )


def write(path: Path, material: Material) -> None:
    """Write report.html atomically."""
    write_text(path, html(material))
