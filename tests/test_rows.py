"""Rows and profiles: grouping, selecting, merging, comparing, adding up the module tree."""

import dataclasses

import module_facts
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from opflops import Cost, Profile, ProfileError, Row
from opflops.records.rows import KEYS, merge

small = st.integers(min_value=0, max_value=10**6)
rows = st.builds(
    Row,
    module=st.sampled_from(["", "Net", "Net.a", "Net.a.0", "Net.b", "Net.ReLU()", "Net#2", "Net#2.a"]),
    module_type=st.sampled_from(["Net", "Linear"]),
    op=st.sampled_from(["aten.mm", "aten.add", "mylib.swiglu"]),
    phase=st.sampled_from(["forward", "backward"]),
    dtype=st.sampled_from(["float32", "bfloat16", "float8_e4m3fn", "complex64", "int64", "bool", ""]),
    calls=st.integers(min_value=1, max_value=100),
    cost=st.builds(Cost, small, small, small, small, small, st.sampled_from([0, 0, 128])),
    seconds=st.one_of(st.none(), st.floats(min_value=0, max_value=10)),
    estimate=st.sampled_from(["", "lengths have no values"]),
    priced=st.booleans(),
    activations=st.sampled_from([0, 0, 12, 3 * 10**12]),
    spread=st.one_of(st.none(), st.floats(min_value=0, max_value=1)),
    group=st.sampled_from(["", "", "tp (2)", "4 ranks"]),
    rank=st.sampled_from([None, None, 0, 3]),
)
UNTIMED = {"seconds": None, "spread": None}
profiles = st.builds(Profile, st.lists(rows, max_size=12), modules=st.one_of(st.just(()), module_facts.modules))

LINEAR = Row("Net.a", "Linear", "aten.addmm", "forward", "float32", 2, Cost(macs=10, ops=4))
RELU = Row("Net.ReLU()", "ReLU", "aten.relu", "forward", "float32", 1, Cost(ops=6))
INDEX = Row("Net", "Net", "aten.add", "forward", "int64", 1, Cost(ops=9, bytes_read=8))
GRAD = Row("Net.a", "Linear", "aten.mm", "backward", "float32", 1, Cost(macs=20))
PROFILE = Profile((LINEAR, RELU, INDEX, GRAD))


def test_the_total_is_of_floating_rows():
    """Integer and bool rows are kept, and are in no total."""
    assert PROFILE.total == Cost(macs=30, ops=10)
    assert INDEX in PROFILE.rows


@pytest.mark.parametrize(
    ("dtype", "floating"),
    [
        ("float32", True),
        ("bfloat16", True),
        ("float8_e4m3fn", True),
        ("complex64", True),
        ("int64", False),
        ("bool", False),
    ],
)
def test_floating_point_is_what_has_a_fraction(dtype, floating):
    """Low-precision floats and complex numbers count; integers, truth values and quantised integers do not."""
    assert dataclasses.replace(LINEAR, dtype=dtype).floating is floating


def test_grouping_by_one_key_and_by_several():
    """One key gives its values, several give tuples, in order of first appearance."""
    assert PROFILE.by("module") == {"Net.a": Cost(macs=30, ops=4), "Net.ReLU()": Cost(ops=6)}
    assert list(PROFILE.by("module", "op")) == [
        ("Net.a", "aten.addmm"),
        ("Net.ReLU()", "aten.relu"),
        ("Net.a", "aten.mm"),
    ]


@given(profiles, st.lists(st.sampled_from(KEYS), min_size=1, max_size=3, unique=True))
def test_every_grouping_sums_to_the_total(profile, keys):
    """No work is lost or doubled, whatever it is grouped by."""
    assert sum(profile.by(*keys).values(), Cost()) == profile.total


@given(profiles)
def test_the_module_tree_adds_up(profile):
    """A module and what is directly below it make its inclusive cost; roots and outside make the total."""
    inclusive, own = profile.inclusive(), profile.by("module")
    for path, cost in inclusive.items():
        children = [one for one in inclusive if one.rpartition(".")[0] == path and path]
        assert own.get(path, Cost()) + sum((inclusive[child] for child in children), Cost()) == cost
    roots = [path for path in inclusive if "." not in path]
    assert sum((inclusive[root] for root in roots), Cost()) == profile.total


def test_inclusive_names_containers_that_ran_nothing_themselves():
    """A container between two modules has the cost of what is in it."""
    deep = Profile((dataclasses.replace(LINEAR, module="Net.blocks.0.fc"),))
    assert deep.inclusive() == dict.fromkeys(["Net", "Net.blocks", "Net.blocks.0", "Net.blocks.0.fc"], LINEAR.cost)


def test_where_selects_by_value_or_by_any_of_several():
    """Conditions combine; a dtype may be torch's own."""
    assert PROFILE.where(phase="backward").rows == (GRAD,)
    assert PROFILE.where(op=("aten.mm", "aten.relu"), module="Net.a").rows == (GRAD,)
    assert PROFILE.where(dtype=torch.int64).rows == PROFILE.where(dtype="int64").rows == (INDEX,)
    assert PROFILE.where(op="aten.cos").rows == ()


@pytest.mark.parametrize(
    "question", [lambda p: p.by("modul"), lambda p: p.by(), lambda p: p.where(phaze="forward"), lambda p: p.by("cost")]
)
def test_a_wrong_key_gets_a_sentence_with_the_right_ones(question):
    """The error lists what rows can be asked for."""
    with pytest.raises(ProfileError, match="module, module_type, op, phase, dtype"):
        question(PROFILE)


@given(profiles, profiles)
def test_adding_profiles_adds_totals_and_merges_rows_of_a_kind(a, b):
    """The sum has each kind of row once."""
    both = a + b
    assert both.total == a.total + b.total
    kinds = [dataclasses.replace(row, calls=0, cost=Cost(), activations=0, **UNTIMED) for row in both.rows]
    assert len(kinds) == len(set(kinds))


@given(profiles, profiles)
def test_a_difference_leads_from_one_profile_to_the_other(before, after):
    """Before + (after - before) costs what after does, operator by operator."""
    reached = before + before.diff(after)
    assert reached.total == after.total
    for key, cost in after.by("op", "module").items():
        assert reached.by("op", "module")[key] == cost
    untimed = {dataclasses.replace(row, **UNTIMED) for row in merge(reached.rows)}
    assert {dataclasses.replace(row, **UNTIMED) for row in merge(after.rows)} <= untimed


def test_equal_profiles_do_not_differ():
    """The difference lists only what changed."""
    assert PROFILE.diff(PROFILE).rows == ()
    grown = Profile((*PROFILE.rows[:-1], dataclasses.replace(GRAD, cost=Cost(macs=25))))
    assert [row.cost for row in PROFILE.diff(grown).rows] == [Cost(macs=5)]


def test_times_add_where_there_are_any():
    """A row without a time does not make one of a merged row unknown."""
    timed = dataclasses.replace(LINEAR, seconds=0.5)
    assert (Profile((timed,)) + Profile((timed,))).rows[0].seconds == 1.0
    assert (Profile((LINEAR,)) + Profile((LINEAR,))).rows[0].seconds is None


def test_unpriced_operators_are_counted_by_name():
    """Calls add up over modules and phases; priced operators are not listed."""
    foreign = dataclasses.replace(RELU, op="mylib.f", priced=False, calls=3)
    other = dataclasses.replace(foreign, phase="backward", calls=2, dtype="int64")
    assert Profile((LINEAR, foreign, other)).unpriced == {"mylib.f": 5}


def test_a_profile_is_immutable_whatever_it_was_made_of():
    """Rows become a tuple, and cannot be replaced."""
    listed = [LINEAR]
    profile = Profile(listed)
    listed.append(RELU)
    assert profile.rows == (LINEAR,)
    with pytest.raises(dataclasses.FrozenInstanceError):
        profile.rows = ()


def test_the_representation_is_one_line():
    """A profile in a debugger does not fill the screen."""
    assert repr(PROFILE) == "<Profile of Net: 30 macs, 70 flops. print() shows the report>"
