"""LAPACK's routines: against the totals that Working Note 41 publishes, and against their unblocked loops."""

import math

import pytest
import torch
from counted import cost_of
from test_linalg import Counter, as_tensor, lu_loop, lu_of, matrix, symmetric, transposed

from opflops import Cost


def meta(*shape):
    return torch.empty(shape, dtype=torch.float64, device="meta")


def solve_lower(a, b):
    return torch.linalg.solve_triangular(a, b, upper=False)


def from_the_right(*arguments):
    return torch.ormqr(*arguments, left=False)


# Routine, what runs it, and multiplications and additions by the polynomials that LAPACK++, PLASMA and MAGMA give in
# their headers after the note. The note leaves out a wide getrf: there those headers swap m and n, and so scale rows
# (145 240 multiplications). LAPACK scales columns, and its timing routine DOPLA has it so, without the 60 inverted
# pivots: 141 010 + 60 * 29.5.
PUBLISHED = [
    ("getrf", lu_of, (meta(100, 100),), 333_400, 328_350),
    ("getrf, tall", lu_of, (meta(100, 60),), 145_240, 141_010),
    ("getrf, wide", lu_of, (meta(60, 100),), 142_780 + 60, 141_010),
    ("getrf and getri", torch.linalg.inv, (meta(100, 100),), 333_400 + 671_750, 328_350 + 651_750),
    ("getrs", torch.linalg.lu_solve, (meta(100, 100), meta(100).int(), meta(100, 7)), 70_000, 69_300),
    ("potrf", torch.linalg.cholesky, (meta(100, 100),), 171_700, 166_650),
    ("potri", torch.cholesky_inverse, (meta(100, 100),), 343_400, 328_350),
    ("potrs", torch.cholesky_solve, (meta(100, 7), meta(100, 100)), 70_700, 69_300),
    ("sytrf", torch.linalg.ldl_factor, (meta(100, 100),), 172_000, 166_650),
    ("trtrs", solve_lower, (meta(100, 100), meta(100, 7)), 35_350, 34_650),
    ("geqrf", torch.geqrf, (matrix(100, 100),), 682_050, 671_750),
    ("geqrf, tall", torch.geqrf, (matrix(100, 60),), 296_030, 289_850),
    ("geqrf, wide", torch.geqrf, (matrix(60, 100),), 298_430, 292_250),
    ("orgqr", torch.linalg.householder_product, (meta(60, 60), meta(60)), 147_500, 144_020),
    ("orgqr, tall", torch.linalg.householder_product, (meta(100, 60), meta(60)), 291_500, 285_620),
    ("orgqr, all columns", torch.linalg.householder_product, (meta(100, 100), meta(60)), 632_300, 624_020),
    ("ormqr", torch.ormqr, (meta(60, 60), meta(60), meta(60, 7)), 26_040, 25_620),
    ("ormqr, tall", torch.ormqr, (meta(100, 60), meta(60), meta(100, 7)), 59_640, 59_220),
    ("ormqr from the right", from_the_right, (meta(100, 60), meta(60), meta(7, 100)), 63_450, 59_220),
]


@pytest.mark.parametrize(
    ("function", "arguments", "multiplications", "additions"),
    [case[1:] for case in PUBLISHED],
    ids=[case[0] for case in PUBLISHED],
)
def test_routines_cost_the_published_totals(function, arguments, multiplications, additions):
    """Multiplications and additions, for 100 x 100, 100 x 60 and 60 x 100; complex ones are 6 and 2 operations."""
    assert cost_of(function, *arguments) == Cost(ops=multiplications + additions)
    in_complex = [each.cfloat() if each.is_floating_point() else each for each in arguments]
    assert cost_of(function, *in_complex) == Cost(ops=6 * multiplications + 2 * additions)


def invert_triangle(u, c):
    """Invert an upper triangle column by column, as dtrti2 does: a triangle times a column, and a scaling."""
    for j in range(len(u)):
        u[j][j] = c.over(1, u[j][j])
        column = [u[i][j] for i in range(j)]
        for i in range(j):
            product = c.times(u[i][i], column[i])
            for k in range(i + 1, j):
                product = c.plus(product, c.times(u[i][k], column[k]))
            u[i][j] = c.times(-u[j][j], product)
    return u


def invert_loop(a, c):
    """Factor, invert the upper triangle, and solve ``X L = U⁻¹`` from the last column on, as dgetri does by dgemv.

    That scales the numbers of a column of the triangle, if only by one; those below it are not there to be added to.
    """
    n = len(a)
    factors = lu_loop(a, c)
    x = invert_triangle([[factors[i][j] if i <= j else None for j in range(n)] for i in range(n)], c)
    for j in reversed(range(n)):
        for i in range(n):
            if i <= j:
                x[i][j] = c.times(1, x[i][j])
            for k in range(j + 1, n):
                product = c.times(x[i][k], factors[k][j])
                x[i][j] = -product if x[i][j] is None else c.minus(x[i][j], product)
    return x


def cholesky_inverse_loop(a, c):
    """Invert the triangle, and multiply it by its transpose from the left, as dlauu2 does."""
    n = len(a)
    u = invert_triangle(transposed(a), c)
    found = [[0] * n for _ in range(n)]
    for i in range(n):
        for j in range(i + 1):
            product = c.times(u[i][i], u[j][i])
            for k in range(i + 1, n):
                product = c.plus(product, c.times(u[i][k], u[j][k]))
            found[i][j] = found[j][i] = product
    return found


def reflect(a, v, tau, rows, columns, c):
    """Apply ``1 - tau v vᵀ`` to some rows and columns, as dlarf does from the left: a product of each column with v."""
    for column in columns:
        product = 0
        for part, i in zip(v, rows, strict=True):
            product = c.plus(product, c.times(part, a[i][column]))
        product = c.times(tau, product)
        for part, i in zip(v, rows, strict=True):
            a[i][column] = c.minus(a[i][column], c.times(part, product))


def qr_loop(a, c):
    """Reflect column by column, in the steps of dgeqr2: dlarfg makes a reflection, dlarf applies it.

    The note counts a reflection of a single number, the last of a matrix that is no taller than wide, like any other;
    in fact LAPACK leaves that number its sign, and so does what this returns.
    """
    m, n = len(a), len(a[0])
    for j in range(min(m, n)):
        # The norm of what lies below the diagonal, and then of that and the diagonal.
        norm = 0
        for i in range(j + 1, m):
            norm = c.plus(norm, c.times(a[i][j], a[i][j]))
        norm = c.root(norm)
        size = c.root(c.plus(c.times(a[j][j], a[j][j]), c.times(norm, norm)))
        beta = -math.copysign(size, a[j][j])
        difference = c.minus(beta, a[j][j])
        tau, scale = c.over(difference, beta), c.over(-1, difference)
        v = [1] + [c.times(a[i][j], scale) for i in range(j + 1, m)]
        a[j][j] = beta
        reflect(a, v, tau, range(j, m), range(j + 1, n), c)
    if m <= n:
        a[-1] = [-number for number in a[-1]]
    return [[a[i][j] if i <= j else 0 for j in range(n)] for i in range(min(m, n))]


def reflection(a, j):
    """Read a reflection below the diagonal of what dgeqrf returns."""
    return [1] + [row[j] for row in a[j + 1 :]]


def multiply_out_loop(a, tau, c):
    """Turn reflections into columns from the last on, in the steps of dorg2r."""
    m, n, k = len(a), len(a[0]), len(tau)
    q = [[float(i == j) for j in range(n)] for i in range(m)]
    for j in reversed(range(k)):
        v = reflection(a, j)
        reflect(q, v, tau[j], range(j, m), range(j + 1, n), c)
        for i in range(j + 1, m):
            q[i][j] = c.times(-tau[j], v[i - j])
        q[j][j] = c.minus(1, tau[j])
    return q


def multiply_loop(a, tau, other, c):
    """Apply the reflections to the rows of a matrix, from the last on."""
    for j in reversed(range(len(tau))):
        reflect(other, reflection(a, j), tau[j], range(j, len(other)), range(len(other[0])), c)
    return other


def multiply_from_the_right_loop(a, tau, other, c):
    """Apply the reflections to the columns, in the order of making; here it is the reflection that is scaled."""
    for j, factor in enumerate(tau):
        v = reflection(a, j)
        scaled = [c.times(factor, part) for part in v]
        for row in other:
            product = 0
            for part, number in zip(v, row[j:], strict=True):
                product = c.plus(product, c.times(part, number))
            for i, part in enumerate(scaled, start=j):
                row[i] = c.minus(row[i], c.times(part, product))
    return other


def upper_triangle(a):
    return torch.linalg.qr(a, mode="r")[1]


def reflections(m, n, k):
    """Make k reflections of length m, with n columns."""
    a, tau = torch.geqrf(torch.rand(m, n, dtype=torch.float64))
    return a, tau[:k]


LOOPS = [
    *[(torch.linalg.inv, invert_loop, lambda n=n: (matrix(n, n),)) for n in (1, 2, 5)],
    *[
        (torch.cholesky_inverse, cholesky_inverse_loop, lambda n=n: (torch.linalg.cholesky(symmetric(n)),))
        for n in (1, 2, 5)
    ],
    *[
        (upper_triangle, qr_loop, lambda m=m, n=n: (matrix(m, n),))
        for m, n in ((4, 1), (6, 3), (4, 4), (3, 6), (1, 1), (1, 4))
    ],
    *[
        (torch.linalg.householder_product, multiply_out_loop, lambda m=m, n=n, k=k: reflections(m, n, k))
        for m, n, k in ((5, 5, 5), (6, 3, 3), (6, 4, 2))
    ],
    *[
        (torch.ormqr, multiply_loop, lambda m=m, k=k: (*reflections(m, k, k), torch.rand(m, 3).double()))
        for m, k in ((4, 4), (6, 2))
    ],
    *[
        (
            from_the_right,
            multiply_from_the_right_loop,
            lambda m=m, k=k: (*reflections(m, k, k), torch.rand(3, m).double()),
        )
        for m, k in ((4, 4), (6, 2))
    ],
]


@pytest.mark.parametrize(("function", "loop", "arguments"), LOOPS)
def test_routines_cost_what_their_loops_do(function, loop, arguments):
    """A loop of scalars that counts itself gives what torch gives, and takes what is charged, in complex too."""
    tensors, counter = arguments(), Counter()
    torch.testing.assert_close(as_tensor(loop(*[each.tolist() for each in tensors], counter)), function(*tensors))
    assert cost_of(function, *tensors) == Cost(ops=counter.real)
    assert cost_of(function, *[each.cfloat() for each in tensors]) == Cost(ops=counter.complex)
