"""Temporary memory of the loss as the vocabulary grows: whether full logits exist.

    python benchmarks/loss_memory.py [--quick] [--json]

The compiler's own figure for forward and backward pass of the cross-entropy of training/loss.py, on a batch of 8 x 512
tokens of 384 numbers, all of them asked, less what the gradient of the head needs in any case (D x V numbers of four
bytes). Chunks hold at most 1,024 tokens and 8 million logits.
"""

import jax
import jax.numpy as jnp
from figures import Figure, parser, publish

from biomechgpt_jax.training import loss

ROWS, LENGTH, SIZE, CHUNK = 8, 512, 384, 1024
SMALL, LARGE, GROWTH = 8192, 32768, 10.0


def temporary_bytes(rows: int, length: int, vocabulary: int) -> int:
    """What the compiled loss and its gradients need beside arguments and results, the head's gradient left out."""
    tokens = (rows, length)

    def mean(hidden: jax.Array, head: jax.Array, targets: jax.Array, weights: jax.Array) -> jax.Array:
        sums = loss.cross_entropy(hidden, head, targets, weights, loss.Settings(CHUNK))
        return loss.mean(sums.objective, sums.weight)

    shapes = (
        jax.ShapeDtypeStruct((*tokens, SIZE), jnp.float32),
        jax.ShapeDtypeStruct((SIZE, vocabulary), jnp.float32),
        jax.ShapeDtypeStruct(tokens, jnp.int32),
        jax.ShapeDtypeStruct(tokens, jnp.float32),
    )
    found = jax.jit(jax.grad(mean, (0, 1))).lower(*shapes).compile().memory_analysis()
    return found.temp_size_in_bytes - 4 * SIZE * vocabulary


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--quick", action="store_true", help="an eighth of the tokens: whether it runs")
    options = arguments.parse_args()
    rows = 1 if options.quick else ROWS
    small, large = (temporary_bytes(rows, LENGTH, vocabulary) for vocabulary in (SMALL, LARGE))
    figures = {
        "growth of the loss's memory": Figure(
            100 * (large / small - 1), "%", GROWTH, note=f"from {SMALL:,} to {LARGE:,} ids, {rows * LENGTH:,} tokens"
        ),
        f"memory at {SMALL:,} ids": Figure(small / 2**20, "MiB"),
        f"memory at {LARGE:,} ids": Figure(large / 2**20, "MiB"),
        "full logits would take": Figure(rows * LENGTH * LARGE * 4 / 2**20, "MiB"),
    }
    publish("loss_memory", figures, options.json)


if __name__ == "__main__":
    main()
