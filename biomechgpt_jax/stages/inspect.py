"""What a motion file, a dataset or a directory of checkpoints holds, printed."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from biomechgpt_jax.errors import InputError
from biomechgpt_jax.files import to_json

if TYPE_CHECKING:
    from biomechgpt_jax.data.normals import Normals

_WITH_UNITS = {"rate_hz": "rate (Hz)", "net_speed_m_s": "net speed (m/s)"}


def run(path: Path, activity: str, plot: Path | None, as_json: bool, own: "Normals | None" = None) -> None:
    """Print what lies at `path`.

    Args:
        path: a motion file, or the directory of a dataset or of checkpoints.
        activity: what was performed in a motion file, which is then scored; "" if that is not known.
        plot: where a picture of the movement goes, if anywhere.
        as_json: print one JSON object.
        own: the laboratory's normals, whose offsets are taken out of a motion file.

    Raises:
        InputError: it cannot be read, there is no such activity, or `plot` or `own` is given for something that is no
            movement.
    """
    from biomechgpt_jax.data import store
    from biomechgpt_jax.training import inspection

    if inspection.is_checkpoint(path):
        _refuse_for_movements(plot, own, path, "a checkpoint")
        facts = inspection.describe(path)
        print(to_json(facts) if as_json else "\n".join(inspection.lines(facts)))
        return
    if store.is_dataset(path):
        _refuse_for_movements(plot, own, path, "a dataset")
        facts = store.metadata(path)
    else:
        facts = _recording(path, activity, plot, own)
    print(to_json(facts) if as_json else "\n".join(_lines(facts)))


def _recording(path: Path, activity: str, plot: Path | None, own: "Normals | None") -> dict[str, Any]:
    from biomechgpt_jax import formats
    from biomechgpt_jax.reports import recording

    trajectory = formats.read(path)
    trajectory = own.take_out(trajectory) if own else trajectory
    facts = recording.describe(trajectory, activity) | ({"normals": own.facts()} if own else {})
    if plot is not None:
        from biomechgpt_jax.reports import portrait

        portrait.save(trajectory, plot)
    return facts


def _refuse_for_movements(plot: Path | None, own: "Normals | None", path: Path, what: str) -> None:
    """Refuse options that are for motion files."""
    if plot is not None:
        raise InputError(f"--plot draws one movement; {path} is {what}")
    if own is not None:
        raise InputError(f"--normals corrects one movement; {path} is {what}")


def _lines(facts: dict[str, Any]) -> list[str]:
    lines = []
    for name, value in facts.items():
        if isinstance(value, dict):
            lines += [name, *(f"  {inner:<30}{fact}" for inner, fact in value.items())]
            continue
        shown = ", ".join(map(str, value)) or "none" if isinstance(value, list) else value
        lines.append(f"{_WITH_UNITS.get(name, name):<17}{shown}")
    return lines
