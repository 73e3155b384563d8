"""Factorizations, and what is solved with them: the counts of LAPACK Working Note 41, and of Golub and Van Loan.

The working note gives multiplications and additions apart; divisions and square roots are among its multiplications,
and so they are here. They are kept apart until the dtype is known, as a complex multiplication is worth three complex
additions. Products of matrices count multiply-accumulates; these routines, of whose work only a part is products,
count operations. Where the note leaves out matrices that are wider than tall, the loops of the routine decide.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from opflops.formulas.sizes import aten, available_packets, multiplies, newer_formula, numel, reduction_ops
from opflops.pricing.registration import declare_zero, formula
from opflops.records.cost import Cost, Estimate

if TYPE_CHECKING:
    from torch import Tensor


class OpCounts(NamedTuple):
    """State what a routine takes for one matrix, or for some unknowns.

    Attributes:
        multiplications: Its multiplications, divisions and square roots.
        additions: Its additions and subtractions.
    """

    multiplications: int
    additions: int


def _work(matrices: Tensor, steps: OpCounts) -> Cost:
    """Take some steps for each of a batch of matrices."""
    batch = numel(matrices.shape[:-2])
    return Cost(ops=batch * (multiplies(matrices) * steps.multiplications + steps.additions))


def _solve(nrhs: Tensor, steps: OpCounts) -> Cost:
    """Take some steps that count all unknowns of a batch."""
    return Cost(ops=multiplies(nrhs) * steps.multiplications + steps.additions)


def getrf(m: int, n: int) -> OpCounts:
    """LU with partial pivoting: step j inverts a pivot, scales m - j numbers and updates (m - j)·(n - j).

    The note leaves out m < n, where those who swap m and n in its formula scale rows; LAPACK scales columns.
    """
    k = torch.sym_min(m, n)
    updates = 6 * m * n * k - 3 * (m + n) * k * (k + 1) + k * (k + 1) * (2 * k + 1)
    return OpCounts((updates + 6 * m * k - 3 * k * (k - 1)) // 6, updates // 6)


def getri(n: int) -> OpCounts:
    """The inverse from LU."""
    return OpCounts((4 * n * n * n + 3 * n * n + 5 * n) // 6, (4 * n * n * n - 9 * n * n + 5 * n) // 6)


def getrs(n: int, nrhs: int) -> OpCounts:
    """Solve with LU: two triangular systems, of which one has a diagonal of ones."""
    return OpCounts(nrhs * n, nrhs * (n - 1))


def potrf(n: int) -> OpCounts:
    """Cholesky."""
    return OpCounts((n * n * n + 3 * n * n + 2 * n) // 6, (n * n * n - n) // 6)


def potri(n: int) -> OpCounts:
    """The inverse from Cholesky."""
    return OpCounts((2 * n * n * n + 6 * n * n + 4 * n) // 6, (2 * n * n * n - 3 * n * n + n) // 6)


def potrs(n: int, nrhs: int) -> OpCounts:
    """Solve with Cholesky, or with LDL: two triangular systems."""
    return OpCounts(nrhs * (n + 1), nrhs * (n - 1))


def sytrf(n: int) -> OpCounts:
    """LDL by Bunch and Kaufman."""
    return OpCounts((n * n * n + 3 * n * n + 20 * n) // 6, (n * n * n - n) // 6)


def trtrs(n: int, nrhs: int, *, unit: bool = False) -> OpCounts:
    """Solve a triangular system; a diagonal of ones is not divided by."""
    return OpCounts(nrhs * (n - 1 if unit else n + 1) // 2, nrhs * (n - 1) // 2)


def geqrf(m: int, n: int) -> OpCounts:
    """QR by k = min(m, n) reflections: the note's two cases, for tall and for wide, in one polynomial of k."""
    k = torch.sym_min(m, n)
    reflections = 12 * m * n * k - 6 * (m + n) * k * k + 4 * k * k * k
    multiplications = reflections + 6 * m * k + 12 * n * k - 9 * k * k + 23 * k
    return OpCounts(multiplications // 6, (reflections + 6 * n * k - 3 * k * k + 5 * k) // 6)


def orgqr(m: int, n: int, k: int) -> OpCounts:
    """The first n columns of the product of k reflections of length m."""
    reflections = 6 * m * n * k - 3 * (m + n) * k * k + 2 * k * k * k
    return OpCounts((reflections + 6 * n * k - 3 * k * k - 5 * k) // 3, (reflections + 3 * n * k - 3 * m * k + k) // 3)


def ormqr(m: int, n: int, k: int, *, left: bool) -> OpCounts:
    """Multiply m x n numbers by the product of k reflections, from the left or from the right."""
    if left:
        reflections = 2 * m * n * k - n * k * k
        return OpCounts(reflections + 2 * n * k, reflections + n * k)
    reflections = 2 * m * n * k - m * k * k
    return OpCounts(reflections + m * k + n * k - (k * k - k) // 2, reflections + m * k)


@formula(aten.linalg_lu_factor_ex, aten.linalg_lu)
def lu(A: Tensor) -> Cost:
    """See :func:`getrf`."""
    return _work(A, getrf(*A.shape[-2:]))


# Triangles and permutations are copied out of what getrf returns.
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
    return lu(A) + _work(A, getri(A.shape[-1]))


@formula(aten._linalg_det)
def determinant(A: Tensor) -> Cost:
    """Factor as LU, and multiply the diagonal and the sign of the permutation."""
    return lu(A) + _work(A, OpCounts(A.shape[-1], 0))


@formula(aten._linalg_slogdet)
def log_determinant(A: Tensor) -> Cost:
    """Factor as LU; multiply the signs of the diagonal and of the permutation, and add up ``log(abs(diagonal))``.

    Of complex numbers a sign takes six operations and a root, a size three and a root; a row of complex numbers counts
    in pairs, so that it has one operation too many.
    """
    n, batch = A.shape[-1], numel(A.shape[:-2])
    if A.is_complex():
        return lu(A) + batch * Cost(ops=(6 * n + 6 * n + 3 * n + n) // 2, transcendentals=3 * n)
    # A sum of no logarithms takes nothing, rather than one addition less than nothing.
    return lu(A) + batch * Cost(ops=3 * n + torch.sym_max(n - 1, 0), transcendentals=n)


@formula(aten.linalg_cholesky_ex, *available_packets("aten", "cholesky"))
def cholesky(self: Tensor) -> Cost:
    """See :func:`potrf`."""
    return _work(self, potrf(self.shape[-1]))


@formula(aten.cholesky_inverse)
def cholesky_inverse(self: Tensor) -> Cost:
    """See :func:`potri`."""
    return _work(self, potri(self.shape[-1]))


@formula(aten.cholesky_solve, aten._cholesky_solve_helper, aten.linalg_ldl_solve)
def cholesky_solve(*, out: Tensor) -> Cost:
    """See :func:`potrs`; the working note has the same for LDL."""
    return _solve(out, potrs(out.shape[-2], out.numel()))


@formula(aten.linalg_ldl_factor_ex)
def ldl(self: Tensor) -> Cost:
    """See :func:`sytrf`."""
    return _work(self, sytrf(self.shape[-1]))


@formula(aten.linalg_solve_triangular)
def solve_triangular(self: Tensor, unitriangular: bool = False, *, out: Tensor) -> Cost:
    """See :func:`trtrs`."""
    return _solve(out, trtrs(self.shape[-1], out.numel(), unit=unitriangular))


@formula(aten.triangular_solve)
def triangular_solve(A: Tensor, unitriangular: bool = False, *, out: tuple[Tensor, Tensor]) -> Cost:
    """See :func:`trtrs`; the older operator has its arguments the other way around."""
    return solve_triangular(A, unitriangular, out=out[0])


@formula(aten.geqrf)
def reflections(self: Tensor) -> Cost:
    """See :func:`geqrf`."""
    return _work(self, geqrf(*self.shape[-2:]))


@formula(aten.linalg_householder_product)
def householder_product(input: Tensor, tau: Tensor) -> Cost:
    """See :func:`orgqr`."""
    m, n = input.shape[-2:]
    return _work(input, orgqr(m, n, tau.shape[-1]))


@formula(aten.linalg_qr)
def qr(A: Tensor, mode: str = "reduced", *, out: tuple[Tensor, Tensor]) -> Cost:
    """Factor by reflections, and multiply those out unless only R is wanted."""
    factored = reflections(A)
    if mode == "r":
        return factored
    m, n = out[0].shape[-2:]
    return factored + _work(A, orgqr(m, n, torch.sym_min(*A.shape[-2:])))


@formula(aten.ormqr)
def multiply_reflections(input2: Tensor, input3: Tensor, left: bool = True) -> Cost:
    """See :func:`ormqr`; ``input2`` holds one number for each reflection."""
    m, n = input3.shape[-2:]
    return _work(input3, ormqr(m, n, input2.shape[-1], left=left))


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

    What ``torch.linalg.eigvals`` decomposes into computes them all the same under a mode, and so do ``eigvalsh`` and
    ``svdvals``: PyTorch takes a mode for a tensor subclass, which may want a gradient.
    """
    return Estimate(_iterative(self, 10 * self.shape[-1] ** 3), _ITERATIVE)


@formula(aten._linalg_eigh, dtype_from="A")
def eigh(A: Tensor, compute_v: bool = True) -> Estimate:
    """Tridiagonal form and symmetric QR: 9n³ with the vectors, 4n³/3 without."""
    cube = A.shape[-1] ** 3
    return Estimate(_iterative(A, 9 * cube if compute_v else 4 * cube // 3), _ITERATIVE)


@formula(aten._linalg_svd, dtype_from="A")
def svd(A: Tensor, full_matrices: bool = False, compute_uv: bool = True) -> Estimate:
    """Bidiagonal form and QR by Golub and Reinsch, for m x n, m the larger: 4mn² - 4n³/3 for the values alone.

    With the vectors it takes 14mn² + 8n³, and with all m of the longer ones 4m²n + 8mn² + 9n³.
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
    """QR of the tall one of a matrix and its transpose, Q^T b, and a triangular system."""
    m, n = torch.sym_max(*self.shape[-2:]), torch.sym_min(*self.shape[-2:])
    columns = 1 if b.dim() == self.dim() - 1 else b.shape[-1]
    steps = geqrf(m, n), ormqr(m, columns, n, left=True), trtrs(n, n * columns)
    cost = sum((_work(self, each) for each in steps), Cost())
    return Estimate(cost, "full rank is taken for granted; drivers that find the rank do more")


@formula(aten.linalg_matrix_exp)
def matrix_exp(self: Tensor) -> Estimate:
    """Five products, for a Taylor polynomial of degree 18, and squarings: see Bader, Blanes and Casas, 2019."""
    return Estimate(Cost(macs=5 * self.numel() * self.shape[-1]), "its degree and squarings depend on the norm")


@formula(aten._compute_linear_combination)
def linear_combination(coefficients: Tensor, *, out: Tensor) -> Cost:
    """Multiply a matrix of coefficients by a list of tensors."""
    return Cost(macs=out.numel() * coefficients.shape[-1])


@formula(aten.linalg_cross)
def cross(*, out: Tensor) -> Cost:
    """Two products and a difference for each number."""
    return Cost(ops=out.numel() * (2 * multiplies(out) + 1))


@formula(aten.trace)
def trace(self: Tensor) -> Cost:
    """Fold the diagonal by adding."""
    return Cost(ops=torch.sym_max(torch.sym_min(*self.shape) - 1, 0))


@newer_formula("linalg__powsum")
def powsum(self: Tensor, ord: Any = 2, *, out: Tensor) -> Cost:
    """``sum(abs(x) ** p)``: a norm without its root, so that 0 compares, 1 takes sizes, 2 squares, the rest powers."""
    elements = self.numel()
    size = Cost(ops=3, transcendentals=1) if self.is_complex() else Cost(ops=1)
    each = {0: Cost(ops=1), 1: size, 2: Cost(ops=size.ops)}.get(ord, size + Cost(transcendentals=1))
    return each * elements + Cost(ops=reduction_ops(elements, out.numel()))
