"""Inputs as laboratories have them, each of which was once read wrongly without a word or refused without reason.

`SOURCES.md` beside them says what each is. A row holds what must come out; files are read once for all of its checks.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from biomechgpt_jax import formats
from biomechgpt_jax.biomechanics.flags import cautions, impossible
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.reports import recording

FIELD = Path(__file__).parents[2].parent / "shared" / "data" / "field"
Facts = dict[str, Any]


@cache
def _facts(name: str) -> Facts:
    return recording.describe(formats.record(FIELD / name))


def _walks(speed: float = 1.272, within: float = 0.02, cadence: float = 110.1) -> Callable[[Facts], None]:
    """The walk that most of the inputs are made from."""

    def check(facts: Facts) -> None:
        assert facts["gait"]["walking_speed"] == pytest.approx(speed, abs=within)
        assert facts["gait"]["cadence"] == pytest.approx(cadence, abs=1)

    return check


def _speed(speed: float, within: float) -> Callable[[Facts], None]:
    def check(facts: Facts) -> None:
        assert facts["gait"]["walking_speed"] == pytest.approx(speed, abs=within)

    return check


def _counts(strides: int) -> Callable[[Facts], None]:
    def check(facts: Facts) -> None:
        assert facts["gait"]["strides"] == strides

    return check


def _cautions(*words: str) -> Callable[[Facts], None]:
    """As many cautions as words, each with its own; none without words."""

    def check(facts: Facts) -> None:
        said = cautions(facts["flags"])
        assert len(said) == len(words) and all(word in text for word, text in zip(words, said, strict=True)), said

    return check


def _net(speed: float) -> Callable[[Facts], None]:
    def check(facts: Facts) -> None:
        assert facts["net_speed_m_s"] == pytest.approx(speed, abs=0.02)

    return check


def _rate(rate_hz: float) -> Callable[[Facts], None]:
    def check(facts: Facts) -> None:
        assert facts["rate_hz"] == rate_hz

    return check


def _left_foot_is_missing(facts: Facts) -> None:
    assert {"ankle_angle_l", "subtalar_angle_l"} <= set(facts["missing"])
    assert facts["gait"] == "none: ankle_angle_l is not seen"
    assert facts["missing_because"]["ankle_angle_l"] == "its markers are never seen"


def _lacks(*coordinates: str) -> Callable[[Facts], None]:
    def check(facts: Facts) -> None:
        assert set(coordinates) <= set(facts["missing"])

    return check


def _uses_none_of(*labels: str) -> Callable[[Facts], None]:
    def check(facts: Facts) -> None:
        assert not set(labels) & set(facts["markers_used"])

    return check


def _has_events(count: int) -> Callable[[Facts], None]:
    def check(facts: Facts) -> None:
        assert facts["file_says"]["events"] == count

    return check


ROWS: dict[str, tuple[Callable[[Facts], None], ...]] = {
    "objects_zup.trc": (_walks(), _cautions()),
    "xup.trc": (_walks(), _cautions()),
    "units_lie_mm_is_m.trc": (_walks(), _cautions("the file says mm")),
    "unnamed_middle.trc": (_walks(), _cautions("marker 11 has no name and is left out")),
    "zeros_missing.trc": (_walks(), _counts(7), _cautions()),
    "time_gap3s.trc": (_rate(100), _net(1.272), _cautions("are missing after data row 250")),
    "bmc_walk.trc": (_rate(150), _cautions()),
    "mot_says_degrees_is_radians.mot": (_net(1.29), _cautions("the file says degrees")),
    "left_foot_missing.trc": (_left_foot_is_missing, _cautions()),
    "comma_decimal.trc": (_walks(), _counts(7), _cautions()),
    **dict.fromkeys(
        ("bvh_mm.bvh", "bvh_spaces.bvh", "bvh_rigify.bvh"), (_net(0.886), _walks(0.905, 0.02, 93.4), _cautions())
    ),
    "amass_smplx_stageii_made.npz": (_rate(120), _net(1.2), _cautions()),
    "ior_qualisys.trc": (_walks(), _counts(7), _cautions()),
    "btk_Gait.c3d": (_speed(1.462, 0.03),),
    "btk_FunctionalWalk.c3d": (_speed(1.20, 0.03), _has_events(11)),
    "pig_full_with_bones.c3d": (_speed(1.158, 0.03), _uses_none_of("RCLA", "LCLA"), _has_events(12)),
    "pose2sim_halpe26.trc": (_speed(1.272, 0.03), _lacks("hip_rotation_r", "hip_rotation_l")),
    # The fuller of the two, who walks at half of the speed of the other: 0.634 m/s from the middle of the pelvis alone.
    "two_people_one_lacks.c3d": (_speed(0.634, 0.02), _cautions("of 2 people, Ben is read; left out: Ann")),
}
# What the refusal of the others says.
REFUSED = {
    "bmc_rra_run_pErr.sto": "holds PositionErrors, not coordinates",
    "osim_dataWithNaNsWithSpaces.trc": "knees",
    "subject01_walk1.trc": "lacks both knees.*--static FILE",
}


@pytest.mark.skipif(not FIELD.is_dir(), reason="the folder of field inputs is not beside the checkout")
@pytest.mark.parametrize("name", list(ROWS))
def test_the_input_gives_what_is_right(name: str) -> None:
    if name.lower().endswith(".c3d"):
        pytest.importorskip("ezc3d")
    facts = _facts(name)
    assert not impossible(facts["flags"]), facts["flags"]
    for check in ROWS[name]:
        check(facts)


@pytest.mark.skipif(not FIELD.is_dir(), reason="the folder of field inputs is not beside the checkout")
@pytest.mark.parametrize("name", list(REFUSED))
def test_the_input_is_refused_for_what_it_is(name: str) -> None:
    with pytest.raises(InputError, match=REFUSED[name]):
        formats.read(FIELD / name)


@pytest.mark.skipif(not FIELD.is_dir(), reason="the folder of field inputs is not beside the checkout")
@pytest.mark.parametrize(
    ("name", "low_deg", "high_deg"), [("mot_says_degrees_is_radians.mot", 60, 70), ("bmc_walk.trc", 45, 75)]
)
def test_the_right_knee_bends_as_in_walking(name: str, low_deg: float, high_deg: float) -> None:
    import numpy as np

    from biomechgpt_jax.biomechanics.skeleton import INDEX

    knee = np.degrees(formats.read(FIELD / name).coordinates[:, INDEX["knee_angle_r"]])
    assert low_deg < np.nanmax(knee) < high_deg and np.nanmin(knee) > -10
