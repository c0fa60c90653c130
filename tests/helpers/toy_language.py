"""A vocabulary of letters and a handful of questions, for tests of answering."""

from alphabet import Alphabet

from biomechgpt_jax import config
from biomechgpt_jax.questions.question import Question
from biomechgpt_jax.tokenizer.vocabulary import Vocabulary

CFG = config.Model(layers=2, model_size=32, heads=2, kv_heads=1, head_size=16, hidden_size=48, compute_dtype="float32")
LETTERS = Alphabet("abcdefghijklmnopqrstuvwxyz .?0123456789", spread=True)
WORDS = Vocabulary(LETTERS, codes=60)

QUESTIONS = {
    question.name: question
    for question in (
        Question("diagnosis", "diagnosis", "closed", ("what is it?",), ("healthy", "stroke", "ataxia")),
        Question("impairment", "impairment", "closed", ("is it so?",), ("yes", "no")),
        Question("speed", "gait", "number", ("how fast?",), unit="m", decimals=1, high=9.0),
    )
}
