"""Files as laboratories have them: what the readers make of each.

With --files, one line for every motion file below --data: read or refused and why, walking speed and strides, marker
error, flags. Two such tables, before and after a change, show what it did to real files.
"""

from collections.abc import Iterator
from pathlib import Path

from figures import parser

from biomechgpt_jax import formats
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.reports import recording


def main() -> None:
    """Print the table of files."""
    options = parser(__doc__ or "")
    options.add_argument("--data", default="../shared/data", help="folder of recordings (%(default)s)")
    options.add_argument("--files", action="store_true", help="a line for each file of the folder")
    given = options.parse_args()
    if given.files:
        for line in table(Path(given.data)):
            print(line, flush=True)


def table(data: Path) -> Iterator[str]:
    """A line for each motion file below `data`, in order of name."""
    for path in sorted(path for path in data.rglob("*") if path.suffix.lower() in formats.READABLE):
        try:
            line = _line(recording.describe(formats.record(path)))
        except InputError as error:
            line = f"refused: {str(error).removeprefix(str(path)).lstrip(': ')}"
        except Exception as error:  # a defect of a reader must not hide the other files
            line = f"DEFECT: {type(error).__name__}: {error}"
        yield f"{path.relative_to(data).as_posix():<52}{line}"


def _line(facts: dict) -> str:  # type: ignore[type-arg]
    gait = facts.get("gait")
    measured = gait if isinstance(gait, dict) else {}
    speed = measured.get("walking_speed", facts.get("net_speed_m_s"))
    shown = "-" if speed is None else f"{speed:.3f}"
    parts = [
        f"{facts['rate_hz']:g} Hz",
        f"{len(facts['present'])} present",
        f"{'speed' if measured else 'net speed'} {shown}",
        f"{measured.get('strides', 0)} strides",
    ]
    parts += [gait] if isinstance(gait, str) else []
    parts += [f"usable {facts['usable']}"] if "usable" in facts else []
    return "; ".join([*parts, *(f"[{flag}]" for flag in facts["flags"])])


if __name__ == "__main__":
    main()
