"""The algebra of costs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opflops import Cost
from opflops.records.cost import is_whole

FIELDS = ("macs", "ops", "transcendentals", "bytes_read", "bytes_written")
counts = st.integers(min_value=0, max_value=10**15)
costs = st.builds(Cost, counts, counts, counts, counts, counts)


def test_flops_are_two_for_each_mac_and_one_for_each_op():
    """Transcendentals and bytes are in no flops."""
    assert Cost(macs=10, ops=3, transcendentals=100, bytes_read=7, bytes_written=5).flops == 23


def test_bytes_are_read_plus_written():
    """The memory traffic is the sum of both directions."""
    assert Cost(bytes_read=7, bytes_written=5).bytes == 12


@given(costs, costs, costs)
def test_addition_is_field_by_field_in_any_order(a, b, c):
    """Costs form a commutative monoid under addition, with the empty cost as zero."""
    assert (a + b) + c == a + (c + b)
    assert a + Cost() == a
    for field in FIELDS:
        assert getattr(a + b, field) == getattr(a, field) + getattr(b, field)


@given(costs, st.integers(min_value=0, max_value=20))
def test_scaling_is_repeated_addition(cost, times):
    """N times a cost is N of it added up, from either side."""
    assert times * cost == cost * times == sum([cost] * times, Cost())


@given(costs, costs)
def test_subtraction_undoes_addition(a, b):
    """What was added can be taken away, and a difference may be negative."""
    assert (a + b) - b == a


@given(st.lists(costs, max_size=5))
def test_sum_needs_no_start(several):
    """The built-in sum works on costs as it does on numbers."""
    assert (sum(several) or Cost()) == sum(several, Cost())


def test_only_an_empty_cost_is_false():
    """Work of any one kind makes a cost true."""
    assert not Cost()
    for field in FIELDS:
        assert Cost(**{field: 1})


def test_a_cost_is_immutable_and_hashable():
    """Costs can be keys, and no one can change them under a holder's hands."""
    with pytest.raises(AttributeError):
        Cost().macs = 1
    assert {Cost(1): "a"}[Cost(1)] == "a"


@pytest.mark.parametrize("wrong", [1.5, "x", None, Cost()])
def test_a_cost_scales_by_whole_numbers_alone(wrong):
    """A fraction of a cost, or a product of two, means nothing."""
    with pytest.raises(TypeError):
        Cost(1) * wrong


@pytest.mark.parametrize("other", [1, 2.0, "x", None])
def test_a_cost_adds_to_costs_alone(other):
    """A bare number is no cost (only the zero that sum() starts from)."""
    with pytest.raises(TypeError):
        Cost(1) + other
    with pytest.raises(TypeError):
        other + Cost(1)
    with pytest.raises(TypeError):
        Cost(1) - other


@pytest.mark.parametrize(("value", "whole"), [(3, True), (0, True), (3.0, False), (True, False), ("3", False)])
def test_whole_numbers_are_integers(value, whole):
    """A float is no count even when it has no fraction, nor is a truth value."""
    assert is_whole(value) is whole
