"""The text tokenizer of a pretrained model: its `tokenizer.json`, read by the library `tokenizers`."""

import hashlib
import importlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

from biomechgpt_jax.errors import InputError
from biomechgpt_jax.files import write_json, write_text
from biomechgpt_jax.tokenizer import template as templates

DEFINITION_FILE, USE_FILE = "tokenizer.json", "text.json"
CONFIG_FILE, TEMPLATE_FILE = "tokenizer_config.json", "chat_template.jinja"
NONE = -1  # for an id: there is none
_LARGEST = 64 * 2**20  # bytes of a tokenizer.json; Gemma 3's has 33 MB
_LARGEST_CONFIG = 8 * 2**20  # Llama 3's names 256 control tokens in 50 kB, Gemma 3's 6,000 in 1.2 MB
_MOST_IDS = 2**20
# What comes back as it went in, or questions and answers would not.
_PROBE = "How fast is this Person walking? 1.25 m/s, -3 deg; 40 %"


@dataclass(frozen=True)
class Use:
    """How a model uses its tokenizer, which tokenizer.json does not say.

    Attributes:
        rows: rows of the model's table of embeddings, which may be more or fewer than the tokenizer has ids.
        begin: id that begins every text (BOS); NONE if the model was trained without.
        stop: id that ends an answer: the end of the model's turn with a chat template, of the text without.
        before, after: ids around a question, from the chat template; empty without.
        bos, eos, template: as the model's folder has them, for exports; `template` is there whether it is used or not.
    """

    rows: int = 0
    begin: int = NONE
    stop: int = NONE
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()
    bos: str = ""
    eos: str = ""
    template: str = ""


class HubTokenizer:
    """Text to the ids of a pretrained model and back (see `text.TextTokenizer`).

    Attributes:
        definition: the text of its tokenizer.json.
        use: how the model uses it.
        size: ids that belong to it: as many as the model's table has rows, or more where the tokenizer has more ids.
        special_ids: control tokens, the unknown token, and ids without a token.
        digest: SHA-256 hex of all of these.
    """

    kind: ClassVar[str] = "tokenizer.json"

    def __init__(self, definition: str, use: Use, where: str = DEFINITION_FILE):
        """Args: the text of tokenizer.json; how it is used; where it comes from, for errors.

        Raises:
            InputError: it is damaged or has too many ids, or the library is not installed.
        """
        self.definition, self.use = definition, use
        self._tokenizer = _parsed(definition, where)
        tokens = self._tokenizer.get_vocab(with_added_tokens=True)
        ids = max(tokens.values(), default=0) + 1
        if ids > _MOST_IDS or use.rows > _MOST_IDS:
            raise InputError(f"{where}: {max(ids, use.rows):,} ids, more than the {_MOST_IDS:,} that are read")
        self.size: int = max(use.rows, ids)
        added = self._tokenizer.get_added_tokens_decoder()
        control = {number for number, token in added.items() if token.special}
        unknown = tokens.get(getattr(self._tokenizer.model, "unk_token", None) or "", NONE)
        unused = set(range(self.size)) - set(tokens.values())
        self.special_ids: frozenset[int] = frozenset((control | unused | {unknown}) - {NONE})
        for name, number in (("begins", use.begin), ("ends", use.stop)):
            if number != NONE and number not in control:
                raise InputError(f"{where}: id {number}, which {name} a text, is no control token of this tokenizer")
        self.begin, self.stop, self.before, self.after = use.begin, use.stop, use.before, use.after
        content = hashlib.sha256(definition.encode()).hexdigest()
        self.digest: str = hashlib.sha256(json.dumps([content, asdict(use)]).encode()).hexdigest()

    @classmethod
    def of_folder(cls, folder: Path | str, rows: int, chat: bool = False) -> "HubTokenizer":
        """Read the tokenizer of a model's folder: tokenizer.json, tokenizer_config.json and chat_template.jinja.

        Args:
            folder: in the format of Hugging Face.
            rows: of the model's table of embeddings.
            chat: whether questions and answers are put into the model's chat template.

        Raises:
            InputError: a file is missing, damaged, or says what this version cannot do.
        """
        path = Path(folder) / DEFINITION_FILE
        definition = _read(path, _LARGEST)
        facts = _config(Path(folder) / CONFIG_FILE)
        _object(definition, path)
        plain = cls(definition, Use(rows), str(path))
        if plain.decode(plain.encode(_PROBE)) != _PROBE:
            raise InputError(f"{path}: '{_PROBE}' does not come back from its ids; this tokenizer changes text")
        bos, eos = _token(facts, "bos_token", folder), _token(facts, "eos_token", folder)
        begin = plain._beginning(path)
        if begin == NONE and bos and facts.get("add_bos_token") is True:
            begin = plain._id(bos, path)
        stop, text = plain._id(eos, path) if eos else NONE, _template(folder, facts)
        before: tuple[int, ...] = ()
        after: tuple[int, ...] = ()
        if chat:
            if not text:
                raise InputError(f"{folder}: no chat template here; leave tokenizer.chat_template off")
            turn = templates.turn(text, bos, eos)
            before, after = plain._control(turn.before), plain._control(turn.after)
            if before[:1] == (begin,):
                before = before[1:]  # the trunk has it
            ends = plain._control(turn.end)
            if begin in (*before, *after) or not ends or ends[0] not in plain.special_ids:
                raise InputError(
                    f"{folder}: the chat template begins a text twice, or no control token ends its answers; leave "
                    "tokenizer.chat_template off"
                )
            stop = ends[0]
        return cls(definition, Use(rows, begin, stop, before, after, bos, eos, text), str(path))

    def encode(self, text: str) -> list[int]:
        """Ids of a text, none of them special, and without one that begins it."""
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids."""
        return self._tokenizer.decode([int(i) for i in ids], skip_special_tokens=False)

    def stream(self) -> Callable[[int], str]:
        """A function that is given one id after the other and returns the text that has become whole with it."""
        steps = _library().decoders.DecodeStream(skip_special_tokens=False)
        return lambda number: steps.step(self._tokenizer, int(number)) or ""

    def save(self, directory: Path | str) -> None:
        """Write `tokenizer.json` and `text.json`, so that a run does not need the model's folder to speak."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        write_text(directory / DEFINITION_FILE, self.definition)
        write_json(directory / USE_FILE, asdict(self.use))

    @classmethod
    def load(cls, directory: Path | str) -> "HubTokenizer":
        """Read what `save` wrote.

        Raises:
            InputError: it is missing or damaged, or the library is not installed.
        """
        path, remedy = Path(directory) / USE_FILE, "make it again with `biomechgpt tokenizer`"
        definition = _read(path.with_name(DEFINITION_FILE), _LARGEST)
        try:
            stored = _object(_read(path, _LARGEST_CONFIG), path)
            for name in ("before", "after"):
                stored[name] = tuple(stored[name])
            use = Use(**stored)
            if any(type(getattr(use, field.name)) is not type(field.default) for field in fields(Use)):
                raise TypeError("a value of another type")
        except (KeyError, TypeError) as error:
            raise InputError(f"{path}: the text tokenizer is damaged; {remedy}") from error
        return cls(definition, use, str(path.with_name(DEFINITION_FILE)))

    def _id(self, token: str, path: Path) -> int:
        number = self._tokenizer.token_to_id(token)
        if number is None:
            raise InputError(f"{path}: it lacks the token '{token}', which {CONFIG_FILE} names")
        return number

    def _control(self, text: str) -> tuple[int, ...]:
        """Ids of a text that may spell control tokens."""
        self._tokenizer.encode_special_tokens = False
        try:
            return tuple(self.encode(text))
        finally:
            self._tokenizer.encode_special_tokens = True

    def _beginning(self, path: Path) -> int:
        """The id that the tokenizer itself puts before every text."""
        whole, plain = self._tokenizer.encode(_PROBE, add_special_tokens=True).ids, self.encode(_PROBE)
        first = next((i for i in range(len(whole)) if whole[i : i + len(plain)] == plain), 0)
        if first > 1:
            raise InputError(f"{path}: it puts {first} tokens before every text; at most one that begins it is known")
        return whole[0] if first else NONE


def _library() -> Any:
    try:
        return importlib.import_module("tokenizers")
    except ImportError as error:
        raise InputError(f"tokenizer.json: the library tokenizers is not installed; {templates.EXTRA}") from error


def _parsed(definition: str, where: str) -> Any:
    library = _library()
    try:
        tokenizer = library.Tokenizer.from_str(definition)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        tokenizer.encode_special_tokens = True  # not stored in the file: a text may spell a control token
        tokenizer.decode(tokenizer.encode(_PROBE, add_special_tokens=True).ids, skip_special_tokens=False)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # the library raises plain exceptions, and panics of Rust are no `Exception`
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{where}: the library tokenizers cannot read it ({reason}); fetch it again") from error
    return tokenizer


def _read(path: Path, most: int) -> str:
    """The text of a file of a bounded size."""
    try:
        if path.stat().st_size > most:
            raise InputError(f"{path}: {path.stat().st_size:,} bytes, more than the {most:,} that are read")
        return path.read_bytes().decode()
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; a text tokenizer needs it") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: it cannot be read ({error}); fetch it again") from error


def _object(text: str, path: Path) -> dict[str, Any]:
    """The JSON object of a text, in which no name stands twice."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in pairs:
            if name in found:
                raise InputError(f"{path}: '{name[:80]}' stands twice in one object; fetch it again")
            found[name] = value
        return found

    try:
        found = json.loads(text, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: no JSON that can be read; fetch it again") from error
    if not isinstance(found, dict):
        raise InputError(f"{path}: no JSON object; fetch it again")
    return found


def _config(path: Path) -> dict[str, Any]:
    return _object(_read(path, _LARGEST_CONFIG), path) if path.exists() else {}


def _token(facts: dict[str, Any], name: str, folder: Path | str) -> str:
    """A token that tokenizer_config.json names by its text, or as an object with its text."""
    value = facts.get(name)
    value = value.get("content") if isinstance(value, dict) else value
    if value is not None and not isinstance(value, str):
        raise InputError(f"{folder}/{CONFIG_FILE}: '{name}' is no text; fetch it again")
    return value or ""


def _template(folder: Path | str, facts: dict[str, Any]) -> str:
    """The model's chat template, from its own file, else from tokenizer_config.json; empty if it has none."""
    path = Path(folder) / TEMPLATE_FILE
    if path.exists():
        return _read(path, templates.LONGEST)
    found = facts.get("chat_template")
    if isinstance(found, list):  # several by name
        named = {entry.get("name"): entry.get("template") for entry in found if isinstance(entry, dict)}
        found = named.get("default")
    if found is not None and not isinstance(found, str):
        raise InputError(f"{folder}/{CONFIG_FILE}: 'chat_template' is no text; fetch it again")
    return found or ""
