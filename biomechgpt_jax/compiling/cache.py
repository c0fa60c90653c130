"""The persistent compilation cache: programs that one process has compiled are loaded by the next one."""

import os
from pathlib import Path


def keep(run: Path | None = None) -> None:
    """Set jax's cache directory through the environment; must be called before jax is imported, which reads it then.

    A directory that the environment already names takes precedence. Without a writable directory nothing is cached.

    Args:
        run: working directory of the run to which the programs belong; if it is None or cannot be written, the user's
            own cache is used.
    """
    places = [personal()] if run is None else [run / "compiled", personal()]
    chosen = next((place for place in places if place is not None and _writable(place)), None)
    if chosen is not None:
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(chosen))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")


def personal() -> Path | None:
    """The user's own cache, $XDG_CACHE_HOME/biomechgpt/compiled, by default below ~/.cache; None without a home."""
    try:
        parent = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        return None
    return parent / "biomechgpt" / "compiled"


def _writable(directory: Path) -> bool:
    """Whether a directory can be written or created."""
    nearest = next(place for place in (directory, *directory.absolute().parents) if place.exists())
    return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)
