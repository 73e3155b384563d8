"""Matrix products of every kind: m·n·k multiply-accumulates, never 2k - 1; scaling and adding cost their elements."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opflops.cost import Cost
from opflops.formulas.activation import GELU, GELU_TANH, RELU
from opflops.formulas.sizes import aten, multiplies, numel
from opflops.registry import formula

if TYPE_CHECKING:
    from torch import Tensor


def products(left: Tensor, right: Tensor) -> int:
    """Multiply-accumulates of (…, m, k) @ (…, k, n): every element of the left meets a row of the right."""
    return left.numel() * right.shape[-1]


def _scaled_sum(out: Tensor, beta: Any, alpha: Any) -> int:
    """Operations of ``beta * self + alpha * product`` over a result.

    Factors of 0 and 1 multiply nothing, and beta 0 leaves ``self`` out.
    """
    factors = sum(factor not in (0, 1) for factor in (beta, alpha))
    added = 0 if beta == 0 else 1
    return out.numel() * (factors * multiplies(out) + added)


@formula(aten.mm)
def mm(self: Tensor, mat2: Tensor) -> Cost:
    """m·n·k."""
    return Cost(macs=products(self, mat2))


@formula(aten.bmm)
def bmm(self: Tensor, mat2: Tensor) -> Cost:
    """b·m·n·k."""
    return Cost(macs=products(self, mat2))


@formula(aten.mv, aten.dot, aten.vdot)
def mv(self: Tensor) -> Cost:
    """Every element of a matrix (or of the first vector) is multiplied once."""
    return Cost(macs=self.numel())


@formula(aten.addmm)
def addmm(mat1: Tensor, mat2: Tensor, beta: Any = 1, alpha: Any = 1, *, out: Tensor) -> Cost:
    """``beta * self + alpha * (mat1 @ mat2)``."""
    return Cost(products(mat1, mat2), _scaled_sum(out, beta, alpha))


@formula(aten.baddbmm)
def baddbmm(batch1: Tensor, batch2: Tensor, beta: Any = 1, alpha: Any = 1, *, out: Tensor) -> Cost:
    """``beta * self + alpha * (batch1 @ batch2)``, batch by batch."""
    return Cost(products(batch1, batch2), _scaled_sum(out, beta, alpha))


@formula(aten.addbmm)
def addbmm(batch1: Tensor, batch2: Tensor, beta: Any = 1, alpha: Any = 1, *, out: Tensor) -> Cost:
    """The products of the batch are accumulated into one matrix by the contraction itself."""
    return Cost(products(batch1, batch2), _scaled_sum(out, beta, alpha))


@formula(aten.addmv)
def addmv(mat: Tensor, beta: Any = 1, alpha: Any = 1, *, out: Tensor) -> Cost:
    """``beta * self + alpha * (mat @ vec)``."""
    return Cost(mat.numel(), _scaled_sum(out, beta, alpha))


@formula(aten.addr)
def addr(beta: Any = 1, alpha: Any = 1, *, out: Tensor) -> Cost:
    """An outer product sums over nothing: one multiply-accumulate of depth 1 for each element."""
    return Cost(out.numel(), _scaled_sum(out, beta, alpha))


@formula(aten._addmm_activation)
def addmm_activation(
    mat1: Tensor, mat2: Tensor, beta: Any = 1, alpha: Any = 1, use_gelu: bool = False, *, out: Tensor
) -> Cost:
    """``addmm`` and then an activation: relu, or gelu, which only CUDA has in its tanh form."""
    product = Cost(products(mat1, mat2), _scaled_sum(out, beta, alpha))
    gelu = GELU_TANH if out.device.type == "cuda" else GELU
    return product + (gelu if use_gelu else RELU) * out.numel()


def linear(rows: int, weight: Tensor, bias: Tensor | None) -> Cost:
    """Apply a weight (out_features, in_features) to some rows, and add the bias."""
    return Cost(rows * weight.numel(), 0 if bias is None else rows * weight.shape[0])


@formula(aten.mkldnn_linear, aten.linear.out)
def linear_op(weight: Tensor, bias: Tensor | None = None, *, out: Tensor) -> Cost:
    """Apply a weight to every row of the input; ``aten.linear`` itself decomposes."""
    return linear(numel(out.shape[:-1]), weight, bias)
