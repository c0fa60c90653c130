"""The verb `export` on a run that starts from a pretrained model; nothing in it was trained."""

import dataclasses
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
import toy_base
import toy_pretrained
from small_codecs import untrained

from biomechgpt_jax import cli, config
from biomechgpt_jax import workdir as workdirs
from biomechgpt_jax.model import decoder, parameters
from biomechgpt_jax.parallel import mesh as mesh_lib
from biomechgpt_jax.pretrained import merging, safetensors
from biomechgpt_jax.tasks import base, trained
from biomechgpt_jax.tasks.id_space import IdSpace
from biomechgpt_jax.tasks.parameters import Parameters
from biomechgpt_jax.tokenizer import vocabulary
from biomechgpt_jax.training import frozen
from biomechgpt_jax.training.checkpoint import Checkpoints

TOKENIZER = config.Tokenizer(width=16, depth=1)
MODEL = dataclasses.replace(toy_base.MODEL, qk_norm=False, text_rows=toy_pretrained.ROWS)


def write_base(folder: Path, seed: int = 0) -> None:
    toy_pretrained.write(folder, toy_pretrained.definition())
    plain = dataclasses.replace(MODEL, adapter=config.Adapter())
    params = toy_base.draw(parameters.base_of(decoder.abstract(plain, plain.text_rows), plain), seed)
    tokens = {"bos_token_id": None, "eos_token_id": None}
    merging.write(folder, params, plain, MODEL.text_rows, {"positions": 512, "tokens": tokens}, "float32")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `base`, `other`, a base of other weights, and `run`."""
    root = tmp_path_factory.mktemp("export")
    write_base(root / "base")
    write_base(root / "other", seed=1)
    model = dataclasses.replace(MODEL, pretrained=str(root / "base"))
    experiment = config.Experiment(name="untrained", tokenizer=TOKENIZER, model=model)
    work = workdirs.open_workdir(experiment, root / "run")
    codec = untrained(TOKENIZER)
    text = toy_pretrained.read(root / "base", model.text_rows)
    words = vocabulary.Vocabulary(text, codec.codes, codec.digest, codec.layers)
    vocabulary.save(work.tokenizer, codec, words)
    held = base.of(model).frozen.with_code_vectors(codec.code_vectors())
    own, mesh = Parameters(model, IdSpace.of(words), held), mesh_lib.make(config.Mesh(), jax.devices()[:1])
    identity = trained.identity(model, own.ids) | frozen.identity(own.load_frozen(mesh))
    checkpoints = Checkpoints(work.checkpoints, identity, keep_last=1)
    checkpoints.save(1, {"params": own.init(jax.random.key(0), mesh)})
    checkpoints.close()
    return root


def said(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    code = cli.main(["export", *map(str, words)])
    out, err = capsys.readouterr()
    return code, out + err


def test_a_run_leaves_merged_and_as_an_adapter(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, lines = said(capsys, made / "run", tmp_path / "merged", "--merged", "--dtype", "float32")
    assert code == 0 and lines.count("\n") == 2 and "examples/with_transformers.py" in lines
    base_file, own_file = (
        safetensors.read_header(path / "model.safetensors") for path in (made / "base", tmp_path / "merged")
    )
    assert base_file.tensors.keys() == own_file.tensors.keys()
    with safetensors.Reader() as reader:
        for name, tensor in base_file.tensors.items():  # b starts as 0, so that nothing has changed yet
            same = reader.read(own_file.tensors[name])
            np.testing.assert_array_equal(same[: tensor.shape[0]], reader.read(tensor), name)
    assert own_file.tensors["model.embed_tokens.weight"].shape[0] == toy_pretrained.ROWS + 5
    code, lines = said(capsys, made / "run", tmp_path / "adapter", "--adapter")
    assert code == 0 and "an adapter of rank 2 for base" in lines
    assert (tmp_path / "adapter" / "adapter_model.safetensors").is_file()


def test_a_base_that_has_gone_is_named_and_another_one_in_its_place_refused(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.move(made / "base", made / "moved")
    try:
        code, line = said(capsys, made / "run", tmp_path / "out", "--adapter")
        assert code == 2 and f"{made / 'base'} is gone" in line
        shutil.copytree(made / "other", made / "base")
        code, line = said(capsys, made / "run", tmp_path / "out", "--adapter")
        assert code == 2 and line.count("\n") == 1 and not list(tmp_path.iterdir())
        shutil.rmtree(made / "base")
    finally:
        shutil.move(made / "moved", made / "base")


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["--adapter", "--merged"], "not allowed with argument"),
        ([], "one of the arguments --adapter --merged is required"),
        (["--adapter", "--dtype", "float32"], "--dtype is for --merged"),
        (["--merged", "--dtype", "float16"], "invalid choice"),
        (["--merged"], "holds no experiment"),
    ],
)
def test_what_makes_no_export_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], what: str
) -> None:
    code, line = said(capsys, tmp_path, tmp_path / "out", *words)
    assert code == 2 and line.count("\n") == 1 and what in line
    assert not list(tmp_path.iterdir())
