"""The language model in six sizes, from a laptop to a pod: `configs/sizes.py:10m`, `configs/sizes.py:1b`, ...

A size counts the parameters of the layers, without the embedding and the head: those are D x V (twice D x V untied) and
the vocabulary V is the tokenizer's. Dimensions are multiples of 128 and heads of 64 or 128, which matrix units of
accelerators are made for. 8b has the dimensions of Llama 3 8B (arXiv 2407.21783, table 3): 6.98e9 in the layers,
8.03e9 with the vocabulary of Llama.

    biomechgpt run configs/sizes.py:10m --workdir DIR
"""

from biomechgpt_jax.config import Cohort, Experiment, Mesh, Model, Optimizer, Pack, Tokenizer, Train
from biomechgpt_jax.errors import InputError

SIZES = {
    "1m": Model(layers=4, model_size=128, heads=2, kv_heads=1, head_size=64, hidden_size=512),
    "10m": Model(layers=6, model_size=384, heads=6, kv_heads=2, head_size=64, hidden_size=1152),
    "100m": Model(layers=16, model_size=768, heads=12, kv_heads=4, head_size=64, hidden_size=2048),
    "300m": Model(layers=24, model_size=1024, heads=16, kv_heads=8, head_size=64, hidden_size=3072),
    "1b": Model(layers=16, model_size=2048, heads=16, kv_heads=8, head_size=128, hidden_size=8192, remat="full"),
    "8b": Model(
        layers=32,
        model_size=4096,
        heads=32,
        kv_heads=8,
        head_size=128,
        hidden_size=14336,
        qk_norm=False,
        tied_embeddings=False,
        rope_theta=500_000.0,
        norm_epsilon=1e-5,
        remat="full",
    ),
}

# Rows of the global batch, tokens of a row, steps, peak learning rate (falls with the width).
_RUNS = {
    "1m": (8, 512, 2_000, 3e-3),
    "10m": (8, 512, 10_000, 2e-3),
    "100m": (64, 1024, 20_000, 1e-3),
    "300m": (128, 1024, 50_000, 6e-4),
    "1b": (256, 2048, 50_000, 4e-4),
    "8b": (256, 4096, 100_000, 2e-4),
}


def config(size: str = "10m") -> Experiment:
    """The experiment of a size: 1m, 10m, 100m, 300m, 1b or 8b.

    Raises:
        InputError: there is no such size.
    """
    if size not in SIZES:
        raise InputError(f"unknown size '{size}'; give one of {', '.join(SIZES)}")
    rows, length, steps, learning_rate = _RUNS[size]
    large = size in ("1b", "8b")
    # Parameters of large models do not fit one device. Over many, the compiler for TPUs multiplies by a shard at a time
    # and reads and writes the results each time: 1b moves three times as many bytes over 16 as over 4.
    meshes = {"1b": Mesh(data=-1, fsdp=4), "8b": Mesh(data=1, fsdp=-1)}
    return Experiment(
        name=size,
        cohort=Cohort(participants=10_000, hours=1000.0) if large else Cohort(participants=500, hours=30.0),
        tokenizer=Tokenizer(text_pieces=512),
        pack=Pack(row_length=length),
        model=SIZES[size],
        optimizer=Optimizer(peak_learning_rate=learning_rate, warmup_steps=max(50, steps // 100)),
        train=Train(steps=steps, batch_size=rows, validation_rows=8 * rows),
        mesh=meshes.get(size, Mesh()),
    )
