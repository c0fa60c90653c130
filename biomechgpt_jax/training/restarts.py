"""Whether to restart a run that has ended: the one policy of all launchers.

    75 (stopped after saving)     always
    0 (done), 2 (wrong input)     never, as a restart would change nothing
    any other (a lost process ends the others with 134)
                                  up to a limit of restarts in a row without a newly committed step

Shell launchers call `python -m biomechgpt_jax.training.restarts --workdir DIR CODE...`, which exits with 0 for yes and
1 for no, and gives the reason on standard error. Nothing here touches a device.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from biomechgpt_jax.files import write_json
from biomechgpt_jax.training import manifest

DONE, WRONG_INPUT, PREEMPTED = 0, 2, 75
LIMIT = 3
_STAGE = 10**9
_CHECKPOINTS = ("checkpoints", "checkpoints_text_only", "tokenizer/checkpoints")


class History(NamedTuple):
    """The memory from one end of a run to the next."""

    step: int = 0  # the farthest committed
    idle: int = 0  # restarts in a row since it was reached


class Decision(NamedTuple):
    """Whether to restart, why, and what to remember."""

    restart: bool
    why: str
    history: History


def decide(codes: Sequence[int], step: int, history: History, limit: int = LIMIT) -> Decision:
    """Decide whether to restart a run.

    Args:
        codes: exit codes of its processes, or one that stands for all; -N or 128 + N means ended by signal N.
        step: the newest committed step, as `newest_step` counts it.
        history: from the last decision, or `History()`.
        limit: the most restarts in a row without progress.
    """
    if step > history.step:
        history = History(step)
    if WRONG_INPUT in codes:
        return Decision(False, "the input is wrong (2)", history)
    if all(code == DONE for code in codes):
        return Decision(False, "done", history)
    if all(code in (DONE, PREEMPTED) for code in codes):
        return Decision(True, f"stopped after saving ({PREEMPTED})", history)
    failed = ", ".join(str(code) for code in sorted({code for code in codes if code not in (DONE, PREEMPTED)}))
    if history.idle >= limit:
        return Decision(False, f"failed ({failed}) after {limit} restarts without a new checkpoint", history)
    history = history._replace(idle=history.idle + 1)
    return Decision(True, f"failed ({failed}); restart {history.idle} of {limit} without a new checkpoint", history)


def newest_step(workdir: Path) -> int:
    """The sum of the newest committed steps of everything that a run trains. It grows from stage to stage.

    A finished stage counts for more than all steps, because finishing the tokenizer removes the codec's checkpoints.
    """
    total = _STAGE * len(list((workdir / "stages").glob("*.json")))
    for name in _CHECKPOINTS:
        steps = (manifest.step_of(path) for path in manifest.steps(workdir / name) if manifest.committed(path))
        total += next(steps, 0)
    return total


def read(path: Path) -> History:
    """The history that `write` stored, or a new one if there is none that can be read."""
    try:
        stored = json.loads(path.read_text())
        return History(int(stored["step"]), int(stored["idle"]))
    except (OSError, ValueError, KeyError, TypeError):
        return History()


def write(path: Path, history: History) -> None:
    """Store a history for the next decision."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, history._asdict())


def main(arguments: Sequence[str] | None = None) -> int:
    """Decide for a shell script: 0 to restart, 1 not to."""
    parser = argparse.ArgumentParser(prog="restarts", description="whether to restart a run that has ended")
    parser.add_argument("codes", nargs="+", type=int, help="exit codes of its processes")
    parser.add_argument("--workdir", type=Path, required=True, help="of the run; restarts.json in it is the memory")
    parser.add_argument("--limit", type=int, default=LIMIT, help="restarts without a new checkpoint (%(default)s)")
    options = parser.parse_args(arguments)
    memory = options.workdir / "restarts.json"
    decision = decide(options.codes, newest_step(options.workdir), read(memory), options.limit)
    write(memory, decision.history)
    print(f"launch: {decision.why}: {'start again' if decision.restart else 'end'}", file=sys.stderr)
    return 0 if decision.restart else 1


if __name__ == "__main__":
    sys.exit(main())
