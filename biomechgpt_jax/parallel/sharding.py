"""One table that maps logical axis names to mesh axes, for parameters and activations alike.

Flax's own rules silently replicate if a name is unknown, an axis is used twice or a size is indivisible. These rules
refuse instead, and name the axis.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

from biomechgpt_jax.errors import InputError

LogicalAxes = tuple[str | None, ...]

RULES: Mapping[str, tuple[str, ...]] = {
    "batch": ("replica", "data", "fsdp"),
    "length": ("sequence",),
    "embed": ("fsdp",),  # the model dimension of parameters; activations use None for it
    "heads": ("tensor",),
    "kv_heads": ("tensor",),
    "head_size": (),
    "hidden": ("tensor",),
    "vocabulary": ("tensor",),
    "rows": (),  # that are added to a pretrained vocabulary
    "rank": (),  # of adapters
    "code_layers": (),  # of motion codes, as are the next two
    "codes": (),
    "code_size": (),
    "taps": (),  # of a convolution
    "statistics": (),  # of motion tokens
    "layers": (),
    "norm": (),
    "channels": ("fsdp",),  # input or output channels of the codec's convolutions
}


def partition_spec(
    mesh: Mesh | AbstractMesh, axes: LogicalAxes, shape: Sequence[int], what: str = "array"
) -> PartitionSpec:
    """Map the logical axes of one array to mesh axes by `RULES`.

    Args:
        mesh: a mesh whose axes include those of the rules.
        axes: one logical name per dimension, or None for a dimension that is not sharded.
        shape: the array's shape.
        what: name of the array for the message.

    Raises:
        InputError: an unknown logical name, a mesh axis used by two dimensions, a size that its mesh axes do not
            divide, or a wrong number of names; the message names the axis.
    """
    if len(axes) != len(shape):
        raise InputError(
            f"sharding of {what}: {len(axes)} names {axes} for shape {tuple(shape)}; give one per dimension"
        )
    used: dict[str, str] = {}
    entries: list[tuple[str, ...] | None] = []
    for name, size in zip(axes, shape, strict=True):
        if name is None:
            entries.append(None)
            continue
        if name not in RULES:
            raise InputError(f"sharding of {what}: unknown logical axis '{name}'; use one of {', '.join(RULES)}")
        for mesh_axis in RULES[name]:
            if mesh_axis in used:
                raise InputError(
                    f"sharding of {what}: mesh axis '{mesh_axis}' is used by both '{used[mesh_axis]}' "
                    f"and '{name}'; leave one of the two unsharded"
                )
            used[mesh_axis] = name
        # Axes of size 1 are left out, so that equal layouts compare equal.
        mesh_axes = tuple(axis for axis in RULES[name] if mesh.shape[axis] > 1)
        parts = 1
        for mesh_axis in mesh_axes:
            parts *= mesh.shape[mesh_axis]
            if size % parts:
                raise InputError(
                    f"sharding of {what}: '{name}' has size {size}, which mesh axis '{mesh_axis}' does not "
                    f"divide ({' x '.join(f'{a} {mesh.shape[a]}' for a in mesh_axes)}); "
                    f"change mesh.{mesh_axis} or the size"
                )
        entries.append(mesh_axes or None)
    return PartitionSpec(*entries)


def named_sharding(mesh: Mesh, axes: LogicalAxes, shape: Sequence[int], what: str = "array") -> NamedSharding:
    """The sharding of one array; arguments and errors are those of `partition_spec`."""
    return NamedSharding(mesh, partition_spec(mesh, axes, shape, what))


def tree_shardings(mesh: Mesh, axes: Any, abstract: Any) -> Any:
    """Shardings of a whole tree of parameters.

    Args:
        mesh: the mesh.
        axes: nested dict whose leaves are tuples of logical names (`decoder.logical_axes`).
        abstract: the same nested dict with leaves that have a `shape`.

    Raises:
        InputError: as in `partition_spec`; the message names the parameter.
    """

    def leaf_sharding(path: tuple[Any, ...], leaf: Any, names: LogicalAxes) -> NamedSharding:
        return named_sharding(mesh, names, leaf.shape, "/".join(str(key.key) for key in path))

    return jax.tree_util.tree_map_with_path(leaf_sharding, abstract, axes)


def batch_sharding(mesh: Mesh, shape: Sequence[int]) -> NamedSharding:
    """Sharding of a batch array [B, L]: rows over (replica, data, fsdp), positions over sequence.

    Raises:
        InputError: the rows or the length do not divide.
    """
    return named_sharding(mesh, ("batch", "length"), shape, "batch")


def active_mesh() -> AbstractMesh | None:
    """The mesh set by `jax.set_mesh`, or None; it is part of jit's cache key."""
    mesh = jax.sharding.get_abstract_mesh()
    return None if mesh.empty else mesh


def platform() -> str:
    """The platform to compute for, such as "cpu" or "tpu": that of the active mesh, otherwise the default backend.

    The two differ when a program is compiled for absent devices.
    """
    mesh = active_mesh()
    device = None if mesh is None else mesh.abstract_device
    return jax.default_backend() if device is None else device.platform


def constrain(x: jax.Array, axes: LogicalAxes) -> jax.Array:
    """Pin the layout of an activation under the active mesh; without a mesh, return it unchanged.

    Args:
        x: an activation.
        axes: one logical name per dimension, or None for a dimension that is not sharded.

    Raises:
        InputError: as in `partition_spec`.
    """
    mesh = active_mesh()
    if mesh is None:
        return x
    spec = partition_spec(mesh, axes, x.shape, f"an activation {axes}")
    return jax.lax.with_sharding_constraint(x, spec)
