"""Llama 3.2 1B with adapters over a base in 4 bits.

The sizes are those of meta-llama/Llama-3.2-1B [memory]; the folder is compared with them when it is read.

    biomechgpt run configs/qlora_llama3_1b.py --workdir DIR --model.pretrained FOLDER
"""

from biomechgpt_jax.config import Adapter, Cohort, Experiment, Model, Optimizer, Pack, Tokenizer, Train

# Adapters learn at 2e-4 (Dettmers et al. 2023, table 9: 2e-4 up to 13B), new rows and movement at 1e-3.
OPTIMIZER = Optimizer(peak_learning_rate=1e-3, adapter_rate=0.2, weight_decay=0.0)
MODEL = Model(
    text_rows=128_256,
    layers=16,
    model_size=2048,
    heads=32,
    kv_heads=8,
    head_size=64,
    hidden_size=8192,
    qk_norm=False,
    rope_theta=500_000.0,
    rope_scaling="llama3",
    rope_factor=32.0,
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
        name="qlora_llama3_1b",
        cohort=Cohort(participants=1024, hours=12.0),
        tokenizer=Tokenizer(levels=("8x5x5x5",) * 16),
        pack=Pack(row_length=1024, systems=0.5),
        model=MODEL,
        optimizer=OPTIMIZER,
        train=Train(steps=1000, batch_size=8, validation_rows=64),
    )
