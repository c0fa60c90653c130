"""One outcome for all processes, reached without the devices.

Processes that write one checkpoint must agree on whether it is good while they train. A collective in a background
thread could interleave with those of the training step in a different order on another process, and hang both. They
therefore agree through the coordination service: every process puts its result there, process 0 combines the results
into one verdict, and all processes read it.
"""

import json
from collections.abc import Callable
from typing import Any

from biomechgpt_jax.errors import ClusterError, InputError, RunError
from biomechgpt_jax.parallel import distributed

TIMEOUT_S = 1200.0


class Failed(RunError):
    """Something failed in at least one process; raised in all of them."""


class Meetings:
    """A series of meetings of all processes. Every process must call the same ones in the same order.

    Args:
        name: of the series; every thread needs a series of its own.
        timeout_s: how long a process waits for the slowest.
    """

    def __init__(self, name: str, timeout_s: float = TIMEOUT_S) -> None:
        self._name = f"meetings/{name}"
        self._timeout_s = timeout_s
        self._meetings = 0

    def reach(self, mine: Callable[[], Any], combine: Callable[[list[Any]], Any] = lambda values: values[0]) -> Any:
        """Call `mine` in every process, then `combine` in process 0 with the list of results, in order of processes.

        Returns:
            The value of `combine`, by default the result of process 0, in every process. Values are JSON.

        Raises:
            InputError, Failed: `mine` raised in a process, or `combine` did; raised in every process.
            ClusterError: a process did not arrive in time; the message names it.
        """
        place = distributed.place()
        said = _attempt(mine)
        if place.processes == 1:
            return _value(said if "error" in said else _attempt(lambda: combine([said["value"]])))
        self._meetings += 1
        key = f"{self._name}/{self._meetings}"
        distributed.put(f"{key}/{place.process}", json.dumps(said))
        if place.process:
            return _value(self._get(f"{key}/verdict", 0))
        results = [self._get(f"{key}/{process}", process) for process in range(place.processes)]
        wrong = [process for process, one in enumerate(results) if "error" in one]
        if wrong:
            verdict = results[wrong[0]] | {"error": f"{distributed.host(wrong[0])}: {results[wrong[0]]['error']}"}
        else:
            verdict = _attempt(lambda: combine([one["value"] for one in results]))
        distributed.put(f"{key}/verdict", json.dumps(verdict))
        # Every process that came to this meeting has read the verdict of the last one.
        distributed.forget(f"{self._name}/{self._meetings - 1}")
        return _value(verdict)

    def _get(self, key: str, process: int) -> dict[str, Any]:
        said = distributed.get(key, self._timeout_s)
        if said is None:
            raise ClusterError(
                f"{distributed.host(process)} did not answer within {self._timeout_s:g} s about a checkpoint; "
                "see the last lines of its log"
            )
        result: dict[str, Any] = json.loads(said)
        return result


def words(error: BaseException) -> str:
    """The reason of an error on one line: the operating system's words, if a library wraps them in a longer text."""
    text = " ".join(str(error).split())
    for known in ("No space left on device", "Disk quota exceeded", "Read-only file system", "Permission denied"):
        if known in text:
            return known
    return f"{type(error).__name__}: {text[:300]}"


def _attempt(task: Callable[[], Any]) -> dict[str, Any]:
    try:
        return {"value": task()}
    except InputError as error:
        return {"error": str(error), "input": True}
    except Exception as error:
        return {"error": str(error) if isinstance(error, RunError) else words(error)}


def _value(verdict: dict[str, Any]) -> Any:
    if "error" in verdict:
        raise (InputError if verdict.get("input") else Failed)(verdict["error"])
    return verdict["value"]
