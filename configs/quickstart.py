"""The quickstart: the whole program in about 20 minutes on two cores, without a GPU."""

from biomechgpt_jax.config import Cohort, Evaluation, Experiment, Model, Optimizer, Pack, Tokenizer, Train

ACTIVITIES = ("walk_free", "tug", "chair_rise", "balance_open", "squat", "tandem", "walk_slow", "walk_fast")
ETIOLOGIES = (
    "stroke",
    "Parkinson disease",
    "cerebellar ataxia",
    "cerebral palsy",
    "transfemoral amputation",
    "knee osteoarthritis",
)


def config() -> Experiment:
    return Experiment(
        name="quickstart",
        # Many people who each perform some of the activities: what tells people apart is learned from people.
        cohort=Cohort(
            participants=1024, hours=12.0, activities=ACTIVITIES, activities_per_person=5, etiologies=ETIOLOGIES
        ),
        tokenizer=Tokenizer(levels=("8x5x5x5",) * 16),
        pack=Pack(crops_per_trial=6, systems=0.5),
        model=Model(motion_statistics=256),
        optimizer=Optimizer(kind="muon", peak_learning_rate=4e-3),
        train=Train(steps=1800),
        evaluation=Evaluation(bars="quickstart"),
    )
