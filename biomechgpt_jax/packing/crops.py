"""Crops of trials: the frames shown, mirroring, hidden coordinates, and the questions that a crop can answer."""

from collections.abc import Collection
from dataclasses import dataclass
from functools import partial

import numpy as np

from biomechgpt_jax import config
from biomechgpt_jax.biomechanics import systems
from biomechgpt_jax.biomechanics.skeleton import (
    COORDINATE_COUNT,
    COORDINATES,
    HORIZONTAL_ROOT,
    INDEX,
    MIRROR_PERMUTATION,
    NECK_AND_WRISTS,
    OFTEN_ARTEFACTS,
    limits,
    mirror,
)
from biomechgpt_jax.biomechanics.trajectory import Trial
from biomechgpt_jax.data.label_use import LabelUse
from biomechgpt_jax.packing import strangers
from biomechgpt_jax.questions.truth import labels, truths, unanswerable

# Number of tokens of a row that the trunk leaves free for questions.
ROOM_FOR_QUESTIONS = 64
# Share of training crops around a whole timed test, where there is one; share of the remaining that are whole trials.
TIMED_SHARE, WHOLE_SHARE = 0.6, 0.2
_LIMITS = limits()


@dataclass(frozen=True)
class Crop:
    """Frames [start_frame, end_frame) of a trial.

    Attributes:
        observed: bool[40], which coordinates are observed, after mirroring.
        system: the measurement system that the movement is seen through, after mirroring; None for the trial's own.
    """

    start_frame: int
    end_frame: int
    mirrored: bool
    observed: np.ndarray
    system: systems.System | None = None

    def coordinates(self, trial: Trial) -> np.ndarray:
        """The coordinates shown, f32[T, 40]."""
        shown = trial.trajectory.coordinates[self.start_frame : self.end_frame]
        shown = mirror(shown) if self.mirrored else shown
        if self.system is None:
            return shown
        seen = np.clip(self.system.apply(shown, self.observed), _LIMITS[:, 0], _LIMITS[:, 1])
        return np.where(self.observed, seen, shown)


def answerable(trial: Trial, crop: Crop, cfg: config.Experiment) -> dict[str, str | float]:
    """The true answers to the questions that a crop can answer, by question name.

    A crop covers the time from its first to its last frame. The codec drops the frames after the last whole token, so
    where the window of a test is a whole recorded file, the crop may lack less than a token of it.
    """
    if crop.end_frame <= crop.start_frame:
        return {}
    rate = trial.trajectory.rate_hz
    slack_s = (cfg.tokenizer.granularity - 1) / rate if trial.throughout else 0.0
    true = truths(trial, crop.start_frame / rate, (crop.end_frame - 1) / rate, slack_s)
    hidden = unanswerable(crop.observed)
    return {name: answer for name, answer in true.items() if name not in hidden}


def count_labels(use: LabelUse, trial: Trial, asked: Collection[str], cfg: config.Experiment) -> None:
    """Count the labels of a trial, given the questions asked about it; for recorded files, say why one is unused."""
    reason = partial(_why_not_asked, trial, cfg=cfg) if trial.throughout else None
    use.add(trial.trial_id, labels(trial), asked, reason)


def _why_not_asked(trial: Trial, name: str, cfg: config.Experiment) -> str:
    """Why no question asks for a label of a recorded file."""
    trajectory = trial.trajectory
    if trajectory.frames < cfg.tokenizer.granularity:
        return f"it lasts {trajectory.seconds:.2f} s, less than one motion token (tokenizer.stride)"
    if name in unanswerable(trajectory.observed):
        return "pelvis_tx or pelvis_tz is not recorded"
    span, longest = timed_span(trial, cfg), longest_frames(cfg, trajectory.rate_hz)
    if name in trial.scores and span and span[1] - span[0] > longest:
        return (
            f"it lasts {trajectory.seconds:.1f} s and the longest crop {longest / trajectory.rate_hz:.1f} s; a test is "
            "asked only of crops that hold it whole (pack.longest_crop_s, pack.row_length)"
        )
    return (
        "no drawn crop held them with room for the question (pack.crops_per_trial, pack.questions_per_crop, "
        "pack.row_length)"
    )


def longest_frames(cfg: config.Experiment, rate_hz: float) -> int:
    """Length in frames of the longest crop of whole tokens whose trunk leaves room for questions in a row."""
    tokens = max(cfg.pack.row_length - ROOM_FOR_QUESTIONS - 1, 1)
    return _whole_tokens(int(min(tokens * cfg.tokenizer.frames_per_token, cfg.pack.longest_crop_s * rate_hz)), cfg)


def _whole_tokens(frames: int, cfg: config.Experiment) -> int:
    """Round down to frames that make whole tokens: a truth must not depend on frames that the codec drops."""
    return frames // cfg.tokenizer.granularity * cfg.tokenizer.granularity


def timed_span(trial: Trial, cfg: config.Experiment) -> tuple[int, int] | None:
    """The frames [start, end) that hold every timed test of a trial; None if it has no test.

    Where the window is a whole recorded file, the span is rounded down to whole tokens; `answerable` allows for this.
    """
    if not trial.scores:
        return None
    rate, frames = trial.trajectory.rate_hz, trial.trajectory.frames
    start = int(np.floor(min(score.start_s for score in trial.scores.values()) * rate))
    end = int(np.ceil(max(score.end_s for score in trial.scores.values()) * rate)) + 1
    return (start, start + _whole_tokens(min(end, frames) - start, cfg)) if trial.throughout else (start, end)


def evaluation(trial: Trial, cfg: config.Experiment) -> list[Crop]:
    """The crop on which a held-out trial is evaluated: the whole trial if it fits, otherwise around its timed tests."""
    frames, longest = trial.trajectory.frames, longest_frames(cfg, trial.trajectory.rate_hz)
    start, end = 0, _whole_tokens(frames, cfg)
    if frames > longest:
        span = timed_span(trial, cfg)
        centre = (span[0] + span[1]) // 2 if span else frames // 2
        start = int(np.clip(centre - longest // 2, 0, frames - longest))
        end = start + longest
    return [Crop(start, end, False, np.asarray(trial.trajectory.observed, bool))]


def training(trial: Trial, cfg: config.Experiment, rng: np.random.Generator, informative: bool = False) -> Crop:
    """Draw a crop: log-uniform length, often around a whole timed test, randomly mirrored, masked and seen by a system.

    The crop is empty if the trial is shorter than a token.

    Args:
        informative: draw a log-uniform crop, place it around one of the trial's defining intervals, and lengthen it if
            none of them fits.
    """
    frames, rate = trial.trajectory.frames, trial.trajectory.rate_hz
    longest = _whole_tokens(min(frames, longest_frames(cfg, rate)), cfg)
    if not longest:
        return Crop(0, 0, False, np.asarray(trial.trajectory.observed, bool))
    span = timed_span(trial, cfg)
    if not informative and span and span[1] - span[0] <= longest and rng.random() < TIMED_SHARE:
        # The whole test with a random share of the quiet time before and after it.
        margin = longest - (span[1] - span[0])
        before = int(rng.integers(0, min(span[0], margin) + 1))
        after = int(rng.integers(0, max(min(frames - span[1], margin - before), 0) + 1))
        start = span[0] - before
        # Up to a whole token, so that rounding does not cut the test.
        length = min(_whole_tokens(span[1] + after - start + cfg.tokenizer.granularity - 1, cfg), longest)
        start = min(start, frames - length)
    elif not informative and rng.random() < WHOLE_SHARE:
        length = longest
        start = int(rng.integers(0, frames - length + 1))
    else:
        shortest = min(longest, int(np.ceil(cfg.pack.shortest_crop_s * rate)))
        drawn = int(np.exp(rng.uniform(np.log(shortest), np.log(longest + 1))))
        length = min(_whole_tokens(drawn + cfg.tokenizer.granularity - 1, cfg), longest)
        start = int(rng.integers(0, frames - length + 1))
        if informative and len(trial.defining):
            start, length = _around_defining(trial, cfg, length, longest, rng)
    end = start + length
    mirrored = bool(rng.random() < cfg.pack.mirror_probability)
    observed = np.asarray(trial.trajectory.observed, bool)
    observed = observed[MIRROR_PERMUTATION] if mirrored else observed
    observed = observed & ~_draw_hidden(cfg, rng)
    # Nothing is drawn where there are no systems, so that rows packed without them stay as they are.
    if not cfg.pack.systems or rng.random() >= cfg.pack.systems:
        return Crop(start, end, mirrored, observed)
    activity = trial.trajectory.metadata.activity
    return Crop(start, end, mirrored, observed & ~systems.draw_lacking(rng), strangers.draw_system(activity, rng))


def _around_defining(
    trial: Trial, cfg: config.Experiment, length: int, longest: int, rng: np.random.Generator
) -> tuple[int, int]:
    """Start and length in frames of a crop that holds a defining interval, drawn from those that fit it."""
    rate, frames = trial.trajectory.rate_hz, trial.trajectory.frames
    first = np.floor(trial.defining[:, 0] * rate).astype(int)
    last = np.ceil(trial.defining[:, 1] * rate).astype(int) + 1
    shortest = int((last - first).min())
    length = max(length, min(_whole_tokens(shortest + cfg.tokenizer.granularity - 1, cfg), longest))
    chosen = int(rng.choice(np.flatnonzero(last - first <= max(length, shortest))))
    lowest = np.clip(last[chosen] - length, 0, frames - length)
    highest = np.clip(first[chosen], lowest, frames - length)
    return int(rng.integers(lowest, highest + 1)), length


def _draw_hidden(cfg: config.Experiment, rng: np.random.Generator) -> np.ndarray:
    """Draw the coordinates that a crop hides, bool[40], as real files often lack them."""
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
