"""Animated stick figures: points of the body, encoded for the report's canvas."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from biomechgpt_jax.answering.predictions import Prediction
from biomechgpt_jax.biomechanics import kinematics

LONGEST_S = 20.0
_FLOOR_PERCENTILE = 10  # percentile of the lowest point over time that is taken as the floor, robust to outlying frames


@dataclass(frozen=True)
class Clip:
    """A movement to draw, with the questions asked about it and their answers.

    Attributes:
        points: f32[T, P, 3] metres, x forward, y up, z right.
        bones: pairs of point indices.
        sides: per bone "r", "l" or "" for the middle of the body.
        head: index of the point drawn as a head; -1 for none.
    """

    title: str
    points: np.ndarray
    bones: Sequence[tuple[int, int]]
    sides: Sequence[str]
    rate_hz: float
    answers: Sequence[Prediction]
    head: int = -1


def level(points: np.ndarray, facing_xz: np.ndarray) -> np.ndarray:
    """Rotate a horizontal direction f32[2] to x, and move the start to the origin and the floor to 0; f32[T, P, 3]."""
    forward = facing_xz / max(float(np.linalg.norm(facing_xz)), 1e-9)
    x, y, z = np.moveaxis(points, -1, 0)
    turned = np.stack([x * forward[0] + z * forward[1], y, z * forward[0] - x * forward[1]], axis=-1)
    start = turned[0].mean(axis=0)
    floor = np.percentile(turned[..., 1].min(axis=1), _FLOOR_PERCENTILE)
    return (turned - np.array([start[0], floor, start[2]])).astype(np.float32)


def pack(clip: Clip) -> dict[str, Any]:
    """Encode a clip for the page's script: bones, and points in mm as 16-bit integers (little-endian, base64)."""
    frames = clip.points[: round(LONGEST_S * clip.rate_hz)]
    millimetres = np.clip(np.round(frames * 1000.0), -32768, 32767).astype("<i2")
    return {
        "frames": len(frames),
        "count": frames.shape[1],
        "rate": clip.rate_hz,
        "data": base64.b64encode(millimetres.tobytes()).decode("ascii"),
        "bones": [[int(a), int(b), side] for (a, b), side in zip(clip.bones, clip.sides, strict=True)],
        "head": clip.head,
    }


def clip(title: str, coordinates: np.ndarray, rate_hz: float, height_m: float, answers: Sequence[Prediction]) -> Clip:
    """Build a clip from coordinates f32[T, 40] that starts facing x; body height is 1.70 m if unknown."""
    height = height_m if np.isfinite(height_m) else kinematics.DEFAULT_HEIGHT_M
    body = np.asarray(kinematics.points_jit(coordinates.astype(np.float32), height))
    at = kinematics.POINT_INDEX
    across = (body[:, at["hip_r"]] - body[:, at["hip_l"]])[: max(1, round(rate_hz))].mean(axis=0)
    facing = np.array([across[2], -across[0]])  # up x right
    names = kinematics.POINTS
    sides = [names[b][-1] if names[b].endswith(("_r", "_l")) else "" for _, b in kinematics.BONES]
    return Clip(title, level(body, facing), kinematics.BONES, sides, rate_hz, answers, at["head"])
