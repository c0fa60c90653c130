"""What the gait code measures in a recording, or why it measures nothing: the same for every verb that tells it."""

from dataclasses import dataclass

from biomechgpt_jax.biomechanics import flags, preprocess
from biomechgpt_jax.biomechanics.gait import scope
from biomechgpt_jax.biomechanics.gait.analysis import LEGS, Gait, analyse
from biomechgpt_jax.biomechanics.preprocess import Prepared
from biomechgpt_jax.biomechanics.skeleton import HORIZONTAL_ROOT, INDEX
from biomechgpt_jax.biomechanics.trajectory import Trajectory
from biomechgpt_jax.errors import InputError

_BY_SIDE = ("step_time", "step_length", "stance")
# The parameters that a walk may have.
NAMES = frozenset(
    {
        *("walking_speed", "cadence", "stride_time", "stride_length", "step_width", "double_support", "swing"),
        *(f"{name}{side}" for name in _BY_SIDE for side in ("", "_right", "_left")),
        *("step_time_asymmetry", "step_length_asymmetry", "stride_time_cv", "stride_length_cv", "step_width_sd"),
        *("turn_count", "turn_angle", "turn_time"),
    }
)


@dataclass(frozen=True)
class Measured:
    """A walk, or the reason why there is none.

    Attributes:
        native: the recording over ground at its own rate, in which gait is measured.
        walk: None unless the movement is a walk with a complete stride.
        kind: one of `scope`; "" where that cannot be told.
        why: why `walk` is None, in words.
    """

    native: Trajectory
    walk: Gait | None = None
    kind: str = ""
    why: str = ""

    @property
    def parameters(self) -> dict[str, float]:
        """Gait parameters by the names of the questions; empty without a walk."""
        return self.walk.parameters if self.walk else {}


def measure(recorded: Trajectory, prepared: Prepared, height_m: float | None = None) -> Measured:
    """Measure the gait of a recording.

    Args:
        recorded: as read from its file.
        prepared: the same recording as `preprocess.prepare` gives it.
        height_m: body height; if None that of `contacts.body_height`.
    """
    native = preprocess.at_own_rate(recorded, prepared)
    impossible = flags.impossible(native.metadata.flags)
    if impossible:
        return Measured(native, why=impossible[0])
    if not native.observed[[INDEX[name] for name in HORIZONTAL_ROOT]].all():
        return Measured(native, why="the path of the pelvis is not recorded")
    unseen = [name for name in LEGS if not native.observed[INDEX[name]]]
    if unseen:
        return Measured(native, why=f"{', '.join(unseen)} {'is' if len(unseen) == 1 else 'are'} not seen")
    try:
        walk = analyse(native, height_m)
    except InputError as error:
        return Measured(native, why=str(error).removeprefix(f"{native.metadata.source}: "))
    kind, why = scope.scope(native, walk)
    if kind not in scope.MEASURED:
        return Measured(native, kind=kind, why=why)
    if not len(walk.strides.foot):
        return Measured(native, why="no foot strikes the floor twice")
    return Measured(native, walk, kind)


def beside(found: Measured | None, name: str) -> dict[str, float | str | None]:
    """What stands beside the model's answer to a question, as JSON.

    Returns:
        `measured`: the parameter, or None; `not_measured`: what the movement is instead of a walk, or "".
    """
    if found is None or name not in NAMES:
        return {"measured": None, "not_measured": ""}
    value = found.parameters.get(name)
    not_a_walk = found.why if found.walk is None and found.kind else ""
    return {"measured": None if value is None else round(value, 3), "not_measured": not_a_walk}
