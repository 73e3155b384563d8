"""Repeated modules: which are found, what they are called, that lines with them add up, and how they are opened."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from opflops import Cost, OpFlopMode, Profile, ProfileError, Row
from opflops.report.amounts import MODULE, OPERATOR, OTHERS
from opflops.report.text.collapse import format_repeats, group_repeats, split_number
from opflops.report.text.tree_lines import tree_lines

NO_SIZES = {}


def row(module, macs=1, op="aten.mm", **changes):
    return replace(Row(module, "Linear", op, "forward", "float32", 1, Cost(macs=macs)), **changes)


def modules(rows, **options):
    """List the modules of a tree with their multiply-accumulates."""
    lines = tree_lines(rows, sizes=NO_SIZES, **options).lines
    return [(line.name, line.amount.cost.macs) for line in lines if line.kind == MODULE]


@pytest.mark.parametrize(
    ("kinds", "groups"),
    [
        ("", []),
        ("abc", [[0], [1], [2]]),
        ("aab", [[0, 1], [2]]),
        ("abb", [[0], [1, 2]]),
        ("aabb", [[0, 1], [2, 3]]),
        # A pattern is one from its third repetition on.
        ("abab", [[0], [1], [2], [3]]),
        ("ababab", [[0, 2, 4], [1, 3, 5]]),
        ("abababa", [[0, 2, 4, 6], [1, 3, 5]]),
        # Five of one kind and one of another, four times, and the beginning of a fifth.
        ("aaaaab" * 4 + "aa", [[each for each in range(26) if each % 6 != 5], [5, 11, 17, 23]]),
        ("abcabcabcd", [[0, 3, 6], [1, 4, 7], [2, 5, 8], [9]]),
        ("aba", [[0], [1], [2]]),
    ],
)
def test_runs_and_patterns_are_found(kinds, groups):
    """Two in a row are a group, and so are those in the same place of a pattern that comes three times."""
    assert list(group_repeats(kinds)) == groups


def test_what_has_no_kind_stays_alone():
    """Two of them are not the same."""
    assert list(group_repeats([None, None, "a", "a"])) == [[0], [1], [2, 3]]


@given(st.text(alphabet="abc", max_size=40))
def test_each_sibling_is_in_one_group_of_its_kind(kinds):
    """None is lost, none is doubled, and groups are in order of their first members."""
    found = list(group_repeats(kinds))
    assert sorted(position for group in found for position in group) == list(range(len(kinds)))
    assert all(len({kinds[position] for position in group}) == 1 for group in found)
    assert [group[0] for group in found] == sorted(group[0] for group in found)


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["0", "1", "2"], "0-2 ×3"),
        (["3", "2", "1"], "1-3 ×3"),
        (["0", "2", "4", "6"], "0,2,4,6 ×4"),
        (["0", "2", "4", "6", "8"], "0,2,…,8 ×5"),
        (["block01", "block02"], "block01-02 ×2"),
        (["conv1_a", "conv2_a", "conv4_a"], "conv1-2,4_a ×3"),
        (["1", "01", "2"], "01,1-2 ×3"),
        (["a" + "9" * 5000 + "1", "a" + "9" * 5000 + "2"], "a" + "9" * 5000 + "1-" + "9" * 17 + "2 ×2"),
    ],
)
def test_groups_are_named_by_their_numbers(names, text):
    """Ranges where they follow each other; of many the first and the last."""
    assert format_repeats([split_number(name) for name in names]) == text


def test_equal_neighbours_are_one_line_with_the_costs_of_all():
    """Also what is below them is of all: modules and operators."""
    rows = [row(f"Net.layers.{index}.fc", 5) for index in range(80)]
    assert modules(rows) == [("Net", 400), ("layers", 400), ("0-79 ×80", 400), ("fc (Linear)", 400)]
    last = tree_lines(rows, sizes=NO_SIZES).lines[-1]
    assert (last.name, last.amount.calls, last.amount.cost.macs) == ("aten.mm", 80, 400)


@pytest.mark.parametrize(
    "change",
    [
        {"op": "aten.bmm"},
        {"cost": Cost(macs=2)},
        {"cost": Cost(macs=1, bytes_read=1)},
        {"calls": 2},
        {"phase": "backward"},
        {"dtype": "bfloat16"},
        {"module_type": "Conv2d"},
        {"estimate": "a reason"},
        {"priced": False},
        {"module": "Net.1.other"},
    ],
)
def test_whoever_differs_in_anything_stays_alone(change):
    """One of three is not like the others: the two before it are together, and it is not with them."""
    rows = [row("Net.0.fc"), row("Net.1.fc"), row("Net.2.fc")]
    assert [name for name, _ in modules(rows)] == ["Net", "0-2 ×3", "fc (Linear)"]
    rows[1] = replace(rows[1], **change)
    assert not any("×" in name for name, _ in modules(rows))


def test_times_do_not_tell_modules_apart():
    """No two runs take the same time; those of a line are added up."""
    rows = [row(f"Net.{index}", seconds=0.25 * index) for index in range(4)]
    (_, line, _) = tree_lines(rows, sizes=NO_SIZES).lines
    assert (line.name, line.amount.seconds) == ("0-3 ×4 (Linear)", 1.5)


def test_names_that_differ_in_more_than_a_number_stay():
    """Query, key and value cost the same, and are not one thing three times."""
    rows = [row(f"Net.{name}") for name in ("query", "key", "value", "norm1", "norm2")]
    assert [name for name, _ in modules(rows)][1:4] == ["query (Linear)", "key (Linear)", "value (Linear)"]
    assert modules(rows)[4] == ("norm1-2 ×2 (Linear)", 2)


def test_repeated_modules_inside_of_repeated_ones():
    """Eight experts in each of four layers are two lines."""
    rows = [row(f"Net.layers.{layer}.experts.{expert}", 3) for layer in range(4) for expert in range(8)]
    expected = [("Net", 96), ("layers", 96), ("0-3 ×4", 96), ("experts", 96), ("0-7 ×8 (Linear)", 96)]
    assert modules(rows) == expected
    assert modules(rows, expand="Net.layers.*.experts")[4:] == [(f"{expert} (Linear)", 12) for expert in range(8)]


def test_rows_that_come_twice_are_not_taken_for_one():
    """Three rows of which two are alike differ from three with the other two alike."""
    rows = [row("Net.0"), row("Net.0"), row("Net.0", 2), row("Net.1"), row("Net.1", 2), row("Net.1", 2)]
    assert [name for name, _ in modules(rows)] == ["Net", "0 (Linear)", "1 (Linear)"]


LAYERS = [row(f"Net.layers.{index}.fc") for index in range(6)] + [row(f"Net.heads.{index}") for index in range(3)]


@pytest.mark.parametrize(
    ("expand", "names"),
    [
        (False, ["layers", "0-5 ×6", "fc", "heads", "0-2 ×3"]),
        (True, ["layers", *["0", "fc", "1", "fc", "2", "fc", "3", "fc", "4", "fc", "5", "fc"], "heads", "0", "1", "2"]),
        ("Net.heads", ["layers", "0-5 ×6", "fc", "heads", "0", "1", "2"]),
        ("Net.layers.2", ["layers", "0-1 ×2", "fc", "2", "fc", "3-5 ×3", "fc", "heads", "0-2 ×3"]),
        ("Net.layers.2.fc", ["layers", "0-1 ×2", "fc", "2", "fc", "3-5 ×3", "fc", "heads", "0-2 ×3"]),
        (["Net.heads", "Net.layers.5"], ["layers", "0-4 ×5", "fc", "5", "fc", "heads", "0", "1", "2"]),
        ("Net.h*", ["layers", "0-5 ×6", "fc", "heads", "0", "1", "2"]),
        ("Net.layers.[01]", ["layers", "0", "fc", "1", "fc", "2-5 ×4", "fc", "heads", "0-2 ×3"]),
    ],
)
def test_repeated_modules_can_be_shown_one_by_one(expand, names):
    """All of them, those below a module, or a single one."""
    found = modules(LAYERS, expand=expand)
    assert [name.removesuffix(" (Linear)") for name, _ in found] == ["Net", *names]
    assert found[0] == ("Net", 9)


@pytest.mark.parametrize("expand", ["Net.layer", ["Net.heads", "Net.layer"], "Other.*"])
def test_what_is_no_module_cannot_be_expanded(expand):
    """The message gives the nearest paths."""
    with pytest.raises(ProfileError, match=r"There is no module '(Net.layer'.*Net.layers|Other)"):
        Profile(LAYERS).table(expand=expand)


def test_reports_say_what_a_repeated_line_is():
    """And only where there is one."""
    assert "×N marks N equal modules on one line." in Profile(LAYERS).table()
    assert "×" not in Profile(LAYERS).table(expand=True)
    assert "×" not in Profile([row("Net.a"), row("Net.b")]).table()


def test_what_only_moves_data_is_put_together_where_there_is_little_room():
    """First that, then all operators, then levels of modules."""
    rows = [row("Net.a", 5), row("Net.a", 0, "aten.t"), row("Net.a", 0, "aten.view"), row("Net.b", 1)]

    def shown(most):
        return [line.name for line in tree_lines(rows, sizes=NO_SIZES, max_lines=most).lines]

    together = tree_lines(rows, sizes=NO_SIZES, max_lines=6).lines[3]
    assert (together.name, together.amount.calls) == ("2 without arithmetic", 2)
    assert shown(7) == ["Net", "a (Linear)", "aten.mm", "aten.t", "aten.view", "b (Linear)", "aten.mm"]
    assert shown(6) == ["Net", "a (Linear)", "aten.mm", "2 without arithmetic", "b (Linear)", "aten.mm"]
    assert shown(5) == ["Net", "a (Linear)", "b (Linear)"]
    assert shown(2) == ["Net"]


def test_windows_that_alternate_are_two_lines():
    """As in Swin transformers, where every second block shifts its windows."""
    blocks = [nn.Linear(4, 4) if index % 2 else nn.Sequential(nn.Linear(4, 4), nn.ReLU()) for index in range(6)]
    with OpFlopMode() as mode:
        nn.Sequential(*blocks)(torch.zeros(1, 4))
    table = mode.profile.where(module=[each.module for each in mode.profile.rows if each.module]).table(depth=1)
    assert "0,2,4 ×3" in table
    assert "1,3,5 ×3 (Linear)" in table


names = st.sampled_from(["0", "1", "2", "3", "a", "b1", "b2"])
trees = st.lists(
    st.builds(
        Row,
        module=st.lists(names, max_size=3).map(lambda parts: ".".join(["Net", *parts])),
        module_type=st.just("Block"),
        op=st.sampled_from(["aten.mm", "aten.add", "aten.view", "aten.t"]),
        phase=st.sampled_from(["forward", "backward"]),
        dtype=st.just("float32"),
        calls=st.integers(min_value=1, max_value=2),
        cost=st.builds(Cost, st.integers(min_value=0, max_value=1)),
    ),
    max_size=12,
)


def several(rows, times):
    """Put copies of a model into one."""
    return [
        replace(each, module=each.module.replace("Net", f"Net.layers.{index}"))
        for index in range(times)
        for each in rows
    ]


@settings(deadline=None)
@given(
    st.builds(several, trees, st.integers(min_value=1, max_value=4)),
    st.one_of(st.none(), st.integers(min_value=0, max_value=5)),
    st.one_of(st.none(), st.integers(min_value=1, max_value=3)),
    st.one_of(st.none(), st.integers(min_value=2, max_value=30)),
    st.booleans(),
)
def test_lines_add_up_whatever_is_shown(rows, depth, top, most, expand):
    """A line is the sum of those one step further in, unless there are none; the outermost are the total."""
    found = tree_lines(rows, depth=depth, top=top, max_lines=most, expand=expand, sort="macs", sizes=NO_SIZES).lines
    assert most is None or top is not None or len(found) <= most
    sums = [(line.amount.calls, line.amount.cost) for line in found]

    def inside(start, indent):
        added, count, position = Cost(), 0, start
        while position < len(found) and found[position].depth >= indent:
            if found[position].depth == indent:
                added, count = added + sums[position][1], count + sums[position][0]
            position += 1
        return count, added

    for position, line in enumerate(found):
        if position + 1 < len(found) and found[position + 1].depth > line.depth:
            assert inside(position + 1, line.depth + 1) == sums[position]
    assert inside(0, 0) == (sum(each.calls for each in rows), sum((each.cost for each in rows), Cost()))


@settings(deadline=None)
@given(st.builds(several, trees, st.integers(min_value=1, max_value=4)), st.integers(min_value=1, max_value=6))
def test_top_keeps_the_largest_operators_wherever_they_are(rows, top):
    """None that is left out costs more than one that is kept, and every kept one has the modules above it."""

    def leaves(lines):
        return [
            line
            for position, line in enumerate(lines)
            if position + 1 == len(lines) or lines[position + 1].depth <= line.depth
        ]

    everything = tree_lines(rows, sort="macs", sizes=NO_SIZES).lines
    found = tree_lines(rows, top=top, sort="macs", sizes=NO_SIZES).lines
    operators = [line for line in found if line.kind == OPERATOR]
    assert (
        sorted((line.amount.cost.macs for line in operators), reverse=True)
        == sorted((line.amount.cost.macs for line in leaves(everything)), reverse=True)[:top]
    )
    assert all(line.kind in (OPERATOR, OTHERS) for line in leaves(found))
    assert [line.depth for line in found[:1]] == [0] * bool(rows)


@settings(deadline=None)
@given(
    st.builds(several, trees, st.integers(min_value=1, max_value=40)),
    st.integers(min_value=0, max_value=1),
    st.booleans(),
)
def test_a_shallow_tree_is_no_longer_than_the_default_report(rows, depth, expand):
    """However many modules and operators there are, and at any width."""
    profile = Profile(tuple(rows))
    for width in (60, 100):
        shallow = profile.table(depth=depth, expand=expand, width=width).splitlines()
        assert len(shallow) <= len(profile.overview(expand=expand, width=width).splitlines())


@pytest.mark.parametrize("operators", [1, 3, 30])
def test_a_shallow_tree_of_many_modules_is_no_longer_than_the_default_report(operators):
    """Sixty modules that differ: the smallest are added up, and a note says how to see them."""
    rows = [
        row(f"Net.{'abcdefghijklmnopqrstuvwxyz'[index % 26] * (1 + index // 26)}", index + 1, f"aten.op{operator}")
        for index in range(60)
        for operator in range(operators)
    ]
    profile = Profile(tuple(rows))
    shallow = profile.table(depth=1, width=100)
    assert len(shallow.splitlines()) <= len(profile.overview(width=100).splitlines())
    assert "largest modules" in shallow
    assert "other modules" in shallow
    assert len(profile.table(depth=2, width=100).splitlines()) > 60
