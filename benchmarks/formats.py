"""Damaged motion files: each is read or refused with a reason; none crashes, hangs or exhausts the memory.

    python benchmarks/formats.py [--mutants 10000] [--data ../shared/data] [--json]

Copies of small real files, and of files written here for families of which there is none, are damaged at random (bits
flipped; blocks removed, doubled or filled with noise; numbers made huge; numbers and words of text replaced) and read
in worker processes, which are replaced when they die. Archives hold checksums, which reveal damage to their bytes
before any array is read; therefore half of their damage is done to the arrays. Markers are read without inverse
kinematics, which only sees what the reader accepts.
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
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import other_systems
from figures import Figure, parser, publish

WORKERS = 2
LIMIT_S = 10.0
LIMIT_MB = 1024
# Number of lines used from the start of each real file: enough to be readable, few enough to be quick.
TEXT_LINES = 80
# Share of the mutants per family; it is divided among the files of the family.
SHARES = {
    **{".mot": 0.23, ".sto": 0.02, ".trc": 0.20, ".c3d": 0.22, ".npz": 0.12, ".bvh": 0.07, ".b3d": 0.02},
    **{".csv": 0.06, ".mvnx": 0.04, ".npy": 0.02},
}
TEXT = (".mot", ".sto", ".trc", ".bvh", ".csv", ".mvnx")
LARGEST = {".c3d": 340_000, ".b3d": 2_500_000}
NUMBERS = (np.nan, np.inf, -np.inf, 1e300, -1e300, 1e39, 1e-300, 0.0, -1.0, 2.0**63)
KINDS = ("c8", "i8", "f2", "?", "U8", "S4", "M8[s]", "m8[s]", "g")
SHAPES = ((0,), (0, 40), (2, 0), (1, 40), (), (3, 40, 1))
WORDS = ("nan", "inf", "-1e300", "1e-300", "", "0", "99999999999", "-7", "1,5", "x", "\t", "inDegrees=yes", "endheader")


@dataclass
class Tally:
    """Outcomes of the mutants of one family."""

    outcomes: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    largest_mb: float = 0.0
    failures: list[str] = field(default_factory=list)


def samples(data: Path, scratch: Path) -> dict[str, list[bytes]]:
    """Contents of the sample files by extension."""
    from biomechgpt_jax import formats
    from biomechgpt_jax.formats import npz

    contents: dict[str, list[bytes]] = defaultdict(list)
    for path in sorted(data.rglob("*")):
        ending = path.suffix.lower()
        if not path.is_file() or not formats.is_motion(path) or path.stat().st_size > LARGEST.get(ending, 2**20):
            continue
        raw = path.read_bytes()
        if ending in (".mot", ".sto", ".trc"):
            raw = _short_table(raw)
        elif ending == ".bvh":
            raw = _short_bvh(raw)
        contents[ending].append(raw)
    time_s = np.arange(40)[:, None] / 100
    waves = (0.3 * np.sin(7 * time_s + np.arange(40))).astype(np.float32)
    path = scratch / "sample.npz"
    from biomechgpt_jax.biomechanics.trajectory import Trajectory

    npz.write(path, Trajectory(waves, np.ones(40, bool), 100.0))
    contents[".npz"].append(path.read_bytes())
    for arrays in (
        {"qpos": waves, "fps": 100.0},
        {"poses": 0.2 * np.tile(waves, 2)[:, :72], "trans": waves[:, :3], "fps": 60},
    ):
        np.savez(path, allow_pickle=False, **arrays)
        contents[".npz"].append(path.read_bytes())
    for made in other_systems.write(scratch, waves):
        contents[made.suffix].append(made.read_bytes())
    return dict(contents)


def _short_table(raw: bytes) -> bytes:
    """The first rows, with a header that gives their number."""
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


def mutate(raw: bytes, rng: random.Random, text: bool) -> bytes:
    """Apply one to four kinds of damage."""
    data = bytearray(raw)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at = rng.randrange(max(1, len(data)))
        # Headers determine what is read, so half of the damage is done there.
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
            _replace_word(data, rng)
        else:
            data[at : at + 4] = rng.choice((b"\xff\xff\x7f\x7f", b"\x00\x00\xc0\x7f", b"\x00\x00\x80\xff", b"\x00" * 4))
    return bytes(data)


def damage(ending: str, raws: list[bytes], rng: random.Random) -> bytes:
    """A damaged copy of one sample of a family."""
    raw = rng.choice(raws)
    if ending == ".npz" and rng.random() < 0.5:
        return _mutate_arrays(raw, rng)
    return mutate(raw, rng, ending in TEXT)


def _mutate_arrays(raw: bytes, rng: random.Random) -> bytes:
    """A valid archive whose arrays have other values, types, shapes or names."""
    arrays: dict[str, np.ndarray] = {}
    with np.load(io.BytesIO(raw), allow_pickle=False) as stored:
        for name in stored.files:
            with suppress(ValueError):  # AMASS has arrays of objects, which are opened nowhere
                arrays[name] = stored[name]
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
    archive = io.BytesIO()
    np.savez(archive, allow_pickle=False, **arrays)
    return archive.getvalue()


def _replace_word(data: bytearray, rng: random.Random) -> None:
    """Replace a word by another, in place."""
    words = list(re.finditer(rb"[^\s,=]+", bytes(data[: rng.choice((600, 600, len(data)))])))
    if words:
        word = rng.choice(words)
        data[word.start() : word.end()] = rng.choice(WORDS).encode()


def _serve(connection) -> None:  # type: ignore[no-untyped-def]
    """Read the files whose paths arrive, and answer with the outcome of each."""
    from biomechgpt_jax import formats
    from biomechgpt_jax.biomechanics.fitting import standing  # noqa: F401  imported before anything is timed
    from biomechgpt_jax.errors import InputError
    from biomechgpt_jax.formats import bvh, c3d, keypoints, motive, mvnx, npz, opensim, trc  # noqa: F401

    while True:
        path = connection.recv()
        begin = time.perf_counter()
        try:
            found = formats.load(path)
            if isinstance(found, formats.Markers):
                found = formats.read_markers(path)
                values, rate_hz = found.positions, found.rate_hz
            else:
                values, rate_hz = found.trajectory.coordinates, found.trajectory.rate_hz
            # NaN is a marker or a segment that was not seen.
            whole = Path(path).suffix in formats.COORDINATES
            seen = np.isfinite(values).all() if whole else np.isfinite(values).any() and not np.isinf(values).any()
            finite = seen and np.isfinite(rate_hz)
            outcome = "read" if finite else "read, but not finite"
        except InputError as error:
            outcome = "refused" if "\n" not in str(error) and str(error) else f"refused in several lines: {error!r}"
        except BaseException as error:
            outcome = f"{type(error).__name__}: {error}"
        # This process plus the largest one that it started: an upper bound of what both use at once.
        peak_mb = (
            sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1024
        )
        connection.send((outcome, time.perf_counter() - begin, peak_mb))


class Worker:
    """A process that reads files; it is replaced when it dies or does not answer."""

    def __init__(self) -> None:
        self._process: multiprocessing.Process | None = None

    def read(self, path: str) -> tuple[str, float, float]:
        """(outcome, seconds, growth of the process' peak memory in megabytes since it started)."""
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
        if grown > LIMIT_MB:  # the peak never falls, so the next file gets a new process
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


def jobs(contents: dict[str, list[bytes]], mutants: int) -> Iterator[tuple[str, int]]:
    """(extension, number) of every mutant, one family after the other."""
    whole = sum(SHARES[ending] for ending in contents)
    for ending in sorted(contents):
        yield from ((ending, number) for number in range(round(mutants * SHARES[ending] / whole)))


def attack(contents: dict[str, list[bytes]], mutants: int, seed: int, scratch: Path) -> dict[str, Tally]:
    """Read every mutant and count the outcomes."""
    tallies = {ending: Tally() for ending in contents}
    all_jobs = list(jobs(contents, mutants))

    def work(part: int) -> None:
        worker, family = Worker(), ""
        for ending, number in all_jobs[part::WORKERS]:
            if ending != family:  # the peak of a process never falls, so each family gets a new process
                worker.stop()
                family = ending
            rng = random.Random(f"{seed}{ending}{number}")
            path = scratch / f"mutant{part}{ending}"
            path.write_bytes(damage(ending, contents[ending], rng))
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


def inspect_mutants(contents: dict[str, list[bytes]], count: int, seed: int, scratch: Path) -> list[str]:
    """Mutants for which `biomechgpt inspect` exits neither with 0 nor with 2 and one line."""
    wrong = []
    for number in range(count):
        rng = random.Random(f"{seed} command {number}")
        ending = (".mot", ".npz")[number % 2]
        path = scratch / f"inspected{ending}"
        path.write_bytes(damage(ending, contents[ending], rng))
        command = [sys.executable, "-m", "biomechgpt_jax", "inspect", str(path), "--json"]
        run = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"JAX_PLATFORMS": "cpu"})
        if run.returncode not in (0, 2) or (run.returncode == 2 and len(run.stderr.strip().splitlines()) != 1):
            wrong.append(f"{ending} {number}: exit {run.returncode}: {run.stderr.strip().splitlines()[-1:]}")
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
        contents = samples(options.data, scratch)
        tallies = attack(contents, options.mutants, options.seed, scratch)
        wrong = inspect_mutants(contents, options.commands, options.seed, scratch)
    for failure in [line for tally in tallies.values() for line in tally.failures] + wrong:
        print(failure, file=sys.stderr)
    figures: dict[str, Figure] = {}
    for ending, tally in tallies.items():
        counts = tally.outcomes
        note = f"{counts['read']} read, {counts['refused']} refused, of {len(contents[ending])} files"
        figures[f"{ending}: neither read nor refused"] = Figure(counts["failed"], "files", 0, note=note)
        figures[f"{ending}: slowest"] = Figure(tally.slowest_s, "s", LIMIT_S)
        figures[f"{ending}: most memory"] = Figure(tally.largest_mb, "MB", LIMIT_MB)
    figures["all mutants"] = Figure(sum(tally.outcomes.total() for tally in tallies.values()), "files")
    figures["command line: exit code neither 0 nor 2"] = Figure(len(wrong), "files", 0, note=f"of {options.commands}")
    publish("formats", figures, options.json)


if __name__ == "__main__":
    main()
