"""Training steps compiled for absent accelerators: whether they fit, what they move, and how fast they can be.

    python benchmarks/compile.py [--quick] [--json]

Each compilation runs in its own process (`biomechgpt compile`). The estimates are rooflines; compiling/roofline.py and
parallel/chips.py state their assumptions. Compilation times are those of this machine.
"""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from figures import Figure, parser, publish

from biomechgpt_jax.compiling.collectives import REDUCTIONS

ROOT = Path(__file__).parents[1]
GIB = 2**30
FITS = {"1b on v5e:4x4": ("1b", "v5e:4x4"), "8b on v5p:4x4x4": ("8b", "v5p:4x4x4")}
QUICK = {"1m on v5e:2x2": ("1m", "v5e:2x2")}


# A TPU's compiler may pass shards around a ring and multiply them one by one, each time adding to the whole result in
# memory, instead of gathering them first. This flag prevents that.
GATHER_FIRST = {"LIBTPU_INIT_ARGS": "--xla_jf_spmd_threshold_for_windowed_einsum_mib=1000000"}


def compile_step(size: str, topology: str, *words: str, flags: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The report of `biomechgpt compile`."""
    environment = {**os.environ, **(flags or {})}
    command = [sys.executable, "-m", "biomechgpt_jax", "compile", f"configs/sizes.py:{size}", "--topology", topology]
    command += [*words, "--json"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if not done.stdout:
        raise SystemExit(f"compile of {size} for {topology} failed: {done.stderr.strip()[-500:]}")
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def fit(name: str, size: str, topology: str, flags: Mapping[str, str] | None = None) -> dict[str, Figure]:
    """Figures of one size on one topology."""
    report = compile_step(size, topology, flags=flags)
    memory, estimate = report["memory"], report["estimate"]
    figures = {
        f"{name}: peak memory": Figure(
            None if memory["peak"] is None else memory["peak"] / GIB, "GiB per device", memory["available"] / GIB
        ),
        f"{name}: all-gathers of a whole stack": Figure(len(report["stack_gathers"]), "", 0),
        f"{name}: largest result of an all-gather": Figure(report["largest_gather"] / GIB, "GiB"),
        f"{name}: compilation": Figure(report["compile_s"], "s"),
    }
    if estimate is None:
        return figures
    mesh = ", ".join(f"{axis} {extent}" for axis, extent in report["mesh"].items() if extent > 1)
    note = f"{mesh}; {report['rows']} rows of {report['row_length']}; limited by {estimate['limit']}"
    return figures | {
        f"{name}: roofline MFU, overlapped": Figure(estimate["mfu"], note=note),
        f"{name}: roofline MFU, serial": Figure(estimate["mfu_serial"]),
        f"{name}: step at best": Figure(1000 * estimate["overlapped_s"], "ms"),
        f"{name}: intensity": Figure(
            estimate["intensity"], "FLOP/byte", note=f"the ridge is at {estimate['ridge']:.0f}"
        ),
        **{
            f"{name}: {kind} sent": Figure(total["sent_bytes"] / GIB, "GiB per device")
            for kind, total in report["collectives"].items()
        },
    }


def crossing(size: str, topology: str) -> dict[str, Figure]:
    """Collectives other than reductions that cross from one of two slices to the other."""
    report = compile_step(size, topology, "--num-slices", "2", "--mesh.data", "1", "--mesh.fsdp", "-1")
    others = [kind for kind in report["crossing"] if kind not in REDUCTIONS]
    note = f"between them: {', '.join(report['crossing'])}"
    return {f"{size} on 2 x {topology}: kinds that cross and are no reductions": Figure(len(others), "", 0, note=note)}


def main() -> None:
    """Compile and print."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--quick", action="store_true", help="a small model only: whether it runs")
    options = arguments.parse_args()
    os.environ["JAX_PLATFORMS"] = "cpu"
    cases = QUICK if options.quick else FITS
    if importlib.util.find_spec("libtpu") is None:
        missing = Figure(
            None, "GiB per device", 0, note="libtpu is not installed: pip install 'biomechgpt-jax[tpu-aot]'"
        )
        publish("compile", {f"{name}: peak memory": missing for name in cases}, options.json)
        return
    figures: dict[str, Figure] = {}
    for name, (size, topology) in cases.items():
        figures |= fit(name, size, topology)
    if not options.quick:
        figures |= fit("1b on v5e:4x4, shards gathered first", "1b", "v5e:4x4", GATHER_FIRST)
    figures |= crossing("1m" if options.quick else "1b", "v5e:2x2" if options.quick else "v5e:4x4")
    publish("compile", figures, options.json)


if __name__ == "__main__":
    main()
