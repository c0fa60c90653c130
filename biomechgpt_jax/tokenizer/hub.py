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
NONE = -1  # for an id: there is none
_MOST_IDS = 2**20
# What comes back as it went in, or questions and answers would not.
PROBE = "How fast is this Person walking? 1.25 m/s, -3 deg; 40 %"


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
        beside = path.with_name(DEFINITION_FILE)
        try:
            definition, stored = beside.read_bytes().decode(), json.loads(path.read_bytes())
            for name in ("before", "after"):
                stored[name] = tuple(stored[name])
            use = Use(**stored)
            if any(type(getattr(use, field.name)) is not type(field.default) for field in fields(Use)):
                raise TypeError("a value of another type")
        except OSError as error:
            raise InputError(f"{error.filename}: no text tokenizer here; {remedy}") from error
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputError(f"{path}: the text tokenizer is damaged; {remedy}") from error
        return cls(definition, use, str(beside))

    def id_of(self, token: str) -> int:
        """The id of a token; NONE if there is no such token."""
        found = self._tokenizer.token_to_id(token)
        return NONE if found is None else found

    def token_of(self, number: int) -> str:
        """The token of an id that has one."""
        return self._tokenizer.id_to_token(number)

    def extended(self, added: Sequence[str]) -> str:
        """The text of a tokenizer.json with further control tokens, whose ids follow `size`.

        Ids below that have no token get control tokens `<unused N>`, as the format knows no gaps.
        """
        library, larger = _library(), _parsed(self.definition, DEFINITION_FILE)
        known = len(larger.get_vocab(with_added_tokens=True))
        tokens = [*(f"<unused {number}>" for number in range(known, self.size)), *added]
        larger.add_special_tokens([library.AddedToken(token, special=True, normalized=False) for token in tokens])
        return larger.to_str()

    def encode_control(self, text: str) -> tuple[int, ...]:
        """Ids of a text that may spell control tokens, such as a chat template writes it."""
        self._tokenizer.encode_special_tokens = False
        try:
            return tuple(self.encode(text))
        finally:
            self._tokenizer.encode_special_tokens = True

    def beginning(self) -> tuple[int, ...]:
        """The ids that tokenizer.json itself asks to put before every text."""
        whole, plain = self._tokenizer.encode(PROBE, add_special_tokens=True).ids, self.encode(PROBE)
        first = next((i for i in range(len(whole)) if whole[i : i + len(plain)] == plain), 0)
        return tuple(whole[:first])


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
        tokenizer.decode(tokenizer.encode(PROBE, add_special_tokens=True).ids, skip_special_tokens=False)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # the library raises plain exceptions, and panics of Rust are no `Exception`
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{where}: the library tokenizers cannot read it ({reason}); fetch it again") from error
    return tokenizer
