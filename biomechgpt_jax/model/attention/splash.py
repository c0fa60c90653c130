"""Splash attention, jax's TPU kernel, as a `merged.Kernel`.

The public function hides the log-sum-exp from the gradient, so the forward and backward calls inside it are used. Their
names are private to jax (0.10 and 0.11), and only this module uses them.
"""

import functools
from dataclasses import dataclass
from typing import Any

import jax
from einops import rearrange
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as library
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks

from biomechgpt_jax.model.attention.merged import Call
from biomechgpt_jax.model.attention.paths import SPLASH_LANES

LARGEST_BLOCK = 512


def _visible(limit: jax.Array, key: jax.Array, window: int) -> jax.Array:
    causal = key <= limit
    return causal & (limit - key < window) if window else causal


@dataclass(frozen=True)
class Splash:
    """Segment-masked causal attention by splash.

    Attributes:
        window: rows that a query looks back from its limit, the limit included; 0: unlimited.
        soft_cap: bound of the scores; 0: none.
        interpret: run without a TPU, slowly.
    """

    window: int = 0
    soft_cap: float = 0.0
    interpret: bool = False

    def _kernel(self, heads: int, length: int) -> Any:
        """The kernel over the blocks of the causal mask, which suffice: a limit is at most the query's own row."""
        block = next(size for size in range(LARGEST_BLOCK, 0, -SPLASH_LANES) if length % size == 0)
        sizes = library.BlockSizes(*(block,) * 8)
        mask = masks.MultiHeadMask([masks.CausalMask((length, length))] * heads)
        return library.make_splash_mha(mask, block_sizes=sizes, head_shards=1, q_seq_shards=1)

    def _common(self, kernel: Any) -> dict[str, Any]:
        return {
            "mask_value": library.DEFAULT_MASK_VALUE,
            "is_mqa": False,
            "block_sizes": kernel.kwargs["block_sizes"],
            "residual_checkpoint_name": None,
            "mask_function": functools.partial(_visible, window=self.window),
            "attn_logits_soft_cap": self.soft_cap or None,
            "interpret": self.interpret,
        }

    def forward(
        self, q_BTHK: jax.Array, k_BTGK: jax.Array, v_BTGK: jax.Array, call: Call
    ) -> tuple[jax.Array, jax.Array]:
        """Output BTHK and log-sum-exp f32[B, T, H]."""
        kernel = self._kernel(q_BTHK.shape[2], q_BTHK.shape[1])

        def of_row(q_HTK: jax.Array, k_GTK: jax.Array, v_GTK: jax.Array, call: Call) -> tuple[jax.Array, jax.Array]:
            out, (log_sum,) = library._splash_attention_forward(
                kernel.fwd_mask_info._replace(q_sequence=call.limit),
                *(q_HTK, k_GTK, v_GTK),
                library.SegmentIds(call.query_ids, call.key_ids),
                sinks=None,
                save_residuals=True,
                **self._common(kernel),
            )
            return out, log_sum

        q_BHTK, k_BGTK, v_BGTK = map(_heads_first, (q_BTHK, k_BTGK, v_BTGK))
        out, log_sum = jax.vmap(of_row)(q_BHTK, k_BGTK, v_BGTK, call)
        return _heads_first(out), log_sum.swapaxes(1, 2)

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
        """Gradients of queries, keys and values."""
        kernel = self._kernel(q_BTHK.shape[2], q_BTHK.shape[1])

        def of_row(
            q: jax.Array, k: jax.Array, v: jax.Array, out: jax.Array, d_out: jax.Array, log_sum: jax.Array, call: Call
        ) -> tuple[jax.Array, jax.Array, jax.Array]:
            infos = (info._replace(q_sequence=call.limit) for info in (kernel.dq_mask_info, kernel.dkv_mask_info))
            ids = library.SegmentIds(call.query_ids, call.key_ids)
            residuals = (q, k, v, ids, None, out, log_sum, *infos)
            return library._splash_attention_bwd(False, res=residuals, do=d_out, **self._common(kernel))[3:6]

        q_BHTK, k_BGTK, v_BGTK, out_BHTK, d_out_BHTK = map(_heads_first, (q_BTHK, k_BTGK, v_BTGK, out_BTHK, d_out_BTHK))
        log_sum_BHT = log_sum_BTH.swapaxes(1, 2)
        d_q, d_k, d_v = jax.vmap(of_row)(q_BHTK, k_BGTK, v_BGTK, out_BHTK, d_out_BHTK, log_sum_BHT, call)
        return _heads_first(d_q), _heads_first(d_k), _heads_first(d_v)


def _heads_first(x_BTHK: jax.Array) -> jax.Array:
    """BTHK to BHTK, or back."""
    return rearrange(x_BTHK, "b t h k -> b h t k")
