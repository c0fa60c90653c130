"""The trunk-and-branches mask by kernels that support segments only: two calls, merged by their log-sum-exp.

In the first call every token attends to the earlier tokens of its own run (the trunk, or one branch); in the second,
branches attend to the trunk of their segment. A key belongs to exactly one of the two calls, so the softmax over both
follows from the two log-sum-exps. The gradient is our own: the library's gradient of one call ignores the other's share
of the softmax, whereas the two backward calls, given the merged output and log-sum-exp, sum to the right gradient
(their weights are exp(score - log-sum-exp), and their delta is the sum of out x d_out).

Kernels need rows as `packing.rows.lay_out_row` writes them: segments one after another, in each the trunk from
position 0 and then its branches, positions without gaps, padding last. Then the row index can replace the position in
the causal comparison: in its own run it is the query's index; for the trunk, the row of the query's position,
extrapolated past the trunk's end. Rows with another layout yield NaN, never a wrong number.

Shapes: B batch, T rows, H query heads, G key-value heads, K head size.
"""

import functools
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from biomechgpt_jax.model.attention.blockwise import SAVED
from biomechgpt_jax.model.attention.mask import Rows


class Call(NamedTuple):
    """One segment-masked call, i32[B, T]: a query attends to the keys with its own id up to row `limit`."""

    query_ids: jax.Array
    key_ids: jax.Array
    limit: jax.Array


class Kernel(Protocol):
    """A library's attention; hashable, and holds its window and soft cap. Queries are already scaled."""

    def forward(
        self, q_BTHK: jax.Array, k_BTGK: jax.Array, v_BTGK: jax.Array, call: Call
    ) -> tuple[jax.Array, jax.Array]:
        """Output BTHK, and the log-sum-exp of the visible scores f32[B, T, H], hugely negative where there are none."""
        ...

    def backward(
        self,
        q_BTHK: jax.Array,
        k_BTGK: jax.Array,
        v_BTGK: jax.Array,
        call: Call,
        out_BTHK: jax.Array,
        log_sum_BTH: jax.Array,
        d_out_BTHK: jax.Array,
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Gradients of queries, keys and values with weights exp(score - log_sum)."""
        ...


def calls(rows: Rows) -> tuple[Call, Call]:
    """The call within runs, and the call from branches to trunks."""
    positions, segments, branches = rows
    index = jnp.broadcast_to(jnp.arange(positions.shape[1], dtype=jnp.int32), positions.shape)
    real, trunk = segments > 0, (segments > 0) & (branches == 0)
    run = jnp.cumsum(_starts(rows), axis=1, dtype=jnp.int32)
    own = Call(jnp.where(real, run, -1), jnp.where(real, run, -2), index)
    to_trunk = Call(
        jnp.where(real & ~trunk, segments, -1),
        jnp.where(trunk, segments, -2),
        _trunk_start(rows) + positions,
    )
    return own, to_trunk


def _starts(rows: Rows) -> jax.Array:
    """bool[B, T]: where a run starts."""
    changed = [jnp.diff(x, axis=1, prepend=x[:, :1]) != 0 for x in (rows.segments, rows.branches)]
    return changed[0] | changed[1]


def _trunk_start(rows: Rows) -> jax.Array:
    """i32[B, T]: the row where the latest trunk at or before a token starts."""
    index = jnp.arange(rows.positions.shape[1], dtype=jnp.int32)
    opens = (rows.segments > 0) & (rows.branches == 0) & (rows.positions == 0)
    return jax.lax.cummax(jnp.where(opens, index, 0), axis=1)


def has_packed_layout(rows: Rows) -> jax.Array:
    """bool[B]: whether a row has the layout that the module's docstring describes."""
    positions, segments, branches = rows
    length = positions.shape[1]
    index = jnp.arange(length)
    real, trunk = segments > 0, (segments > 0) & (branches == 0)
    start = _trunk_start(rows)
    trunks = jax.lax.cummax(jnp.where(trunk, index, -1), axis=1) + 1 - start  # length of the trunk so far
    first = _starts(rows) | (index == 0)
    after = jnp.pad(positions[:, :-1] + 1, ((0, 0), (1, 0)))
    # A segment may have no trunk, such as a question without a movement: its branches start at 0.
    own_trunk = jnp.where(jnp.take_along_axis(segments, start, axis=1) == segments, trunks, 0)
    expected = jnp.where(first, jnp.where(trunk, 0, own_trunk), after)
    padding_last = jnp.all(jnp.diff(real.astype(jnp.int32), axis=1) <= 0, axis=1)
    # Every run is contiguous: segments increase along the row, and branches within a segment.
    rising = (jnp.diff(segments, axis=1) > 0) | ((jnp.diff(segments, axis=1) == 0) & (jnp.diff(branches, axis=1) >= 0))
    return jnp.all(~real | (positions == expected), axis=1) & padding_last & jnp.all(rising | ~real[:, 1:], axis=1)


def attend(q_BTHK: jax.Array, k_BTGK: jax.Array, v_BTGK: jax.Array, rows: Rows, kernel: Kernel) -> jax.Array:
    """Attention under the trunk-and-branches mask.

    Args:
        q_BTHK: scaled queries; k_BTGK, v_BTGK: keys and values of the same rows.
        rows: i32[B, T], in the layout that the module's docstring describes.
        kernel: computes one call.

    Returns:
        BTHK; zero for padding, NaN in rows with another layout.
    """
    out_BTHK = _attend(q_BTHK, k_BTGK, v_BTGK, rows, kernel)
    return jnp.where(has_packed_layout(rows)[:, None, None, None], out_BTHK, jnp.nan)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _attend(q_BTHK: jax.Array, k_BTGK: jax.Array, v_BTGK: jax.Array, rows: Rows, kernel: Kernel) -> jax.Array:
    return _forward(q_BTHK, k_BTGK, v_BTGK, rows, kernel)[0]


_Residuals = tuple[jax.Array, jax.Array, jax.Array, Rows, jax.Array, jax.Array]


def _forward(
    q_BTHK: jax.Array, k_BTGK: jax.Array, v_BTGK: jax.Array, rows: Rows, kernel: Kernel
) -> tuple[jax.Array, _Residuals]:
    own, to_trunk = (kernel.forward(q_BTHK, k_BTGK, v_BTGK, call) for call in calls(rows))
    real = rows.segments[..., None] > 0
    branch = real & (rows.branches[..., None] > 0)
    trunk_sum = jnp.where(branch, to_trunk[1], -jnp.inf)  # tokens of trunks have no second call
    log_sum_BTH = jnp.where(real, jnp.logaddexp(own[1], trunk_sum), 0.0)
    share = jnp.exp(trunk_sum - log_sum_BTH)[..., None]
    first, second = own[0].astype(jnp.float32), jnp.where(share > 0, to_trunk[0].astype(jnp.float32), 0.0)
    out_BTHK = jnp.where(real[..., None], (1 - share) * first + share * second, 0.0).astype(q_BTHK.dtype)
    out_BTHK, log_sum_BTH = (checkpoint_name(x, SAVED) for x in (out_BTHK, log_sum_BTH))
    return out_BTHK, (q_BTHK, k_BTGK, v_BTGK, rows, out_BTHK, log_sum_BTH)


def _backward(kernel: Kernel, saved: _Residuals, d_out_BTHK: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, None]:
    q_BTHK, k_BTGK, v_BTGK, rows, out_BTHK, log_sum_BTH = saved
    d_out_BTHK = jnp.where(rows.segments[..., None, None] > 0, d_out_BTHK, 0.0)
    grads = [kernel.backward(q_BTHK, k_BTGK, v_BTGK, call, out_BTHK, log_sum_BTH, d_out_BTHK) for call in calls(rows)]
    d_q, d_k, d_v = (
        (own.astype(jnp.float32) + to_trunk.astype(jnp.float32)).astype(own.dtype)
        for own, to_trunk in zip(*grads, strict=True)
    )
    return d_q, d_k, d_v, None


_attend.defvjp(_forward, _backward)
