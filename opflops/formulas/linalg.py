"""Linear algebra: factorizations and solvers by LAPACK Working Note 41, iterative ones by Golub and Van Loan.

Matrix products count multiply-accumulates. These routines count operations, since products are only part of their
work. :mod:`opflops.formulas.lapack` has the counts of the routines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from opflops.formulas.lapack import (
    OpCounts,
    geqrf,
    getrf,
    getri,
    getrs,
    orgqr,
    ormqr,
    potrf,
    potri,
    potrs,
    sytrf,
    trtrs,
)
from opflops.formulas.sizes import (
    aten,
    available_packets,
    multiplies,
    newer_formula,
    numel,
    reduction_ops,
)
from opflops.pricing.native_kernels import native_kernels
from opflops.pricing.registration import declare_zero, formula
from opflops.records.cost import Cost, Estimate

if TYPE_CHECKING:
    from torch import Tensor


def _factor(matrices: Tensor, counts: OpCounts) -> Cost:
    """Cost of a routine whose counts are for one matrix, run on a batch of matrices."""
    batch = numel(matrices.shape[:-2])
    return Cost(ops=batch * (multiplies(matrices) * counts.multiplications + counts.additions))


def _solve(unknowns: Tensor, counts: OpCounts) -> Cost:
    """Cost of a routine whose counts are for all unknowns of a batch."""
    return Cost(ops=multiplies(unknowns) * counts.multiplications + counts.additions)


@formula(aten.linalg_lu_factor_ex, aten.linalg_lu)
def lu(A: Tensor) -> Cost:
    """See :func:`getrf`."""
    return _factor(A, getrf(*A.shape[-2:]))


# These copy triangles and permutations out of the result of getrf.
declare_zero(aten.lu_unpack, aten._linalg_check_errors)


@formula(aten.linalg_lu_solve)
def lu_solve(LU: Tensor, *, out: Tensor) -> Cost:
    """See :func:`getrs`."""
    return _solve(out, getrs(LU.shape[-1], out.numel()))


@formula(aten._linalg_solve_ex)
def solve(A: Tensor, *, out: tuple[Tensor, ...]) -> Cost:
    """Factor as LU, and solve."""
    return lu(A) + lu_solve(A, out=out[0])


@formula(aten.linalg_inv_ex)
def inverse(A: Tensor) -> Cost:
    """Factor as LU, and invert."""
    return lu(A) + _factor(A, getri(A.shape[-1]))


@formula(aten._linalg_det)
def determinant(A: Tensor) -> Cost:
    """Factor as LU, and multiply the diagonal and the sign of the permutation."""
    return lu(A) + _factor(A, OpCounts(A.shape[-1], 0))


@formula(aten._linalg_slogdet)
def log_determinant(A: Tensor) -> Cost:
    """Factor as LU; multiply the signs of the diagonal and of the permutation, and add up ``log(abs(diagonal))``.

    The sign of a complex number takes six operations and a root, its absolute value three and a root. A row of complex
    numbers counts operations in pairs, so it has one too many.
    """
    n, batch = A.shape[-1], numel(A.shape[:-2])
    if A.is_complex():
        return lu(A) + batch * Cost(ops=(6 * n + 6 * n + 3 * n + n) // 2, transcendentals=3 * n)
    # A sum of no logarithms takes no addition, not -1.
    return lu(A) + batch * Cost(ops=3 * n + torch.sym_max(n - 1, 0), transcendentals=n)


@formula(aten.linalg_cholesky_ex, *available_packets("aten", "cholesky"))
def cholesky(self: Tensor) -> Cost:
    """See :func:`potrf`."""
    return _factor(self, potrf(self.shape[-1]))


@formula(aten.cholesky_inverse)
def cholesky_inverse(self: Tensor) -> Cost:
    """See :func:`potri`."""
    return _factor(self, potri(self.shape[-1]))


@formula(aten.cholesky_solve, aten._cholesky_solve_helper, aten.linalg_ldl_solve)
def cholesky_solve(*, out: Tensor) -> Cost:
    """See :func:`potrs`; the working note has the same count for LDL."""
    return _solve(out, potrs(out.shape[-2], out.numel()))


@formula(aten.linalg_ldl_factor_ex)
def ldl(self: Tensor) -> Cost:
    """See :func:`sytrf`."""
    return _factor(self, sytrf(self.shape[-1]))


@formula(aten.linalg_solve_triangular)
def solve_triangular(self: Tensor, unitriangular: bool = False, *, out: Tensor) -> Cost:
    """See :func:`trtrs`."""
    return _solve(out, trtrs(self.shape[-1], out.numel(), unit=unitriangular))


@formula(aten.triangular_solve)
def triangular_solve(A: Tensor, unitriangular: bool = False, *, out: tuple[Tensor, Tensor]) -> Cost:
    """See :func:`trtrs`; this older operator takes its arguments in the other order."""
    return solve_triangular(A, unitriangular, out=out[0])


@formula(aten.geqrf)
def reflections(self: Tensor) -> Cost:
    """See :func:`geqrf`."""
    return _factor(self, geqrf(*self.shape[-2:]))


@formula(aten.linalg_householder_product)
def householder_product(input: Tensor, tau: Tensor) -> Cost:
    """See :func:`orgqr`."""
    m, n = input.shape[-2:]
    return _factor(input, orgqr(m, n, tau.shape[-1]))


@formula(aten.linalg_qr)
def qr(A: Tensor, mode: str = "reduced", *, out: tuple[Tensor, Tensor]) -> Cost:
    """Factor by reflections, and multiply those out unless only R is wanted."""
    factored = reflections(A)
    if mode == "r":
        return factored
    m, n = out[0].shape[-2:]
    return factored + _factor(A, orgqr(m, n, torch.sym_min(*A.shape[-2:])))


@formula(aten.ormqr)
def multiply_reflections(input2: Tensor, input3: Tensor, left: bool = True) -> Cost:
    """See :func:`ormqr`; ``input2`` holds one number for each reflection."""
    m, n = input3.shape[-2:]
    return _factor(input3, ormqr(m, n, input2.shape[-1], left=left))


_ITERATIVE = "an iterative method: Golub and Van Loan's count, for the usual number of steps"


def _iterative(matrices: Tensor, flops: int) -> Cost:
    """Take as many multiplications as additions, which is how those who count in flops alone see it."""
    return Cost(ops=numel(matrices.shape[:-2]) * flops * (2 if matrices.is_complex() else 1))


@formula(aten.linalg_eig, dtype_from="self")
def eig(self: Tensor) -> Estimate:
    """Hessenberg form and shifted QR, with the vectors: 25n³."""
    return Estimate(_iterative(self, 25 * self.shape[-1] ** 3), _ITERATIVE)


@formula(aten.linalg_eigvals.out, aten._linalg_eigvals, dtype_from="self")
def eigvals(self: Tensor) -> Estimate:
    """Hessenberg form and shifted QR, without the vectors: 10n³.

    Under a mode, ``torch.linalg.eigvals`` decomposes into an operator that computes the vectors anyway, and so do
    ``eigvalsh`` and ``svdvals``: PyTorch treats a mode as a tensor subclass, which may need a gradient.
    """
    return Estimate(_iterative(self, 10 * self.shape[-1] ** 3), _ITERATIVE)


@formula(aten._linalg_eigh, dtype_from="A")
def eigh(A: Tensor, compute_v: bool = True) -> Estimate:
    """Tridiagonal form and symmetric QR: 9n³ with the vectors, 4n³/3 without."""
    cube = A.shape[-1] ** 3
    return Estimate(_iterative(A, 9 * cube if compute_v else 4 * cube // 3), _ITERATIVE)


@formula(aten._linalg_svd, dtype_from="A")
def svd(A: Tensor, full_matrices: bool = False, compute_uv: bool = True) -> Estimate:
    """Bidiagonal form and QR by Golub and Reinsch, for m x n with m >= n: 4mn² - 4n³/3 for the values alone.

    With the vectors it takes 14mn² + 8n³, and with all m of the longer vectors 4m²n + 8mn² + 9n³.
    """
    m, n = torch.sym_max(*A.shape[-2:]), torch.sym_min(*A.shape[-2:])
    if not compute_uv:
        flops = (12 * m * n * n - 4 * n * n * n) // 3
    elif full_matrices:
        flops = 4 * m * m * n + 8 * m * n * n + 9 * n * n * n
    else:
        flops = 14 * m * n * n + 8 * n * n * n
    return Estimate(_iterative(A, flops), _ITERATIVE)


@formula(aten.linalg_pinv.atol_rtol_tensor)
def pinv(self: Tensor, hermitian: bool = False, *, out: Tensor) -> Estimate:
    """``V / S @ U^H`` of an SVD, or of the eigenvalues: a comparison and a reciprocal each, a scaling, a product."""
    k, batch = torch.sym_min(*self.shape[-2:]), numel(self.shape[:-2])
    factored = eigh(self).cost if hermitian else svd(self).cost
    return Estimate(factored + Cost(macs=out.numel() * k, ops=batch * k * (2 + self.shape[-1])), _ITERATIVE)


@formula(aten.linalg_lstsq)
def lstsq(self: Tensor, b: Tensor) -> Estimate:
    """QR of the matrix, or of its transpose if that is taller, Q^T b, and a triangular system."""
    m, n = torch.sym_max(*self.shape[-2:]), torch.sym_min(*self.shape[-2:])
    columns = 1 if b.dim() == self.dim() - 1 else b.shape[-1]
    routines = geqrf(m, n), ormqr(m, columns, n, left=True), trtrs(n, n * columns)
    cost = sum((_factor(self, each) for each in routines), Cost())
    return Estimate(cost, "full rank is assumed; drivers that find the rank do more")


def _rebuilt_symmetric(matrices: Tensor, n: int) -> Cost:
    """``V * s @ V^H``, and the mean of that and its adjoint, which makes it symmetric to the last bit."""
    # The factors n, and the half, are multiplied as numbers of the dtype of the matrices.
    return numel(matrices.shape[:-2]) * Cost(macs=n * n * n, ops=n * n * (2 * multiplies(matrices) + 1))


def _polar(A: Tensor) -> Estimate:
    """``U @ V^H`` and ``V * S @ V^H`` of an SVD; a kernel for GPUs that iterates without one counts the same."""
    m, n = A.shape[-2:]
    product = Cost(macs=numel(A.shape[:-2]) * m * n * n)
    return Estimate(svd(A).cost + product + _rebuilt_symmetric(A, n), _ITERATIVE)


def _matrix_sqrth(self: Tensor) -> Estimate:
    """Eigenvalues and vectors; each value is compared with 0, and its root taken; ``V * sqrt(L) @ V^H``."""
    n, batch = self.shape[-1], numel(self.shape[:-2])
    # The eigenvalues are real, and a row of complex numbers counts operations in pairs.
    compared = (n + 1) // 2 if self.is_complex() else n
    roots = batch * Cost(ops=compared, transcendentals=n)
    return Estimate(eigh(self).cost + roots + _rebuilt_symmetric(self, n), _ITERATIVE)


# PyTorch 2.14 has these. A kernel in the place of aten's has a number, in the order in which they are registered.
if _packets := available_packets("aten", "linalg_polar"):
    formula(*_packets, *native_kernels("linalg_polar_native", "linalg_polar_out_native"), dtype_from="A")(_polar)
if _packets := available_packets("aten", "linalg_matrix_sqrth"):
    formula(*_packets, dtype_from="self")(_matrix_sqrth)


@formula(aten.linalg_matrix_exp)
def matrix_exp(self: Tensor) -> Estimate:
    """Five matmuls for a Taylor polynomial of degree 18 (Bader, Blanes and Casas, 2019); squarings do not count."""
    return Estimate(Cost(macs=5 * self.numel() * self.shape[-1]), "its degree and squarings depend on the norm")


@formula(aten._compute_linear_combination)
def linear_combination(coefficients: Tensor, *, out: Tensor) -> Cost:
    """Multiply a matrix of coefficients by a list of tensors."""
    return Cost(macs=out.numel() * coefficients.shape[-1])


@formula(aten.linalg_cross)
def cross(*, out: Tensor) -> Cost:
    """Two multiplications and a subtraction per element."""
    return Cost(ops=out.numel() * (2 * multiplies(out) + 1))


@formula(aten.trace)
def trace(self: Tensor) -> Cost:
    """Sum of the diagonal."""
    return Cost(ops=torch.sym_max(torch.sym_min(*self.shape) - 1, 0))


@newer_formula("linalg__powsum")
def powsum(self: Tensor, ord: Any = 2, *, out: Tensor) -> Cost:
    """``sum(abs(x) ** p)``: a norm without its root. p = 0 compares, 1 takes abs, 2 squares, any other a power."""
    elements = self.numel()
    size = Cost(ops=3, transcendentals=1) if self.is_complex() else Cost(ops=1)
    each = {0: Cost(ops=1), 1: size, 2: Cost(ops=size.ops)}.get(ord, size + Cost(transcendentals=1))
    return each * elements + Cost(ops=reduction_ops(elements, out.numel()))
