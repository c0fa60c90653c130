"""The motion codec with the 512-wide network of the literature (T2M-GPT, depth 3; 17 million parameters), for an
accelerator.

100,000 steps of 256 windows of 4.3 seconds, of the people of `cohort_1000h`: Apache Beam writes them, and each host
needs some 50 GB of memory for them. A step is 1.5 TFLOP in float32 by XLA's count (0.15 EFLOP in all): two hours at a
sustained 20 TFLOP/s, and weeks on two cores, where `tokenizer_small` is the one to take. The batch divides over up to
256 devices; mesh.fsdp splits the parameters. For the people of `cohort_30h` (2 GB of memory):
--cohort.participants 500 --cohort.hours 30.

    biomechgpt simulate configs/tokenizer_base.py --workdir DIR --runner DirectRunner
    biomechgpt tokenizer configs/tokenizer_base.py --workdir DIR
"""

from biomechgpt_jax.config import Cohort, Experiment, Tokenizer, Train


def config() -> Experiment:
    return Experiment(
        name="tokenizer_base",
        cohort=Cohort(participants=10_000, hours=1000.0),
        tokenizer=Tokenizer(width=512, depth=3, window_frames=128, batch_size=256, steps=100_000, learning_rate=2e-4),
        train=Train(checkpoint_every=2000, log_every=100),
    )
