"""Where to optimize, as data of the page: there with times or a device, with a reason where it cannot be, short."""

import json

import pytest
import sympy

from opflops import Cost, Profile, Row
from opflops.devices import Device
from opflops.records.dimensions import Dimension
from opflops.report.page.bottleneck_data import MAX_ENTRIES

TOY = Device("toy", {"float32": 1000.0}, 100.0)


def row(op="aten.mm", module="Net.a", seconds=None, flops=0, dtype="float32"):
    return Row(module, "Linear", op, "forward", dtype, 1, Cost(ops=flops), seconds)


def written(profile, **options):
    """Read the ranking that is in a page."""
    pytest.importorskip("plotly")
    data = profile.to_html(**options).split('<script type="application/json" id="data">')[1].split("</script>")[0]
    return json.loads(data)["bottlenecks"]


def test_times_or_a_device_are_ranked():
    """And without both there is nothing."""
    assert written(Profile((row(flops=5),))) is None
    (bound,) = written(Profile((row(flops=500),)), device=TOY)["lists"][1]["entries"]
    assert (bound["label"], bound["seconds"], bound["limit"], bound["saving"]) == ("aten.mm", 0.5, "arithmetic", 0.5)
    timed = written(Profile((row(seconds=3.0), row(module="Net.b", seconds=1.0))))
    assert [(each["label"], each["module"], each["share"]) for each in timed["lists"][0]["entries"]] == [
        ("Net.a", "Net.a", 0.75),
        ("Net.b", "Net.b", 0.25),
    ]
    assert timed["root"] == "Net."
    assert "Choose a device to see what holds each part back." in timed["notes"]


def test_names_of_several_models_are_whole():
    """What they have in common is nothing."""
    assert written(Profile((row(seconds=3.0), row(module="Other.a", seconds=1.0))))["root"] == ""


def test_what_cannot_be_ranked_on_the_device_says_why():
    """Without a peak times are ranked alone; without times, for formulas and in a difference there is the sentence."""
    double = Profile((row(flops=5, dtype="float64"),))
    assert "No peak of toy is known for float64" in written(double, device=TOY)["basis"]
    timed = written(Profile((row(flops=5, dtype="float64", seconds=2.0),)), device=TOY)
    assert timed["basis"].startswith("Where to optimize, by measured time: 2.000 s")
    assert "No peak of toy is known for float64" in timed["notes"][0]
    formula = Profile((row(flops=3 * sympy.Symbol("batch")),), dimensions=(Dimension("batch", 2),))
    assert "The ranking needs numbers" in written(formula, device=TOY)["basis"]
    less = Profile((row(flops=5, seconds=2.0),)).diff(Profile())
    assert "as in a difference" in written(less, device=TOY)["basis"]
    assert written(less) is None


def test_the_largest_are_listed():
    """However many there are."""
    many = written(Profile(row(f"aten.op{each}", f"Net.m{each}x", 1.0 + each) for each in range(MAX_ENTRIES + 3)))
    for listed in many["lists"]:
        assert (listed["all"], len(listed["entries"])) == (MAX_ENTRIES + 3, MAX_ENTRIES)
        assert listed["entries"][0]["seconds"] == MAX_ENTRIES + 3
