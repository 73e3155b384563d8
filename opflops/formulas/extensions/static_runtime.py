"""Operators that TorchScript's static runtime substitutes for others: fused ones, and copies instead of views.

They cost the same as the operators that they replace. Eager programs do not call them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opflops.formulas import embedding, normalization, pointwise, special
from opflops.formulas.quantized.layers import DEQUANTIZE
from opflops.formulas.sizes import available_packets
from opflops.pricing.registration import declare_zero, formula
from opflops.records.cost import Cost, Estimate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from opflops.pricing.registration import FormulaT


def _static(*names: str) -> Callable[[FormulaT], FormulaT]:
    """Register a formula for the operators among these names that this build of PyTorch has."""
    operators = available_packets("static_runtime", *names)
    return formula(*operators) if operators else lambda function: function


# References to existing tensors, single or in a list.
declare_zero(
    *available_packets(
        "static_runtime", "VarTupleUnpack", "create_owned_ref", "dict_unpack", "fused_equally_split", "select_tensor"
    ),
    no_traffic=True,
)
declare_zero(
    *available_packets("static_runtime", "expand_dims_copy", "flatten_copy", "permute_copy", "reshape_copy"),
    *available_packets("static_runtime", "to_copy", "to_maybe_copy_out"),
)


@_static("dequantize_copy")
def dequantize_copy(self: Tensor) -> Cost:
    """See :data:`opflops.formulas.quantized.layers.DEQUANTIZE`."""
    return DEQUANTIZE * self.numel()


@_static("signed_log1p")
def signed_log1p(input: Tensor) -> Cost:
    """``sign(x) * log1p(abs(x))``."""
    return Cost(ops=3, transcendentals=1) * input.numel()


@_static("clamp_nan_to_num")
def clamp_nan_to_num(input: Tensor, min: Any, max: Any, *, out: Tensor) -> Cost:
    """``nan_to_num(clamp(x, min, max))``."""
    return pointwise.clamp(min, max, out=out) + special.nan_to_num(input)


@_static("layer_norm")
def layer_norm(
    input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, bias: Tensor | None = None
) -> Cost:
    """See :func:`opflops.formulas.normalization.native_layer_norm`."""
    return normalization.native_layer_norm(input, normalized_shape, weight, bias)


@_static("embedding_bag")
def embedding_bag(
    weight: Tensor,
    indices: Tensor,
    offsets: Tensor,
    mode: int = 0,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
    *,
    out: tuple[Tensor, ...],
) -> Cost | Estimate:
    """See :func:`opflops.formulas.embedding.embedding_bag`; without ``padding_idx`` no index is padding."""
    padding = -1 if padding_idx is None else padding_idx
    return embedding.embedding_bag(
        weight, indices, offsets, mode, per_sample_weights, include_last_offset, padding, out=out
    )
