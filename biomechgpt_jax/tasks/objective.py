"""What the language model is asked: which tokens of packed rows count, how much, and the sums of their losses.

A token of a row is an answer where its `loss_weights` say so; else it is text of a question (a branch) or movement
(the trunk). `train.answer_weight`, `question_weight` and `motion_weight` weigh the three; answers alone by default
(instruction tuning). A token is predicted from the one before it in the row; where that is of another movement or
another branch (a row holds several), there is nothing to ask, as with the first of a row.

Shapes: B batch, L length, G groups, F families.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from biomechgpt_jax import config
from biomechgpt_jax.model import decoder
from biomechgpt_jax.training import loss
from biomechgpt_jax.training.step import Batch


@dataclass(frozen=True)
class Objective:
    """The objective of a run.

    Attributes:
        train: weights, z-loss and chunk are read.
        model: the decoder.
        ids: of text and special tokens, `Vocabulary.motion_offset`: without a motion weight the softmax runs over them
            ALONE, as if the logits of motion codes were -inf, and the many codes cost nothing. Answering normalises
            over the same ids (`generation`). A weighted token beyond them makes the loss NaN, so that the step is
            skipped. None: over all ids.
        codes: motion codes of a layer; read where motion tokens have several codes, that are asked for.
        families: names of the families of questions, those of ids 1, 2 ... in a row's `families`; with them the loss
            on answers is also told by family.
    """

    train: config.Train
    model: config.Model
    ids: int | None = None
    codes: int = 0
    families: tuple[str, ...] = ()

    @property
    def groups(self) -> int:
        """G: answers of no family, those of each family, then text of questions and movement where these count."""
        everything = self.train.question_weight > 0 or self.train.motion_weight > 0
        return 1 + len(self.families) + (2 if everything else 0)

    @property
    def softmax_ids(self) -> int | None:
        """How many ids the softmax runs over; None: all."""
        return None if self.train.motion_weight else self.ids

    def asked(self, batch: Batch) -> tuple[jax.Array, jax.Array]:
        """(weights f32[B, L], groups i32[B, L]) of what each token of a row is followed by."""
        answers_BL = following(batch["loss_weights"])
        families = len(self.families)
        groups_BL = following(batch["families"]) if families else jnp.zeros_like(batch["tokens"])
        weights_BL = self.train.answer_weight * answers_BL
        if self.groups > 1 + families:
            segments_BL, branches_BL = following(batch["segments"]), following(batch["branches"])
            joined_BL = (segments_BL == batch["segments"]) & (branches_BL == batch["branches"])
            other_BL = joined_BL & (segments_BL != 0) & (answers_BL == 0)
            question_BL, motion_BL = other_BL & (branches_BL != 0), other_BL & (branches_BL == 0)
            weights_BL = jnp.where(question_BL, self.train.question_weight, weights_BL)
            weights_BL = jnp.where(motion_BL, self.train.motion_weight, weights_BL)
            groups_BL = jnp.where(question_BL, families + 1, jnp.where(motion_BL, families + 2, groups_BL))
        return weights_BL, groups_BL

    def sums(self, params: Any, batch: Batch, mesh: Mesh) -> loss.Sums:
        """Sums over the tokens of a batch of packed rows, of the GLOBAL batch.

        The codes of a motion token that has several are predicted in parallel, from the same hidden state, each by a
        softmax over the ids of its own layer, the first over all; their losses add up to that of the token.
        """
        weights_BL, groups_BL = self.asked(batch)
        hidden_BLD = decoder.hidden(params, batch, self.model)
        head_DV = decoder.head(params)
        targets_BL = following(batch["tokens"])
        common_DV = decoder.head(params, self.softmax_ids)
        total = self._cross_entropy(hidden_BLD, common_DV, targets_BL, weights_BL, groups_BL, mesh)
        if self.softmax_ids is not None:
            outside = jnp.any((targets_BL >= self.softmax_ids) & (weights_BL > 0))
            total = total._replace(objective=jnp.where(outside, jnp.nan, total.objective))
        further = [int(name.removeprefix("codes_")) for name in batch if name.startswith("codes_")]
        for layer in further if self.train.motion_weight else ():
            first = (self.ids or 0) + layer * self.codes
            codes_BL = following(batch[f"codes_{layer}"]) - first
            asked_BL = jnp.where((codes_BL >= 0) & (codes_BL < self.codes), weights_BL, 0.0)
            own_DV = jax.lax.slice_in_dim(head_DV, first, first + self.codes, axis=1)
            more = self._cross_entropy(hidden_BLD, own_DV, codes_BL, asked_BL, groups_BL, mesh)
            total = total._replace(objective=total.objective + more.objective, losses_G=total.losses_G + more.losses_G)
        return total

    def _cross_entropy(
        self,
        hidden_BLD: jax.Array,
        head_DV: jax.Array,
        targets_BL: jax.Array,
        weights_BL: jax.Array,
        groups_BL: jax.Array,
        mesh: Mesh,
    ) -> loss.Sums:
        chunk, cap, z_loss = self.train.loss_chunk, self.model.logit_soft_cap, self.train.z_loss
        return loss.cross_entropy(
            hidden_BLD, head_DV, targets_BL, weights_BL, chunk, mesh, cap, z_loss, groups_BL, self.groups
        )

    def told(self, losses_G: Any, weights_G: Any) -> dict[str, Any]:
        """Mean losses by name: of the modalities that count and of families; NaN where the batch has none of it."""
        many = 1 + len(self.families)
        parts = {f"loss_family_{name}": slice(i, i + 1) for i, name in enumerate(self.families, 1)}
        if self.groups > many:
            parts = {
                "loss_answer": slice(0, many),
                "loss_question": slice(many, many + 1),
                "loss_motion": slice(many + 1, many + 2),
            } | parts
        return {name: losses_G[part].sum() / _or_nan(weights_G[part].sum()) for name, part in parts.items()}


def _or_nan(weight: Any) -> Any:
    return jnp.where(weight > 0, weight, jnp.nan)


def following(values_BL: jax.Array) -> jax.Array:
    """What stands one place later in each row; 0 at its end."""
    return jnp.roll(values_BL, -1, axis=1).at[:, -1].set(0)
