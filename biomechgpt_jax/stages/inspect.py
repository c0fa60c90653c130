"""What a motion file, a dataset, a directory of checkpoints or a folder of pretrained weights holds, printed."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biomechgpt_jax.errors import InputError
from biomechgpt_jax.files import to_json

if TYPE_CHECKING:
    from biomechgpt_jax.data.normals import Normals

_WITH_UNITS = {
    "rate_hz": "rate (Hz)",
    "net_speed_m_s": "net speed (m/s)",
    "missing_because": "missing because",
    "marker_set": "marker set",
    "markers_used": "markers used",
    "markers_not_used": "markers not used",
    "worst_markers_cm": "worst markers (cm)",
}


def run(
    path: Path,
    activity: str,
    plot: Path | None,
    as_json: bool,
    own: "Normals | None" = None,
    static: Path | None = None,
    person: str = "",
) -> None:
    """Print what lies at `path`.

    Args:
        path: a motion file, or the directory of a dataset, of checkpoints or of pretrained weights.
        activity: what was performed in a motion file, which is then scored; "" if that is not known.
        plot: where a picture of the movement goes, if anywhere.
        as_json: print one JSON object.
        own: the laboratory's normals, whose offsets are taken out of a motion file.
        static, person: as in `formats.record`.

    Raises:
        InputError: it cannot be read, there is no such activity, or an option of a movement is given for something
            else.
    """
    from biomechgpt_jax.data import store
    from biomechgpt_jax.training import inspection

    options = {
        "--plot draws": plot,
        "--normals corrects": own,
        "--static sizes the body of": static,
        "--person picks the markers of": person,
    }
    if path.is_dir() and _holds_weights(path):
        from biomechgpt_jax.pretrained import description

        _refuse_for_movements(options, path, "a folder of pretrained weights")
        facts = description.describe(path)
        print(to_json(facts) if as_json else "\n".join(_lines(facts)))
        return
    if inspection.is_checkpoint(path):
        _refuse_for_movements(options, path, "a checkpoint")
        facts = inspection.describe(path)
        print(to_json(facts) if as_json else "\n".join(inspection.lines(facts)))
        return
    if store.is_dataset(path):
        _refuse_for_movements(options, path, "a dataset")
        facts = store.metadata(path)
    else:
        facts = _recording(path, activity, plot, own, static, person)
    print(to_json(facts) if as_json else "\n".join(_lines(facts)))


def _holds_weights(path: Path) -> bool:
    from biomechgpt_jax.pretrained import folder

    return folder.looks_like(path)


def _recording(
    path: Path, activity: str, plot: Path | None, own: "Normals | None", static: Path | None, person: str
) -> dict[str, Any]:
    from biomechgpt_jax import formats
    from biomechgpt_jax.reports import recording

    read = formats.record(path, static=static, person=person)
    if own:
        read = dataclasses.replace(read, trajectory=own.take_out(read.trajectory))
    facts = recording.describe(read, activity) | ({"normals": own.facts()} if own else {})
    if plot is not None:
        from biomechgpt_jax.reports import portrait

        portrait.save(read.trajectory, plot)
    return facts


def _refuse_for_movements(options: dict[str, Any], path: Path, what: str) -> None:
    """Refuse options that are for motion files."""
    for option, given in options.items():
        if given:
            raise InputError(f"{option} one movement; {path} is {what}")


def _lines(facts: dict[str, Any]) -> list[str]:
    lines = []
    for name, value in facts.items():
        if name == "missing_because":
            lines += [_WITH_UNITS[name], *_by_reason(value)] if value else []
            continue
        if isinstance(value, dict):
            lines += [_WITH_UNITS.get(name, name), *(f"  {inner:<30}{fact}" for inner, fact in value.items())]
            continue
        shown = ", ".join(map(str, value)) or "none" if isinstance(value, list) else value
        lines.append(f"{_WITH_UNITS.get(name, name):<17}{shown}")
    return lines


def _by_reason(reasons: dict[str, str]) -> list[str]:
    """A line for each reason, with the names that it holds for."""
    groups: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        groups.setdefault(reason, []).append(name)
    return [f"  {reason}: {', '.join(names)}" for reason, names in groups.items()]
