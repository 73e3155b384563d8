"""Attention over sequences packed one behind the other, as ``torch.nn.attention.varlen`` defines it.

Its kernels are those of flash attention (or cuDNN's), and so are its prices: by true lengths.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from opflops.formulas.attention import Price, attend, attend_backward, flash_attention
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
    price: Price = attend,
    *,
    causal: str,
) -> Cost | Estimate:
    """Attention in the layout (tokens, heads, head_dim); a window is keys before and keys behind, -1 for all."""
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
        price=price,
        causal=causal,
    )


formula("torch_attn::_varlen_attn")(varlen_attention)
formula("torch_attn::_varlen_attn_out", unread=("out",))(varlen_attention)
formula("torch_attn::_varlen_attn_backward")(partial(varlen_attention, price=attend_backward))
