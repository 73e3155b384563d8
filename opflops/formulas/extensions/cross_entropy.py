"""A linear layer and a cross entropy in one operator, chunk by chunk: it costs the same as the two.

The rows per chunk and the dtype of the accumulation change the memory, not the arithmetic. ``import torch`` does not
define these operators; ``torch.nn.modules.linear_cross_entropy`` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opflops.formulas.contraction import linear
from opflops.formulas.loss import MEAN, NONE, nll_loss, nll_loss_backward
from opflops.formulas.reduction import softmax
from opflops.formulas.sizes import reduction_ops
from opflops.pricing.registration import formula
from opflops.records.cost import Cost

if TYPE_CHECKING:
    from torch import Tensor

_SUM = 2
_REDUCTIONS = {"none": NONE, "mean": MEAN, "sum": _SUM}


def _loss(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    linear_bias: Tensor | None,
    weight: Tensor | None,
    reduction: int,
) -> Cost:
    """Logits, ``logits - logsumexp(logits)``, and the negative log likelihood at the targets."""
    rows, classes = input.shape[0], linear_weight.shape[0]
    log_softmax = softmax(rows * classes, rows) + Cost(transcendentals=rows)
    return linear(rows, linear_weight, linear_bias) + log_softmax + nll_loss(target, weight, reduction)


@formula("torch_nn::_linear_cross_entropy_batch_chunked_no_reduction")
def linear_cross_entropy_each(
    input: Tensor, linear_weight: Tensor, target: Tensor, linear_bias: Tensor | None, weight: Tensor | None
) -> Cost:
    """The loss of every row: (rows, in_features) by (classes, in_features). Its backward runs operators of aten."""
    return _loss(input, linear_weight, target, linear_bias, weight, NONE)


@formula("torch_nn::_linear_cross_entropy_batch_chunked")
def linear_cross_entropy(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    linear_bias: Tensor | None,
    weight: Tensor | None,
    reduction: str,
    compute_input_grad: bool,
    compute_linear_weight_grad: bool,
    compute_linear_bias_grad: bool,
) -> Cost:
    """The mean or the sum of the losses, and in the same pass the gradients that are asked for.

    The gradient of the logits is ``grad - softmax * sum(grad)``. One matmul with it gives the gradient of the input,
    another that of the weight; its sum over rows is that of the bias. The backward only scales them.
    """
    mode = _REDUCTIONS[reduction]
    cost = _loss(input, linear_weight, target, linear_bias, weight, mode)
    if not (compute_input_grad or compute_linear_weight_grad or compute_linear_bias_grad):
        return cost
    rows, classes = input.shape[0], linear_weight.shape[0]
    logits = rows * classes
    of_logits = Cost(ops=2 * logits + reduction_ops(logits, rows), transcendentals=logits) + nll_loss_backward(
        target, weight, mode
    )
    of_products = Cost(macs=rows * linear_weight.numel()) * (compute_input_grad + compute_linear_weight_grad)
    of_bias = Cost(ops=reduction_ops(logits, classes) if compute_linear_bias_grad else 0)
    return cost + of_logits + of_products + of_bias
