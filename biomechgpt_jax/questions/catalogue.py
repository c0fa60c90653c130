"""The catalogue of questions.

Phrasings are short, because their tokens are paid for at every training step, and say nothing about the
answer.
"""

from biomechgpt_jax.questions.labels import ACTIVITIES, DEVICES, DIAGNOSES, FALL_RISKS
from biomechgpt_jax.questions.question import Question


def _closed(name: str, family: str, options: tuple[str, ...], templates: tuple[str, ...]) -> Question:
    return Question(name, family, "closed", templates, options)


def _number(
    name: str,
    family: str,
    unit: str,
    decimals: int,
    plausible: tuple[float, float],
    templates: tuple[str, ...],
) -> Question:
    return Question(name, family, "number", templates, (), unit, decimals, *plausible)


ALL: tuple[Question, ...] = (
    _closed(
        "activity",
        "activity",
        ACTIVITIES,
        ("What is this person doing?", "Which activity is this?", "Activity?", "What movement is shown?"),
    ),
    _closed(
        "impairment",
        "impairment",
        ("yes", "no"),
        ("Is this movement impaired?", "Does this person have an impairment?", "Impaired?", "Is there an impairment?"),
    ),
    _closed(
        "diagnosis",
        "diagnosis",
        DIAGNOSES,
        (
            "What is the diagnosis?",
            "Which diagnosis fits this movement?",
            "Diagnosis?",
            "What is the likely diagnosis?",
        ),
    ),
    _closed(
        "assistive_device",
        "assistive_device",
        DEVICES,
        (
            "Which assistive device is used?",
            "What device does this person use?",
            "Assistive device?",
            "Which walking aid is used?",
        ),
    ),
    _number(
        "tug_time",
        "outcome_scores",
        "s",
        1,
        (2.0, 180.0),
        (
            "How long did the timed up and go take?",
            "What is the TUG time?",
            "TUG time?",
            "Time of the timed up and go?",
        ),
    ),
    _number(
        "five_times_sit_to_stand_time",
        "outcome_scores",
        "s",
        1,
        (2.0, 180.0),
        (
            "How long did five chair stands take?",
            "What is the five times sit to stand time?",
            "Five times sit to stand time?",
            "Time of five chair stands?",
        ),
    ),
    _number(
        "ten_metre_walk_time",
        "outcome_scores",
        "s",
        1,
        (2.0, 180.0),
        (
            "How long would walking ten metres take?",
            "What is the ten metre walk time?",
            "Ten metre walk time?",
            "Time to walk ten metres?",
        ),
    ),
    _number(
        "four_square_step_time",
        "outcome_scores",
        "s",
        1,
        (2.0, 180.0),
        (
            "How long did the four square step test take?",
            "What is the four square step time?",
            "Four square step time?",
            "Time of the four square step test?",
        ),
    ),
    _number(
        "single_leg_stance_time",
        "outcome_scores",
        "s",
        1,
        (0.2, 120.0),
        (
            "How long was the single-leg stance held?",
            "What is the single-leg stance time?",
            "Single-leg stance time?",
            "Time on one leg?",
        ),
    ),
    _number(
        "tandem_stance_time",
        "outcome_scores",
        "s",
        1,
        (0.2, 120.0),
        (
            "How long was the tandem stance held?",
            "What is the tandem stance time?",
            "Tandem stance time?",
            "Time in tandem stance?",
        ),
    ),
    _number(
        "functional_reach",
        "outcome_scores",
        "cm",
        0,
        (1.0, 80.0),
        (
            "How far did this person reach?",
            "What is the functional reach?",
            "Functional reach?",
            "How far was the functional reach?",
        ),
    ),
    _number(
        "box_and_block",
        "outcome_scores",
        "blocks/min",
        0,
        (1.0, 150.0),
        (
            "How many blocks were moved per minute?",
            "What is the box and block score?",
            "Box and block score?",
            "Blocks per minute?",
        ),
    ),
    _closed(
        "falls_history",
        "outcome_scores",
        ("yes", "no"),
        (
            "Has this person fallen in the past year?",
            "Any fall in the past year?",
            "Fallen in the past year?",
            "Is there a history of falls?",
        ),
    ),
    _closed(
        "fall_risk",
        "outcome_scores",
        FALL_RISKS,
        ("What is the fall risk?", "How great is the risk of falling?", "Fall risk?", "Which band of fall risk?"),
    ),
    _number(
        "walking_speed",
        "gait",
        "m/s",
        2,
        (0.05, 3.5),
        ("How fast is this person walking?", "What is the walking speed?", "Walking speed?", "Gait speed?"),
    ),
    _number(
        "cadence",
        "gait",
        "steps/min",
        0,
        (20.0, 300.0),
        ("What is the cadence?", "How many steps per minute?", "Cadence?", "Steps per minute?"),
    ),
    _number(
        "step_length",
        "gait",
        "m",
        2,
        (0.02, 1.5),
        ("How long are the steps?", "What is the step length?", "Step length?", "Mean step length?"),
    ),
    _number(
        "stride_time",
        "gait",
        "s",
        2,
        (0.4, 3.5),
        ("How long does a stride take?", "What is the stride time?", "Stride time?", "Mean stride time?"),
    ),
    _number(
        "double_support",
        "gait",
        "%",
        0,
        (0.0, 100.0),
        (
            "What share of the stride is double support?",
            "How much double support is there?",
            "Double support?",
            "Double support share of the stride?",
        ),
    ),
    _number(
        "step_time_asymmetry",
        "gait",
        "%",
        0,
        (0.0, 200.0),
        (
            "How asymmetric are the step times?",
            "What is the step time asymmetry?",
            "Step time asymmetry?",
            "Asymmetry of step times?",
        ),
    ),
    _number(
        "stride_length",
        "gait",
        "m",
        2,
        (0.05, 3.0),
        ("How long is a stride?", "What is the stride length?", "Stride length?", "Mean stride length?"),
    ),
    _number(
        "step_width",
        "gait",
        "m",
        2,
        (0.0, 0.6),
        ("How wide are the steps?", "What is the step width?", "Step width?", "Mean step width?"),
    ),
    _number(
        "stance",
        "gait",
        "%",
        0,
        (20.0, 100.0),
        (
            "How much of the stride is stance?",
            "What share of the stride is stance?",
            "Stance phase?",
            "Stance share of the stride?",
        ),
    ),
    _number(
        "stride_time_cv",
        "gait",
        "%",
        1,
        (0.0, 60.0),
        (
            "How variable are the stride times?",
            "What is the stride time variability?",
            "Stride time variability?",
            "Variability of stride times?",
        ),
    ),
)


def listing() -> str:
    """Every question on a line of its own, with the unit of its answer."""
    return "\n".join(f"  {one.templates[0]}{f' ({one.unit})' if one.unit else ''}" for one in ALL)
