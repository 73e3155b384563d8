"""Distances and norms: against loops over single numbers, the references, and the laws that join them."""

import math
from itertools import chain

import pytest
import torch
from counted import cost_of
from oracle import Work, aten, by_hand, excess, priced, total

from opflops import Cost, OpFlopMode
from opflops.pricing.registry import registry

ORDERS = [0.0, 1.0, 2.0, math.inf, 3.0, 1.5, 0.5]
orders = pytest.mark.parametrize("p", ORDERS)
x, y = torch.randn(3, 4, dtype=torch.float64), torch.randn(5, 4, dtype=torch.float64)
NO_PRODUCT = 2


def _norm(row, p):
    """Fold a row of numbers, written out order by order."""
    if p == 0:
        return total([number.is_not(0.0) for number in row])
    if p == 2:
        return total([number * number for number in row]).root()
    sizes = [abs(number) for number in row]
    if p == math.inf:
        largest = sizes[0]
        for size in sizes[1:]:
            largest = largest.larger(size)
        return largest
    if p == 1:
        return total(sizes)
    return total([size.power(p) for size in sizes]).power(1 / p)


def _distance(a, b, p):
    return _norm([one - other for one, other in zip(a, b, strict=True)], p)


def _cost(work):
    return Cost(ops=work.ops, transcendentals=work.transcendentals)


def _check(function, definition, *tensors):
    work, expected = by_hand(definition, *tensors)
    torch.testing.assert_close(function(*tensors).double(), expected, rtol=1e-4, atol=1e-5)
    assert cost_of(function, *tensors) == _cost(work)


@orders
def test_distances_of_rows_cost_what_their_loop_does(p):
    """A difference of each pair of elements, and the norm of each pair of rows."""
    _check(
        lambda a, b: torch.cdist(a, b, p, compute_mode="donot_use_mm_for_euclid_dist"),
        lambda rows, others: [[_distance(row, other, p) for other in others] for row in rows],
        x,
        y,
    )


@orders
def test_distances_within_a_matrix_cost_what_their_loop_does(p):
    """Each of ten pairs once."""
    _check(
        lambda a: torch.nn.functional.pdist(a, p),
        lambda rows: [_distance(rows[i], rows[j], p) for i in range(5) for j in range(i + 1, 5)],
        y,
    )


@orders
def test_the_distance_of_two_tensors_costs_what_its_loop_does(p):
    """One norm over all elements."""
    _check(
        lambda a, b: torch.dist(a, b, p),
        lambda rows, others: _distance([*chain(*rows)], [*chain(*others)], p),
        x,
        x.flip(0).clone(),
    )


def _sign(number):
    return number._operation(math.copysign(1.0, number.value) if number.value else 0.0)


def _gradient_of_distance(a, b, gradient, distance, p):
    """List what each element of a pair gives, as the kernels write it for each order."""
    if p not in (0, 1, math.inf):
        assert not distance.is_below(0)
    power = distance.power(p - 1) if p not in (0, 1, 2, math.inf) else None
    given = []
    for one, other in zip(a, b, strict=True):
        if p == 0:
            given.append(one.__class__(0.0, one.counts))
            continue
        difference = one - other
        if p == 1:
            given.append(gradient * _sign(difference))
        elif p == math.inf:
            at_the_largest = abs(difference)._operation(float(abs(difference.value) == distance.value))
            given.append(gradient * _sign(difference) * at_the_largest)
        elif p == 2:
            given.append(gradient * difference / distance)
        elif p > 2:
            given.append(difference * abs(difference).power(p - 2) * gradient / power)
        else:
            if p < 1:
                difference.is_not(0.0)
            given.append(_sign(difference) * abs(difference).power(p - 1) * gradient / power)
    return given


def _summed(terms, p):
    """Add up rows of terms, element by element; the order 0 has nothing to add."""
    if p == 0:
        return terms[0]
    return [total(list(column)) for column in zip(*terms, strict=True)]


@orders
def test_gradients_of_distances_cost_what_their_loop_does(p):
    """What each row gets from its pairs is added up; the distances are given."""
    gradient = torch.randn(3, 5, dtype=torch.float64)
    distances = torch.cdist(x, y, p, compute_mode="donot_use_mm_for_euclid_dist")

    def definition(rows, others, gradients, given):
        return [
            _summed([_gradient_of_distance(a, b, g, d, p) for b, g, d in zip(others, gs, ds, strict=True)], p)
            for a, gs, ds in zip(rows, gradients, given, strict=True)
        ]

    work, expected = by_hand(definition, x.double(), y.double(), gradient, distances.double())
    result = aten._cdist_backward(gradient, x, y, p, distances)
    torch.testing.assert_close(result.double(), expected, rtol=1e-3, atol=1e-4)
    assert cost_of(aten._cdist_backward, gradient, x, y, p, distances) == _cost(work)


@orders
def test_gradients_within_a_matrix_cost_what_their_loop_does(p):
    """A pair gives to both of its rows; each row adds up four gifts of four elements."""
    gradient, distances = torch.randn(10, dtype=torch.float64), torch.nn.functional.pdist(y, p)
    pairs = [(i, j) for i in range(5) for j in range(i + 1, 5)]

    def definition(rows, gradients, given):
        got = {row: [] for row in range(5)}
        for (i, j), g, d in zip(pairs, gradients, given, strict=True):
            gifts = _gradient_of_distance(rows[i], rows[j], g, d, p)
            got[i].append(gifts)
            got[j].append([gift.__class__(-gift.value, gift.counts) for gift in gifts])  # taken away, not negated
        return [_summed(got[row], p) for row in range(5)]

    work, expected = by_hand(definition, y, gradient, distances)
    result = aten._pdist_backward(gradient, y, p, distances)
    torch.testing.assert_close(result.double(), expected, rtol=1e-3, atol=1e-4)
    assert cost_of(aten._pdist_backward, gradient, y, p, distances) == _cost(work)


@pytest.mark.parametrize(
    ("rows", "columns", "mode", "p", "by_product"),
    [
        (26, 3, None, 2.0, True),
        (3, 26, None, 2.0, True),
        (25, 25, None, 2.0, False),
        (25, 25, 0, 2.0, False),
        (26, 3, 0, 2.0, True),
        (3, 3, 1, 2.0, True),
        (26, 26, 2, 2.0, False),
        (26, 26, None, 1.0, False),
        (26, 26, 1, 3.0, False),
    ],
)
def test_when_euclidean_distances_are_a_product(rows, columns, mode, p, by_product):
    """With more than 25 rows on either side, unless the mode forbids it, or where it wants it; the order 2 alone."""
    a, b = torch.randn(2, rows, 4), torch.randn(2, columns, 4)
    macs = cost_of(aten._cdist_forward, a, b, p, mode).macs
    assert macs == (2 * rows * columns * 6 if by_product else 0)


def test_distances_by_a_product_by_hand():
    """Rows of 4 become rows of 6: 30 x 28 x 6 products.

    120 and 112 squares; 120 times -2; sums of 3 steps for 30 and 28 rows; 840 clamps and roots.
    """
    a, b = torch.randn(30, 4), torch.randn(28, 4)
    expected = Cost(macs=5040, ops=120 + 90 + 84 + 840, transcendentals=120 + 112 + 840)
    assert cost_of(torch.cdist, a, b) == expected
    assert cost_of(aten._euclidean_dist, a, b) == expected
    assert cost_of(aten._cdist_forward, a, b, 2.0, None) == expected


def test_a_product_is_spread_over_the_batch_first():
    """One matrix against three: the 30 rows are squared three times, as the kernel copies them."""
    a, b = torch.randn(1, 30, 4), torch.randn(3, 28, 4)
    one = cost_of(torch.cdist, a[0], b[0])
    assert cost_of(torch.cdist, a, b) == 3 * one
    assert cost_of(aten._cdist_forward, a, b, 2.0, None) == 3 * one


def test_a_distance_by_a_product_costs_what_its_decomposition_does():
    """PyTorch's own decomposition, counted operator by operator."""
    a, b = torch.randn(30, 4), torch.randn(28, 4)
    decomposition = torch._decomp.decomposition_table[aten._euclidean_dist.default]
    assert cost_of(aten._euclidean_dist, a, b) == cost_of(decomposition, a, b)


@orders
def test_a_distance_is_a_difference_and_a_norm(p):
    """The same work in two operators, of real and of complex numbers, broadcast or not."""
    for one, other in [(x, x + 1), (x, torch.randn(1, 4)), (torch.randn(2, 3, dtype=torch.cfloat), torch.randn(2, 3))]:
        assert cost_of(torch.dist, one, other, p) == cost_of(
            lambda a, b: torch.linalg.vector_norm(a - b, p), one, other
        )


@pytest.mark.parametrize("p", [1.0, 2.0, math.inf, 3.0])
def test_renorm_costs_what_its_reference_does(p):
    """But for the division of each slice, which the reference writes as a reciprocal and a product."""
    rows = torch.randn(3, 4, 2)
    assert excess(aten.renorm.default, rows, p, 1, 0.5) == Work(-4)
    assert excess(aten.renorm.default, rows, p, -1, 0.5) == Work(-2)
    assert cost_of(aten.renorm_, rows.clone(), p, 1, 0.5) == cost_of(aten.renorm, rows, p, 1, 0.5)


def test_renorm_by_hand():
    """Four slices of 6: 24 squares, 20 sums, 4 roots, 3 steps for each of 4 factors, 24 products."""
    assert cost_of(aten.renorm, torch.randn(3, 4, 2), 2, 1, 0.5) == Cost(ops=24 + 20 + 12 + 24, transcendentals=4)


def test_renorm_of_complex_numbers_by_hand():
    """Two slices of 3: a square of size is 3 real steps, two sums each, 3 for a factor; a product is 6."""
    z = torch.randn(2, 3, dtype=torch.cfloat)
    assert cost_of(aten.renorm, z, 2, 0, 0.5) == Cost(ops=18 + 4 + 6 + 36, transcendentals=2)
    # Sizes take a root each; the order 3 a power each, and one for each slice.
    assert cost_of(aten.renorm, z, 1, 0, 0.5) == Cost(ops=18 + 4 + 6 + 36, transcendentals=6)
    assert cost_of(aten.renorm, z, 3, 0, 0.5) == Cost(ops=18 + 4 + 6 + 36, transcendentals=6 + 6 + 2)


def stored(places, size):
    """Make a sparse vector with ones at some places."""
    ones = torch.ones(len(places))
    return torch.sparse_coo_tensor(torch.tensor([places]), ones, (size,), check_invariants=True).coalesce()


@pytest.mark.parametrize(("p", "ops", "transcendentals"), [(2, 3 + 2, 1), (1, 3 + 2, 0), (3, 3 + 2, 4)])
def test_the_norm_of_a_sparse_tensor_is_over_what_it_stores(p, ops, transcendentals):
    """Three of a hundred: squares and two sums, a root."""
    sparse = stored([1, 5, 70], 100)
    expected = Cost(ops=ops, transcendentals=transcendentals)
    assert cost_of(aten.native_norm, sparse, p) == expected
    assert cost_of(aten.native_norm.ScalarOpt_dim_dtype, sparse, p, [0], False, None) == expected
    assert cost_of(aten.native_norm.default, sparse, p) == expected


def test_the_order_of_a_sparse_norm_may_be_left_out():
    """It is the second."""
    sparse = stored([1, 5], 9)
    price = registry.resolve(aten.native_norm.ScalarOpt_dim_dtype, {})
    cost = price.charge(torch.tensor(2.0), (sparse, None, [0], False, None), {})[0]
    assert (cost.ops, cost.transcendentals) == (2 + 1, 1)


def _weight_norm(rows, factors):
    results = []
    for row, factor in zip(rows, factors, strict=True):
        scale = factor[0] / total([number * number for number in row]).root()
        results.append([number * scale for number in row])
    return results


v, g = torch.randn(3, 4), torch.rand(3, 1) + 0.5


def test_weight_norm_costs_what_its_loop_does():
    """A norm and a quotient for each row, a product for each element; as PyTorch's reference computes it."""
    work, expected = by_hand(_weight_norm, v, g)
    result, _ = aten._weight_norm_interface(v, g, 0)
    torch.testing.assert_close(result.double(), expected, rtol=1e-4, atol=1e-5)
    assert cost_of(aten._weight_norm_interface, v, g, 0) == _cost(work)
    assert excess(aten._weight_norm_interface.default, v, g, 0) == Work(0)
    assert cost_of(aten._weight_norm_interface, v.t().contiguous(), g.t().contiguous(), 1) == _cost(work)


def _weight_norm_gradients(grads, rows, factors, norms):
    by_row, by_factor = [], []
    for row_of_grads, row, factor, norm in zip(grads, rows, factors, norms, strict=True):
        summed = total([a * b for a, b in zip(row_of_grads, row, strict=True)])
        by_factor.append(summed / norm[0])
        scale, share = factor[0] / norm[0], summed / (norm[0] * norm[0])
        by_row += [(a - b * share) * scale for a, b in zip(row_of_grads, row, strict=True)]
    return by_row + by_factor


def test_weight_norm_gradients_cost_what_their_loop_does():
    """One sum for each row serves both gradients."""
    gradient, norms = torch.randn(3, 4), v.norm(dim=1, keepdim=True)
    work, expected = by_hand(_weight_norm_gradients, gradient, v, g, norms)
    results = aten._weight_norm_interface_backward(gradient, v, g, norms, 0)
    torch.testing.assert_close(torch.cat([r.flatten() for r in results]).double(), expected, rtol=1e-4, atol=1e-5)
    assert cost_of(aten._weight_norm_interface_backward, gradient, v, g, norms, 0) == _cost(work)


@pytest.mark.parametrize(
    ("overload", "args"),
    [
        (aten._cdist_forward.default, (x, y, 2.0, NO_PRODUCT)),
        (aten._cdist_forward.default, (x, y, 2.0, 1)),
        (aten._cdist_backward.default, (x @ y.t(), x, y, 3.0, torch.cdist(x, y, 3.0))),
        (aten._euclidean_dist.default, (x, y)),
        (aten._pdist_forward.default, (x, 3.0)),
        (aten._pdist_backward.default, (x[:, 0], x, 3.0, torch.pdist(x, 3.0))),
        (aten.dist.default, (x, x, 3)),
        (aten.renorm.default, (x, 3, 0, 1.0)),
        (aten._weight_norm_interface.default, (v, g, 0)),
        (aten._weight_norm_interface_backward.default, (v, v, g, g, 0)),
    ],
)
def test_meta_tensors_cost_what_real_ones_do(overload, args):
    """Only sizes and dtypes decide."""
    assert priced(overload, *args, device="meta")[0] == priced(overload, *args)[0]


def test_no_rows_and_no_columns_give_no_negative_counts():
    """Nothing to compare costs nothing."""
    for a, b in [(torch.empty(0, 4), y), (torch.empty(3, 0), torch.empty(5, 0))]:
        cost = cost_of(torch.cdist, a, b, 1.0)
        assert cost == Cost()
    with OpFlopMode(strict=True) as mode:
        torch.nn.functional.pdist(torch.empty(1, 4))
        aten._pdist_backward(torch.empty(0), torch.ones(1, 4), 2.0, torch.empty(0))
        aten._cdist_backward(torch.empty(3, 0), x, torch.empty(0, 4), 2.0, torch.empty(3, 0))
    assert mode.total.flops == 0
