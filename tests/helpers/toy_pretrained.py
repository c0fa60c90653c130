"""A toy pretrained model: its tokenizer, and a run with its base and adapter.

The tokenizer is a byte-level tokenizer.json with the traits of large ones: up to three digits are one id, as in Llama
3, and control tokens lie amid the others.
"""

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import tokenizers
import toy_base
from tokenizers import decoders, models, pre_tokenizers, processors

from biomechgpt_jax import config
from biomechgpt_jax.model import decoder
from biomechgpt_jax.pretrained.folder import Folder
from biomechgpt_jax.pretrained.text import tokenizer_of
from biomechgpt_jax.stages import export
from biomechgpt_jax.tokenizer.hub import HubTokenizer
from biomechgpt_jax.tokenizer.vocabulary import Vocabulary

LAYERS, CODES, ROWS = 2, 20, 1400  # of a motion token, of a layer, and of the pretrained table, of which 1,372 are used
DIGITS = "0123456789"
BOS, EOS, TURN, BEGIN_TURN, MASK = "<|begin|>", "<|end of text|>", "<|end of turn|>", "<|turn|>", "<|mask|>"
CONTROL = (BOS, EOS, TURN, BEGIN_TURN, MASK)
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|turn|>{{ message['role'] }}\n{{ message['content'] }}"
    "<|end of turn|>\n{% endfor %}{% if add_generation_prompt %}<|turn|>assistant\n{% endif %}"
)


def definition(begins: bool = True, digits: int = 3) -> str:
    """The text of a tokenizer.json; `begins`: it puts BOS before every text."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*letters[:40], BOS, EOS, *letters[40:], TURN]
    merges = [pair for pair in itertools.product(DIGITS, DIGITS)] if digits > 1 else []
    merges += [(first + second, third) for first, second in merges for third in DIGITS] if digits > 2 else []
    merges += [
        ("h", "e"),
        ("i", "n"),
        ("i", "s"),
        ("s", "t"),
        ("r", "o"),
        ("st", "ro"),
        ("k", "e"),
        ("stro", "ke"),
        ("h", "o"),
        ("ho", "w"),
        ("f", "a"),
    ]
    tokens += [first + second for first, second in merges] + [BEGIN_TURN]
    made = tokenizers.Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    split = tokenizers.Regex(r"\p{N}{1,3}| ?\p{L}+|\s+|[^\s\p{L}\p{N}]+")
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(split, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(list(CONTROL))
    if begins:
        made.post_processor = processors.TemplateProcessing(f"{BOS} $A", special_tokens=[(BOS, made.token_to_id(BOS))])
    return made.to_str()


def write(folder: Path, text: str, template: object = TEMPLATE, **facts: object) -> Path:
    """A folder with this tokenizer.json and what stands beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(text)
    beside = {"bos_token": BOS, "eos_token": {"content": EOS}, "chat_template": template} | facts
    (folder / "tokenizer_config.json").write_text(json.dumps(beside))
    return folder


def read(folder: Path, rows: int, chat: bool = False) -> HubTokenizer:
    """The tokenizer of a folder that may hold no weights."""
    return tokenizer_of(Folder(folder.resolve(), {}, {}, "", ""), rows, chat)


def whole(cfg: config.Model, motion: decoder.MotionShape | None = None, rows: int = toy_base.ROWS) -> dict[str, Any]:
    """All parameters, base and adapters; the base held as the configuration says."""
    if cfg.base == "float32" and cfg.table == "float32":
        return toy_base.draw(decoder.abstract(cfg, rows, motion))
    return _both(toy_base.base(cfg), toy_base.trained(cfg, motion))


def _both(left: Any, right: Any) -> Any:
    return {
        name: _both(left[name], right[name]) if name in left and name in right else (left | right)[name]
        for name in left | right
    }


def toy_run(directory: Path, cfg: config.Model) -> export.Run:
    """A run whose folder of the base has a tokenizer with a chat template and a licence, and no weights."""
    base = write(directory / "runs" / "base", definition())
    (base / "LICENSE.txt").write_text("do as you like")
    words = Vocabulary(read(base, ROWS, chat=True), CODES, "codec", LAYERS)
    cfg = replace(cfg, text_rows=ROWS)
    return export.Run(whole(cfg, (LAYERS, CODES, 4), words.motion_offset), cfg, words, base, 512)
