"""How `ask` reads a file: the recording, as it is prepared for a model."""

from dataclasses import dataclass
from pathlib import Path

from biomechgpt_jax import formats
from biomechgpt_jax.biomechanics import flags, preprocess
from biomechgpt_jax.biomechanics.preprocess import Prepared
from biomechgpt_jax.biomechanics.trajectory import Trajectory
from biomechgpt_jax.data.normals import Normals
from biomechgpt_jax.errors import InputError


@dataclass(frozen=True)
class Movement:
    """A recording as read from its file, and as it is prepared for a model."""

    recorded: Trajectory
    prepared: Prepared

    @property
    def seen(self) -> Trajectory:
        """What the model sees."""
        return self.prepared.trajectory


@dataclass(frozen=True)
class Reading:
    """How a file is read.

    Attributes:
        static, person: as in `formats.record`; for one file, not for a folder.
        anyway: answer about a pose that is no person's, too.
    """

    static: Path | None = None
    person: str = ""
    anyway: bool = False

    def of(self, file: Path, own: Normals | None = None) -> Movement:
        """The movement in a file, without the offsets of the laboratory.

        Raises:
            InputError: the file cannot be read, or its pose is no person's.
        """
        recorded = formats.record(file, static=self.static, person=self.person).trajectory
        recorded = own.take_out(recorded) if own else recorded
        movement = Movement(recorded, preprocess.prepare([recorded])[0])
        refused = flags.impossible(movement.seen.metadata.flags)
        if refused and not self.anyway:
            raise InputError(f"{file}: {refused[0]}; --anyway answers all the same")
        return movement

    def of_any(self, file: Path, own: Normals | None) -> Movement:
        """As `of`, where an unforeseen failure of a file's reader must not end the run."""
        try:
            return self.of(file, own)
        except InputError:
            raise
        except Exception as error:
            raise InputError(f"{file}: reading failed: {type(error).__name__}: {error}") from error
