"""The sections of the report, each rendered as HTML from the material of a run."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np

from biomechgpt_jax.answering.predictions import Prediction, by_question
from biomechgpt_jax.evaluation import bars, metrics, naming, sureness
from biomechgpt_jax.reports import plots, stick
from biomechgpt_jax.reports.origin import Origin

_CONFUSIONS = ("activity", "diagnosis", "assistive_device", "fall_risk")


@dataclass(frozen=True)
class Material:
    """Everything that goes into a report.

    Attributes:
        origin: the origin of the data.
        metrics: the content of metrics.json.
        predictions: by source, "model" and the controls.
        curves: logged training steps by run, such as "main" and "text only".
        cohort: one object per diagnosis: diagnosis, train, validation, test (participants), trials, hours.
        fidelity: from `reconstruction.measure`; empty if it was not measured.
        clips: trials to draw.
        orders: options of each closed question in their usual order.
        made: versions, devices and revision that the run was made with, for the footer.
    """

    origin: Origin
    metrics: Mapping[str, Any]
    predictions: Mapping[str, Sequence[Prediction]]
    curves: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    cohort: Sequence[Mapping[str, Any]] = ()
    fidelity: Mapping[str, Any] = field(default_factory=dict)
    clips: Sequence[stick.Clip] = ()
    orders: Mapping[str, Sequence[str]] = field(default_factory=dict)
    made: Mapping[str, str] = field(default_factory=dict)


def _families(material: Material, source: str) -> dict[str, Any]:
    return dict(material.metrics["families"] if source == "model" else material.metrics["controls"].get(source, {}))


def _sources(material: Material) -> list[str]:
    known = [name for name in naming.SOURCES if name in material.metrics.get("controls", {})]
    return ["model", *known]


def _defined(value: Any) -> bool:
    return value is not None and bool(np.isfinite(value))


def tiles(material: Material) -> str:
    """The bars of the run as tiles: value, interval, bar, verdict."""
    made = []
    for row in material.metrics.get("bars", ()):
        summary = metrics.find(_families(material, row["source"]), row["question"])
        unit = summary.get("unit", "") if row["metric"] == "mae" else ""
        digits = naming.decimals(row["metric"], summary.get("unit", ""))
        interval = naming.interval_text(row["ci95"], digits)
        what = naming.question_title(row["question"])
        if row["source"] != "model":
            what += f" by {naming.SOURCES[row['source']].lower()}"
        verdict = ("yes", "✓ reached") if row["meets"] else ("no", "✗ not reached")
        made.append(
            f'<div class="tile"><div '
            f'class="what">{escape(what)}<span>{escape(naming.metric_title(row["metric"]))}</span>'
            f'</div><div class="value">{naming.value_text(row["value"], digits)} '
            f"<small>{escape(unit)}</small></div>"
            f'<div class="bar">{f"95 %: {interval}<br>" if interval else ""}bar {escape(row["bar"])}<br>'
            f'<span class="verdict {verdict[0]}">{verdict[1]}</span></div></div>'
        )
    return f'<div class="tiles">{"".join(made)}</div>' if made else ""


def _position(value: float) -> str:
    return f"{100 * min(max(value, 0.0), 1.0):.2f}%"


def tracks(material: Material) -> str:
    """One line per question: the model with its interval and every control on an axis from 0 to 1."""
    rows = [
        '<div class="head"></div><div class="head"></div>'
        '<div class="axis '
        'head"><span>0</span><span>0.25</span><span>0.5</span><span>0.75</span><span>1</span></div>'
        '<div class="head"></div>'
    ]
    for question, summary in naming.questions(_families(material, "model")):
        metric = naming.headline(summary, question)[0]
        value, interval = summary[metric], summary.get(metrics.interval_key(metric))
        controls = {
            name: metrics.find(_families(material, name), question).get(metric) for name in _sources(material)[1:]
        }
        known = {name: float(v) for name, v in controls.items() if v is not None and np.isfinite(v)}
        best = max(known, key=lambda name: known[name]) if known else ""
        marks = "".join(
            f'<i class="control{" top" if name == best else ""}" style="left:{_position(v)}"'
            f' title="{naming.SOURCES[name]} {v:.2f}"></i>'
            for name, v in sorted(known.items(), key=lambda item: item[0] == best)
        )
        if interval and all(map(_defined, interval)):
            low, high = (min(max(end, 0.0), 1.0) for end in interval)
            marks += f'<i class="range" style="left:{_position(low)};width:{_position(high - low)}"></i>'
        if _defined(value):
            marks += f'<i class="dot" style="left:{_position(value)}"></i>'
        note = f"{naming.SOURCES[best]} {naming.value_text(known[best])}" if best else "no control applies"
        rows.append(
            f'<div class="q"><b>{escape(naming.question_title(question))}</b> '
            f"<span>{naming.metric_title(metric)}</span>"
            f'</div><div class="v">{naming.value_text(value)}</div><div class="t"><div '
            f'class="track">{marks}</div></div>'
            f'<div class="best">{note}</div>'
        )
    key = (
        '<div class="key"><span class="track" style="height:auto;background:none;border:0"><i '
        'class="dot"></i>model, '
        'with its 95 % interval</span><span class="track" style="height:auto;background:none;border:0">'
        '<i class="control top"></i>best control, named beside it</span><span class="track" '
        'style="height:auto;background:none;border:0"><i class="control"></i>other controls</span></div>'
    )
    return f'{key}<div class="tracks">{"".join(rows)}</div>'


def _cell(summary: Mapping[str, Any], metric: str, css: str) -> str:
    digits = naming.decimals(metric, summary.get("unit", ""))
    interval = naming.interval_text(summary.get(metrics.interval_key(metric)), digits)
    return (
        f'<td class="num {css}">{naming.value_text(summary.get(metric), digits)}'
        f'{f"""<span class="ci">{interval}</span>""" if interval else ""}</td>'
    )


def table(material: Material) -> str:
    """The model beside every control, with intervals."""
    sources = [name for name in _sources(material) if name != "mean_pose_tree"]
    head = "".join(
        f'<th class="num{" model" if name == "model" else ""}">{naming.SOURCES[name]}</th>' for name in sources
    )
    body = []
    for question, summary in naming.questions(_families(material, "model")):
        shown = (*naming.headline(summary, question), *(["coverage90"] if "coverage90" in summary else []))
        asked = f"{summary['n']} answers, {summary['participants']} people"
        if summary.get("unparsed"):
            asked += f", {summary['unparsed']} not parsed"
        title = (
            f'<th rowspan="{len(shown)}"><b>{escape(naming.question_title(question))}</b>'
            f'<span class="small">{asked}</span></th>'
        )
        for metric in shown:
            cells = "".join(
                _cell(
                    metrics.find(_families(material, name), question),
                    metric,
                    "model" if name == "model" else "",
                )
                for name in sources
            )
            label = naming.short_metric_title(metric, summary.get("unit", ""))
            last = metric == shown[-1]
            body.append(f'<tr{"" if last else " class=same"}>{title}<td class="name">{label}</td>{cells}</tr>')
            title = ""
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="Results against '
        f'controls"><table><thead><tr>'
        f"<th>Question</th><th>Metric</th>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def text_only(material: Material) -> str:
    """One paragraph on how much the questions alone give away."""
    rows = material.metrics.get("text_only_check", ())
    if not rows:
        return ""
    by_verdict: dict[str, list[str]] = {}
    for row in rows:
        by_verdict.setdefault(row["verdict"], []).append(naming.question_title(row["question"]).lower())
    sentences = [f"It passes for {len(by_verdict.get('passes', ()))} of {len(rows)} questions."]
    if "gives away" in by_verdict:
        sentences.append(f"The words give answers away for {escape(', '.join(by_verdict['gives away']))}.")
    if "undecided" in by_verdict:
        sentences.append(f"Too few people to tell for {escape(', '.join(by_verdict['undecided']))}.")
    return (
        "<p>The text-only control is a model of the same size, trained on the same questions without the movement. "
        "It passes where the 95 % interval of its advantage over the prior, in accuracy (AUROC for yes or no), ends "
        f"at or below {bars.TEXT_ONLY_HIGHEST:.2f}; for numbers, where the interval of r ends at or below "
        f"{bars.TEXT_ONLY_HIGHEST_R:.2f}. {' '.join(sentences)}</p>"
    )


def _answer_row(row: Prediction) -> str:
    unit = row["unit"]
    if row["kind"] == "closed":
        good = row["truth"] == row["answer"]
        truth, answer = str(row["truth"]), str(row["answer"])
        mark = f'<span class="{"right" if good else "wrong"}">{"✓" if good else "✗"} {escape(answer)}</span>'
    else:
        digits = naming.decimals("mae", unit)
        truth = f"{naming.value_text(float(row['truth']), digits)} {unit}"
        number = row["answer"] if isinstance(row["answer"], (int, float)) else None
        mark = f"<b>{naming.value_text(number, digits)} {escape(unit)}</b>" if number is not None else "not a number"
    probability = row["probability"]
    chance = f"{100 * probability:.0f} %" if probability is not None else ""
    if "interval" in row:
        ends = (naming.value_text(end, row["decimals"]) for end in row["interval"])
        chance = f"90 %: {' to '.join(ends)}"
    asked = escape(row["phrasing"])
    return f"<tr><td>{asked}</td><td>{escape(truth)}</td><td>{mark}</td><td class=num>{chance}</td></tr>"


def clips(material: Material) -> str:
    """Animated stick figures with their questions, true answers and predicted answers."""
    made = []
    for item in material.clips:
        data = json.dumps(stick.pack(item), allow_nan=False)
        answers = "".join(map(_answer_row, item.answers))
        name = escape(item.title)
        made.append(
            f'<figure class="clip"><h3>{name}</h3><canvas role="img" aria-label="Moving stick figure: '
            f'{name}"></canvas>'
            '<div class="bar"><button type="button">Play</button><input type="range" min="0" value="0" '
            'step="1" '
            f'aria-label="Time in the movement"><span class="time"></span></div>'
            f'<script type="application/json">{data}</script><table><thead><tr><th>Question</th><th>True</th>'
            f"<th>Answer</th><th "
            f'class="num">Probability, or 90 % interval</th></tr></thead><tbody>{answers}</tbody></table></figure>'
        )
    return f'<div class="clips">{"".join(made)}</div>'


def confusions(material: Material) -> str:
    """Confusion matrices of the closed questions with more than two options."""
    asked = by_question(material.predictions["model"])
    made = []
    for question in _CONFUSIONS:
        if question in asked:
            rows = asked[question]
            drawn = plots.confusion(rows, question, material.orders.get(question, ()))
            made.append(f"<figure><h3>{naming.question_title(question)}</h3>{drawn}</figure>")
    return f'<div class="pairs">{"".join(made)}</div>'


def _impaired(predictions: Sequence[Prediction]) -> dict[str, bool]:
    return {row["participant"]: row["truth"] != "healthy" for row in predictions if row["question"] == "diagnosis"}


def agreement(material: Material) -> str:
    """Answered against true values and limits of agreement, for the number questions."""
    rows_by = by_question(material.predictions["model"])
    impaired = _impaired(material.predictions["model"])
    made = []
    for question, summary in naming.questions(_families(material, "model")):
        rows = metrics.parsed(rows_by.get(question, ())) if "mae" in summary else []
        if len(rows) < 2:
            continue
        digits = naming.decimals("mae", summary["unit"])
        low, high = (naming.value_text(end, digits, sign=True) for end in summary["limits_of_agreement"])
        made.append(
            f'<figure class="pair"><h3>{naming.question_title(question)}</h3><figcaption>r '
            f"{naming.value_text(summary['r'])}, mean absolute error "
            f"{naming.value_text(summary['mae'], digits)} "
            f"{escape(summary['unit'])}, bias {naming.value_text(summary['bias'], digits, sign=True)}, 95 % "
            f"limits {low} "
            f'to {high}</figcaption><div class="two">{plots.scatter(rows, question, impaired)}'
            f"{plots.bland_altman(rows, question, impaired)}</div></figure>"
        )
    words = "".join(f"<p>{escape(text)}</p>" for text in naming.coverage_in_words(_families(material, "model")))
    key = (
        '<div class="key"><span><i class="line" style="background:#0072b2"></i>healthy participants</span>'
        '<span><i class="line" style="background:#d55e00"></i>participants with an impairment</span></div>'
    )
    return f'{words}{key}<div class="pairs">{"".join(made)}</div>'


def calibration(material: Material) -> str:
    """Reliability of the probabilities of closed answers, pooled and by question, before and after calibration."""
    asked = {
        name: rows for name, rows in by_question(material.predictions["model"]).items() if rows[0]["kind"] == "closed"
    }
    if not asked:
        return ""
    pooled = [row for rows in asked.values() for row in rows]
    panels = [("All closed questions", pooled)]
    panels += [(naming.question_title(name), rows) for name, rows in asked.items() if len(rows) >= 20]
    made = []
    for title, rows in panels:
        now, chance = (naming.value_text(value) for value in (sureness.error(rows), sureness.expected_error(rows, 0)))
        raw = sureness.before(rows)
        was = f"; {naming.value_text(sureness.error(raw))} before calibration, grey" if raw else ""
        caption = f"{len(rows)} answers, calibration error {now} ({chance} by chance{was})"
        made.append(f"<figure>{plots.reliability(rows, title)}<figcaption>{caption}</figcaption></figure>")
    return f'<div class="panels">{"".join(made)}</div>'


def training(material: Material) -> str:
    """Training curves of the main and the text-only model."""
    fields = (
        ("loss", "Loss on answers (nats per token)", True),
        ("validation_loss", "Loss on validation participants", True),
        ("grad_norm", "Gradient norm", True),
        ("learning_rate", "Learning rate", False),
        ("nonpadding_tokens_per_second", "Tokens per second, padding left out", False),
    )
    made = []
    for name, title, log in fields:
        logged = {
            run: rows for run, rows in material.curves.items() if sum(row.get(name) is not None for row in rows) > 1
        }
        if logged:
            made.append(f"<figure>{plots.curves(logged, name, title, log)}</figure>")
    return f'<div class="panels">{"".join(made)}</div>' if made else "<p>Nothing was logged.</p>"


def bar(label: str, parts: Sequence[float], whole: float, amount: str) -> str:
    """A labelled bar whose parts are drawn as shares of the whole, with the amount in words."""
    fill = "".join(f'<i style="width:{100 * part / whole if whole else 0:.2f}%"></i>' for part in parts)
    return f'<div>{escape(label)}</div><div class="fill">{fill}</div><div class="amount">{escape(amount)}</div>'


def cohort(material: Material) -> str:
    """Participants by diagnosis and split, with hours of movement."""
    splits = ("train", "validation", "test")
    rows = list(material.cohort)
    if not rows:
        return "<p>The dataset was not described.</p>"
    whole = max(sum(row[split] for split in splits) for row in rows)
    made = [
        bar(
            str(row["diagnosis"]),
            [row[split] for split in splits],
            whole,
            f"{' + '.join(str(row[split]) for split in splits)} people, {row['trials']} trials, {row['hours']:.1f} h",
        )
        for row in rows
    ]
    people = {split: sum(row[split] for row in rows) for split in splits}
    hours, trials = sum(row["hours"] for row in rows), sum(row["trials"] for row in rows)
    total = (
        f"<p>{sum(people.values())} participants, {trials} trials, {hours:.1f} hours of movement: "
        f"{people['train']} "
        f"participants to train on, {people['validation']} for validation, {people['test']} held out for "
        f"every "
        "figure of this report.</p>"
    )
    key = "".join(
        f'<span><i class="line" style="background:{colour}"></i>{split}</span>'
        for split, colour in zip(splits, ("#0072b2", "#7fbfe0", "#d55e00"), strict=True)
    )
    return f'{total}<div class="key">{key}</div><div class="bars">{"".join(made)}</div>'


def fidelity(material: Material) -> str:
    """How well the motion tokens preserve the movement."""
    found = material.fidelity
    if not found:
        return "<p>The codec was not measured.</p>"
    groups: Mapping[str, float] = found["by_group_deg"]
    whole = max([*groups.values(), 1e-9])
    bars = "".join(bar(name, [value], whole, f"{value:.2f}°") for name, value in groups.items())
    names = ("median_deg", "p95_deg", "healthy_median_deg", "impaired_median_deg")
    half, tail, healthy, impaired = (f"{naming.value_text(found[name])}°" for name in names)
    given = "the movement that was encoded" + ", measurement noise included," * material.origin.noisy
    lead = (
        f"<p>After encoding and decoding, a moving joint angle of a held-out participant differs from {given} by up to "
        f"{half} in half of its frames and by more than {tail} in one of twenty. The median is {healthy} "
        f"for healthy participants and {impaired} for the others. {found['codes_used']} of {found['codes']} "
        f"codes are in use, with a perplexity of {found['perplexity']:.0f}; "
        f"{found['tokens_per_second']:.1f} tokens describe a second of movement.</p>"
    )
    return f'{lead}<div class="bars">{bars}</div>'


def seconds(material: Material) -> str:
    """Wall time of each stage."""
    wall = {name: float(value) for name, value in material.metrics.get("wall_seconds", {}).items()}
    if not wall:
        return "<p>Times were not recorded.</p>"
    bars = "".join(
        bar(name.replace("_", " "), [value], max(wall.values()), f"{value:.0f} s") for name, value in wall.items()
    )
    total = sum(wall.values())
    return f'<p>{total / 60:.1f} minutes in all.</p><div class="bars">{bars}</div>'
