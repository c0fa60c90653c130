"""A run as a folder of Hugging Face: adapters merged in f32, rounded once, and read back by our own import."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import tokenizers
import toy_base
import toy_pretrained
from toy_pretrained import CODES, LAYERS, ROWS, toy_run, whole

from biomechgpt_jax import config
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.model import decoder
from biomechgpt_jax.pretrained import families, merging, names, safetensors
from biomechgpt_jax.pretrained.folder import open_folder
from biomechgpt_jax.stages import export
from biomechgpt_jax.tokenizer.hub import HubTokenizer, Use
from biomechgpt_jax.tokenizer.vocabulary import Vocabulary

MODEL = replace(toy_base.MODEL, qk_norm=False, compute_dtype="float32")
KINDS = {
    "float32": MODEL,
    "qwen, untied": replace(MODEL, qk_norm=True, tied_embeddings=False, adapter=config.Adapter(2, 4.0, True)),
    "gemma": replace(
        MODEL,
        qk_norm=True,
        activation="gelu",
        post_norms=True,
        unit_norms=True,
        scale_embeddings=True,
        query_size=24.0,
        window=8,
        global_every=2,
        local_rope_theta=1e4,
        adapter=config.Adapter(2, 4.0, on=("query", "up")),
    ),
    "llama 3": replace(MODEL, rope_scaling="llama3", rope_length=32, rope_factor=4.0, adapter=config.Adapter()),
    "nf4": replace(MODEL, base="nf4", double_scales=True, table="bfloat16"),
    "int8": replace(MODEL, base="int8"),
}
IDS, LENGTH = 50, 24  # ids that are kept; of 64
FACTS: dict[str, Any] = {"positions": 512, "tokens": {"bos_token_id": 1, "eos_token_id": 2}}


def logits(params: Any, cfg: config.Model) -> np.ndarray:
    tokens = np.random.default_rng(0).integers(0, IDS, (2, LENGTH)).astype(np.int32)
    index = np.arange(LENGTH, dtype=np.int32)[None].repeat(2, 0)
    batch = {"tokens": tokens, "positions": index, "segments": 0 * index + 1, "branches": 0 * index}
    return np.asarray(jax.jit(decoder.apply, static_argnames="cfg")(params, batch, cfg))[..., :IDS]


@pytest.mark.parametrize("kind", KINDS)
def test_the_merged_folder_is_a_model_of_its_own_with_the_same_logits(kind: str, tmp_path: Path) -> None:
    cfg = KINDS[kind]
    params = whole(cfg)
    merging.write(tmp_path, params, cfg, IDS, FACTS, "float32")
    folder = open_folder(tmp_path)
    described = families.model_of(folder.facts, "config.json")
    assert described.rows == IDS and described.positions == 512
    plain = replace(described.model, compute_dtype="float32")
    assert replace(toy_base.plain_of(cfg), motion_context=plain.motion_context, remat=plain.remat) == plain
    matched = names.match(folder.tensors, plain, IDS)
    with safetensors.Reader() as reader:
        own = names.params({name: reader.read(tensor) for name, tensor in matched.tensors.items()}, plain)
    want = logits(params, cfg)
    assert want.std() > 0.1
    np.testing.assert_allclose(logits(own, plain), want, atol=3e-5 * want.std())


def test_weights_are_rounded_once(tmp_path: Path) -> None:
    cfg = KINDS["float32"]
    params = whole(cfg)
    merging.write(tmp_path, params, cfg, IDS, FACTS, "bfloat16")
    tensors = open_folder(tmp_path).tensors
    held = params["layers"]["block"]["mlp"]["up"]
    exact = held["kernel"][1].astype(np.float64) + 2.0 * held["a"][1].astype(np.float64) @ held["b"][1]
    with safetensors.Reader() as reader:
        stored = reader.read(tensors["model.layers.1.mlp.up_proj.weight"]).astype(np.float64).T
    once = exact.astype(np.float32).astype(safetensors.DTYPES["BF16"]).astype(np.float64)
    assert np.mean(stored == once) > 0.999  # sums in another order may lie on the other side of a half
    assert all(tensor.dtype == "BF16" for tensor in tensors.values())


def test_rotary_positions_stand_there_in_both_spellings(tmp_path: Path) -> None:
    cfg = KINDS["llama 3"]
    merging.write(tmp_path, whole(cfg), cfg, IDS, FACTS, "float32")
    facts = json.loads((tmp_path / "config.json").read_text())
    for name in ("rope_parameters", "rope_scaling"):
        older = {key: value for key, value in facts.items() if key != name}
        assert families.model_of(older, "config.json").model.rope_scaling == "llama3"


@pytest.fixture
def run(tmp_path: Path) -> export.Run:
    return toy_run(tmp_path, replace(MODEL, motion_context=3, motion_statistics=8))


@pytest.mark.parametrize("is_merged", [True, False])
def test_an_export_is_whole_and_says_what_it_is(run: export.Run, tmp_path: Path, is_merged: bool) -> None:
    out = tmp_path / "out"
    lines = export.write(run, out, is_merged)
    assert "inputs_embeds" in lines[1] and len(lines) == 2 and ("adapter of rank 2" in lines[0]) != is_merged
    weights = (
        {"config.json", "model.safetensors"} if is_merged else {"adapter_config.json", "adapter_model.safetensors"}
    )
    beside = {"tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja", "README.md"}
    assert {path.name for path in out.iterdir()} == weights | beside | {
        "motion",
        "LICENSE.txt",
    }
    facts = json.loads((out / "motion" / "facts.json").read_text())
    assert facts["trunk"] == run.words.trunk and facts["text_ids"] == ROWS + 5 and facts["table_rows"] == 1408
    motion = safetensors.read_header(out / "motion" / "maps.safetensors").tensors
    assert motion["vectors"].shape == (LAYERS, CODES, 4) and motion["context.into.kernel"].shape == (3, 64, 64)
    assert motion["statistics.direct.kernel"].shape == (16, 64)
    if is_merged:
        folder = open_folder(out)
        assert families.model_of(folder.facts, "config.json").rows == ROWS + 5
        assert folder.facts["eos_token_id"] == run.words.end and folder.licence == "LICENSE.txt: do as you like"
    assert "from_pretrained" in (out / "README.md").read_text()
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []


def test_the_exported_tokenizer_has_our_tokens_at_their_ids(run: export.Run, tmp_path: Path) -> None:
    export.write(run, tmp_path / "out", True)
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "out" / "tokenizer.json"))
    assert theirs.get_vocab_size() == ROWS + 5
    names_of = {"pad": run.words.pad, "question": run.words.question, "answer": run.words.answer}
    assert {name: theirs.token_to_id(f"<biomechgpt:{name}>") for name in names_of} == names_of
    own = run.words.text
    assert isinstance(own, HubTokenizer)
    line = "how 125 naïve"
    assert theirs.encode(line, add_special_tokens=False).ids == own.encode(line)
    again = toy_pretrained.read(tmp_path / "out", ROWS + 5, chat=True)
    assert (again.begin, again.stop, again.before, again.after) == (own.begin, own.stop, own.before, own.after)


def test_an_export_that_fails_leaves_nothing(run: export.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InputError, match="has no adapters"):
        export.write(replace(run, model=replace(run.model, adapter=config.Adapter())), tmp_path / "out", False)
    with pytest.raises(InputError, match="cannot be exported"):
        export.write(replace(run, model=replace(run.model, window=4)), tmp_path / "out", True)
    with pytest.raises(InputError, match="exists already"):
        export.write(run, run.base, True)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be made"):
        export.write(run, tmp_path / "file" / "out", True)
    (tmp_path / "file").unlink()
    own = Vocabulary(HubTokenizer(toy_pretrained.definition(), Use(ROWS)), CODES)
    own.text = object()  # type: ignore[assignment]  # any other kind of tokenizer
    with pytest.raises(InputError, match="starts from no pretrained model"):
        export.write(replace(run, words=own), tmp_path / "out", True)
    assert sorted(tmp_path.iterdir()) == before
