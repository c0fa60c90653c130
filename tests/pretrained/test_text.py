"""The text tokenizer of a folder of pretrained weights: what stands in its files is checked."""

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import toy_base
import toy_pretrained

from biomechgpt_jax.errors import InputError
from biomechgpt_jax.model import decoder, generation
from biomechgpt_jax.model.requests import Request, Settings
from biomechgpt_jax.pretrained import merging
from biomechgpt_jax.tokenizer.hub import HubTokenizer, Use

ROWS = 1500


def test_a_template_in_a_file_of_its_own_comes_first(tmp_path: Path) -> None:
    folder = toy_pretrained.write(tmp_path, toy_pretrained.definition(), template="{{ 'no template' }}")
    with pytest.raises(InputError, match="drops, repeats"):
        toy_pretrained.read(folder, ROWS, chat=True)
    (folder / "chat_template.jinja").write_text(toy_pretrained.TEMPLATE)
    assert toy_pretrained.read(folder, ROWS, chat=True).use.template == toy_pretrained.TEMPLATE
    named = [{"name": "tools", "template": "x"}, {"name": "default", "template": toy_pretrained.TEMPLATE}]
    other = toy_pretrained.write(tmp_path / "named", toy_pretrained.definition(), template=named)
    assert toy_pretrained.read(other, ROWS, chat=True).use == toy_pretrained.read(folder, ROWS, chat=True).use


def test_no_file_outside_of_the_folder_is_read(tmp_path: Path) -> None:
    folder = toy_pretrained.write(tmp_path / "model", toy_pretrained.definition())
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).rename(tmp_path / name)
        (folder / name).symlink_to(tmp_path / name)
        with pytest.raises(InputError, match="outside of the folder"):
            toy_pretrained.read(folder, ROWS)
        (folder / name).unlink()
        (tmp_path / name).rename(folder / name)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"eos_token": "<nothing>"}, "names the token '<nothing>', which"),
        ({"eos_token": "stroke"}, "is no control token"),
        ({"eos_token": 7}, "eos_token is 7, no text"),
        ({"bos_token": "<nothing>", "add_bos_token": True}, "names the token"),
        ({"chat_template": 7}, "chat_template is no text"),
        ({"chat_template": ""}, "no chat template here"),
        ({"chat_template": [{"name": "tools", "template": "x"}]}, "no chat template here"),
        ({"chat_template": "{{ bos_token }}" + toy_pretrained.TEMPLATE}, "begins a text twice"),
        ({"chat_template": toy_pretrained.TEMPLATE.replace("<|end of turn|>", "")}, "no control token ends"),
    ],
)
def test_what_stands_beside_a_tokenizer_is_checked(tmp_path: Path, change: dict, said: str) -> None:
    text = toy_pretrained.definition(begins="add_bos_token" not in change)
    with pytest.raises(InputError, match=said):
        toy_pretrained.read(toy_pretrained.write(tmp_path, text, **change), ROWS, chat="chat_template" in change)


def damaged(text: str) -> dict[str, str]:
    """Kinds of damage to a tokenizer.json."""
    whole = json.loads(text)

    def changed(**parts: object) -> str:
        return json.dumps(whole | parts)

    model = whole["model"]
    return {
        "cut": text[: len(text) // 2],
        "empty": "",
        "list": "[1]",
        "deep": '{"a":' * 100_000,
        "twice": text.replace('"version"', '"model": {}, "version"', 1),
        "no model": changed(model=None),
        "kind": changed(model=model | {"type": "Python"}),
        "ids": changed(model=model | {"vocab": {"a": -1}, "merges": []}),
        "far id": changed(model=model | {"vocab": model["vocab"] | {"far": 2**30}}),
        "huge id": changed(model=model | {"vocab": model["vocab"] | {"far": 2**70}}),
        "merge": changed(model=model | {"merges": [["never", "there"]]}),
        "lower case": changed(normalizer={"type": "Lowercase"}),
        "long prefix": changed(
            post_processor={
                "type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": toy_pretrained.BOS, "type_id": 0}}] * 2
                + [{"Sequence": {"id": "A", "type_id": 0}}],
                "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
                "special_tokens": {
                    toy_pretrained.BOS: {"id": toy_pretrained.BOS, "ids": [40], "tokens": [toy_pretrained.BOS]}
                },
            }
        ),
    }


@pytest.mark.parametrize("kind", sorted(damaged(toy_pretrained.definition())))
def test_a_damaged_tokenizer_is_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    toy_pretrained.write(tmp_path, damaged(toy_pretrained.definition())[kind])
    with pytest.raises(InputError) as raised:
        toy_pretrained.read(tmp_path, ROWS)
    assert str(tmp_path) in str(raised.value) and "\n" not in str(raised.value).strip()


def test_too_much_and_nothing_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="no such file"):
        toy_pretrained.read(tmp_path, ROWS)
    toy_pretrained.write(tmp_path, toy_pretrained.definition())
    with pytest.raises(InputError, match="ids, more than"):
        toy_pretrained.read(tmp_path, 2**21)
    with (tmp_path / "tokenizer.json").open("r+b") as file:
        file.truncate(2**26 + 1)
    with pytest.raises(InputError, match="is larger than"):
        toy_pretrained.read(tmp_path, ROWS)
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(InputError, match=r"pip install 'biomechgpt-jax\[pretrained\]'"):
        HubTokenizer(toy_pretrained.definition(), Use())


def test_the_example_prints_what_cached_decoding_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cfg = toy_base.plain_of(replace(toy_base.MODEL, qk_norm=False, compute_dtype="float32"))
    params = toy_base.draw(decoder.abstract(cfg, ROWS))
    facts = {"positions": 512, "tokens": {"bos_token_id": None, "eos_token_id": None}}
    merging.write(toy_pretrained.write(tmp_path, toy_pretrained.definition()), params, cfg, ROWS, facts, "float32")
    script = Path(__file__).parents[2] / "examples" / "pretrained_text.py"
    spec = importlib.util.spec_from_file_location("pretrained_text", script)
    assert spec is not None and spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    example.write_on(tmp_path, "how far?", 16, chat=False)
    words = toy_pretrained.read(tmp_path, ROWS)
    prompt = np.array([words.begin, *words.encode("how far?")], np.int32)
    request = Request(prompt[:0], [prompt])
    [[answer]] = generation.generate(params, cfg, [request], Settings(16, words.stop, bucket=64))
    step = words.stream()
    said = "".join(step(i) for i in answer.tokens if i != words.stop)
    assert len(answer.tokens) > 3 and capsys.readouterr().out == f"{said}\n"
