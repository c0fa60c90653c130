"""Weights of a folder onto devices, tensor by tensor: a host reads the bytes that its devices hold, and no others.

A stacked parameter is filled layer by layer in place, so that a host needs one tensor beside what its devices hold.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding

from biomechgpt_jax import config
from biomechgpt_jax.config.model import BLOCK
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.model import quantized
from biomechgpt_jax.model.decoder import Params
from biomechgpt_jax.parallel import distributed
from biomechgpt_jax.pretrained import names
from biomechgpt_jax.pretrained.folder import Folder
from biomechgpt_jax.pretrained.names import HEAD, TABLE, Matched, Place
from biomechgpt_jax.pretrained.safetensors import Index, Reader

_CHUNK = 16 * 2**20  # bytes read at once, before they are widened and turned over
_PATIENCE_S = 1200.0  # for the slowest of several processes
_Bounds = tuple[tuple[int, int], ...]  # of a part of an array: the first of each axis, and the one behind the last


class Source:
    """The tensors of a folder as parameters of a decoder in float32, or as the bits of bfloat16.

    Where one of several processes cannot read its part, it goes on with zeros: the others wait for it in collectives,
    and `settle` tells all of them.
    """

    def __init__(self, folder: Folder, cfg: config.Model, rows: int, reader: Reader) -> None:
        self.cfg, self.places = cfg, names.places(cfg, rows)
        self._matched: Matched = names.match(folder.tensors, cfg, rows)
        self._where, self._reader = folder.path, reader
        self._wrong: InputError | None = None

    def array(self, place: Place, dtype: Any, sharding: Sharding) -> jax.Array:
        """One of their tensors in our layout, sharded; equal shards are read once."""
        shape = place.inputs + place.outputs
        parts: dict[_Bounds, np.ndarray] = {}

        def part(index: Index | None) -> np.ndarray:
            bounds = _bounds(index, shape)
            if bounds not in parts:
                parts[bounds] = self.part(place, tuple(slice(*bound) for bound in bounds), dtype)
            return parts[bounds]

        return jax.make_array_from_callback(shape, sharding, part)

    def part(self, place: Place, index: Index, dtype: Any = np.float32) -> np.ndarray:
        """A part of a tensor in our layout."""
        dtype = np.dtype(dtype)
        made = np.zeros([part.stop - part.start for part in index], dtype)
        try:
            if self._wrong is None:
                self._fill(made, place, place.part(index), dtype)
        except InputError as error:
            if not distributed.several():
                raise
            self._wrong = error
        return made

    def _fill(self, made: np.ndarray, place: Place, theirs: Index, dtype: np.dtype) -> None:
        tensor = self._matched.tensors[place.name]
        flat = made.reshape([part.stop - part.start for part in (theirs[::-1] if place.inputs else theirs)])
        into = flat.T if place.inputs else flat  # a view of what is filled, in their layout
        twin = self._matched.tensors.get(HEAD) if place.name == TABLE and self.cfg.tied_embeddings else None
        for start, stop in _chunks(theirs[0], len(into[0]) if into.ndim > 1 else 1):
            rows = (slice(start, stop), *theirs[1:])
            values = self._reader.read(tensor, rows)
            if bad := values.size - int(np.count_nonzero(np.isfinite(values))):
                raise InputError(
                    f"{tensor.file}: tensor '{place.name}' has {bad} weights that are NaN or infinite; fetch "
                    "the file again"
                )
            into[start - theirs[0].start : stop - theirs[0].start] = _as(values, dtype)
            if twin is not None and not np.array_equal(self._reader.read(twin, rows).astype(np.float32), values):
                raise InputError(
                    f"{self._where}: '{HEAD}' differs from '{TABLE}', and config.json says that they are tied; give "
                    "tie_word_embeddings false there if they are not"
                )

    def settle(self) -> None:
        """Let every process raise what one of them could not read.

        Raises:
            InputError: in every process.
            ClusterError: a process does not answer.
        """
        if not distributed.several():
            return
        distributed.put(f"weights/{distributed.place().process}", str(self._wrong or ""))
        distributed.barrier("weights", _PATIENCE_S)
        said = {process: words for process, words in distributed.entries("weights").items() if words}
        if said:
            first = min(said, key=int)
            raise InputError(f"{distributed.host(int(first))}: {said[first]}")


def load(
    folder: Folder, cfg: config.Model, rows: int, shapes: Params, shardings: Params, reader: Reader | None = None
) -> Params:
    """Parameters of a decoder from a folder.

    Args:
        folder: opened.
        cfg: the model that its config.json describes.
        rows: of its table of embeddings.
        shapes: nested dict of `jax.ShapeDtypeStruct`: the parameters that are wanted, float32, or uint16 as the bits
            of bfloat16, or matrices of layers in 8 or 4 bits (see `quantized`).
        shardings: a nested dict like `shapes`.
        reader: counts the bytes that are read.

    Raises:
        InputError: a tensor is missing, has another shape, has no place, or holds NaN or infinities; with several
            processes all of them raise.
    """
    with reader or Reader() as opened:
        source = Source(folder, cfg, rows, opened)
        layouts, made = dict(_leaves(shardings)), {}
        quantised: dict[str, dict[str, Any]] = {}
        for path, leaf in _leaves(shapes):
            if path in source.places:
                made[path] = _parameter(source, path, leaf, layouts[path])
            else:
                stem, _, name = path.rpartition("/")
                quantised.setdefault(stem, {})[name] = leaf
        for stem, leaves in quantised.items():
            held = {name: layouts[f"{stem}/{name}"] for name in leaves}
            stacks = _quantised(source, f"{stem}/kernel", leaves, held)
            made |= {f"{stem}/{name}": stack for name, stack in stacks.items()}
    source.settle()
    return names.tree(made)


def _parameter(source: Source, path: str, leaf: Any, sharding: Sharding) -> jax.Array:
    """One parameter, all of its layers."""
    stacked = source.places[path]
    if not path.startswith(names.LAYERS):
        return source.array(stacked[0], leaf.dtype, sharding)
    made = _zeros(leaf.shape, leaf.dtype, sharding)
    for layer, place in enumerate(stacked):
        made = put_layer(made, source.array(place, leaf.dtype, of_a_layer(sharding)), layer, sharding)
    return made


def _quantised(
    source: Source, path: str, leaves: Mapping[str, Any], layouts: Mapping[str, Sharding]
) -> dict[str, jax.Array]:
    """The arrays that hold a stacked matrix in 8 or 4 bits. Scales depend on the whole of a layer's matrix."""
    codes = "int8" if "int8" in leaves else "nf4"
    made = {name: _zeros(leaf.shape, leaf.dtype, layouts[name]) for name, leaf in leaves.items()}
    for layer, place in enumerate(source.places[path]):
        values = _quantised_layer(source, place, codes, leaves, of_a_layer(layouts[codes]))
        for name, leaf in leaves.items():
            one = jax.make_array_from_callback(leaf.shape[1:], of_a_layer(layouts[name]), values[name])
            made[name] = put_layer(made[name], one, layer, layouts[name])
    return made


def _quantised_layer(
    source: Source, place: Place, codes: str, leaves: Mapping[str, Any], layout: Sharding
) -> dict[str, Callable[[Index | None], np.ndarray]]:
    """Of each array of one layer, the function from an index to the part of it that a device of this host holds."""
    contracted, axis = len(place.inputs), len(place.inputs) - 1
    shape = leaves[codes].shape[1:]
    parts: dict[_Bounds, np.ndarray] = {}
    blocks = codes == "nf4"
    scales = np.zeros(place.outputs if not blocks else _blocked(place.inputs + place.outputs, axis), np.float32)
    for index in layout.addressable_devices_indices_map(shape).values():
        bounds = _bounds(index, shape)
        if bounds in parts:
            continue
        wide = list(bounds)
        if blocks:  # two inputs a byte; whole blocks have the codes that they have in the whole matrix
            start, stop = bounds[axis]
            wide[axis] = (2 * start // BLOCK * BLOCK, -(-2 * stop // BLOCK) * BLOCK)
        kernel = source.part(place, tuple(slice(*bound) for bound in wide))
        if blocks:
            packed, largest = quantized.nf4_codes(kernel, contracted)
            cut = slice(bounds[axis][0] - wide[axis][0] // 2, bounds[axis][1] - wide[axis][0] // 2)
            parts[bounds] = packed[(*[slice(None)] * axis, cut)]
            wide[axis] = (wide[axis][0] // BLOCK, wide[axis][1] // BLOCK)
            where = tuple(slice(*bound) for bound in wide)
        else:
            parts[bounds], largest = kernel, np.abs(kernel).max(axis=tuple(range(contracted)))
            where = tuple(slice(*bound) for bound in wide[contracted:])
        scales[where] = np.maximum(scales[where], largest)
    if distributed.several():
        scales = np.asarray(multihost_utils.process_allgather(scales)).max(axis=0)
    whole: dict[str, np.ndarray] = {"absmax": scales}
    if codes == "int8":
        whole = {"scale": quantized.int8_scale(scales)}
        for bounds, kernel in parts.items():
            own = whole["scale"][tuple(slice(*bound) for bound in bounds[contracted:])]
            parts[bounds] = quantized.int8_codes(kernel, own)
    elif "absmax" not in leaves:
        whole = quantized.double(scales, contracted)
    made: dict[str, Callable[[Index | None], np.ndarray]] = {
        name: functools.partial(_cut, np.asarray(array)) for name, array in whole.items()
    }
    return made | {codes: lambda index: parts[_bounds(index, shape)]}


def _cut(array: np.ndarray, index: Index | None) -> np.ndarray:
    return array[index if index is not None else ()]


def _blocked(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return (*shape[:axis], shape[axis] // BLOCK, *shape[axis + 1 :])


def _bounds(index: Index | None, shape: tuple[int, ...]) -> _Bounds:
    assert index is not None
    return tuple(entry.indices(size)[:2] for entry, size in zip(index, shape, strict=True))


def put_layer(stack: jax.Array, one: jax.Array, layer: int, sharding: Sharding) -> jax.Array:
    """Write one layer into a stack, in place."""
    return _update(sharding)(stack, one, layer)


def of_a_layer(sharding: Sharding) -> Sharding:
    """The sharding of one layer of a stack; layers themselves are never split."""
    if isinstance(sharding, NamedSharding):
        return NamedSharding(sharding.mesh, PartitionSpec(*sharding.spec[1:]))
    assert isinstance(sharding, SingleDeviceSharding), sharding
    return sharding


@functools.cache
def _update(sharding: Sharding) -> Any:
    def update(stack: jax.Array, one: jax.Array, layer: jax.Array) -> jax.Array:
        return jax.lax.dynamic_update_index_in_dim(stack, one, layer, 0)

    return jax.jit(update, donate_argnums=0, out_shardings=sharding)


def _zeros(shape: tuple[int, ...], dtype: Any, sharding: Sharding) -> jax.Array:
    return jax.jit(lambda: jnp.zeros(shape, dtype), out_shardings=sharding)()


def _chunks(rows: slice, width: int) -> Iterator[tuple[int, int]]:
    """Pieces of a range of rows of so many values, of about _CHUNK bytes in float32."""
    step = max(1, _CHUNK // (4 * max(1, width)))
    for start in range(rows.start, rows.stop, step):
        yield start, min(start + step, rows.stop)


def _as(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The values in float32, or rounded to bfloat16 as its bits."""
    if dtype == np.uint16:
        return values.astype(jnp.bfloat16).view(np.uint16)
    return values.astype(dtype)


def _leaves(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{above}{name}/")
        else:
            yield f"{above}{name}", value
