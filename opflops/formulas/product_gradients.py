"""Gradients of matmuls that have their own operators: each costs the same as the matmul.

The product of three tensors behind ``bilinear`` is here too, since its gradients are such products again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opflops.formulas.sizes import aten, numel, reduction_ops
from opflops.pricing.registration import formula
from opflops.records.cost import Cost
from opflops.torch_internals.dispatch import modes_disabled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


def linear_gradients(grad_output: Tensor, weight: Tensor, wanted: Sequence[bool]) -> Cost:
    """Cost of those gradients of input, weight (out_features, in_features) and bias that are wanted.

    Each gradient of a result is multiplied by in_features weights, or by as many inputs; the bias gradient sums over
    rows. The count is from elements, not shapes, so that it holds for nested tensors with true lengths.
    """
    wants_input, wants_weight, wants_bias = wanted
    out_features, in_features = weight.shape
    return Cost(
        macs=grad_output.numel() * in_features * (bool(wants_input) + bool(wants_weight)),
        ops=reduction_ops(grad_output.numel(), out_features) if wants_bias else 0,
    )


@formula(aten.linear_backward, aten.mkldnn_linear_backward)
def linear_backward(grad_output: Tensor, weight: Tensor, output_mask: Sequence[bool]) -> Cost:
    """See :func:`linear_gradients`."""
    return linear_gradients(grad_output, weight, output_mask)


@formula(aten.mkldnn_linear_backward_input)
def linear_backward_input(grad_output: Tensor, weight: Tensor) -> Cost:
    """The gradient of the input only."""
    return linear_gradients(grad_output, weight, (True, False, False))


@formula(aten.mkldnn_linear_backward_weights, unread=("weight",))
def linear_backward_weights(grad_output: Tensor, weight: Tensor, bias_defined: bool) -> Cost:
    """The gradients of weight and bias; the weight only gives its shape."""
    return linear_gradients(grad_output, weight, (False, True, bias_defined))


def _nested_products(grad: Tensor, left: Tensor) -> int:
    """Sum m·n·k over the matrices of a nested tensor, whose gradients are (m, n)."""
    with modes_disabled():
        return sum(one.numel() * factor.shape[-1] for one, factor in zip(grad.unbind(), left.unbind(), strict=True))


@formula(aten.matmul_backward)
def matmul_backward(grad: Tensor, self: Tensor, mask: Sequence[bool]) -> Cost:
    """Each gradient takes as many multiply-accumulates as the forward: k per element of the result."""
    macs = _nested_products(grad, self) if grad.is_nested else grad.numel() * self.shape[-1]
    return Cost(macs=macs * sum(map(bool, mask)))


@formula(aten._trilinear)
def trilinear(
    i1: Tensor,
    i2: Tensor,
    i3: Tensor,
    expand1: Sequence[int],
    expand2: Sequence[int],
    expand3: Sequence[int],
    sumdim: Sequence[int],
    unroll_dim: int = 1,
) -> Cost:
    """``(i1 * i2 * i3).sum(sumdim)``; each tensor gets an axis of 1 at the positions in its ``expand``.

    The kernel runs two contractions for each index along ``unroll_dim``: i1 with i2, which sums over the axes that i3
    lacks, and the result with i3. The second also accumulates over ``unroll_dim``.
    """
    sizes = (_expanded_shape(tensor, axes) for tensor, axes in ((i1, expand1), (i2, expand2), (i3, expand3)))
    first, second, third = sizes
    both = [second[axis] if axis in expand1 else first[axis] for axis in range(len(first))]
    summed = [axis for axis in sumdim if axis in expand3 and axis != unroll_dim]
    left = [1 if axis in summed else size for axis, size in enumerate(both)]
    every = [left[axis] if axis in expand3 else third[axis] for axis in range(len(left))]
    return Cost(macs=numel(both) + numel(every))


def _expanded_shape(tensor: Tensor, axes: Sequence[int]) -> list[int]:
    """Return the shape of a tensor after inserting axes of 1 at these positions of the new shape."""
    sizes = list(tensor.shape)
    for axis in sorted(axes):
        sizes.insert(axis, 1)
    return sizes
