"""A folder of weights as the base of a run: held as the configuration says, and what is trained begins beside it."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
import small_folders
import toy_base
from toy_rows import Toy, equal

from biomechgpt_jax import config
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.parallel import mesh as meshes
from biomechgpt_jax.tasks import base as base_lib
from biomechgpt_jax.tasks import language, trained
from biomechgpt_jax.tasks.parameters import Frozen, Parameters
from biomechgpt_jax.training import frozen as frozen_lib
from biomechgpt_jax.training.loop import Places

NO_ADAPTER = config.Adapter()
HELD = {
    "float32": {},
    "bfloat16": {"base": "bfloat16", "table": "bfloat16"},
    "int8": {"base": "int8"},
    "nf4": {"base": "nf4", "table": "bfloat16"},
    "nf4 double": {"base": "nf4", "double_scales": True},
    "untied": {"base": "int8", "table": "bfloat16", "tied_embeddings": False},
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A function from a model to the same with a folder of `toy_base.weights`."""
    root = tmp_path_factory.mktemp("folders")

    def make(model: config.Model) -> config.Model:
        path = root / ("tied" if model.tied_embeddings else "untied")
        if not path.exists():
            plain = toy_base.plain_of(model)
            small_folders.write_model(path, plain, small_folders.tensors_of(toy_base.weights(model), plain))
        return replace(model, pretrained=str(path))

    return make


def loaded(model: config.Model, frozen) -> dict:
    one = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.device_get(frozen.load(jax.tree.map(lambda _: one, frozen.shapes)))


@pytest.mark.parametrize("how", HELD)
def test_the_base_is_what_quantising_the_whole_gives(folders, how) -> None:
    model = folders(replace(toy_base.MODEL, **HELD[how]))
    found = base_lib.of(model)
    got, want = loaded(model, found.frozen), toy_base.base(model)
    assert jax.tree.structure(got) == jax.tree.structure(want)
    assert equal(got, want)
    assert jax.tree.map(lambda x: x.dtype, got) == jax.tree.map(lambda x: x.dtype, want)
    assert not found.start.base.shapes  # nothing of it is trained


@pytest.mark.parametrize("change", [{"freeze": "nothing"}, {"train_text_rows": True}], ids=["all", "rows"])
def test_what_is_trained_of_the_base_begins_with_its_values(folders, toy: Toy, change) -> None:
    model = folders(replace(toy_base.MODEL, adapter=NO_ADAPTER, **change))
    found = base_lib.of(model)
    assert ("layers" in found.frozen.shapes) == ("freeze" not in change)
    fresh, frozen = fresh_state(model, toy, found)
    params = frozen_lib.merge(fresh, frozen)
    weights = toy_base.weights(model)
    assert equal({name: params[name] for name in weights}, weights)


def fresh_state(model: config.Model, toy: Toy, found: base_lib.Base, start: base_lib.Start | None = None):
    experiment = replace(toy.experiment, model=model)
    vectors = toy.code_vectors
    task = language.Language(experiment, toy.sequences, toy.ids, vectors, found.frozen, start or found.start)
    mesh = meshes.make(experiment.mesh)
    frozen = task.frozen(mesh)
    return jax.device_get(task.fresh_state(mesh, frozen)["params"]), jax.device_get(frozen)


def test_new_rows_and_motion_begin_at_the_tables_scale(folders, toy: Toy) -> None:
    model = folders(replace(toy_base.MODEL, tied_embeddings=False, motion_statistics=8))
    fresh, frozen = fresh_state(model, toy, base_lib.of(model))
    for name, table, axis in (("rows", frozen["embedding"], 0), ("head_rows", frozen["head"], 1)):
        rows = fresh[name]
        assert rows.shape[axis] == toy.ids.motion_offset - toy_base.TEXT_ROWS
        apart = rows - table.mean(axis, keepdims=True)
        spread = table.std(axis, keepdims=True)
        assert abs((apart / spread).std() - 1) < 0.1
        assert abs(apart / spread).mean() < 1
    length = np.sqrt(np.square(frozen["embedding"]).sum(1).mean())
    plain = jax.device_get(
        Parameters(replace(model, pretrained=""), toy.ids, Frozen.of(frozen)).init(
            jax.random.key(toy.experiment.train.seed), meshes.make(toy.experiment.mesh)
        )
    )
    for part in (("kernel",), ("context", "out", "kernel"), ("statistics", "direct", "kernel")):
        ours, usual = fresh["motion"], plain["motion"]
        for key in part:
            ours, usual = ours[key], usual[key]
        np.testing.assert_allclose(np.std(ours), length * np.std(usual), rtol=0.05)
    np.testing.assert_array_equal(fresh["layers"]["block"]["mlp"]["up"]["b"], 0)


def test_training_and_answering_load_the_same_base(folders, toy: Toy, tmp_path) -> None:
    model = folders(replace(toy_base.MODEL, **HELD["nf4 double"]))
    found, places = base_lib.of(model), Places(tmp_path / "checkpoints", tmp_path / "metrics.jsonl")
    experiment = replace(toy.experiment, model=model)
    after = language.train(
        experiment, toy.sequences, 3, places, lambda *_: None, toy.ids, toy.code_vectors, found.frozen, found.start
    )
    frozen = base_lib.of(model).frozen.with_code_vectors(toy.code_vectors)
    read = trained.load_params(tmp_path / "checkpoints", model, toy.ids, frozen=frozen)
    assert equal(jax.device_get(read), jax.device_get(after))
    # Another run begins with these, and says from which step.
    note = tmp_path / "start.json"
    start = replace(found.start, checkpoints=tmp_path / "checkpoints", note=note)
    fresh, _ = fresh_state(model, toy, found, start)
    assert equal(fresh, frozen_lib.split(jax.device_get(after), frozen.shapes).trained)
    assert json.loads(note.read_text())["step"] == 3
    other = replace(model, **{"base": "int8", "double_scales": False})
    with pytest.raises(InputError, match="base: nf4 in the checkpoint, int8 now"):
        fresh_state(other, toy, base_lib.of(other), start)


def test_refusals(folders, tmp_path) -> None:
    assert base_lib.of(config.Model()) == base_lib.Base()
    model = folders(toy_base.MODEL)
    with pytest.raises(InputError, match=r"give --model\.pretrained DIR"):
        base_lib.of(replace(model, pretrained=""))
    with pytest.raises(InputError, match="is gone"):
        base_lib.of(replace(model, pretrained=str(tmp_path / "moved")))
    with pytest.raises(InputError, match=r"has 40 rows, and model\.text_rows is 41"):
        base_lib.of(replace(model, text_rows=41))
    assert base_lib.of(replace(model, random_weights=True, adapter=NO_ADAPTER)) == base_lib.Base()


def test_digests_follow_the_content_and_not_the_place(folders, tmp_path) -> None:
    model = folders(toy_base.MODEL)
    moved = tmp_path / "moved"
    moved.symlink_to(model.pretrained)
    first = base_lib.digests(model)
    assert first and base_lib.digests(replace(model, pretrained=str(moved))) == first
    assert base_lib.digests(config.Model()) == {}


_SHARDED = """
import sys
from dataclasses import replace
from pathlib import Path
import jax, numpy as np
import small_folders, toy_base
from biomechgpt_jax import config
from biomechgpt_jax.model import decoder, parameters
from biomechgpt_jax.parallel import mesh as meshes
from biomechgpt_jax.tasks import base as base_lib

mesh = meshes.make(config.Mesh(data=1, fsdp=2, tensor=2), jax.devices())
for number, held in enumerate([{"base": "int8"}, {"base": "nf4"}, {"base": "nf4", "double_scales": True}]):
    for width in (128, 320):  # in 320 a block lies across two devices
        if width == 320 and held == {"base": "nf4"}:
            continue
        model = replace(toy_base.MODEL, kv_heads=2, model_size=width, hidden_size=256, **held)
        path = Path(sys.argv[1]) / f"{number}-{width}"
        plain = toy_base.plain_of(model)
        small_folders.write_model(path, plain, small_folders.tensors_of(toy_base.weights(model), plain))
        model = replace(model, pretrained=str(path))
        frozen = base_lib.of(model).frozen
        layouts = parameters.base_of(decoder.param_shardings(mesh, model, model.text_rows), model)
        got, want = frozen.load(layouts), toy_base.base(model)
        jax.tree.map(np.testing.assert_array_equal, jax.device_get(got), want)
        assert all(jax.tree.leaves(jax.tree.map(lambda x, y: x.sharding == y, got, layouts)))
print("equal")
"""


@pytest.mark.multidevice
def test_codes_do_not_depend_on_the_mesh(tmp_path) -> None:
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu"}
    here = [str(Path(toy_base.__file__).parent), str(Path(small_folders.__file__).parent)]
    done = subprocess.run(
        [sys.executable, "-c", _SHARDED, str(tmp_path)],
        env=os.environ | flags | {"PYTHONPATH": os.pathsep.join([*sys.path, *here])},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout.endswith("equal\n"), done.stderr[-2000:]
