"""Compiled programs kept on disk: what one process has compiled, the next one loads."""

import os
from pathlib import Path


def keep(run: Path | None = None) -> None:
    """Name the directory of compiled programs to jax, which reads it when it is imported: call this before.

    What the environment already names goes first. Without a directory that can be written, nothing is kept.

    Args:
        run: working directory of the run that the programs belong to; where it is None or cannot be written, they lie
            in the user's own cache.
    """
    places = [personal()] if run is None else [run / "compiled", personal()]
    chosen = next((place for place in places if place is not None and _writable(place)), None)
    if chosen is not None:
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(chosen))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")


def personal() -> Path | None:
    """The user's own directory: $XDG_CACHE_HOME/biomechgpt/compiled, by default below ~/.cache; None without a home."""
    try:
        above = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        return None
    return above / "biomechgpt" / "compiled"


def _writable(directory: Path) -> bool:
    """Whether a directory can be written, or made."""
    nearest = next(place for place in (directory, *directory.absolute().parents) if place.exists())
    return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)
