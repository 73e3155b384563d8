"""FLOPs of convolutions and attention from shapes alone, as ``torch.utils.flop_counter`` has them."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from opflops.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class IncompatibleShapesError(ArgumentError, AssertionError):
    """Report shapes that no operator takes; also an ``AssertionError``, as PyTorch's own is."""


def conv_flop_count(
    x_shape: Sequence[int], w_shape: Sequence[int], out_shape: Sequence[int], transposed: bool = False
) -> int:
    """Return the FLOPs of a convolution: for each position, two for each element of the weight.

    Args:
        x_shape: The shape of the input.
        w_shape: That of the weight.
        out_shape: That of the result.
        transposed: Whether it is transposed; then the positions are those of the input.
    """
    positions = prod((x_shape if transposed else out_shape)[2:])
    return 2 * x_shape[0] * positions * prod(w_shape)


def sdpa_flop_count(query_shape: Sequence[int], key_shape: Sequence[int], value_shape: Sequence[int]) -> int:
    """Return the FLOPs of the two matmuls of attention; queries may have more heads than keys and values.

    Raises:
        IncompatibleShapesError: The shapes are not those of one attention.
    """
    batch, heads, queries, width = _attention_sizes(query_shape, key_shape, value_shape)
    return 2 * batch * heads * queries * key_shape[2] * (width + value_shape[3])


def sdpa_backward_flop_count(
    grad_out_shape: Sequence[int], query_shape: Sequence[int], key_shape: Sequence[int], value_shape: Sequence[int]
) -> int:
    """Return the FLOPs of the five matmuls of a fused attention's backward pass, which computes the scores again.

    Raises:
        IncompatibleShapesError: The shapes are not those of one attention.
    """
    batch, heads, queries, width = _attention_sizes(query_shape, key_shape, value_shape)
    if tuple(grad_out_shape) != (batch, heads, queries, value_shape[3]):
        raise IncompatibleShapesError(
            f"The gradient of the result has the shape {tuple(grad_out_shape)}, but the result has "
            f"{(batch, heads, queries, value_shape[3])}."
        )
    return 2 * batch * heads * queries * key_shape[2] * (3 * width + 2 * value_shape[3])


# The formulas of operators; PyTorch's registry has them under the same arguments. Those not read have no use here.
def conv_flop_of_shapes(
    x_shape: Sequence[int],
    w_shape: Sequence[int],
    _bias: Any,
    _stride: Any,
    _padding: Any,
    _dilation: Any,
    transposed: bool,
    *_: Any,
    out_shape: Sequence[int],
    **_options: Any,
) -> int:
    """Return the FLOPs of ``aten.convolution``, given its arguments, with shapes in place of tensors."""
    return conv_flop_count(x_shape, w_shape, out_shape, transposed=transposed)


def conv_backward_flop_of_shapes(
    grad_out_shape: Sequence[int],
    x_shape: Sequence[int],
    w_shape: Sequence[int],
    _bias: Any,
    _stride: Any,
    _padding: Any,
    _dilation: Any,
    transposed: bool,
    _output_padding: Any,
    _groups: int,
    output_mask: Sequence[bool],
    **_options: Any,
) -> int:
    """Return the FLOPs of ``aten.convolution_backward``: the forward's for the input, and again for the weight."""
    gradients = sum(map(bool, output_mask[:2]))
    return gradients * conv_flop_count(x_shape, w_shape, grad_out_shape, transposed=transposed)


def sdpa_flop_of_shapes(
    query_shape: Sequence[int], key_shape: Sequence[int], value_shape: Sequence[int], *_: Any, **_options: Any
) -> int:
    """Return the FLOPs of fused attention, given its arguments, with shapes in place of tensors."""
    return sdpa_flop_count(query_shape, key_shape, value_shape)


def sdpa_backward_flop_of_shapes(
    grad_out_shape: Sequence[int],
    query_shape: Sequence[int],
    key_shape: Sequence[int],
    value_shape: Sequence[int],
    *_: Any,
    **_options: Any,
) -> int:
    """Return the FLOPs of the backward pass of fused attention, given its arguments, with shapes for tensors."""
    return sdpa_backward_flop_count(grad_out_shape, query_shape, key_shape, value_shape)


def flex_attention_flop(query: Any, key: Any, value: Any, *_: Any, **options: Any) -> int:
    """Return the FLOPs of ``flex_attention``: of all scores, but for the part that ``sparsity_hint`` says is skipped.

    The compiler's cost model gives that hint, as a share of 1, in the metadata of a node.
    """
    return _without_skipped(sdpa_flop_count(query.shape, key.shape, value.shape), options)


def flex_attention_backward_flop(
    query: Any, key: Any, value: Any, out: Any, logsumexp: Any, grad_out: Any, *_: Any, **options: Any
) -> int:
    """Return the FLOPs of the backward pass of ``flex_attention``, as :func:`flex_attention_flop` does.

    Args:
        query: The queries.
        key: The keys.
        value: The values.
        out: The result.
        logsumexp: Not read.
        grad_out: The gradient of the result; None has its shape.
        **options: What else the operator is given by name.
    """
    del logsumexp
    gradient = out if grad_out is None else grad_out
    return _without_skipped(sdpa_backward_flop_count(gradient.shape, query.shape, key.shape, value.shape), options)


def _without_skipped(flops: int, options: Mapping[str, Any]) -> int:
    hint = ((options.get("_node_meta") or {}).get("custom") or {}).get("sparsity_hint", 0.0)
    skipped = min(max(hint, 0.0), 1.0)
    return int(flops * (1.0 - skipped)) if skipped else flops


def _attention_sizes(query: Sequence[int], key: Sequence[int], value: Sequence[int]) -> tuple[int, int, int, int]:
    batch, heads, queries, width = query
    key_batch, key_heads, keys, key_width = key
    value_batch, value_heads, values, _ = value
    same = (batch == key_batch == value_batch, key_heads == value_heads, keys == values, width == key_width)
    if not all(same) or heads < key_heads or heads % key_heads:
        raise IncompatibleShapesError(
            f"query {tuple(query)}, key {tuple(key)} and value {tuple(value)} are no attention: they need one batch "
            "size, key and value the same heads and length, query and key the same width, and the query's heads must "
            "be a multiple of the others'."
        )
    return batch, heads, queries, width
