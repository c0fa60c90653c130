"""The house: which room may import which, and how large rooms and files may grow."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "biomechgpt_jax"
LARGEST_ROOM, LONGEST_FILE = 16, 400

# From the ground up: a room imports from itself and from the rooms above it in this list, and from no other.
ROOMS = (
    "errors",
    "config",
    "files",
    "progress",
    "overrides",
    "provenance",
    "biomechanics",
    "biomechanics.fitting",
    "biomechanics.gait",
    "biomechanics.scores",
    "formats.parsing",
    "formats",
    "cohort.people",
    "cohort.etiologies",
    "cohort.footing",
    "cohort.activities",
    "cohort",
    "questions",
    "parallel",
    "codec",
    "tokenizer",
    "data",
    "packing",
    "model.attention",
    "model",
    "pretrained",
    "training",
    "tasks",
    "answering",
    "calibration",
    "evaluation",
    "evaluation.codec",
    "compiling",
    "reports",
    "reports.scaling",
    "workdir",
    "scaling",
    "stages",
    "pipeline",
    "arguments",
    "cli",
    "__main__",
)


def modules() -> dict[str, Path]:
    """Dotted name of every module below the package -> its file."""
    found = {}
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        parts = path.relative_to(ROOT / PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def room_of(module: str) -> str:
    """The room of a module: the longest name of the list that it begins with; empty for the package itself."""
    if not module:
        return ""
    inside = [room for room in ROOMS if module == room or module.startswith(f"{room}.")]
    assert inside, f"{module} stands in no room of ROOMS"
    return max(inside, key=len)


def imports(path: Path, known: set[str]) -> set[str]:
    """Modules of the package that a file imports, at its top or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            names = [f"{module}.{alias.name}" for alias in node.names]
            names = [name if name.removeprefix(f"{PACKAGE}.") in known else module for name in names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found |= {name[len(PACKAGE) + 1 :] for name in names if name == PACKAGE or name.startswith(f"{PACKAGE}.")}
    return found


def arrows() -> dict[tuple[str, str], set[str]]:
    """(room, room it imports) -> the modules that do."""
    known = modules()
    found: dict[tuple[str, str], set[str]] = {}
    for module, path in known.items():
        for other in imports(path, set(known)):
            pair = room_of(module), room_of(other)
            if all(pair) and pair[0] != pair[1]:
                found.setdefault(pair, set()).add(f"{module} -> {other}")
    return found


def test_a_room_imports_only_from_rooms_above_it() -> None:
    wrong = [
        arrow
        for (room, other), these in arrows().items()
        if ROOMS.index(other) > ROOMS.index(room)
        for arrow in sorted(these)
    ]
    assert not wrong, "imports of a room further down the list: " + "; ".join(wrong)


def test_the_rule_notices_an_import_against_it() -> None:
    """The check itself: were the list turned upside down, arrows would break it."""
    pairs = arrows()
    assert len(pairs) > 50
    assert any(ROOMS.index(room) < ROOMS.index(other) for other, room in pairs)


@pytest.mark.parametrize("top", [PACKAGE, "tests"])
def test_folders_and_files_stay_small(top: str) -> None:
    files = sorted((ROOT / top).rglob("*.py"))
    sizes: dict[Path, int] = {}
    for path in files:
        sizes[path.parent] = sizes.get(path.parent, 0) + 1
    crowded = {str(folder.relative_to(ROOT)): count for folder, count in sizes.items() if count > LARGEST_ROOM}
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in files}
    long = {name: lines for name, lines in lengths.items() if lines > LONGEST_FILE}
    assert not crowded, f"folders of more than {LARGEST_ROOM} files: {crowded}"
    assert not long, f"files of more than {LONGEST_FILE} lines: {long}"


def test_the_engine_knows_no_task_and_no_model() -> None:
    known = modules()
    for module, path in known.items():
        if room_of(module) == "training":
            rooms = {room_of(other) for other in imports(path, set(known))}
            assert not rooms & {"model", "tasks", "codec", "tokenizer", "packing", "data"}, module
