"""Real files for `field.py`: loaded without the project's readers, cut short, and written again in several formats.

A common error of reader and benchmark must not hide, so C3D files are loaded with ezc3d, text by the few lines below,
and what is known of each file (the axis that is up, the unit, the markers of the pelvis, the largest flexion of a knee)
was written down by hand.
"""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

# Model outputs of Plug-in Gait that are no positions.
_OUTPUTS = ("Angles", "Angle", "Force", "Forces", "Moment", "Moments", "Power", "Powers", "Progress")
_PAIRED_BONES = ("CL", "HU", "RA", "HN", "FE", "TI", "FO", "TO")
BONES = ("HED", "TRX", "PEL", *(side + bone for side in "LR" for bone in _PAIRED_BONES))


@dataclass(frozen=True)
class Source:
    """What is known of a file.

    Attributes:
        path: below the folder of data.
        up: the axis that is up; "" for files of coordinates.
        pelvis: labels of the markers around the pelvis, without prefix; their mean gives speed and height.
        begin_s, end_s: the part that is used, at most 4 s.
        knee_deg: between which values the largest flexion of either knee lies.
        unit_m: metres in the file's unit.
        step: every so many frames are used.
    """

    path: str
    up: str = ""
    pelvis: tuple[str, ...] = ()
    begin_s: float = 0.0
    end_s: float = 4.0
    knee_deg: tuple[float, float] = (50.0, 80.0)
    unit_m: float = 1e-3
    step: int = 1


_FOUR = ("LASI", "RASI", "LPSI", "RPSI")
_THREE = ("LASI", "RASI", "SACR")
_DOTTED = ("L.ASIS", "R.ASIS", "L.PSIS", "R.PSIS")
SOURCES = (
    Source("btkdata/PlugInC3D.c3d", "+Z", _THREE, 0.28, 3.37),
    Source("omcs_gait/exampleOverground.c3d", "+Z", _FOUR, 0.0, 3.58),
    Source("biomechzoo_children/HC031A06.c3d", "+Z", _THREE),
    Source("biomechzoo_children/HC036A10.c3d", "+Z", _THREE),
    Source("opensim_core/walking2.c3d", "+Z", _FOUR, 1.69, 3.35, step=2),
    Source("opensim_core/walking5.c3d", "+Z", _FOUR, 1.85, 3.65, step=2),
    Source("addbiomechanics/cmu_02_05.c3d", "+Z", ("LFWT", "RFWT", "LBWT", "RBWT"), knee_deg=(5.0, 80.0), step=2),
    Source("field/pig_full_with_bones.c3d", "+Z", _FOUR),
    Source("opencap_subject4/walkingTS1.trc", "+Y", ("L.ASIS", "r.ASIS", "L.PSIS", "r.PSIS"), unit_m=1.0),
    Source("opensim_core/markers_walk.trc", "+Y", _DOTTED),
    Source("btkdata/Gait.trc", "+Z", ("R.ASIS", "L.ASIS", "V.Sacral")),
    Source("addbiomechanics/markers_StairUp3.trc", "+Y", _THREE, knee_deg=(70.0, 110.0), unit_m=1.0, step=2),
    Source("addbiomechanics/markers_Squat2.trc", "+Y", _THREE, knee_deg=(70.0, 150.0), unit_m=1.0, step=2),
    Source("opencap_subject4/walking2_ik.mot"),
    Source("opencap_subject4/walkingTO1_ik.mot"),
    Source("opensim_core/crouch_gait.mot", knee_deg=(60.0, 90.0)),
    Source("opencap_subject4/squats1_ik.mot", begin_s=2.0, end_s=6.0, knee_deg=(80.0, 130.0)),
    Source("bvh/template.bvh", knee_deg=(5.0, 150.0), unit_m=1.0),
    Source("field/bvh_mm.bvh"),
)


@dataclass
class Text:
    """How a table is written down."""

    separator: str = "\t"
    decimal: str = "."
    newline: str = "\n"
    mark: str = ""  # at the very beginning
    blank: str = ""  # a cell of what was not seen
    zeros: bool = False  # what was not seen stands at 0 0 0

    def number(self, value: float, decimals: int) -> str:
        """A cell."""
        if not np.isfinite(value):
            return "0" if self.zeros else self.blank
        return f"{value:.{decimals}f}".replace(".", self.decimal)

    def save(self, path: Path, lines: list[str]) -> None:
        """Write the lines in UTF-8."""
        path.write_bytes((self.mark + self.newline.join(lines) + self.newline).encode())


@dataclass
class Sheet:
    """Markers that are to be written, in the file's own axes.

    Attributes:
        positions: f64[T, M, 3] metres; NaN where a marker was not seen.
        up: the axis that is up in truth, such as "+Z".
        said_up: what a C3D file says of it; None leaves the entry out.
        unit, unit_m: name of the unit in the header, and metres in the unit of the numbers.
        said_hz: rate in the header; `rate_hz` is the true one.
        time_scale: what seconds are multiplied by in the column of times; 0 for a count of the frames.
        rows: the frames that are written.
    """

    labels: list[str]
    positions: np.ndarray
    rate_hz: float
    up: str
    said_up: str | None
    said_hz: float
    rows: np.ndarray
    ending: str = ".trc"
    unit: str = "mm"
    unit_m: float = 1e-3
    time_scale: float = 1.0
    head: str = "Frame#"
    text: Text = field(default_factory=Text)

    @property
    def height_axis(self) -> int:
        return "XYZ".index(self.up[1])

    @property
    def upwards(self) -> float:
        return 1.0 if self.up[0] == "+" else -1.0

    def write(self, path: Path) -> None:
        """Write the file; its ending says which format."""
        if self.ending.lower() == ".c3d":
            self._write_c3d(path)
        else:
            self._write_trc(path)

    def _write_trc(self, path: Path) -> None:
        text, count = self.text, len(self.labels)
        join, rate = text.separator.join, text.number(self.said_hz, 2)
        header = [
            join(("PathFileType", "4", "(X/Y/Z)", "trial.trc")),
            join(("DataRate", "CameraRate", "NumFrames", "NumMarkers", "Units", "OrigDataRate")),
            join((rate, rate, str(len(self.rows)), str(count), self.unit, rate)),
            join((self.head, "Time", *(cell for label in self.labels for cell in (label, "", "")))),
            join(("", "", *(f"{axis}{i + 1}" for i in range(count) for axis in "XYZ"))),
            "",
        ]
        lines = []
        for frame in self.rows:
            time = frame / self.rate_hz * self.time_scale if self.time_scale else frame + 1.0
            cells = (text.number(value, 5) for value in (self.positions[frame] / self.unit_m).ravel())
            lines.append(join((str(frame + 1), text.number(time, 5), *cells)))
        text.save(path, header + lines)

    def _write_c3d(self, path: Path) -> None:
        import ezc3d

        file = ezc3d.c3d()
        point = file["parameters"]["POINT"]
        point["RATE"]["value"] = [self.said_hz]
        point["LABELS"]["value"] = list(self.labels)
        point["UNITS"]["value"] = [self.unit]
        if self.said_up is not None:
            file.add_parameter("POINT", "Y_SCREEN", [self.said_up])
        points = np.ones((4, len(self.labels), len(self.rows)))
        points[:3] = np.moveaxis(self.positions[self.rows] / self.unit_m, (0, 1, 2), (2, 1, 0))
        unseen = ~np.isfinite(points[:3]).all(axis=0)
        points[:3, unseen] = 0.0 if self.text.zeros else np.nan
        file["data"]["points"] = points
        residuals = np.where(unseen & (not self.text.zeros), -1.0, 0.0)
        file["data"]["meta_points"]["residuals"] = residuals[None]
        written = path.with_suffix(".c3d")  # ezc3d writes under no other ending
        file.write(str(written))
        written.rename(path)


@dataclass
class Table:
    """Coordinates over time that are to be written as a .mot file, in the units of the source."""

    title: str
    columns: list[str]
    values: np.ndarray  # f64[T, columns]
    times: np.ndarray
    degrees: bool
    says_degrees: bool
    ending: str = ".mot"
    text: Text = field(default_factory=Text)

    def write(self, path: Path) -> None:
        """Write the file."""
        join = self.text.separator.join
        header = [
            self.title,
            "version=1",
            f"nRows={len(self.times)}",
            f"nColumns={1 + len(self.columns)}",
            f"inDegrees={'yes' if self.says_degrees else 'no'}",
            "endheader",
            join(("time", *self.columns)),
        ]
        lines = [
            join((self.text.number(time, 6), *(self.text.number(value, 7) for value in row)))
            for time, row in zip(self.times, self.values, strict=True)
        ]
        self.text.save(path, header + lines)


@dataclass
class Skeleton:
    """A BVH file that is to be written: the lines of its hierarchy, and its frames."""

    hierarchy: list[str]
    frames: np.ndarray  # f64[T, channels]
    step_s: float
    ending: str = ".bvh"
    text: Text = field(default_factory=Text)

    def write(self, path: Path) -> None:
        """Write the file."""
        motion = ["MOTION", f"Frames: {len(self.frames)}", f"Frame Time: {self.step_s:.6f}"]
        rows = [" ".join(f"{value:.6f}" for value in row) for row in self.frames]
        self.text.save(path, [*self.hierarchy, *motion, *rows])


Document = Sheet | Table | Skeleton


def load(source: Source, data: Path) -> Document:
    """The part of a file that is used."""
    path = data / source.path
    if path.suffix == ".mot":
        return _motion(path, source)
    if path.suffix == ".bvh":
        return _skeleton(path, source)
    labels, positions, rate_hz = _c3d(path) if path.suffix == ".c3d" else _trc(path)
    first, last = round(source.begin_s * rate_hz), round(source.end_s * rate_hz)
    positions = source.unit_m * positions[first : last : source.step]
    positions[~np.isfinite(positions).all(axis=2)] = np.nan
    ever = np.isfinite(positions).all(axis=2).any(axis=0)
    seen = np.flatnonzero(np.isfinite(positions).any(axis=(1, 2)))
    positions = positions[seen[0] : seen[-1] + 1, ever]
    rate_hz /= source.step
    names = [label for label, is_seen in zip(labels, ever, strict=True) if is_seen]
    return Sheet(names, positions, rate_hz, source.up, source.up, rate_hz, np.arange(len(positions)))


def known(source: Source, document: Document) -> tuple[float | None, float | None]:
    """(speed in m/s, height of the pelvis in m) as the loaded numbers tell; None where they do not."""
    if isinstance(document, Table):
        if "pelvis_tx" not in document.columns:
            return None, None
        path = document.values[:, [document.columns.index(f"pelvis_{axis}") for axis in ("tx", "tz", "ty")]]
        moved, seconds = np.linalg.norm(path[-1, :2] - path[0, :2]), document.times[-1] - document.times[0]
        return float(moved / seconds), float(np.median(path[:, 2]))
    if isinstance(document, Skeleton):
        path, seconds = source.unit_m * document.frames[:, :3], document.step_s * (len(document.frames) - 1)
        return float(np.linalg.norm((path[-1] - path[0])[[0, 2]]) / seconds), None
    middle = document.positions[:, [document.labels.index(label) for label in source.pelvis]].mean(axis=1)
    frames = np.flatnonzero(np.isfinite(middle).all(axis=1))
    level = [axis for axis in range(3) if axis != document.height_axis]
    moved = np.linalg.norm((middle[frames[-1]] - middle[frames[0]])[level])
    seconds = (frames[-1] - frames[0]) / document.rate_hz
    return float(moved / seconds), float(np.median(middle[frames, document.height_axis]))


def _c3d(path: Path) -> tuple[list[str], np.ndarray, float]:
    import ezc3d

    content = ezc3d.c3d(str(path))
    labels = [label.strip().rpartition(":")[2] for label in content["parameters"]["POINT"]["LABELS"]["value"]]
    positions = np.moveaxis(np.asarray(content["data"]["points"][:3], np.float64), (0, 1, 2), (2, 1, 0)).copy()
    positions[np.asarray(content["data"]["meta_points"]["residuals"])[0].T < 0] = np.nan
    axes = {bone + end for bone in BONES for end in "OALP" if all(bone + other in labels for other in "OALP")}
    keep = [
        i
        for i, label in enumerate(labels)
        if label and label[0] not in "*#" and not label.endswith(_OUTPUTS) and label not in axes
    ]
    return [labels[i] for i in keep], positions[:, keep], float(content["parameters"]["POINT"]["RATE"]["value"][0])


def _trc(path: Path) -> tuple[list[str], np.ndarray, float]:
    lines = path.read_text().splitlines()
    rate_hz = float(lines[2].split()[0])
    labels = [cell.strip() for cell in lines[3].split("\t")[2:] if cell.strip()]
    table = np.full((len(lines) - 5, 3 * len(labels)), np.nan)
    for row, line in zip(table, lines[5:], strict=True):
        cells = line.split("\t")[2 : 2 + table.shape[1]]
        row[: len(cells)] = [float(cell) if cell.strip() else np.nan for cell in cells]
    table = table[np.isfinite(table).any(axis=1)]
    return labels, table.reshape(len(table), len(labels), 3), rate_hz


def _motion(path: Path, source: Source) -> Table:
    lines = [line.rstrip() for line in path.read_text().splitlines()]
    end = lines.index("endheader")
    columns = lines[end + 1].split()[1:]
    table = np.array([line.split() for line in lines[end + 2 :] if line], np.float64)
    table = table[(table[:, 0] >= source.begin_s) & (table[:, 0] <= source.end_s)]
    degrees = "inDegrees=yes" in lines[:end]
    return Table(lines[0], columns, table[:, 1:], table[:, 0] - table[0, 0], degrees, degrees)


def _skeleton(path: Path, source: Source) -> Skeleton:
    lines = path.read_text().splitlines()
    motion = lines.index("MOTION")
    step_s = float(lines[motion + 2].split(":")[1])
    rows = [line.split() for line in lines[motion + 3 :] if line.strip()]
    first, last = round(source.begin_s / step_s), round(source.end_s / step_s)
    return Skeleton(lines[:motion], np.array(rows[first:last], np.float64), step_s)


def copy(document: Document) -> Document:
    """A copy that may be changed."""
    own = {f.name: getattr(document, f.name) for f in dataclasses.fields(document)}
    fresh = {
        name: value.copy() if isinstance(value, np.ndarray) else list(value) if isinstance(value, list) else value
        for name, value in own.items()
    }
    return type(document)(**fresh | {"text": dataclasses.replace(document.text)})
