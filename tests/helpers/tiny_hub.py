"""A byte-level tokenizer.json with the traits of large ones: up to three digits are one id, as in Llama 3, and control
tokens lie amid the others."""

import itertools
import json
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, processors

from biomechgpt_jax.pretrained.folder import Folder
from biomechgpt_jax.pretrained.text import tokenizer_of
from biomechgpt_jax.tokenizer.hub import HubTokenizer

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
