"""Whose autograd nodes are whose: against a plain list of every node, and in bounded memory."""

from hypothesis import given
from hypothesis import strategies as st

from opflops.attribution.autograd_nodes import NodeOwners


@given(st.lists(st.tuples(st.sampled_from(["mark", "begin", "insert"]), st.integers(0, 3), st.integers(0, 3))))
def test_every_node_has_the_owner_that_it_was_given(steps):
    """The same answers as a list with an owner for each number, whatever was marked, begun and inserted."""
    lineage = NodeOwners(5, "nobody")
    owners = dict.fromkeys(range(5), "nobody")
    number, current = 5, "nobody"
    for what, made, name in steps:
        owners |= dict.fromkeys(range(number, number + made), current)
        number += made
        if what == "mark":
            current = f"owner {name}"
            lineage.assign_from(number, current)
        elif what == "begin":
            lineage.begin_segment(number)
        else:
            lineage.insert(number, number + name, "inserted")
            owners |= dict.fromkeys(range(number, number + name), "inserted")
            number += name
    owners |= dict.fromkeys(range(number, number + 3), current)
    assert {node: lineage.owner(node) for node in owners} == owners


def test_steps_that_repeat_take_no_memory():
    """Ten thousand equal steps are kept as one, and each node is still found."""
    lineage, number = NodeOwners(0, "outside"), 0
    for _ in range(10_000):
        lineage.begin_segment(number)
        lineage.assign_from(number, "first")
        lineage.assign_from(number + 3, "second")
        lineage.assign_from(number + 5, "outside")
        number += 7
    assert len(lineage._begun) <= 2
    assert [lineage.owner(7 * 5_000 + offset) for offset in range(7)] == 3 * ["first"] + 2 * ["second"] + 2 * [
        "outside"
    ]


def test_a_thread_that_takes_anothers_place_starts_afresh():
    """Its nodes are numbered from the beginning again."""
    lineage = NodeOwners(0, "outside")
    lineage.begin_segment(100)
    lineage.assign_from(100, "first")
    lineage.assign_from(105, "outside")
    lineage.begin_segment(2)
    lineage.assign_from(2, "second")
    assert lineage.owner(3) == "second"
