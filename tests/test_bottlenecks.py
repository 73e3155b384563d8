"""Where to optimize: modules and operators by time, what halving each saves, and what holds it back, by hand."""

import json
import re
from dataclasses import replace

import pytest
import torch

from opflops import Cost, OpFlopMode, Profile, ProfileError, Row, count
from opflops.devices import Device
from opflops.example import GPT
from opflops.records.timing import Timing

# A thousand operations a second in float32, four thousand in TF32; a hundred bytes.
TOY = Device("toy", {"float32": 1000.0, "tf32": 4000.0}, 100.0, "a drawing")
# A million times as fast, so that calls may take microseconds.
FAST = Device("fast", {"float32": 1e9}, 1e8)


def row(op, module="Net", seconds=None, flops=0, moved=0, calls=1, dtype="float32", kind="Linear", **others):
    return Row(module, kind, op, "forward", dtype, calls, Cost(0, flops, 0, moved, 0), seconds, **others)


def flat(text):
    return " ".join(str(text).split())


def by_label(entries):
    return {each.label: each for each in entries}


TIMED = Profile(
    (
        row("aten.mm", "Net.a", 6.0),
        row("aten.mm", "Net.b", 2.0),
        row("aten.relu", "Net.b", 1.0),
        row("aten.add", "Net", 1.0, calls=3),
    )
)


def test_half_of_a_part_saves_half_of_its_share():
    """By hand, of 10 s: mm has 0.8, saves 0.4, is 1 / 0.6 times as fast; relu has 0.1, is 1 / 0.95 times as fast."""
    found = TIMED.bottlenecks()
    assert found.seconds == 10.0
    assert found.measured
    mm, relu, add = found.operators
    assert (mm.label, mm.kind, mm.seconds, mm.share, mm.saving) == ("aten.mm", "operator", 8.0, 0.8, 0.4)
    assert mm.speedup == pytest.approx(1 / 0.6)
    assert (relu.label, relu.saving, add.label, add.calls) == ("aten.relu", 0.05, "aten.add", 3)
    assert relu.speedup == pytest.approx(1 / 0.95)


def test_the_saving_is_what_a_run_with_half_of_the_part_takes():
    """Halve the seconds of one module, and compare the sums: the law holds without a formula."""
    whole = sum(each.seconds for each in TIMED.rows)
    for entry in TIMED.bottlenecks().modules:
        quicker = [
            replace(each, seconds=each.seconds / 2) if each.module in entry.paths else each for each in TIMED.rows
        ]
        left = sum(each.seconds for each in quicker)
        assert 1 - left / whole == pytest.approx(entry.saving)
        assert whole / left == pytest.approx(entry.speedup)


def test_modules_count_with_those_below_and_say_where_they_are():
    """Inclusive time, the closest listed module around, and own time that shares out the whole."""
    profile = Profile(
        (
            row("aten.mm", "Net.body.a", 5.0),
            row("aten.mm", "Net.body.b", 2.0),
            row("aten.add", "Net.body", 1.0),
            row("aten.mm", "Net.head", 2.0),
        )
    )
    found = by_label(profile.bottlenecks().modules)
    assert {name: (each.seconds, each.own, each.within) for name, each in found.items()} == {
        "Net.body": (8.0, 1.0, ""),
        "Net.body.a": (5.0, 5.0, "Net.body"),
        "Net.body.b": (2.0, 2.0, "Net.body"),
        "Net.head": (2.0, 2.0, ""),
    }
    assert "so these overlap" in flat(profile.bottlenecks())


def test_every_second_is_the_own_time_of_one_module():
    """Whatever is folded or left out: wrappers, the only root, work outside, integer work."""
    profile = Profile(
        (
            row("aten.mm", "Net.wrapped.inner.0", 1.0),
            row("aten.mm", "Net.wrapped.inner.1", 2.0),
            row("aten.mm", "Net.wrapped.inner.1", 4.0, dtype="int64"),
            row("aten.add", "Net", 8.0),
            row("aten.sum", "", 16.0),
        )
    )
    found = profile.bottlenecks()
    assert sum(each.own for each in found.modules) == sum(each.seconds for each in found.operators) == 31.0
    assert [(each.label, each.seconds) for each in found.modules] == [
        ("(outside)", 16.0),
        ("Net (own work)", 8.0),
        ("Net.wrapped.inner", 7.0),
        ("Net.wrapped.inner.1", 6.0),
        ("Net.wrapped.inner.0", 1.0),
    ]
    assert found.integer == ("int64",)
    assert "The times include the work in int64; other totals do not." in flat(found)


def test_equal_blocks_are_one_entry():
    """Twelve blocks of 1 s and a head of 3 s: the blocks have 0.8, and so do not twelve times 0.067."""
    rows = [row("aten.mm", f"Net.blocks.{each}.fc", 0.75, kind="Linear") for each in range(12)]
    rows += [row("aten.add", f"Net.blocks.{each}", 0.25, kind="Block") for each in range(12)]
    blocks, inner, head = Profile((*rows, row("aten.mm", "Net.head", 3.0))).bottlenecks().modules
    assert (blocks.label, blocks.seconds, blocks.share, blocks.own) == ("Net.blocks.0-11 ×12", 12.0, 0.8, 3.0)
    assert blocks.paths == tuple(f"Net.blocks.{each}" for each in range(12))
    assert (inner.label, inner.seconds, inner.within) == ("Net.blocks.0-11.fc ×12", 9.0, "Net.blocks.0-11 ×12")
    assert inner.paths[-1] == "Net.blocks.11.fc"
    assert (head.label, head.share) == ("Net.head", 0.2)


def test_blocks_are_folded_as_in_the_report():
    """Also inside blocks, and across blocks that differ: the labels are those of a real model."""
    model = torch.nn.Sequential(*(torch.nn.TransformerEncoderLayer(16, 2, 32, batch_first=True) for _ in range(3)))
    profile = count(model, torch.zeros(2, 4, 16), device="cpu")
    found = by_label(profile.bottlenecks(TOY).modules)
    assert "0-2 ×3" in profile.table()
    assert found["Sequential.0-2 ×3"].paths == ("Sequential.0", "Sequential.1", "Sequential.2")
    assert found["Sequential.0-2.linear1 ×3"].within == "Sequential.0-2 ×3"


def test_several_models_are_entries_and_a_single_layer_is():
    """A generator and its critic are parts of the whole; one layer is all there is."""
    two = Profile((row("aten.mm", "G.a", 1.0), row("aten.add", "G", 1.0), row("aten.mm", "D.a", 2.0)))
    assert {"G", "D.a"} <= set(by_label(two.bottlenecks().modules))
    (only,) = Profile((row("aten.mm", "Linear", 1.0),)).bottlenecks().modules
    assert (only.label, only.share, only.speedup) == ("Linear", 1.0, 2.0)


def test_without_times_the_bound_on_the_device_counts():
    """By hand: 50 s of arithmetic against 20 s of traffic; 30 s of traffic; together 80 s."""
    profile = Profile((row("aten.mm", "Net.a", flops=50_000, moved=2_000), row("aten.cat", "Net.b", moved=3_000)))
    found = profile.bottlenecks(TOY)
    mm, cat = found.operators
    assert (found.seconds, found.measured, found.limits) == (80.0, False, {"arithmetic": 50.0, "memory": 30.0})
    assert (mm.seconds, mm.share, mm.limit, mm.bound) == (50.0, 0.625, "arithmetic", 50.0)
    assert (cat.seconds, cat.limit, cat.attained) == (30.0, "memory", None)
    assert "Launches cannot be told without times." in flat(found)
    assert "a drawing" in flat(found)


def test_the_bounds_are_those_of_the_roofline():
    """Operators as there, and modules as the sums of the rows below them."""
    profile = count(torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.GELU()), torch.zeros(4, 8), backward=True)
    bounds = {part.label: part.seconds for part in profile.roofline("a100-sxm-80gb").parts}
    found = profile.bottlenecks("a100-sxm-80gb")
    assert {each.label: each.seconds for each in found.operators} == pytest.approx(bounds)
    for each in found.modules:
        inside = profile.where(module=lambda path, each=each: path.startswith(each.paths))
        assert (
            each.seconds == pytest.approx(inside.roofline("a100-sxm-80gb").total.seconds) or each.label == "(outside)"
        )


def test_times_win_over_bounds():
    """The bound says mm, the clock says cat; both are shown."""
    profile = Profile((row("aten.mm", flops=50_000, seconds=60.0), row("aten.cat", moved=100, seconds=90.0)))
    cat, mm = profile.bottlenecks(TOY).operators
    assert (cat.label, cat.seconds, cat.bound, cat.limit) == ("aten.cat", 90.0, 1.0, "memory")
    assert (mm.attained, mm.limit) == (50 / 60, "arithmetic")
    assert "83.3 %" in str(profile.bottlenecks(TOY))


@pytest.mark.parametrize(
    ("seconds", "calls", "flops", "limit"),
    [
        (5e-3, 1000, 100, "launches"),  # 5 µs a call, 0.1 ns of arithmetic
        (20e-6, 1, 10_000, "launches"),  # on both edges: 20 µs, twice 10 µs
        (20e-6, 1, 10_001, "arithmetic"),
        (21e-6, 1, 100, "arithmetic"),
        (5e-6, 1, 4_000, "arithmetic"),  # 4 µs of 5
        (0.5, 1, 100, "arithmetic"),  # far above the bound, but no launch takes half a second
        (0.5, 1, 0, "launches"),  # a view: there is nothing else
    ],
)
def test_launches_hold_back_short_calls_far_above_their_bound(seconds, calls, flops, limit):
    """At most 20 µs a call, and at least twice the bound."""
    (found,) = Profile((row("aten.op", seconds=seconds, calls=calls, flops=flops),)).bottlenecks(FAST).operators
    assert found.limit == limit
    assert found.limits == {limit: seconds}


def test_a_part_is_held_back_by_what_holds_most_of_its_time():
    """60 s of arithmetic in a module, 25 s and 30 s of traffic beside it: half and half would not say which."""
    rows = (
        row("aten.cat", "Net.a", 25.0, moved=2_000),
        row("aten.mm", "Net.a", 60.0, flops=50_000),
        row("aten.mm", "Net.b", 30.0, flops=50, moved=2_500),
    )
    found = Profile(rows).bottlenecks(TOY)
    assert by_label(found.modules)["Net.a"].limits == {"arithmetic": 60.0, "memory": 25.0}
    assert by_label(found.modules)["Net.a"].limit == by_label(found.operators)["aten.mm"].limit == "arithmetic"
    assert found.limits == {"arithmetic": 60.0, "memory": 55.0}
    assert "Held back in all by arithmetic 52.2 % and memory 47.8 %." in flat(found)


def test_without_a_device_nothing_says_what_holds_back():
    """And the table says what to give."""
    found = TIMED.bottlenecks()
    assert {each.limit for each in found.entries} == {""}
    assert found.operators[0].bound is None
    assert "Give a device, as in bottlenecks('h100-sxm'), to see what holds each part back." in flat(found)
    assert "held back by" not in str(found)


def test_nothing_is_left_out_in_silence():
    """What was not timed, has no formula, or is an estimate is named with its calls."""
    rows = (
        row("aten.mm", seconds=4.0, flops=100),
        row("aten.cat", calls=7, moved=10),
        row("my.op", seconds=1.0, calls=2, priced=False),
        row("aten.eigh", seconds=1.0, flops=5, estimate="iterative"),
    )
    found = Profile(rows).bottlenecks(TOY)
    assert (found.seconds, "aten.cat" in by_label(found.operators)) == (6.0, False)
    assert (found.untimed, found.unpriced, found.estimated) == ({"aten.cat": 7}, {"my.op": 2}, ("aten.eigh",))
    text = flat(found)
    assert "Not timed, so in no line: aten.cat (7 calls)." in text
    assert "Without a formula, so that the bound is of their bytes only: my.op (2 calls)." in text
    assert "my.op (unpriced)" in text
    assert "The counts of aten.eigh are estimates, and so are their bounds." in text
    assert by_label(found.operators)["my.op"].limit == ""
    untimed = Profile([replace(each, seconds=None) for each in rows]).bottlenecks(TOY)
    assert untimed.untimed == {}
    assert untimed.unpriced == {"my.op": 2}


def test_how_times_were_measured_is_said():
    """Medians or a single run, what was timed once and cold, and what the profile leaves out."""
    rows = (row("aten.mm", seconds=4.0), row("aten.add", seconds=1.0, calls=3))
    once = Profile(rows, remarks=("Not counted: modules called in other threads: Net (2 calls).",))
    text = flat(once.bottlenecks())
    assert "Timed in a single call, which may be a slow first one: aten.mm." in text
    assert "Not counted: modules called in other threads: Net (2 calls)." in text
    rows = tuple(replace(each, spread=0.1) for each in rows)
    warm = Profile(rows, timing=Timing(runs=7, warmup=3, median=6.0, spread=0.2, wall=8.0))
    text = flat(warm.bottlenecks())
    assert "Times are medians of 7 runs after 3 of warm-up" in text
    assert "A run takes 8.000 s without the mode; these operators take 62 % of that." in text
    assert "in a single call" not in text
    single = Profile((replace(rows[0], spread=None), rows[1]), timing=Timing(runs=1, warmup=2, median=6.0, wall=8.0))
    assert single.bottlenecks().timed_once == ()


def test_neither_times_nor_a_device_is_an_error_that_says_what_to_give():
    """With the mode's option, and with a device."""
    profile = Profile((row("aten.mm", flops=1),))
    with pytest.raises(ProfileError, match=r"OpFlopMode\(timing=True\).*bottlenecks\('h100-sxm'\)"):
        profile.bottlenecks()


@pytest.mark.parametrize("name", ["h100", 3, "h100-sxm:tf64"])
def test_a_device_is_what_the_roofline_takes(name):
    """The same errors, and the same suffix."""
    profile = Profile((row("aten.mm", flops=8_000),))
    with pytest.raises(ProfileError):
        profile.bottlenecks(name)
    assert profile.bottlenecks("h100-sxm:tf32").seconds == profile.bottlenecks("h100-sxm", tf32=True).seconds
    assert profile.bottlenecks(TOY, tf32=True).seconds == 2.0
    with pytest.raises(ProfileError, match="No peak of toy is known for float64"):
        Profile((row("aten.mm", flops=1, dtype="float64"),)).bottlenecks(TOY)


def test_expressions_and_differences_are_refused():
    """Sizes come first; there is no time below zero."""
    import sympy  # noqa: PLC0415 - only here

    symbolic = Profile((row("aten.mm", flops=sympy.Symbol("batch", positive=True, integer=True)),))
    with pytest.raises(ProfileError, match=r"The ranking needs numbers.*Choose sizes first: profile\.at\("):
        symbolic.bottlenecks(TOY)
    with pytest.raises(ProfileError, match="as in a difference of profiles"):
        TIMED.diff(Profile()).bottlenecks()
    with pytest.raises(ProfileError, match="too large to compute a time"):
        Profile((row("aten.mm", flops=2**1100),)).bottlenecks(TOY)


def test_nothing_to_rank_is_said():
    """Views alone take no time at the bound."""
    found = Profile((row("aten.view"),)).bottlenecks(TOY)
    assert (found.seconds, found.operators[0].share, found.operators[0].speedup) == (0.0, 0.0, 1.0)
    assert "There is nothing to optimize: no operator takes any time." in flat(found)
    assert Profile().bottlenecks(TOY).entries == ()


def test_entries_are_plain_data():
    """In one list, longest first, and as JSON."""
    found = TIMED.bottlenecks(TOY).entries
    assert [each.seconds for each in found] == sorted((each.seconds for each in found), reverse=True)
    assert json.loads(json.dumps([each._asdict() for each in found]))[0]["label"] == "aten.mm"
    assert TIMED.bottlenecks(TOY) == TIMED.bottlenecks(TOY)


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_the_table_fits_where_it_is_shown(monkeypatch, columns):
    """What can be missed most goes first; time and saving stay."""
    monkeypatch.setenv("COLUMNS", str(columns))
    names = "aten.a_rather_long_name_of_an_operator", "aten.mm"
    rows = [row(name, f"Net.part.{name[-1]}.of{name}", 2.0, 5) for name in names]
    text = str(Profile(rows).bottlenecks(TOY))
    assert max(map(len, text.splitlines())) <= max(columns, 60)
    assert "half saves" in text
    table, _, hidden = text.partition("Hidden because")
    assert ("own %" in table) == (columns == 200)
    assert ("own %" in hidden) == (columns < 200)


def test_the_largest_are_shown_and_the_others_counted():
    """Ten of each by default, all by None; the others have no sum, since modules overlap."""
    many = Profile([row(f"aten.op{each}", f"Net.m{each}x", 1.0 + each) for each in range(12)])
    found = many.bottlenecks()
    assert str(found).count("2 more, each at most  2.000 s") == 2
    assert "more, each at most" not in found.table(None)
    assert re.search(r"^11 more, each at most +11\.00 s", found.table(1), re.MULTILINE)
    with pytest.raises(ProfileError, match="top must be 1 or more"):
        found.table(0)


def test_a_run_faster_or_far_slower_than_the_bound_is_remarked_on():
    """Caches, or another device."""
    text = flat(
        Profile((row("aten.mm", flops=50_000, seconds=1.0), row("aten.cat", moved=100, seconds=99.0))).bottlenecks(TOY)
    )
    assert "Faster than the bound: aten.mm." in text
    assert "Below a tenth of the bound, but not for launches: aten.cat." in text


def test_a_timed_model_is_ranked():
    """The blocks of a small GPT hold most of its time, and its operators add up to its rows."""
    model, ids = GPT(width=64, layers=3, heads=2, vocabulary=64, longest=32), torch.zeros(2, 32, dtype=torch.int64)
    with OpFlopMode(timing=True) as mode:
        model(ids)
    found = mode.profile.bottlenecks("t4")
    assert sum(each.seconds for each in found.operators) == pytest.approx(
        sum(each.seconds for each in mode.profile.rows)
    )
    assert any(each.label == "GPT.blocks.0-2 ×3" for each in found.modules)
