"""Which part of a trial is shown, mirrored or not, and with which coordinates."""

from dataclasses import dataclass

import numpy as np

from biomechgpt_jax import config
from biomechgpt_jax.biomechanics.skeleton import (
    COORDINATE_COUNT,
    COORDINATES,
    HORIZONTAL_ROOT,
    INDEX,
    MIRROR_PERMUTATION,
    NECK_AND_WRISTS,
    OFTEN_ARTEFACTS,
    mirror,
)
from biomechgpt_jax.biomechanics.trajectory import Trial

# Room that the trunk leaves for questions in a row, in tokens.
ROOM_FOR_QUESTIONS = 64


@dataclass(frozen=True)
class Crop:
    """Frames [start_frame, end_frame) of a trial.

    Attributes:
        observed: bool[40] of the coordinates as shown, so after mirroring.
    """

    start_frame: int
    end_frame: int
    mirrored: bool
    observed: np.ndarray

    def coordinates(self, trial: Trial) -> np.ndarray:
        """What is shown, f32[T, 40]."""
        shown = trial.trajectory.coordinates[self.start_frame : self.end_frame]
        return mirror(shown) if self.mirrored else shown


def longest_frames(cfg: config.Experiment, rate_hz: float) -> int:
    """Longest crop whose trunk leaves room for questions in a row."""
    tokens = cfg.pack.row_length - ROOM_FOR_QUESTIONS - 1
    return int(min(tokens * cfg.tokenizer.stride, cfg.pack.longest_crop_s * rate_hz))


def _score_span(trial: Trial) -> tuple[int, int] | None:
    """Frames that hold every timed test of a trial."""
    if not trial.scores:
        return None
    rate = trial.trajectory.rate_hz
    start = min(score.start_s for score in trial.scores.values())
    end = max(score.end_s for score in trial.scores.values())
    return int(np.floor(start * rate)), int(np.ceil(end * rate)) + 1


def evaluation(trial: Trial, cfg: config.Experiment) -> list[Crop]:
    """The crop on which a held-out trial is judged: all of it if it fits, else what holds its timed tests."""
    frames, longest = trial.trajectory.frames, longest_frames(cfg, trial.trajectory.rate_hz)
    start, end = 0, frames
    if frames > longest:
        span = _score_span(trial)
        centre = (span[0] + span[1]) // 2 if span else frames // 2
        start = int(np.clip(centre - longest // 2, 0, frames - longest))
        end = start + longest
    return [Crop(start, end, False, np.asarray(trial.trajectory.observed, bool))]


def training(trial: Trial, cfg: config.Experiment, rng: np.random.Generator) -> Crop:
    """A random crop: log-uniform length, often around a whole timed test, mirrored and masked at random."""
    frames, rate = trial.trajectory.frames, trial.trajectory.rate_hz
    longest = min(frames, longest_frames(cfg, rate))
    span = _score_span(trial)
    if span and span[1] - span[0] <= longest and rng.random() < 0.6:
        # The whole test with a random share of the quiet time before and after it.
        margin = longest - (span[1] - span[0])
        before = int(rng.integers(0, min(span[0], margin) + 1))
        after = int(rng.integers(0, max(min(frames - span[1], margin - before), 0) + 1))
        start, end = max(span[0] - before, 0), min(span[1] + after, frames)
    else:
        shortest = min(longest, int(round(cfg.pack.shortest_crop_s * rate)))
        length = int(np.exp(rng.uniform(np.log(shortest), np.log(longest + 1))))
        start = int(rng.integers(0, frames - length + 1))
        end = start + length
    mirrored = bool(rng.random() < cfg.pack.mirror_probability)
    observed = np.asarray(trial.trajectory.observed, bool)
    observed = observed[MIRROR_PERMUTATION] if mirrored else observed
    return Crop(start, end, mirrored, observed & ~_hidden(cfg, rng))


def _hidden(cfg: config.Experiment, rng: np.random.Generator) -> np.ndarray:
    """Coordinates that this crop hides because real files lack them, bool[40]."""
    hidden = np.zeros(COORDINATE_COUNT, bool)
    if rng.random() >= cfg.pack.mask_probability:
        return hidden
    hidden[[INDEX[name] for name in NECK_AND_WRISTS]] = True
    if rng.random() < 0.4:
        hidden[[INDEX[name] for name in OFTEN_ARTEFACTS]] = True
    if rng.random() < 0.12:
        hidden[[INDEX[name] for name in HORIZONTAL_ROOT]] = True
    if rng.random() < 0.12:
        hidden[[i for i, name in enumerate(COORDINATES) if name.startswith(("arm_", "elbow_", "pro_sup"))]] = True
    return hidden


def unanswerable(observed: np.ndarray) -> frozenset[str]:
    """Questions that a movement without these coordinates cannot answer."""
    root = [INDEX[name] for name in HORIZONTAL_ROOT]
    hides_root = not observed[root].all()
    return frozenset({"walking_speed", "step_length", "ten_metre_walk_time"} if hides_root else ())
