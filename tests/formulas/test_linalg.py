"""Linear algebra: against loops that count themselves, figures of LAPACK Working Note 41, textbook figures, laws."""

import math

import oracle
import pytest
import torch
from counted import cost_of
from torch._subclasses import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext

from opflops import Cost, OpFlopMode
from opflops.pricing.registry import registry

aten = torch.ops.aten


def priced(overload, *args):
    """Return what a call costs without bytes, and its result."""
    cost, out = oracle.priced(overload, *args)
    return Cost(cost.macs, cost.ops, cost.transcendentals), out


def matrix(*shape):
    """Make a matrix that needs no pivoting: a large diagonal."""
    return torch.rand(*shape, dtype=torch.float64) + 5 * torch.eye(*shape[-2:], dtype=torch.float64)


def symmetric(n):
    x = matrix(n, n)
    return x + x.T


def as_tensor(rows):
    return torch.tensor(rows, dtype=torch.float64)


class Counter:
    """Multiply and add, and count how often; divisions and roots are counted as multiplications."""

    def __init__(self):
        self.multiplications = self.additions = 0

    def times(self, a, b):
        self.multiplications += 1
        return a * b

    def over(self, a, b):
        self.multiplications += 1
        return a / b

    def root(self, a):
        self.multiplications += 1
        return math.sqrt(a)

    def plus(self, a, b):
        self.additions += 1
        return a + b

    def minus(self, a, b):
        self.additions += 1
        return a - b

    @property
    def real(self):
        return self.multiplications + self.additions

    @property
    def complex(self):
        return 6 * self.multiplications + 2 * self.additions


def lu_loop(a, c):
    """Eliminate column by column: invert the pivot, scale the column, update what is right and below."""
    m, n = len(a), len(a[0])
    for j in range(min(m, n)):
        inverse = c.over(1, a[j][j])
        for i in range(j + 1, m):
            a[i][j] = c.times(a[i][j], inverse)
            for k in range(j + 1, n):
                a[i][k] = c.minus(a[i][k], c.times(a[i][j], a[j][k]))
    return a


def cholesky_loop(a, c):
    n = len(a)
    for j in range(n):
        for k in range(j):
            a[j][j] = c.minus(a[j][j], c.times(a[j][k], a[j][k]))
        a[j][j] = c.root(a[j][j])
        for i in range(j + 1, n):
            for k in range(j):
                a[i][j] = c.minus(a[i][j], c.times(a[i][k], a[j][k]))
            a[i][j] = c.over(a[i][j], a[j][j])
    return [[a[i][j] if j <= i else 0 for j in range(n)] for i in range(n)]


def lower_loop(a, b, c, *, unit=False):
    for column in range(len(b[0])):
        for i in range(len(a)):
            for k in range(i):
                b[i][column] = c.minus(b[i][column], c.times(a[i][k], b[k][column]))
            if not unit:
                b[i][column] = c.over(b[i][column], a[i][i])
    return b


def upper_loop(a, b, c):
    flipped = [row[::-1] for row in a[::-1]]
    return lower_loop(flipped, b[::-1], c)[::-1]


def transposed(a):
    return [list(row) for row in zip(*a, strict=True)]


def solve_loop(a, b, c):
    factors = lu_loop(a, c)
    return upper_loop(factors, lower_loop(factors, b, c, unit=True), c)


def lu_of(x):
    return torch.linalg.lu_factor(x)[0]


LOOPS = [
    *[(lu_of, lu_loop, lambda m=m, n=n: (matrix(m, n),)) for m, n in ((1, 1), (2, 2), (5, 5), (6, 3), (3, 6), (4, 1))],
    *[(torch.linalg.cholesky, cholesky_loop, lambda n=n: (symmetric(n),)) for n in (1, 2, 3, 6)],
    *[(torch.linalg.solve, solve_loop, lambda n=n, k=k: (matrix(n, n), matrix(n, k))) for n, k in ((1, 1), (4, 3))],
    (
        lambda a, b: torch.linalg.solve_triangular(a, b, upper=False),
        lower_loop,
        lambda: (matrix(5, 5).tril(), matrix(5, 3)),
    ),
    (
        lambda a, b: torch.linalg.solve_triangular(a, b, upper=False, unitriangular=True),
        lambda a, b, c: lower_loop(a, b, c, unit=True),
        lambda: (matrix(5, 5).tril(), matrix(5, 3)),
    ),
    (
        lambda a, b: torch.cholesky_solve(b, a),
        lambda a, b, c: upper_loop(transposed(a), lower_loop(a, b, c), c),
        lambda: (matrix(4, 4).tril(), matrix(4, 3)),
    ),
]


@pytest.mark.parametrize(("function", "loop", "arguments"), LOOPS)
def test_direct_methods_cost_what_their_loops_do(function, loop, arguments):
    """A loop of scalars that counts itself gives what torch gives, and takes what is charged, in complex too."""
    tensors, counter = arguments(), Counter()
    torch.testing.assert_close(as_tensor(loop(*[each.tolist() for each in tensors], counter)), function(*tensors))
    assert cost_of(function, *tensors) == Cost(ops=counter.real)
    assert cost_of(function, *[each.cfloat() for each in tensors]) == Cost(ops=counter.complex)


@pytest.mark.parametrize(
    ("function", "arguments", "multiplications", "additions"),
    [
        # 100 x 100: 1/3 n³ of each to first order
        (lu_of, (matrix(100, 100),), 333_400, 328_350),
        (torch.linalg.cholesky, (symmetric(100),), 171_700, 166_650),
        (torch.linalg.cholesky, (symmetric(3),), 10, 4),
        # LU, and 2/3 n³ + 1/2 n² + 5/6 n, 2/3 n³ - 3/2 n² + 5/6 n
        (torch.linalg.inv, (matrix(6, 6),), 76 + 167, 55 + 95),
        (torch.cholesky_inverse, (matrix(6, 6).tril(),), 112, 55),
        (torch.cholesky_solve, (matrix(6, 2), matrix(6, 6).tril()), 84, 60),
        # 1/6 n³ + 1/2 n² + 10/3 n, 1/6 n³ - 1/6 n
        (torch.linalg.ldl_factor, (symmetric(6),), 36 + 18 + 20, 35),
        (torch.geqrf, (matrix(6, 4),), 122, 86),
        (torch.geqrf, (matrix(4, 6),), 130, 94),
        (torch.geqrf, (matrix(5, 5),), 140, 100),
        (torch.geqrf, (matrix(8, 7),), 385, 308),
        # k·(2mn + 2n - 5/3) - k²·(m + n + 1) + 2/3 k³, k·(2mn + n - m + 1/3) - k²·(m + n) + 2/3 k³
        (torch.linalg.householder_product, (matrix(6, 4), torch.rand(4).double()), 84, 68),
        (torch.linalg.householder_product, (matrix(6, 4), torch.rand(2).double()), 70, 58),
        (torch.linalg.qr, (matrix(6, 4),), 122 + 84, 86 + 68),
        (lambda x: torch.linalg.qr(x, mode="complete"), (matrix(6, 4),), 122 + 164, 86 + 140),
        (torch.linalg.qr, (matrix(4, 6),), 130 + 52, 94 + 44),
        (torch.ormqr, (matrix(6, 4), torch.rand(4).double(), matrix(6, 3)), 120, 108),
        (lambda *args: torch.ormqr(*args, left=False), (matrix(6, 4), torch.rand(4).double(), matrix(3, 6)), 126, 108),
        # The diagonal and the sign of the permutation.
        (torch.linalg.det, (matrix(5, 5),), 45 + 5, 30),
    ],
)
def test_direct_methods_cost_the_published_figures(function, arguments, multiplications, additions):
    """The polynomials of the working note, worked out by hand; a complex multiplication is 6 and an addition 2."""
    assert cost_of(function, *arguments) == Cost(ops=multiplications + additions)
    in_complex = [each.cfloat() for each in arguments]
    assert cost_of(function, *in_complex) == Cost(ops=6 * multiplications + 2 * additions)


def test_solving_with_factors_costs_two_triangles():
    """LU has one diagonal of ones, Cholesky and LDL are charged for both."""
    b = matrix(6, 2)
    factors, pivots = torch.linalg.lu_factor(matrix(6, 6))
    assert cost_of(torch.linalg.lu_solve, factors, pivots, b) == Cost(ops=12 * 6 + 12 * 5)
    factors, pivots = torch.linalg.ldl_factor(symmetric(6))
    assert cost_of(torch.linalg.ldl_solve, factors, pivots, b) == Cost(ops=12 * 7 + 12 * 5)


@pytest.mark.parametrize(("shape", "columns"), [((4,), 1), ((4, 3), 3)])
def test_a_vector_is_one_column(shape, columns):
    """A system is solved for each column of the right-hand side."""
    factored = 24 + 14  # LU of 4 x 4
    assert cost_of(torch.linalg.solve, matrix(4, 4), torch.rand(shape).double()) == Cost(ops=factored + columns * 28)


def test_a_system_from_the_right_costs_as_much():
    """X A = B solves for the rows of B."""
    a, b = matrix(4, 4), torch.rand(3, 4).double()
    expected = Cost(ops=24 + 14 + 3 * 28)
    assert cost_of(lambda: torch.linalg.solve(a, b, left=False)) == expected
    triangle = cost_of(lambda: torch.linalg.solve_triangular(a, b, upper=True, left=False))
    assert triangle == Cost(ops=3 * 16)


def test_the_older_triangular_solver_costs_the_same():
    """It has the matrix behind the right-hand side, in the operator alone."""
    a, b = matrix(4, 4).triu(), matrix(4, 3)
    assert priced(aten.triangular_solve.default, b, a)[0] == Cost(ops=3 * 16)
    assert priced(aten.triangular_solve.default, b, a, True, False, True)[0] == Cost(ops=3 * 12)


@pytest.mark.skipif(not hasattr(aten, "cholesky"), reason="PyTorch 2.14 has only the newer one")
def test_the_older_cholesky_costs_the_same():
    """Two names, one factorization, and its helper for solving."""
    assert priced(aten.cholesky.default, symmetric(3))[0] == Cost(ops=14)
    cost, _ = priced(aten._cholesky_solve_helper.default, matrix(6, 2), matrix(6, 6).tril(), False)
    assert cost == Cost(ops=144)


def test_one_lu_whichever_way_it_is_returned():
    """Unpacking the factors copies them."""
    x = matrix(6, 3)
    assert cost_of(torch.linalg.lu, x) == cost_of(torch.linalg.lu_factor, x)
    factors, pivots = torch.linalg.lu_factor(x)
    assert cost_of(torch.lu_unpack, factors, pivots) == Cost()


def test_log_determinant_takes_logarithms():
    """5 signs and 5 products, 5 sizes and 4 additions; 5 logarithms."""
    assert cost_of(torch.linalg.slogdet, matrix(5, 5)) == Cost(ops=45 + 30 + 19, transcendentals=5)
    # Signs take 6 and a root, products 6, sizes 3 and a root, the sum 4 additions, made 5 as rows count in pairs.
    in_complex = 6 * 45 + 2 * 30 + 5 * 6 + 5 * 6 + 5 * 3 + 5
    assert cost_of(torch.linalg.slogdet, matrix(5, 5).cfloat()) == Cost(ops=in_complex, transcendentals=15)
    assert cost_of(torch.linalg.slogdet, torch.empty(0, 0)) == Cost()


@pytest.mark.parametrize(
    ("function", "flops"),
    [(torch.linalg.eigvals, 5_400), (torch.linalg.eigvalsh, 1_944), (torch.linalg.svdvals, 4_752)],
)
@pytest.mark.parametrize("grad_mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_values_alone_cost_the_vectors_in_every_grad_mode(function, flops, grad_mode):
    """Under a mode, torch computes the vectors of a 6 x 6 matrix too: 25n³, 9n³, and 14n³ + 8n³."""
    with grad_mode():
        assert cost_of(function, symmetric(6)) == Cost(ops=flops)


def test_values_into_a_given_tensor_come_without_the_vectors():
    """The overload with ``out`` has a kernel of its own, which takes 10n³."""
    x, values = matrix(6, 6), torch.empty(6, dtype=torch.complex128)
    assert cost_of(lambda: torch.linalg.eigvals(x, out=values)) == Cost(ops=2_160)


def estimated(function, *arguments):
    """Count a function whose only arithmetic is an estimate; returns its cost and dtype."""
    with OpFlopMode(strict=True) as mode:
        function(*arguments)
    (row,) = [row for row in mode.profile.rows if row.cost.macs or row.cost.ops]
    assert row.estimate
    return Cost(row.cost.macs, row.cost.ops, row.cost.transcendentals), row.dtype


@pytest.mark.parametrize(
    ("function", "argument", "flops"),
    [
        (torch.linalg.eig, matrix(6, 6), 5_400),
        (aten._linalg_eigvals, matrix(6, 6), 2_160),
        (torch.linalg.eigh, symmetric(6), 1_944),
        (lambda x: aten._linalg_eigh(x, "L", False), symmetric(6), 288),
        (lambda x: aten._linalg_svd(x, False, False), matrix(6, 3), 180),
        (lambda x: aten._linalg_svd(x, False, False), matrix(3, 6), 180),
        (lambda x: torch.linalg.svd(x, full_matrices=False), matrix(6, 3), 972),
        (torch.linalg.svd, matrix(6, 3), 1_107),
        (torch.linalg.svd, matrix(2, 3, 6), 2 * 1_107),
    ],
)
def test_iterative_methods_are_estimates(function, argument, flops):
    """Golub and Van Loan's figures for 6 x 6 and 6 x 3, marked approximate, in the dtype of the matrix.

    The values alone are asked of the operators: under any mode, torch's functions for them compute the vectors too.
    """
    cost, dtype = estimated(function, argument)
    assert (cost, dtype) == (Cost(ops=flops), "float64")
    cost, dtype = estimated(function, argument.cfloat())
    assert (cost, dtype) == (Cost(ops=4 * flops), "complex64")


@pytest.mark.parametrize(
    ("function", "arguments", "macs", "ops"),
    [
        # The SVD of 6 x 3; 3 comparisons, 3 reciprocals, 3 x 3 scaled; 3 x 3 times 3 x 6
        (torch.linalg.pinv, (matrix(6, 3),), 54, 972 + 6 + 9),
        (torch.linalg.pinv, (matrix(2, 6, 3),), 108, 2 * 987),
        (lambda x: torch.linalg.pinv(x, hermitian=True), (symmetric(6),), 216, 1_944 + 12 + 36),
        # QR of 6 x 4 at 208, its transpose times 6 x 2 at 80 and 72, two triangles of 16
        (torch.linalg.lstsq, (matrix(6, 4), matrix(6, 2)), 0, 208 + 152 + 32),
        (torch.linalg.lstsq, (matrix(4, 6), matrix(4, 2)), 0, 208 + 152 + 32),
        (torch.linalg.lstsq, (matrix(3, 6, 4), matrix(3, 6, 2)), 0, 3 * 392),
        (torch.linalg.lstsq, (matrix(3, 6, 4), torch.rand(3, 6).double()), 0, 3 * (208 + 76 + 16)),
        (torch.linalg.matrix_exp, (matrix(4, 4),), 5 * 64, 0),
    ],
)
def test_what_depends_on_values_is_an_estimate(function, arguments, macs, ops):
    """Rank, norm and convergence decide, and no price can know them."""
    cost, _ = estimated(function, *arguments)
    assert cost == Cost(macs=macs, ops=ops)


def newer_than_2_13(name):
    return pytest.mark.skipif(not hasattr(torch.linalg, name), reason="this PyTorch has no such operator")


@newer_than_2_13("polar")
@pytest.mark.parametrize(
    ("shape", "macs", "ops"),
    [
        # The SVD of 6 x 3; 6 x 3 by 3 x 3 and 3 x 3 by 3 x 3; nine numbers scaled, added to others and halved
        ((6, 3), 54 + 27, 972 + 27),
        ((2, 6, 3), 2 * 81, 2 * 999),
        ((3, 3), 27 + 27, 594 + 27),
        ((0, 6, 3), 0, 0),
    ],
)
def test_polar_is_an_svd_and_two_products(shape, macs, ops):
    """With the mean of a product and its adjoint; in the dtype of the matrix, and the same where results are given."""
    cost, dtype = estimated(torch.linalg.polar, matrix(*shape)) if 0 not in shape else (Cost(), "float64")
    assert (cost, dtype) == (Cost(macs=macs, ops=ops), "float64")
    assert cost_of(torch.linalg.polar, matrix(*shape)) == cost
    given = torch.empty(shape).double(), torch.empty(*shape[:-2], 3, 3).double()
    assert cost_of(lambda x: torch.linalg.polar(x, out=given), matrix(*shape)) == cost


@newer_than_2_13("polar")
def test_complex_polar_counts_real_operations():
    """Four times the products and the SVD; scaling nine numbers by complex ones takes 6 each, halving too, adding 2."""
    cost, dtype = estimated(torch.linalg.polar, matrix(6, 3).cfloat())
    assert (cost, dtype) == (Cost(macs=4 * 81, ops=4 * 972 + 9 * 14), "complex64")


@newer_than_2_13("matrix_sqrth")
def test_the_root_of_a_matrix_is_of_its_eigenvalues():
    """Eigenvectors of 6 x 6; six comparisons and roots; 36 numbers scaled, added and halved; a product."""
    cost, dtype = estimated(torch.linalg.matrix_sqrth, symmetric(6))
    assert (cost, dtype) == (Cost(macs=216, ops=1_944 + 6 + 108, transcendentals=6), "float64")
    assert cost_of(torch.linalg.matrix_sqrth, symmetric(6).expand(2, 6, 6).clone()) == 2 * cost
    cost, dtype = estimated(torch.linalg.matrix_sqrth, symmetric(6).cdouble())
    assert (cost, dtype) == (Cost(macs=864, ops=4 * 1_944 + 6 + 36 * 14, transcendentals=6), "complex128")


@newer_than_2_13("polar")
@pytest.mark.parametrize("name", ["polar", "matrix_sqrth"])
def test_a_newer_factorization_costs_what_its_parts_do(name):
    """The kernels' own steps, run one by one, have the cost of the operator."""

    def polar(x):
        left, values, right = torch.linalg.svd(x, full_matrices=False)
        product = right.mH * values.unsqueeze(-2) @ right
        return left @ right, (product + product.mH) * 0.5

    def matrix_sqrth(x):
        values, vectors = torch.linalg.eigh(x)
        product = vectors * values.clamp_min(0).sqrt().unsqueeze(-2) @ vectors.mH
        return (product + product.mH) * 0.5

    parts = {"polar": polar, "matrix_sqrth": matrix_sqrth}[name]
    assert cost_of(getattr(torch.linalg, name), symmetric(7)) == cost_of(parts, symmetric(7))


def test_a_linear_combination_of_tensors_is_a_product():
    """Two combinations of three tensors of 4 x 4 take 6 multiply-accumulates for each of 16 numbers."""
    tensors, coefficients = torch.rand(3, 4, 4), torch.rand(2, 3)
    cost, out = priced(aten._compute_linear_combination.default, tensors, coefficients)
    torch.testing.assert_close(out, torch.einsum("ij,jkl->ikl", coefficients, tensors))
    assert cost == Cost(macs=96)


def test_a_cross_product_takes_three_operations_a_number():
    """Two products and a difference; in complex numbers 6, 6 and 2."""
    x = torch.rand(5, 3)
    assert cost_of(torch.linalg.cross, x, x) == Cost(ops=45)
    assert cost_of(torch.linalg.cross, x.cfloat(), x.cfloat()) == Cost(ops=15 * 14)


@pytest.mark.parametrize(
    ("order", "each", "functions"), [(0, 1, 0), (1, 1, 0), (2, 1, 0), (2.0, 1, 0), (3, 1, 1), (0.5, 1, 1)]
)
def test_a_sum_of_powers_takes_no_root(order, each, functions):
    """Two rows of five: one operation for each number, a power where it is not a square, four additions a row."""
    x = torch.rand(2, 5) + 0.5
    cost, out = priced(aten.linalg__powsum.default, x, order, [1])
    torch.testing.assert_close(out, (x.abs() ** order).sum(1))
    assert cost == Cost(ops=10 * each + 8, transcendentals=10 * functions)


@pytest.mark.parametrize(("order", "each", "functions"), [(1, 3, 1), (2, 3, 0), (3, 3, 2)])
def test_a_sum_of_complex_powers_needs_sizes(order, each, functions):
    """The size of a complex number takes two squares, an addition and a root; its square does without the root."""
    cost, _ = priced(aten.linalg__powsum.default, torch.rand(2, 5).cfloat(), order, [1])
    assert cost == Cost(ops=10 * each + 8, transcendentals=10 * functions)


@pytest.mark.parametrize(("shape", "ops"), [((4, 4), 3), ((4, 6), 3), ((6, 2), 1), ((1, 1), 0), ((0, 3), 0)])
def test_a_trace_adds_the_diagonal(shape, ops):
    """One addition less than the diagonal is long."""
    assert cost_of(torch.trace, torch.rand(shape)) == Cost(ops=ops)


BATCHED = [
    torch.linalg.cholesky,
    torch.linalg.inv,
    torch.linalg.det,
    torch.linalg.slogdet,
    torch.linalg.qr,
    torch.linalg.eig,
    torch.linalg.eigh,
    torch.linalg.svd,
    torch.linalg.pinv,
    torch.linalg.matrix_exp,
    torch.geqrf,
    lu_of,
    lambda x: torch.linalg.solve(x, x),
]


@pytest.mark.parametrize("function", BATCHED)
def test_each_matrix_of_a_batch_costs_the_same(function):
    """Six matrices cost six times one, and none cost nothing."""
    x = symmetric(4)
    assert cost_of(function, x.expand(2, 3, 4, 4).clone()) == 6 * cost_of(function, x)
    assert cost_of(function, torch.empty(0, 4, 4)) == Cost()


def test_reflections_of_a_batch_cost_the_same_each():
    """Reflections are multiplied out, and multiplied by, matrix by matrix."""
    x, tau, other = matrix(5, 6, 4), torch.rand(5, 4).double(), matrix(5, 6, 3)
    assert cost_of(torch.linalg.householder_product, x, tau) == Cost(ops=5 * (84 + 68))
    assert cost_of(torch.ormqr, x, tau, other) == Cost(ops=5 * (120 + 108))


@pytest.mark.parametrize("function", [each for each in BATCHED if each is not torch.geqrf])
def test_meta_tensors_cost_what_real_ones_do(function):
    """Sizes alone decide."""
    x = symmetric(4)
    assert cost_of(function, x.to("meta")) == cost_of(function, x)


@pytest.mark.parametrize(
    ("overload", "shape"),
    [(aten.linalg_lu_factor_ex.default, (3, 6)), (aten.geqrf.default, (3, 6)), (aten._linalg_svd.default, (3, 6))],
)
def test_symbolic_sizes_are_not_compared(overload, shape):
    """Which side is longer stays open, and put back in, both ways give the number of the sizes that they are."""
    mode = FakeTensorMode(shape_env=ShapeEnv())
    context = StatelessSymbolicContext([DimDynamic.DYNAMIC] * 2)
    x = mode.from_tensor(torch.empty(shape), symbolic_context=context)
    m, n = (size.node.expr for size in x.shape)
    cost = registry.resolve(overload, {}).charge((x, x, x), (x,), {})[0].ops.node.expr
    for rows, columns in (shape, shape[::-1]):
        assert cost.subs({m: rows, n: columns}) == cost_of(overload, torch.rand(rows, columns)).ops
