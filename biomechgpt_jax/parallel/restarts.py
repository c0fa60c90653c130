"""Whether a run that has ended is started again: one rule for all launchers.

    python -m biomechgpt_jax.parallel.restarts CODE --workdir DIR [--limit 3]

ends with 0 if the run is to be started again and with 1 if not. What it remembers between calls lies in
DIR/restarts.json.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

DONE, WRONG_INPUT, PREEMPTED = 0, 2, 75
LIMIT = 3
_FILE = "restarts.json"


@dataclass(frozen=True)
class Memory:
    """What is known of the starts before.

    Attributes:
        reached: checkpoints that were good and stages that were done when the run last ended.
        fruitless: starts in a row, after failures, that reached nothing more.
    """

    reached: tuple[str, ...] = ()
    fruitless: int = 0


def again(code: int, reached: Sequence[str], before: Memory, limit: int = LIMIT) -> tuple[bool, Memory]:
    """Whether to start again, and what to remember.

    A run that was stopped after saving (75) always goes on. One that is done, or whose input is wrong, never does:
    it would end the same way. Any other code is a failure (134 in those that lost a host): it is tried again up to
    `limit` times in a row without progress.

    Args:
        code: exit code of the run.
        reached: as `progress` tells it now.
        before: what was remembered.
        limit: fruitless starts that are allowed.
    """
    now = tuple(reached)
    if code in (DONE, WRONG_INPUT):
        return False, Memory(now, 0)
    if code == PREEMPTED:
        return True, Memory(now, 0)
    fruitless = 0 if now != before.reached else before.fruitless
    return fruitless < limit, Memory(now, fruitless + 1)


def progress(workdir: Path) -> list[str]:
    """Names of the good checkpoints and of the finished stages of a run."""
    found = [*workdir.rglob("step_*/manifest.json"), *workdir.glob("stages/*.json")]
    return sorted(str(path.relative_to(workdir)) for path in found if "damaged-" not in str(path))


def judge(code: int, workdir: Path, limit: int = LIMIT) -> bool:
    """`again` for a run in a working directory; remembers there what it has to."""
    file = workdir / _FILE
    try:
        stored = json.loads(file.read_text())
        before = Memory(tuple(stored["reached"]), int(stored["fruitless"]))
    except (OSError, ValueError, KeyError, TypeError):
        before = Memory()
    start, after = again(code, progress(workdir), before, limit)
    if workdir.is_dir():
        temporary = file.with_name(f".{_FILE}.partial")
        temporary.write_text(json.dumps(asdict(after)) + "\n")
        temporary.replace(file)
    return start


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line above."""
    parser = argparse.ArgumentParser(prog="biomechgpt_jax.parallel.restarts", description=__doc__)
    parser.add_argument("code", type=int, help="exit code of the run")
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=LIMIT, help="starts without progress (%(default)s)")
    options = parser.parse_args(arguments)
    return 0 if judge(options.code, options.workdir, options.limit) else 1


if __name__ == "__main__":
    sys.exit(main())
