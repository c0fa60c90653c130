"""The pack stage: turn movements and questions into packed sequences."""

from typing import Any

from biomechgpt_jax import config
from biomechgpt_jax.data import store
from biomechgpt_jax.data.label_use import LabelUse
from biomechgpt_jax.packing import sequences
from biomechgpt_jax.progress import Progress
from biomechgpt_jax.tokenizer import vocabulary
from biomechgpt_jax.workdir import Workdir


def run(cfg: config.Experiment, work: Workdir, progress: Progress) -> dict[str, Any]:
    codec, words = vocabulary.load(work.tokenizer)
    report = sequences.pack(
        work.movements,
        work.sequences,
        work.sequences_text_only,
        codec,
        words,
        cfg,
        lambda what, done, whole: progress.update(done, whole, what),
    )
    fill = 100 * report["fill"].get("train", 0.0)
    rows, questions = report["rows"].get("train", 0), report["questions"].get("train", 0)
    left_out, use = sequences.left_out_words(report["left_out"]), LabelUse(**report["labels"])
    around = len(words.before) + len(words.after) - 1  # without the token that asks for an answer
    summary = (
        f"{rows} rows, {questions} questions, {fill:.1f} % full",
        f"the chat template takes {around} tokens of each question" if around else "",
        use.words(),
        left_out and f"left out: {left_out}",
    )
    progress.done("; ".join(filter(None, summary)), use.lines())
    return {"digest": store.metadata(work.sequences)["digest"], **report}
