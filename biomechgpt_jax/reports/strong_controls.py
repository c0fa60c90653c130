"""Where the model loses to the controls that read the movement well, in words and as a table."""

from collections.abc import Mapping
from html import escape
from typing import Any

from biomechgpt_jax.evaluation import comparison, naming
from biomechgpt_jax.reports.sections import Material


def section(material: Material) -> str:
    """Where the model loses to the strong controls, in words, and the summary figures of both."""
    described = material.metrics.get("summary", {})
    sentences = comparison.describe(material.metrics.get("comparisons", ()))
    if not sentences:
        return ""
    head = "".join(f'<th class="num">{escape(figure.title)}</th>' for figure in comparison.FIGURES.values())
    body = "".join(
        f'<tr><th class="name">{naming.SOURCES[source]}</th>'
        + "".join(_summary_cell(figures[name], source) for name in comparison.FIGURES)
        + "</tr>"
        for source, figures in described.items()
    )
    return (
        f"<p>{escape(' '.join(sentences))} In brackets, the paired difference and its 95 % interval over "
        f'participants.</p><div class="wide" tabindex="0" role="region" aria-label="Summary figures"><table><thead>'
        f"<tr><th>Reader</th>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _summary_cell(figure: Mapping[str, Any], source: str) -> str:
    interval = naming.interval_text(figure["ci95"])
    return (
        f'<td class="num{" model" if source == "model" else ""}">{naming.value_text(figure["value"])}'
        f'{f"""<span class="ci">{interval}</span>""" if interval else ""}</td>'
    )
