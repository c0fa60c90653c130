"""All controls that see the movement, on the same crops as the model: weak ones, and those that read it well.

The strong controls are gradient boosting of plain features of the movement (`features`), the same of the movement that
the motion codec gives back (`features_on_tokens`), which holds no more than the model is shown, and a convolutional
network with a head for every question (`encoder`). What the first loses to the second, the codec loses; what the model
loses to the second, it fails to read.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from biomechgpt_jax import config
from biomechgpt_jax.answering.asked import Asked
from biomechgpt_jax.answering.predictions import Prediction
from biomechgpt_jax.biomechanics.trajectory import Trial
from biomechgpt_jax.codec.backends import MotionCodec
from biomechgpt_jax.evaluation import baselines, encoder

Progress = Callable[[str, int, int], None]


def replace_movements(asked: Sequence[Asked], movement_of: dict[int, np.ndarray]) -> list[Asked]:
    """The same questions about other coordinates f32[T, 40] of their crops, by the identity of the crop's array."""
    return [dataclasses.replace(item, coordinates=movement_of[id(item.coordinates)]) for item in asked]


def reconstruct(codec: MotionCodec, asked: Sequence[Asked]) -> dict[int, np.ndarray]:
    """What the codec gives back of every crop, f32[T', 40], by the identity of the crop's array.

    It starts at the origin facing forward: no control looks at where a movement lies.
    """
    of = {id(item.coordinates): item for item in asked}
    codes = codec.encode([item.coordinates for item in of.values()], [item.observed for item in of.values()])
    return dict(zip(of, codec.decode(codes), strict=True))


def answer_all(
    train_trials: Sequence[Trial],
    train: Sequence[Asked],
    test: Sequence[Asked],
    codec: MotionCodec,
    cfg: config.Experiment,
    progress: Progress,
) -> Iterator[tuple[str, list[Prediction]]]:
    """Answers of every control to the test questions.

    Args:
        train_trials: those of train participants.
        train: the questions about their evaluation crops, with the true answers.
        test: the questions to answer.
        codec: what the model sees movement through.
        cfg: the experiment; `evaluation` and, for training crops, `pack` are read.
        progress: called with (what, done, total).
    """
    seed = cfg.evaluation.seed
    for number, name in enumerate(baselines.CONTROLS):
        yield name, baselines.answers(name, train, test, seed)
        progress("controls", number + 1, len(baselines.CONTROLS))
    shown = [replace_movements(rows, reconstruct(codec, rows)) for rows in (train, test)]
    yield "features_on_tokens", baselines.answers("features", shown[0], shown[1], seed)
    if cfg.evaluation.encoder_steps:
        yield "encoder", encoder.answers(train_trials, train, test, cfg, lambda *done: progress("encoder", *done))
