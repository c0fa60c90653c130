"""What a report was made with."""

import importlib.metadata
import platform
from collections.abc import Mapping

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
