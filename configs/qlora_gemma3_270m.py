"""Gemma 3 270M with adapters over a base in 4 bits.

The sizes are those of the config.json of google/gemma-3-270m. Its terms of use are those of Gemma.

    biomechgpt run configs/qlora_gemma3_270m.py --workdir DIR --model.pretrained FOLDER
"""

from biomechgpt_jax.config import Adapter, Cohort, Experiment, Model, Optimizer, Pack, Tokenizer, Train

# Adapters learn at 2e-4 (Dettmers et al. 2023, table 9: 2e-4 up to 13B), new rows and movement at 1e-3.
OPTIMIZER = Optimizer(peak_learning_rate=1e-3, adapter_rate=0.2, weight_decay=0.0)
MODEL = Model(
    text_rows=262_144,
    layers=18,
    model_size=640,
    heads=4,
    kv_heads=1,
    head_size=256,
    hidden_size=2048,
    activation="gelu",
    post_norms=True,
    unit_norms=True,
    scale_embeddings=True,
    query_size=256.0,
    rope_theta=1_000_000.0,
    local_rope_theta=10_000.0,
    window=512,
    global_every=6,
    base="nf4",
    double_scales=True,
    adapter=Adapter(rank=8, alpha=16.0),
    motion_statistics=256,
    remat="full",
)


def config() -> Experiment:
    return Experiment(
        name="qlora_gemma3_270m",
        cohort=Cohort(participants=1024, hours=12.0),
        tokenizer=Tokenizer(levels=("8x5x5x5",) * 16),
        pack=Pack(row_length=256, systems=0.5),
        model=MODEL,
        optimizer=OPTIMIZER,
        train=Train(steps=1000, batch_size=4, validation_rows=64),
    )
