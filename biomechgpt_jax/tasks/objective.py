"""The objective of the language model: which tokens of packed rows count, how much, and the sums of their losses.

A token of a row is an answer where its `loss_weights` are not 0; any other token is text of a question (a branch) or
movement (the trunk). `train.answer_weight`, `question_weight` and `motion_weight` weigh the three. By default answers
alone count (instruction tuning). A token is predicted from the one before it in the row. It does not count if that one
belongs to another movement or another branch, of which a row holds several, or if it is the first of the row.

Shapes: B batch, L length, G groups.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from biomechgpt_jax import config
from biomechgpt_jax.model import decoder
from biomechgpt_jax.tasks.id_space import IdSpace
from biomechgpt_jax.training import loss
from biomechgpt_jax.training.step import Batch

FURTHER = "codes_"  # arrays of a row with the further codes of a motion token: codes_1, codes_2 ...


class Softmax(NamedTuple):
    """One cross-entropy over a range of ids.

    Attributes:
        first: id of the first one.
        size: number of ids.
        targets_BL: i32, what each token is followed by, counted from `first`.
        weights_BL: f32, 0 for tokens without a target in the range.
    """

    first: int
    size: int
    targets_BL: Any
    weights_BL: Any


@dataclass(frozen=True)
class Objective:
    """The objective of a run.

    Attributes:
        train: weights, z-loss and chunk are read.
        model: the decoder.
        ids: how the ids are divided. Without a motion weight the softmax runs over text and special tokens ALONE, as
            if the logits of motion codes were -inf, so that the many codes cost nothing. Answering normalises over the
            same ids (`generation`). A weighted token beyond them makes the loss NaN, so that the step is skipped.
        families: names of the families of questions, which a row's `families` counts from 1. With them the loss on
            answers is also logged by family.
    """

    train: config.Train
    model: config.Model
    ids: IdSpace
    families: tuple[str, ...] = ()

    @property
    def groups(self) -> int:
        """G: answers of no family, answers of each family, and, if they count, questions and movement."""
        everything = self.train.question_weight > 0 or self.train.motion_weight > 0
        return 1 + len(self.families) + (2 if everything else 0)

    def softmax_sizes(self, layers: int) -> tuple[int, ...]:
        """Number of ids of each softmax, where a motion token has `layers` codes.

        The codes of a token are predicted in parallel from the same hidden state: the first by a softmax over text and
        the ids of its layer, each further one by a softmax over the ids of its own layer.
        """
        if not self.train.motion_weight:
            return (self.ids.motion_offset,)
        return (self.ids.motion_offset + self.ids.codes, *[self.ids.codes] * (layers - 1))

    def weigh(self, batch: Batch) -> tuple[jax.Array, jax.Array]:
        """(weights f32[B, L], groups i32[B, L]) of the token that follows each token of a row."""
        answers_BL = shift_left(batch["loss_weights"])
        families = len(self.families)
        groups_BL = shift_left(batch["families"]) if families else jnp.zeros_like(batch["tokens"])
        weights_BL = self.train.answer_weight * answers_BL
        if self.groups > 1 + families:
            segments_BL, branches_BL = shift_left(batch["segments"]), shift_left(batch["branches"])
            joined_BL = (segments_BL == batch["segments"]) & (branches_BL == batch["branches"])
            other_BL = joined_BL & (segments_BL != 0) & (answers_BL == 0)
            question_BL, motion_BL = other_BL & (branches_BL != 0), other_BL & (branches_BL == 0)
            weights_BL = jnp.where(question_BL, self.train.question_weight, weights_BL)
            weights_BL = jnp.where(motion_BL, self.train.motion_weight, weights_BL)
            groups_BL = jnp.where(question_BL, families + 1, jnp.where(motion_BL, families + 2, groups_BL))
        return weights_BL, groups_BL

    def softmaxes(self, batch: Batch, weights_BL: jax.Array) -> list[Softmax]:
        """Every softmax of a batch of packed rows whose following tokens weigh `weights_BL`."""
        layers = sorted(int(name.removeprefix(FURTHER)) for name in batch if name.startswith(FURTHER))
        whole, *further = self.softmax_sizes(1 + len(layers))
        softmaxes = [Softmax(0, whole, shift_left(batch["tokens"]), weights_BL)]
        for layer, size in zip(layers, further, strict=False):  # none where movement does not count
            first = self.ids.motion_offset + layer * size
            codes_BL = shift_left(batch[f"{FURTHER}{layer}"]) - first
            present_BL = (codes_BL >= 0) & (codes_BL < size)
            softmaxes.append(Softmax(first, size, codes_BL, jnp.where(present_BL, weights_BL, 0.0)))
        return softmaxes

    def sums(self, params: Any, batch: Batch, mesh: Mesh, key: jax.Array | None = None) -> loss.Sums:
        """Sums over the tokens of the GLOBAL batch of packed rows; the losses of a token's codes add up to its loss.

        `key` is that of the dropout of adapters; without it nothing is left out.
        """
        weights_BL, groups_BL = self.weigh(batch)
        hidden_BLD = decoder.hidden(params, batch, self.model, key)
        heads = decoder.heads(params, self.model)
        settings = loss.Settings(self.train.loss_chunk, self.model.logit_soft_cap, self.train.z_loss, self.groups, mesh)

        def of(softmax: Softmax) -> loss.Sums:
            own = heads.columns(softmax.first, softmax.size)
            targets_BL, weights_BL = softmax.targets_BL, softmax.weights_BL
            return loss.cross_entropy(
                hidden_BLD, own.trained_DV, targets_BL, weights_BL, settings, groups_BL, own.fixed_DV
            )

        first, *further = self.softmaxes(batch, weights_BL)
        total = of(first)
        if first.size < self.ids.size:
            outside = jnp.any((first.targets_BL >= first.size) & (first.weights_BL > 0))
            total = total._replace(objective=jnp.where(outside, jnp.nan, total.objective))
        for softmax in further:
            more = of(softmax)
            total = total._replace(objective=total.objective + more.objective, losses_G=total.losses_G + more.losses_G)
        return total

    def named_losses(self, losses_G: Any, weights_G: Any) -> dict[str, Any]:
        """Mean losses by name, of each modality that counts and of each family; NaN where the batch has none of it."""
        answers = 1 + len(self.families)
        parts = {f"loss_family_{name}": slice(i, i + 1) for i, name in enumerate(self.families, 1)}
        if self.groups > answers:
            parts = {
                "loss_answer": slice(0, answers),
                "loss_question": slice(answers, answers + 1),
                "loss_motion": slice(answers + 1, answers + 2),
            } | parts
        return {name: losses_G[part].sum() / _or_nan(weights_G[part].sum()) for name, part in parts.items()}


def _or_nan(weight: Any) -> Any:
    return jnp.where(weight > 0, weight, jnp.nan)


def shift_left(values_BL: jax.Array) -> jax.Array:
    """The value of the next token of each row; 0 at its end."""
    return jnp.roll(values_BL, -1, axis=1).at[:, -1].set(0)
