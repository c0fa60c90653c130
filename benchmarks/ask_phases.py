"""One process of `ask` or `inspect` that tells where its time goes: a part of benchmarks/ask.py.

    python benchmarks/ask_phases.py ask FILE QUESTION --workdir RUN

The command line runs as always; functions of the program are timed from outside, by name. The last line on standard
error is a JSON object of seconds.
"""

import collections
import functools
import importlib
import json
import sys
import time
from collections.abc import Callable
from typing import Any

BEGUN = time.perf_counter()
# Functions by module and name. Time that one of them spends in another counts for the outer one.
READING = {
    "formats:read": "reading and preprocessing",
    "biomechanics.preprocess:prepare": "reading and preprocessing",
}
PHASES = {
    "ask": READING
    | {
        "stages.ask:load": "loading the model",
        "codec.codec:Codec.encode": "encoding",
        "answering.predict:answers": "answering",
    },
    "inspect": READING | {"biomechanics.gait:analyse": "gait", "biomechanics.gait.indices:profile": "gait"},
}
COMPILATION = {
    "jaxpr_trace_duration": "tracing",
    "jaxpr_to_mlir_module_duration": "lowering",
    "backend_compile_duration": "compiling",
}
spent: collections.Counter[str] = collections.Counter()
running: list[str] = []


def timed(function: Callable[..., Any], phase: str) -> Callable[..., Any]:
    """The function, its time added to a phase unless another phase runs."""

    @functools.wraps(function)
    def call(*given: Any, **named: Any) -> Any:
        if running:
            return function(*given, **named)
        running.append(phase)
        begun = time.perf_counter()
        try:
            return function(*given, **named)
        finally:
            spent[phase] += time.perf_counter() - begun
            running.pop()

    return call


def watch(verb: str) -> None:
    """Import what the verb needs, and time its phases from now on."""
    owners = {name: importlib.import_module(f"biomechgpt_jax.{name.partition(':')[0]}") for name in PHASES[verb]}
    spent["imports"] = time.perf_counter() - BEGUN
    for name, phase in PHASES[verb].items():
        owner: Any = owners[name]
        path = name.partition(":")[2]
        *classes, attribute = path.split(".")
        for part in classes:
            owner = getattr(owner, part)
        setattr(owner, attribute, timed(getattr(owner, attribute), phase))
    from jax import monitoring

    def add(event: str, seconds: float, **_: Any) -> None:
        name = event.rpartition("/")[2]
        if name in COMPILATION:
            spent[COMPILATION[name]] += seconds

    monitoring.register_event_duration_secs_listener(add)


def main() -> int:
    """Run the command line, and print the seconds of its phases."""
    from biomechgpt_jax import cli
    from biomechgpt_jax.compiling import cache

    keep = cache.keep

    def keep_and_watch(*given: Any) -> None:
        keep(*given)
        watch(sys.argv[1])

    cache.keep = keep_and_watch
    code = cli.main(sys.argv[1:])
    spent["total"] = time.perf_counter() - BEGUN
    print(json.dumps(spent), file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
