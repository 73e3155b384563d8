"""What a plain prompt shows: a line for each object, values as the calls that make them."""

import pytest
import torch
from torch import nn

import opflops
from opflops import Cost, OpFlopMode, Profile, Row, count, coverage, largest_size
from opflops.devices import DEVICES
from opflops.records.modules import ModuleRecord
from opflops.records.timing import Timing

NAMES = {"Cost": Cost, "Row": Row, "ModuleRecord": ModuleRecord, "Timing": Timing}
ROW = Row("Net.fc", "Linear", "aten.mm", "forward", "float32", 2, Cost(macs=12, bytes_read=8), 0.5, group="tp (2)")
VALUES = [
    *(Cost(), Cost(macs=3, sent=1), ROW, Row("Net", "Net", "aten.t", "forward", "float32", 0, Cost())),
    *(ModuleRecord("A", "B", 3), Timing(5, 1, 0.25, calls={"Net": 2})),
]
BATCH = {0: torch.export.Dim("batch")}


@pytest.mark.parametrize("value", VALUES)
def test_values_show_the_call_that_makes_them(value):
    """Without what is as by default, on one line."""
    assert eval(repr(value), NAMES) == value  # noqa: S307 - written by this test
    assert "\n" not in repr(value)
    assert not [part for part in ("=None", "=''", "={}", "priced", "sent=0", "macs=0") if part in repr(value)]


def test_profiles_and_modes_show_what_they_counted():
    """By hand: 2 x 4 x 3 multiply-accumulates, and as many biases as outputs."""
    mode = OpFlopMode()
    assert repr(mode) == "<OpFlopMode, not entered>"
    with mode:
        assert repr(mode) == "<OpFlopMode: nothing counted>"
        x = torch.ones(2, 4)
        nn.Linear(4, 3)(x)
        assert repr(mode) == "<OpFlopMode of Linear: 24 macs, 54 flops, 15 params. print() shows the report>"
    assert repr(mode.profile) == "<Profile of Linear: 24 macs, 54 flops, 15 params. print() shows the report>"
    assert repr(Profile()) == "<Profile: nothing counted>"
    assert repr(mode.profile - mode.profile) == "<Difference: no work changed>"
    twice = 2 * mode.profile - mode.profile
    assert repr(twice).startswith("<Difference: ")
    assert "+24 macs, +54 flops" in repr(twice)


def test_several_models_ranks_and_unpriced_operators_are_told():
    """The first two of many models, the number of ranks, and what is missing from the counts."""
    rows = [Row(f"Net{number}", "", "my.op", "forward", "float32", 1, Cost(), priced=False) for number in range(5)]
    assert repr(Profile(rows)) == (
        "<Profile of Net0, Net1 and 3 more: 0 macs, 0 flops, 1 operator without a formula. print() shows the report>"
    )
    assert repr(Profile([Row("", "", "aten.mm", "forward", "float32", 1, Cost(macs=5))])) == (
        "<Profile of (outside): 5 macs, 10 flops. print() shows the report>"
    )
    assert r"Net\n2:" in repr(Profile([Row("Net\n2", "", "aten.mm", "forward", "float32", 1, Cost(macs=5))]))


def made():
    """Make one object of each kind that answers a question on a profile."""
    net = nn.Sequential(nn.Linear(64, 64), nn.ReLU())
    profile = count(net, torch.ones(2, 64), memory=True, backward=True)
    sized = count(net, torch.ones(2, 64), dynamic_shapes=(BATCH,))
    timed = Profile([ROW])
    sent = Profile([Row("", "", "c10d.send", "forward", "float32", 1, Cost(sent=8), group="tp (2)")])
    return {
        "roofline": profile.roofline("l4"),
        "bottlenecks": timed.bottlenecks(),
        "bottlenecks on a device": profile.bottlenecks("l4"),
        "nothing to optimize": Profile().bottlenecks("l4"),
        "scaling": sized.scaling(),
        "memory": profile.memory,
        "communication": sent.communication(),
        "resources": profile.resources("l4", steps=3, mfu=0.5),
        "utilization": profile.mfu(0.5, "l4"),
        "module": profile.module("Sequential.0"),
        "device": DEVICES["h100-sxm"],
        "coverage": coverage(),
        "size": largest_size(net, torch.ones(2, 64), dynamic_shapes=(BATCH,), fits=10**6),
        "page": profile.to_html(),
    }


def test_answers_show_a_line_with_their_result():
    """In angle brackets, no longer than two lines of a terminal."""
    for name, value in made().items():
        text = repr(value)
        assert (text[0], text[-1], "\n" in text) == ("<", ">", False), name
        assert len(text) <= 200, name


def test_the_plan_of_a_cluster_shows_a_line():
    """With the whole of all ranks."""
    plan = opflops.plan(lambda mesh: nn.Linear(4, 3), torch.ones(2, 4), mesh={"dp": 2})
    assert repr(plan) == (
        "<Plan of 2 ranks (mesh dp 2): forward. All 2 ranks: 48 macs, 108 flops, 0 B sent. print() shows the report>"
    )
