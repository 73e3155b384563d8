"""Sparse tensors: against loops over the elements that they store, and the dense operators on tensors without zeros."""

import pytest
import torch
from counted import cost_of

from opflops import Cost, OpFlopMode
from opflops.pricing.registry import registry

aten = torch.ops.aten

pytestmark = pytest.mark.filterwarnings("ignore:Sparse (CSR|CSC|BSR) tensor support is in beta:UserWarning")

# Rows hold one, none, two and three elements, each in another column pattern.
PATTERN = torch.tensor([[0, 1, 0, 0, 0], [0, 0, 0, 0, 0], [1, 0, 0, 1, 0], [1, 1, 0, 0, 1]])
COO, CSR, CSC, BSR = "coo", "csr", "csc", "bsr"
LAYOUTS = [COO, CSR, CSC]


def sparse(layout=COO, pattern=PATTERN):
    """Fill a pattern with numbers, none of which is 0."""
    dense = pattern * (torch.rand(pattern.shape, dtype=torch.float64) + 0.5)
    ways = {COO: dense.to_sparse, CSR: dense.to_sparse_csr, CSC: dense.to_sparse_csc}
    return ways[layout]() if layout in ways else dense.to_sparse_bsr((2, 2))


def number(*shape):
    return torch.rand(shape, dtype=torch.float64) + 0.5


def pairs(left, right):
    """Count the products of two numbers, neither of them a zero that is not stored."""
    return sum(
        bool(left[i, k] != 0 and right[k, j] != 0)
        for i in range(left.shape[0])
        for j in range(right.shape[1])
        for k in range(left.shape[1])
    )


def charged(overload, out, *args, **kwargs):
    """Price a call of an operator that has no kernel here."""
    return registry.resolve(overload, {"causal": "dense"}).charge(out, args, kwargs)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_sparse_times_dense(layout):
    """Each of six stored elements meets the three elements of a row: 18, and 42 fewer than the dense product."""
    left, right = sparse(layout), number(5, 3)
    assert pairs(left.to_dense(), right) == 18
    assert cost_of(torch.mm, left, right) == Cost(macs=18)
    assert cost_of(torch.mm, left.to_dense(), right) == Cost(macs=60)
    assert cost_of(torch.mv, left, right[:, 0]) == Cost(macs=6)


def test_blocks_are_stored_whole():
    """A block costs all its elements, zeros or not: three blocks of two by two, five non-zeros among them."""
    left, right = sparse(BSR, PATTERN[:, :4]), number(4, 3)
    assert (left.values().numel(), left.to_dense().count_nonzero()) == (12, 5)
    assert cost_of(torch.mm, left, right) == Cost(macs=36)


def test_dense_times_sparse():
    """Each stored element of the right meets a column of the left."""
    left, right = number(3, 4), sparse()
    assert cost_of(torch.mm, left, right) == Cost(macs=pairs(left, right.to_dense())) == Cost(macs=18)


@pytest.mark.parametrize("layouts", [(COO, COO), (CSR, CSR), (CSR, CSC)])
def test_sparse_times_sparse(layouts):
    """Only stored elements that meet are multiplied."""
    left, right = sparse(layouts[0]), sparse(layouts[1], PATTERN.t().contiguous())
    expected = pairs(left.to_dense(), right.to_dense())
    assert 0 < expected < 24
    assert cost_of(torch.mm, left, right) == Cost(macs=expected)
    if layouts == (COO, COO):
        assert cost_of(aten._sparse_sparse_matmul, left, right) == Cost(macs=expected)


def test_batched_product():
    """A sparse batch costs what its matrices cost one by one."""
    left, right = torch.stack([sparse().to_dense()] * 2).to_sparse(), number(2, 5, 3)
    assert cost_of(torch.bmm, left, right) == Cost(macs=2 * 18)


@pytest.mark.parametrize("function", [torch.addmm, torch.sparse.addmm])
@pytest.mark.parametrize(("beta", "alpha", "ops"), [(1, 1, 12), (2, 3, 36), (0, 1, 0)])
def test_adding_to_a_sparse_product(function, beta, alpha, ops):
    """The sum is over every element of the dense result."""
    self, left, right = number(4, 3), sparse(), number(5, 3)
    torch.testing.assert_close(
        function(self, left, right, beta=beta, alpha=alpha), beta * self + alpha * (left.to_dense() @ right)
    )
    cost = cost_of(lambda: function(self, left, right, beta=beta, alpha=alpha))
    assert cost == Cost(macs=18, ops=ops)


def test_adding_to_a_sparse_product_with_a_vector():
    """A matrix of six stored elements times a vector, scaled and added to four numbers."""
    self, matrix, vector = number(4), sparse(CSR), number(5)
    cost = cost_of(lambda: torch.addmv(self, matrix, vector, beta=2))
    assert cost == Cost(macs=6, ops=8)


def test_hybrid_result():
    """The product that keeps only rows with elements costs what the product costs."""
    assert cost_of(torch.hspmm, sparse(), number(5, 3)) == Cost(macs=18)


def test_sampled_product():
    """Only where ``self`` stores an element is a product of depth two made, scaled, and added."""
    self, left, right = sparse(CSR), number(4, 2), number(2, 5)
    assert cost_of(torch.sparse.sampled_addmm, self, left, right) == Cost(macs=12, ops=6)
    cost = cost_of(lambda: torch.sparse.sampled_addmm(self, left, right, beta=2, alpha=3))
    assert cost == Cost(macs=12, ops=18)


@pytest.mark.parametrize(
    ("reduce", "cost"),
    [
        ("sum", Cost(macs=18)),
        ("mean", Cost(macs=18, ops=12)),
        # 18 products, and comparisons in rows of one, two and three elements: 0 + 1 + 2, for three columns.
        ("amax", Cost(ops=18 + 9)),
        ("amin", Cost(ops=18 + 9)),
    ],
)
def test_reduced_product(reduce, cost):
    """Products that are averaged take a division each; compared ones are no multiply-accumulates."""
    left, right = sparse(CSR), number(5, 3)
    out = torch.sparse.mm(left, right, reduce)
    if reduce == "sum":
        torch.testing.assert_close(out, left.to_dense() @ right)
    assert cost_of(torch.sparse.mm, left, right, reduce) == cost


def test_duplicates_are_added():
    """Five elements at three places: two additions to coalesce them, five to add them into a dense tensor."""
    tensor = torch.sparse_coo_tensor([[0, 0, 1, 0, 2]], torch.ones(5), (4,), check_invariants=True)
    assert cost_of(lambda: torch.clone(tensor).coalesce()) == Cost(ops=2)
    assert cost_of(tensor.to_dense) == Cost(ops=5)
    assert cost_of(tensor.coalesce().to_dense) == Cost()
    assert cost_of(sparse(CSR).to_dense) == Cost()


@pytest.mark.parametrize(
    ("function", "layout", "ops"),
    [
        # Six elements, in three rows and four columns.
        (lambda x: torch.sparse.sum(x, 1), COO, 3),
        (lambda x: torch.sparse.sum(x, 0), COO, 2),
        (torch.sparse.sum, COO, 5),
        (lambda x: aten._sparse_csr_sum.dim_dtype(x, [1], True), CSR, 3),
        (lambda x: aten._sparse_csr_prod.dim_dtype(x, [1], True), CSR, 3),
    ],
)
def test_folds(function, layout, ops):
    """A sum takes one addition fewer than there are elements in each row, or column, that stores any."""
    assert cost_of(function, sparse(layout)) == Cost(ops=ops)


def test_softmax_over_what_is_stored():
    """Rows of one, two and three elements: 3 comparisons, 6 differences, 6 exponentials, 3 additions, 6 divisions."""
    x = sparse()
    rows = [row[row != 0] for row in x.to_dense()]
    out = torch.sparse.softmax(x, 1)
    torch.testing.assert_close(out.values(), torch.cat([row.softmax(0) for row in rows]))
    dense = sum((cost_of(row.softmax, 0) for row in rows if row.numel()), Cost())
    assert cost_of(torch.sparse.softmax, x, 1) == dense == Cost(ops=18, transcendentals=6)
    dense = sum((cost_of(row.log_softmax, 0) for row in rows if row.numel()), Cost())
    assert cost_of(torch.sparse.log_softmax, x, 1) == dense == Cost(ops=12 + 6, transcendentals=6 + 3)


def test_softmax_along_other_axes():
    """Columns are pools as rows are; along a dense axis every stored place is a row of its own."""
    # Six elements in four columns.
    assert cost_of(torch.sparse.softmax, sparse(), 0) == Cost(ops=2 * 2 + 12, transcendentals=6)
    hybrid = torch.sparse_coo_tensor([[0, 2, 3]], number(3, 4), (5, 4), check_invariants=True).coalesce()
    # Three places of four: along the places four pools of three, along the numbers three pools of four.
    assert cost_of(torch.sparse.softmax, hybrid, 0) == Cost(ops=2 * 8 + 24, transcendentals=12)
    assert cost_of(torch.sparse.softmax, hybrid, 1) == Cost(ops=2 * 9 + 24, transcendentals=12)


def test_gradients_of_softmax():
    """Gradients cost what the dense ones cost on each row's elements."""
    x, y = sparse(), torch.sparse.softmax(sparse(), 1)
    backward, log_backward = aten._sparse_softmax_backward_data, aten._sparse_log_softmax_backward_data
    # Two products and a difference for each, and 3 additions within rows.
    assert cost_of(lambda: backward(y, y, 1, x)) == Cost(ops=18 + 3)
    assert cost_of(lambda: log_backward(y, y, 1, x)) == Cost(ops=12 + 3, transcendentals=6)


def test_training_through_a_sparse_product():
    """The gradients of a product are priced: of the sparse factor where it stores elements, from a dense product."""
    left, right = sparse().requires_grad_(), number(5, 3).requires_grad_()
    with OpFlopMode(strict=True) as mode:
        torch.sparse.mm(left, right).sum().backward()
    assert mode.profile.by("op")["aten._sparse_addmm"].macs == 18
    # grad (4, 3) times right.T (3, 5), and left.T times grad.
    assert mode.profile.by("op")["aten.mm"].macs == 60 + 18


def test_sparse_gradients_of_an_embedding():
    """Looked-up rows are kept apart; an optimizer adds up those of one entry: three numbers here."""
    layer = torch.nn.Embedding(6, 3, sparse=True)
    optimizer = torch.optim.SparseAdam(layer.parameters())
    with OpFlopMode(strict=True) as mode:
        layer(torch.tensor([1, 1, 2])).sum().backward()
        optimizer.step()
    assert mode.profile.by("op")["aten._coalesce"].ops == 3


@pytest.mark.parametrize("name", ["indices", "values", "_indices", "_values"])
def test_parts_are_views(name):
    """Asking for the parts of a sparse tensor moves nothing, and questions about it leave no row."""
    x = sparse()
    with OpFlopMode(strict=True) as mode:
        getattr(x, name)()
        assert (x.sparse_dim(), x.dense_dim(), x._nnz(), x.is_coalesced()) == (2, 0, 6, True)
    assert sum(row.cost.bytes for row in mode.profile.rows) == 0
    assert {row.op for row in mode.profile.rows} <= {f"aten.{name}", "aten.detach"}


# A weight (16, 32) with two of each four elements left is (16, 16).
HALF = torch.float16


def test_half_of_a_linear_layer():
    """A 2:4 weight takes half the multiply-accumulates; bias and activation are as ever."""
    x, weight, out = (torch.empty(shape, dtype=HALF) for shape in [(2, 3, 32), (16, 16), (2, 3, 16)])
    assert cost_of(torch.nn.functional.linear, x, torch.empty(16, 32, dtype=HALF)).macs == 2 * 1536
    overload, meta = aten._sparse_semi_structured_linear.default, torch.empty(16, 2, dtype=torch.int16)
    cases = [
        ({}, 0, 0),
        ({"bias": torch.empty(16)}, 1, 0),
        ({"activation": "relu"}, 1, 0),
        ({"activation": "silu"}, 4, 1),
    ]
    for options, ops, transcendentals in cases:
        cost, dtype, _ = charged(overload, out, x, weight, meta, **options)
        assert (cost.macs, cost.ops, cost.transcendentals) == (1536, 96 * ops, 96 * transcendentals)
        assert dtype is HALF


def test_half_of_a_product():
    """A 2:4 matrix takes half the multiply-accumulates of (16, 32) @ (32, 8), in the dtype of its operands."""
    left, meta, right = torch.empty(16, 16, dtype=torch.int8), torch.empty(16, 2), torch.empty(32, 8, dtype=torch.int8)
    out = torch.empty(16, 8, dtype=torch.int32)
    cost, dtype, _ = charged(aten._sparse_semi_structured_mm.default, out, left, meta, right)
    assert (cost.macs, cost.ops, cost.transcendentals, dtype) == (2048, 0, 0, torch.int8)
    overload, self = aten._sparse_semi_structured_addmm.default, torch.empty(8)
    cost, dtype, _ = charged(overload, out, self, left, meta, right)
    assert (cost.macs, cost.ops, cost.transcendentals, dtype) == (2048, 128, 0, torch.int8)
    cost, _, _ = charged(overload, out, self, left, meta, right, alpha=2, beta=3)
    assert cost.ops == 3 * 128
    compressed = torch.empty(16 * 32 * 9 // 16, dtype=HALF)
    out, right = out.to(HALF), right.to(HALF)
    cost, dtype, _ = charged(aten._cslt_sparse_mm.default, out, compressed, right)
    assert (cost.macs, cost.ops, cost.transcendentals, dtype) == (2048, 0, 0, HALF)
    cost, _, _ = charged(aten._cslt_sparse_mm.default, out, compressed, right, torch.empty(16), torch.empty(16))
    assert cost.ops == 2 * 128


def test_search_for_the_fastest_product():
    """It counts as one product, of rows that the compressed matrix tells, and says that it is more than that."""
    search, right = aten._cslt_sparse_mm_search.default, torch.empty(32, 8, dtype=HALF)
    flat, rows = torch.empty(16 * 32 * 9 // 16, dtype=HALF), torch.empty(16, 32 * 9 // 16, dtype=HALF)
    for compressed in (flat, rows):
        cost, dtype, reason = charged(search, 0, compressed, right)
        assert (cost.macs, cost.ops, cost.transcendentals, dtype) == (2048, 0, 0, HALF)
        assert "algorithm" in reason
    cost, _, _ = charged(search, 0, flat, right, torch.empty(16), torch.empty(16))
    assert cost.ops == 2 * 128
    integers = torch.empty(16 * 32 * 10 // 16, dtype=torch.int8)
    cost, dtype, _ = charged(search, 0, integers, right.to(torch.int8))
    assert (cost.macs, dtype) == (2048, torch.int8)


@pytest.mark.parametrize(
    ("algorithm", "ops"),
    # 16 numbers are sorted in 64 comparisons; 16 sizes.
    [("", 64), ("largest_values_greedy", 64), ("largest_abs_values_greedy", 64 + 16), ("causal1122", 0)],
)
def test_choosing_what_is_left(algorithm, ops):
    """Each of eight tiles of four by four is sorted, by size if asked for, unless the places are fixed."""
    x = torch.empty(8, 16, dtype=HALF)
    cost, dtype, _ = charged(aten._sparse_semi_structured_tile.default, (x,) * 5, x, algorithm)
    assert (cost.macs, cost.ops, cost.transcendentals, dtype) == (0, 8 * ops, 0, HALF)


def test_projection_onto_a_mask():
    """What lies where a mask stores elements is moved; where that stores them twice, the second match is added."""
    x = torch.sparse_coo_tensor([[0, 0, 1, 3], [1, 1, 2, 0]], number(4, 3), (4, 5, 3), check_invariants=True)
    places = [[0, 0, 0, 1, 2], [1, 1, 1, 2, 0]]
    mask = torch.sparse_coo_tensor(places, number(5, 3), (4, 5, 3), check_invariants=True)
    assert cost_of(aten._sparse_mask_projection, x, mask.coalesce(), True) == Cost()
    assert cost_of(aten._sparse_mask_projection, x, mask) == Cost()
    # Two elements meet three each: two additions for each of their three numbers.
    cost, _, _ = charged(aten._sparse_mask_projection.default, x, x, mask, True)
    assert (cost.macs, cost.ops, cost.transcendentals) == (0, 2 * 2 * 3, 0)


def backward_by_hand(left, right, grad, reduce):
    """Walk over what a matrix stores; returns products that are summed, and operations, for one of both gradients."""
    macs = ops = 0
    for row, above in zip(left, grad, strict=True):
        filled = [k for k, value in enumerate(row) if value != 0]
        if reduce in ("sum", "mean"):
            macs += len(filled) * len(above)
            ops += len(filled) if reduce == "mean" else 0
        elif filled:
            ops += 2 * len(above)
    return macs, ops


@pytest.mark.parametrize("wanted", [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize("reduce", ["sum", "mean", "amax", "amin"])
def test_gradients_of_a_reduced_product(reduce, wanted):
    """As many products as the forward for each gradient; of compared ones only those that won, and their additions."""
    left, right = sparse(CSR).requires_grad_(wanted[0]), number(5, 3).requires_grad_(wanted[1])
    grad = number(4, 3)
    macs, ops = backward_by_hand(left.detach().to_dense().tolist(), right.tolist(), grad.tolist(), reduce)
    assert (macs, ops) == {"sum": (18, 0), "mean": (18, 6), "amax": (0, 18), "amin": (0, 18)}[reduce]
    out = torch.sparse.mm(left, right, reduce)
    with OpFlopMode(strict=True) as mode:
        out.backward(grad)
    cost = mode.profile.by("op")["aten._sparse_mm_reduce_impl_backward"]
    assert (cost.macs, cost.ops, cost.transcendentals) == (macs * sum(wanted), ops * sum(wanted), 0)


@pytest.mark.parametrize(("beta", "alpha", "ops"), [(1, 1, 0), (2, 1, 6), (1, 3, 6), (2, 3, 12), (0, 1, 0)])
def test_sparse_sum_of_a_product(beta, alpha, ops):
    """Sums of products and scaled elements are stored side by side: nothing is added before they are coalesced."""
    self, left, right = sparse(), sparse(pattern=PATTERN), number(5, 5)
    args = (self, left, right)
    out = torch.sspaddmm(*args, beta=beta, alpha=alpha)
    torch.testing.assert_close(out.to_dense(), beta * self.to_dense() + alpha * (left.to_dense() @ right))
    # Three rows have sums, of five numbers each.
    assert out._nnz() == 6 + 3 * 5
    assert cost_of(lambda: torch.sspaddmm(*args, beta=beta, alpha=alpha)) == Cost(macs=30, ops=ops)


def test_diagonals_are_movement():
    """Dense diagonals are laid out as a sparse matrix."""
    diagonals, offsets = number(2, 3), torch.tensor([0, 1])
    assert cost_of(aten._spdiags, diagonals, offsets, [3, 3]) == Cost()


def test_sparse_solver():
    """Two triangular substitutions, element by element, for each right-hand side; it says what is not counted."""
    matrix = torch.tensor([[2.0, 0, 1], [0, 3, 0], [1, 0, 4]])
    steps = 0
    for i, row in enumerate(matrix.tolist()):
        for j, value in enumerate(row):
            if value:
                steps += 1 if i == j else 2
    args = matrix.to_sparse_csr(), torch.ones(3)
    cost, dtype, reason = charged(aten._spsolve.default, args[1], *args)
    assert (cost.macs, cost.ops, cost.transcendentals, dtype) == (0, steps, 0, torch.float32)
    assert "factorization" in reason
    sides = torch.ones(3, 2)
    assert charged(aten._spsolve.default, sides, args[0], sides)[0].ops == 2 * steps
