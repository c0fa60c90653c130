"""Damaged motion files: each is read or refused with a reason; none crashes, hangs or eats the memory.

    python benchmarks/formats.py [--mutants 10000] [--data ../shared/data] [--json]

Copies of small real files, and of archives written here, are damaged at random (bits flipped, blocks removed, doubled
or filled with noise, numbers made huge, numbers and words of text exchanged) and read in worker processes that are
replaced when they die. Archives keep check sums, by which damage to their bytes is told before any array is looked at:
half of their damage is done to the arrays. Markers are read without inverse kinematics, which sees only what the reader
let through.
"""

import io
import multiprocessing
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from figures import Figure, parser, publish

WORKERS = 2
LIMIT_S = 10.0
LIMIT_MB = 1024
# Beginning of each real file that is used: enough to be read, few enough to be quick.
TEXT_LINES = 80
# Files by share of the mutants; a share of a family is divided among its files.
SHARES = {".mot": 0.30, ".trc": 0.22, ".c3d": 0.23, ".npz": 0.15, ".bvh": 0.07, ".b3d": 0.03}
LARGEST = {".c3d": 340_000, ".b3d": 2_500_000}
NUMBERS = (np.nan, np.inf, -np.inf, 1e300, -1e300, 1e39, 1e-300, 0.0, -1.0, 2.0**63)
KINDS = ("c8", "i8", "f2", "?", "U8", "S4", "M8[s]", "m8[s]", "g")
SHAPES = ((0,), (0, 40), (2, 0), (1, 40), (), (3, 40, 1))
WORDS = ("nan", "inf", "-1e300", "1e-300", "", "0", "99999999999", "-7", "1,5", "x", "\t", "inDegrees=yes", "endheader")


@dataclass
class Tally:
    """What became of the mutants of one family."""

    outcomes: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    largest_mb: float = 0.0
    failures: list[str] = field(default_factory=list)


def samples(data: Path, scratch: Path) -> dict[str, list[bytes]]:
    """Contents of sample files by ending."""
    from biomechgpt_jax import formats
    from biomechgpt_jax.formats import npz

    found: dict[str, list[bytes]] = defaultdict(list)
    for path in sorted(data.rglob("*")):
        ending = path.suffix.lower()
        if not path.is_file() or ending not in formats.READABLE or path.stat().st_size > LARGEST.get(ending, 2**20):
            continue
        raw = path.read_bytes()
        if ending in (".mot", ".trc"):
            raw = _short_table(raw)
        elif ending == ".bvh":
            raw = _short_bvh(raw)
        found[ending].append(raw)
    time_s = np.arange(40)[:, None] / 100
    waves = (0.3 * np.sin(7 * time_s + np.arange(40))).astype(np.float32)
    path = scratch / "sample.npz"
    from biomechgpt_jax.biomechanics.trajectory import Trajectory

    npz.write(path, Trajectory(waves, np.ones(40, bool), 100.0))
    found[".npz"].append(path.read_bytes())
    for arrays in (
        {"qpos": waves, "fps": 100.0},
        {"poses": 0.2 * np.tile(waves, 2)[:, :72], "trans": waves[:, :3], "fps": 60},
    ):
        np.savez(path, allow_pickle=False, **arrays)
        found[".npz"].append(path.read_bytes())
    return dict(found)


def _short_table(raw: bytes) -> bytes:
    """The first rows, and a header that says how many they are."""
    lines = raw.split(b"\n")[:TEXT_LINES]
    head = next((i for i, line in enumerate(lines) if line.lower().startswith((b"endheader", b"frame#"))), 0)
    rows = len([line for line in lines[head + 1 :] if line.strip()])
    lines = [re.sub(rb"(?i)(nrows\s*=\s*|datarows\s+)\d+", rb"\g<1>%d" % (rows - 1), line) for line in lines]
    return b"\n".join(lines)


def _short_bvh(raw: bytes) -> bytes:
    head, _, motion = raw.partition(b"MOTION")
    rows = motion.strip().split(b"\n")
    frames = rows[2:42]
    return head + b"MOTION\nFrames: %d\n" % len(frames) + rows[1] + b"\n" + b"\n".join(frames) + b"\n"


def mutated(raw: bytes, rng: random.Random, text: bool) -> bytes:
    """One to four kinds of damage."""
    data = bytearray(raw)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at = rng.randrange(max(1, len(data)))
        # Headers decide what is read: half of the damage is done there.
        if rng.random() < 0.5:
            at = rng.randrange(max(1, min(len(data), 1024)))
        length = int(2 ** rng.uniform(0, 10))
        kind = rng.randrange(8)
        if kind == 0:
            for _ in range(rng.choice((1, 3, 20))):
                place = min(len(data) - 1, max(0, at + rng.randrange(-64, 64)))
                if data:
                    data[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del data[at:]
        elif kind == 2:
            del data[at : at + length]
        elif kind == 3:
            data[at:at] = data[at : at + length] * rng.choice((1, 2, 50))
        elif kind == 4:
            data[at : at + length] = bytes(rng.randrange(256) for _ in range(min(length, 64)))
        elif kind == 5:
            data[at : at + 2] = rng.choice((b"\xff\xff", b"\x00\x00", b"\xff\x7f", b"\x00\x80"))
        elif text:
            _exchange(data, rng)
        else:
            data[at : at + 4] = rng.choice((b"\xff\xff\x7f\x7f", b"\x00\x00\xc0\x7f", b"\x00\x00\x80\xff", b"\x00" * 4))
    return bytes(data)


def damaged(ending: str, raws: list[bytes], rng: random.Random) -> bytes:
    """A damaged copy of one of the samples of a family."""
    raw = rng.choice(raws)
    if ending == ".npz" and rng.random() < 0.5:
        return _mutated_arrays(raw, rng)
    return mutated(raw, rng, ending in (".mot", ".trc", ".bvh"))


def _mutated_arrays(raw: bytes, rng: random.Random) -> bytes:
    """A sound archive whose arrays have other values, types, shapes or names."""
    with np.load(io.BytesIO(raw), allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    for _ in range(rng.choice((1, 1, 2, 3))):
        name = rng.choice(sorted(arrays) or ["fps"])
        values = arrays.get(name, np.zeros(1))
        kind = rng.randrange(8)
        number, with_numbers = rng.choice(NUMBERS), values.dtype.kind in "iufb"
        if kind == 0 and with_numbers and values.size:
            arrays[name] = values.astype(np.float64)
            arrays[name].flat[rng.randrange(values.size)] = number
        elif kind == 1 and with_numbers:
            with np.errstate(all="ignore"):
                arrays[name] = values.astype(np.float64) * number
        elif kind == 2 and with_numbers:
            with np.errstate(all="ignore"):
                arrays[name] = values.astype("i8").astype(rng.choice(KINDS))
        elif kind == 3:
            arrays[name] = np.zeros(rng.choice(SHAPES))
        elif kind == 4:
            arrays[name] = rng.choice((values.T, values[..., None], values[..., ::2] if values.ndim else values))
        elif kind == 5:
            arrays[name] = values[: rng.randrange(3)] if values.ndim else values
        elif kind == 6:
            arrays.pop(name, None)
        else:
            other = rng.choice(("names", "joint_names", "observed", "rate_hz", "coordinates", "qpos", "a\nb"))
            arrays[other] = rng.choice((values, np.array(["x"] * 40), np.array("a"), np.array(1j), np.array([])))
    made = io.BytesIO()
    np.savez(made, allow_pickle=False, **arrays)
    return made.getvalue()


def _exchange(data: bytearray, rng: random.Random) -> None:
    """Put a word in the place of another."""
    words = list(re.finditer(rb"[^\s,=]+", bytes(data[: rng.choice((600, 600, len(data)))])))
    if words:
        word = rng.choice(words)
        data[word.start() : word.end()] = rng.choice(WORDS).encode()


def _serve(connection) -> None:  # type: ignore[no-untyped-def]
    """Read the files whose paths arrive, and answer with what became of each."""
    from biomechgpt_jax import formats
    from biomechgpt_jax.errors import InputError

    while True:
        path = connection.recv()
        begin = time.perf_counter()
        try:
            if Path(path).suffix in formats.MARKERS:
                found = formats.read_markers(path)
                # NaN is a marker that was not seen.
                seen = np.isfinite(found.positions)
                sound = seen.any() and not np.isinf(found.positions).any() and np.isfinite(found.rate_hz)
            else:
                read = formats.read(path)
                sound = np.isfinite(read.coordinates).all() and np.isfinite(read.rate_hz)
            outcome = "read" if sound else "read, but not finite"
        except InputError as error:
            outcome = "refused" if "\n" not in str(error) and str(error) else f"refused in several lines: {error!r}"
        except BaseException as error:
            outcome = f"{type(error).__name__}: {error}"
        # Of this process and of the largest one that it started: an upper bound of both at once.
        peak_mb = (
            sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1024
        )
        connection.send((outcome, time.perf_counter() - begin, peak_mb))


class Worker:
    """A process that reads; replaced when it dies or does not answer."""

    def __init__(self) -> None:
        self._process: multiprocessing.Process | None = None

    def read(self, path: str) -> tuple[str, float, float]:
        """(outcome, seconds, megabytes of the peak since the start of the process)."""
        if self._process is None or not self._process.is_alive():
            self._start()
        self._connection.send(path)
        try:
            if not self._connection.poll(LIMIT_S):
                self.stop()
                return "hang", LIMIT_S, 0.0
            outcome, seconds, peak_mb = self._connection.recv()
        except (EOFError, ConnectionResetError):
            self.stop()
            return "crash", 0.0, 0.0
        grown = peak_mb - self._peak_mb
        if grown > LIMIT_MB:  # the peak never falls: the next file gets a process that has not seen this one
            self.stop()
        return outcome, seconds, grown

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        self._peak_mb = 0.0
        self._connection.send("warm-up.mot")  # imports, which are not timed
        self._connection.poll(120)
        self._peak_mb = self._connection.recv()[2]

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None


def jobs(found: dict[str, list[bytes]], mutants: int) -> Iterator[tuple[str, int]]:
    """(ending, number) of every mutant, one family after the other."""
    whole = sum(SHARES[ending] for ending in found)
    for ending in sorted(found):
        yield from ((ending, number) for number in range(round(mutants * SHARES[ending] / whole)))


def attack(found: dict[str, list[bytes]], mutants: int, seed: int, scratch: Path) -> dict[str, Tally]:
    """Read every mutant and count what became of it."""
    tallies = {ending: Tally() for ending in found}
    every = list(jobs(found, mutants))

    def work(part: int) -> None:
        worker, family = Worker(), ""
        for ending, number in every[part::WORKERS]:
            if ending != family:  # the peak of a process never falls: each family has its own
                worker.stop()
                family = ending
            rng = random.Random(f"{seed}{ending}{number}")
            path = scratch / f"mutant{part}{ending}"
            path.write_bytes(damaged(ending, found[ending], rng))
            outcome, seconds, grown = worker.read(str(path))
            tally = tallies[ending]
            if grown > LIMIT_MB:
                outcome = f"{grown:.0f} MB"
            kind = outcome if outcome in ("read", "refused") else "failed"
            tally.outcomes[kind] += 1
            tally.slowest_s, tally.largest_mb = max(tally.slowest_s, seconds), max(tally.largest_mb, grown)
            if kind == "failed":
                tally.failures.append(f"{ending} {number}: {outcome}")
        worker.stop()

    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(work, range(WORKERS)))
    return tallies


def through_the_command_line(found: dict[str, list[bytes]], count: int, seed: int, scratch: Path) -> list[str]:
    """Mutants for which `inspect` does not exit with 0, or with 2 and one line."""
    wrong = []
    for number in range(count):
        rng = random.Random(f"{seed} command {number}")
        ending = (".mot", ".npz")[number % 2]
        path = scratch / f"inspected{ending}"
        path.write_bytes(damaged(ending, found[ending], rng))
        command = [sys.executable, "-m", "biomechgpt_jax", "inspect", str(path), "--json"]
        said = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"JAX_PLATFORMS": "cpu"})
        if said.returncode not in (0, 2) or (said.returncode == 2 and len(said.stderr.strip().splitlines()) != 1):
            wrong.append(f"{ending} {number}: exit {said.returncode}: {said.stderr.strip().splitlines()[-1:]}")
    return wrong


def main() -> None:
    """Attack, count and print."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--mutants", type=int, default=10_000)
    arguments.add_argument("--commands", type=int, default=20)
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--data", type=Path, default=Path("../shared/data"))
    options = arguments.parse_args()
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        found = samples(options.data, scratch)
        tallies = attack(found, options.mutants, options.seed, scratch)
        wrong = through_the_command_line(found, options.commands, options.seed, scratch)
    for failure in [line for tally in tallies.values() for line in tally.failures] + wrong:
        print(failure, file=sys.stderr)
    figures: dict[str, Figure] = {}
    for ending, tally in tallies.items():
        counted = tally.outcomes
        note = f"{counted['read']} read, {counted['refused']} refused, of {len(found[ending])} files"
        figures[f"{ending}: neither read nor refused"] = Figure(counted["failed"], "files", 0, note=note)
        figures[f"{ending}: slowest"] = Figure(tally.slowest_s, "s", LIMIT_S)
        figures[f"{ending}: most memory"] = Figure(tally.largest_mb, "MB", LIMIT_MB)
    figures["all mutants"] = Figure(sum(tally.outcomes.total() for tally in tallies.values()), "files")
    figures["command line: exit code neither 0 nor 2"] = Figure(len(wrong), "files", 0, note=f"of {options.commands}")
    publish("formats", figures, options.json)


if __name__ == "__main__":
    main()
