"""A question about a motion file, answered by a trained model."""

from pathlib import Path
from typing import Any

from biomechgpt_jax import formats
from biomechgpt_jax import workdir as workdirs
from biomechgpt_jax.answering import predict
from biomechgpt_jax.biomechanics import preprocess
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.packing import crops
from biomechgpt_jax.questions.registry import QUESTIONS
from biomechgpt_jax.questions.understanding import understand
from biomechgpt_jax.tasks import language
from biomechgpt_jax.tokenizer import vocabulary
from biomechgpt_jax.workdir import Workdir


def ask(workdir: Path, file: Path, text: str) -> dict[str, Any]:
    """Answer a question about a motion file with a trained model.

    Returns:
        "question", "answer", "probability", "unit", "text" (the answer in words, empty if it is no number), and
        "options" for a closed question.

    Raises:
        InputError: the file cannot be read, the question is not understood, or nothing is trained here.
    """

    understood = understand(text)
    question = understood.question
    trajectory = preprocess.canonical(formats.read(file))
    if question.name in crops.unanswerable(trajectory.observed):
        what = question.name.replace("_", " ")
        raise InputError(f"{file} has no pelvis_tx or pelvis_tz: {what} cannot be asked of it")
    work = Workdir(workdir)
    cfg = workdirs.load_experiment(workdir)
    codec, words = vocabulary.load(work.tokenizer)
    model = predict.LanguageModel(language.load_params(work.checkpoints, cfg, words), cfg.model, words, 1)
    said = predict.ask(
        model,
        codec.encode,
        trajectory.coordinates,
        trajectory.observed,
        question.name,
        understood.phrasing,
        QUESTIONS,
        crops.longest_frames(cfg, trajectory.rate_hz) / trajectory.rate_hz,
    )
    return said | {"text": "" if said["answer"] is None else question.answer_text(said["answer"])}
