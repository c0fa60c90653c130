"""Adapters in peft's format: written and read back, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import toy_base

from biomechgpt_jax import config
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.model import decoder
from biomechgpt_jax.pretrained import peft, safetensors

MODEL = replace(toy_base.MODEL, head_size=32)  # so that a head's size is not the model's
UNTIED = replace(MODEL, tied_embeddings=False, adapter=config.Adapter(2, 4.0, on=("value", "down", "output")))
ROWS = toy_base.ROWS


def drawn(cfg: config.Model, seed: int = 0) -> dict[str, Any]:
    return toy_base.draw(decoder.abstract(cfg, ROWS), seed)


def written(directory: Path, cfg: config.Model) -> dict[str, Any]:
    params = drawn(cfg)
    peft.write(directory, params, cfg, "a base")
    return params


@pytest.mark.parametrize("cfg", [MODEL, UNTIED], ids=["tied", "untied"])
def test_an_adapter_comes_back_as_it_was(tmp_path: Path, cfg: config.Model) -> None:
    params = written(tmp_path, cfg)
    found = peft.read(tmp_path, cfg, ROWS)
    flat = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(found)}
    own = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
    trained = {name for name in own if name.endswith(("['a']", "['b']", "rows']"))}
    assert flat.keys() == trained and len(flat) == 2 * len(cfg.adapter.on) + 2 - cfg.tied_embeddings
    for name, leaf in flat.items():
        np.testing.assert_array_equal(leaf, own[name], name)


def test_the_files_are_those_of_peft(tmp_path: Path) -> None:
    params = written(tmp_path, UNTIED)
    facts = json.loads((tmp_path / "adapter_config.json").read_text())
    assert facts["target_modules"] == ["v_proj", "down_proj", "o_proj"] and facts["r"] == 2 and facts["lora_alpha"] == 4
    assert facts["trainable_token_indices"] == {name: list(range(40, 64)) for name in ("embed_tokens", "lm_head")}
    header = safetensors.read_header(tmp_path / "adapter_model.safetensors")
    assert header.metadata == {"format": "pt"} and len(header.tensors) == 2 * 3 * 2 + 2
    first = "base_model.model.model.layers.1.self_attn.o_proj.lora_{}.weight"
    with safetensors.Reader() as reader:
        a, b = (reader.read(header.tensors[first.format(half)]) for half in "AB")
    held = params["layers"]["block"]["attention"]["output"]
    assert a.shape == (2, 64) and b.shape == (64, 2)
    update = np.tensordot(held["a"][1], held["b"][1], 1)  # [H, K, D]
    np.testing.assert_allclose(b @ a, update.reshape(64, 64).T, atol=1e-6)


def test_without_rows_an_adapter_is_read_all_the_same(tmp_path: Path) -> None:
    written(tmp_path, MODEL)
    change(tmp_path, trainable_token_indices=None)
    copy(tmp_path, lambda name: name if "token" not in name else None)
    assert peft.read(tmp_path, MODEL, ROWS).keys() == {"layers"}


def change(directory: Path, **facts: Any) -> None:
    path = directory / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))


def copy(directory: Path, rename: Any, values: Any = lambda name, array: array) -> None:
    """Write the file of tensors again under other names; None leaves one out."""
    path = directory / "adapter_model.safetensors"
    with safetensors.Reader() as reader:
        held = {name: reader.read(tensor) for name, tensor in safetensors.read_header(path).tensors.items()}
    made = {rename(name): values(name, array) for name, array in held.items() if rename(name)}
    with safetensors.Writer(path, {name: ("F32", array.shape) for name, array in made.items()}) as writer:
        for name, array in made.items():
            writer.write(name, array)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"peft_type": "IA3"}, "peft_type is 'IA3'"),
        ({"bias": "all"}, "bias is 'all'"),
        ({"r": 4}, "r is 4, and model.adapter.rank is 2"),
        ({"r": True}, "r is True"),
        ({"r": "2"}, "r is '2'"),
        ({"lora_alpha": 2}, "lora_alpha is 2, and model.adapter.alpha is 4.0"),
        ({"use_rslora": True}, "use_rslora is True, and model.adapter.rank_stabilised is False"),
        ({"use_dora": True}, "'use_dora' is True"),
        ({"modules_to_save": ["lm_head"]}, "'modules_to_save' is"),
        ({"layers_to_transform": [0]}, "'layers_to_transform' is"),
        ({"fan_in_fan_out": True}, "'fan_in_fan_out' is True"),
        ({"lora_bias": True}, "'lora_bias' is True"),
        ({"something_new": {"x": 1}}, "'something_new' is"),
        ({"init_lora_weights": "pissa"}, "changes the base"),
        ({"rank_pattern": {"q_proj": 8}}, "rank_pattern is"),
        ({"alpha_pattern": [1]}, "alpha_pattern is"),
        ({"trainable_token_indices": {"embed_tokens": [1, 2]}}, "are not the rows 40 to 63"),
        ({"trainable_token_indices": {"lm_head": list(range(40, 64))}}, "only embed_tokens can have rows"),
        ({"trainable_token_indices": 7}, "trainable_token_indices has 7"),
    ],
)
def test_another_kind_of_adapter_is_refused_by_name(tmp_path: Path, facts: dict[str, Any], said: str) -> None:
    written(tmp_path, MODEL)
    change(tmp_path, **facts)
    with pytest.raises(InputError, match=said):
        peft.read(tmp_path, MODEL, ROWS)


def test_settings_that_change_nothing_are_read_over(tmp_path: Path) -> None:
    params = written(tmp_path, MODEL)
    change(
        tmp_path,
        rank_pattern={"q_proj": 2},
        use_dora=False,
        loftq_config={},
        lora_dropout=0.5,
        target_modules="all-linear",
        init_lora_weights="gaussian",
        peft_version="99",
    )
    np.testing.assert_array_equal(peft.read(tmp_path, MODEL, ROWS)["rows"], params["rows"])


def test_tensors_that_do_not_fit_are_refused_by_name(tmp_path: Path) -> None:
    written(tmp_path, UNTIED)
    with pytest.raises(InputError, match=r"give --model\.adapter\.on value output down"):
        peft.read(tmp_path, replace(UNTIED, adapter=config.Adapter(2, 4.0)), ROWS)
    with pytest.raises(InputError, match=r"layers.2.* is missing"):
        peft.read(tmp_path, replace(UNTIED, layers=3), ROWS)
    with pytest.raises(InputError, match="a tensor without a place"):
        peft.read(tmp_path, replace(UNTIED, layers=1), ROWS)
    with pytest.raises(InputError, match="the configuration makes it"):
        peft.read(tmp_path, replace(UNTIED, hidden_size=192), ROWS)
    with pytest.raises(InputError, match="are not the rows 40 to 127"):
        peft.read(tmp_path, UNTIED, 128)
    copy(tmp_path, lambda name: name, lambda name, array: np.full_like(array, np.nan) if "v_proj" in name else array)
    with pytest.raises(InputError, match=r"v_proj.* holds NaN"):
        peft.read(tmp_path, UNTIED, ROWS)
    copy(tmp_path, lambda name: name.replace("layers.0.self_attn.v_proj.lora_A", "x.lora_embedding_A"))
    with pytest.raises(InputError, match=r"without a place|is missing"):
        peft.read(tmp_path, UNTIED, ROWS)
    (tmp_path / "adapter_model.safetensors").unlink()
    with pytest.raises(InputError, match="cannot be read"):
        peft.read(tmp_path, UNTIED, ROWS)


def test_the_tables_that_peft_stores_again_are_read_over_unless_tied_rows_differ(tmp_path: Path) -> None:
    params = written(tmp_path, MODEL)
    head, table = (f"base_model.model.{name}.token_adapter." for name in ("lm_head", "model.embed_tokens"))
    path = tmp_path / "adapter_model.safetensors"
    with safetensors.Reader() as reader:
        held = {name: reader.read(tensor) for name, tensor in safetensors.read_header(path).tensors.items()}
    rows = held[f"{table}trainable_tokens_delta"]
    again = {f"{part}base_layer.weight": np.zeros((ROWS, 64), np.float32) for part in (head, table)}
    for twin, differs in ((rows, False), (rows + 1, True)):
        stored = held | again | {f"{head}trainable_tokens_delta": twin}
        with safetensors.Writer(path, {name: ("F32", array.shape) for name, array in stored.items()}) as writer:
            for name, array in stored.items():
                writer.write(name, array)
        if differs:
            with pytest.raises(InputError, match="differ, and the model's are tied"):
                peft.read(tmp_path, MODEL, ROWS)
        else:
            np.testing.assert_array_equal(peft.read(tmp_path, MODEL, ROWS)["rows"], params["rows"])


def test_what_an_adapter_cannot_hold_is_not_written(tmp_path: Path) -> None:
    for cfg, said in (
        (replace(MODEL, adapter=config.Adapter()), "has no adapters"),
        (replace(MODEL, train_text_rows=True), "trained the pretrained rows too"),
    ):
        with pytest.raises(InputError, match=said):
            peft.write(tmp_path, drawn(cfg), cfg, "a base")
    assert list(tmp_path.iterdir()) == []
