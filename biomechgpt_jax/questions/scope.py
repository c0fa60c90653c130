"""Which recordings a question makes sense of: the activities that show its answer, and how much of them it needs."""

from biomechgpt_jax.questions.registry import QUESTIONS

# Activities whose steps are those of level walking, as the gait parameters mean them.
WALKS = frozenset({"walking", "timed up and go", "tandem walk", "backward walk"})

# The activities that show what a question asks for; any activity where a question is left out.
_SHOWN_IN: dict[str, frozenset[str]] = {
    "assistive_device": frozenset({"walking", "timed up and go"}),
    "tug_time": frozenset({"timed up and go"}),
    "five_times_sit_to_stand_time": frozenset({"five times sit to stand"}),
    "ten_metre_walk_time": frozenset({"walking"}),
    "four_square_step_time": frozenset({"four square step"}),
    "single_leg_stance_time": frozenset({"single-leg stance"}),
    "tandem_stance_time": frozenset({"tandem stance"}),
    "functional_reach": frozenset({"functional reach"}),
    "box_and_block": frozenset({"box and block"}),
    "fall_risk": frozenset({"timed up and go", "five times sit to stand", "four square step"}),
} | {name: WALKS for name, question in QUESTIONS.items() if question.family == "gait"}

# Clinical tests, and the risk that is read off them: a part of a test shows neither.
NEEDS_WHOLE_TEST = frozenset(
    name
    for name, question in QUESTIONS.items()
    if question.family == "outcome_scores" and (question.kind == "number" or name == "fall_risk")
)


def shows(activity: str, name: str) -> bool:
    """Whether a recording of an activity shows what the question of this name asks for."""
    return name not in _SHOWN_IN or activity in _SHOWN_IN[name]
