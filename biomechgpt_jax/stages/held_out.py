"""Ask a trained run about people it was not trained on: the questions, and the run's models to answer them."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from biomechgpt_jax import config
from biomechgpt_jax.answering import predict
from biomechgpt_jax.answering.asked import Asked
from biomechgpt_jax.answering.predictions import Prediction
from biomechgpt_jax.biomechanics.trajectory import Trial
from biomechgpt_jax.packing import crops
from biomechgpt_jax.questions.registry import QUESTIONS
from biomechgpt_jax.tasks import trained
from biomechgpt_jax.tasks.id_space import IdSpace
from biomechgpt_jax.tasks.parameters import Frozen
from biomechgpt_jax.tokenizer.vocabulary import Vocabulary


def questions_of(trials: Iterable[Trial], cfg: config.Experiment) -> list[Asked]:
    """Every question that the evaluation crops of trials support, with its true answer; one array per crop."""
    asked = []
    for trial in trials:
        rate = trial.trajectory.rate_hz
        for crop in crops.evaluation(trial, cfg):
            coordinates = np.asarray(crop.coordinates(trial), np.float32)
            for name, truth in crops.answerable(trial, crop, cfg).items():
                question = QUESTIONS[name]
                asked.append(
                    Asked(
                        trial=trial.trial_id,
                        participant=trial.participant,
                        coordinates=coordinates,
                        observed=np.asarray(crop.observed, bool),
                        rate_hz=rate,
                        start_s=crop.start_frame / rate,
                        family=question.family,
                        question=name,
                        kind=question.kind,
                        unit=question.unit,
                        phrasing=question.phrasing(trial.trial_id),
                        truth=truth,
                    )
                )
    return asked


def load_model(cfg: config.Experiment, words: Vocabulary, checkpoints: Path, frozen: Frozen) -> predict.LanguageModel:
    """The newest model of a run, to answer many questions."""
    return predict.LanguageModel(
        trained.load_params(checkpoints, cfg.model, IdSpace.of(words), frozen=frozen),
        *(cfg.model, words, cfg.evaluation.batch_size),
        numbers=cfg.evaluation.numbers,
    )


def answers(
    model: predict.LanguageModel, codec: Any, asked: Sequence[Asked], progress: Callable[[int, int], None]
) -> list[Prediction]:
    """What a model answers; each crop is encoded once."""
    crop_of = {id(item.coordinates): item for item in asked}
    tokens = codec.encode([item.coordinates for item in crop_of.values()], [item.observed for item in crop_of.values()])
    codes_of = dict(zip(crop_of, tokens, strict=True))
    codes = [codes_of[id(item.coordinates)] for item in asked]
    return predict.answers(model, asked, codes, QUESTIONS, progress)
