"""Parameters that a run reads and never changes, such as the base model below an adapter.

A model's parameters are one nested dict. A run may train some of its leaves and freeze the others: the frozen ones are
an argument of the step, neither donated nor saved, and `merge` puts the two parts together where the model is applied.
A checkpoint names the frozen leaves by a digest, so that a run never resumes on another base.
"""

import functools
import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

Tree = Mapping[str, Any]
_WORDS = 4  # of 32 bits, for each leaf
_GOLDEN = 0x9E3779B9


class Parts(NamedTuple):
    """A tree in two."""

    trained: dict[str, Any]
    frozen: dict[str, Any]


def split(tree: Tree, frozen: Tree) -> Parts:
    """Split a tree like the parameters, such as one of shardings, by the paths of `frozen`.

    Raises:
        KeyError: `frozen` has a path that the tree lacks.
    """
    if unknown := frozen.keys() - tree.keys():
        raise KeyError(f"frozen parameters that the model lacks: {', '.join(sorted(unknown))}")
    parts = Parts({}, {})
    for name, value in tree.items():
        if name not in frozen:
            parts.trained[name] = value
        elif not isinstance(value, Mapping):
            parts.frozen[name] = value
        else:
            for part, inside in zip(parts, split(value, frozen[name]), strict=True):
                if inside:
                    part[name] = inside
    return parts


def merge(trained: Tree, frozen: Tree) -> dict[str, Any]:
    """One tree of the leaves of both.

    Raises:
        KeyError: a leaf is in both.
    """
    both = {**trained}
    for name, value in frozen.items():
        if name in both and not (isinstance(value, Mapping) and isinstance(both[name], Mapping)):
            raise KeyError(f"'{name}' is both trained and frozen")
        both[name] = merge(both[name], value) if name in both else value
    return both


def leaves(tree: Tree, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """("layers/block/mlp/up/kernel", leaf) of every leaf, sorted by path."""
    for name in sorted(tree):
        value = tree[name]
        if isinstance(value, Mapping):
            yield from leaves(value, (*path, name))
        else:
            yield "/".join((*path, name)), value


def identity(frozen: Tree) -> dict[str, Any]:
    """What the frozen part adds to the identity of a run: its digest, or nothing where nothing is frozen."""
    return {"frozen": {"digest": digest(frozen)}} if jax.tree.leaves(frozen) else {}


def digest(tree: Tree) -> str:
    """SHA-256 hex over path, type, shape and content of every leaf; the same on every mesh.

    The content enters as four 32-bit sums over the elements, each mixed with its position by MurmurHash3's finaliser,
    so that every device hashes its own shards and no array is moved. A change of any one element always changes the
    digest. It is no defence against someone who constructs a collision.

    Args:
        tree: nested dict of arrays, of any placement. Every process must call this.
    """
    words = {path: _content(leaf) for path, leaf in leaves(tree)}
    facts = [
        [path, str(leaf.dtype), list(leaf.shape), [int(word) for word in np.asarray(words[path])]]
        for path, leaf in leaves(tree)
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _content(leaf: Any) -> jax.Array:
    """u32[_WORDS] of one array, replicated over the devices that hold it."""
    sharding = getattr(leaf, "sharding", None)
    replicated = NamedSharding(sharding.mesh, PartitionSpec()) if isinstance(sharding, NamedSharding) else None
    return _compiled(replicated)(leaf)


@functools.cache
def _compiled(out_sharding: NamedSharding | None) -> Any:
    return jax.jit(_hash, out_shardings=out_sharding)


def _hash(array: jax.Array) -> jax.Array:
    bits = _bits(array)
    place = jnp.zeros(bits.shape, jnp.uint32)
    for axis, _ in enumerate(bits.shape):  # axis by axis: the number of elements may pass 32 bits
        place = _mix(place + jax.lax.broadcasted_iota(jnp.uint32, bits.shape, axis) + np.uint32(_GOLDEN))
    mixed = _mix(bits ^ place)
    return jnp.stack([jnp.sum(_mix(mixed + np.uint32(_GOLDEN * word % 2**32))) for word in range(1, _WORDS + 1)])


def _bits(array: jax.Array) -> jax.Array:
    """The bits of every element as u32."""
    width = jnp.dtype(array.dtype).itemsize
    if array.dtype == jnp.bool_ or (jnp.issubdtype(array.dtype, jnp.integer) and width < 4):
        return array.astype(jnp.int32).astype(jnp.uint32)
    unsigned = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}[width]
    return jax.lax.bitcast_convert_type(array, unsigned).astype(jnp.uint32)


def _mix(x: jax.Array) -> jax.Array:
    """MurmurHash3's 32-bit finaliser (Appleby, 2011): one to one, and every bit depends on every other."""
    x = (x ^ (x >> 16)) * np.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * np.uint32(0xC2B2AE35)
    return x ^ (x >> 16)
