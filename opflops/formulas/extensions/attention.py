"""Attention over packed sequences, as ``torch.nn.attention.varlen`` defines it.

Its kernels are those of flash attention or cuDNN, so it costs the same: by true lengths.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from opflops.formulas.attention import flash_attention
from opflops.formulas.attention_pairs import CostOfPairs, attend, attend_backward
from opflops.pricing.registration import formula

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from opflops.records.cost import Cost, Estimate


def varlen_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seq_q: Tensor,
    cu_seq_k: Tensor | None,
    max_q: int,
    max_k: int,
    is_causal: bool = False,
    window_size: Sequence[int] | None = None,
    seqused_k: Tensor | None = None,
    block_table: Tensor | None = None,
    cost_of: CostOfPairs = attend,
    *,
    causal: str,
) -> Cost | Estimate:
    """Attention in the layout (tokens, heads, head_dim); a window is the keys before and the keys after, -1 for all."""
    before, after = window_size if window_size is not None else (None, None)
    return flash_attention(
        query,
        key,
        value,
        cu_seq_q,
        cu_seq_k,
        max_q,
        max_k,
        0.0,
        is_causal,
        before,
        after,
        seqused_k,
        block_table=block_table,
        cost_of=cost_of,
        causal=causal,
    )


formula("torch_attn::_varlen_attn")(varlen_attention)
formula("torch_attn::_varlen_attn_out", unread=("out",))(varlen_attention)
formula("torch_attn::_varlen_attn_backward")(partial(varlen_attention, cost_of=attend_backward))
