"""Plots of scaling laws as inline SVG. `found` is what `scaling.analysis.analyse` returns."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from biomechgpt_jax.reports.plots import BLUE, GREEN, INK, MUTED, ORANGE, PURPLE, STYLE, VERMILION, svg

COLOURS = {"same": MUTED, "line": ORANGE, "envelope": GREEN, "mean": PURPLE, "joint": BLUE}
_WIDE, _PANEL = (7.6, 3.7), (3.5, 2.75)
Found = Mapping[str, Any]


def _axes(size: tuple[float, float]) -> tuple[Figure, Axes]:
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.add_subplot()
    axes.grid(axis="both")
    return figure, axes


def _logarithmic(axes: Axes, which: str) -> None:
    """A logarithmic axis with few labels: powers of ten where there are some, plain numbers otherwise."""
    axis, limits = (axes.xaxis, axes.get_xlim()) if which == "x" else (axes.yaxis, axes.get_ylim())
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    if limits[1] > 30 * max(limits[0], 1e-300):
        axis.set_major_locator(ticker.LogLocator(numticks=7))
        axis.set_minor_locator(ticker.NullLocator())
    else:
        axis.set_major_locator(ticker.MaxNLocator(5, steps=[1, 2, 5, 10]))
        axis.set_major_formatter(ticker.FormatStrFormatter("%g"))
        axis.set_minor_locator(ticker.NullLocator())


def _column(rows: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    return np.array([np.nan if row[name] is None else row[name] for row in rows], float)


def _loss(made: Mapping[str, Any], params: Any, tokens: Any) -> np.ndarray:
    return np.asarray(made["E"] + made["A"] * params ** -made["a"] + made["B"] * tokens ** -made["b"])


def _optimum(made: Mapping[str, Any], flops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    both, product = made["a"] + made["b"], flops / made["operations_per_param_and_token"]
    scale = (made["a"] * made["A"] / (made["b"] * made["B"])) ** (1 / both)
    params = scale * product ** (made["b"] / both)
    return params, product / params


def budgets(found: Found) -> str:
    """Loss over size, a curve for each budget; minima as dots, the joint law dashed."""
    groups = found["isoflop"]["budgets"]
    figure, axes = _axes(_WIDE)
    shades = matplotlib.colormaps["viridis"](np.linspace(0.05, 0.85, len(groups)))
    lowest = min(group["akima"]["loss"] for group in groups)
    highest = max(group["akima"]["loss"] for group in groups)
    for group, shade in zip(groups, shades, strict=True):
        rows = [found["table"][i] for i in group["rows"]]
        params, loss = _column(rows, "params"), _column(rows, "loss")
        order = np.argsort(params)
        axes.plot(params[order], loss[order], "o-", color=shade, markersize=3.4, linewidth=1.2, alpha=0.9)
        best = group["akima"]
        axes.plot(best["params"], best["loss"], "o", color=VERMILION, markersize=6, markerfacecolor="white", zorder=5)
        axes.annotate(f"{group['flops']:.2g}", (params[order][-1], loss[order][-1]), xytext=(4, 0), fontsize=7,
                      textcoords="offset points", color=shade, annotation_clip=True)  # fmt: skip
        if found["law"]:
            grid = np.geomspace(params.min(), params.max(), 80)
            tokens = group["flops"] / found["law"]["operations_per_param_and_token"] / grid
            axes.plot(grid, _loss(found["law"], grid, tokens), "--", color=shade, linewidth=0.9)
    room = highest - lowest  # sizes that are far off leave the frame
    axes.set_ylim(lowest - 0.06 * room, highest + 0.35 * room)
    _logarithmic(axes, "x")
    axes.set_xlabel("parameters")
    axes.set_ylabel("loss")
    return svg(figure, f"Loss against size at {len(groups)} budgets, with minima and the fitted law")


def curve(found: Found) -> str:
    """Lowest losses over budgets and what every forecaster makes of them."""
    figure, axes = _axes(_WIDE)
    points = np.array(found["curve"]["points"], float)
    ahead = found["ahead"]
    end = ahead["flops"] if ahead else points[-1, 0] * 8
    grid = np.geomspace(points[0, 0], end, 120)
    shape, line = found["curve"]["envelope"], found["curve"]["line"]
    axes.plot(grid, shape["E"] + shape["K"] * (grid / shape["C0"]) ** -shape["g"], color=GREEN, linewidth=1.3,
              label="envelope of all budgets")  # fmt: skip
    beyond = grid[grid >= points[-2, 0]]
    axes.plot(beyond, line["loss"] * (beyond / line["flops"]) ** line["slope"], color=ORANGE, linewidth=1.3,
              label="line through the last two")  # fmt: skip
    if found["law"]:
        axes.plot(grid, _loss(found["law"], *_optimum(found["law"], grid)), "--", color=BLUE, linewidth=1.3,
                  label="joint law, all runs")  # fmt: skip
    axes.plot(*points.T, "o", color=INK, markersize=4.5, label="lowest loss of a budget", zorder=5)
    shown = [] if ahead is None else [name for name in ahead["forecasters"] if name != "same"]
    for place, name in enumerate(shown):
        one = ahead["forecasters"][name]
        x, bold = end * 1.13**place, name == ahead["chosen"]
        # Intervals may be far longer than the picture; the table beside it has them in full.
        axes.plot([x, x], one["interval95"], color=COLOURS[name], linewidth=2.4 if bold else 1.0, clip_on=True)
        axes.plot(x, one["loss"], "D", color=COLOURS[name], markersize=6 if bold else 4)
    losses = [*points[:, 1], *(ahead["forecasters"][name]["loss"] for name in shown)]
    room = 0.12 * (max(losses) - min(losses))
    axes.set_ylim(min(losses) - room, max(losses) + room)
    _logarithmic(axes, "x")
    axes.legend(loc="upper right", frameon=False, fontsize=8)
    axes.set_xlabel("operations of training")
    axes.set_ylabel("loss")
    return svg(figure, "Lowest loss against budget, with envelope, line and joint law continued")


def surface(found: Found) -> str:
    """Contours of the law over size and data, the runs, and the best size of every budget."""
    made, rows = found["law"], found["table"]
    figure, axes = _axes(_PANEL)
    params, tokens = _column(rows, "params"), _column(rows, "tokens")
    x = np.geomspace(params.min() / 1.3, params.max() * 1.3, 80)
    y = np.geomspace(tokens.min() / 1.3, tokens.max() * 1.3, 80)
    values = _loss(made, x[None, :], y[:, None])
    levels = np.quantile(values, np.linspace(0.02, 0.98, 9))
    drawn = axes.contour(x, y, values, levels=np.unique(levels), cmap="viridis_r", linewidths=1.0)
    axes.clabel(drawn, fontsize=6.5, fmt="%.3g")
    axes.plot(params, tokens, "o", color=INK, markersize=2.4, alpha=0.6, markeredgewidth=0)
    best = _optimum(made, np.geomspace(_column(rows, "flops").min(), _column(rows, "flops").max(), 40))
    axes.plot(*best, color=VERMILION, linewidth=1.5)
    axes.set_xlim(x[0], x[-1])
    axes.set_ylim(y[0], y[-1])
    _logarithmic(axes, "x")
    _logarithmic(axes, "y")
    axes.set_xlabel("parameters")
    axes.set_ylabel("tokens")
    return svg(figure, "The fitted law over parameters and tokens, with the runs and the best size of each budget")


def residuals(found: Found, over: str, words: str) -> str:
    """Residuals in percent over a column, zero where the law and a run agree."""
    figure, axes = _axes(_PANEL)
    x, y = _column(found["table"], over), 100 * _column(found["table"], "residual")
    axes.axhline(0, color=MUTED, linewidth=0.9)
    axes.plot(x, y, "o", color=BLUE, markersize=3.4, alpha=0.65, markeredgewidth=0)
    for value in np.unique(x) if len(np.unique(x)) <= 30 else []:
        axes.plot(value, np.median(y[x == value]), "_", color=VERMILION, markersize=11, markeredgewidth=1.8)
    _logarithmic(axes, "x")
    axes.set_xlabel(words)
    axes.set_ylabel("predicted over measured (%)")
    return svg(figure, f"Residuals of the law against {words}")


def profile(found: Found, name: str) -> str:
    """The objective over held values of a constant; the 95 % interval lies below the line at 1."""
    one = found["law"]["profiles"][name]
    figure, axes = _axes(_PANEL)
    values, excess = np.array(one["values"]), np.array(one["excess"], float)
    axes.axhline(1.0, color=VERMILION, linewidth=1.0)
    axes.plot(values, np.minimum(excess, 50.0), "o-", color=BLUE, markersize=3.2, linewidth=1.4)
    axes.axvline(found["law"][name], color=MUTED, linewidth=0.9, linestyle="--")
    axes.set_ylim(-0.15, 4.0)
    axes.set_xlabel(name)
    axes.set_ylabel("rise of the objective")
    return svg(figure, f"Profile of {name}")
