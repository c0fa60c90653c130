"""The figures of the report as inline SVG: small panels that a page can reflow on any screen."""

import io
import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from biomechgpt_jax.answering.predictions import Prediction
from biomechgpt_jax.evaluation import metrics, naming, sureness

# The palette of Okabe and Ito: distinguishable with any kind of colour vision, and in grey.
BLUE, VERMILION, GREEN, ORANGE, PURPLE = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#AA4499"
INK, MUTED, GRID = "#1c2733", "#5a6673", "#e4e8ec"

STYLE: Any = {
    "font.size": 9,
    "font.family": "sans-serif",
    "svg.fonttype": "none",
    "svg.hashsalt": "biomechgpt",
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": "#b8c0c8",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "lines.solid_capstyle": "round",
}
_SIZE = (3.5, 2.75)  # inches; one point of text is then about one pixel on the page
_HALF = (2.75, 2.4)
_LARGEST_SCALE = 1.75  # CSS pixels per point beyond which a figure stops growing
_serial = itertools.count()


def _axes(size: tuple[float, float] = _SIZE, grid: str = "both") -> tuple[Figure, Axes]:
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.add_subplot()
    if grid:
        axes.grid(axis=grid)  # type: ignore[arg-type]
    return figure, axes


def svg(figure: Figure, label: str) -> str:
    """Render an SVG element for a page: unique ids, no external references, scaled by its container."""
    buffer = io.StringIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r'\sxmlns(:xlink)?="[^"]*"', "", text)
    width = figure.get_figwidth() * 72 * _LARGEST_SCALE
    text = re.sub(r'(<svg[^>]*?)\swidth="[^"]*"', rf'\1 style="max-width:{width:.0f}px"', text, count=1)
    text = re.sub(r'(<svg[^>]*?)\sheight="[^"]*"', r"\1", text, count=1)
    # The page chooses the typeface; Matplotlib only positioned the text.
    text = re.sub(r"font: ((?:\w+ )?)([\d.]+)px [^;\"]*", r"font: \1\2px var(--sans)", text)
    prefix = f"f{next(_serial)}-"
    text = re.sub(r'\bid="', f'id="{prefix}', text)
    text = re.sub(r'xlink:href="#', f'href="#{prefix}', text)
    text = re.sub(r"url\(#", f"url(#{prefix}", text)
    label = label.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return text.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)


def curves(runs: Mapping[str, Sequence[Mapping[str, Any]]], field: str, title: str, log: bool = False) -> str:
    """Plot a logged quantity against the training step, one line per run."""
    figure, axes = _axes()
    lowest = np.inf
    for (name, rows), colour in zip(runs.items(), (BLUE, VERMILION, GREEN), strict=False):
        points = [(row["step"], row[field]) for row in rows if row.get(field) is not None and "step" in row]
        if not points:
            continue
        steps, values = np.array(points, float).T
        axes.plot(steps, values, color=colour, alpha=0.25, linewidth=0.9)
        width = max(1, len(values) // 15)
        smooth = np.convolve(
            np.pad(values, (width // 2, width - 1 - width // 2), "edge"), np.ones(width) / width, "valid"
        )
        axes.plot(steps, smooth, color=colour, linewidth=1.8, label=name)
        lowest = min(lowest, values.min())
    if log and lowest > 0:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
        axes.yaxis.set_minor_locator(ticker.NullLocator())
    else:
        axes.set_ylim(bottom=0)
    axes.set_title(title, loc="left", fontsize=9.5, fontweight="bold")
    axes.set_xlabel("step")
    axes.locator_params(axis="x", nbins=6)
    axes.margins(x=0.01)
    if len(axes.lines) > 2:
        axes.legend(loc="upper right", frameon=False)
    return svg(figure, f"{title} against the training step")


def confusion(rows: Sequence[Prediction], name: str, order: Sequence[str] = ()) -> str:
    """Plot counts of true (rows) against answered (columns) labels, shaded by the share of the true label."""
    labels, table = metrics.confusion(rows, order)
    true_labels = labels[: table.shape[0]]
    share = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    side = 0.36 * len(labels)
    figure, axes = _axes((side + 1.9, side + 1.3), grid="")
    axes.pcolormesh(
        np.arange(len(labels)),
        np.arange(len(true_labels)),
        share,
        cmap="Blues",
        vmin=0,
        vmax=1.15,
        edgecolor="white",
        linewidth=1.5,
    )
    axes.invert_yaxis()
    for (i, j), count in np.ndenumerate(table):
        if count:
            colour = "white" if share[i, j] > 0.6 else INK
            weight = "bold" if i == j else "normal"
            axes.text(j, i, str(count), ha="center", va="center", color=colour, fontsize=8.5, weight=weight)
    axes.set_xticks(range(len(labels)), labels, rotation=38, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(true_labels)), [f"{label}  " for label in true_labels])
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    axes.set_ylabel("true")
    axes.set_xlabel("answered")
    return svg(figure, f"Confusion matrix of {naming.question_title(name).lower()}: {len(rows)} answers")


def _colours(rows: Sequence[Prediction], impaired: Mapping[str, bool]) -> list[str]:
    return [VERMILION if impaired.get(row["participant"]) else BLUE for row in rows]


def scatter(rows: Sequence[Prediction], name: str, impaired: Mapping[str, bool]) -> str:
    """Plot answered against true values, with their intervals where they have any, and the line of identity.

    `impaired` colours participants.
    """
    rows = metrics.parsed(rows)
    truth, answer = metrics.numbers(rows)
    figure, axes = _axes(_HALF)
    low, high = min(truth.min(), answer.min()), max(truth.max(), answer.max())
    margin = 0.06 * (high - low) or 0.5
    axes.plot([low - margin, high + margin], [low - margin, high + margin], color=MUTED, linewidth=0.9)
    colours = _colours(rows, impaired)
    for row, x, colour in zip(rows, truth, colours, strict=True):
        if "interval" in row:
            axes.plot([x, x], row["interval"], color=colour, alpha=0.25, linewidth=0.6)
    axes.scatter(truth, answer, s=13, c=colours, alpha=0.55, linewidths=0)
    axes.set_xlim(low - margin, high + margin)
    axes.set_ylim(low - margin, high + margin)
    axes.locator_params(nbins=5)
    unit = rows[0]["unit"]
    axes.set_xlabel(f"true ({unit})")
    axes.set_ylabel(f"answered ({unit})")
    return svg(figure, f"{naming.question_title(name)}: answered against true values, {len(rows)} answers")


def bland_altman(rows: Sequence[Prediction], name: str, impaired: Mapping[str, bool]) -> str:
    """Plot the difference against the mean of both values, with the bias and the 95 % limits of agreement."""
    rows = metrics.parsed(rows)
    truth, answer = metrics.numbers(rows)
    bias, low, high = metrics.limits_of_agreement(truth, answer)
    figure, axes = _axes(_HALF)
    middle = 0.5 * (truth + answer)
    axes.scatter(middle, answer - truth, s=13, c=_colours(rows, impaired), alpha=0.55, linewidths=0)
    axes.axhline(0.0, color="#b8c0c8", linewidth=0.8)
    digits = naming.decimals("mae", rows[0]["unit"])
    for value, text, line in ((high, "+1.96 SD", "--"), (bias, "bias", "-"), (low, "\u22121.96 SD", "--")):
        if not np.isfinite(value):
            continue
        axes.axhline(value, color=INK, linewidth=1.0, linestyle=line)
        axes.annotate(
            f"{text}  {naming.value_text(value, digits, sign=True)}",
            (1.0, value),
            xycoords=("axes fraction", "data"),
            xytext=(-2, 3),
            textcoords="offset points",
            ha="right",
            fontsize=8,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6},
        )
    axes.margins(y=0.12)
    axes.locator_params(nbins=5)
    unit = rows[0]["unit"]
    axes.set_xlabel(f"mean of both ({unit})")
    axes.set_ylabel(f"answered \u2212 true ({unit})")
    return svg(
        figure,
        f"{naming.question_title(name)}: Bland-Altman plot, bias {bias:.3g}, limits {low:.3g} to {high:.3g}",
    )


def reliability(rows: Sequence[Prediction], title: str) -> str:
    """Plot the share of correct answers against their probability; a dot's area is its number of answers.

    A grey line shows the probabilities before calibration.
    """
    probability, correct, count = sureness.curve(rows)
    figure, axes = _axes()
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.9)
    if raw := sureness.before(rows):
        axes.plot(*sureness.curve(raw)[:2], color=MUTED, linewidth=1.4, linestyle="--")
    axes.plot(probability, correct, color=BLUE, linewidth=1.4)
    axes.scatter(
        probability,
        correct,
        s=14 + 170 * count / max(count.max(initial=1), 1),
        color=BLUE,
        alpha=0.8,
        linewidths=0,
    )
    axes.set_xlim(0, 1.04)
    axes.set_ylim(0, 1.06)
    axes.set_xlabel("probability of the answer")
    axes.set_ylabel("share correct")
    axes.set_title(title, loc="left", fontsize=9.5, fontweight="bold")
    return svg(figure, f"{title}: share of correct answers against their probability")
