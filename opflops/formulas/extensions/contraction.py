"""Operators of PyTorch's own modules, registered by name: matrix products, and layers that are made of them.

They exist only once their module is imported. The files beside this one hold the other families.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opflops.formulas.contraction import linear, products
from opflops.formulas.quantized.low_precision import grouped_mm
from opflops.formulas.sizes import numel
from opflops.pricing.native_kernels import native_kernels
from opflops.pricing.registration import declare_zero, formula
from opflops.pricing.traffic import stored_bytes
from opflops.records.cost import Cost, Estimate
from opflops.torch_internals.dispatch import modes_disabled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


@formula("inductor::_mm_plus_mm", unread=("out",))
def mm_plus_mm(a: Tensor, b: Tensor, c: Tensor, d: Tensor, *, out: Tensor) -> Cost:
    """``a @ b + c @ d``."""
    return Cost(macs=products(a, b) + products(c, d), ops=out.numel())


# Kernels that replace those of aten.


@formula(*native_kernels("_foreach_mm_native"))
def foreach_mm(self: Sequence[Tensor], mat2: Sequence[Tensor]) -> Cost:
    """m·n·k for each pair of matrices."""
    return Cost(macs=sum(products(left, right) for left, right in zip(self, mat2, strict=True)))


@formula(*native_kernels("bmm_triton"))
def bmm(self: Tensor, mat2: Tensor) -> Cost:
    """b·m·n·k."""
    return Cost(macs=products(self, mat2))


@formula("transformers::grouped_mm_fallback")
def grouped_product(input: Tensor, weight: Tensor, offs: Tensor, *, out: Tensor) -> Cost | Estimate:
    """The matrix product of each expert of a model of transformers, by the true numbers of tokens."""
    return grouped_mm(input, weight, offs, out=out)


@formula("transformers::grouped_mm_fallback_backward")
def grouped_product_backward(input: Tensor, weight: Tensor, offs: Tensor, grad_output: Tensor) -> Cost | Estimate:
    """The same twice: for the gradient of the input and for that of the weights."""
    forward = grouped_mm(input, weight, offs, out=grad_output)
    return Estimate(forward.cost * 2, forward.reason) if isinstance(forward, Estimate) else forward * 2


# 2:4 sparsity keeps two of four neighbours. The stored tensor is padded or has metadata, so it does not give the size.


def _half(depth: int, out: Tensor, bias: Tensor | None) -> Cost:
    """Half of the dense product, and the bias. Rows that a kernel adds as padding do not count."""
    return Cost(macs=out.numel() * depth // 2, ops=0 if bias is None else out.numel())


@formula("semi_structured::cutlass_mm", "semi_structured::cusparselt_mm", dtype_from="dense")
def semi_structured_mm(dense: Tensor, bias: Tensor | None, should_transpose_dense: bool, *, out: Tensor) -> Cost:
    """A 2:4 sparse matrix (out_features, k) by a dense one of shape (k, n), or (n, k) if it is to be transposed."""
    return _half(dense.shape[1] if should_transpose_dense else dense.shape[0], out, bias)


# Layers of TorchScript models that were frozen for the CPU: their weights are reordered once.
declare_zero("mkldnn_prepacked::conv2d_prepack", "mkl::_mkl_reorder_linear_weight")


@formula("mkldnn_prepacked::conv2d_run")
def prepacked_conv2d(X: Tensor, W_prepack: Any, *, out: Tensor) -> Estimate:
    """Positions times weights, and a bias. The packed weights do not say whether an activation is fused."""
    with modes_disabled():
        weight, bias, *_ = W_prepack.__getstate__()[0]
    positions = out.shape[0] * numel(out.shape[2:])
    cost = Cost(
        macs=positions * weight.numel(),
        ops=0 if bias is None else out.numel(),
        bytes_read=stored_bytes([X, weight, bias]),
    )
    return Estimate(cost, "a relu that is packed with the weights is not counted")


@formula("mkl::_mkl_linear", unread=("ORI_W",))
def mkl_linear(X: Tensor, ORI_W: Tensor, B: Tensor | None) -> Cost:
    """Every row of the input by the weight; the packed weight is for a fixed number of rows."""
    return linear(numel(X.shape[:-1]), ORI_W, B)
