"""The device mesh: axes replica, data, fsdp, sequence and tensor over the available devices."""

import math
from collections.abc import Sequence

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType

from biomechgpt_jax.config import Mesh as MeshConfig
from biomechgpt_jax.errors import InputError

AXES = ("replica", "data", "fsdp", "sequence", "tensor")


def sizes(cfg: MeshConfig, device_count: int) -> dict[str, int]:
    """Size of every mesh axis, with -1 replaced by the remaining number of devices.

    Args:
        cfg: the configured sizes; at most one of them is -1 and takes the remaining devices.
        device_count: number of devices to lay out.

    Raises:
        InputError: a size is neither positive nor -1, two sizes are -1, or the sizes do not multiply to
            `device_count`; the message names the axis.
    """
    configured = {axis: getattr(cfg, axis) for axis in AXES}
    for axis, size in configured.items():
        if size < 1 and size != -1:
            raise InputError(f"mesh.{axis} is {size}; give a positive size, or -1 to take the remaining devices")
    free = [axis for axis, size in configured.items() if size == -1]
    if len(free) > 1:
        names = " and ".join(f"mesh.{axis}" for axis in free)
        raise InputError(f"{names} are both -1; only one axis can take the remaining devices")

    product = math.prod(size for size in configured.values() if size != -1)
    described = " x ".join(f"{axis} {size}" for axis, size in configured.items() if size != -1 and size > 1) or "1"
    if free:
        if device_count % product:
            raise InputError(
                f"mesh.{free[0]} is -1 but the others ({described}) multiply to {product}, which does not "
                f"divide {device_count} devices; change one of them"
            )
        return configured | {free[0]: device_count // product}
    if product != device_count:
        culprit = next((axis for axis, size in configured.items() if size > 1 and device_count % size), "data")
        raise InputError(
            f"mesh.{culprit} is {configured[culprit]}: the axes ({described}) multiply to {product} but there are "
            f"{device_count} devices; set mesh.{culprit} to -1 or to a size that fits"
        )
    return configured


def make(cfg: MeshConfig, devices: Sequence[jax.Device] | None = None) -> jax.sharding.Mesh:
    """Lay out the devices as a mesh with axes `AXES`.

    If the devices belong to several slices (they have a `slice_index`), `replica` is laid across the slices, so that
    only gradient reductions leave a slice. Otherwise neighbours on the last axes are physical neighbours.

    Args:
        cfg: sizes of the axes; one of them may be -1 and takes the remaining devices.
        devices: devices to use; all of them by default.

    Raises:
        InputError: the sizes do not multiply to the number of devices, or `replica` is not a multiple of the
            number of slices.
    """
    used = list(jax.devices() if devices is None else devices)
    shape = sizes(cfg, len(used))
    slices = len({getattr(device, "slice_index", 0) or 0 for device in used})
    extent = tuple(shape[axis] for axis in AXES)
    if slices > 1:
        if shape["replica"] % slices:
            raise InputError(
                f"mesh.replica is {shape['replica']} but the devices belong to {slices} slices; set it to "
                f"a multiple of {slices} so that only gradient reductions cross between slices"
            )
        within = (shape["replica"] // slices, *extent[1:])
        grid = mesh_utils.create_hybrid_device_mesh(within, (slices, 1, 1, 1, 1), devices=used)
    elif used[0].platform == "tpu":
        grid = mesh_utils.create_device_mesh(extent, devices=used)
    else:
        grid = np.asarray(used).reshape(extent)
    return jax.sharding.Mesh(grid, AXES, axis_types=(AxisType.Auto,) * len(AXES))
