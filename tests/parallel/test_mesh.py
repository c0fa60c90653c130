"""The mesh refuses sizes that do not fit, naming the axis, and keeps slices apart."""

import dataclasses

import jax
import numpy as np
import pytest

from biomechgpt_jax.config import Mesh
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.parallel import mesh


@dataclasses.dataclass(frozen=True)
class FakeDevice:
    """The attributes of a device that the layout reads."""

    id: int
    slice_index: int
    platform: str = "cpu"
    device_kind: str = "fake"
    process_index: int = 0


def test_minus_one_takes_the_remaining_devices():
    assert mesh.sizes(Mesh(data=-1, tensor=2), 8) == {
        "replica": 1,
        "data": 4,
        "fsdp": 1,
        "sequence": 1,
        "tensor": 2,
    }
    assert mesh.sizes(Mesh(data=2, fsdp=-1, sequence=2), 8)["fsdp"] == 2
    assert mesh.sizes(Mesh(), 1)["data"] == 1


@pytest.mark.parametrize(
    ("cfg", "message"),
    [
        (Mesh(data=3), "mesh.data is 3"),
        (Mesh(data=1, tensor=16), "mesh.tensor is 16"),
        (Mesh(data=-1, fsdp=3), "mesh.data is -1 .*fsdp 3"),
        (Mesh(data=-1, fsdp=-1), "mesh.data and mesh.fsdp are both -1"),
        (Mesh(sequence=0), "mesh.sequence is 0"),
        (Mesh(data=2, tensor=2), "mesh.data is 2.*multiply to 4.*8 devices"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_by_name(cfg, message):
    with pytest.raises(InputError, match=message) as refused:
        mesh.sizes(cfg, 8)
    assert "\n" not in str(refused.value)


def test_the_mesh_covers_the_devices_of_this_machine():
    whole = mesh.make(Mesh())
    assert whole.axis_names == mesh.AXES
    assert whole.size == len(jax.devices())


def test_replica_is_laid_across_slices(monkeypatch):
    devices = [FakeDevice(id=i, slice_index=i // 4) for i in range(8)]
    captured = {}
    monkeypatch.setattr(jax.sharding, "Mesh", lambda grid, names, axis_types: captured.update(grid=grid, names=names))
    mesh.make(Mesh(replica=2, data=2, tensor=2), devices)
    slices = np.vectorize(lambda device: device.slice_index)(captured["grid"])
    assert captured["grid"].shape == (2, 2, 1, 1, 2)
    assert (slices[0] == slices[0].flat[0]).all() and (slices[1] == slices[1].flat[0]).all()
    assert slices[0].flat[0] != slices[1].flat[0]
    with pytest.raises(InputError, match=r"mesh.replica is 1 .* 2 slices"):
        mesh.make(Mesh(data=8), devices)
