"""Tables of OpenSim: those that are no movement, and movements as spreadsheets in other countries write them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from biomechgpt_jax import formats
from biomechgpt_jax.biomechanics.skeleton import INDEX
from biomechgpt_jax.errors import InputError

NAMES = ("pelvis_tx", "pelvis_ty", "hip_flexion_r", "hip_flexion_l", "knee_angle_r", "knee_angle_l")
TIME = np.arange(60) / 50
PHASE = 2 * np.pi * 0.9 * TIME


def _walk() -> np.ndarray:
    """Metres and degrees f64[T, 6] in the order of NAMES."""
    hip, knee = 25 * np.sin(PHASE), 30 - 28 * np.cos(PHASE)
    return np.stack([1.2 * TIME, np.full_like(TIME, 0.93), hip, -hip, knee, knee[::-1]], axis=1)


def _write(
    path: Path,
    values: np.ndarray,
    title: str = "Coordinates",
    names: Sequence[str] = NAMES,
    separator: str = "\t",
    degrees: str = "yes",
) -> Path:
    head = [title, "version=1", f"nRows={len(values)}", f"inDegrees={degrees}", "endheader"]
    rows = [separator.join(f"{x:.6f}" for x in row) for row in np.column_stack([TIME[: len(values)], values])]
    path.write_text("\n".join([*head, separator.join(["time", *names]), *rows]) + "\n")
    return path


@pytest.mark.parametrize(
    "title",
    [
        "PositionErrors",
        "Speeds",
        "Accelerations",
        "Joint Velocities",
        "Controls",
        "Actuator controls",
        "ActuationForces",
        "Actuation_power",
        "Inverse Dynamics Generalized Forces",
        "Moments",
        "MuscleAnalysis NormalizedFiberLength",
        "Activations",
        "Kinematics_dudt",
    ],
)
def test_the_title_of_another_table_refuses_it(tmp_path: Path, title: str) -> None:
    with pytest.raises(InputError, match=f"holds {title}, not coordinates; give joint coordinates"):
        formats.read(_write(tmp_path / "a.sto", _walk(), title))


@pytest.mark.parametrize(
    "title",
    [
        "Coordinates",
        "first trial",
        "normal_gait",
        "crouch1_gait",
        "name walk_speed2.mot",
        "control subject 3, power walk",
        "slow speed",
        "States",
        "Kinematics_q",
        "subject01_RRA_Kinematics",
    ],
)
def test_the_title_of_a_movement_does_not(tmp_path: Path, title: str) -> None:
    assert formats.read(_write(tmp_path / "a.mot", _walk(), title)).frames == 60


def test_errors_without_a_title_are_known_by_a_pelvis_on_the_floor_and_still_legs(tmp_path: Path) -> None:
    errors = 0.02 * np.sin(PHASE[:, None] + np.arange(6))
    with pytest.raises(InputError, match="errors of a fit, not a movement"):
        formats.read(_write(tmp_path / "a.sto", errors, "run 3", degrees="no"))


@pytest.mark.parametrize("degrees", ["yes", "no"])
def test_speeds_without_a_title_are_known_by_knees_that_bend_both_ways(tmp_path: Path, degrees: str) -> None:
    speeds = np.gradient(_walk(), TIME, axis=0)
    speeds[:, 2:] *= 1.0 if degrees == "yes" else np.pi / 180
    with pytest.raises(InputError, match="speeds or moments"):
        formats.read(_write(tmp_path / "a.sto", speeds, "run 3", degrees=degrees))


@pytest.mark.parametrize("degrees", ["yes", "no", "-"])
@pytest.mark.parametrize("pelvis", [True, False])
def test_quick_speeds_in_radians_are_not_taken_for_small_angles_in_degrees(
    tmp_path: Path, degrees: str, pelvis: bool
) -> None:
    """A knee that turns by 7 radians a second looks like one of 7 degrees."""
    values = np.column_stack([_walk(), 12 * np.sin(PHASE)])
    values[:, 1] += 0.03 * np.cos(2 * PHASE)
    speeds = np.gradient(values, TIME, axis=0)
    speeds[:, 2:] *= 2.5 * np.pi / 180
    names, first = (*NAMES, "ankle_angle_r"), 0 if pelvis else 2
    assert np.abs(speeds[:, 4]).max() > 2 * np.pi
    with pytest.raises(InputError, match="speeds or moments"):
        formats.read(_write(tmp_path / "a.sto", speeds[:, first:], "run 3", names[first:], degrees=degrees))
    walk = values.copy()
    walk[:, 1] -= 0.93  # a pelvis whose height begins at zero
    assert formats.read(_write(tmp_path / "b.mot", walk, "run 3", names)).frames == 60


def test_standing_squatting_and_walking_without_a_path_are_movements(tmp_path: Path) -> None:
    standing = 0.02 * _walk()
    standing[:, :2] = [0.0, 0.93]
    squat = np.stack([0 * TIME, 0.6 + 0.3 * np.cos(PHASE), *(55 - 55 * np.cos(PHASE) for _ in range(4))], axis=1)
    grounded = _walk()
    grounded[:, 1] = 0.0
    for values in (standing, squat, grounded):
        assert formats.read(_write(tmp_path / "a.mot", values)).frames == 60


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("FX", "FY", "FZ", "MX", "hip_flexion_r", "knee_angle_r"), "forces of actuators"),
        (("a_reserve", "b_reserve", "c_reserve", "d_reserve", "e_reserve", "knee_angle_r"), "reserve actuators"),
        (tuple(f"{name}_reserve" for name in NAMES), "reserve actuators"),
        (tuple(f"/jointset/{name}/{name}/speed" for name in NAMES), "speeds"),
        (tuple(f"/forceset/{name}/activation" for name in "abcdef"), "activations"),
    ],
)
def test_other_columns_refuse_a_table_with_what_it_holds(tmp_path: Path, names: tuple[str, ...], words: str) -> None:
    with pytest.raises(InputError, match=words):
        formats.read(_write(tmp_path / "a.sto", _walk(), "run 3", names))


def test_decimal_commas_and_the_nan_of_windows_in_one_table(tmp_path: Path) -> None:
    values = _walk()
    values[10:12, 2] = np.nan
    path = _write(tmp_path / "a.mot", values)
    head, mark, body = path.read_text().partition("endheader")
    path.write_text(head + mark + body.replace(".", ",").replace("nan", "-1,#IND"))
    assert "filled:hip_flexion_r" in formats.read(path).metadata.flags


@pytest.mark.parametrize("separator", ["\t", ";", " ", "   "])
def test_decimal_commas_are_read_where_commas_separate_nothing(tmp_path: Path, separator: str) -> None:
    plain = formats.read(_write(tmp_path / "a.mot", _walk()))
    path = _write(tmp_path / "b.mot", _walk(), separator=separator)
    head, mark, body = path.read_text().partition("endheader")
    path.write_text(head + mark + body.replace(".", ","))
    np.testing.assert_array_equal(formats.read(path).coordinates, plain.coordinates)


def test_semicolons_of_a_spreadsheet_with_points(tmp_path: Path) -> None:
    plain = formats.read(_write(tmp_path / "a.mot", _walk()))
    path = _write(tmp_path / "b.mot", _walk(), separator=";")
    path.write_text("".join(f"{line};;\n" for line in path.read_text().splitlines()))
    read = formats.read(path)
    np.testing.assert_array_equal(read.coordinates, plain.coordinates)
    assert np.degrees(read.coordinates[:, INDEX["knee_angle_r"]]).max() == pytest.approx(58, abs=0.1)


def test_points_and_decimal_commas_in_one_table_are_refused(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.mot", _walk())
    path.write_text(path.read_text().replace("\n0.100000", "\n0,100000"))
    with pytest.raises(InputError, match="0,100000"):
        formats.read(path)


@pytest.mark.skipif(
    not (field := Path(__file__).parents[3] / "shared" / "data" / "field").is_dir(), reason="no folder of field files"
)
def test_position_errors_of_a_real_run_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds PositionErrors"):
        formats.read(field / "bmc_rra_run_pErr.sto")
    untitled = (field / "bmc_rra_run_pErr.sto").read_text().replace("PositionErrors", "run", 1)
    (tmp_path / "a.sto").write_text(untitled)
    with pytest.raises(InputError, match="errors of a fit"):
        formats.read(tmp_path / "a.sto")
