"""How the next token is chosen from its logits: the most probable one or a draw, among those that a constraint allows.

Shapes: B answers, V vocabulary, A states of an automaton, F tokens to choose from.
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

    tokens_AF: jax.Array  # of all automata of a batch, one after the other; [0, 0] where anything may follow
    states_AF: jax.Array
    keys_B: jax.Array  # random keys, one for each answer
    temperature: jax.Array
    top_p: jax.Array


def choose(
    logits_BV: jax.Array, state_B: jax.Array, step: jax.Array | int, choice: Choice, rule: Rule
) -> tuple[jax.Array, jax.Array]:
    """The next token of every answer i32[B], and the states i32[B] of their automata after it."""
    free = choice.tokens_AF.size == 0
    if free:
        open_BF = logits_BV
    else:
        among_BF = choice.tokens_AF[state_B]
        open_BF = jnp.take_along_axis(logits_BV, jnp.maximum(among_BF, 0), axis=1)
        open_BF = jnp.where(among_BF >= 0, open_BF, -jnp.inf)
    if rule.drawn:
        keys_B = jax.vmap(jax.random.fold_in, (0, None))(choice.keys_B, step)
        index_B = _drawn(open_BF / choice.temperature, jax.vmap(jax.random.uniform)(keys_B), choice.top_p, rule)
    else:
        index_B = jnp.argmax(open_BF, axis=-1)
    if free:
        return index_B.astype(jnp.int32), state_B
    at_B1 = index_B[:, None]
    token_B1, led_B1 = (jnp.take_along_axis(x, at_B1, axis=1) for x in (among_BF, choice.states_AF[state_B]))
    return token_B1[:, 0], led_B1[:, 0]


def _drawn(scaled_BF: jax.Array, uniform_B: jax.Array, top_p: jax.Array, rule: Rule) -> jax.Array:
    """Indices i32[B], each by one uniform number: how many others the batch holds or F is padded to changes none."""
    if not rule.cut:
        return _inverse(jax.nn.softmax(scaled_BF), uniform_B)
    count = scaled_BF.shape[1]
    ranked_BF, order_BF = jax.lax.top_k(scaled_BF, min(rule.top_k or count, count))
    share_BF = jax.nn.softmax(ranked_BF)
    before_BF = jnp.cumsum(share_BF, axis=-1) - share_BF
    drawn_B = _inverse(jnp.where(before_BF < top_p, share_BF, 0.0), uniform_B)
    return jnp.take_along_axis(order_BF, drawn_B[:, None], axis=1)[:, 0]


def _inverse(share_BF: jax.Array, uniform_B: jax.Array) -> jax.Array:
    """Where the cumulative shares first exceed a uniform part of their total."""
    cumulative_BF = jnp.cumsum(share_BF, axis=-1)
    return jnp.argmax(cumulative_BF > uniform_B[:, None] * cumulative_BF[:, -1:], axis=-1)
