"""Bringing recordings to 30 Hz, against movements known in closed form and treadmills made from walks over ground."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from biomechgpt_jax import formats
from biomechgpt_jax.biomechanics import gait, gaps, preprocess
from biomechgpt_jax.biomechanics.features import features
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT, COORDINATES, INDEX
from biomechgpt_jax.biomechanics.trajectory import Trajectory, replace
from biomechgpt_jax.errors import InputError

SHARED = Path(__file__).parents[3] / "shared" / "data"
KNEE = INDEX["knee_angle_r"]


def _of(frames: int, rate_hz: float, **columns: np.ndarray) -> Trajectory:
    q = np.zeros((frames, COORDINATE_COUNT), np.float32)
    for name, values in columns.items():
        q[:, INDEX[name]] = values
    return Trajectory(q, np.ones(COORDINATE_COUNT, bool), rate_hz)


def _lively(frames: int, rate_hz: float, seed: int) -> Trajectory:
    """Every coordinate moves within its limits, low enough to be on the floor now and then."""
    rng = np.random.default_rng(seed)
    time = np.arange(frames) / rate_hz
    hertz, phase = rng.uniform(0.2, 4, COORDINATE_COUNT), rng.uniform(0, 6, COORDINATE_COUNT)
    waves = 0.2 + 0.2 * np.sin(2 * np.pi * hertz * time[:, None] + phase) + 0.002 * rng.normal(size=(frames, 1))
    return Trajectory(waves.astype(np.float32), np.ones(COORDINATE_COUNT, bool), rate_hz)


def test_trials_of_mixed_lengths_and_rates_are_as_each_alone() -> None:
    rates = [120.0, 99.3, 100.0]
    trials = [_lively(round(rates[i % 3] * (1 + 0.09 * i)), rates[i % 3], i) for i in range(11)]
    trials[4].coordinates[20:23, 8] = np.nan
    for trial, together in zip(trials, preprocess.prepare(trials), strict=True):
        alone = preprocess.prepare([trial])[0]
        assert together.trajectory.rate_hz == 30.0
        assert together.trajectory.metadata == alone.trajectory.metadata
        np.testing.assert_allclose(together.trajectory.coordinates, alone.trajectory.coordinates, atol=1e-5)
        np.testing.assert_allclose(together.features, features(alone.trajectory.coordinates), atol=2e-3)


def test_a_recording_with_nothing_to_mend_is_what_mending_leaves_of_it() -> None:
    trial = _lively(200, 100.0, 0)
    trial.observed[KNEE] = False
    trial.coordinates[50, KNEE] = np.nan
    assert gaps.is_sound(trial.coordinates, trial.rate_hz, trial.observed)
    untouched, _ = preprocess._mend_group([trial], 1, preprocess._shape(trial))
    mended = preprocess._mend_all(preprocess._group([trial], 1, preprocess._shape(trial)))
    for name, value in mended._asdict().items():
        value = np.asarray(value)[:, : trial.frames] if name == "values_BTC" else value
        wanted = getattr(untouched, name)[:, : trial.frames] if name == "values_BTC" else getattr(untouched, name)
        np.testing.assert_array_equal(value, wanted, name)


@pytest.mark.parametrize("fault", ["gap", "jump", "turn", "end"])
def test_what_is_to_be_mended_is_noticed_before_anything_is_compiled(fault: str) -> None:
    trial = _lively(200, 100.0, 0)
    if fault == "turn":
        trial.coordinates[120:, INDEX["arm_rot_r"]] -= 2 * np.pi
    elif fault == "jump":
        trial.coordinates[120:, KNEE] += 0.9
    else:
        trial.coordinates[-1 if fault == "end" else 120, INDEX["wrist_dev_l"]] = np.nan
    assert not gaps.is_sound(trial.coordinates, trial.rate_hz, trial.observed)
    assert gaps.is_sound(trial.coordinates[:120], trial.rate_hz, trial.observed)


@pytest.mark.parametrize("frames", [2, 3, 5, 14])
def test_very_short_recordings(frames: int) -> None:
    line = np.linspace(0, 1, frames)
    found = preprocess.canonical(_of(frames, 10.0, knee_angle_r=line))
    wanted = np.arange(found.frames) / 30 * 10 / (frames - 1)
    assert found.frames == (frames - 1) * 3 + 1
    np.testing.assert_allclose(found.coordinates[:, KNEE], wanted, atol=1e-6)


def test_a_turn_through_half_a_circle_stays_smooth() -> None:
    turn = np.linspace(2.5, 4.5, 300)
    wrapped = np.angle(np.exp(1j * turn))
    found = preprocess.canonical(_of(300, 100.0, pelvis_rotation=wrapped)).coordinates
    np.testing.assert_allclose(np.diff(found[:, INDEX["pelvis_rotation"]]), 2.0 / 2.99 / 30, atol=1e-3)


def test_30_hz_stays_as_it_is() -> None:
    values = 0.3 * np.random.default_rng(0).normal(size=50).clip(-2, 2).astype(np.float32)
    found = preprocess.canonical(_of(50, 30.0, wrist_flex_l=values)).coordinates
    np.testing.assert_array_equal(found[:, INDEX["wrist_flex_l"]], values)


def test_short_gaps_and_single_wild_frames_are_filled_and_told() -> None:
    time = np.arange(200) / 100
    smooth = 0.5 + 0.4 * np.sin(2 * np.pi * time)
    holed = smooth.copy()
    holed[50:65] = np.nan  # 0.15 s
    holed[120] += 2.0
    found = preprocess.canonical(_of(200, 100.0, knee_angle_r=holed))
    wanted = np.interp(np.arange(found.frames) / 30, time, smooth)
    np.testing.assert_allclose(found.coordinates[2:-2, KNEE], wanted[2:-2], atol=5e-3)
    assert {"gap", "spike:knee_angle_r"} <= set(found.metadata.flags)
    assert "trimmed" not in found.metadata.flags


def test_a_long_gap_is_not_filled_and_the_longer_side_is_kept() -> None:
    holed = 0.5 + 0.4 * np.sin(2 * np.pi * np.arange(600) / 100)
    holed[200:260] = np.nan
    prepared = preprocess.prepare([_of(600, 100.0, knee_angle_r=holed)])[0]
    assert prepared.used == slice(260, 600)
    assert prepared.trajectory.frames == 102
    assert "trimmed" in prepared.trajectory.metadata.flags
    wanted = np.interp(np.arange(102) / 30, np.arange(340) / 100, holed[260:])
    np.testing.assert_allclose(prepared.trajectory.coordinates[2:-2, KNEE], wanted[2:-2], atol=5e-3)


def test_a_jump_to_another_solution_is_trimmed() -> None:
    angle = 0.5 + 0.1 * np.sin(2 * np.pi * np.arange(300) / 100)
    angle[:80] += 1.5
    prepared = preprocess.prepare([_of(300, 100.0, hip_flexion_l=angle)])[0]
    assert prepared.used == slice(80, 300)
    assert {"trimmed", "jump:hip_flexion_l"} <= set(prepared.trajectory.metadata.flags)


def test_a_coordinate_that_is_mostly_missing_is_given_up_and_the_rest_kept() -> None:
    angle = np.full(300, np.nan)
    angle[:90] = 0.5
    found = preprocess.canonical(_of(300, 100.0, wrist_dev_r=angle))
    assert found.frames == 90 and not found.observed[INDEX["wrist_dev_r"]]
    assert found.observed.sum() == COORDINATE_COUNT - 1
    assert "lost:wrist_dev_r" in found.metadata.flags


def test_nothing_left_is_refused() -> None:
    q = np.full((90, COORDINATE_COUNT), np.nan, np.float32)
    with pytest.raises(InputError, match="gaps"):
        preprocess.canonical(Trajectory(q, np.ones(COORDINATE_COUNT, bool), 30.0))


@pytest.mark.skipif(not SHARED.is_dir(), reason="the folder of real files is not beside the checkout")
class TestRealWalk:
    @pytest.fixture(scope="class")
    def walk(self) -> Trajectory:
        return formats.read(SHARED / "opencap_subject4" / "walking1_ik.mot")

    def test_keeps_its_known_speed_and_is_over_ground(self, walk: Trajectory) -> None:
        found = preprocess.canonical(walk)
        assert formats.describe(found)["net_speed_m_s"] == pytest.approx(1.29, abs=0.02)
        assert not {"treadmill", "floating", "trimmed"} & set(found.metadata.flags)

    def test_on_a_treadmill_the_belt_is_taken_out(self, walk: Trajectory) -> None:
        path = walk.coordinates[:, INDEX["pelvis_tx"]]
        time = np.arange(walk.frames) / walk.rate_hz
        speed = (path[-1] - path[0]) / time[-1]
        q = walk.coordinates.copy()
        q[:, INDEX["pelvis_tx"]] -= (speed * time).astype(np.float32)
        prepared = preprocess.prepare([replace(walk, coordinates=q)])[0]
        assert "treadmill" in prepared.trajectory.metadata.flags
        assert "floating" not in prepared.trajectory.metadata.flags
        np.testing.assert_allclose(prepared.belt_m_s, [-speed, 0.0], atol=0.05)
        native = preprocess.at_own_rate(replace(walk, coordinates=q), prepared)
        assert native.rate_hz == walk.rate_hz and native.frames == walk.frames
        np.testing.assert_allclose(native.coordinates[:, INDEX["pelvis_tx"]], path, atol=0.05)
        np.testing.assert_allclose(
            gait.detect_contacts(native).strike_time, gait.detect_contacts(walk).strike_time, atol=0.02
        )

    def test_floating_is_told(self, walk: Trajectory) -> None:
        q = walk.coordinates.copy()
        q[:, INDEX["pelvis_ty"]] += 0.24
        assert "floating" in preprocess.canonical(replace(walk, coordinates=q)).metadata.flags

    def test_frozen_and_out_of_range_are_told_by_name(self, walk: Trajectory) -> None:
        q = walk.coordinates.copy()
        q[:, KNEE] = 0.2
        q[:, INDEX["hip_flexion_l"]] += np.radians(120)
        flags = preprocess.canonical(replace(walk, coordinates=q)).metadata.flags
        assert {"frozen:knee_angle_r", "out-of-range:hip_flexion_l"} <= set(flags)
        assert all(flag.split(":")[1] in COORDINATES for flag in flags if ":" in flag)


_ON_FOUR_DEVICES = """
import jax, numpy as np
from test_preprocess import _lively
from biomechgpt_jax.biomechanics import preprocess
assert jax.device_count() == 4
mesh = jax.sharding.Mesh(np.array(jax.devices()).reshape(2, 2), ("data", "fsdp"))
sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(("data", "fsdp")))
trials = [_lively(90 + 7 * i, 60.0, i) for i in range(11)]
apart = preprocess.prepare(trials, sharding=sharding)
for one, other in zip(apart, preprocess.prepare(trials), strict=True):
    np.testing.assert_allclose(one.trajectory.coordinates, other.trajectory.coordinates, atol=1e-6)
    np.testing.assert_allclose(one.features, other.features, atol=1e-4)
shape = preprocess._shape(trials[0])
found = preprocess._fused(*preprocess._mend_group(trials[:8], 8, shape, sharding), shape)
assert len({str(shard.index) for shard in found.coordinates_BMC.addressable_shards}) == 4, "not computed in parts"
"""


@pytest.mark.multidevice
def test_a_batch_over_a_mesh_is_the_batch_on_one_device() -> None:
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[2])]
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
        "PYTHONPATH": os.pathsep.join(paths),
    }
    done = subprocess.run([sys.executable, "-c", _ON_FOUR_DEVICES], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
