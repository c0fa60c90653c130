"""A motion codec on disk: `codec.npz` holds its arrays and `codec.json`, written last, their digest."""

import dataclasses
import hashlib
import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from biomechgpt_jax import config
from biomechgpt_jax.biomechanics import features as features_lib
from biomechgpt_jax.biomechanics.skeleton import COORDINATES
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.files import write_atomically, write_text

ARRAYS_FILE, DESCRIPTION_FILE = "codec.npz", "codec.json"
REMEDY = "make it again with `biomechgpt tokenizer`"
# The fields of the configuration that decide what a token means; the others only say how the codec was trained.
_NETWORK = ("quantizer", "levels", "codebooks", "codebook_size", "code_size", "width", "depth", "stride")
_MEANING = {"fsq": _NETWORK, "vq": _NETWORK, "dct": ("quantizer", "codebooks", "codebook_size", "dct_frames")}

Arrays = Mapping[str, np.ndarray]


def digest(cfg: config.Tokenizer, arrays: Arrays) -> str:
    """SHA-256 hex over everything that decides what a token means."""
    meaning = {name: getattr(cfg, name) for name in _MEANING[cfg.quantizer]}
    head = json.dumps([meaning, COORDINATES, features_lib.FEATURES, config.CANONICAL_RATE_HZ])
    state = hashlib.sha256(head.encode())
    for name in sorted(arrays):
        state.update(f"{name} {arrays[name].dtype.str} {arrays[name].shape}".encode())
        state.update(np.ascontiguousarray(arrays[name]).tobytes())
    return state.hexdigest()


def write(directory: Path | str, cfg: config.Tokenizer, arrays: Arrays) -> None:
    """Write both files, the description last."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    with write_atomically(directory / ARRAYS_FILE) as file:
        np.savez(file, allow_pickle=False, **arrays)
    description = {
        "digest": digest(cfg, arrays),
        "config": dataclasses.asdict(cfg),
        "coordinates": COORDINATES,
        "rate_hz": config.CANONICAL_RATE_HZ,
    }
    # Not `files.write_json`, which has no infinity: `read` must get back the same numbers.
    write_text(directory / DESCRIPTION_FILE, json.dumps(description, indent=1) + "\n")


@contextmanager
def refuse_damage(directory: Path | str) -> Iterator[None]:
    """Turn any error of reading a codec into one clear line.

    Raises:
        InputError: in place of the errors of a missing or damaged file.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(f"{error.filename}: no motion codec here; {REMEDY}") from error
    except (OSError, ValueError, TypeError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{directory}: the motion codec is damaged ({reason}); {REMEDY}") from error


def read(directory: Path | str) -> tuple[config.Tokenizer, dict[str, np.ndarray]]:
    """Configuration and arrays that `write` wrote; call it within `refuse_damage`.

    Raises:
        InputError: they do not match the digest, or belong to other coordinates.
    """
    directory = Path(directory)
    description = json.loads((directory / DESCRIPTION_FILE).read_text())
    wanted = description["digest"]
    fields = dict(description["config"])
    cfg = config.Tokenizer(**(fields | {"levels": tuple(fields["levels"])}))
    if tuple(description["coordinates"]) != COORDINATES:
        raise InputError(
            f"{directory / DESCRIPTION_FILE}: its coordinates are not those of this version in their order; {REMEDY}"
        )
    with np.load(directory / ARRAYS_FILE, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    actual = digest(cfg, arrays)
    if actual != wanted:
        raise InputError(f"{directory}: the codec has digest {actual}, its description says {wanted}; {REMEDY}")
    return cfg, arrays
