"""Operation counts of LAPACK routines, from LAPACK Working Note 41.

The note counts multiplications and additions apart, with divisions and square roots among the multiplications. Both
stay apart here until the dtype is known, since a complex multiplication is worth three complex additions. Where the
note leaves out matrices that are wider than tall, the count comes from the loops of the routine.
"""

from __future__ import annotations

from typing import NamedTuple

import torch


class OpCounts(NamedTuple):
    """Hold the operations of a routine, for one matrix or for all unknowns of a system.

    Attributes:
        multiplications: Multiplications, divisions and square roots.
        additions: Additions and subtractions.
    """

    multiplications: int
    additions: int


def getrf(m: int, n: int) -> OpCounts:
    """LU with partial pivoting: step j inverts a pivot, scales m - j numbers and updates (m - j)·(n - j).

    The note leaves out m < n. Swapping m and n in its formula would scale rows, but LAPACK scales columns.
    """
    k = torch.sym_min(m, n)
    updates = 6 * m * n * k - 3 * (m + n) * k * (k + 1) + k * (k + 1) * (2 * k + 1)
    return OpCounts((updates + 6 * m * k - 3 * k * (k - 1)) // 6, updates // 6)


def getri(n: int) -> OpCounts:
    """The inverse from LU."""
    return OpCounts((4 * n * n * n + 3 * n * n + 5 * n) // 6, (4 * n * n * n - 9 * n * n + 5 * n) // 6)


def getrs(n: int, nrhs: int) -> OpCounts:
    """Solve with LU: two triangular systems, one of them with a unit diagonal."""
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
    """Solve a triangular system; there is no division by a unit diagonal."""
    return OpCounts(nrhs * (n - 1 if unit else n + 1) // 2, nrhs * (n - 1) // 2)


def geqrf(m: int, n: int) -> OpCounts:
    """QR by k = min(m, n) reflections: the note's cases for tall and for wide matrices in one polynomial of k."""
    k = torch.sym_min(m, n)
    reflections = 12 * m * n * k - 6 * (m + n) * k * k + 4 * k * k * k
    multiplications = reflections + 6 * m * k + 12 * n * k - 9 * k * k + 23 * k
    return OpCounts(multiplications // 6, (reflections + 6 * n * k - 3 * k * k + 5 * k) // 6)


def orgqr(m: int, n: int, k: int) -> OpCounts:
    """The first n columns of the product of k reflections of length m."""
    reflections = 6 * m * n * k - 3 * (m + n) * k * k + 2 * k * k * k
    return OpCounts((reflections + 6 * n * k - 3 * k * k - 5 * k) // 3, (reflections + 3 * n * k - 3 * m * k + k) // 3)


def ormqr(m: int, n: int, k: int, *, left: bool) -> OpCounts:
    """Multiply an m x n matrix by the product of k reflections, from the left or from the right."""
    if left:
        reflections = 2 * m * n * k - n * k * k
        return OpCounts(reflections + 2 * n * k, reflections + n * k)
    reflections = 2 * m * n * k - m * k * k
    return OpCounts(reflections + m * k + n * k - (k * k - k) // 2, reflections + m * k)
