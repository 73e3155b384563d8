"""Matrix products: m·n·k multiply-accumulates, never 2k - 1; scaling and adding cost one operation per element."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from opflops.formulas.activation import GELU, GELU_TANH, RELU
from opflops.formulas.sizes import aten, multiplies, numel
from opflops.pricing.known_costs import sized_by
from opflops.pricing.registration import formula
from opflops.records.cost import Cost
from opflops.torch_internals.dispatch import modes_disabled
from opflops.torch_internals.tensor_layouts import sparse_coo_parts

if TYPE_CHECKING:
    from torch import Tensor


_STRIDED = torch.strided
_COMPRESSED = (torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc)


def is_sparse(tensor: Tensor) -> bool:
    """Tell whether a tensor stores only some of its elements, in any sparse layout."""
    return tensor.layout is torch.sparse_coo or tensor.layout in _COMPRESSED


def stored(tensor: Tensor) -> int:
    """Count the elements that a tensor stores: all of a dense one, the non-zeros (or whole blocks) of a sparse one."""
    if tensor.layout is _STRIDED or not is_sparse(tensor):
        return tensor.numel()
    if tensor.layout is torch.sparse_coo:
        return sparse_coo_parts(tensor)[1].numel()
    with modes_disabled():
        return tensor.values().numel()


def products(left: Tensor, right: Tensor) -> int:
    """Multiply-accumulates of (…, m, k) @ (…, k, n): every stored element of the left times a row of the right.

    If only the right is sparse, every stored element of it times a column of the left.
    """
    if left.layout is right.layout is _STRIDED:
        return left.numel() * right.shape[-1]
    if not is_sparse(right):
        return stored(left) * right.shape[-1]
    if not is_sparse(left):
        return stored(right) * left.shape[-2]
    return _sparse_pairs(left, right)


def _sparse_pairs(left: Tensor, right: Tensor) -> int:
    """Count the pairs of stored elements that are multiplied: in column i of the left and in row i of the right."""
    with modes_disabled():
        columns, rows = left.to_sparse_coo()._indices()[-1], right.to_sparse_coo()._indices()[-2]
        pairs = columns.bincount(minlength=left.shape[-1]) * rows.bincount(minlength=left.shape[-1])
        return int(pairs.sum())


def scaled_sum(out: Tensor, beta: Any, alpha: Any) -> int:
    """Operations of ``beta * self + alpha * product`` over the stored elements of a result.

    Factors of 0 and 1 take no multiplication, and beta 0 takes no addition.
    """
    if beta == 1 and alpha == 1:
        return stored(out)
    factors = (beta not in (0, 1)) + (alpha not in (0, 1))
    return stored(out) * (factors * multiplies(out) + (0 if beta == 0 else 1))


@formula(aten.mm)
@sized_by("self", "mat2")
def mm(self: Tensor, mat2: Tensor) -> Cost:
    """m·n·k."""
    return Cost(products(self, mat2))


@formula(aten.bmm)
@sized_by("self", "mat2")
def bmm(self: Tensor, mat2: Tensor) -> Cost:
    """b·m·n·k."""
    return Cost(products(self, mat2))


@formula(aten.mv, aten.dot, aten.vdot)
@sized_by("self")
def mv(self: Tensor) -> Cost:
    """Every element of a matrix (or of the first vector) is multiplied once."""
    return Cost(macs=stored(self))


@formula(aten.addmm, aten._sparse_addmm)
@sized_by("mat1", "mat2")
def addmm(mat1: Tensor, mat2: Tensor, beta: Any = 1, alpha: Any = 1, *, out: Tensor) -> Cost:
    """``beta * self + alpha * (mat1 @ mat2)``."""
    return Cost(products(mat1, mat2), scaled_sum(out, beta, alpha))


@formula(aten.baddbmm)
@sized_by("batch1", "batch2")
def baddbmm(batch1: Tensor, batch2: Tensor, beta: Any = 1, alpha: Any = 1, *, out: Tensor) -> Cost:
    """``beta * self + alpha * (batch1 @ batch2)``, batch by batch."""
    return Cost(products(batch1, batch2), scaled_sum(out, beta, alpha))


@formula(aten.addbmm)
def addbmm(batch1: Tensor, batch2: Tensor, beta: Any = 1, alpha: Any = 1, *, out: Tensor) -> Cost:
    """``beta * self + alpha * sum(batch1 @ batch2)``; the contraction itself sums over the batch."""
    return Cost(products(batch1, batch2), scaled_sum(out, beta, alpha))


@formula(aten.addmv)
@sized_by("mat")
def addmv(mat: Tensor, beta: Any = 1, alpha: Any = 1, *, out: Tensor) -> Cost:
    """``beta * self + alpha * (mat @ vec)``."""
    return Cost(stored(mat), scaled_sum(out, beta, alpha))


@formula(aten.addr)
def addr(beta: Any = 1, alpha: Any = 1, *, out: Tensor) -> Cost:
    """An outer product: one multiply-accumulate, of depth 1, per element."""
    return Cost(out.numel(), scaled_sum(out, beta, alpha))


@formula(aten._addmm_activation)
def addmm_activation(
    mat1: Tensor, mat2: Tensor, beta: Any = 1, alpha: Any = 1, use_gelu: bool = False, *, out: Tensor
) -> Cost:
    """``addmm`` and then an activation: relu or gelu; CUDA uses the tanh form of gelu."""
    product = Cost(products(mat1, mat2), scaled_sum(out, beta, alpha))
    gelu = GELU_TANH if out.device.type == "cuda" else GELU
    return product + (gelu if use_gelu else RELU) * out.numel()


def linear(rows: int, weight: Tensor, bias: Tensor | None) -> Cost:
    """Cost of a weight (out_features, in_features) applied to so many rows, and of the bias."""
    return Cost(rows * weight.numel(), 0 if bias is None else rows * weight.shape[0])


@formula(aten.mkldnn_linear, aten.linear.out)
def linear_op(weight: Tensor, bias: Tensor | None = None, *, out: Tensor) -> Cost:
    """Apply a weight to every row of the input; ``aten.linear`` itself decomposes."""
    return linear(numel(out.shape[:-1]), weight, bias)
