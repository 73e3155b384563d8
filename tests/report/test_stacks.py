"""Folded stacks and speedscope files."""

import json

import pytest
import torch
from hypothesis import given
from test_rows import LINEAR, PROFILE, RELU, profiles

from opflops import Cost, Profile, ProfileError, Row, count
from opflops.example import INPUT_SHAPE, SimpleCNN


def read(text):
    """Split lines as flame graph scripts do: the number is behind the last space."""
    lines = [line.rpartition(" ") for line in text.splitlines()]
    return {stack: int(number) for stack, _, number in lines}


def test_one_line_for_each_module_and_operator():
    """Modules outermost first, then the operator, then its own count."""
    assert Profile((LINEAR, RELU)).to_folded() == "Net;a;aten.addmm 24\nNet;ReLU();aten.relu 6"


def test_several_phases_are_towers_of_their_own():
    """The phase is the first frame where there are several."""
    assert read(PROFILE.to_folded()) == {
        "forward;Net;a;aten.addmm": 24,
        "forward;Net;ReLU();aten.relu": 6,
        "backward;Net;a;aten.mm": 40,
    }


@given(profiles)
def test_lines_add_up_to_the_total(profile):
    """Of the floating rows, for every measure; no stack twice, none that counts nothing."""
    for measure in ("flops", "macs", "ops", "transcendentals", "bytes", "bytes_read", "bytes_written"):
        lines = profile.to_folded(measure).splitlines()
        counts = read("\n".join(lines))
        assert len(counts) == len(lines)
        assert 0 not in counts.values()
        assert sum(counts.values()) == getattr(profile.total, measure)


def test_one_stack_in_two_dtypes_is_one_line():
    """A flame graph has no dtype."""
    half = Row("Net.a", "Linear", "aten.addmm", "forward", "float16", 1, Cost(ops=1))
    assert Profile((LINEAR, half)).to_folded() == "Net;a;aten.addmm 25"


def test_work_outside_any_module_is_named():
    """As in tables."""
    assert Profile((Row("", "", "aten.mm", "forward", "float32", 1, Cost(ops=2)),)).to_folded() == "(outside);aten.mm 2"


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("a;b", "a%3Bb"),
        ("a b", "a%20b"),
        ("a\nb", "a%0Ab"),
        ("100%", "100%25"),
        ("a\u2028b", "a%E2%80%A8b"),
        ("größe", "größe"),
        ("a\x00", "a%00"),
        ("\ud800", "%ED%A0%80"),
    ],
)
def test_what_would_end_a_frame_is_written_as_in_addresses(name, written):
    """A reader that decodes addresses has the name again; other letters stay."""
    row = Row(f"Net.{name}", "Linear", "aten.mm", "forward", "float32", 1, Cost(ops=2))
    text = Profile((row,)).to_folded()
    assert text == f"Net;{written};aten.mm 2"
    assert text.split() == [f"Net;{written};aten.mm", "2"]


def timed(op, seconds, dtype="float32"):
    return Row("Net", "Net", op, "forward", dtype, 1, Cost(), seconds)


def test_time_is_in_whole_microseconds_and_of_all_rows():
    """Integer work takes time too; what takes less than half a microsecond is left out."""
    rows = timed("aten.mm", 0.0012346), timed("aten.add", 2e-6, "int64"), timed("aten.t", 4e-7), timed("aten.mm", 1e-6)
    assert read(Profile(rows).to_folded("seconds")) == {"Net;aten.mm": 1236, "Net;aten.add": 2}


@pytest.mark.parametrize(
    ("profile", "measure", "message"),
    [
        (PROFILE, "flop", r"no measure 'flop'; did you mean flops\?"),
        (PROFILE, "seconds", r"no times\. Count with OpFlopMode\(timing=True\)"),
        (PROFILE.diff(Profile((LINEAR,))), "flops", r"aten.relu in Net.ReLU\(\) has -6 flops.*table"),
    ],
)
@pytest.mark.parametrize("view", ["to_folded", "to_speedscope"])
def test_what_has_no_stacks_gets_a_sentence(profile, measure, message, view):
    """Unknown measures, times that were not taken, differences."""
    with pytest.raises(ProfileError, match=message):
        getattr(profile, view)(measure)


@pytest.mark.parametrize("view", ["to_folded", "to_speedscope"])
def test_expressions_are_refused(view):
    """A width must be a number; the message says how to get one."""
    batch = torch.export.Dim("batch")
    profile = count(torch.nn.Linear(4, 3), torch.ones(2, 4), dynamic_shapes=({0: batch},))
    with pytest.raises(
        ProfileError, match=r"A flame graph needs numbers, .* Choose sizes first: profile\.at\(batch=8\)\."
    ):
        getattr(profile, view)()
    assert getattr(profile.at(batch=5), view)()


def check(text):
    """See that a file keeps the rules of speedscope's schema and those that its importer adds."""
    file = json.loads(text)
    assert file["$schema"] == "https://www.speedscope.app/file-format-schema.json"
    assert isinstance(file["exporter"], str)
    assert isinstance(file["name"], str)
    assert set(file) <= {"$schema", "shared", "profiles", "name", "activeProfileIndex", "exporter"}
    frames = file["shared"]["frames"]
    for frame in frames:
        assert isinstance(frame["name"], str)
        assert set(frame) <= {"name", "file", "line", "col"}
        assert all(isinstance(frame[key], str) for key in frame)
    assert 0 <= file["activeProfileIndex"] < len(file["profiles"])
    for profile in file["profiles"]:
        assert set(profile) == {"type", "name", "unit", "startValue", "endValue", "samples", "weights"}
        assert profile["type"] == "sampled"
        assert profile["unit"] in {"none", "nanoseconds", "microseconds", "milliseconds", "seconds", "bytes"}
        assert len(profile["samples"]) == len(profile["weights"])
        assert all(0 <= index < len(frames) for stack in profile["samples"] for index in stack)
        assert profile["endValue"] - profile["startValue"] == pytest.approx(sum(profile["weights"]))
    return file


@given(profiles)
def test_speedscope_files_keep_the_schema(profile):
    """Whatever was counted, nothing included."""
    check(profile.to_speedscope())


def test_speedscope_has_all_work_and_each_phase():
    """A profile of everything comes first; the phases add up to it."""
    profile = count(SimpleCNN(), torch.ones(INPUT_SHAPE), backward=True)
    whole, forward, backward = check(profile.to_speedscope("macs"))["profiles"]
    assert [each["name"] for each in (whole, forward, backward)] == [
        "all phases: macs",
        "forward: macs",
        "backward: macs",
    ]
    assert sum(whole["weights"]) == sum(forward["weights"]) + sum(backward["weights"]) == profile.total.macs
    assert sum(forward["weights"]) == 388_800 + 778_752 + 138_240 + 10_080 + 840


def test_one_phase_is_one_profile():
    """There is no second profile for all phases together."""
    (only,) = check(Profile((LINEAR, RELU)).to_speedscope())["profiles"]
    assert (only["name"], only["weights"]) == ("forward: flops", [24, 6])


def test_operators_share_a_frame_and_modules_do_not():
    """The sandwich view adds an operator up over the model, and keeps two modules of one name apart."""
    rows = [Row(f"Net.{part}.fc", "Linear", "aten.mm", "forward", "float32", 1, Cost(ops=1)) for part in "ab"]
    file = check(Profile(rows).to_speedscope())
    frames = file["shared"]["frames"]
    assert [frame["name"] for frame in frames] == ["Net", "a", "fc", "aten.mm", "b", "fc"]
    assert [frame.get("file") for frame in frames] == ["Net", "Net.a", "Net.a.fc", None, "Net.b", "Net.b.fc"]
    assert file["profiles"][0]["samples"] == [[0, 1, 2, 3], [0, 4, 5, 3]]


@pytest.mark.parametrize(("measure", "unit"), [("flops", "none"), ("bytes", "bytes"), ("seconds", "seconds")])
def test_units_are_those_of_the_measure(measure, unit):
    """Speedscope writes axes by it."""
    row = Row("Net", "Net", "aten.mm", "forward", "float32", 1, Cost(ops=1, bytes_read=4), 0.25)
    (only,) = check(Profile((row,)).to_speedscope(measure))["profiles"]
    assert (only["unit"], only["weights"]) == (unit, [{"flops": 1, "bytes": 4, "seconds": 0.25}[measure]])
