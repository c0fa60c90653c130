"""A text tokenizer of letters, for tests that follow single tokens."""

import json
from pathlib import Path


class Alphabet:
    """An id for each letter. Where they are spread, they lie as those of a pretrained model may: control tokens before
    and among them, and ids that nothing uses at the end."""

    kind = "alphabet"
    begin = stop = -1
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()

    def __init__(self, letters: str, spread: bool = False) -> None:
        self.letters, self.spread = letters, spread
        ids = [i for i in range(2, 2 + 2 * len(letters)) if i % 7] if spread else range(len(letters))
        self._id_of = dict(zip(letters, ids, strict=False))
        self._letter_of = {number: letter for letter, number in self._id_of.items()}
        self.size = max(self._letter_of) + 1 + 4 * spread
        self.special_ids = frozenset(range(self.size)) - frozenset(self._letter_of)
        self.digest = f"alphabet {letters} {spread}"

    def encode(self, text):
        return [self._id_of[letter] for letter in text]

    def decode(self, ids):
        return "".join(self._letter_of[number] for number in ids)

    def save(self, directory):
        (Path(directory) / "letters.json").write_text(json.dumps([self.letters, self.spread]))

    @classmethod
    def load(cls, directory):
        return cls(*json.loads((Path(directory) / "letters.json").read_text()))
