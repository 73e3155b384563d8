"""Gradients of products that are operators of their own: each costs what the product cost.

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
    """Price the gradients of input, weight (out_features, in_features) and bias, as far as they are wanted.

    Each gradient of a result meets in_features weights, or as many inputs; the bias gradient sums over rows. Counting
    from elements, not from shapes, serves nested tensors as well, which have true lengths.
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
    """The gradient of the input alone."""
    return linear_gradients(grad_output, weight, (True, False, False))


@formula(aten.mkldnn_linear_backward_weights, unread=("weight",))
def linear_backward_weights(grad_output: Tensor, weight: Tensor, bias_defined: bool) -> Cost:
    """The gradients of weight and bias; of the weight only the shape is asked."""
    return linear_gradients(grad_output, weight, (False, True, bias_defined))


def _depth_of_each(grad: Tensor, left: Tensor) -> int:
    """Add up, over the matrices of a nested tensor, the products that (m, n) gradients had, of depth k."""
    with modes_disabled():
        return sum(one.numel() * factor.shape[-1] for one, factor in zip(grad.unbind(), left.unbind(), strict=True))


@formula(aten.matmul_backward)
def matmul_backward(grad: Tensor, self: Tensor, mask: Sequence[bool]) -> Cost:
    """Each element of the result was a sum of k products; each gradient takes as many."""
    macs = _depth_of_each(grad, self) if grad.is_nested else grad.numel() * self.shape[-1]
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
    """``(i1 * i2 * i3).sum(sumdim)``, in which each tensor has an axis of 1 where its ``expand`` says.

    Two contractions, as the kernel does them for each place along ``unroll_dim``: i1 with i2, which sums over the axes
    that i3 lacks, and the result with i3. What is added up over places is accumulated by the second.
    """
    sizes = (_spread(tensor, axes) for tensor, axes in ((i1, expand1), (i2, expand2), (i3, expand3)))
    first, second, third = sizes
    both = [second[axis] if axis in expand1 else first[axis] for axis in range(len(first))]
    summed = [axis for axis in sumdim if axis in expand3 and axis != unroll_dim]
    left = [1 if axis in summed else size for axis, size in enumerate(both)]
    every = [left[axis] if axis in expand3 else third[axis] for axis in range(len(left))]
    return Cost(macs=numel(both) + numel(every))


def _spread(tensor: Tensor, axes: Sequence[int]) -> list[int]:
    """Return the shape of a tensor after axes of 1 are put in; they are positions in that shape."""
    sizes = list(tensor.shape)
    for axis in sorted(axes):
        sizes.insert(axis, 1)
    return sizes
