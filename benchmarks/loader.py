"""Rows and tokens that the loader reads, against what a training step consumes; and how full `pack` makes rows.

    python benchmarks/loader.py [--size 10m] [--step-tokens-per-second X] [--batches 60] [--quick] [--json]

Rows of 512 and 8,192 tokens are read in batches of 8 by one process without workers, from the dataset on disk (in the
page cache) to arrays on the device, through the thread that the trainer uses. The consumer is a step of
configs/sizes.py:10m on 8 rows of 512, timed here (median) unless its tokens per second are given; at 8,192 tokens a
step takes longer per token, so the same figure stands for both. Calls of Python functions per batch must not grow with
the length of a row: nothing runs once per token.

Fill: movements of a few people of the quickstart with its questions, packed as `pack` does, 20,000 of them drawn again
with replacement so that a row left unfilled at the end does not count. The packing itself is timed on a million.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from figures import Figure, parser, publish
from quickstart_rows import pack, quickstart

from biomechgpt_jax import config, overrides
from biomechgpt_jax.data import loader, store
from biomechgpt_jax.packing.rows import assign_rows
from biomechgpt_jax.parallel import feed
from biomechgpt_jax.parallel import mesh as meshes
from biomechgpt_jax.tasks import language
from biomechgpt_jax.tasks.id_space import IdSpace
from biomechgpt_jax.tasks.parameters import Parameters

_SIZES = Path(__file__).parents[1] / "configs" / "sizes.py"
BATCH, LENGTHS, FILLED, BAR_SPEED, BAR_FILL = 8, (512, 8192), (384, 512, 2048, 8192), 10.0, 98.0


def lengths_of(directory: Path) -> np.ndarray:
    """Tokens of every movement with its questions in a packed dataset."""
    rows, _ = loader.open_rows(directory, "train")
    counts = [np.bincount(row["segments"])[1:] for row in rows.__getitems__(range(len(rows)))]
    return np.concatenate(counts)


def filled(lengths: np.ndarray, row_length: int, count: int) -> tuple[float, float]:
    """Percent of the positions filled by so many items of these lengths, and the seconds of placing them."""
    drawn = np.random.default_rng(0).choice(lengths[lengths <= row_length], count).tolist()
    begin = time.perf_counter()
    rows = assign_rows(drawn, row_length)
    return 100 * sum(drawn) / (len(rows) * row_length), time.perf_counter() - begin


def repeated(source: Path, out: Path, count: int) -> Path:
    """The rows of a packed dataset over and over, up to so many."""
    rows, _ = loader.open_rows(source, "train")
    arrays = {key: np.asarray(value) for key, value in rows.__getitems__([0])[0].items()}
    features: dict[str, Any] = {key: (value.shape, value.dtype) for key, value in arrays.items()}
    keys = [f"{number:07d}" for number in range(count)]
    made = store.Lazy(keys, lambda number: dict(rows.__getitems__([number % len(rows)])[0]))
    store.write(out, "sequences", features, {"train": made}, {})
    return out


def speed(read: loader.Loader, batches: int) -> float:
    """Rows per second to the device, the first batches aside."""
    with feed.Prefetch(read, 0, batches + 4) as stream:
        arrived = []
        for batch in stream:
            jax.block_until_ready(batch)
            arrived.append(time.perf_counter())
    return BATCH * batches / (arrived[-1] - arrived[-1 - batches])


def calls(work: Callable[[], object]) -> int:
    """Calls of functions, Python's own and built in, that some work makes in this thread."""
    count = 0

    def note(_: object, event: str, __: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def consumed(size: str, directory: Path, ids: IdSpace, repeats: int) -> float:
    """Tokens per second of the training step on 8 rows of 512."""
    experiment: config.Experiment = overrides.load(f"{_SIZES}:{size}")
    mesh = meshes.make(config.Mesh(), jax.devices()[:1])
    parameters = Parameters(experiment.model, ids)
    state = language.init_state(jax.random.key(0), experiment, parameters, mesh)
    step = language.make_step(experiment, ids, mesh, 1000)
    batch = loader.open_loader(directory, "train", BATCH, 0).device_batch(0)
    times = []
    with jax.set_mesh(mesh):
        for _ in range(repeats + 1):
            begin = time.perf_counter()
            state, _ = jax.block_until_ready(step(state, {}, batch))
            times.append(time.perf_counter() - begin)
    return BATCH * LENGTHS[0] / float(np.median(times[1:]))


def main() -> None:
    """Pack, read, and time a step."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--size", default="10m", help="of the model whose step consumes, in configs/sizes.py")
    arguments.add_argument("--step-tokens-per-second", type=float, help="of the consumer; by default it is timed here")
    arguments.add_argument("--batches", type=int, default=60)
    arguments.add_argument("--participants", type=int, default=24)
    arguments.add_argument("--quick", action="store_true", help="a small model, fewer people and batches")
    options = arguments.parse_args()
    items = 1_000_000
    if options.quick:
        options.size, options.batches, options.participants, items = "1m", 10, 6, 50_000
    figures: dict[str, Figure] = {}
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        _, words = pack(quickstart(options.participants), LENGTHS, root)
        eats = options.step_tokens_per_second or consumed(options.size, root / str(LENGTHS[0]), IdSpace.of(words), 5)
        name = f"a step of {options.size} on 8 x 512"
        note = "given" if options.step_tokens_per_second else "timed here"
        figures[name] = Figure(eats, "tokens/s", note=note)
        for length in LENGTHS:
            count = BATCH * (options.batches + 8) if length == LENGTHS[0] else BATCH * 16
            read = loader.open_loader(repeated(root / str(length), root / f"long_{length}", count), "train", BATCH, 0)
            rows = speed(read, options.batches)
            figures[f"rows of {length}: read"] = Figure(rows, "rows/s")
            figures[f"rows of {length}: tokens read"] = Figure(rows * length, "tokens/s")
            figures[f"rows of {length}: against the step"] = Figure(rows * length / eats, "x", BAR_SPEED, "above")
            made = calls(lambda read=read: read.batch(1))  # type: ignore[misc]
            figures[f"rows of {length}: function calls per batch"] = Figure(made, note="not one per token")
        lengths = lengths_of(root / str(LENGTHS[0]))
        for row_length in FILLED:
            share, _ = filled(lengths, row_length, 20_000)
            figures[f"rows of {row_length}: fill"] = Figure(share, "%", BAR_FILL, "above")
        for row_length in (FILLED[0], FILLED[-1]):
            _, spent = filled(lengths, row_length, items)
            figures[f"rows of {row_length}: placing {items:,} items"] = Figure(spent, "s")
    publish("loader", figures, options.json)


if __name__ == "__main__":
    main()
