"""Answers worth comparing: every etiology, the whole protocol, 2,400 people, 4.7 million parameters in the layers.

Planned for three hours of two cores, simulation apart, of which the decoder's training takes two. A stage that is done
is skipped, and training resumes from its last checkpoint.

    biomechgpt run configs/answers.py --workdir runs/answers

Choices are made on people of another seed, and the figures that count are those of people of a third:

    biomechgpt simulate configs/development.py:answers --workdir runs/development_answers
    biomechgpt evaluate --workdir runs/answers --people runs/development_answers/movements
    biomechgpt simulate configs/development.py:answers --cohort.seed 2000 --workdir runs/third
    biomechgpt evaluate --workdir runs/answers --people runs/third/movements
"""

from biomechgpt_jax.config import Cohort, Experiment, Model, Optimizer, Pack, Tokenizer, Train


def config() -> Experiment:
    return Experiment(
        name="answers",
        # More people who each perform a part of the protocol, rather than fewer who perform all of it.
        cohort=Cohort(participants=2400, hours=60.0, activities_per_person=8),
        tokenizer=Tokenizer(levels=("8x5x5x5",) * 16, steps=3000),
        pack=Pack(row_length=512, crops_per_trial=5, systems=0.5),
        model=Model(
            layers=6, model_size=256, heads=4, kv_heads=2, head_size=64, hidden_size=768, motion_statistics=256
        ),
        optimizer=Optimizer(kind="muon", peak_learning_rate=3e-3, warmup_steps=100),
        train=Train(steps=4400, batch_size=8, checkpoint_every=250),
        text_only_steps=300,
    )
