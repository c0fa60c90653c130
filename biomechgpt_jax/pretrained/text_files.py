"""The tokenizer of a GGUF file as files of a folder of Hugging Face: tokenizer.json and tokenizer_config.json.

Two kinds are known: byte-level BPE with its merges in the file (model "gpt2", pre-tokenizer "smollm"), and BPE of
SentencePiece with scores (model "llama"), whose merges follow from them.
"""

import importlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from biomechgpt_jax.errors import InputError

_UNKNOWN, _CONTROL, _USER_DEFINED = 2, 3, 4  # types of tokens in GGUF
_SPACE = "▁"


def tokenizer_json(facts: Mapping[str, Any]) -> str:
    """The text of tokenizer.json.

    Args:
        facts: the metadata of a GGUF file, by key.

    Raises:
        InputError: a tokenizer of another kind, or the library tokenizers is not installed.
    """
    library = _library()
    kind, before = facts.get("tokenizer.ggml.model"), facts.get("tokenizer.ggml.pre")
    if (kind, before) == ("gpt2", "smollm"):
        return _byte_level(library, facts)
    if kind == "llama":
        return _with_scores(library, facts)
    raise InputError(f"the file's tokenizer is {kind} ({before}); gpt2 (smollm) and llama are read")


def config_json(facts: Mapping[str, Any]) -> dict[str, Any]:
    """tokenizer_config.json: control tokens by their use, and the chat template."""
    tokens = facts["tokenizer.ggml.tokens"]
    made: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "add_bos_token": bool(facts.get("tokenizer.ggml.add_bos_token", False)),
        "add_eos_token": bool(facts.get("tokenizer.ggml.add_eos_token", False)),
    }
    for use, name in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding")):
        number = facts.get(f"tokenizer.ggml.{name}_token_id")
        if number is not None:
            made[f"{use}_token"] = tokens[number]
    if template := facts.get("tokenizer.chat_template"):
        made["chat_template"] = template
    return made


def _byte_level(library: Any, facts: Mapping[str, Any]) -> str:
    tokens, types = facts["tokenizer.ggml.tokens"], facts["tokenizer.ggml.token_type"]
    merges = [tuple(merge.split(" ")) for merge in facts["tokenizer.ggml.merges"]]
    made = library.Tokenizer(library.models.BPE(vocab=_vocabulary(tokens), merges=merges))
    # What llama.cpp calls "smollm": digits one by one, then GPT-2's words.
    digits = library.pre_tokenizers.Digits(individual_digits=True)
    words = library.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    made.pre_tokenizer = library.pre_tokenizers.Sequence([digits, words])
    made.decoder = library.decoders.ByteLevel()
    control = [text for text, kind in zip(tokens, types, strict=True) if kind == _CONTROL]
    made.add_special_tokens([library.AddedToken(text, special=True, normalized=False) for text in control])
    return made.to_str()


def _with_scores(library: Any, facts: Mapping[str, Any]) -> str:
    types, scores = facts["tokenizer.ggml.token_type"], facts["tokenizer.ggml.scores"]
    # llama.cpp writes spaces into tokens that users defined, SentencePiece its own sign.
    tokens = [
        text.replace(" ", _SPACE) if kind == _USER_DEFINED else text
        for text, kind in zip(facts["tokenizer.ggml.tokens"], types, strict=True)
    ]
    ranks = {text: -score for text, score, kind in zip(tokens, scores, types, strict=True) if kind == 1}
    unknown = tokens[facts["tokenizer.ggml.unknown_token_id"]]
    model = library.models.BPE(
        vocab=_vocabulary(tokens),
        merges=list(_merges(ranks)),
        unk_token=unknown,
        fuse_unk=True,
        byte_fallback=True,
    )
    made = library.Tokenizer(model)
    made.normalizer = library.normalizers.Replace(" ", _SPACE)
    made.decoder = library.decoders.Sequence(
        [library.decoders.Replace(_SPACE, " "), library.decoders.ByteFallback(), library.decoders.Fuse()]
    )
    # Control tokens stand for themselves; those of users are looked for in the text as the normaliser leaves it.
    for kind, special in ((_CONTROL, True), (_USER_DEFINED, False)):
        these = [text for text, own in zip(tokens, types, strict=True) if own == kind or (special and own == _UNKNOWN)]
        added = [library.AddedToken(text, special=special, normalized=not special) for text in these]
        made.add_special_tokens(added) if special else made.add_tokens(added)
    if facts.get("tokenizer.ggml.add_bos_token"):
        number = facts["tokenizer.ggml.bos_token_id"]
        made.post_processor = library.processors.TemplateProcessing(
            single=f"{tokens[number]} $A", pair=f"{tokens[number]} $A $B", special_tokens=[(tokens[number], number)]
        )
    return made.to_str()


def _merges(ranks: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    """Pairs that make a token of lower rank first, and those of one token in the order of their parts' ranks."""
    for text in sorted(ranks, key=ranks.__getitem__):
        pairs = ((text[:cut], text[cut:]) for cut in range(1, len(text)))
        yield from sorted(
            (pair for pair in pairs if pair[0] in ranks and pair[1] in ranks),
            key=lambda pair: (ranks[pair[0]], ranks[pair[1]]),
        )


def _vocabulary(tokens: Sequence[str]) -> dict[str, int]:
    found = {text: number for number, text in enumerate(tokens)}
    if len(found) != len(tokens):
        raise InputError("the file's tokenizer has a token twice; fetch the file again")
    return found


def _library() -> Any:
    try:
        return importlib.import_module("tokenizers")
    except ImportError as error:
        raise InputError("the library tokenizers is missing: pip install 'biomechgpt-jax[gguf,pretrained]'") from error
