"""Weights onto devices: right values under every sharding, each host's own bytes alone, and little memory."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_folders

from biomechgpt_jax.errors import InputError
from biomechgpt_jax.pretrained import description, loading, names
from biomechgpt_jax.pretrained.safetensors import Reader, Writer


def flat(tree) -> dict[str, np.ndarray]:
    found = jax.tree_util.tree_leaves_with_path(tree)
    return {"/".join(key.key for key in path): np.asarray(leaf) for path, leaf in found}


@pytest.mark.parametrize("family", small_folders.FAMILIES)
@pytest.mark.parametrize("dtype", ["F32", "BF16", "F16"])
def test_values_are_those_of_the_files(tmp_path, family, dtype) -> None:
    model = small_folders.write_folder(tmp_path, family, files=3, dtype=dtype)
    found, described, _ = description.opened(tmp_path)
    stored = {"F32": np.float32, "BF16": jnp.bfloat16, "F16": np.float16}[dtype]
    tensors = {name: x.astype(stored) for name, x in small_folders.random_tensors(model).items()}
    want = flat(names.params(tensors, model))
    got = flat(small_folders.load_whole(found, described))
    assert got.keys() == want.keys()
    for path, leaf in want.items():
        np.testing.assert_array_equal(got[path], leaf, err_msg=path)


def test_bits_of_bfloat16_are_kept_or_rounded(tmp_path) -> None:
    model = small_folders.write_folder(tmp_path, "llama")
    found, described, _ = description.opened(tmp_path)
    shapes = {"embedding": jax.ShapeDtypeStruct((small_folders.ROWS, 24), np.uint16)}
    one = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    got = loading.load(found, model, described.rows, shapes, {"embedding": one})["embedding"]
    want = small_folders.random_tensors(model)[names.TABLE].astype(jnp.bfloat16).view(np.uint16)
    np.testing.assert_array_equal(np.asarray(got), want)


def test_a_tied_head_must_be_the_table(tmp_path) -> None:
    model = small_folders.write_folder(tmp_path, "qwen3", files=1)
    tensors = small_folders.random_tensors(model)

    def write(head: np.ndarray) -> None:
        each = tensors | {names.HEAD: head}
        with Writer(tmp_path / "model.safetensors", {name: ("F32", x.shape) for name, x in each.items()}) as writer:
            for name, x in each.items():
                writer.write(name, x)

    write(tensors[names.TABLE])
    found, described, _ = description.opened(tmp_path)
    assert "head" not in small_folders.load_whole(found, described)
    other = tensors[names.TABLE].copy()
    other[-1, -1] += 1e-3
    write(other)
    found, described, _ = description.opened(tmp_path)
    with pytest.raises(InputError, match=r"differs from 'model.embed_tokens.weight'"):
        small_folders.load_whole(found, described)
    write(other[:, :-1])
    with pytest.raises(InputError, match=r"lm_head.weight' is"):
        description.opened(tmp_path)


_SHARDED = """
import json, sys
from pathlib import Path
import jax, numpy as np
import small_folders
from biomechgpt_jax import config
from biomechgpt_jax.model import decoder
from biomechgpt_jax.parallel import mesh as meshes
from biomechgpt_jax.pretrained import description, loading, names
from biomechgpt_jax.pretrained.safetensors import Reader

directory, family = Path(sys.argv[1]), sys.argv[2]
found, described, _ = description.opened(directory)
model, rows = described.model, described.rows
mesh = meshes.make(config.Mesh(data=1, fsdp=2, tensor=2), jax.devices())
layouts = decoder.param_shardings(mesh, model, rows)
reader = Reader()
got = loading.load(found, model, rows, decoder.abstract(model, rows), layouts, reader)
want = names.params(small_folders.random_tensors(model), model)
jax.tree.map(np.testing.assert_array_equal, jax.tree.map(np.asarray, got), want)
assert all(jax.tree.leaves(jax.tree.map(lambda x, y: x.sharding == y, got, layouts)))
total = sum(x.nbytes for x in jax.tree.leaves(want))
# A host with one device of the four. It holds a quarter of the matrices and the whole of the norms.
one = {device: sum(s.data.nbytes for x in jax.tree.leaves(got) for s in x.addressable_shards if s.device == device)
       for device in jax.devices()}
reader_of_one = Reader()
with reader_of_one as opened:
    source = loading.Source(found, model, rows, opened)
    flat = dict(loading._leaves(layouts))
    for path, stacked in source.places.items():
        sharding = flat[path] if not path.startswith(names.LAYERS) else loading.of_a_layer(flat[path])
        for place in stacked:
            shape = place.inputs + place.outputs
            index = sharding.devices_indices_map(shape)[jax.devices()[0]]
            index = tuple(slice(*part.indices(n)[:2]) for part, n in zip(index, shape))
            source.part(place, index)
share = one[jax.devices()[0]]
print(json.dumps({"all": reader.bytes_read, "total": total, "one": reader_of_one.bytes_read, "share": share}))
"""


@pytest.mark.multidevice
@pytest.mark.parametrize("family", ["llama", "gemma3_text"])
def test_four_devices_get_their_shards_and_cost_their_bytes(tmp_path, family) -> None:
    small_folders.write_folder(tmp_path, family)
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu"}
    paths = os.pathsep.join([*sys.path, str(Path(small_folders.__file__).parent)])
    done = subprocess.run(
        [sys.executable, "-c", _SHARDED, str(tmp_path), family],
        env=os.environ | flags | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["all"] == said["total"]  # equal shards are read once
    assert said["one"] == said["share"] < 0.3 * said["total"]


def test_memory_beside_the_model_is_about_a_tensor(tmp_path) -> None:
    """A process that loads 96 MiB of layers, none above 4 MiB, peaks little above what its device holds."""
    code = """
import dataclasses, json, resource, sys
from pathlib import Path
import jax, numpy as np
import small_folders
from biomechgpt_jax.pretrained import description
found, described, _ = description.opened(Path(sys.argv[1]))
jax.block_until_ready(jax.jit(lambda: jax.numpy.zeros(8))())
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
made = jax.block_until_ready(small_folders.load_whole(found, described))
held = sum(x.nbytes for x in jax.tree.leaves(made))
print(json.dumps({"grown": 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before), "held": held}))
"""
    import dataclasses

    from biomechgpt_jax.pretrained import families

    model = dataclasses.replace(small_folders.FAMILIES["qwen3"], layers=12, model_size=512, hidden_size=2048)
    facts = families.facts_of(model, 1024, 64, {}, "float32")
    (tmp_path / "config.json").write_text(json.dumps(facts))
    tensors = small_folders.random_tensors(model, 1024)
    with Writer(tmp_path / "model.safetensors", {name: ("F32", x.shape) for name, x in tensors.items()}) as writer:
        for name, x in tensors.items():
            writer.write(name, x)
    largest = max(x.nbytes for x in tensors.values())
    paths = os.pathsep.join([*sys.path, str(Path(small_folders.__file__).parent)])
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": paths, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(done.stdout.splitlines()[-1])
    compiler = 64 * 2**20  # what compiling the few small programs takes, once
    assert said["held"] > 100 * 2**20 > said["grown"] - said["held"] - 2 * largest - compiler


def test_the_reader_stays_countable(tmp_path) -> None:
    model = small_folders.write_folder(tmp_path, "llama", dtype="BF16")
    found, described, _ = description.opened(tmp_path)
    reader = Reader()
    shapes = {"final_norm": {"scale": jax.ShapeDtypeStruct((24,), np.float32)}}
    one = {"final_norm": {"scale": jax.sharding.SingleDeviceSharding(jax.devices()[0])}}
    loading.load(found, model, described.rows, shapes, one, reader)
    assert reader.bytes_read == 2 * 24
