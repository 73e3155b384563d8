"""Owners of autograd nodes: the same as in a list of all nodes, and in bounded memory."""

from hypothesis import given
from hypothesis import strategies as st

from opflops.attribution.autograd_nodes import NodeOwners


@given(st.lists(st.tuples(st.sampled_from(["mark", "begin", "insert"]), st.integers(0, 3), st.integers(0, 3))))
def test_every_node_has_the_owner_that_it_was_given(steps):
    """As in a dictionary with an owner for each number, after any sequence of calls."""
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
    """Ten thousand equal steps are stored as one, and each node has its owner."""
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


def test_a_thread_with_the_identifier_of_an_ended_one_starts_afresh():
    """Its nodes are numbered from the beginning."""
    node_owners = NodeOwners(0, "outside")
    node_owners.begin_segment(100)
    node_owners.assign_from(100, "first")
    node_owners.assign_from(105, "outside")
    node_owners.begin_segment(2)
    node_owners.assign_from(2, "second")
    assert node_owners.owner_of(3) == "second"
