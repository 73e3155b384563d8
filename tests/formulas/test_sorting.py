"""Sorting and searching: by hand, n·ceil(log2 n) comparisons for a row of n, and what each operator adds."""

import math

import pytest
import torch
from counted import cost_of
from oracle import by_hand, reference

from opflops import Cost, OpFlopMode

# Two rows of five: 5·3 comparisons each. Along the other axis, five rows of two: 2·1 each.
ROWS = torch.tensor([[3.0, 1.0, 2.0, 5.0, 4.0], [1.0, 1.0, 9.0, 7.0, 8.0]])


@pytest.mark.parametrize(
    ("name", "arguments"), [("sort", ()), ("topk", (2,)), ("kthvalue", (2,)), ("median", ()), ("nanmedian", ())]
)
def test_a_sort_takes_a_logarithm_for_each_element_of_a_row(name, arguments):
    """Sorting and selecting cost 5·3 for each of two rows; along the other axis 2·1 for each of five."""
    op = getattr(torch, name)
    assert cost_of(lambda: op(ROWS, *arguments, dim=-1)) == Cost(ops=30)
    assert cost_of(lambda: op(ROWS, *arguments, dim=0)) == Cost(ops=10)


@pytest.mark.parametrize(("size", "comparisons"), [(0, 0), (1, 0), (2, 2), (3, 6), (4, 8), (5, 15), (8, 24), (9, 36)])
def test_the_logarithm_is_rounded_up(size, comparisons):
    """A row of a power of two takes no step more than its logarithm, and one element more takes another."""
    assert cost_of(torch.sort, torch.rand(size)) == Cost(ops=comparisons)


def test_a_scalar_is_sorted_already():
    """One number takes no comparison."""
    assert cost_of(torch.sort, torch.tensor(2.0)) == Cost()


@pytest.mark.parametrize("op", [torch.median, torch.nanmedian])
def test_the_median_of_all_sorts_one_row(op):
    """Ten elements in one row take 10·4."""
    assert cost_of(op, ROWS) == Cost(ops=40)


def test_the_mode_compares_neighbours():
    """Two rows of five sorted, 30, and 4 neighbours compared in each; five rows of two, 10, and 1 in each."""
    assert cost_of(torch.mode, ROWS) == Cost(ops=38)
    assert cost_of(torch.mode, ROWS, 0) == Cost(ops=15)


@pytest.mark.parametrize("op", [torch.ops.aten._unique, torch.ops.aten._unique2])
def test_unique_sorts_and_compares_neighbours(op):
    """Ten elements sorted, 40, and 9 neighbours compared."""
    assert cost_of(op, ROWS) == Cost(ops=49)


@pytest.mark.parametrize(("boundaries", "comparisons"), [(1, 1), (2, 2), (3, 2), (4, 3), (7, 3), (8, 4)])
def test_a_search_halves_the_places_that_are_left(boundaries, comparisons):
    """Six values; a bisection that counts its comparisons is never beaten by the price, and reaches it."""
    edges = torch.arange(boundaries, dtype=torch.float64)
    values = torch.rand(6, dtype=torch.float64) * boundaries
    assert cost_of(torch.bucketize, values, edges) == Cost(ops=6 * comparisons)
    assert cost_of(torch.searchsorted, edges, values) == Cost(ops=6 * comparisons)
    most = 0
    for value in [edge - 0.5 for edge in range(boundaries + 1)]:
        low, high, taken = 0, boundaries, 0
        while low < high:
            middle = (low + high) // 2
            taken += 1
            low, high = (middle + 1, high) if edges[middle] < value else (low, middle)
        assert low == torch.searchsorted(edges, value).item()
        most = max(most, taken)
    assert most == comparisons


@pytest.mark.parametrize("op", [torch.cummax, torch.cummin])
def test_running_extremes_compare_with_the_best_so_far(op):
    """Four comparisons in each of two rows of five; one in each of five rows of two."""
    assert cost_of(op, ROWS, 1) == Cost(ops=8)
    assert cost_of(op, ROWS, 0) == Cost(ops=5)


def test_running_log_sums_by_hand():
    """Each step adds a number to the sum so far, in logarithms, beginning with the larger of the two."""

    def definition(row):
        sums = [row[0]]
        for each in row[1:]:
            high, low = sums[-1].larger(each), sums[-1].smaller(each)
            sums.append(high + (low - high).exp().log1p())
        return sums

    work, sums = by_hand(definition, ROWS[0])
    torch.testing.assert_close(torch.logcumsumexp(ROWS[0].double(), 0), sums)
    assert cost_of(torch.logcumsumexp, ROWS[0], 0) == Cost(ops=work.ops, transcendentals=work.transcendentals)
    assert cost_of(torch.logcumsumexp, ROWS, 0) == Cost(ops=20, transcendentals=10)
    assert cost_of(torch.ops.aten._logcumsumexp, ROWS, 0) == Cost(ops=20, transcendentals=10)
    assert math.isclose(math.exp(sums[1].item()), math.exp(3) + math.exp(1))


def rows_of(rows, width):
    return torch.arange(rows * width, dtype=torch.float32).reshape(rows, width)


def test_neighbours_are_compared():
    """Ten elements in a row take 9 comparisons; 5 rows of 3 take 4 of 3, and their 3 columns 2 of 5."""
    assert cost_of(torch.unique_consecutive, ROWS) == Cost(ops=9)
    for dim, comparisons in ((0, 4 * 3), (1, 2 * 5), (-1, 2 * 5)):
        table = rows_of(5, 3)
        assert cost_of(lambda table=table, dim=dim: torch.unique_consecutive(table, dim=dim)) == Cost(ops=comparisons)
        assert cost_of(torch.ops.aten.unique_dim_consecutive, table, dim) == Cost(ops=comparisons)
    assert cost_of(torch.unique_consecutive, torch.empty(0)) == Cost()


@pytest.mark.parametrize(("dim", "comparisons"), [(0, 5 * 3 + 4), (1, 3 * 2 + 2)])
def test_slices_are_sorted_as_elements_are(dim, comparisons):
    """Five rows take 5·3 comparisons and 4 with neighbours, three columns 3·2 and 2; each takes a slice's elements."""
    elements = 3 if dim == 0 else 5
    assert cost_of(lambda: torch.unique(rows_of(5, 3), dim=dim)) == Cost(ops=comparisons * elements)


@pytest.mark.parametrize("invert", [False, True])
@pytest.mark.parametrize("assume_unique", [False, True])
def test_a_few_tests_are_compared_with_each_element(assume_unique, invert):
    """Six elements and four tests: 24 comparisons, as in PyTorch's reference decomposition."""
    elements, tests = torch.rand(2, 3), torch.rand(4)
    options = {"assume_unique": assume_unique, "invert": invert}
    assert cost_of(lambda: torch.isin(elements, tests, **options)) == Cost(ops=24)
    work, found = reference(torch.ops.aten.isin.Tensor_Tensor, elements, tests, **options)
    assert work.ops == 24
    assert found.equal(torch.isin(elements, tests, **options))


def test_many_tests_are_sorted_and_searched():
    """Twenty tests are sorted, 20·5; each of six elements is searched in them, 5, and compared with what is found."""
    elements, tests = torch.rand(2, 3), torch.rand(20)
    assert cost_of(torch.isin, elements, tests) == Cost(ops=100 + 6 * (5 + 1))
    out = torch.empty(2, 3, dtype=torch.bool)
    assert cost_of(lambda: torch.isin(elements, tests, out=out)) == Cost(ops=136)
    # 32 edges leave 33 places: six comparisons.
    assert cost_of(torch.isin, elements, torch.rand(32)) == Cost(ops=32 * 5 + 6 * (6 + 1))
    # What has no double is sorted together, 26·5, and compared with its neighbours.
    assert cost_of(lambda: torch.isin(elements, tests, assume_unique=True)) == Cost(ops=130 + 25)
    assert cost_of(torch.isin, torch.empty(0), tests) == Cost()


@pytest.mark.parametrize(("elements", "few"), [(1, 9), (6, 12), (1000, 27)])
def test_when_tests_are_many(elements, few):
    """Up to ten times n to the power of 0.145, tests are few; one more is many."""
    assert few < 10 * elements**0.145 <= few + 1
    values = torch.rand(elements)
    assert cost_of(torch.isin, values, torch.rand(few)) == Cost(ops=elements * few)
    many = few + 1
    bits = math.ceil(math.log2(many))
    places = math.ceil(math.log2(many + 1))
    assert cost_of(torch.isin, values, torch.rand(many)) == Cost(ops=many * bits + elements * (places + 1))


def test_one_number_among_many_and_many_against_one():
    """A number is one element; against a number, each element is compared once."""
    assert cost_of(lambda: torch.isin(torch.rand(2, 3), 0.5)) == Cost(ops=6)
    assert cost_of(lambda: torch.isin(0.5, torch.rand(4))) == Cost(ops=4)
    # Sixteen are sorted, 16·4, and 17 places searched, 5; the found one is compared.
    assert cost_of(lambda: torch.isin(0.5, torch.rand(16))) == Cost(ops=64 + 5 + 1)
    assert cost_of(lambda: torch.isin(0.5, torch.rand(16), assume_unique=True)) == Cost(ops=17 * 5 + 16)


@pytest.mark.parametrize("name", ["_cummax_helper", "_cummin_helper"])
def test_kernels_of_running_extremes_fill_what_they_are_given(name):
    """Four comparisons in each of two rows; the results are written and not read."""
    values, places = torch.empty(2, 5), torch.empty(2, 5, dtype=torch.int64)
    with OpFlopMode(strict=True) as mode:
        getattr(torch.ops.aten, name)(ROWS, values, places, 1)
    assert mode.total == Cost(ops=8, bytes_read=40, bytes_written=40 + 80)


def test_the_older_aminmax_compares_as_the_newer():
    """Nine comparisons each for the smallest and the largest of ten, four each in each of two rows."""
    assert cost_of(torch.ops.aten._aminmax, ROWS) == Cost(ops=18)
    assert cost_of(torch.ops.aten._aminmax.dim, ROWS, 1) == Cost(ops=16)
