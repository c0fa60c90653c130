"""What a new question consists of: how it is asked and answered, and what is true of a crop of a movement.

    python examples/add_a_question.py

This one asks for the range of motion of the right knee. It is declared here, asked about simulated walks, and laid
out as a branch of training data. To make it a question of the program, move its three parts:

    QUESTION   into `biomechgpt_jax/questions/catalogue.py`, at the end of ALL
    truth      into `biomechgpt_jax/questions/truth.py`, so that `truths` gives it under the question's name
    senses     how people ask it in free text, into `questions/senses.py`, with phrasings in tests/questions/

The catalogue's digest changes, so the stages that depend on it run again by themselves, and evaluation asks the
question of held-out people, beside every control.
"""

import numpy as np

from biomechgpt_jax import config
from biomechgpt_jax.biomechanics.skeleton import INDEX
from biomechgpt_jax.biomechanics.trajectory import Trial
from biomechgpt_jax.cohort.simulate import simulate
from biomechgpt_jax.packing.crops import evaluation
from biomechgpt_jax.questions.question import Question
from biomechgpt_jax.questions.registry import corpus
from biomechgpt_jax.tokenizer import prompt
from biomechgpt_jax.tokenizer.sentencepiece import SentencePieceTokenizer
from biomechgpt_jax.tokenizer.vocabulary import Vocabulary

QUESTION = Question(
    name="knee_range",
    family="gait",
    kind="number",
    templates=(
        "How far does the right knee move?",
        "What is the range of motion of the right knee?",
        "Right knee range?",
        "Range of the right knee?",
    ),
    unit="deg",
    decimals=0,
    low=5.0,
    high=150.0,
)


def truth(trial: Trial, start_frame: int, end_frame: int) -> float:
    """Range of the right knee angle in degrees, on the movement without measurement noise."""
    angle = np.degrees(trial.true_coordinates[start_frame:end_frame, INDEX["knee_angle_r"]])
    return float(angle.max() - angle.min())


def main() -> None:
    """Ask the question of some simulated walks and lay one answer out as training data."""
    cfg = config.Experiment(cohort=config.Cohort(participants=3, hours=0.01, activities=("walk_free",)))
    text = ""
    for trial in simulate(cfg.cohort):
        for crop in evaluation(trial, cfg):
            value = truth(trial, crop.start_frame, crop.end_frame)
            if not QUESTION.holds(value):
                continue  # not plausible, so not asked
            text = QUESTION.answer_text(value)
            assert QUESTION.parse(text) == round(value), "an answer reads back as the number that was written"
            print(f"{trial.participant}, {trial.diagnosis}: {QUESTION.phrasing(trial.trial_id)} {text}")

    pieces = SentencePieceTokenizer.train([*corpus(), *QUESTION.templates, text], 512)
    words = Vocabulary(pieces, codes=1000)
    question, answer = prompt.question(words, QUESTION.templates[0]), prompt.answer(words, text)
    print(f"as a branch: {question.tolist()}, then {answer.tolist()}")


if __name__ == "__main__":
    main()
