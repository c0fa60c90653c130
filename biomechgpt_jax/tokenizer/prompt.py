"""THE layout of a prompt, in training as in answering: a movement, a question about it and the answer, as ids.

    trunk      <trunk>, then the codes of each motion token
    question   <question>, the ids of the text, <answer>
    answer     the ids of the text, <end>

The text tokenizer of a pretrained model may bring tokens of its own: what begins its texts is <trunk>, and a trunk
without a movement then has this token alone; what ends them is <end>; and a chat template stands around the question:

    question   <question>, the turn's begin, the ids of the text, the turn's end and the begin of the model's turn

A question followed by its answer is a branch of the trunk (see `packing.rows`).
"""

import numpy as np

from biomechgpt_jax.tokenizer.vocabulary import Vocabulary

NO_CODE = -1  # fills the further layers of tokens that have a single id, such as text


def trunk(vocabulary: Vocabulary, codes: np.ndarray | None) -> np.ndarray:
    """Ids i32[n + 1, Q] of the motion codes i32[n, Q] of a movement.

    Where there is no movement: what begins every text, i32[1, 1], or nothing, i32[0, 1].
    """
    if codes is None:
        return np.full((int(vocabulary.begins_text), 1), vocabulary.trunk, np.int32)
    begin = np.full((1, vocabulary.layers), NO_CODE, np.int32)
    begin[0, 0] = vocabulary.trunk
    return np.concatenate([begin, vocabulary.motion(codes)])


def question(vocabulary: Vocabulary, phrasing: str) -> np.ndarray:
    """Ids i32[n] of a question, up to where its answer begins."""
    text = vocabulary.encode_text(phrasing)
    return np.array([vocabulary.question, *vocabulary.before, *text, *vocabulary.after], np.int32)


def answer(vocabulary: Vocabulary, text: str) -> np.ndarray:
    """Ids i32[n] of an answer with its end."""
    return np.array([*vocabulary.encode_text(text), vocabulary.end], np.int32)
