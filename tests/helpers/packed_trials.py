"""Trials, a codec and a vocabulary made up to follow what the pack does with them."""

import numpy as np
from alphabet import Alphabet

from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT
from biomechgpt_jax.biomechanics.trajectory import Contacts, Metadata, Score, Trajectory, Trial
from biomechgpt_jax.data import store
from biomechgpt_jax.packing.rows import ARRAYS
from biomechgpt_jax.tokenizer.vocabulary import Vocabulary

RATE_HZ = 30.0
CODES = 50


def walk(seconds: float, step_s: float) -> Contacts:
    time = np.arange(0.3, seconds - 0.1, step_s)
    foot = np.arange(len(time)) % 2
    xz = np.stack([0.6 * np.arange(len(time)), 0.1 * foot], 1)
    return Contacts(
        time.astype(np.float32),
        foot.astype(np.int32),
        xz.astype(np.float32),
        (time + 0.1).astype(np.float32),
        (1 - foot).astype(np.int32),
    )


def walking(number: int, seconds: float = 9.0) -> Trial:
    rng = np.random.default_rng(number)
    contacts = walk(seconds, 0.5 + 0.1 * rng.random())
    strides = np.stack([contacts.strike_time[:-2], contacts.strike_time[2:]], 1)
    return _trial(number, "walking", seconds, contacts, strides, {})


def timed(number: int, seconds: float = 22.0) -> Trial:
    """A timed up and go: quiet, 3 s to 17 s of test, quiet."""
    score = {"tug_time": Score(14.0, 3.0, 17.0)}
    window = np.array([[3.0, 17.0]], np.float32)
    return _trial(number, "timed up and go", seconds, Contacts(), window, score)


def _trial(number, activity, seconds, contacts, defining, scores) -> Trial:
    rng = np.random.default_rng([number, 1])
    frames = round(seconds * RATE_HZ)
    moved = rng.normal(size=(frames, COORDINATE_COUNT)).astype(np.float32)
    known = Metadata(participant=f"p{number:03d}", activity=activity)
    trajectory = Trajectory(moved, np.ones(COORDINATE_COUNT, bool), RATE_HZ, known)
    return Trial(
        f"t{number:03d}",
        trajectory,
        diagnosis=("healthy", "stroke")[number % 2],
        device="none",
        contacts=contacts,
        defining=defining.astype(np.float32),
        scores=scores,
    )


class Codec:
    """One code for every `stride` frames."""

    codes, layers, digest = CODES, 1, "codec"

    def __init__(self, stride: int = 4) -> None:
        self.stride = stride
        self.seen: list[tuple[np.ndarray, np.ndarray]] = []

    def encode(self, coordinates, observed):
        self.seen += list(zip(coordinates, observed, strict=True))
        return [np.arange(len(c) // self.stride, dtype=np.int32)[:, None] % CODES for c in coordinates]

    def code_vectors(self):
        angle = np.linspace(0, np.pi, CODES, dtype=np.float32)
        return np.stack([np.cos(angle), np.sin(2 * angle)], axis=1)[None]


# A piece for every character, its id the number of the character.
WORDS = Vocabulary(Alphabet("".join(map(chr, range(128)))), CODES, Codec.digest)


def write_rows(directory, splits, row_length=6, vocabulary="vocabulary", start=0):
    """A packed dataset of made-up rows, so many by split, whose tokens are the row's number counted from `start`."""
    arrays = {key: ((row_length,), np.float32 if key == "loss_weights" else np.int32) for key in ARRAYS}
    rows, at = {}, start
    for split, count in splits.items():
        numbers = range(at, at + count)
        rows[split] = [
            (f"{n:07d}", {key: np.full(row_length, n, dtype) for key, (_, dtype) in arrays.items()}) for n in numbers
        ]
        at += count
    facts = {"vocabulary": vocabulary, "row_length": row_length, "families": ["gait", "timed"]}
    store.write(directory, "sequences", arrays, rows, facts)
    return directory
