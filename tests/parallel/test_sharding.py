"""The table of rules maps names to mesh axes and refuses arrays that cannot be laid out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh, PartitionSpec

from biomechgpt_jax import config
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.model import decoder
from biomechgpt_jax.parallel import mesh, sharding

WIDE = AbstractMesh((1, 2, 2, 2, 4), mesh.AXES)


def test_names_are_mapped_to_mesh_axes():
    assert sharding.partition_spec(WIDE, ("batch", "length"), (8, 6)) == PartitionSpec(("data", "fsdp"), "sequence")
    assert sharding.partition_spec(WIDE, ("embed", "hidden"), (4, 8)) == PartitionSpec("fsdp", "tensor")
    assert sharding.partition_spec(WIDE, ("layers", None), (3, 5)) == PartitionSpec(None, None)


@pytest.mark.parametrize(
    ("axes", "shape", "message"),
    [
        (("batch", "widht"), (8, 8), "unknown logical axis 'widht'"),
        (("batch", "embed"), (8, 8), "mesh axis 'fsdp' is used by both 'batch' and 'embed'"),
        (("heads", "kv_heads"), (8, 8), "mesh axis 'tensor' is used by both"),
        (("batch", "length"), (6, 8), "'batch' has size 6, which mesh axis 'fsdp' does not divide"),
        (("batch", "length"), (8, 7), "'length' has size 7, which mesh axis 'sequence' does not divide"),
        (("batch",), (8, 8), "one per dimension"),
    ],
)
def test_refusals_name_the_axis(axes, shape, message):
    with pytest.raises(InputError, match=message) as refused:
        sharding.partition_spec(WIDE, axes, shape)
    assert "\n" not in str(refused.value)


def test_fewer_kv_heads_than_the_tensor_axis_are_refused():
    cfg = config.Model(kv_heads=2)
    axes, abstract = decoder.logical_axes(cfg, 256), decoder.abstract(cfg, 256)
    message = "key/kernel: 'kv_heads' has size 2, which mesh axis 'tensor' does not divide"
    with pytest.raises(InputError, match=message):
        sharding.tree_shardings(WIDE, axes, abstract)


def test_constrain_does_nothing_without_a_mesh_and_refuses_under_one():
    x = jnp.ones((4, 6))
    assert sharding.constrain(x, ("batch", "no such name")) is x
    with jax.set_mesh(mesh.make(config.Mesh())):
        np.testing.assert_array_equal(jax.jit(lambda x: sharding.constrain(x, ("batch", "length")))(x), x)
        with pytest.raises(InputError, match="unknown logical axis"):
            jax.jit(lambda x: sharding.constrain(x, ("batch", "no such name")))(x)
        with pytest.raises(InputError, match="used by both"):
            jax.jit(lambda x: sharding.constrain(x, ("batch", "embed")))(x)


def test_the_platform_is_that_of_the_active_mesh():
    assert sharding.platform() == jax.default_backend()
    absent = jax.sharding.AbstractDevice(device_kind="TPU v5p", num_cores=None, platform="tpu")
    with jax.sharding.use_abstract_mesh(AbstractMesh((8,), ("data",), abstract_device=absent)):
        assert sharding.platform() == "tpu"
        assert decoder.compute_dtype(config.Model()) == jnp.bfloat16
        assert decoder.compute_dtype(config.Model(compute_dtype="float32")) == jnp.float32
    with jax.set_mesh(mesh.make(config.Mesh())):
        assert sharding.platform() == jax.default_backend()
