"""Skin markers on a body that moves in a known way, placed by forward kinematics."""

from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from biomechgpt_jax.biomechanics import kinematics
from biomechgpt_jax.biomechanics.fitting.landmarks import NOMINAL_HEIGHT_M, landmark
from biomechgpt_jax.biomechanics.fitting.marker_sets import match
from biomechgpt_jax.biomechanics.kinematics import FRACTIONS, Fractions
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT, INDEX

RATE_HZ = 50.0
LABELS = (
    *(f"{s}{n}" for s in "RL" for n in ("ASI", "PSI", "THI", "KNE", "TIB", "ANK", "HEE", "TOE")),
    *("C7", "T10", "CLAV", "STRN"),
    *(f"{s}{n}" for s in "RL" for n in ("SHO", "UPA", "ELB", "FRM", "WRA", "WRB")),
)


def walk(frames: int) -> np.ndarray:
    """Coordinates f32[T, 40] at RATE_HZ of a movement like walking that turns by 120 degrees."""
    time = np.arange(frames) / RATE_HZ
    q = np.zeros((frames, COORDINATE_COUNT), np.float32)
    wave = np.sin(2 * np.pi * 0.9 * time)
    q[:, INDEX["pelvis_tx"]], q[:, INDEX["pelvis_ty"]] = 1.2 * time, 0.95
    q[:, INDEX["pelvis_rotation"]] = 2.1 * time / time[-1]
    q[:, INDEX["pelvis_tilt"]], q[:, INDEX["pelvis_list"]] = -0.05, 0.06 * wave
    for side, sign in (("r", 1.0), ("l", -1.0)):
        q[:, INDEX[f"hip_flexion_{side}"]] = 0.15 + 0.4 * sign * wave
        q[:, INDEX[f"hip_adduction_{side}"]] = 0.08 * wave
        q[:, INDEX[f"knee_angle_{side}"]] = 0.5 - 0.4 * np.cos(2 * np.pi * 0.9 * time + sign)
        q[:, INDEX[f"ankle_angle_{side}"]] = 0.2 * np.cos(2 * np.pi * 0.9 * time + sign)
        q[:, INDEX[f"arm_flex_{side}"]] = -0.3 * sign * wave
        q[:, INDEX[f"elbow_flex_{side}"]] = 0.6 + 0.2 * wave
    q[:, INDEX["lumbar_rotation"]] = 0.1 * wave
    return q


def place(
    q: np.ndarray, height_m: float = 1.75, fractions: Fractions = FRACTIONS, labels: Sequence[str] = LABELS
) -> np.ndarray:
    """Positions f32[T, M, 3] in metres of markers on a body of this height."""
    _, chosen = match(labels)
    body = jax.device_get(kinematics.segments(q, height_m, fractions))
    placed = []
    for i in range(len(labels)):
        mark = landmark(chosen[i])
        x, y, z = (height_m / NOMINAL_HEIGHT_M * value for value in mark.offset_m)
        frame = body[mark.turns_with].frame
        placed.append(body[mark.at].origin + frame[0] * x + frame[1] * y + frame[2] * z)
    return np.stack(placed, axis=1).astype(np.float32)


def hide(positions: np.ndarray, names: tuple[str, ...], first: int = 0, end: int | None = None) -> np.ndarray:
    """The positions with some markers of LABELS unseen (NaN) from one frame up to another."""
    hidden = positions.copy()
    hidden[first:end, [LABELS.index(name) for name in names]] = np.nan
    return hidden


def write_trc(path: Path, positions: np.ndarray, labels: Sequence[str] = LABELS) -> None:
    """Write positions f32[T, M, 3] as a .trc file in millimetres; unseen markers are blank cells."""
    frames, count = positions.shape[:2]
    rows = [
        "\t".join(
            [str(i + 1), f"{i / RATE_HZ:.5f}", *("" if np.isnan(x) else f"{1000 * x:.4f}" for x in frame.ravel())]
        )
        for i, frame in enumerate(positions)
    ]
    head = [
        "\t".join(["PathFileType", "4", "(X/Y/Z)", path.name]),
        "\t".join(["DataRate", "CameraRate", "NumFrames", "NumMarkers", "Units"]),
        "\t".join([f"{RATE_HZ:g}", f"{RATE_HZ:g}", str(frames), str(count), "mm"]),
        "\t".join(["Frame#", "Time", *(cell for name in labels for cell in (name, "", ""))]),
        "\t".join(["", "", *(f"{axis}{i + 1}" for i in range(count) for axis in "XYZ")]),
    ]
    path.write_text("\n".join([*head, *rows]) + "\n")
