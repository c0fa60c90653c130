"""Files as laboratories have them: what the readers make of each.

Variants of real files are drawn by a seed: other axes, units, names, decimal marks, gaps, times, objects, people, and
damage such as exchanged sides. Each is read by a worker process and compared with the file as it was, which is compared
with what its numbers and a table written by hand say of it. What is harmless must change nothing; what cannot be known
must be said or refused. A variant is drawn again by its number with --only.

With --files, one line for every motion file below --data: read or refused and why, walking speed and strides, marker
error, flags. Two such tables, before and after a change, show what it did to real files.
"""

import multiprocessing
import random
import re
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import field_coordinates
import field_mutations
import numpy as np
from field_changes import Change, Mutation
from field_sources import SOURCES, Document, Sheet, Skeleton, Source, Table, copy, known, load
from figures import Figure, parser, publish

from biomechgpt_jax import formats
from biomechgpt_jax.biomechanics.flags import CAUTION, IMPOSSIBLE
from biomechgpt_jax.biomechanics.skeleton import COORDINATES, INDEX
from biomechgpt_jax.compiling import cache
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.reports import recording

WORKERS = 2
LIMIT_S = 60.0
# Shares of the families among the variants.
FAMILIES: dict[type, tuple[float, tuple[Mutation, ...]]] = {
    Sheet: (0.7, field_mutations.OF_MARKERS),
    Table: (0.2, field_coordinates.OF_TABLES),
    Skeleton: (0.1, field_coordinates.OF_SKELETONS),
}
PAIRS = 0.25
# Two readings are equal within these: share of the speed, metres and degrees (root mean square).
SPEED, SPEED_M_S, HEIGHT_M, KNEE_DEG, PELVIS_DEG, LIMB_DEG = 0.01, 0.003, 0.01, 1.0, 2.0, 5.0
# A source agrees with its numbers within these: share of the speed and m/s, and metres between markers and pelvis.
KNOWN_SPEED, KNOWN_M_S, KNOWN_HEIGHT_M = 0.02, 0.01, 0.15
RIGHT, SILENT, FALSE_REFUSAL, ILL_TOLD, FAILED = "right", "silently wrong", "false refusal", "ill told", "failed"


@dataclass
class Reading:
    """What a worker made of a file: a movement, or why it was refused."""

    refused: str = ""
    failed: str = ""
    coordinates: np.ndarray = field(default_factory=lambda: np.zeros((0, len(COORDINATES))))
    observed: np.ndarray = field(default_factory=lambda: np.zeros(len(COORDINATES), bool))
    rate_hz: float = 1.0
    flags: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass
class Variant:
    """A drawn variant and what is right for it."""

    number: int
    source: Source
    names: tuple[str, ...]
    document: Document
    change: Change


@dataclass
class Verdict:
    """How a variant was read."""

    variant: Variant
    verdict: str
    got: str
    seconds: float


def main() -> None:
    """Draw, read, judge and print."""
    options = parser(__doc__ or "")
    options.add_argument("--data", default="../shared/data", help="folder of recordings (%(default)s)")
    options.add_argument("--files", action="store_true", help="a line for each file of the folder")
    options.add_argument("--count", type=int, default=300, help="number of variants (%(default)s)")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--only", type=int, action="append", help="number of a variant to read alone; may be repeated")
    options.add_argument("--limit", type=float, default=LIMIT_S, help="seconds that a reader may take (%(default)g)")
    given = options.parse_args()
    cache.keep()
    if given.files:
        for line in table(Path(given.data)):
            print(line, flush=True)
        return
    documents = {
        source: load(source, Path(given.data)) for source in SOURCES if (Path(given.data) / source.path).is_file()
    }
    numbers = given.only or range(given.count)
    with tempfile.TemporaryDirectory() as scratch:
        verdicts, wrong = read_all(documents, list(numbers), given.seed, Path(scratch), given.limit)
    for line in wrong:
        print(f"source read wrongly: {line}", file=sys.stderr)
    publish("field", figures(verdicts, wrong, len(documents)), given.json)


def figures(verdicts: list[Verdict], wrong: list[str], files: int) -> dict[str, Figure]:
    """Counts of the verdicts, and of right readings by mutation."""
    count = Counter(v.verdict for v in verdicts)
    result = {
        "sources read otherwise than their numbers say": Figure(len(wrong), "files", 0, note=f"of {files}"),
        SILENT: Figure(count[SILENT], "variants", 0, note=f"of {len(verdicts)}"),
        "false refusals of what was not damaged": Figure(count[FALSE_REFUSAL], "variants", 0),
        "told other than is right": Figure(
            count[ILL_TOLD], "variants", 0, note="wrong with a flag, or right without one"
        ),
        "neither read nor refused": Figure(count[FAILED], "variants", 0),
        "reading time": Figure(float(np.median([v.seconds for v in verdicts])), "s", note="median"),
    }
    for name in sorted({name for v in verdicts for name in v.variant.names}):
        mine = [v for v in verdicts if name in v.variant.names]
        right = sum(v.verdict == RIGHT for v in mine)
        result[name] = Figure(right, "variants", len(mine), "above", note=f"right of {len(mine)}")
    return result


def draw(documents: dict[Source, Document], seed: int, number: int) -> Variant:
    """The variant with this number: the same for every count and order."""
    rng = random.Random(f"{seed} {number}")
    families = list(FAMILIES)
    while True:
        family = rng.choices(families, [FAMILIES[kind][0] for kind in families])[0]
        sources = [source for source, document in documents.items() if isinstance(document, family)]
        mutations = [rng.choice(FAMILIES[family][1])]
        kinds = field_mutations.PAIRED
        if family is Sheet and mutations[0] in kinds and rng.random() < PAIRS:
            others = [mutation for mutation, kind in kinds.items() if kind != kinds[mutations[0]]]
            mutations = sorted([*mutations, rng.choice(others)], key=list(kinds).index)
        if not sources:
            continue
        source = rng.choice(sources)
        document = copy(documents[source])
        changes = [mutation(document, rng) for mutation in mutations]
        found = [change for change in changes if change is not None]
        if len(found) == len(changes):
            change = next((change for change in found if change.reference is not None), found[0])
            return Variant(number, source, tuple(mutation.__name__ for mutation in mutations), document, change)


def read_all(
    documents: dict[Source, Document], numbers: list[int], seed: int, scratch: Path, limit_s: float
) -> tuple[list[Verdict], list[str]]:
    """(verdicts in the order of the numbers, sources that were read wrongly); failures are printed as they come."""
    readings: dict[Source, Reading] = {}
    wrong: list[str] = []
    locks = {source: threading.Lock() for source in documents}
    verdicts: dict[int, Verdict] = {}

    def work(part: int) -> None:
        worker = Worker(limit_s)
        for number in numbers[part::WORKERS]:
            variant = draw(documents, seed, number)
            with locks[variant.source]:
                if variant.source not in readings:
                    path = scratch / f"source{part}{documents[variant.source].ending}"
                    documents[variant.source].write(path)
                    readings[variant.source] = worker.read(path)
                    wrong.extend(check(variant.source, documents[variant.source], readings[variant.source]))
            reference = readings[variant.source]
            if variant.change.reference is not None:
                path = scratch / f"reference{part}{variant.change.reference.ending}"
                variant.change.reference.write(path)
                reference = worker.read(path)
            path = scratch / f"variant{part}{variant.document.ending}"
            variant.document.write(path)
            reading = worker.read(path)
            verdict, got = judge(variant.change, reference, reading)
            if verdict == RIGHT and variant.change.person:
                verdict, got = judge(Change(), reference, worker.read(path, variant.change.person))
            verdicts[number] = Verdict(variant, verdict, got, reading.seconds)
            if verdict != RIGHT:
                print(
                    f"{verdict}: seed {seed}, --only {number}, {variant.source.path}, {' + '.join(variant.names)} as "
                    f"{variant.document.ending}: expected {variant.change.kind} {variant.change.says!r}, got {got}",
                    file=sys.stderr,
                    flush=True,
                )
        worker.stop()

    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(work, range(WORKERS)))
    return [verdicts[number] for number in numbers], wrong


def judge(change: Change, reference: Reading, got: Reading) -> tuple[str, str]:
    """(verdict, what was got) of a variant."""
    if got.failed:
        return FAILED, got.failed
    may_be_refused = change.kind in ("lie", "gap", "damage", "ambiguous")
    if got.refused:
        if reference.refused:
            return RIGHT, "refused as the reference is"
        if not may_be_refused:
            return FALSE_REFUSAL, f"refused: {got.refused}"
        told = change.kind == "damage" or re.search(change.says, got.refused)
        return (RIGHT if told else ILL_TOLD), f"refused: {got.refused}"
    new = [flag for flag in got.flags if flag not in reference.flags]
    grave = [flag for flag in new if flag.startswith((CAUTION, IMPOSSIBLE))]
    if change.kind == "damage":
        return (RIGHT if grave else SILENT), f"{len(new)} new flags; {differences(reference, got)}"
    if reference.refused:
        return (ILL_TOLD if grave else SILENT), f"read, although its reference is refused: {reference.refused}"
    if change.kind == "ambiguous":
        return (ILL_TOLD if grave else SILENT), f"read, with {grave}"
    observed = [name for name in change.masked if got.observed[INDEX[name]]]
    different = f"{observed} observed" if observed else differences(reference, got, change.gone)
    if different:
        return (ILL_TOLD if grave else SILENT), f"{different}; {grave}"
    if any(flag.startswith(IMPOSSIBLE) for flag in new):
        return FALSE_REFUSAL, f"equal, with {grave}"
    told = change.kind == "harmless" or any(re.search(change.says, flag) for flag in got.flags)
    return (RIGHT if told else ILL_TOLD), f"equal, with {new}"


def differences(reference: Reading, got: Reading, gone: tuple[int, ...] = ()) -> str:
    """In what two readings differ outside the frames that are gone, whatever their heading; empty if they are equal."""
    if abs(got.rate_hz / reference.rate_hz - 1) > 0.002:
        return f"{got.rate_hz:.4g} Hz instead of {reference.rate_hz:.4g}"
    if abs(len(got.coordinates) - len(reference.coordinates)) > 1:
        return f"{len(got.coordinates)} frames instead of {len(reference.coordinates)}"
    if (got.observed != reference.observed).any():
        names = [name for name in COORDINATES if got.observed[INDEX[name]] != reference.observed[INDEX[name]]]
        return f"not the same observed: {', '.join(names)}"
    found, right = speed(got), speed(reference)
    if found is not None and right is not None and abs(found - right) > SPEED * right + SPEED_M_S:
        return f"{found:.3f} m/s instead of {right:.3f}"
    frames = min(len(got.coordinates), len(reference.coordinates))
    mine, theirs = got.coordinates[:frames], reference.coordinates[:frames].copy()
    theirs[[frame for frame in gone if frame < frames]] = np.nan
    apart = {"the pelvis leans": np.degrees(_lean(mine) - _lean(theirs))}
    limits = {"the pelvis leans": PELVIS_DEG}
    for name in COORDINATES[6:]:
        if got.observed[INDEX[name]]:
            apart[name] = np.degrees(mine[:, INDEX[name]] - theirs[:, INDEX[name]])
            limits[name] = KNEE_DEG if name.startswith("knee") else LIMB_DEG
    if got.observed[INDEX["pelvis_ty"]]:
        height = mine[:, INDEX["pelvis_ty"]] - theirs[:, INDEX["pelvis_ty"]]
        apart["pelvis_ty"], limits["pelvis_ty"] = height - np.nanmedian(height), HEIGHT_M
    off = {name: float(np.sqrt(np.nanmean(values**2))) for name, values in apart.items() if np.isfinite(values).any()}
    far = [f"{name} {off[name]:.3g} off" for name in off if off[name] > limits[name]]
    return ", ".join(far[:4])


def speed(reading: Reading) -> float | None:
    """Net speed of the pelvis in m/s; None if its path is not observed."""
    path = [INDEX[name] for name in ("pelvis_tx", "pelvis_tz")]
    known_T = np.flatnonzero(np.isfinite(reading.coordinates[:, path]).all(axis=1))
    if not reading.observed[path].all() or len(known_T) < 2:
        return None
    first, last = reading.coordinates[known_T[[0, -1]]][:, path]
    return float(np.linalg.norm(last - first) * reading.rate_hz / (known_T[-1] - known_T[0]))


def _lean(coordinates: np.ndarray) -> np.ndarray:
    """Angle of the pelvis from upright, whatever its heading."""
    tilt, roll = (coordinates[:, INDEX[name]] for name in ("pelvis_tilt", "pelvis_list"))
    return np.arccos(np.clip(np.cos(tilt) * np.cos(roll), -1, 1))


def check(source: Source, document: Document, reading: Reading) -> list[str]:
    """How the reading of an unchanged source disagrees with its numbers and with what is known of it."""
    if reading.refused or reading.failed:
        return [f"{source.path}: {reading.refused or reading.failed}"]
    wrong = [f"{source.path}: {flag}" for flag in reading.flags if flag.startswith(IMPOSSIBLE)]
    right, height = known(source, document)
    found = speed(reading)
    if right is not None and (found is None or abs(found - right) > KNOWN_SPEED * right + KNOWN_M_S):
        wrong.append(f"{source.path}: {found} m/s, its numbers give {right:.3f}")
    level = float(np.nanmedian(reading.coordinates[:, INDEX["pelvis_ty"]]))
    if height is not None and abs(level - height) > KNOWN_HEIGHT_M:
        wrong.append(f"{source.path}: the pelvis at {level:.2f} m, its numbers give {height:.2f}")
    knees = np.degrees(np.nanmax(reading.coordinates[:, [INDEX["knee_angle_r"], INDEX["knee_angle_l"]]]))
    if not source.knee_deg[0] <= knees <= source.knee_deg[1]:
        wrong.append(f"{source.path}: knees flex {knees:.0f} degrees, not {source.knee_deg}")
    return wrong


def _serve(connection: Any) -> None:
    """Read the files that arrive as (path, person), and answer with a `Reading`."""
    while True:
        try:
            path, person = connection.recv()
        except EOFError:  # the benchmark was ended
            return
        begin = time.perf_counter()
        try:
            trajectory = formats.record(path, person=person).trajectory
            reading = Reading(
                coordinates=trajectory.coordinates,
                observed=trajectory.observed,
                rate_hz=trajectory.rate_hz,
                flags=trajectory.metadata.flags,
            )
        except InputError as error:
            reading = Reading(refused=str(error).removeprefix(str(path)).lstrip(": "))
        except Exception as error:  # a defect of a reader is a figure
            reading = Reading(failed=f"{type(error).__name__}: {error}")
        reading.seconds = time.perf_counter() - begin
        connection.send(reading)


class Worker:
    """A process that reads files; it is replaced when it dies or does not answer."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._process: Any = None

    def read(self, path: Path, person: str = "") -> Reading:
        """What the process makes of a file."""
        if self._process is None or not self._process.is_alive():
            context = multiprocessing.get_context("spawn")
            self._connection, theirs = context.Pipe()
            self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
            self._process.start()
            theirs.close()
        try:
            self._connection.send((path, person))
            if self._connection.poll(self._limit_s):
                return self._connection.recv()  # type: ignore[no-any-return]
            failed = f"no answer within {self._limit_s:g} s"
        except (EOFError, ConnectionError):
            failed = "the process died"
        self.stop()
        return Reading(failed=failed)

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None


def table(data: Path) -> Iterator[str]:
    """A line for each motion file below `data`, in order of name."""
    for path in sorted(path for path in data.rglob("*") if path.suffix.lower() in formats.READABLE):
        try:
            line = _line(recording.describe(formats.record(path)))
        except InputError as error:
            line = f"refused: {str(error).removeprefix(str(path)).lstrip(': ')}"
        except Exception as error:  # a defect of a reader must not hide the other files
            line = f"DEFECT: {type(error).__name__}: {error}"
        yield f"{path.relative_to(data).as_posix():<52}{line}"


def _line(facts: dict) -> str:  # type: ignore[type-arg]
    gait = facts.get("gait")
    measured = gait if isinstance(gait, dict) else {}
    speed = measured.get("walking_speed", facts.get("net_speed_m_s"))
    shown = "-" if speed is None else f"{speed:.3f}"
    parts = [
        f"{facts['rate_hz']:g} Hz",
        f"{len(facts['present'])} present",
        f"{'speed' if measured else 'net speed'} {shown}",
        f"{measured.get('strides', 0)} strides",
    ]
    parts += [gait] if isinstance(gait, str) else []
    parts += [f"usable {facts['usable']}"] if "usable" in facts else []
    return "; ".join([*parts, *(f"[{flag}]" for flag in facts["flags"])])


if __name__ == "__main__":
    main()
