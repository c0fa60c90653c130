"""The page of a fit: what was found, with how much certainty, and what is wrong with it."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from biomechgpt_jax.files import write_text
from biomechgpt_jax.reports import page
from biomechgpt_jax.reports.scaling import plots

_WAYS = {"delta": "Delta method", "noise": "Simulated noise", "resampled": "Resampled runs"}
_NOTES = (
    "L = E + A / N^a + B / D^b, with N parameters and D tokens. The best size of a budget C grows as C^(b / (a + b)). "
    "The fit is the least sum of Huber’s loss of the residuals of log loss.",
    "Intervals are 95 %, with Student’s t for the few runs there are. Delta method: linearised. Simulated noise: "
    "refits to the law with noise. Resampled runs: refits to runs drawn with replacement, all rows of a run together.",
    "A profile holds one constant and fits the others; values below the line at 1 belong to its 95 % interval. A flat "
    "profile means that the table does not say what the constant is, whatever digits the fit prints.",
    "Minima of budgets are those of Akima’s interpolation of log loss over log size. The vertex of a parabola stands "
    "beside it: it is biased where a and b differ.",
    "The forecast is of an OBSERVED loss. A backtest hides the largest budgets from every forecaster and lets it "
    "forecast them; the one with the least error is chosen, and its interval is made of these errors. “Same” says "
    "that nothing improves, “line” continues the last two budgets in logarithms: a law that is no better than they "
    "are has taught nothing. “Joint” is the law fitted to the runs within 10 % of their budget’s lowest loss.",
)
Found = Mapping[str, Any]


def write(path: Path, found: Found) -> None:
    """Write the page atomically."""
    write_text(path, html(found))


def html(found: Found) -> str:
    """Build the page as text from what `scaling.analysis.analyse` returned, with "program" beside it."""
    parts = [
        page.Section("findings", "What to know first", "What the checks say about table and fit.", _findings(found))
    ]
    if found["law"]:
        parts += [
            page.Section("law", "The law", "Constants, and how sure they are.", _law(found)),
            page.Section(
                "residuals",
                "Where the law is off",
                "Dots are rows, dashes the median at one value. A slope or a bend is the form’s fault; one size that "
                "lies apart is that size’s.",
                _panels(
                    [
                        plots.residuals(found, "params", "parameters"),
                        plots.residuals(found, "tokens", "tokens"),
                        plots.residuals(found, "flops", "operations"),
                    ]
                ),
            ),
            page.Section(
                "profiles",
                "What the table can say",
                "The rise of the objective where one constant is held. Below the red line lies its 95 % interval.",
                _panels([plots.profile(found, name) for name in ("E", "a", "b")]),
            ),
            page.Section(
                "choices",
                "Other choices",
                "The same fit with other values of Huber’s delta, and without outliers.",
                _variants(found),
            ),
        ]
    if found["isoflop"]:
        parts.append(
            page.Section(
                "budgets",
                "Budgets",
                "Loss over size at equal operations. Rings are the minima, dashes the law; sizes far from the best "
                "leave the frame.",
                f"<figure>{plots.budgets(found)}</figure>{_budgets(found)}",
            )
        )
    if found["curve"] or found["ahead"]:
        picture = f"<figure>{plots.curve(found)}</figure>" if found["curve"] else ""
        parts.append(
            page.Section(
                "ahead",
                "Eight times further",
                "The forecast of the lowest loss at eight times the largest budget. Diamonds are forecasts with their "
                "intervals, the bold one is chosen.",
                picture + _ahead(found),
            )
        )
    if found["repeats"]:
        parts.append(
            page.Section("repeats", "Repeated data", "What tokens are worth that were seen before.", _repeats(found))
        )
    notes = [*_NOTES, *(escape(note) for note in found["notes"])]
    made = " · ".join(f"{name} {value}" for name, value in found["program"].items() if value)
    head = (
        f"<p>{escape(found['source'])}: {found['rows']:,} rows of {found['runs']:,} runs, SHA-256 "
        f"{escape(found['sha256'][:12])}.</p>"
    )
    return page.document(
        f"{found['source']}: scaling law",
        "What the runs say about larger ones",
        head,
        parts,
        notes,
        made,
        _tiles(found),
    )


def _panels(pictures: Sequence[str]) -> str:
    return '<div class="panels">' + "".join(f"<figure>{one}</figure>" for one in pictures) + "</div>"


def _table(label: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    titles = "".join(f"<th{' class=num' * (i > 0)}>{title}</th>" for i, title in enumerate(head))
    body = "".join(
        f"<tr><th>{row[0]}</th>{''.join(f'<td class=num>{cell}</td>' for cell in row[1:])}</tr>" for row in rows
    )
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{label}"><table><thead><tr>{titles}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _text(words: str) -> str:
    """Words of the checks as HTML, with the page's apostrophe."""
    return escape(words.replace("'", "’"))


def _number(value: float | None, digits: int = 4) -> str:
    return "–" if value is None else f"{value:.{digits}g}"


def _interval(ends: Sequence[float | None], digits: int = 4) -> str:
    return f"{_number(ends[0], digits)} to {_number(ends[1], digits)}"


def _tiles(found: Found) -> str:
    tiles = []
    made, iso, ahead = found["law"], found["isoflop"], found["ahead"]
    if made:
        ends = made["intervals95"]["delta"]
        tiles.append(
            ("Exponent of size", "joint law", f"{made['exponent']:.3f}", f"95 %: {_interval(ends['exponent'], 3)}")
        )
        tiles.append(
            ("Irreducible loss E", "joint law", _number(made["E"]), f"95 %: {_interval(_profiled(made, 'E'), 3)}")
        )
        tiles.append(("RMS residual", "joint law", f"{100 * made['rms_residual']:.2g} %", ""))
    if iso and iso["exponent"]["akima"]["value"] is not None:
        one = iso["exponent"]["akima"]
        tiles.append(
            ("Exponent of size", "minima of budgets", f"{one['value']:.3f}", f"95 %: {_interval(one['interval95'], 3)}")
        )
    if ahead:
        one = ahead["forecasters"][ahead["chosen"]]
        words = f"95 %: {_interval(one['interval95'])}"
        tiles.append(("Loss at 8 times the budget", ahead["chosen"], _number(one["loss"]), words))
    return (
        '<div class="tiles">'
        + "".join(
            f'<div class="tile"><div class="what">{what}<span>{how}</span></div><div class="value">{value}</div>'
            f'<div class="bar">{note}</div></div>'
            for what, how, value, note in tiles
        )
        + "</div>"
    )


def _profiled(made: Mapping[str, Any], name: str) -> list[float]:
    """Ends of a profile's interval; where it is open, those of the values that were tried."""
    one = made["profiles"][name]
    low, high = one["interval95"]
    return [one["values"][0] if low is None else low, one["values"][-1] if high is None else high]


def _findings(found: Found) -> str:
    if not found["findings"]:
        return "<p>The checks found nothing wrong. They cannot see a fault that all runs share.</p>"
    return "<ul>" + "".join(f"<li>{_text(one['words'])}</li>" for one in found["findings"]) + "</ul>"


def _law(found: Found) -> str:
    made = found["law"]
    words = (
        f"<p>L = {made['E']:.4g} + {made['A']:.4g} / N<sup>{made['a']:.4f}</sup> + {made['B']:.4g} / "
        f"D<sup>{made['b']:.4f}</sup>. Noise of a row: {100 * made['noise']:.2g} % on {made['degrees_of_freedom']} "
        f"degrees of freedom.</p>"
    )
    titles = {
        "E": "E",
        "a": "a",
        "b": "b",
        "exponent": "b / (a + b)",
        "loss_ahead": "observed loss at 8 times the budget",
    }
    ways = [way for way in _WAYS if way in made["intervals95"]]
    rows = [
        [
            f"<b>{title}</b>",
            _number(made[name]),
            *(_interval(made["intervals95"][way][name]) for way in ways),
            _interval(_profiled(made, name)) if name in made["profiles"] else "",
        ]
        for name, title in titles.items()
    ]
    table = _table("Constants", ["Quantity", "Estimate", *(_WAYS[way] for way in ways), "Profile"], rows)
    return words + table + _panels([plots.surface(found)])


def _variants(found: Found) -> str:
    made = found["law"]
    own = {"name": f"as above, Huber’s delta {made['huber_delta']:g}", "rows": "", **made}
    rows = [
        [f"<b>{_text(one['name'])}</b>", str(one["rows"]), *(_number(one[name]) for name in ("E", "a", "b")),
         f"{one['b'] / (one['a'] + one['b']):.3f}"]
        for one in (own, *made["variants"])
    ]  # fmt: skip
    return _table("Other fits", ["Fit", "Rows", "E", "a", "b", "b / (a + b)"], rows)


def _budgets(found: Found) -> str:
    rows = []
    for one in found["isoflop"]["budgets"]:
        akima, parabola = one["akima"], one["parabola"]
        remark = "minimum at the edge of the grid" if akima["edge"] else ""
        rows.append(
            [f"<b>{one['flops']:.3g}</b>", str(len(one["rows"])), f"{akima['params']:.3g}", _number(akima["loss"], 5),
             f"{parabola['params']:.3g}", _number(parabola["loss"], 5), remark]
        )  # fmt: skip
    ends = found["isoflop"]["exponent"]
    words = ", ".join(
        f"{title} {one['value']:.3f} ({_interval(one['interval95'], 3)})"
        for name, title in (("akima", "by Akima"), ("parabola", "by parabola"))
        if (one := ends[name])["value"] is not None
    )
    head = ["Budget", "Runs", "Best size", "Lowest loss", "Best size, parabola", "Lowest, parabola", ""]
    return _table("Minima of budgets", head, rows) + (f"<p>Exponent of the best size: {words}.</p>" if words else "")


def _ahead(found: Found) -> str:
    ahead = found["ahead"]
    if ahead is None:
        return "<p>There are too few budgets for a forecast.</p>"
    rows = []
    for name, one in ahead["forecasters"].items():
        rms = "–" if one["backtest_rms"] is None else f"{100 * one['backtest_rms']:.2f} %"
        title = f"<b>{name}</b>" + ("<span>chosen</span>" if name == ahead["chosen"] else "")
        rows.append([title, _number(one["loss"]), _interval(one["interval95"]), rms])
    notes = "".join(f"<p>{escape(note)}</p>" for note in ahead["notes"])
    words = f"<p>At {ahead['flops']:.3g} operations.</p>"
    return words + _table("Forecasts", ["Forecaster", "Loss", "95 % interval", "Error in the backtest"], rows) + notes


def _repeats(found: Found) -> str:
    one = found["repeats"]
    rows = [
        [f"<b>{name}</b>", _number(one[name], 3), _interval(one["intervals95"][name], 3)] for name in ("R_D*", "R_N*")
    ]
    return _table("Repeated data", ["Constant", "Estimate", "95 % interval, resampled runs"], rows)
