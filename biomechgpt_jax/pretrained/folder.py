"""A folder of pretrained weights in the format of Hugging Face: its files, and that nothing else is read.

`config.json`, and `model.safetensors` or several files that `model.safetensors.index.json` names. No pickle is read, no
code is run, and no file outside the folder is opened.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biomechgpt_jax.errors import InputError
from biomechgpt_jax.pretrained import safetensors, strict_json
from biomechgpt_jax.pretrained.safetensors import Tensor
from biomechgpt_jax.pretrained.strict_json import shown

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
LARGEST_CONFIG, LARGEST_INDEX, LARGEST_TOKENIZER = 4 * 2**20, 64 * 2**20, 64 * 2**20  # bytes
_TEXT_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
_LICENCES = ("LICENSE*", "LICENCE*", "NOTICE*", "*TERMS*")
_FRONT_MATTER = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)
_NO_LICENCE = "no licence in the folder: see where it came from"


@dataclass(frozen=True)
class Folder:
    """A folder whose files were found and whose headers were checked; no weight has been read.

    Attributes:
        path: absolute.
        facts: config.json.
        tensors: of all files, by name.
        licence: a line about it.
        digest: SHA-256 hex over config.json, the headers and the sizes of the files.
    """

    path: Path
    facts: dict[str, Any]
    tensors: dict[str, Tensor]
    licence: str
    digest: str

    def json(self, name: str, largest: int = LARGEST_CONFIG) -> dict[str, Any]:
        """Another JSON file of the folder; empty where it has none of that name.

        Raises:
            InputError: it is damaged, too large, or lies outside of the folder.
        """
        return strict_json.read(_inside(self.path, name), largest) if _is_there(self.path / name) else {}

    def text(self, name: str, largest: int = LARGEST_CONFIG) -> str | None:
        """Another text file of the folder, None where it has none of that name; errors as those of `json`."""
        if not _is_there(self.path / name):
            return None
        path = _inside(self.path, name)
        try:
            with path.open("rb") as file:
                read = file.read(largest + 1)
            if len(read) > largest:
                raise InputError(f"{path} is larger than {largest} bytes; it is not the file that its name promises")
            return read.decode()
        except (OSError, ValueError) as error:
            raise InputError(f"{path} cannot be read as text ({shown(str(error))}); fetch the file again") from error

    def text_digest(self) -> str:
        """SHA-256 hex over the files that say how text becomes ids."""
        parts = [self.text(name, LARGEST_TOKENIZER) or "" for name in _TEXT_FILES]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def looks_like(path: Path) -> bool:
    """Whether a directory is meant to be such a folder; that of a run has a config.json with other keys."""
    try:
        return path.is_dir() and b'"model_type"' in (path / CONFIG).read_bytes()[:LARGEST_CONFIG]
    except OSError:
        return path.is_dir() and ((path / INDEX).exists() or (path / WEIGHTS).exists())


def open_folder(path: Path) -> Folder:
    """Open a folder of weights.

    Raises:
        InputError: there is no such folder, it lacks a file, a file is damaged or lies outside, the index and the files
            do not agree, or the weights are pickles.
    """
    if not path.is_dir():
        raise InputError(f"{path} is no folder; give one with {CONFIG} and {WEIGHTS}")
    path = path.resolve()
    facts = strict_json.read(_inside(path, CONFIG), LARGEST_CONFIG)
    names = _weight_files(path)
    headers = {name: safetensors.read_header(_inside(path, name)) for name in names}
    tensors: dict[str, Tensor] = {}
    for name, header in headers.items():
        if twice := tensors.keys() & header.tensors.keys():
            raise InputError(f"{path / name} holds tensor {shown(min(twice))}, as does another file; fetch them again")
        tensors |= header.tensors
        _check_index(path, name, names[name], header.tensors)
    parts = [json.dumps(facts, sort_keys=True), *(f"{name} {headers[name].digest}" for name in sorted(headers))]
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    return Folder(path, facts, tensors, _licence(path), digest)


def _weight_files(path: Path) -> dict[str, set[str] | None]:
    """The files of weights; of each the names of the tensors that the index puts there, None without an index."""
    present = {file.name for file in path.iterdir() if file.name.endswith(".safetensors")}
    if _is_there(path / INDEX):
        found = _index(path)
    elif WEIGHTS in present:
        found = {WEIGHTS: None}
    else:
        pickles = sorted(file.name for file in path.iterdir() if file.suffix in _PICKLES)
        if pickles:
            raise InputError(
                f"{path} holds its weights as {pickles[0]}, a pickle, which is not read; convert it to safetensors"
            )
        raise InputError(f"{path} has no {WEIGHTS}; give a folder that has it")
    if extra := present - found.keys():
        source = INDEX if _is_there(path / INDEX) else "the format"
        raise InputError(f"{path / min(extra)} is a file that {source} does not name; take it away")
    if missing := found.keys() - present:
        raise InputError(f"{path} has no {shown(min(missing), quoted=False)}, which {INDEX} names; fetch it")
    return found


def _index(path: Path) -> dict[str, set[str] | None]:
    where = _inside(path, INDEX)
    entries = strict_json.read(where, LARGEST_INDEX).get("weight_map")
    if not isinstance(entries, dict) or not entries:
        raise InputError(f"{where} has no 'weight_map'; fetch the file again")
    found: dict[str, set[str] | None] = {}
    for tensor, name in entries.items():
        if not isinstance(name, str) or not name.endswith(".safetensors") or Path(name).name != name or "\\" in name:
            raise InputError(f"{where} puts tensor {shown(tensor)} into {shown(name)}, which is no file of this folder")
        names = found.setdefault(name, set())
        assert names is not None
        names.add(tensor)
    return found


def _check_index(path: Path, name: str, wanted: set[str] | None, tensors: Mapping[str, Tensor]) -> None:
    if wanted is None or wanted == tensors.keys():
        return
    odd = min(wanted ^ tensors.keys())
    fact = "has no such tensor" if odd in wanted else "holds it all the same"
    says = "puts it there" if odd in wanted else "does not put it there"
    raise InputError(f"tensor {shown(odd)}: {path / INDEX} {says}, and {name} {fact}; fetch both again")


def _is_there(path: Path) -> bool:
    return path.exists() or path.is_symlink()


def _inside(path: Path, name: str) -> Path:
    """The path of a file in the folder; a link that leads out of it, or to no file, is refused."""
    file = path / name
    try:
        inside, is_file = file.resolve().is_relative_to(path), file.is_file()
    except (OSError, RuntimeError):  # a loop of links
        inside, is_file = True, False
    if not inside:
        raise InputError(
            f"{file} is a link to a file outside of the folder; copy the files, such as by `hf download --local-dir`"
        )
    if not is_file:
        raise InputError(f"{file} is missing or no file; give a folder that has it")
    return file


def _licence(path: Path) -> str:
    """The first line of a licence in the folder, or what its README says."""
    for pattern in _LICENCES:
        for file in sorted(path.glob(pattern)):
            if file.is_file() and file.resolve().is_relative_to(path):
                with file.open("rb") as opened:
                    lines = opened.read(2**16).decode(errors="replace").splitlines()
                first = next((line.strip() for line in lines if any(map(str.isalpha, line))), "")
                return f"{file.name}: {shown(first, quoted=False)}"
    readme = path / "README.md"
    if readme.is_file() and readme.resolve().is_relative_to(path):
        with readme.open("rb") as opened:
            front = _FRONT_MATTER.match(opened.read(2**16).decode(errors="replace"))
        words = re.search(r"^license:\s*(\S.*)$", front[1], re.MULTILINE) if front else None
        if words:
            return f"README.md: {shown(words[1].strip(), quoted=False)}"
    return _NO_LICENCE
