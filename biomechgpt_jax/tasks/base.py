"""The pretrained model below a run: what stays frozen, and the first values of what is trained."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import jax

from biomechgpt_jax import config
from biomechgpt_jax.errors import InputError
from biomechgpt_jax.model import decoder, parameters
from biomechgpt_jax.model.decoder import Params
from biomechgpt_jax.pretrained import description, loading, peft
from biomechgpt_jax.pretrained.folder import Folder
from biomechgpt_jax.tasks.parameters import NOTHING, Frozen
from biomechgpt_jax.training import frozen as frozen_lib


@dataclass(frozen=True)
class Values:
    """First values of some trained parameters.

    Attributes:
        shapes: nested dict of `jax.ShapeDtypeStruct`, some of the trained leaves.
        load: from a nested dict of shardings, like `shapes`, and the frozen parameters to the arrays.
    """

    shapes: Params = field(default_factory=dict)
    load: Callable[[Params, Params], Params] = lambda shardings, frozen: {}

    def over(self, params: Params, shardings: Params, frozen: Params) -> Params:
        """Trained parameters with these values in their places; `shardings` are those of all trained ones."""
        if not self.shapes:
            return params
        known = frozen_lib.split(shardings, self.shapes).frozen
        return frozen_lib.merge(frozen_lib.split(params, self.shapes).trained, self.load(known, frozen))


@dataclass(frozen=True)
class Start:
    """Where the first values of what is trained come from; all else begins at random.

    Attributes:
        base: of a pretrained model, to whose table other parameters are fitted.
        adapter: folder of an adapter in peft's format, whose values are taken over; None: of none.
        checkpoints: of another run, whose trained parameters are taken over; None: of none.
        note: a JSON file that is written then, with the step that was read.
    """

    base: Values = Values()
    adapter: Path | None = None
    checkpoints: Path | None = None
    note: Path | None = None


RANDOM = Start()


def adapted(params: Params, folder: Path, model: config.Model, rows: int, shardings: Params) -> Params:
    """Trained parameters with the values of an adapter in peft's format; arguments and errors as those of `peft.read`.

    Args:
        params: the trained parameters.
        shardings: like `params`.
    """
    found = peft.read(folder, model, rows)
    known = jax.device_put(found, frozen_lib.split(shardings, found).frozen)
    return frozen_lib.merge(frozen_lib.split(params, found).trained, known)


@dataclass(frozen=True)
class Base:
    """What a run begins with."""

    frozen: Frozen = NOTHING
    start: Start = RANDOM


def of(model: config.Model) -> Base:
    """The pretrained model of a resolved configuration (`pretrained.resolving`); nothing without one.

    Raises:
        InputError: its folder is gone, damaged, or no longer that of the configuration.
    """
    if not model.has_base:
        return Base()
    if not model.pretrained:
        raise InputError("model.text_rows is given without weights; give --model.pretrained DIR")
    if not Path(model.pretrained).is_dir():
        raise InputError(
            f"{model.pretrained} is gone: the pretrained weights of this run; put the folder or a link there"
        )
    folder, described, _ = description.opened(Path(model.pretrained))
    if described.rows != model.text_rows:
        raise InputError(
            f"{folder.path} has {described.rows} rows, and model.text_rows is {model.text_rows}; give the folder that "
            "the run was made with"
        )
    whole = decoder.abstract(model, model.text_rows)
    held = parameters.base_of(whole, model)
    plain = dataclasses.replace(model, base="float32", table="float32", double_scales=False, adapter=config.Adapter())
    pretrained = parameters.base_of(
        decoder.abstract(plain, model.text_rows), dataclasses.replace(plain, freeze="base", train_text_rows=False)
    )
    trained = frozen_lib.split(pretrained, _common(pretrained, held)).trained
    first = Values(trained, lambda shardings, frozen: _load(folder, model, trained, shardings))
    return Base(Frozen(held, lambda shardings: _load(folder, model, held, shardings)), Start(first))


def _common(tree: Params, other: Params) -> Params:
    """The leaves of a tree of whole matrices that stand in the other, in whichever form."""
    found = {}
    for name, value in tree.items():
        if name not in other:
            continue
        if isinstance(value, dict) and "kernel" in value:
            found[name] = value
        else:
            found[name] = _common(value, other[name]) if isinstance(value, dict) else value
    return found


def _load(folder: Folder, model: config.Model, shapes: Params, shardings: Params) -> Params:
    return loading.load(folder, model, model.text_rows, shapes, shardings)


def digests(model: config.Model) -> dict[str, str]:
    """What stands for the folder of pretrained weights among a stage's inputs; empty without one."""
    if not model.pretrained:
        return {}
    folder, _, _ = description.opened(Path(model.pretrained))
    return {"pretrained weights": folder.digest, "its tokenizer": folder.text_digest()}
