"""Whose autograd nodes are whose: against a plain list of every node, and in bounded memory."""

from hypothesis import given
from hypothesis import strategies as st

from opflops.attribution.autograd_nodes import NodeOwners


@given(st.lists(st.tuples(st.sampled_from(["mark", "begin", "insert"]), st.integers(0, 3), st.integers(0, 3))))
def test_every_node_has_the_owner_that_it_was_given(steps):
    """The same answers as a list with an owner for each number, whatever was marked, begun and inserted."""
    node_owners = NodeOwners(5, "nobody")
    owners = dict.fromkeys(range(5), "nobody")
    number, current = 5, "nobody"
    for what, made, name in steps:
        owners |= dict.fromkeys(range(number, number + made), current)
        number += made
        if what == "mark":
            current = f"owner {name}"
            node_owners.assign_from(number, current)
        elif what == "begin":
            node_owners.begin_segment(number)
        else:
            node_owners.insert(number, number + name, "inserted")
            owners |= dict.fromkeys(range(number, number + name), "inserted")
            number += name
    owners |= dict.fromkeys(range(number, number + 3), current)
    assert {node: node_owners.owner_of(node) for node in owners} == owners


def test_steps_that_repeat_take_no_memory():
    """Ten thousand equal steps are kept as one, and each node is still found."""
    node_owners, number = NodeOwners(0, "outside"), 0
    for _ in range(10_000):
        node_owners.begin_segment(number)
        node_owners.assign_from(number, "first")
        node_owners.assign_from(number + 3, "second")
        node_owners.assign_from(number + 5, "outside")
        number += 7
    assert len(node_owners._series_starts) <= 2
    assert [node_owners.owner_of(7 * 5_000 + offset) for offset in range(7)] == 3 * ["first"] + 2 * ["second"] + 2 * [
        "outside"
    ]


def test_a_thread_that_takes_anothers_place_starts_afresh():
    """Its nodes are numbered from the beginning again."""
    node_owners = NodeOwners(0, "outside")
    node_owners.begin_segment(100)
    node_owners.assign_from(100, "first")
    node_owners.assign_from(105, "outside")
    node_owners.begin_segment(2)
    node_owners.assign_from(2, "second")
    assert node_owners.owner_of(3) == "second"
