"""The motion codec for a laptop: residual VQ, sixteen codes for eight frames.

Its training takes less than 20 minutes on two cores; the cohort is simulated before.

It starts as the principal components of eight frames and their k-means, layer by layer, and the network learns what
they cannot hold.

    biomechgpt tokenizer configs/tokenizer_small.py --workdir DIR --report
"""

from biomechgpt_jax.config import Cohort, Experiment, Tokenizer


def config() -> Experiment:
    return Experiment(
        name="tokenizer_small",
        cohort=Cohort(participants=500, hours=30.0),
        tokenizer=Tokenizer(
            quantizer="vq",
            codebooks=16,
            varied=0.15,
            codebook_size=1024,
            stride=8,
            ema_decay=0.999,
            reset_below=0.003,
            steps=7000,
            learning_rate=5e-4,
        ),
    )
