"""Forecasts on record: stored with hash and time before a run is launched, judged when it is done."""

import datetime
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from biomechgpt_jax import provenance
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.files import clean, write_json
from biomechgpt_jax.scaling.forecast import Forecast
from biomechgpt_jax.scaling.table import Runs

_SAME_BUDGET = 0.05  # measured operations that differ from those forecast by no more are the run that was meant


def record(forecast: Forecast, runs: Runs) -> dict[str, Any]:
    """The forecast as it is stored: what was known, what is forecast by whom, when, and the hash of all that."""
    target, interval = forecast.target, forecast.interval
    content = {
        "made": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "table": runs.source,
        "table_sha256": runs.sha256,
        "rows": len(runs),
        "target": {"flops": target.flops, "params": target.params, "tokens": target.tokens},
        "chosen": forecast.chosen,
        "loss": interval.value,
        "interval95": [interval.low, interval.high],
        "last": {"flops": forecast.last_flops, "loss": forecast.last_loss},
        "forecasters": {
            name: {
                "loss": one.loss,
                "interval95": [one.interval.low, one.interval.high],
                "backtest_rms": one.rms,
                "backtest": [list(error) for error in one.errors],
            }
            for name, one in forecast.forecasters.items()
        },
        "notes": list(forecast.notes),
        "program": provenance.program(),
    }
    content = clean(content)
    return content | {"sha256": digest(content)}


def digest(content: dict[str, Any]) -> str:
    """SHA-256 hex of a record without its own hash."""
    bare = {name: value for name, value in content.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(bare, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def store(path: Path, content: dict[str, Any]) -> None:
    """Write a record; one that is there already stays.

    Raises:
        InputError: there is a file, or none can be written.
    """
    if path.exists():
        raise InputError(f"{path} exists: a forecast that was made is not changed; give another --out")
    write_json(check_place(path), content)


def check_place(path: Path) -> Path:
    """The path, if a file can be written there.

    Raises:
        InputError: it cannot.
    """
    if not path.parent.is_dir():
        raise InputError(f"--out {path}: there is no folder {path.parent}; make it first")
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise InputError(f"--out {path} cannot be written; give a file in a folder that can")
    return path


def load(path: Path) -> dict[str, Any]:
    """Read a record.

    Raises:
        InputError: it is missing, no forecast, or was changed after it was made.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        stored, last = content["sha256"], content["last"]["loss"]
        assert isinstance(stored, str) and isinstance(last, float | int)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; give a file that `scaling forecast --out` wrote") from error
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        raise InputError(f"{path} is no stored forecast; give a file that `scaling forecast --out` wrote") from error
    if digest(content) != stored:
        raise InputError(f"{path} was changed after it was made: its content no longer has the hash {stored[:12]}")
    return content


def measured(content: dict[str, Any], runs: Runs) -> float:
    """The loss that a table has for the target: the lowest of the budget, or that of the run of that size.

    Raises:
        InputError: the table has no such run.
    """
    target = content["target"]
    fits = np.abs(np.log(runs.flops / target["flops"])) < _SAME_BUDGET
    if target["params"] is not None:
        fits &= np.abs(np.log(runs.params / target["params"])) < _SAME_BUDGET
    if not fits.any():
        raise InputError(
            f"{runs.source}: no run of {target['flops']:.3g} operations; its largest has {runs.flops.max():.3g}"
        )
    return float(runs.loss[fits].min())


def judge(content: dict[str, Any], loss: float) -> dict[str, Any]:
    """Hold a stored forecast to the loss that was measured.

    Errors are log(forecast / measured). `share_of_gain` is the error over the gain, log(last known loss / measured): 1
    is as bad as forecasting that nothing changes.

    Raises:
        InputError: the loss is not positive.
    """
    if not (np.isfinite(loss) and loss > 0):
        raise InputError(f"--loss {loss}: give a positive number")
    gain = float(np.log(content["last"]["loss"] / loss))

    def row(one: dict[str, Any]) -> dict[str, Any]:
        error = float(np.log(one["loss"] / loss))
        low, high = one["interval95"]  # None without a backtest
        return {
            "loss": one["loss"],
            "error": error,
            "share_of_gain": abs(error / gain) if gain else None,
            "inside_interval": None if low is None or high is None else low <= loss <= high,
        }

    rows = {name: row(one) for name, one in content["forecasters"].items()}
    own = rows[content["chosen"]]
    return clean(
        {
            "forecast_sha256": content["sha256"],
            "made": content["made"],
            "judged": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "measured": loss,
            "gain": gain,
            "chosen": content["chosen"],
            **own,
            "interval95": content["interval95"],
            "forecasters": rows,
            "beaten_by": [name for name in rows if abs(rows[name]["error"]) < abs(own["error"])],
        }
    )
