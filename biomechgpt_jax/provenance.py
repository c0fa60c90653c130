"""With what something was made: versions of packages, and version and revision of this program."""

import functools
import importlib.metadata
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path

from biomechgpt_jax import __version__


def versions(extra: Mapping[str, str]) -> dict[str, str]:
    """Versions of this program, of Python and of the packages that decide results, with what is added."""
    found = {"biomechgpt_jax": __version__, "Python": platform.python_version()}
    for package in ("jax", "flax", "optax", "scikit-learn"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found | dict(extra)


def program() -> dict[str, str]:
    """Version and revision of this program, as stored beside what it makes: {"version", "git_revision"}."""
    return {"version": __version__, "git_revision": git_revision()}


@functools.cache  # of the source that this process has loaded
def git_revision() -> str:
    """The commit of the program's source, with "+" at its end where files differ from it; empty outside a checkout."""
    where = Path(__file__).parent
    if not _git(where, "ls-files", "--", Path(__file__).name):  # installed inside somebody else's repository
        return ""
    changed = _git(where, "status", "--porcelain", "--untracked-files=no", "--", ".")
    return _git(where, "rev-parse", "HEAD") + "+" * bool(changed)


def _git(where: Path, *words: str) -> str:
    """What git prints; empty where it fails or is not installed."""
    try:
        done = subprocess.run(["git", *words], cwd=where, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
