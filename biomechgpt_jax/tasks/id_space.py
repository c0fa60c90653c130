"""What training needs to know of a vocabulary: how its ids are divided."""

from dataclasses import dataclass
from pathlib import Path

from biomechgpt_jax.data import store
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.tokenizer.vocabulary import Vocabulary


@dataclass(frozen=True)
class IdSpace:
    """Text and special tokens, then the motion codes layer by layer, then unused ids.

    Attributes:
        size: number of ids V, unused ones included.
        motion_offset: id of motion code 0; text, special tokens and unused ids lie below it.
        codes: motion codes of a layer; 0 if there are none.
        digest: of the vocabulary.
    """

    size: int
    motion_offset: int
    codes: int = 0
    digest: str = ""

    @classmethod
    def of(cls, vocabulary: Vocabulary) -> "IdSpace":
        """The ids of a vocabulary."""
        return cls(vocabulary.size, vocabulary.motion_offset, vocabulary.codes, vocabulary.digest)

    @classmethod
    def of_rows(cls, directory: Path | str) -> "IdSpace":
        """The ids that a dataset of packed rows was packed with.

        Raises:
            InputError: the dataset does not say, because an earlier version packed it.
        """
        facts = store.metadata(Path(directory))
        if "ids" not in facts:
            raise InputError(
                f"{directory} does not say how its ids are divided: an earlier version packed it; "
                "run `biomechgpt pack` again"
            )
        return cls(**facts["ids"], digest=facts["vocabulary"])
