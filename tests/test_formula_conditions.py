"""Conditions on sizes become fewer and simpler, and hold for exactly the same sizes: by brute force over sizes."""

from itertools import product

import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from opflops.records.expressions import format_condition
from opflops.torch_internals import relation_forms
from opflops.torch_internals.divisibility import join_divisibility
from opflops.torch_internals.excluded_regions import holds_at
from opflops.torch_internals.implied_conditions import are_implied, joined_exclusions, without_implied
from opflops.torch_internals.sympy_inequalities import always_holds, is_at_least

N, M = sympy.symbols("n m", integer=True, positive=True)
SMALL, FACTORS = st.integers(-6, 9), st.integers(1, 6)


@st.composite
def expressions(draw):
    """Make sums of what programs compute of sizes: multiples, products, rounded quotients of one inside the other."""
    sizes = st.sampled_from((N, M, N * M, N))
    parts = [draw(st.integers(-4, 4)) * draw(sizes) for _ in range(draw(st.integers(1, 2)))]
    inner = sympy.floor((draw(FACTORS) * draw(sizes) + draw(SMALL)) / draw(FACTORS))
    parts.append(draw(st.integers(-4, 4)) * draw(st.sampled_from((inner, sympy.floor(inner / 2), inner * N, inner**2))))
    return sympy.expand(sum(parts)) + draw(SMALL)


RELATIONS = (sympy.Eq, sympy.Ne, sympy.Ge, sympy.Gt, sympy.Le, sympy.Lt)


@st.composite
def relations(draw):
    """Make relations, of which some say what a view or a split asks: that a size is a multiple."""
    if draw(st.booleans()):
        divisor, times = draw(st.integers(2, 6)), draw(st.integers(1, 4))
        of = draw(st.sampled_from((N, M, N + 1, sympy.floor(N / 2), 3 * N)))
        exact = sympy.Eq(times * of, times * divisor * sympy.floor(of / divisor))
        return draw(st.sampled_from((exact, sympy.Eq(sympy.Mod(of, divisor), 0), sympy.Eq(sympy.Mod(of, divisor), 1))))
    return draw(st.sampled_from(RELATIONS))(draw(expressions()), draw(st.sampled_from((0, 1, 2, N, M))))


def sizes_of(conditions):
    """List the sizes for which all conditions hold, of those that symbols stand for."""
    sizes = [{"n": n, "m": m} for n, m in product(range(2, 15), range(2, 9))]
    return [each for each in sizes if all(holds_at(condition, each) for condition in conditions)]


def decided(conditions):
    return {each: str(number) for number, each in enumerate(conditions) if each not in (True, False)}


@settings(max_examples=150, deadline=None)
@given(st.lists(relations(), min_size=1, max_size=5))
def test_fewer_conditions_hold_for_the_same_sizes(found):
    """What is dropped follows from what is left; reasons are those of conditions."""
    conditions = decided(found)
    for simplify in (join_divisibility, without_implied, joined_exclusions):
        simpler = simplify(conditions)
        assert sizes_of(simpler) == sizes_of(conditions), simplify
        assert {*simpler.values()} <= {*conditions.values()}


@settings(max_examples=150, deadline=None)
@given(relations())
def test_a_simpler_form_holds_for_the_same_sizes(relation):
    """Whatever is divided out, and whatever the powers."""
    if relation in (True, False):
        return
    simpler = relation_forms.as_equation(
        relation_forms.without_common_factors(relation, lambda each: is_at_least(each, 1))
    )
    for simplify in (relation_forms.without_remainder_of_one, relation_forms.without_powers):
        simpler = simplify(simpler, lambda each: is_at_least(each, 1))
    assert sizes_of([simpler]) == sizes_of([relation])


@settings(max_examples=100, deadline=None)
@given(relations(), relations())
def test_what_is_implied_holds_wherever_the_others_do(one, other):
    """Never more than that; and what always holds does so at all sizes."""
    if are_implied([one], [other]):
        assert sizes_of([one, other]) == sizes_of([other])
    if always_holds(one):
        assert len(sizes_of([one])) == 13 * 7


def test_families_of_divisors_are_one_condition():
    """By hand: halves of halves are multiples of 4; of 4 and of 6, of 12; with a rest, what both allow."""
    half = sympy.floor(N / 2)
    assert [*join_divisibility({sympy.Eq(half, 2 * sympy.floor(half / 2)): "", sympy.Eq(N, 2 * half): ""})] == [
        sympy.Eq(sympy.Mod(N, 4), 0)
    ]
    assert [*join_divisibility({sympy.Eq(sympy.Mod(N, 4), 0): "", sympy.Eq(sympy.Mod(N, 6), 0): ""})] == [
        sympy.Eq(sympy.Mod(N, 12), 0)
    ]
    assert [*join_divisibility({sympy.Eq(sympy.Mod(N + 1, 4), 0): "", sympy.Eq(sympy.Mod(N, 3), 0): ""})] == [
        sympy.Eq(sympy.Mod(N, 12), 3)
    ]
    assert [
        *join_divisibility({sympy.Eq(N, M * sympy.floor(N / M)): "", sympy.Ne(sympy.floor(N / M) * M, N - 1): ""})
    ] == [sympy.Eq(sympy.Mod(N, M), 0)]


def test_limits_are_raised_by_the_sizes_next_to_them_alone():
    """By hand: 7 is not next to 4; 4 and 5, of which the half is 2, are."""
    half = sympy.floor(N / 2)
    for apart in (sympy.Ne(N, 7), sympy.Ne(half, 4)):
        assert joined_exclusions({N >= 4: "a", apart: "b"}) == {N >= 4: "a", apart: "b"}
    assert joined_exclusions({N >= 4: "a", sympy.Ne(half, 2): "b", sympy.Ne(N, 6): "c"}) == {N >= 7: "c"}


def test_a_size_may_be_the_rest_itself():
    """By hand: of 3, 7, 11, … only 3 is less than 4, so that a limit there says something, and one of 3 does not."""
    by_four = sympy.Eq(sympy.Mod(N, 4), 3)
    assert join_divisibility({by_four: "", N >= 4: ""}) == {by_four: "", N >= 7: ""}
    assert join_divisibility({by_four: "", N >= 3: ""}) == {by_four: ""}


def test_a_product_is_not_1_if_a_factor_is_not():
    """As where one number of elements is compared with 1 and the size of an axis with 1."""
    half = sympy.floor(N / 2)
    both = {sympy.Ne(half * M, 1): "a", sympy.Ne(half, 1): "b"}
    assert without_implied(both) == {sympy.Ne(half, 1): "b"}
    assert without_implied(both, keeps_products=True) == both


def test_remainders_are_written_as_in_python():
    """With parentheses where an operand is not one name."""
    assert format_condition(sympy.Eq(sympy.Mod(N, 4), 0)) == "n % 4 == 0"
    assert format_condition(sympy.Ne(sympy.Mod(N + 1, M), 2)) == "(n + 1) % m != 2"
