"""Damages to small folders of pretrained weights, which every import must refuse.

Each damage is wrong whatever its random choice: a change that leaves a valid folder would not be one. Tests take some
of them, `pretrained.py` a thousand.
"""

import contextlib
import io
import json
import os
import pickle
import random
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import config_mutations
from small_folders import CANARY, FAMILIES, Damage, load_whole

from biomechgpt_jax import cli
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.pretrained import description
from biomechgpt_jax.pretrained.folder import CONFIG, INDEX

# The header


def _length(damage: Damage) -> None:
    path = damage.weights
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    wrong = damage.rng.choice([0, 1, length - 1, length + 1, length // 2, len(data), 2**31, 2**63, 2**64 - 1])
    path.write_bytes(struct.pack("<Q", wrong) + data[8:])


def _byte(damage: Damage) -> None:
    path = damage.weights
    data = bytearray(path.read_bytes())
    (length,) = struct.unpack("<Q", data[:8])
    places = [place for place in range(8, 8 + length) if not chr(data[place]).isspace()]
    place = damage.rng.choice(places)
    others = [byte for byte in range(33, 256) if byte != data[place]]
    data[place] = damage.rng.choice(others)
    path.write_bytes(data)


def _twice_in_header(damage: Damage) -> None:
    def change(entries: dict[str, Any]) -> str:
        name = damage.rng.choice(sorted(entries))
        text = json.dumps(entries)
        return f"{text[:-1]}, {json.dumps(name)}: {json.dumps(entries[name])}}}"

    damage.header(change)


def _dtype(damage: Damage) -> None:
    wrong = ["F64", "F8_E4M3", "F8_E5M2", "I64", "I8", "U8", "BOOL", "f32", "", None, 32, ["F32"], {"F32": 1}]
    damage.entry(lambda entry: entry.update(dtype=damage.rng.choice(wrong)))


def _shape(damage: Damage) -> None:
    def change(entry: dict[str, Any]) -> None:
        shape = entry["shape"]
        wrong: list[Any] = [[-size for size in shape], [0, *shape[1:]], [*shape, 2], [*shape[:-1], shape[-1] + 1]]
        wrong += [[float(size) for size in shape], [str(size) for size in shape], [True, *shape], None, 7, "24"]
        wrong += [[2**63, *shape[1:]], [shape], [10**4000, *shape], [*shape[:-1], 2**40]]
        entry["shape"] = damage.rng.choice(wrong)

    damage.entry(change)


def _offsets(damage: Damage) -> None:
    def change(entry: dict[str, Any]) -> None:
        begin, end = entry["data_offsets"]
        wrong: list[Any] = [
            [begin + 4, end + 4],
            [begin, end + 4],
            [begin, end - 4],
            [end, begin],
            [-4, end],
            [end, end],
        ]
        wrong += [[float(begin), float(end)], [begin], [begin, end, end], None, "0", [begin + 2**62, end + 2**62]]
        entry["data_offsets"] = damage.rng.choice(wrong)

    damage.entry(change)


def _entry(damage: Damage) -> None:
    def change(entry: dict[str, Any]) -> None:
        if damage.rng.random() < 0.5:
            entry["compression"] = "zip"
        else:
            del entry[damage.rng.choice(sorted(entry))]

    damage.entry(change)


def _no_entry(damage: Damage) -> None:
    def change(entries: dict[str, Any]) -> None:
        entries[damage.rng.choice(sorted(entries))] = damage.rng.choice([None, [], 1, "F32"])

    damage.header(change)


def _metadata(damage: Damage) -> None:
    wrong = [[], "pt", {"format": 1}, {"format": None}, {"format": {"a": "b"}}, 3]
    damage.header(lambda entries: entries.update(__metadata__=damage.rng.choice(wrong)))


def _deep_header(damage: Damage) -> None:
    depth = damage.rng.choice([2_000, 100_000])
    damage.header(lambda entries: json.dumps(entries)[:-1] + ', "x": ' + "[" * depth + "]" * depth + "}")


def _no_json(damage: Damage) -> None:
    damage.header(lambda entries: damage.rng.choice(["[]", "null", "{}", "{", '{"a": NaN}', " {}", "\x00\x01", '"{}"']))


# The file


def _cut(damage: Damage) -> None:
    path = damage.weights
    data = path.read_bytes()
    path.write_bytes(data[: damage.rng.randrange(len(data))])


def _trailing(damage: Damage) -> None:
    path = damage.weights
    path.write_bytes(path.read_bytes() + bytes(damage.rng.randint(1, 64)))


def _gone(damage: Damage) -> None:
    damage.weights.unlink()


def _a_directory(damage: Damage) -> None:
    path = damage.weights
    path.unlink()
    path.mkdir()


def _link_outside(damage: Damage) -> None:
    path = damage.rng.choice([damage.weights, damage.directory / CONFIG])
    outside = damage.directory.with_name(f"{damage.directory.name}-{path.name}")
    path.rename(outside)
    path.symlink_to(outside)


def _link_to_itself(damage: Damage) -> None:
    path = damage.weights
    path.unlink()
    path.symlink_to(path)


def _pickles(damage: Damage) -> None:
    for path in damage.directory.glob("model*"):
        path.unlink()
    name = damage.rng.choice(["pytorch_model.bin", "model.pt", "weights.pkl"])
    (damage.directory / name).write_bytes(pickle.dumps(_Bomb(str(damage.directory / CANARY))))


class _Bomb:
    """Leaves a file where it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.path,)


# The index


def _outside(damage: Damage) -> None:
    wrong = ["../model.safetensors", "/etc/passwd", "sub/model.safetensors", "model.bin", "", ".", 3, None, ["a"]]
    wrong += ["..\\model.safetensors", "model-00009-of-00002.safetensors", "a\x00.safetensors", "\ud800.safetensors"]
    damage.index(lambda entries: entries.update({damage.rng.choice(sorted(entries)): damage.rng.choice(wrong)}))


def _forgotten(damage: Damage) -> None:
    damage.index(lambda entries: entries.pop(damage.rng.choice(sorted(entries))) and None)


def _too_many(damage: Damage) -> None:
    damage.index(lambda entries: entries.update({"model.layers.9.mlp.up_proj.weight": min(entries.values())}))


def _exchanged(damage: Damage) -> None:
    def change(entries: dict[str, Any]) -> None:
        name = damage.rng.choice(sorted(entries))
        entries[name] = next(file for file in entries.values() if file != entries[name])

    damage.index(change)


def _no_index(damage: Damage) -> None:
    damage.write(INDEX, damage.rng.choice(["{}", "[]", "", '{"weight_map": []}', '{"weight_map": {}}', "null", "{"]))


def _unnamed_file(damage: Damage) -> None:
    shutil.copy(damage.weights, damage.directory / "adapter.safetensors")


# Names of tensors


def _renamed(damage: Damage) -> None:
    def change(entries: dict[str, Any]) -> None:
        name = damage.rng.choice(sorted(entries))
        entries[damage.rng.choice([f"{name}.bias", name.upper(), f"transformer.{name}", name[:-1]])] = entries.pop(name)

    _everywhere(damage, change)


def _dropped(damage: Damage) -> None:
    """A tensor that neither the index nor a file has, all else being right."""
    path = damage.weights
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    entries = json.loads(data[8 : 8 + length])
    last = max(entries, key=lambda name: entries[name]["data_offsets"][1])
    begin = entries.pop(last)["data_offsets"][0]
    text = json.dumps(entries).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :][:begin])
    damage.index(lambda names: names.pop(last) and None)


def _transposed(damage: Damage) -> None:
    def change(entries: dict[str, Any]) -> None:
        oblong = [name for name, entry in entries.items() if len(set(entry["shape"])) > 1]
        entry = entries[damage.rng.choice(oblong)]
        entry["shape"] = entry["shape"][::-1]

    damage.header(change)


def _everywhere(damage: Damage, change: Callable[[dict[str, Any]], None]) -> None:
    """Change names in a file, and the index so that it agrees."""
    before: set[str] = set()
    after: set[str] = set()

    def both(entries: dict[str, Any]) -> None:
        before.update(entries)
        change(entries)
        after.update(entries)

    damage.header(both)

    def follow(entries: dict[str, Any]) -> None:
        for old, new in zip(sorted(before - after), sorted(after - before), strict=True):
            entries[new] = entries.pop(old)

    damage.index(follow)


# Weights


def _not_finite(damage: Damage) -> None:
    path = damage.weights
    data = bytearray(path.read_bytes())
    (length,) = struct.unpack("<Q", data[:8])
    bad = damage.rng.choice([float("nan"), float("inf"), float("-inf")])
    place = 8 + length + 4 * damage.rng.randrange((len(data) - 8 - length) // 4)
    data[place : place + 4] = struct.pack("<f", bad)
    path.write_bytes(data)


DAMAGES: tuple[Callable[[Damage], None], ...] = (
    *(_length, _byte, _twice_in_header, _dtype, _shape, _offsets, _entry, _no_entry, _metadata, _deep_header, _no_json),
    *(_cut, _trailing, _gone, _a_directory, _link_outside, _link_to_itself, _pickles),
    *(_outside, _forgotten, _too_many, _exchanged, _no_index, _unnamed_file),
    *(_renamed, _dropped, _transposed),
    *config_mutations.DAMAGES,
    _not_finite,
)


def damaged(number: int, whole: Path, directory: Path) -> str:
    """Make damage `number` of a folder in `directory`, which is to be new; returns its name.

    Args:
        number: chooses the damage and all that is random in it.
        whole: holds the folders of `write_folder`, one a family.
        directory: to write.
    """
    rng = random.Random(number)
    family = rng.choice(sorted(FAMILIES))
    shutil.copytree(whole / family, directory)
    change = DAMAGES[number % len(DAMAGES)]
    change(Damage(directory, rng))
    return f"{change.__name__[1:]} of {family}"


def fault(directory: Path) -> str:
    """What is wrong with how a damaged folder is refused; empty if it is refused as it must be.

    `inspect` has to end with code 2 and one line, or, where only weights are wrong, loading them has to raise; nothing
    may be executed or written.
    """
    before = sorted(path.name for path in directory.iterdir())
    printed, said = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(said):
            code = cli.main(["inspect", str(directory)])
        line = said.getvalue()
        if code == 0:
            printed, code, line = io.StringIO(), *_load(directory)
    except Exception as error:
        return f"raised {type(error).__name__}: {error}"
    if code != 2:
        return f"ended with {code}: {line!r}"
    if line.count("\n") != 1 or not line.endswith("\n") or printed.getvalue():
        return f"said {line!r} and printed {printed.getvalue()!r}"
    after = sorted(path.name for path in directory.iterdir())
    return "" if after == before else f"left {set(after) ^ set(before)}"


def _load(directory: Path) -> tuple[int, str]:
    try:
        found, described, _ = description.opened(directory)
        load_whole(found, described)
    except InputError as error:
        return 2, f"{' '.join(str(error).split())}\n"
    return 0, ""
