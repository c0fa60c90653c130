"""A static trial defines the joints that the movement has no markers on; clusters carry them."""

import jax
import numpy as np
import pytest
from marker_cloud import RATE_HZ, place, walk

from biomechgpt_jax.biomechanics import kinematics
from biomechgpt_jax.biomechanics.fitting import inverse
from biomechgpt_jax.biomechanics.fitting.markers import Markers
from biomechgpt_jax.biomechanics.skeleton import COORDINATE_COUNT, INDEX
from biomechgpt_jax.biomechanics.trajectory import Metadata
from biomechgpt_jax.errors import InputError

FRAMES = 100
JOINTS = tuple(f"{s}{n}" for s in "RL" for n in ("KNE", "KNEM", "ANK", "MED"))
ALWAYS = (*(f"{s}{n}" for s in "RL" for n in ("ASI", "PSI", "HEE", "TOE", "MT5", "SHO")), "C7", "CLAV", "STRN")
# Where the clusters are glued on: metres in the frame of thigh or shank, not where the table says.
_CLUSTER = {
    "THI": (0.02, -0.16, 0.09),
    "THI2": (0.07, -0.22, 0.05),
    "THI3": (0.00, -0.29, 0.08),
    "TIB": (0.05, -0.14, 0.04),
    "TIB2": (0.01, -0.20, 0.07),
    "TIB3": (0.04, -0.27, 0.05),
}
CLUSTERS = tuple(f"{s}{n}" for s in "RL" for n in _CLUSTER)


def _standing() -> np.ndarray:
    q = np.zeros((40, COORDINATE_COUNT), np.float32)
    q[:, INDEX["pelvis_ty"]], q[:, INDEX["pelvis_rotation"]] = 0.95, 0.4
    return q


def _clusters(q: np.ndarray) -> np.ndarray:
    body = jax.device_get(kinematics.segments(q, 1.75))
    placed = []
    for label in CLUSTERS:
        side, (x, y, z) = label[0].lower(), _CLUSTER[label[1:]]
        segment = body[f"{'thigh' if 'THI' in label else 'shank'}_{side}"]
        x, y, z = x, y, z if side == "r" else -z
        placed.append(segment.origin + segment.frame[0] * x + segment.frame[1] * y + segment.frame[2] * z)
    return np.stack(placed, axis=1)


def _markers(q: np.ndarray, joints: bool, without: tuple[str, ...] = (), name: str = "a.trc") -> Markers:
    labels = (*ALWAYS, *JOINTS)
    positions = np.concatenate([place(q, labels=labels), _clusters(q)], axis=1)
    positions += np.random.default_rng(2).normal(0, 0.002, positions.shape)
    labels += CLUSTERS
    keep = [i for i, label in enumerate(labels) if (joints or label not in JOINTS) and label not in without]
    chosen = tuple(labels[i] for i in keep)
    return Markers(positions[:, keep].astype(np.float32), chosen, RATE_HZ, Metadata(source=name))


def test_knees_and_ankles_of_the_static_trial_are_carried_by_the_clusters() -> None:
    q = walk(FRAMES)
    movement = _markers(q, joints=False)
    with pytest.raises(InputError, match="--static"):
        inverse.fit(movement)
    found = inverse.fit(movement, static=_markers(_standing(), joints=True))
    for name in ("hip_flexion", "hip_adduction", "hip_rotation", "knee_angle", "ankle_angle"):
        for side in "rl":
            index = INDEX[f"{name}_{side}"]
            assert found.trajectory.observed[index], name
            apart = np.degrees(np.median(np.abs(found.trajectory.coordinates[:, index] - q[:, index])))
            assert apart < 3, name
    assert np.nanmedian(found.marker_error_m) < 0.006
    unseen = [found.marker_names.index(label) for label in JOINTS]
    assert np.isnan(found.marker_error_m[:, unseen]).all()


def test_a_marker_that_the_static_trial_lacks_is_sized_from_the_movement() -> None:
    q = walk(FRAMES)
    static = _markers(_standing(), joints=True, without=("RTIB2", "LTOE"))
    found = inverse.fit(_markers(q, joints=False), static=static)
    apart = np.degrees(np.abs(found.trajectory.coordinates - q))
    assert np.median(apart[:, INDEX["knee_angle_r"]]) < 3
    assert np.nanmedian(found.marker_error_m[:, found.marker_names.index("RTIB2")]) < 0.01


def test_labels_of_the_static_trial_may_be_spelt_otherwise() -> None:
    static = _markers(_standing(), joints=True)
    spelt = Markers(static.positions, tuple(f"{n[0].lower()}_{n[1:].lower()}" for n in static.names), RATE_HZ)
    found = inverse.fit(_markers(walk(FRAMES), joints=False), static=spelt)
    assert np.nanmedian(found.marker_error_m) < 0.006


def test_a_static_trial_of_other_markers_is_refused() -> None:
    other = Markers(np.zeros((9, 3, 3), np.float32), ("a", "b", "C7"), 50.0, Metadata(source="other.trc"))
    with pytest.raises(InputError, match=r"other\.trc shares only 1 labels"):
        inverse.fit(_markers(walk(20), joints=False), static=other)


def test_a_static_trial_without_knees_names_what_lacks() -> None:
    with pytest.raises(InputError, match="lacks both knees"):
        inverse.fit(_markers(walk(20), joints=False), static=_markers(_standing(), joints=False))
