"""Llama 3.1 8B with adapters over a base in 4 bits.

The sizes are those of Llama 3 8B (arXiv 2407.21783, table 3) with the frequencies of 3.1; the folder is compared with
them when it is read.

    biomechgpt run configs/qlora_llama3_8b.py --workdir DIR --model.pretrained FOLDER
"""

from biomechgpt_jax.config import Adapter, Cohort, Experiment, Model, Optimizer, Pack, Tokenizer, Train

# Adapters learn at 2e-4 (Dettmers et al. 2023, table 9: 2e-4 up to 13B), new rows and movement at 1e-3.
OPTIMIZER = Optimizer(peak_learning_rate=1e-3, adapter_rate=0.2, weight_decay=0.0)
MODEL = Model(
    text_rows=128_256,
    layers=32,
    model_size=4096,
    heads=32,
    kv_heads=8,
    head_size=128,
    hidden_size=14336,
    qk_norm=False,
    tied_embeddings=False,
    rope_theta=500_000.0,
    rope_scaling="llama3",
    rope_factor=8.0,
    norm_epsilon=1e-5,
    table="bfloat16",
    base="nf4",
    double_scales=True,
    adapter=Adapter(rank=16, alpha=16.0),
    motion_statistics=256,
    remat="full",
)


def config() -> Experiment:
    return Experiment(
        name="qlora_llama3_8b",
        cohort=Cohort(participants=1024, hours=12.0),
        tokenizer=Tokenizer(levels=("8x5x5x5",) * 16),
        pack=Pack(row_length=2048, systems=0.5),
        model=MODEL,
        optimizer=OPTIMIZER,
        train=Train(steps=1000, batch_size=2, validation_rows=16),
    )
