"""Sparse tensors: by the elements that they store; 2:4 semi-structured matrices cost half of the dense ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from opflops.formulas.activation import RELU
from opflops.formulas.contraction import products, scaled_sum, stored
from opflops.formulas.reduction import softmax
from opflops.formulas.sizes import aten, numel, packets, reduction_ops
from opflops.pricing.registration import declare_zero, formula
from opflops.records.cost import Cost, Estimate
from opflops.torch_internals.dispatch import modes_disabled
from opflops.torch_internals.size_arithmetic import ceil_log2
from opflops.torch_internals.tensor_layouts import sparse_coo_parts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


# The dense tensors that a sparse one consists of, and copies of them.
declare_zero(
    *packets("_sparse_broadcast_to _indices _values ccol_indices col_indices crow_indices indices row_indices values")
)
declare_zero(
    *packets("_indices_copy _values_copy ccol_indices_copy col_indices_copy crow_indices_copy indices_copy"),
    *packets("row_indices_copy values_copy _sparse_broadcast_to_copy"),
)
# Constructors that keep the given parts, and changes of sizes that do not touch them.
declare_zero(
    *packets("_sparse_coo_tensor_with_dims_and_tensors _sparse_coo_tensor_with_dims"),
    *packets("_sparse_compressed_tensor_with_dims sparse_resize sparse_resize_and_clear"),
    *packets("_coalesced resize_as_sparse sparse_compressed_tensor"),
    aten.sparse_coo_tensor.size,
    aten.sparse_coo_tensor.size_out,
    no_traffic=True,
)
# Queries of a sparse tensor, and checks of its indices.
declare_zero(*packets("_nnz dense_dim is_coalesced sparse_dim _dimI _dimV"), recorded=False)
declare_zero(*packets("_validate_compressed_sparse_indices"))
# Conversions between layouts, and the elements of a tensor at the stored positions of another: movement.
declare_zero(
    *packets("_to_sparse _to_sparse_bsc _to_sparse_bsr _to_sparse_csc _to_sparse_csr sparse_mask"),
    *packets("_convert_indices_from_coo_to_csr _convert_indices_from_csr_to_coo _sparse_sum_backward"),
)
declare_zero(aten.copy_sparse_to_sparse, unread=("self",))
# Dense diagonals, stored as a sparse matrix.
declare_zero(aten._spdiags)


def _positions(tensor: Tensor) -> Tensor:
    """Return the flat positions of the stored elements along the sparse axes."""
    indices = sparse_coo_parts(tensor)[0]
    positions = indices[0]
    for size, along in zip(tensor.shape[1:], indices[1:], strict=False):
        positions = positions * size + along
    return positions


@formula(aten._sparse_mask_projection)
def sparse_mask_projection(self: Tensor, mask: Tensor, accumulate_matches: bool = False) -> Cost:
    """The elements of a tensor at a mask's stored positions: movement, unless further matches of one are added."""
    if not accumulate_matches:
        return Cost()
    values = sparse_coo_parts(self)[1]
    with modes_disabled():
        positions = _positions(mask)
        matches = (_positions(self)[:, None] == positions).sum(1)
        repeated = int((matches - 1).clamp(min=0).sum())
    return Cost(ops=repeated * numel(values.shape[1:]))


@formula(aten._to_dense)
def to_dense(self: Tensor) -> Cost:
    """0, unless the tensor is uncoalesced: then each stored element is added to the result."""
    if self.layout is not torch.sparse_coo:
        return Cost()
    with modes_disabled():
        return Cost() if self.is_coalesced() else Cost(ops=stored(self))


@formula(aten._coalesce)
def coalesce(self: Tensor, *, out: Tensor) -> Cost:
    """Sum the elements that share an index."""
    return Cost(ops=reduction_ops(stored(self), stored(out)))


@formula(aten._sparse_sum, aten._sparse_csr_sum, aten._sparse_csr_prod)
def reduce_op(self: Tensor, *, out: Tensor) -> Cost:
    """Reduce the stored elements to those of the result."""
    return Cost(ops=reduction_ops(stored(self), stored(out)))


@formula(aten._sparse_sparse_matmul)
def sparse_sparse_matmul(self: Tensor, other: Tensor) -> Cost:
    """The pairs of stored elements that are multiplied."""
    return Cost(macs=products(self, other))


@formula(aten._sparse_mm_reduce_impl)
def sparse_mm_reduce(self: Tensor, other: Tensor, reduce: str, *, out: Any) -> Cost:
    """A sparse matrix times a dense one, whose products are summed, averaged or reduced by comparing."""
    result, pairs = out[0], products(self, other)
    if reduce in ("sum", "mean"):
        return Cost(pairs, result.numel() if reduce == "mean" else 0)
    return Cost(ops=pairs + reduction_ops(pairs, _filled_rows(self) * result.shape[-1]))


def _filled_rows(matrix: Tensor) -> int:
    """Count the rows of a compressed matrix that store anything."""
    with modes_disabled():
        return int((matrix.crow_indices().diff() > 0).sum())


@formula(aten._sparse_mm_reduce_impl_backward)
def sparse_mm_reduce_backward(self: Tensor, grad_out: Tensor, reduce: str, output_mask: Sequence[bool]) -> Cost:
    """For each factor that needs a gradient: pairs of stored elements and columns, divided for a mean.

    For a maximum or minimum, each result's gradient goes to one product: multiply by the other factor, and add.
    """
    gradients, columns = sum(map(bool, output_mask)), grad_out.shape[-1]
    if reduce in ("sum", "mean"):
        elements = stored(self)
        return Cost(elements * columns, elements if reduce == "mean" else 0) * gradients
    return Cost(ops=2 * _filled_rows(self) * columns) * gradients


@formula(aten.hspmm)
def hspmm(mat1: Tensor, mat2: Tensor) -> Cost:
    """A sparse matrix times a dense one."""
    return Cost(macs=products(mat1, mat2))


@formula(aten.sspaddmm)
def sspaddmm(self: Tensor, mat1: Tensor, mat2: Tensor, beta: Any = 1, alpha: Any = 1) -> Cost:
    """``beta * self + alpha * (mat1 @ mat2)``, all sparse but ``mat2``.

    The result is uncoalesced: it stores the scaled elements beside the sums of products, so these are not added. Alpha
    scales the elements of ``mat1``.
    """
    scaled = stored(self) * (beta not in (0, 1)) + stored(mat1) * (alpha not in (0, 1))
    return Cost(products(mat1, mat2), scaled)


@formula(aten._spsolve)
def spsolve(A: Tensor, B: Tensor) -> Estimate:
    """Substitution with the factors of A: a multiplication and a subtraction per stored element off the diagonal.

    On the diagonal it is one division per unknown of each right-hand side.
    """
    nrhs, sides = A.shape[-1], B.numel() // A.shape[-1]
    substitution = sides * (2 * (stored(A) - nrhs) + nrhs)
    return Estimate(Cost(ops=substitution), "the factorization is not counted, since its fill-in is not known")


@formula(aten.sparse_sampled_addmm)
def sparse_sampled_addmm(mat1: Tensor, beta: Any = 1, alpha: Any = 1, *, out: Tensor) -> Cost:
    """``beta * self + alpha * (mat1 @ mat2)`` only where ``self`` stores elements."""
    return Cost(stored(out) * mat1.shape[-1], scaled_sum(out, beta, alpha))


def _rows(tensor: Tensor, dim: int) -> int:
    """Count the rows along an axis that store anything: by the indices for a sparse axis, all for a dense one."""
    indices, values = sparse_coo_parts(tensor)
    axis = dim % tensor.dim()
    if axis >= indices.shape[0]:
        return values.numel() // values.shape[axis - indices.shape[0] + 1]
    with modes_disabled():
        others = torch.cat([indices[:axis], indices[axis + 1 :]])
        distinct = others.unique(dim=1).shape[1] if others.numel() else min(indices.shape[1], 1)
    return distinct * values[:1].numel()


@formula(aten._sparse_softmax)
def sparse_softmax(self: Tensor, dim: int) -> Cost:
    """A softmax over the stored elements of each row."""
    return softmax(stored(self), _rows(self, dim))


@formula(aten._sparse_log_softmax)
def sparse_log_softmax(self: Tensor, dim: int) -> Cost:
    """A softmax with a subtraction instead of the division, and a logarithm per row."""
    rows = _rows(self, dim)
    return softmax(stored(self), rows) + Cost(transcendentals=rows)


@formula(aten._sparse_softmax_backward_data)
def sparse_softmax_backward(output: Tensor, dim: int) -> Cost:
    """``y * grad - y * sum(y * grad)`` over the stored elements."""
    elements = stored(output)
    return Cost(ops=3 * elements + reduction_ops(elements, _rows(output, dim)))


@formula(aten._sparse_log_softmax_backward_data)
def sparse_log_softmax_backward(output: Tensor, dim: int) -> Cost:
    """``grad - exp(y) * sum(grad)`` over the stored elements."""
    elements = stored(output)
    return Cost(ops=2 * elements + reduction_ops(elements, _rows(output, dim)), transcendentals=elements)


# 2:4 sparsity keeps two of each four neighbours along the summed axis, so a compressed matrix has half the elements.

# A sigmoid, which takes three operations and an exponential, and a product.
_SILU = Cost(ops=4, transcendentals=1)


@formula(aten._sparse_semi_structured_linear, dtype_from="input")
def semi_structured_linear(
    weight: Tensor, bias: Tensor | None = None, activation: str | None = None, *, out: Tensor
) -> Cost:
    """Every row of the input times the stored weights; then a bias and an activation."""
    after = {"relu": RELU, "silu": _SILU}.get(activation or "none", Cost())
    rows = numel(out.shape[:-1])
    return Cost(rows * weight.numel(), 0 if bias is None else out.numel()) + after * out.numel()


@formula(aten._sparse_semi_structured_mm, dtype_from="mat1")
def semi_structured_mm(mat1: Tensor, mat2: Tensor) -> Cost:
    """The stored elements times the columns of the right."""
    return Cost(macs=products(mat1, mat2))


@formula(aten._sparse_semi_structured_addmm, dtype_from="mat1")
def semi_structured_addmm(mat1: Tensor, mat2: Tensor, alpha: Any = 1, beta: Any = 1, *, out: Tensor) -> Cost:
    """``beta * input + alpha * (mat1 @ mat2)``."""
    return Cost(products(mat1, mat2), scaled_sum(out, beta, alpha))


@formula(aten._cslt_sparse_mm, dtype_from="dense_B")
def cslt_sparse_mm(
    dense_B: Tensor,
    bias: Tensor | None = None,
    alpha: Tensor | None = None,
    *,
    out: Tensor,
) -> Cost:
    """Half of the dense product; cuSPARSELt stores metadata too, so the stored elements do not give the size."""
    scaled = (bias is not None) + (alpha is not None)
    return Cost(out.numel() * dense_B.shape[0] // 2, out.numel() * scaled)


_KEPT_OF_16, _KEPT_OF_16_BYTES = 9, 10
"""Elements that cuSPARSELt stores of sixteen, metadata included: one more if an element is a single byte.

Older versions of PyTorch store them in one axis, newer ones in rows.
"""


@formula(aten._cslt_sparse_mm_search, dtype_from="dense_B")
def cslt_sparse_mm_search(
    compressed_A: Tensor, dense_B: Tensor, bias: Tensor | None = None, alpha: Tensor | None = None
) -> Estimate:
    """One such product; the operator runs one for every algorithm of the library."""
    depth, columns = dense_B.shape
    if compressed_A.dim() > 1:
        rows = compressed_A.shape[0]
    else:
        kept = _KEPT_OF_16_BYTES if compressed_A.itemsize == 1 else _KEPT_OF_16
        rows = compressed_A.numel() * 16 // (kept * depth)
    scaled = (bias is not None) + (alpha is not None)
    cost = Cost(rows * columns * depth // 2, rows * columns * scaled)
    return Estimate(cost, "the product counts once, although it runs once per algorithm")


_TILE = 4 * 4
"""Elements of a tile."""


@formula(aten._sparse_semi_structured_tile)
def semi_structured_tile(input: Tensor, algorithm: str = "") -> Cost:
    """Sort the elements of each 4 x 4 tile, by absolute value if asked for, and keep the largest.

    The algorithm ``causal1122`` keeps the same positions of every tile.
    """
    if algorithm == "causal1122":
        return Cost()
    absolute = input.numel() if algorithm == "largest_abs_values_greedy" else 0
    return Cost(ops=absolute + input.numel() // _TILE * _TILE * ceil_log2(_TILE))


# Conversions to the compressed format, with or without a mask.
declare_zero(*packets("_cslt_compress _to_sparse_semi_structured"))
declare_zero(*packets("_sparse_semi_structured_apply _sparse_semi_structured_apply_dense"))
