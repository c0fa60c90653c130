"""Pretrained weights: real models against transformers, and damaged folders.

    python benchmarks/pretrained.py [--only real damages] [--folders DIR] [--damages 1000] [--json]
    python benchmarks/pretrained.py --make-truth [--folders DIR]

`--folders` holds what `biomechgpt model-folder` writes, smollm2 and gemma3-270m; what is not there is made in a
temporary folder if its packages are installed, and said to be missing otherwise. `--make-truth` computes the figures
that tests compare with, and needs PyTorch and transformers.
"""

import shutil
import tempfile
import time
from pathlib import Path

import folder_mutations
import real_models
import small_folders
from figures import Figure, parser, publish

from biomechgpt_jax.pretrained import gguf

LOGITS, LIKELIHOOD = 2e-4, 1e-4  # bars
ROWS = ("real", "damages")


def folder_of(which: str, given: Path, scratch: Path) -> Path | None:
    """The folder of a real model, made if that is possible."""
    if (given / which).is_dir():
        return given / which
    if gguf.is_installed(which):
        gguf.write_folder(which, scratch / which)
        return scratch / which
    return None


def real(folders: dict[str, Path | None]) -> dict[str, Figure]:
    """Both models against their stored figures."""
    found = {}
    for which, folder in folders.items():
        if folder is None:
            missing = f"weights are missing: {gguf.SOURCES[which].command}"
            found[f"{which}, logits"] = Figure(None, bar=LOGITS, note=missing)
            continue
        apart = real_models.compare(folder, which)
        found[f"{which}, logits"] = Figure(apart.logits, bar=LOGITS, note="largest difference from transformers, f32")
        found[f"{which}, argmax"] = Figure(float(apart.argmax), "positions", 0.0, note="at which another id is first")
        found[f"{which}, likelihood"] = Figure(apart.likelihood, "nats", LIKELIHOOD)
        found[f"{which}, greedy"] = Figure(float(apart.greedy), "ids", real_models.ADDED, "above", "the same")
    return found


def damages(count: int, scratch: Path) -> dict[str, Figure]:
    """Folders that must be refused, and are not as they should be."""
    start, faults = time.perf_counter(), []
    for family in small_folders.FAMILIES:
        small_folders.write_folder(scratch / "whole" / family, family)
    for number in range(count):
        directory = scratch / f"damage{number}"
        name = folder_mutations.damaged(number, scratch / "whole", directory)
        if fault := folder_mutations.fault(directory):
            faults.append(f"{number}, {name}: {fault}")
        shutil.rmtree(directory)
    seconds = time.perf_counter() - start
    note = "; ".join(faults[:3]) or f"{count} kinds and places of damage in {seconds:.0f} s, each refused in one line"
    return {"damaged folders not refused": Figure(float(len(faults)), f"of {count}", 0.0, note=note)}


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--only", nargs="+", choices=ROWS, default=list(ROWS))
    options.add_argument("--folders", type=Path, default=Path("runs"))
    options.add_argument("--damages", type=int, default=1000)
    options.add_argument("--make-truth", action="store_true")
    given = options.parse_args()
    figures: dict[str, Figure] = {}
    with tempfile.TemporaryDirectory() as scratch:
        if given.make_truth or "real" in given.only:
            folders = {which: folder_of(which, given.folders, Path(scratch)) for which in gguf.SOURCES}
        if given.make_truth:
            for which, folder in folders.items():
                if folder is not None:
                    real_models.make_truth(folder, which)
            return 0
        if "real" in given.only:
            figures |= real(folders)
        if "damages" in given.only:
            figures |= damages(given.damages, Path(scratch))
    publish("pretrained", figures, given.json)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
