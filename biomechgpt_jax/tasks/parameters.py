"""The decoder's parameters, of which a run may freeze a part: shapes, shardings and first values."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from biomechgpt_jax import config
from biomechgpt_jax.model import decoder
from biomechgpt_jax.model.decoder import Params
from biomechgpt_jax.tasks.id_space import IdSpace
from biomechgpt_jax.training import frozen as frozen_lib
from biomechgpt_jax.training.frozen import Parts


@dataclass(frozen=True)
class Frozen:
    """Parameters of the decoder that a run reads and never changes, such as the base below an adapter.

    Attributes:
        shapes: nested dict of `jax.ShapeDtypeStruct`, some of the leaves of `decoder.abstract`.
        load: from a nested dict of shardings, like `shapes`, to the arrays.
    """

    shapes: Params = field(default_factory=dict)
    load: Callable[[Params], Params] = lambda shardings: {}

    @classmethod
    def of(cls, params: Params) -> "Frozen":
        """Freeze arrays that are in memory."""
        shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), params)
        return cls(shapes, lambda shardings: jax.device_put(params, shardings))

    def with_code_vectors(self, vectors_QNC: np.ndarray | None) -> "Frozen":
        """Also freeze the vectors of motion codes (`MotionCodec.code_vectors`), of which their embeddings are a map.

        Each dimension is centred over the codes of a layer and has the same variance over all layers, so that what
        moves little counts as much as what moves far; the squared lengths of a token's vectors add up to 1 on average.
        """
        if vectors_QNC is None:
            return self
        vectors_QNC = np.asarray(vectors_QNC, np.float32)
        vectors_QNC = vectors_QNC - vectors_QNC.mean(axis=1, keepdims=True)
        vectors_QNC = vectors_QNC / (np.sqrt(np.square(vectors_QNC).mean(axis=(0, 1))) + 1e-6)
        length = np.sqrt(np.square(vectors_QNC).sum(axis=2).mean(axis=1).sum())
        return self._with(Frozen.of({"motion": {"vectors": vectors_QNC / length}}))

    def _with(self, other: "Frozen") -> "Frozen":
        def load(shardings: Params) -> Params:
            parts = frozen_lib.split(shardings, other.shapes)
            return frozen_lib.merge(self.load(parts.trained), other.load(parts.frozen))

        return Frozen(frozen_lib.merge(self.shapes, other.shapes), load)


NOTHING = Frozen()


@dataclass(frozen=True)
class Parameters:
    """The decoder's parameters in two parts.

    Attributes:
        model: the decoder.
        ids: how the ids are divided.
        frozen: the frozen part; all else is trained. With vectors of motion codes in it, the embeddings of motion codes
            are a map of these; without, they are rows of the table like those of text.
    """

    model: config.Model
    ids: IdSpace
    frozen: Frozen = NOTHING

    @property
    def motion(self) -> decoder.MotionShape | None:
        """Shape of the vectors of motion codes, if there are any."""
        vectors = self.frozen.shapes.get("motion", {}).get("vectors")
        return None if vectors is None else vectors.shape

    @property
    def rows(self) -> int:
        """Rows of the table of embeddings."""
        return self.ids.size if self.motion is None else self.ids.motion_offset

    def shapes(self) -> Parts:
        """`jax.ShapeDtypeStruct` of every parameter."""
        trained, _ = self._split(decoder.abstract(self.model, self.rows, self.motion))
        return Parts(trained, self.frozen.shapes)

    def axes(self) -> Parts:
        """Logical axes of every parameter."""
        return self._split(decoder.logical_axes(self.model, self.rows, self.motion))

    def shardings(self, mesh: Mesh | None) -> Parts:
        """Shardings of every parameter; without a mesh on the first device of this process.

        Raises:
            InputError: a size that the mesh does not divide.
        """
        if mesh is not None:
            return self._split(decoder.param_shardings(mesh, self.model, self.rows, self.motion))
        first = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        return self._split(jax.tree.map(lambda _: first, decoder.abstract(self.model, self.rows, self.motion)))

    def init(self, key: jax.Array, mesh: Mesh) -> Params:
        """Random trained parameters, created with their shardings. Frozen ones are not computed."""

        def make(key: jax.Array) -> Params:
            return self._split(decoder.init(key, self.model, self.rows, motion=self.motion)).trained

        return jax.jit(make, out_shardings=self.shardings(mesh).trained)(key)

    def abstract_frozen(self, mesh: Mesh) -> Params:
        """`jax.ShapeDtypeStruct` of the frozen parameters with their shardings."""

        def one(leaf: jax.ShapeDtypeStruct, layout: jax.sharding.Sharding) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=layout)

        return jax.tree.map(one, self.frozen.shapes, self.shardings(mesh).frozen)

    def load_frozen(self, mesh: Mesh | None) -> Params:
        """The frozen parameters, with their shardings."""
        return self.frozen.load(self.shardings(mesh).frozen)

    def _split(self, tree: Any) -> Parts:
        return frozen_lib.split(tree, self.frozen.shapes)
