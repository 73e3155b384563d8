"""Histograms against loops over the elements that count what they do."""

import math

import pytest
import torch
from counted import cost_of
from oracle import by_hand

from opflops import Cost, OpFlopMode

aten = torch.ops.aten

# In the range of 0 to 4, with one beyond it.
VALUES = torch.tensor([0.5, 3.5, 1.5, 2.5, 0.25, 4.0, 9.0, 1.25])


def interpolated(row, *, bins, low, high, neighbours):
    """Count a row into even bins; the subtraction that gives the range's width is left to the caller."""
    histogram = [row[0] - row[0].value for _ in range(bins)]
    row[0].counts[0] -= bins  # zeros, which took no work
    for each in row:
        inside = not each.is_below(low) and not (-each.value < -high)
        each.counts[0] += 1  # the second comparison
        position = (each - low) * bins / (high - low)
        each.counts[0] += neighbours
        if inside:
            histogram[min(int(position.value), bins - 1)].value += 1
        each.counts[0] += 1  # an addition, which an element outside is priced with too
    return histogram


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_even_bins_cost_what_a_loop_does(device):
    """Two comparisons, three operations to interpolate and one addition each; the width once."""
    work, histogram = by_hand(interpolated, VALUES, bins=4, low=0, high=4, neighbours=0)
    torch.testing.assert_close(torch.histc(VALUES, 4, 0, 4).double(), histogram)
    assert cost_of(lambda: torch.histc(VALUES.to(device), 4, 0, 4)) == Cost(ops=work.ops + 1)
    out = torch.empty(4, device=device)
    assert cost_of(lambda: torch.histc(VALUES.to(device), 4, 0, 4, out=out)) == Cost(ops=work.ops + 1)
    # Without a range, the smallest and the largest of 8 take 7 comparisons each.
    assert cost_of(lambda: torch.histc(VALUES.to(device), 4)) == Cost(ops=work.ops + 1 + 14)
    assert cost_of(lambda: torch.histc(VALUES.to(device), 4, 3, 3)) == Cost(ops=work.ops + 1 + 14)


def test_a_histogram_looks_at_the_edges_around():
    """As histc, and a search among three edges, which takes two comparisons."""
    work, histogram = by_hand(interpolated, VALUES, bins=4, low=0, high=4, neighbours=2)
    torch.testing.assert_close(torch.histogram(VALUES, 4, range=(0.0, 4.0)).hist.double(), histogram)
    assert cost_of(lambda: torch.histogram(VALUES, 4, range=(0.0, 4.0))) == Cost(ops=work.ops + 1)
    assert cost_of(lambda: torch.histogram(VALUES, 4, range=(0.0, 4.0), weight=VALUES)) == Cost(ops=work.ops + 1)
    assert cost_of(lambda: torch.histogram(VALUES, 4)) == Cost(ops=work.ops + 1 + 14)
    # The sum of 4 bins, divisions by it, 4 widths, and divisions by them.
    dense = cost_of(lambda: torch.histogram(VALUES, 4, range=(0.0, 4.0), density=True))
    assert dense == Cost(ops=work.ops + 1 + 3 + 4 + 4 + 4)


@pytest.mark.parametrize(("edges", "comparisons"), [(2, 2), (3, 2), (4, 3), (5, 3), (7, 3), (8, 4), (9, 4)])
def test_given_edges_are_searched(edges, comparisons):
    """Two comparisons with the ends, a bisection of the edges, and one addition, for each of 8 elements."""
    bins = torch.linspace(0, 4, edges)
    assert comparisons == math.ceil(math.log2(edges + 1))
    steps = 8 * (2 + comparisons + 1)
    assert cost_of(lambda: torch.histogram(VALUES, bins)) == Cost(ops=steps)
    density = (edges - 2) + 3 * (edges - 1)
    assert cost_of(lambda: torch.histogram(VALUES, bins, density=True)) == Cost(ops=steps + density)
    hist, kept = torch.empty(edges - 1), torch.empty(edges)
    assert cost_of(lambda: torch.histogram(VALUES, bins, out=(hist, kept))) == Cost(ops=steps)


POINTS = torch.rand(2, 3, 2)  # six points of two coordinates


def test_points_in_a_plane_by_hand():
    """Six points: 7 operations for each of 12 coordinates, an addition for each point, two widths."""
    op, steps = aten._histogramdd_from_bin_cts, 12 * 7 + 6 + 2
    limits = [0.0, 1.0, 0.0, 1.0]
    assert cost_of(lambda: op(POINTS, [3, 4], range=limits)) == Cost(ops=steps)
    # The smallest and the largest of six, in two axes.
    assert cost_of(lambda: op(POINTS, [3, 4])) == Cost(ops=steps + 2 * 2 * 5)
    # The sum of 12 bins and divisions by it; 3 widths and divisions by them, 4 widths and divisions by them.
    dense = cost_of(lambda: op(POINTS, [3, 4], range=limits, density=True))
    assert dense == Cost(ops=steps + 11 + 12 + 3 + 12 + 4 + 12)


def test_points_between_given_edges_by_hand():
    """Four edges take three comparisons, eight take four; each coordinate has its ends, each point its addition."""
    edges = [torch.linspace(0, 1, 4), torch.linspace(0, 1, 8)]
    op, steps = aten._histogramdd_from_bin_tensors, 6 * (2 + 3 + 2 + 4 + 1)
    assert cost_of(lambda: op(POINTS, edges)) == Cost(ops=steps)
    dense = cost_of(lambda: op(POINTS, edges, density=True))
    assert dense == Cost(ops=steps + 20 + 21 + 3 + 21 + 7 + 21)


def test_edges_alone_take_the_extremes():
    """Of six points in two axes, 5 comparisons each for the smallest and for the largest, unless the range is given."""
    assert cost_of(lambda: aten._histogramdd_bin_edges(POINTS, [3, 4])) == Cost(ops=20)
    assert cost_of(lambda: aten._histogramdd_bin_edges(POINTS, [3, 4], range=[0.0, 1.0, 0.0, 1.0])) == Cost()


def test_counts_take_an_addition_each():
    """Weights are added as ones are; these are integers, and no floating-point work."""
    values = torch.tensor([1, 1, 4, 0])
    assert cost_of(lambda: torch.bincount(values, torch.rand(4))) == Cost(ops=4)
    with OpFlopMode(strict=True) as mode:
        torch.bincount(values)
    (row,) = mode.profile.rows
    assert (row.cost.macs, row.cost.ops, row.cost.transcendentals) == (0, 4, 0)
    assert mode.total == Cost()


def test_twice_the_points_take_twice_the_steps_but_for_the_widths():
    """A histogram of twice as many points costs twice as much, when the widths of two ranges are left out."""
    limits = [0.0, 1.0, 0.0, 1.0]
    once, twice = (
        cost_of(lambda points=points: aten._histogramdd_from_bin_cts(points, [3, 4], range=limits))
        for points in (POINTS, torch.cat([POINTS, POINTS]))
    )
    assert twice - Cost(ops=2) == 2 * (once - Cost(ops=2))
