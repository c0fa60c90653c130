"""Packed rows like those of the quickstart, with a codec that needs no training."""

import dataclasses
import runpy
from pathlib import Path
from typing import Any

from biomechgpt_jax import config
from biomechgpt_jax.codec import dct
from biomechgpt_jax.cohort.simulate import simulate
from biomechgpt_jax.data import movements
from biomechgpt_jax.packing import sequences
from biomechgpt_jax.questions import registry
from biomechgpt_jax.tokenizer.sentencepiece import SentencePieceTokenizer
from biomechgpt_jax.tokenizer.vocabulary import Vocabulary

_QUICKSTART = Path(__file__).parents[1] / "configs" / "quickstart.py"


def quickstart(participants: int) -> config.Experiment:
    """The quickstart with so many people, and DCT at the rate of the quickstart's codec, 7.5 tokens a second."""
    base: config.Experiment = runpy.run_path(str(_QUICKSTART))["config"]()
    hours = base.cohort.hours * participants / base.cohort.participants
    return dataclasses.replace(
        base,
        cohort=dataclasses.replace(base.cohort, participants=participants, hours=hours),
        tokenizer=dataclasses.replace(base.tokenizer, quantizer="dct", dct_rate=7.5),
    )


def pack(
    cfg: config.Experiment, row_lengths: tuple[int, ...], root: Path
) -> tuple[dict[int, dict[str, Any]], Vocabulary]:
    """Simulate once and pack into rows of each length, at root/length: (the reports of `pack`, the vocabulary)."""

    def quiet(*_: object) -> None:
        return None

    movements.write(simulate(cfg.cohort, quiet), root / "movements", {})
    train = [(t.trajectory.coordinates, t.trajectory.observed) for t in movements.read(root / "movements", "train")]
    codec = dct.fit(cfg.tokenizer, train, quiet)
    text = SentencePieceTokenizer.train(registry.corpus(), cfg.tokenizer.text_pieces)
    words = Vocabulary(text, codec.codes, codec.digest, codec.layers)
    reports = {}
    for length in row_lengths:
        own = dataclasses.replace(cfg, pack=dataclasses.replace(cfg.pack, row_length=length))
        places = root / str(length), root / f"{length}_text_only"
        reports[length] = sequences.pack(root / "movements", *places, codec, words, own, quiet)
    return reports, words
