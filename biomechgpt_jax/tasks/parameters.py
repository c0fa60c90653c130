"""The decoder's parameters, of which a run may freeze a part: shapes, shardings and first values."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
from jax.sharding import Mesh

from biomechgpt_jax import config
from biomechgpt_jax.model import decoder
from biomechgpt_jax.model.decoder import Params
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


NOTHING = Frozen()


@dataclass(frozen=True)
class Parameters:
    """The decoder's parameters in two parts.

    Attributes:
        model: the decoder.
        ids: number of ids V.
        frozen: the frozen part; all else is trained.
    """

    model: config.Model
    ids: int
    frozen: Frozen = NOTHING

    def shapes(self) -> Parts:
        """`jax.ShapeDtypeStruct` of every parameter."""
        trained, _ = self._split(decoder.abstract(self.model, self.ids))
        return Parts(trained, self.frozen.shapes)

    def axes(self) -> Parts:
        """Logical axes of every parameter."""
        return self._split(decoder.logical_axes(self.model, self.ids))

    def shardings(self, mesh: Mesh | None) -> Parts:
        """Shardings of every parameter; without a mesh on the first device of this process.

        Raises:
            InputError: a size that the mesh does not divide.
        """
        if mesh is not None:
            return self._split(decoder.param_shardings(mesh, self.model, self.ids))
        first = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        return self._split(jax.tree.map(lambda _: first, decoder.abstract(self.model, self.ids)))

    def init(self, key: jax.Array, mesh: Mesh) -> Params:
        """Random trained parameters, created with their shardings. Frozen ones are not computed."""

        def make(key: jax.Array) -> Params:
            return self._split(decoder.init(key, self.model, self.ids)).trained

        return jax.jit(make, out_shardings=self.shardings(mesh).trained)(key)

    def load_frozen(self, mesh: Mesh | None) -> Params:
        """The frozen parameters, with their shardings."""
        return self.frozen.load(self.shardings(mesh).frozen)

    def _split(self, tree: Any) -> Parts:
        return frozen_lib.split(tree, self.frozen.shapes)
