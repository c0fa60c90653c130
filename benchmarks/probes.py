"""Linear probes: what a linear reader finds in motion tokens and in the hidden states of a trained model.

A crop is the mean and the standard deviation over its tokens, and the logarithm of their number. Closed questions are
answered by logistic regression, numbers by ridge regression whose penalty leave-one-out errors choose.
"""

from collections.abc import Sequence

import jax
import numpy as np
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.preprocessing import StandardScaler

from biomechgpt_jax.answering.asked import Asked, prediction
from biomechgpt_jax.answering.predict import LanguageModel
from biomechgpt_jax.answering.predictions import Prediction
from biomechgpt_jax.model import decoder
from biomechgpt_jax.packing.rows import Item, assign_rows, lay_out_row
from biomechgpt_jax.tokenizer import prompt

_ROWS = 8  # read by the model together
_INVERSE_PENALTY = 0.1  # of the logistic regression, on standardised inputs
_PENALTIES = np.logspace(0, 4, 9)

_hidden = jax.jit(decoder.hidden, static_argnums=2)


def pool(tokens: Sequence[np.ndarray]) -> np.ndarray:
    """Means, standard deviations and log length, f64[N, 2D + 1], of tokens f32[n_i, D] of crops."""
    return np.stack([np.concatenate([t.mean(0), t.std(0), [np.log(len(t))]]) for t in tokens]).astype(np.float64)


def vectors(codes: Sequence[np.ndarray], code_vectors: np.ndarray) -> list[np.ndarray]:
    """The codec's own description f32[n_i, Q * D] of codes i32[n_i, Q], from that of each code f32[Q, N, D]."""
    layers = np.arange(code_vectors.shape[0])
    return [code_vectors[layers, each].reshape(len(each), -1) for each in codes]


def hidden_states(model: LanguageModel, codes: Sequence[np.ndarray], row_length: int) -> list[np.ndarray]:
    """Hidden states f32[n_i, D] after the final norm, of the tokens of crops with codes i32[n_i, Q]."""
    words = model.vocabulary
    items = [Item(prompt.trunk(words, each), ()) for each in codes]
    rows = assign_rows([item.length for item in items], max(row_length, *(item.length for item in items)))
    length = max(row_length, *(item.length for item in items))
    states: list[np.ndarray] = [np.zeros(0)] * len(codes)
    for first in range(0, len(rows), _ROWS):
        members = rows[first : first + _ROWS]
        members += [[]] * (_ROWS - len(members))
        laid = [lay_out_row([items[i] for i in row], length, words.pad, words.layers) for row in members]
        batch = {name: np.stack([row[name] for row in laid]) for name in laid[0]}
        made = np.asarray(_hidden(model.params, batch, model.cfg), np.float32)
        for row, chosen in enumerate(members):
            for segment, i in enumerate(chosen, 1):
                states[i] = made[row, laid[row]["segments"] == segment][1:]  # without the token that begins a trunk
    return states


def answers(train: Sequence[Asked], test: Sequence[Asked], x_train: np.ndarray, x_test: np.ndarray) -> list[Prediction]:
    """Answers of linear readers, one a question, from inputs f64[N, F] of the crop of each question."""
    found: dict[int, Prediction] = {}
    for question in dict.fromkeys(item.question for item in test):
        seen = [i for i, item in enumerate(train) if item.question == question]
        wanted = [i for i, item in enumerate(test) if item.question == question]
        truths = [train[i].truth for i in seen]
        if len(set(truths)) < 2:
            continue
        scaler = StandardScaler().fit(x_train[seen])
        known, new = scaler.transform(x_train[seen]), scaler.transform(x_test[wanted])
        if test[wanted[0]].kind == "number":
            values = RidgeCV(_PENALTIES).fit(known, np.array(truths, float)).predict(new)
            found |= {i: prediction(test[i], float(v), None) for i, v in zip(wanted, values, strict=True)}
            continue
        reader = LogisticRegression(C=_INVERSE_PENALTY, max_iter=300).fit(known, truths)
        for i, shares in zip(wanted, reader.predict_proba(new), strict=True):
            best = int(shares.argmax())
            found[i] = prediction(test[i], str(reader.classes_[best]), float(shares[best]))
            found[i]["options"] = dict(zip(map(str, reader.classes_), map(float, shares), strict=True))
    return [found[i] for i in sorted(found)]
