"""The simulate stage: write the synthetic cohort as the `movements` dataset."""

from collections.abc import Sequence
from typing import Any

from biomechgpt_jax import config
from biomechgpt_jax.cohort.simulate import simulate
from biomechgpt_jax.data import movements, splits, store
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.progress import Progress
from biomechgpt_jax.workdir import Workdir

# Cohorts longer than this must be written by Apache Beam.
IN_MEMORY_HOURS = 200.0


def run(cfg: config.Experiment, work: Workdir, progress: Progress, beam: Sequence[str] = ()) -> dict[str, Any]:
    if store.is_dataset(work.movements):
        facts = store.metadata(work.movements)
        if not facts.get("synthetic", True):
            # Imported recordings are never replaced by a simulation.
            words = f"imported: {facts['participants']} participants, {facts['trials']} trials"
            progress.done(words, splits.warnings(facts))
            return facts

    def report(trials: int, hours: float) -> None:
        progress.update(min(hours, cfg.cohort.hours), cfg.cohort.hours, f"{trials} trials, {hours:.1f} h")

    made = {"synthetic": True, "seed": cfg.cohort.seed, "noise": cfg.cohort.noise}
    if beam:
        from biomechgpt_jax.data import beam as pipelines

        progress.update(0, cfg.cohort.hours, f"{' '.join(beam)}: {cfg.cohort.hours:g} h")
        digest = pipelines.write(cfg.cohort, work.movements, made, beam)
    elif cfg.cohort.hours > IN_MEMORY_HOURS:
        raise InputError(
            f"cohort.hours is {cfg.cohort.hours:g}: one process would hold it all in memory, some 40 MB per hour; let "
            "Apache Beam write it: biomechgpt simulate ... --runner DirectRunner (or the runner of your cluster)"
        )
    else:
        digest = movements.write(simulate(cfg.cohort, report), work.movements, made)
    facts = store.metadata(work.movements)
    words = f"{facts['participants']} participants, {facts['trials']} trials, {facts['hours']:.1f} h"
    progress.done(words, splits.warnings(facts))
    return {"digest": digest, **facts}
