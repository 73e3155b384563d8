"""Sorting and searching: by hand, n·ceil(log2 n) comparisons for a row of n, and what each operator adds."""

import math

import pytest
import torch
from counted import cost_of
from oracle import by_hand

from opflops import Cost

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
    assert math.isclose(math.exp(sums[1].item()), math.exp(3) + math.exp(1))
