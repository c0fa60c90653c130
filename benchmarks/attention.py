"""Attention under the trunk-and-branches mask: time of every path against the reference, and its temporary memory.

    python benchmarks/attention.py [--quick] [--json]

Two layouts: `packed` rows of trials with eight questions each, and `plain` rows of one causal sequence. Paths are timed
in turns, so that other load on the machine affects all alike; the least of the repetitions counts. Where the reference
would need more than 2 GB for its scores it is left out, and times stand alone. Heads as in `configs/sizes.py:10m`.
"""

import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from figures import Figure, parser, publish

from biomechgpt_jax.model.attention.packed import Rows, attention

HEADS, GROUPS, SIZE = 6, 2, 64
SIZES = ((8, 512), (2, 2048), (1, 8192))
REFERENCE_BYTES = 2e9
PATHS = {
    "cpu": ("reference", "blockwise"),
    "gpu": ("reference", "blockwise", "cudnn"),
    "tpu": ("reference", "blockwise", "splash"),
}


def packed(rows: int, length: int, seed: int = 0) -> Rows:
    """Trunks of 40 to 199 tokens with eight branches of 12 to 27 each, as the quickstart packs them."""
    random = np.random.default_rng(seed)
    positions, segments, branches = (np.zeros((rows, length), np.int32) for _ in range(3))
    for row in range(rows):
        at = segment = 0
        while at < length:
            segment, trunk = segment + 1, int(random.integers(40, 200))
            for branch, size in enumerate([trunk, *map(int, random.integers(12, 28, 8))]):
                where = slice(at, min(at + size, length))
                positions[row, where] = (trunk if branch else 0) + np.arange(where.stop - where.start)
                segments[row, where], branches[row, where] = segment, branch
                at = where.stop
                if at == length:
                    break
    return Rows(*map(jnp.asarray, (positions, segments, branches)))


def plain(rows: int, length: int) -> Rows:
    """One causal sequence a row."""
    positions = jnp.arange(length, dtype=jnp.int32)[None].repeat(rows, 0)
    return Rows(positions, jnp.ones_like(positions), jnp.zeros_like(positions))


def compiled(path: str, backward: bool, arrays: list[jax.Array], rows: Rows) -> tuple[Callable[[], object], int]:
    """A function that runs a path once, and the bytes of its temporary memory by the compiler's count."""

    def forward(q: jax.Array, k: jax.Array, v: jax.Array, rows: Rows) -> jax.Array:
        return attention(q, k, v, rows, path=path)

    def both(q: jax.Array, k: jax.Array, v: jax.Array, rows: Rows) -> tuple[jax.Array, ...]:
        out, pull = jax.vjp(lambda *qkv: forward(*qkv, rows), q, k, v)
        return out, *pull(out)

    made = jax.jit(both if backward else forward).lower(*arrays, rows).compile()
    return lambda: jax.block_until_ready(made(*arrays, rows)), made.memory_analysis().temp_size_in_bytes


def least(runs: dict[str, Callable[[], object]], repetitions: int) -> dict[str, float]:
    """Seconds of the fastest of so many runs of each, in turns."""
    for run in runs.values():
        run()
    best = dict.fromkeys(runs, np.inf)
    for _ in range(repetitions):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def main() -> None:
    """Measure and print."""
    options = parser(__doc__.splitlines()[0])
    options.add_argument("--quick", action="store_true", help="one small size, few repetitions")
    given = options.parse_args()
    sizes, repetitions = (((2, 256),), 2) if given.quick else (SIZES, 8)
    dtype = jnp.float32 if jax.default_backend() == "cpu" else jnp.bfloat16
    figures: dict[str, Figure] = {}
    for rows, length in sizes:
        keys = jax.random.split(jax.random.key(0), 3)
        heads = (HEADS, GROUPS, GROUPS)
        arrays = [jax.random.normal(key, (rows, length, n, SIZE), dtype) for key, n in zip(keys, heads, strict=True)]
        paths = list(PATHS.get(jax.default_backend(), PATHS["cpu"]))
        if 4 * rows * HEADS * length**2 > REFERENCE_BYTES / 2:
            paths.remove("reference")
        for layout, laid in (("packed", packed(rows, length)), ("plain", plain(rows, length))):
            for word, backward in (("forward", False), ("forward + backward", True)):
                made = {path: compiled(path, backward, arrays, laid) for path in paths}
                seconds = least({path: run for path, (run, _) in made.items()}, repetitions)
                for path in paths:
                    name = f"{layout} {rows} x {length} {path} {word}"
                    figures[name] = Figure(1e3 * seconds[path], "ms", note=f"{made[path][1] / 1e6:.1f} MB temporary")
                    if path != "reference" and "reference" in paths:
                        ratio = seconds[path] / seconds["reference"]
                        figures[f"{name} / reference"] = Figure(ratio, bar=1.0)
    publish("attention", figures, given.json)


if __name__ == "__main__":
    main()
