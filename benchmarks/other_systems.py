"""Small files of systems of which no sample comes with this project: FreeMoCap, Motive, Xsens, HumanML3D, Theia3D."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

_MARKERS = ("LASI", "RASI", "LPSI", "RPSI", "LKNE", "RKNE", "LANK", "RANK")
_SEGMENTS = ("pelvis", "torso", *(f"{side}_{part}" for side in "rl" for part in ("thigh", "shank", "foot", "toes")))


def write(folder: Path, waves: np.ndarray) -> Iterator[Path]:
    """Write one file of each kind; `waves` f32[T, 40] are smooth numbers of which they are made.

    Yields:
        The paths of the files. Theia3D's needs ezc3d and is left out without it.
    """
    wide = np.tile(waves, 3).astype(np.float64)
    np.save(folder / "joints.npy", wide[:, :66].reshape(-1, 22, 3).astype(np.float32))
    yield folder / "joints.npy"
    for name, text in (
        ("motive.csv", _motive(1000 * wide)),
        ("freemocap.csv", _freemocap(1000 * wide)),
        ("freemocap_tidy.csv", _freemocap_tidy(1000 * wide[:8])),
        ("angles.mvnx", _mvnx(wide[:12], angles=True)),
        ("positions.mvnx", _mvnx(wide[:12], angles=False)),
    ):
        (folder / name).write_text(text)
        yield folder / name
    try:
        yield _theia(folder / "theia.c3d", waves)
    except ImportError:
        return


def _motive(values: np.ndarray) -> str:
    labels = [f"Walker:{name}" for name in _MARKERS for _ in "XYZ"]
    head = [
        "Format Version,1.23,Take Name,walk,Capture Frame Rate,100,Export Frame Rate,100,Length Units,Millimeters",
        "",
        ",".join(["", "Type", *["Marker"] * len(labels)]),
        ",".join(["", "Name", *labels]),
        ",".join(["", "ID", *["1"] * len(labels)]),
        ",".join(["", "", *["Position"] * len(labels)]),
        ",".join(["Frame", "Time (Seconds)", *["X", "Y", "Z"] * len(_MARKERS)]),
    ]
    rows = [",".join([str(i), f"{i / 100}", *(f"{x:.3f}" for x in row[: len(labels)])]) for i, row in enumerate(values)]
    return "\n".join([*head, *rows]) + "\n"


def _joints() -> list[str]:
    return [f"{side}_{part}" for part in ("shoulder", "hip", "knee", "ankle", "heel") for side in ("left", "right")]


def _freemocap(values: np.ndarray) -> str:
    names = [f"body_{name}_{axis}" for name in _joints() for axis in "xyz"]
    rows = [",".join([f"{i / 30:.4f}", *(f"{x:.3f}" for x in row[: len(names)])]) for i, row in enumerate(values)]
    return "\n".join([",".join(["timestamp", *names]), *rows]) + "\n"


def _freemocap_tidy(values: np.ndarray) -> str:
    lines = ["frame,timestamp,model,keypoint,x,y,z"]
    for frame, row in enumerate(values):
        for name, point in zip(_joints(), row.reshape(-1, 3), strict=False):
            lines.append(f"{frame},{frame / 30:.4f},mediapipe.body,body_{name},{','.join(f'{x:.3f}' for x in point)}")
    return "\n".join(lines) + "\n"


def _mvnx(values: np.ndarray, angles: bool) -> str:
    text = ['<?xml version="1.0"?><mvnx version="4"><subject label="x" frameRate="60"><frames>']
    for i, row in enumerate(values):
        numbers = {"orientation": np.tile([1.0, 0, 0, 0], 23), "position": row[:69]}
        numbers |= {"jointAngle": 30 * row[:66]} if angles else {}
        cells = "".join(f"<{name}>{' '.join(f'{x:.4f}' for x in part)}</{name}>" for name, part in numbers.items())
        text.append(f'<frame time="{round(1000 * i / 60)}" type="normal">{cells}</frame>')
    return "\n".join([*text, "</frames></subject></mvnx>"])


def _theia(path: Path, waves: np.ndarray) -> Path:
    import ezc3d

    places = {"pelvis": (0, 0, 950), "torso": (0, 0, 1100)}
    for side, sign in (("r", 1), ("l", -1)):
        heights = {"thigh": (0, 900), "shank": (0, 480), "foot": (0, 70), "toes": (140, 10)}
        places |= {f"{side}_{part}": (sign * 90, ahead, up) for part, (ahead, up) in heights.items()}
    poses = np.tile(np.eye(4)[..., None, None], (1, 1, len(_SEGMENTS), len(waves)))
    for index, name in enumerate(_SEGMENTS):
        poses[:3, 3, index] = np.array(places[name])[:, None] + 10 * waves[:, :3].T
    file = ezc3d.c3d()
    for group in ("POINT", "ANALOG"):
        file["parameters"][group]["RATE"]["value"] = [60.0]
    file["parameters"]["POINT"]["UNITS"]["value"] = ["mm"]
    file["data"]["points"], file["data"]["analogs"] = np.zeros((4, 0, len(waves))), np.zeros((1, 0, len(waves)))
    file.add_parameter("ROTATION", "LABELS", [f"{name}_4X4" for name in _SEGMENTS])
    file.add_parameter("ROTATION", "RATE", [60.0])
    file["data"]["rotations"] = poses
    file.write(str(path))
    return path
