"""The sections of the codec's report, each rendered as HTML from the figures of `evaluation.codec.figures`."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from biomechgpt_jax.evaluation import naming
from biomechgpt_jax.reports import codec_plots, sections
from biomechgpt_jax.reports.codec_plots import Shown

_GROUP_TITLES = {"all": "All joint angles"}
# Clinical names of the coordinates whose own name is not one.
_ANGLE_TITLES = {
    "knee_angle": "Knee flexion",
    "ankle_angle": "Ankle dorsiflexion",
    "mtp_angle": "Toe (MTP) angle",
    "arm_flex": "Shoulder flexion",
    "arm_add": "Shoulder adduction",
    "arm_rot": "Shoulder rotation",
    "elbow_flex": "Elbow flexion",
    "pro_sup": "Forearm rotation",
    "wrist_flex": "Wrist flexion",
    "wrist_dev": "Wrist deviation",
}


def _value(value: float | None, digits: int = 2, unit: str = "") -> str:
    text = naming.value_text(value, digits)
    return f"{text}{unit}" if value is not None else text


def _with_interval(found: Mapping[str, Any], digits: int = 2) -> str:
    interval = naming.interval_text(found["ci95"], digits)
    return _value(found["value"], digits) + (f'<span class="ci">{interval}</span>' if interval else "")


def _table(label: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """An HTML table whose first column holds row titles; cells are HTML."""
    titles = "".join(f'<th class="num">{title}</th>' if i else f"<th>{title}</th>" for i, title in enumerate(head))
    body = "".join(
        f"<tr><th>{row[0]}</th>{''.join(f'<td class=num>{cell}</td>' for cell in row[1:])}</tr>" for row in rows
    )
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{label}"><table><thead><tr>{titles}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def tiles(figures: Mapping[str, Any]) -> str:
    """The main figures as tiles."""
    ratio, root, gait = figures["impaired_over_healthy"], figures["root"], figures["gait"]["parameters"]
    rows = [
        (
            "Joint angles",
            "mean of medians",
            figures["median_deg"],
            2,
            "°",
            f"95th percentile {_value(figures['p95_deg'], 1, '°')}",
        ),
        ("Hip, knee, ankle", "mean of medians", figures["lower_limb_median_deg"], 2, "°", ""),
        (
            *("Impaired over healthy", "same activity and speed", ratio["matched_ratio"]["value"], 2, ""),
            f"95 %: {naming.interval_text(ratio['matched_ratio']['ci95'])}" if ratio["matched_ratio"]["ci95"] else "",
        ),
        ("Place after 4 s", "median window, start aligned", root["window_cm"]["median"], 1, "cm", ""),
        ("Cadence", "mean absolute error", gait["cadence"]["mae"]["value"], 2, "steps/min", ""),
        ("Walking speed", "mean absolute error", gait["walking_speed"]["mae"]["value"], 3, "m/s", ""),
        ("Step-time asymmetry", "mean absolute error", gait["step_time_asymmetry"]["mae"]["value"], 1, "points", ""),
        ("Codes used", "mean over layers", 100 * figures["code_usage"], 0, "%", ""),
    ]
    return (
        '<div class="tiles">'
        + "".join(
            f'<div class="tile"><div class="what">{what}<span>{how}</span></div><div class="value">'
            f'{_value(value, digits)}{_unit(unit)}</div><div class="bar">{note}</div></div>'
            for what, how, value, digits, unit, note in rows
        )
        + "</div>"
    )


def _unit(unit: str) -> str:
    return unit if unit in ("", "°") else f" <small>{unit}</small>"


def _angle_title(name: str) -> str:
    side = {"_r": ", right", "_l": ", left"}.get(name[-2:], "")
    joint = name[:-2] if side else name
    return _ANGLE_TITLES.get(joint, joint.replace("_", " ").capitalize()) + side


def angles(figures: Mapping[str, Any]) -> str:
    """The error of each joint angle, for healthy and impaired participants."""
    found: Mapping[str, Any] = figures["coordinates"]
    if not found:
        return "<p>No joint angle moved.</p>"
    ratio = figures["impaired_over_healthy"]
    compared = ratio["ratio"]["value"] is not None
    states = ("healthy", "impaired") if compared else ()
    sentence = (
        f"<p>The median error is {_value(figures['healthy_median_deg'])}° for healthy participants and "
        f"{_value(figures['impaired_median_deg'])}° for those with an impairment, "
        f"{_value(ratio['ratio']['value'])} times as large; at the same activity and speed it is "
        f"{_value(ratio['matched_ratio']['value'])} times as large"
        + (f" (95 %: {naming.interval_text(ratio['matched_ratio']['ci95'])})" if ratio["matched_ratio"]["ci95"] else "")
        + ".</p>"
        if compared
        else f"<p>The median error is {_value(figures['median_deg'])}°. Healthy and impaired participants cannot be "
        "compared: no diagnosis is known, or all belong to one group.</p>"
    )
    key = (
        '<div class="key"><span><i class="line" style="background:#0072b2"></i>healthy</span><span><i class="line" '
        'style="background:#d55e00"></i>impaired</span><span>● median</span><span>○ 95th percentile</span></div>'
    )
    plot = ""
    if compared:
        points = [
            np.array([[row[state][name] for name in ("median_deg", "p95_deg")] for row in found.values()], float)
            for state in states
        ]
        plot = key + codec_plots.by_coordinate([_angle_title(name) for name in found], *points)
    head = ["Angle", "Median", "95th"]
    head += [f"{state.capitalize()}{what}" for state in states for what in (" median", " 95th")]
    head += ["Ratio", "Matched ratio"] if compared else []
    rows = []
    for name, row in found.items():
        cells = [_value(row["median_deg"], 2, "°"), _value(row["p95_deg"], 1, "°")]
        for state in states:
            cells += [_value(row[state]["median_deg"], 2, "°"), _value(row[state]["p95_deg"], 1, "°")]
        if compared:
            cells += [_value(row["ratio"]["value"]), _with_interval(row["matched_ratio"])]
        rows.append([f"<b>{_angle_title(name)}</b>", *cells])
    table = _table("Error of each joint angle", head, rows)
    return sentence + plot + (f"<details><summary>All figures</summary>{table}</details>" if plot else table)


def movements(shown: Sequence[Shown]) -> str:
    """Angles over time and stick figures of the examples."""
    made = []
    for one in shown:
        panels = "".join(f"<figure>{codec_plots.angle(one, *joint)}</figure>" for joint in codec_plots.JOINTS)
        made.append(
            f'<div class="example"><h3>{escape(one.title)}</h3><div class="panels">{panels}</div>'
            f"<figure>{codec_plots.sticks(one)}</figure></div>"
        )
    return "".join(made)


def gait(found: Mapping[str, Any]) -> str:
    """The error of gait parameters."""
    if not found["walks"]:
        return "<p>No walk has 3 strides per side.</p>"
    rows = []
    for name, row in found["parameters"].items():
        digits = 3 if row["unit"] in ("m/s", "m") else 2
        rows.append(
            [
                f"<b>{naming.question_title(name)}</b><span>{row['unit']}</span>",
                _with_interval(row["mae"], digits),
                _value(row["healthy_mae"], digits),
                _value(row["impaired_mae"], digits),
                str(row["walks"]),
            ]
        )
    failed = (
        f"All {found['walks']} walks keep all of their parameters."
        if not found["failures"]
        else f"{found['failures']} of {found['walks']} walks lost a parameter in reconstruction; they count only "
        "towards the errors of their other parameters."
    )
    head = ["Parameter", "Mean absolute error", "Healthy", "Impaired", "Walks"]
    return f"<p>{failed}</p>" + _table("Error of gait parameters", head, rows)


def root(found: Mapping[str, Any]) -> str:
    """The error of the path of the pelvis."""
    if not found["trials"]:
        return "<p>No trial holds the path of the pelvis.</p>"

    def row(title: str, how: str, one: Mapping[str, Any], count: str) -> list[str]:
        return [
            f"<b>{title}</b><span>{how}</span>",
            _value(one["median"], 1),
            _value(one["p95"], 1),
            _with_interval(one["mean"], 1),
            count,
        ]

    rows = [
        row("4-second windows", "start pose aligned", found["window_cm"], f"{found['windows']:,} windows"),
        row("Whole trials", "not aligned", found["whole_trial_cm"], f"{found['trials']:,} trials"),
    ]
    head = ["Mean horizontal distance (cm)", "Median", "95th", "Mean", "Of"]
    return (
        _table("Error of the path", head, rows)
        + f"<p>The height of the pelvis is off by {_value(found['height_cm']['value'], 2)} cm (mean over trials of the "
        f"median), its speed along the path by {_value(found['speed_m_s']['value'], 3)} m/s.</p>"
    )


def rates(found: Mapping[str, Any]) -> str:
    """The error of velocity and acceleration."""
    rows = [
        [
            f"<b>{_GROUP_TITLES.get(name, name.capitalize())}</b>",
            _value(row["velocity"], 1),
            _value(row["own_velocity"], 1),
            _value(row["acceleration"], 0),
            _value(row["own_acceleration"], 0),
        ]
        for name, row in found.items()
        if row["velocity"] is not None
    ]
    head = ["Joint", "Velocity error (°/s)", "Input’s own", "Acceleration error (°/s²)", "Input’s own"]
    return _table("Error of velocity and acceleration", head, rows)


def layers(figures: Mapping[str, Any]) -> str:
    """How many codes of each layer are used."""
    codes = figures["codes"]
    bars = "".join(
        sections.bar(
            f"Layer {number + 1}",
            [min(layer["perplexity"], layer["used"]), max(layer["used"] - layer["perplexity"], 0.0)],
            codes,
            f"{layer['used']:,} used ({100 * layer['used'] / codes:.0f} %), perplexity {layer['perplexity']:.0f}",
        )
        for number, layer in enumerate(figures["layers"])
    )
    key = (
        '<div class="key"><span><i class="line" style="background:#0072b2"></i>perplexity</span>'
        '<span><i class="line" style="background:#7fbfe0"></i>codes used</span></div>'
    )
    return (
        f"<p>{figures['tokens']:,} tokens; each layer has {codes:,} codes.</p>{key}" + f'<div class="bars">{bars}</div>'
    )


def codes(rows: Sequence[Mapping[str, Any]], movements: Mapping[int, np.ndarray]) -> str:
    """The most used codes, drawn if they have mean movements (features f64[stride, 40])."""
    made = []
    for row in rows:
        often = ", ".join(f"{name or 'unknown'} {100 * share:.0f} %" for name, share in row["activities"].items())
        drawn, facts = "", ""
        if row["code"] in movements:
            drawn = codec_plots.code(movements[row["code"]], f"Mean movement of code {row['code']}")
            turn = f", turns {'left' if row['yaw_deg_s'] > 0 else 'right'} {abs(row['yaw_deg_s']):.0f}°/s"
            facts = (
                f"<br>{_value(row['forward_m_s'])} m/s{turn if abs(row['yaw_deg_s']) >= 5 else ''}, spread "
                f"{row['spread_deg']:.1f}°"
            )
        made.append(
            f"<figure><h3>Code {row['code']}</h3>{drawn}<figcaption>{row['count']:,} tokens "
            f"({100 * row['share']:.1f} %)<br>{escape(often)}{facts}</figcaption></figure>"
        )
    return f'<div class="codes">{"".join(made)}</div>'
