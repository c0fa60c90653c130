"""The calibrate stage: fit how sure answers may be, on the people of the run's validation split."""

from typing import Any

from biomechgpt_jax import config
from biomechgpt_jax import workdir as workdirs
from biomechgpt_jax.calibration import stored
from biomechgpt_jax.calibration.stored import UNCALIBRATED, Calibration
from biomechgpt_jax.data import movements
from biomechgpt_jax.progress import Progress
from biomechgpt_jax.stages import held_out
from biomechgpt_jax.tasks import base
from biomechgpt_jax.tokenizer import vocabulary
from biomechgpt_jax.workdir import Workdir


def run(cfg: config.Experiment, work: Workdir, progress: Progress) -> dict[str, Any]:
    """Ask every question about the validation people, and write what is fitted to their answers."""
    asked = held_out.questions_of(movements.read(work.movements, "validation"), cfg)
    rows = []
    if asked:
        codec, words = vocabulary.load(work.tokenizer)
        frozen = base.of(cfg.model).frozen.with_code_vectors(codec.code_vectors())
        model = held_out.load_model(cfg, words, work.checkpoints, frozen)
        rows = held_out.answers(model, codec, asked, lambda done, whole: progress.update(done, whole, "model"))
    found = stored.fit(rows, _training(work))
    stored.write(work.calibration, found)
    people = len({row["participant"] for row in rows})
    progress.done(f"{len(found.questions)} questions fitted on {people} validation people")
    return {"digest": stored.digest(work.calibration)}


def load(work: Workdir) -> Calibration:
    """What was fitted for the newest model of a run; nothing where its training went on, or where no stage fitted it.

    Raises:
        InputError: the file is damaged.
    """
    if not work.calibration.is_file():
        return UNCALIBRATED
    found = stored.read(work.calibration)
    return found if found.training and found.training == _training(work) else UNCALIBRATED


def _training(work: Workdir) -> str:
    """What the train stage was given and made, as a digest; empty where it is not done."""
    marker = workdirs.read_marker(work, "train")
    return workdirs.digest([marker["inputs"], marker["outcome"]]) if marker else ""
