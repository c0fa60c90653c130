"""The quickstart: the whole program in 15 minutes on two cores, without a GPU."""

from biomechgpt_jax.config import Cohort, Evaluation, Experiment

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
        cohort=Cohort(activities=ACTIVITIES, etiologies=ETIOLOGIES),
        evaluation=Evaluation(bars="quickstart"),
    )
