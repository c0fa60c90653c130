"""Which files belong to a folder of weights, and what `inspect` says of one."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import small_folders

from biomechgpt_jax import cli
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.pretrained import folder, names
from biomechgpt_jax.pretrained.folder import open_folder
from biomechgpt_jax.pretrained.safetensors import Tensor


@pytest.fixture
def directory(tmp_path) -> Path:
    small_folders.write_folder(tmp_path / "model", "gemma3_text")
    return tmp_path / "model"


def test_licences_in_the_order_of_their_weight(directory) -> None:
    assert "no licence in the folder" in open_folder(directory).licence
    (directory / "README.md").write_text("---\ntags: [x]\nlicense: apache-2.0\n---\n# A model\n")
    assert open_folder(directory).licence == "README.md: apache-2.0"
    (directory / "LICENSE").write_text("\n   Apache License\n Version 2.0\n")
    assert open_folder(directory).licence == "LICENSE: Apache License"


def test_the_digest_is_that_of_config_headers_and_sizes(directory) -> None:
    before = open_folder(directory).digest
    (directory / "README.md").write_text("more words")
    assert open_folder(directory).digest == before
    facts = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(facts | {"rms_norm_eps": 1e-5}))
    assert open_folder(directory).digest != before


def test_further_files_are_read_from_the_folder_alone(directory) -> None:
    assert open_folder(directory).json("tokenizer_config.json") == {}
    outside = directory.parent / "secret.json"
    outside.write_text("{}")
    (directory / "tokenizer_config.json").symlink_to(outside)
    opened = open_folder(directory)
    for read in (opened.json, opened.text):
        with pytest.raises(InputError, match="outside of the folder"):
            read("tokenizer_config.json")
    (directory / "chat_template.jinja").write_text("x" * 100)
    with pytest.raises(InputError, match="larger than 99 bytes"):
        opened.text("chat_template.jinja", 99)
    os.mkfifo(directory / "tokenizer.json")  # would block whoever opens it
    with pytest.raises(InputError, match="no file"):
        opened.json("tokenizer.json")


def test_a_link_within_the_folder_is_followed(directory) -> None:
    path = next(directory.glob("*.safetensors"))
    path.rename(directory / "blob")
    path.symlink_to("blob")
    assert open_folder(directory).tensors


def test_inspect_names_family_size_and_mesh(directory, capsys) -> None:
    tokenizer = {"model": {"vocab": {"a": 0, "b": 1}}, "added_tokens": [{"id": 44, "content": "<x>"}]}
    (directory / "tokenizer.json").write_text(json.dumps(tokenizer))
    (directory / "tokenizer_config.json").write_text('{"chat_template": "{{ messages }}"}')
    assert cli.main(["inspect", str(directory), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    total = sum(x.size for x in small_folders.random_tensors(small_folders.FAMILIES["gemma3_text"]).values())
    assert (facts["family"], facts["parameters"], facts["rows"], facts["token_ids"]) == ("gemma3_text", total, 40, 45)
    assert facts["chat_template"] and facts["tied_embeddings"] and facts["dtypes"] == ["F32"]
    assert facts["training"]["TPU v5e"] == "full 1 device, QLoRA 1 device"
    assert cli.main(["inspect", str(directory)]) == 0
    assert "gemma3_text" in capsys.readouterr().out
    assert cli.main(["inspect", str(directory), "--plot", "x.png"]) == 2


def test_meshes_for_8_billion_parameters() -> None:
    """Full training of 8 billion needs 128 GB of state, QLoRA less than 7."""
    from biomechgpt_jax import config
    from biomechgpt_jax.pretrained import description
    from biomechgpt_jax.pretrained.families import Described

    sizes = {"layers": 32, "model_size": 4096, "heads": 32, "kv_heads": 8, "head_size": 128, "hidden_size": 14336}
    model = config.Model(**sizes, qk_norm=False, tied_embeddings=False)
    places = [place for stacked in names.places(model, 128256).values() for place in stacked]
    total = sum(int(np.prod(place.shape)) for place in places)
    assert total == 8_030_261_248  # Llama 3.1 8B
    found = description._training(Described("llama", model, 128256, 8192), total)
    assert found["TPU v5e"] == "full mesh.fsdp 16, QLoRA 1 device"
    assert found["NVIDIA H100"] == "full mesh.fsdp 2, QLoRA 1 device"


@pytest.mark.parametrize("prefix", ["", "language_model.", "model.language_model."])
def test_names_with_a_vision_tower(prefix) -> None:
    model = small_folders.FAMILIES["gemma3_text"]
    shapes = {name: x.shape for name, x in small_folders.random_tensors(model).items()}

    def theirs(name: str) -> str:
        return prefix + name.removeprefix("model.") if prefix == "model.language_model." else prefix + name

    tensors = {theirs(name): Tensor(name, "F32", shape, Path("x"), 0) for name, shape in shapes.items()}
    tensors["vision_tower.encoder.weight"] = Tensor("v", "F32", (3,), Path("x"), 0)
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = Tensor("r", "F32", (4,), Path("x"), 0)
    found = names.match(tensors, model, small_folders.ROWS)
    assert found.tensors.keys() == shapes.keys() and len(found.left) == 2


def test_not_every_folder_looks_like_weights(tmp_path) -> None:
    assert not folder.looks_like(tmp_path)
    (tmp_path / "config.json").write_text('{"experiment": {"model": {}}}')
    assert not folder.looks_like(tmp_path)
