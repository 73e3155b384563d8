"""Profiles as JSON and back."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from module_facts import MEMORY, MODULES, memories
from sympy import Symbol, floor
from test_rows import LINEAR, PROFILE, profiles

from opflops import Cost, Profile, ProfileError, Row
from opflops.profile.profile import Case, Dimension
from opflops.records.execution import Execution, Step
from opflops.records.memory import CATEGORIES, Memory
from opflops.records.modules import CallShapes, ModuleRecord, TensorShape


@given(profiles)
def test_json_round_trips_without_loss(profile):
    """Every field of every row comes back as it was."""
    assert Profile.from_json(profile.to_json()) == profile


def test_counts_beyond_double_precision_survive():
    """Python writes integers in full, and reads them so."""
    huge = Profile((Row("", "", "aten.mm", "forward", "float32", 1, Cost(macs=3 * 10**25 + 1)),))
    assert Profile.from_json(huge.to_json()).total.macs == 3 * 10**25 + 1


def test_the_document_says_what_it_is():
    """A reader can tell the schema and its version, and find the rows by their names."""
    document = json.loads(PROFILE.to_json())
    assert (document["schema"], document["version"]) == ("opflops.profile", 1)
    assert document["rows"][0]["module"] == LINEAR.module
    assert document["rows"][0]["cost"] == {
        "macs": 10,
        "ops": 4,
        "transcendentals": 0,
        "bytes_read": 0,
        "bytes_written": 0,
    }


def changed(**changes):
    return json.dumps({**json.loads(PROFILE.to_json()), **changes})


ROW = json.loads(PROFILE.to_json())["rows"][0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", '"schema": "opflops.profile"'),
        ('{"rows": []}', '"schema": "opflops.profile"'),
        (changed(schema="chrome.trace"), '"schema": "opflops.profile"'),
        (changed(version=8), "schema version 8, but this opflops reads versions 1 to 7"),
        (changed(version=None), "schema version None"),
        (changed(rows=[{}]), "damaged"),
        (changed(rows=[{**ROW, "wrong": 1}]), "damaged.*wrong"),
        (changed(rows=[{**ROW, "calls": 1.5}]), "damaged.*whole numbers"),
        (changed(rows=[{**ROW, "cost": {"macs": "many"}}]), "damaged.*whole numbers"),
        (changed(rows=[{**ROW, "cost": {"mac": 1}}]), "damaged.*mac"),
        (changed(rows=None), "damaged"),
        (changed(rows=[{**ROW, "module": 3}]), "damaged.*strings"),
        (changed(rows=[{**ROW, "dtype": None}]), "damaged.*strings"),
        (changed(rows=[{**ROW, "priced": "no"}]), "damaged.*a bool"),
        (changed(rows=[{**ROW, "seconds": "x"}]), "damaged.*seconds"),
        (changed(rows=[{**ROW, "seconds": True}]), "damaged.*seconds"),
        (changed(rows=[{**ROW, "seconds": float("nan")}]), "damaged.*seconds"),
        (changed(rows=""), "damaged.*lists"),
        (changed(rows={}), "damaged.*lists"),
        (changed(called="Net"), "damaged.*lists.*in its called"),
        (changed(sites=[{}]), "damaged.*in its sites"),
        (changed(more=[]), "it has more, unlike version 1"),
        (changed(dimensions=[]), "it has dimensions, unlike version 1"),
        (changed(version=2, remarks=[]), "it has remarks, unlike version 2"),
        (changed(version=3, remarks=[3]), "damaged.*a string.*in its remarks"),
        (changed(version=3, remarks="none"), "damaged.*lists.*in its remarks"),
        (json.dumps({"schema": "opflops.profile", "version": 1}), "it has no rows, unlike version 1"),
        (changed(version=2, dimensions=[{"name": "b"}]), "damaged.*in its dimensions"),
        (changed(version=2, conditions=[{"expression": "1"}]), "damaged.*in its conditions"),
        (changed(version=2, cases=[{"sizes": {"b": "x"}}]), "damaged.*whole numbers.*in its cases"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_what_is_no_profile_gets_a_sentence(text, message):
    """Foreign, newer and damaged documents are distinguished."""
    with pytest.raises(ProfileError, match=f"(?s){message}"):
        Profile.from_json(text)


def test_a_symbolic_count_is_refused():
    """Version 1 holds numbers; a polynomial must be evaluated first."""
    symbolic = Profile((Row("", "", "aten.mm", "forward", "float32", 1, Cost(macs=object())),))
    with pytest.raises(ProfileError, match="symbolic count"):
        symbolic.to_json()


FIRST = """
{"schema": "opflops.profile", "version": 1, "sites": [], "called": ["Net"], "rows": [
  {"module": "Net", "module_type": "Net", "op": "aten.mm", "phase": "forward", "dtype": "float32", "calls": 2,
   "cost": {"macs": 8, "ops": 1, "transcendentals": 0, "bytes_read": 4, "bytes_written": 2},
   "seconds": 0.5, "estimate": "", "priced": true, "site": ""}]}
"""
SECOND = """
{"schema": "opflops.profile", "version": 2, "sites": [], "called": ["Net"],
 "dimensions": [{"name": "batch", "example": 2, "minimum": 1, "maximum": null}],
 "conditions": [{"expression": "Ne(batch, 1)", "reason": "model.py:3"}],
 "cases": [{"sizes": {"batch": 1}, "profile": {"schema": "opflops.profile", "version": 1, "rows": []}}],
 "rows": [
  {"module": "Net", "module_type": "Net", "op": "aten.mm", "phase": "forward", "dtype": "float32", "calls": 1,
   "cost": {"macs": "8*batch", "ops": 0, "transcendentals": 0, "bytes_read": 0, "bytes_written": 0},
   "seconds": null, "estimate": "", "priced": true, "site": ""}]}
"""
THIRD = """
{"schema": "opflops.profile", "version": 3, "sites": [], "called": [], "rows": [], "remarks": ["Less is counted."]}
"""


def test_a_file_of_version_1_is_read_for_ever():
    """As it stood in files that were written before there was another version."""
    cost = Cost(macs=8, ops=1, bytes_read=4, bytes_written=2)
    row = Row("Net", "Net", "aten.mm", "forward", "float32", 2, cost, 0.5)
    assert Profile.from_json(FIRST) == Profile((row,), called=("Net",))


def test_a_file_of_version_2_is_read_for_ever():
    """With expressions, what they are in, where they hold, and what holds elsewhere."""
    profile = Profile.from_json(SECOND)
    assert profile.at(batch=3).total.macs == 24
    assert profile.at(batch=1).total == Cost()
    assert Profile.from_json(profile.to_json()) == profile


def test_a_file_of_version_3_is_read_for_ever():
    """With remarks, also of costs that are expressions; without remarks the version stays what it was."""
    assert Profile.from_json(THIRD) == Profile(remarks=("Less is counted.",))
    profile = replace(Profile.from_json(SECOND), remarks=("Less is counted.",))
    document = json.loads(profile.to_json())
    assert (document["version"], document["remarks"]) == (3, ["Less is counted."])
    assert Profile.from_json(profile.to_json()) == profile
    assert json.loads(replace(profile, remarks=()).to_json())["version"] == 2


FOURTH = """
{"schema": "opflops.profile", "version": 4, "sites": [], "called": ["Net"], "rows": [
  {"module": "Net", "module_type": "Net", "op": "aten.mm", "phase": "forward", "dtype": "float32", "calls": 1,
   "cost": {"macs": 8, "ops": 0, "transcendentals": 0, "bytes_read": 0, "bytes_written": 0},
   "seconds": null, "estimate": "", "priced": true, "site": "", "activations": 6}],
 "modules": [
  {"module": "Net", "module_type": "Net", "parameters": 12, "trainable": 4, "parameter_bytes": 48, "buffers": 1,
   "buffer_bytes": 8, "shared": [{"name": "weight", "owner": "Net.first", "elements": 3}],
   "calls": [{"inputs": [{"shape": [2, null], "dtype": "float32"}], "outputs": [], "calls": 5}]}],
 "memory":
  {"device": "cpu", "peak": 28, "at": {"module": "Net", "op": "aten.mm", "phase": "forward", "source": "", "number": 7},
   "at_peak": {"parameters": 1, "gradients": 2, "optimizer": 3, "buffers": 4, "inputs": 5, "activations": 6,
               "temporaries": 7},
   "end_of_forward": 20, "phase_peaks": {"forward": 28}, "saved": {"Net": 6}, "module_peaks": {"Net": 28},
   "timeline": {"names": ["Net", "aten.mm", "forward", ""], "samples": [[7, 0, 1, 2, 3, 1, 2, 3, 4, 5, 6, 7]]},
   "allocator": "cuda", "others": [], "remarks": ["Less is seen."]}}
"""


def test_a_file_of_version_4_is_read_for_ever():
    """With activations, modules and memory, each number in its place."""
    profile = Profile.from_json(FOURTH)
    row = Row("Net", "Net", "aten.mm", "forward", "float32", 1, Cost(macs=8), activations=6)
    assert profile.rows == (row,)
    call = CallShapes((TensorShape((2, -1), "float32"),), (), 5)
    assert profile.modules == (ModuleRecord("Net", "Net", 12, 4, 48, 1, 8, (("weight", "Net.first", 3),), (call,)),)
    memory = profile.memory
    assert memory.at == memory.timeline[0].at == ("Net", "aten.mm", "forward", "", 7)
    assert [getattr(memory, name) for name in CATEGORIES] == list(memory.timeline[0].live) == [1, 2, 3, 4, 5, 6, 7]
    assert (memory.peak, memory.end_of_forward, memory.phase_peaks) == (28, 20, {"forward": 28})
    assert (memory.saved, memory.module_peaks) == ({"Net": 6}, {"Net": 28})
    assert (memory.allocator, memory.others, memory.remarks) == ("cuda", (), ("Less is seen.",))
    assert json.loads(profile.to_json()) == json.loads(FOURTH)


FIFTH = """
{"schema": "opflops.profile", "version": 5, "sites": [], "called": ["Net"], "modules": [], "memory": null,
 "timing": null, "rows": [
  {"module": "Net", "module_type": "Net", "op": "aten.mm", "phase": "forward", "dtype": "float32", "calls": 1,
   "cost": {"macs": 8, "ops": 0, "transcendentals": 0, "bytes_read": 0, "bytes_written": 0},
   "seconds": 0.5, "estimate": "", "priced": true, "site": "", "activations": 6, "spread": 0.25}]}
"""
SIXTH = """
{"schema": "opflops.profile", "version": 6, "sites": [], "called": ["Net"], "modules": [], "memory": null,
 "timing": null, "rows": [
  {"module": "Net", "module_type": "Net", "op": "c10d.send", "phase": "forward", "dtype": "float32", "calls": 1,
   "cost": {"macs": 0, "ops": 0, "transcendentals": 0, "bytes_read": 64, "bytes_written": 0, "sent": 64},
   "seconds": null, "estimate": "", "priced": true, "site": "", "activations": 0, "spread": null, "group": "pp (2)",
   "rank": 3}]}
"""


def test_a_file_of_version_5_is_read_for_ever():
    """With times of repeated runs; nothing was sent."""
    row = Row("Net", "Net", "aten.mm", "forward", "float32", 1, Cost(macs=8), 0.5, activations=6, spread=0.25)
    assert Profile.from_json(FIFTH).rows == (row,)
    assert json.loads(Profile.from_json(FIFTH).to_json()) == json.loads(FIFTH)


def test_a_file_of_version_6_is_read_for_ever():
    """With what was sent, to which group, by which rank; another kind of value is damage."""
    cost = Cost(bytes_read=64, sent=64)
    row = Row("Net", "Net", "c10d.send", "forward", "float32", 1, cost, group="pp (2)", rank=3)
    assert Profile.from_json(SIXTH).rows == (row,)
    assert json.loads(Profile.from_json(SIXTH).to_json()) == json.loads(SIXTH)
    for wrong, message in (
        (SIXTH.replace('"rank": 3', '"rank": -1'), "rank must be a whole number, 0 or more, not -1"),
        (SIXTH.replace('"rank": 3', '"rank": "3"'), "rank must be a whole number"),
        (SIXTH.replace('"pp (2)"', "2"), "names must be strings, but group is 2"),
        (SIXTH.replace('"sent": 64', '"sent": 0.5'), "sent"),
        (SIXTH.replace(', "sent": 64', ""), "a cost lacks sent"),
        (FIFTH.replace('"bytes_written": 0', '"bytes_written": 0, "sent": 1'), "a cost has sent"),
    ):
        with pytest.raises(ProfileError, match=message):
            Profile.from_json(wrong)


SEVENTH = """
{"schema": "opflops.profile", "version": 7, "sites": [], "called": ["Net"], "modules": [], "memory": null,
 "timing": null, "rows": [],
 "execution": {"modules": ["Net.a", "Net"], "ops": ["aten.mm", "aten.add"],
               "steps": [[0, [1, 1], [0]], [1, [1], [0, 1]], [0, [1, 2], [0]]], "flow": [[-1, 0], [0, 1], [0, 2]]}}
"""


def test_a_file_of_version_7_is_read_for_ever():
    """With the order of execution and the flow of data; what refers to nothing is damage."""
    steps = (
        Step("Net.a", (1, 1), ("aten.mm",)),
        Step("Net", (1,), ("aten.mm", "aten.add")),
        Step("Net.a", (1, 2), ("aten.mm",)),
    )
    assert Profile.from_json(SEVENTH).execution == Execution(steps, ((-1, 0), (0, 1), (0, 2)))
    assert json.loads(Profile.from_json(SEVENTH).to_json()) == json.loads(SEVENTH)
    unknown = SEVENTH.replace("[[-1, 0], [0, 1], [0, 2]]", "null")
    assert Profile.from_json(unknown).execution == Execution(steps, None)
    assert json.loads(Profile.from_json(unknown).to_json()) == json.loads(unknown)
    for wrong, message in (
        (SEVENTH.replace("[0, 2]]}", "[0, 3]]}"), r"a later one of 3, not \[0, 3\] in its execution"),
        (SEVENTH.replace("[0, 2]]}", "[2, 2]]}"), r"a later one of 3, not \[2, 2\]"),
        (SEVENTH.replace("[-1, 0]", "[-2, 0]"), "a pair must lead from a step, or -1"),
        (SEVENTH.replace("[-1, 0]", "[true, 0]"), "a pair must be of two numbers"),
        (SEVENTH.replace("[-1, 0]", "[0]"), "a pair must be of two numbers"),
        (SEVENTH.replace("[-1, 0]", "7"), r"a pair must be a list, not 7 in its flow \(entry 1\)"),
        (SEVENTH.replace("[1, 2], [0]]", "[2], [0]]"), "the number of a call for each module above"),
        (SEVENTH.replace("[1, 2], [0]]", "[1, -2], [0]]"), "the number of a call must be a whole number"),
        (SEVENTH.replace("[1, 2], [0]]", "[1, 2], [2]]"), "there are 2 names, but the place of an operator is 2"),
        (SEVENTH.replace("[1, 2], [0]]", "[1, 2]]"), "a step must have a module, calls and operators"),
        (SEVENTH.replace('["aten.mm", "aten.add"]', "[1]"), "a name must be a string"),
        (SEVENTH.replace(', "flow": [[-1, 0], [0, 1], [0, 2]]', ""), "execution lacks flow"),
    ):
        with pytest.raises(ProfileError, match=message):
            Profile.from_json(wrong)


@given(profiles, memories())
def test_memory_round_trips_without_loss(profile, memory):
    """With its timeline and other devices; profiles with it can be hashed."""
    known = replace(profile, memory=memory)
    read = Profile.from_json(known.to_json())
    assert read == known
    assert hash(read) == hash(known)
    assert read != profile


def test_modules_and_activations_may_be_expressions():
    """In the profile and in its cases, each with a version of its own; evaluated, they are numbers."""
    n, m = Symbol("n"), Symbol("m")
    calls = (CallShapes((TensorShape((n, 4), "float32"),), (TensorShape((floor(n / 2), 3 * m + 1), "int64"),)),)
    row = Row("Net", "Net", "aten.mm", "forward", "float32", 1, Cost(macs=12 * n), activations=3 * n * m)
    inside = Profile((replace(row, cost=Cost(macs=5 * m), activations=7 * m),), dimensions=(Dimension("m", 3),))
    old = replace(inside, rows=(replace(row, cost=Cost(macs=4), activations=0),), dimensions=())
    profile = Profile(
        (row,),
        modules=(ModuleRecord("Net", "Net", 4, calls=calls),),
        dimensions=(Dimension("n", 8), Dimension("m", 3)),
        cases=(Case((("n", 1),), inside), Case((("n", 2), ("m", 1)), old)),
    )
    document = json.loads(profile.to_json())
    assert [document["version"], *(each["profile"]["version"] for each in document["cases"])] == [4, 4, 1]
    assert document["modules"][0]["calls"][0]["outputs"] == [{"shape": ["floor(n/2)", "3*m + 1"], "dtype": "int64"}]
    assert Profile.from_json(profile.to_json()) == profile
    at = Profile.from_json(profile.to_json()).at(n=5, m=2)
    assert at.rows[0].activations == 30
    assert at.modules[0].calls[0].outputs == (((2, 7), "int64"),)
    assert profile.at(n=1, m=2).rows[0].activations == 14


@pytest.mark.parametrize(
    ("profile", "version"),
    [
        (Profile(), 1),
        (Profile(remarks=("Less is counted.",)), 3),
        (Profile((replace(LINEAR, activations=1),)), 4),
        (Profile(sites=(replace(LINEAR, activations=1, site="Net.a #2"),)), 4),
        (Profile(modules=MODULES), 4),
        (Profile(memory=Memory()), 4),
        (Profile((replace(LINEAR, spread=0.5),)), 5),
        (Profile((replace(LINEAR, group="tp (2)"),)), 6),
        (Profile((replace(LINEAR, rank=0),)), 6),
        (Profile(execution=Execution((), ())), 7),
        (Profile((replace(LINEAR, cost=Cost(sent=8)),)), 6),
    ],
)
def test_what_older_versions_can_say_is_written_in_them(profile, version):
    """So that an older opflops reads it."""
    assert json.loads(profile.to_json())["version"] == version
    assert Profile.from_json(profile.to_json()) == profile


def test_a_timeline_is_compact():
    """Each name stands once; a sample takes a line of numbers."""
    samples = tuple(
        each._replace(at=each.at._replace(number=number)) for number in range(500) for each in MEMORY.timeline[1:]
    )
    text = Profile(memory=replace(MEMORY, timeline=samples)).to_json()
    assert text.count("aten.mm") == 2
    assert len(text) < 500 * 60
