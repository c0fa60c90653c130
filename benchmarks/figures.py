"""What every benchmark prints: a table of figures with their bars, or with --json one object."""

import argparse
import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal


@dataclass(frozen=True)
class Figure:
    """One measured value.

    Attributes:
        value: what was measured; None where it could not be, with the reason in `note`.
        unit: of the value, "" for a ratio.
        bar: the value to reach; None for a figure that is only reported.
        better: whether the value has to stay below or above its bar.
        note: what a reader has to know beside the value.
    """

    value: float | None
    unit: str = ""
    bar: float | None = None
    better: Literal["below", "above"] = "below"
    note: str = ""

    @property
    def meets(self) -> bool | None:
        """Whether the bar is reached; None where there is no bar."""
        if self.bar is None:
            return None
        if self.value is None:
            return False
        return self.value <= self.bar if self.better == "below" else self.value >= self.bar


def parser(description: str) -> argparse.ArgumentParser:
    """A command line with the options that all benchmarks share."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    return made


def publish(name: str, figures: Mapping[str, Figure], as_json: bool) -> None:
    """Print the figures on standard output."""
    if as_json:
        described = {
            key: {**{k: v for k, v in asdict(f).items() if k != "better"}, "meets": f.meets}
            for key, f in figures.items()
        }
        print(json.dumps({"name": name, "figures": described, "machine": machine(), "versions": versions()}))
        return
    width = max(len(key) for key in figures)
    for key, figure in figures.items():
        value = "not measured" if figure.value is None else f"{figure.value:.4g}"
        bar = "" if figure.bar is None else f"{'<=' if figure.better == 'below' else '>='} {figure.bar:g}"
        verdict = {None: "", True: "met", False: "NOT MET"}[figure.meets]
        print(f"{key:{width}}  {value:>12} {figure.unit:12} {bar:>12}  {verdict:8} {figure.note}".rstrip())


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    import jax

    devices = jax.devices()
    return {
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "devices": [f"{len(devices)} x {devices[0].device_kind}"],
    }


def versions() -> dict[str, str]:
    """Versions of what the figures depend on."""
    names = ("biomechgpt-jax", "jax", "jaxlib", "flax", "numpy", "scipy")
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in names}
