"""Multiples, quotients and sums of profiles, and the numbers of their totals."""

import warnings
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import sympy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from module_facts import EMBEDDING, MEMORY, MODULES
from sympy import Symbol, floor
from test_rows import UNTIMED, profiles
from torch import nn
from torch.export import Dim

from opflops import Cost, OpFlopMode, Profile, ProfileError, Row, count
from opflops.errors import ProfileArgumentError
from opflops.profile.gathering import combine_ranks
from opflops.profile.profile import Case, Condition, Dimension
from opflops.records.division import exact_quotient
from opflops.records.timing import Timing

NUMBERS = ("macs", "ops", "transcendentals", "flops", "bytes_read", "bytes_written", "bytes", "sent")
N, M = Symbol("n"), Symbol("m")
STEP = Row("Net.a", "Linear", "aten.mm", "forward", "float32", 2, Cost(12, 6, 4, 8, 2, 6), 0.5, "", True, "", 10, 0.25)
PROFILE = Profile(
    (STEP,), called=("Net",), remarks=("Said.",), modules=MODULES, memory=MEMORY,
    timing=Timing(3, 1, 2.0, 0.5, 1.0, 0.25, 0.125, {"Net": 2}),
)  # fmt: skip


def untimed(profile):
    return replace(profile, rows=[replace(row, **UNTIMED) for row in profile.rows])


@settings(max_examples=40, deadline=None)
@given(profiles, st.integers(min_value=1, max_value=10**19))
def test_a_multiple_costs_as_many_times_as_much_and_its_quotient_is_the_profile(profile, times):
    """Exactly, whatever the number."""
    multiple = profile * times
    assert multiple.total == times * profile.total
    assert [row.calls for row in multiple.rows] == [times * row.calls for row in profile.rows]
    assert untimed(multiple / times) == untimed(profile)
    assert times * profile == multiple


@settings(max_examples=40, deadline=None)
@given(profiles)
def test_a_multiple_is_a_sum_of_equal_profiles(profile):
    """Modules are called as often, and have no more parameters."""
    merged = profile + Profile()
    assert untimed(merged * 3) == untimed(sum([profile, profile, profile]))
    assert (merged * 4) / 4 == merged
    assert (profile * 0).total == Cost()


def test_what_adds_up_is_scaled_and_all_else_stays():
    """Times are those of all repetitions; parameters, the peak and remarks those of one."""
    twice = PROFILE * 2
    row = Row(
        "Net.a", "Linear", "aten.mm", "forward", "float32", 4, Cost(24, 12, 8, 16, 4, 12), 1.0, "", True, "", 20, 0.5
    )
    assert twice.rows == (row,)
    assert twice.timing == Timing(3, 1, 4.0, 1.0, 2.0, 0.5, 0.25, {"Net": 4})
    assert [sum(call.calls for call in each.calls) for each in twice.modules] == [2, 4, 8]
    assert twice.parameters == PROFILE.parameters == 650
    assert (twice.memory, twice.remarks, twice.called) == (MEMORY, ("Said.",), ("Net",))
    assert twice / 2 == PROFILE


def counted_step(rows):
    net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))
    return count(net, torch.ones(rows, 4), backward=True, memory=True)


def test_a_sum_of_equal_steps_is_a_multiple_of_one():
    """All of it: the peak is that of one step, the order of execution too. An empty profile changes nothing."""
    step = counted_step(3)
    for several in (step + step + step, sum([step, step, step]), step + counted_step(3) * 2):
        assert several == step * 3
        assert several.memory == (step * 3).memory == step.memory
        assert several.execution == (step * 3).execution == step.execution
        assert several.memory.peak == step.memory.peak > 0
        assert several.execution is not None
    with OpFlopMode(memory=True) as nothing:
        pass
    for empty in (Profile(), nothing.profile):
        assert (empty + step).memory == (step + empty).memory == step.memory


def test_a_sum_of_different_programs_has_no_memory():
    """What they keep together is not known of each; nor the order, if their modules are others."""
    step, larger = counted_step(3), counted_step(5)
    assert (step + larger).memory is (step + replace(step, memory=None)).memory is None
    other = count(nn.Linear(4, 2), torch.ones(3, 4))
    assert (other + step).execution is None
    assert other.execution is not None


def test_call_sites_ranks_and_cases_are_scaled():
    """All that at(), where(rank=0) and call_sites() look up."""
    sites = (replace(STEP, site="Net.a #1", calls=1), replace(STEP, site="Net.a #2", calls=1))
    one = replace(PROFILE, sites=sites)
    assert [row.calls for row in (one * 5).sites] == [5, 5]
    gathered = combine_ranks({0: one, 1: replace(one, rows=(replace(STEP, calls=4),))})
    tripled = gathered * 3
    assert tripled.where(rank=1).rows[0].calls == 12
    assert tripled.where(rank=0).modules == (one * 3).modules
    assert (tripled.where(rank=0).memory, tripled / 3) == (MEMORY, gathered)


def test_formulas_are_scaled_with_their_cases_and_conditions_stay():
    """At each size the multiple is that of the numbers."""
    cost, special = Cost(macs=N**2 / 2 + N / 2), Cost(macs=7)
    profile = Profile(
        (replace(STEP, cost=cost),),
        dimensions=(Dimension("n", 4, 1, None),),
        conditions=(Condition(sympy.Ne(N, 1), "one row"),),
        cases=(Case((("n", 1),), Profile((replace(STEP, cost=special),))),),
    )
    for times in (2, 3, 6):
        multiple = profile * times
        assert [multiple.at(n=size).total.macs for size in (1, 2, 5)] == [7 * times, 3 * times, 15 * times]
        assert multiple / times == profile
        assert (multiple.dimensions, multiple.conditions) == (profile.dimensions, profile.conditions)
    with pytest.raises(ProfileError, match=r"divided by 5: macs of aten\.mm in Net\.a .* is n\*\*2/2"):
        replace(profile, rows=(replace(STEP, calls=5, activations=5, cost=cost),)) / 5


terms = st.tuples(st.integers(-20, 20), st.integers(0, 3), st.integers(0, 2), st.integers(0, 2))


@settings(max_examples=40, deadline=None)
@given(st.lists(terms, min_size=1, max_size=4), st.integers(1, 12), st.integers(1, 12))
def test_an_expression_is_divided_if_that_is_a_whole_number_at_every_size(parts, factor, divisor):
    """By brute force at sizes up to more than any divisor: never otherwise; and always if it is polynomial."""
    expression = sympy.expand(factor * sum(c * N**i * M**j * floor(N / 2) ** k for c, i, j, k in parts))
    values = [
        factor * sum(c * n**i * m**j * (n // 2) ** k for c, i, j, k in parts) for n in range(26) for m in range(13)
    ]
    is_whole = all(value % divisor == 0 for value in values)
    quotient = exact_quotient(int(expression) if expression.is_number else expression, divisor)
    if quotient is not None:
        assert is_whole
        assert sympy.expand(quotient * divisor - expression) == 0
    elif not expression.has(floor):
        assert not is_whole


def test_a_quotient_is_tried_at_enough_sizes_and_a_common_factor_is_enough():
    """One of degree 2 at three sizes: n * (n - 1) is 0 at two. What is no polynomial has a factor of all terms."""
    assert exact_quotient(N**2 - N, 2) == N**2 / 2 - N / 2
    assert exact_quotient(N**2 - N, 3) is None
    assert exact_quotient(6 * N / M, 2) == 3 * N / M
    assert exact_quotient(6 * N / M, 4) is None


def test_a_count_that_is_not_divisible_is_named():
    """With its row, its value, and what to do."""
    with pytest.raises(
        ProfileError, match=r"divided by 4: the number of calls of aten\.mm in Net\.a .* is 2, .*flops / 4"
    ):
        PROFILE / 4
    with pytest.raises(ProfileError, match=r"calls of Net is 1"):
        Profile((), modules=MODULES) / 2
    for number, count_of in ((3, "bytes_read"), (5, "macs")):
        row = replace(STEP, calls=15, activations=15, cost=Cost(**{count_of: 7}))
        with pytest.raises(ProfileError, match=rf"{count_of} of aten\.mm .* is 7"):
            Profile((row,)) / number


@pytest.mark.parametrize("number", [1.5, 3.0, -1, True, "3", None, [2], Fraction(1, 2), PROFILE])
def test_the_number_of_repetitions_is_whole(number):
    """Fractions of a count would not be exact."""
    for question in (lambda: PROFILE * number, lambda: PROFILE / number):
        with pytest.raises(ProfileArgumentError, match=r"by a whole number from [01] up, as in p "):
            question()


def test_nothing_is_divided_by_zero():
    """Nor is a number divided by a profile, or added to it."""
    with pytest.raises(ProfileArgumentError, match="from 1 up"):
        PROFILE / 0
    for question in (lambda: 2 / PROFILE, lambda: PROFILE + 1, lambda: 1 + PROFILE, lambda: PROFILE - 0):
        with pytest.raises(TypeError):
            question()


def test_numbers_of_numpy_are_whole_numbers():
    """From either side."""
    assert np.int64(3) * PROFILE == PROFILE * np.int32(3) == PROFILE * 3
    assert PROFILE * np.int64(4) / np.int64(4) == PROFILE


def test_counted_steps_are_divided_into_one():
    """Three equal steps in a block are three times one."""
    net, x = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2)), torch.ones(3, 4)
    with OpFlopMode() as several:
        for _ in range(3):
            net(x)
    with OpFlopMode() as one:
        net(x)
    assert several.profile / 3 == one.profile
    assert several.profile == one.profile * 3


@pytest.mark.parametrize("name", NUMBERS)
def test_the_numbers_of_the_total_are_attributes(name):
    """Of profiles and of modes."""
    assert getattr(PROFILE, name) == getattr(PROFILE.total, name)
    with OpFlopMode() as mode:
        torch.ones(2, 3) @ torch.ones(3, 4)
    assert getattr(mode, name) == getattr(mode.total, name)
    assert (mode.macs, mode.flops) == (24, 48)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert getattr(OpFlopMode(), name) == 0


def test_symbolic_counts_of_a_model_are_scaled():
    """Of a multiple at sizes and at sizes of a multiple."""
    net = nn.Sequential(nn.Conv1d(3, 4, 3, stride=2), nn.ReLU(), nn.Flatten())
    p = count(net, torch.ones(2, 3, 17), dynamic_shapes=({0: Dim("batch"), 2: Dim("length", min=5)},))
    assert (3 * p).at(batch=5, length=20) == 3 * p.at(batch=5, length=20)
    assert (3 * p) / 3 == p
    assert (p * 3).macs == 3 * p.macs
    assert EMBEDDING.calls[0].calls == 2  # nothing is changed in place
