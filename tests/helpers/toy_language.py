"""A vocabulary of letters and a handful of questions, for tests of answering."""

from dataclasses import dataclass

from biomechgpt_jax import config

CFG = config.Model(layers=2, model_size=32, heads=2, kv_heads=1, head_size=16, hidden_size=48, compute_dtype="float32")
LETTERS = "abcdefghijklmnopqrstuvwxyz .?0123456789"


class Vocabulary:
    """Letters are the text pieces."""

    size, layers = 128, 1
    pad, trunk, question, answer, end = range(len(LETTERS), len(LETTERS) + 5)

    motion_offset = len(LETTERS) + 5

    def motion(self, codes):
        return codes + self.motion_offset

    def encode_text(self, text):
        return [LETTERS.index(letter) for letter in text.lower()]

    def decode_text(self, ids):
        return "".join(LETTERS[index] for index in ids)


@dataclass(frozen=True)
class Question:
    kind: str
    options: tuple = ()
    family: str = "gait"
    unit: str = "m"

    def phrasing(self, key):
        return "what is it?"

    def answer_text(self, value):
        return str(value)

    def parse(self, text):
        try:
            return float(text)
        except ValueError:
            return None


QUESTIONS = {
    "diagnosis": Question("closed", ("healthy", "stroke", "ataxia"), "diagnosis", ""),
    "impairment": Question("closed", ("yes", "no"), "impairment", ""),
    "speed": Question("number"),
}
