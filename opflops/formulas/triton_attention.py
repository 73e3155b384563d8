"""Attention by PyTorch's own Triton kernels: they cost the same as attention elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opflops.formulas.attention import scaled_dot_product_attention
from opflops.formulas.sizes import aten
from opflops.formulas.transformer_encoder import native_multi_head_attention
from opflops.pricing.registration import formula

if TYPE_CHECKING:
    from torch import Tensor

    from opflops.records.cost import Cost, Estimate


@formula(aten._triton_scaled_dot_attention)
def triton_scaled_dot_attention(
    q: Tensor, k: Tensor, v: Tensor, dropout_p: float = 0.0, *, causal: str
) -> Cost | Estimate:
    """Attention in the layout (batch, heads, sequence, head_dim), without a mask."""
    return scaled_dot_product_attention(q, k, v, dropout_p, causal=causal)


@formula(aten._triton_multi_head_attention)
def triton_multi_head_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim: int,
    num_head: int,
    qkv_weight: Tensor,
    qkv_bias: Tensor,
    proj_weight: Tensor,
    proj_bias: Tensor,
    mask: Tensor | None = None,
    *,
    causal: str,
) -> Cost | Estimate:
    """The fast path of multi-head attention, which returns no weights here."""
    return native_multi_head_attention(
        query,
        key,
        value,
        embed_dim,
        num_head,
        qkv_weight,
        qkv_bias,
        proj_weight,
        proj_bias,
        mask,
        need_weights=False,
        causal=causal,
    )
