"""The text tokenizer of a folder of pretrained weights: tokenizer.json, and how the files beside it say it is used."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from biomechgpt_jax.errors import InputError
from biomechgpt_jax.files import write_json, write_text
from biomechgpt_jax.pretrained import strict_json
from biomechgpt_jax.pretrained.folder import LARGEST_TOKENIZER, Folder
from biomechgpt_jax.pretrained.strict_json import shown
from biomechgpt_jax.tokenizer import template as templates
from biomechgpt_jax.tokenizer.hub import DEFINITION_FILE, NONE, PROBE, HubTokenizer, Use

CONFIG_FILE, TEMPLATE_FILE = "tokenizer_config.json", "chat_template.jinja"
GENERATION_FILE = "generation_config.json"
_LARGEST_CONFIG = 8 * 2**20  # bytes; Gemma 3's has 6,000 control tokens in 1.2 MB
_OFF = "leave tokenizer.chat_template off"


def tokenizer_of(folder: Folder, rows: int, chat: bool = False) -> HubTokenizer:
    """The tokenizer of a folder.

    What begins a text (BOS) is what tokenizer.json puts before it, or, with `add_bos_token`, the `bos_token` of
    tokenizer_config.json: a model whose tokenizer only names one was trained without.

    Args:
        folder: of the model.
        rows: of the model's table of embeddings.
        chat: whether questions and answers are put into the model's chat template.

    Raises:
        InputError: a file is missing, damaged, or says what this version cannot do.
    """
    where = folder.path / DEFINITION_FILE
    definition = folder.text(DEFINITION_FILE, LARGEST_TOKENIZER)
    if definition is None:
        raise InputError(f"{where}: no such file; give a folder that has the model's tokenizer")
    strict_json.loads(definition.encode(), str(where))
    facts = folder.json(CONFIG_FILE, _LARGEST_CONFIG)
    bos, eos, text = _token(folder, facts, "bos_token"), _token(folder, facts, "eos_token"), _template(folder, facts)
    plain = HubTokenizer(definition, Use(rows), str(where))
    if plain.decode(plain.encode(PROBE)) != PROBE:
        raise InputError(f"{where}: '{PROBE}' does not come back from its ids; this tokenizer changes text")
    beginning = plain.beginning()
    if len(beginning) > 1:
        raise InputError(f"{where}: {len(beginning)} tokens stand before every text; at most one is supported")
    added = bos if not beginning and facts.get("add_bos_token") is True else ""
    begin, stop = beginning[0] if beginning else _id(plain, added, folder), _id(plain, eos, folder)
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()
    if chat:
        if not text:
            raise InputError(f"{folder.path}: no chat template here; {_OFF}")
        turn = templates.turn(text, bos, eos)
        before, after, ends = map(plain.encode_control, turn)
        if before[:1] == (begin,):
            before = before[1:]  # the trunk has it
        if begin in (*before, *after) or not ends or ends[0] not in plain.special_ids:
            raise InputError(
                f"{folder.path}: the chat template begins a text twice, or no control token ends its answers; {_OFF}"
            )
        stop = ends[0]
    return HubTokenizer(definition, Use(rows, begin, stop, before, after, bos, eos, text), str(where))


def write(directory: Path, tokenizer: HubTokenizer, added: Sequence[str], positions: int) -> dict[str, int | None]:
    """Write the tokenizer's files for transformers into a folder that exists.

    Args:
        directory: of the files.
        tokenizer: of a run.
        added: control tokens that follow all ids of the tokenizer; those without a token are named first.
        positions: as many as the model was made for.

    Returns:
        What config.json says of them: `bos_token_id` and `eos_token_id`.
    """
    use = tokenizer.use
    write_text(directory / DEFINITION_FILE, tokenizer.extended(added))
    bos = tokenizer.id_of(use.bos) if use.bos else NONE
    tokens = {"bos_token_id": bos, "eos_token_id": use.stop}
    stated: dict[str, int | None] = {name: number if number != NONE else None for name, number in tokens.items()}
    facts: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": use.bos or None,
        "eos_token": tokenizer.token_of(use.stop) if use.stop != NONE else None,
        "model_max_length": positions,
        "clean_up_tokenization_spaces": False,
    }
    if use.template:
        facts["chat_template"] = use.template
        write_text(directory / TEMPLATE_FILE, use.template)
    write_json(directory / CONFIG_FILE, facts)
    write_json(directory / GENERATION_FILE, {name: number for name, number in stated.items() if number is not None})
    return stated


def _id(tokenizer: HubTokenizer, token: str, folder: Folder) -> int:
    """The id of a token, NONE where none is named."""
    found = tokenizer.id_of(token) if token else NONE
    if token and found == NONE:
        raise InputError(f"{folder.path / CONFIG_FILE} names the token {shown(token)}, which {DEFINITION_FILE} lacks")
    return found


def _token(folder: Folder, facts: dict[str, Any], name: str) -> str:
    """A token that tokenizer_config.json names by its text, or as an object with its text; empty if it names none."""
    value = facts.get(name)
    value = value.get("content") if isinstance(value, dict) else value
    if value is not None and not isinstance(value, str):
        raise InputError(f"{folder.path / CONFIG_FILE}: {name} is {shown(value)}, no text; fetch the file again")
    return value or ""


def _template(folder: Folder, facts: dict[str, Any]) -> str:
    """The model's chat template, from its own file, else from tokenizer_config.json; empty if it has none."""
    found: Any = folder.text(TEMPLATE_FILE, templates.LONGEST)
    if found is None:
        found = facts.get("chat_template")
        if isinstance(found, list):  # several by name
            named = {str(one.get("name")): one.get("template") for one in found if isinstance(one, dict)}
            found = named.get("default")
    if found is not None and not isinstance(found, str):
        raise InputError(f"{folder.path / CONFIG_FILE}: chat_template is no text; fetch the file again")
    return found or ""
