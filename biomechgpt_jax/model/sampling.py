"""How the next token is chosen from its logits: the most probable one or a draw, among those that a constraint allows.

Shapes: B answers, V vocabulary, A states of an automaton.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from biomechgpt_jax.errors import InputError


@dataclass(frozen=True)
class Sampling:
    """How a token is chosen.

    Attributes:
        temperature: what the logits are divided by; 0: the most probable token, always.
        top_k: only the k most probable tokens; 0: all.
        top_p: only the most probable tokens that together reach this probability (Holtzman et al., 2020).
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if self.temperature < 0 or self.top_k < 0 or not 0 < self.top_p <= 1:
            raise InputError(f"{self}: give a temperature and top_k of 0 or more, and top_p above 0 and at most 1")

    @property
    def rule(self) -> "Rule":
        """What of it is fixed when decoding is compiled."""
        drawn = self.temperature > 0
        return Rule(drawn, drawn and (self.top_k > 0 or self.top_p < 1), self.top_k if drawn else 0)


GREEDY = Sampling()


class Rule(NamedTuple):
    """What is compiled; the temperature and top_p themselves are not."""

    drawn: bool
    cut: bool  # whether improbable tokens are left out
    top_k: int


class Choice(NamedTuple):
    """What choosing a token needs, the same at every step."""

    # The state after each token, of all automata of a batch, one after the other; below 0 where a token may not follow,
    # [0, 0] where anything may. Dense, since a row is read at a time: cheaper than to look up the few that may follow.
    states_AV: jax.Array
    keys_B: jax.Array  # random keys, one for each answer
    temperature: jax.Array
    top_p: jax.Array


def choose(
    logits_BV: jax.Array, state_B: jax.Array, step: jax.Array | int, choice: Choice, rule: Rule
) -> tuple[jax.Array, jax.Array]:
    """The next token of every answer i32[B], and the states i32[B] of their automata after it."""
    free = choice.states_AV.size == 0
    if not free:
        states_BV = choice.states_AV[state_B]
        logits_BV = jnp.where(states_BV >= 0, logits_BV, -jnp.inf)
    if rule.drawn:
        keys_B = jax.vmap(jax.random.fold_in, (0, None))(choice.keys_B, step)
        token_B = _drawn(logits_BV / choice.temperature, jax.vmap(jax.random.uniform)(keys_B), choice.top_p, rule)
    else:
        token_B = jnp.argmax(logits_BV, axis=-1)
    token_B = token_B.astype(jnp.int32)
    return token_B, state_B if free else jnp.take_along_axis(states_BV, token_B[:, None], axis=1)[:, 0]


def _drawn(scaled_BV: jax.Array, uniform_B: jax.Array, top_p: jax.Array, rule: Rule) -> jax.Array:
    """Tokens i32[B], each by one uniform number: how many others the batch holds changes none."""
    if not rule.cut:
        return _inverse(jax.nn.softmax(scaled_BV), uniform_B)
    count = scaled_BV.shape[1]
    ranked_BV, order_BV = jax.lax.top_k(scaled_BV, min(rule.top_k or count, count))
    share_BV = jax.nn.softmax(ranked_BV)
    before_BV = jnp.cumsum(share_BV, axis=-1) - share_BV
    drawn_B = _inverse(jnp.where(before_BV < top_p, share_BV, 0.0), uniform_B)
    return jnp.take_along_axis(order_BV, drawn_B[:, None], axis=1)[:, 0]


def _inverse(share_BV: jax.Array, uniform_B: jax.Array) -> jax.Array:
    """Where the cumulative shares first exceed a uniform part of their total; never where there is no share.

    A cumulative sum in parallel may rise by a rounding error where nothing was added.
    """
    cumulative_BV = jnp.cumsum(share_BV, axis=-1)
    beyond_BV = (cumulative_BV > uniform_B[:, None] * cumulative_BV[:, -1:]) & (share_BV > 0)
    return jnp.where(beyond_BV.any(axis=-1), jnp.argmax(beyond_BV, axis=-1), jnp.argmax(share_BV, axis=-1))
