"""Files that a stranger, or a fault of a disk, made of a profile: each is refused with a sentence, or is a profile."""

import copy
import json
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opflops import Profile, ProfileError
from opflops.records.parsing import parse

ROW = {
    "module": "Net.fc", "module_type": "Linear", "op": "aten.addmm", "phase": "forward", "dtype": "float32", "calls": 3,
    "cost": {"macs": "12*b", "ops": "b*s/2 + b*s**2/2", "transcendentals": 0, "bytes_read": "4*b + 60",
             "bytes_written": "floor(b/2)"},
    "seconds": 0.25, "estimate": "", "priced": True, "site": "",
}  # fmt: skip
BATCH = {"name": "b", "example": 4, "minimum": 1, "maximum": None}
SEQUENCE = {"name": "s", "example": 6, "minimum": 1, "maximum": 100}
PLAIN = {"schema": "opflops.profile", "version": 1, "rows": [{**ROW, "cost": dict.fromkeys(ROW["cost"], 7)}],
         "sites": [], "called": ["Net", "Net.fc"]}  # fmt: skip
WHOLE = {
    "schema": "opflops.profile",
    "version": 3,
    "rows": [ROW, {**ROW, "module": "", "op": "aten.relu", "seconds": None, "priced": False, "estimate": "guessed"}],
    "sites": [{**ROW, "site": "Net #2"}],
    "called": ["Net", "Net.fc"],
    "dimensions": [BATCH, SEQUENCE],
    "conditions": [{"expression": "Ne(b, 1) & (s > 2)", "reason": "net.py:3"}],
    "cases": [
        {
            "sizes": {"b": 1},
            "profile": {
                **PLAIN,
                "version": 2,
                "rows": [{**ROW, "cost": dict.fromkeys(ROW["cost"], "3*s")}],
                "dimensions": [SEQUENCE],
                "conditions": [],
                "cases": [],
            },
        }
    ],
    "remarks": ["Not counted: threads."],
}
MODULE = {
    "module": "Net.fc", "module_type": "Linear", "parameters": 15, "trainable": 12, "parameter_bytes": 60, "buffers": 1,
    "buffer_bytes": 8, "shared": [{"name": "weight", "owner": "Net", "elements": 12}],
    "calls": [{"inputs": [{"shape": ["b", 4], "dtype": "float32"}], "calls": 3,
               "outputs": [{"shape": ["floor(b/2)", "2*s + 1"], "dtype": "float32"}, {"shape": [], "dtype": "int64"}]}],
}  # fmt: skip
LIVE = {
    "parameters": 60,
    "gradients": 50,
    "optimizer": 40,
    "buffers": 8,
    "inputs": 7,
    "activations": 6,
    "temporaries": 5,
}
OTHER = {
    "device": "cuda:0", "peak": 9, "at": None, "at_peak": {**dict.fromkeys(LIVE, 0), "inputs": 9}, "end_of_forward": 0,
    "phase_peaks": {}, "saved": {}, "module_peaks": {}, "timeline": {"names": [], "samples": []}, "allocator": "",
    "others": [], "remarks": [],
}  # fmt: skip
MEMORY = {
    **OTHER, "device": "cpu", "peak": 176, "at_peak": LIVE, "end_of_forward": 120, "saved": {"Net.fc": 6},
    "at": {"module": "Net.fc", "op": "aten.mm", "phase": "backward", "source": "net.py:3", "number": 5},
    "phase_peaks": {"forward": 120, "backward": 176}, "module_peaks": {"Net": 176, "Net.fc": 150}, "others": [OTHER],
    "timeline": {"names": ["Net", "aten.mm", "forward", ""],
                 "samples": [[0, 0, 1, 2, 3, 60, 0, 0, 8, 7, 0, 0], [5, 0, 1, 2, 3, 60, 50, 40, 8, 7, 6, 5]]},
    "remarks": ["Less is seen."],
}  # fmt: skip
NEW = {
    **WHOLE,
    "version": 4,
    "rows": [{**row, "activations": "3*b"} for row in WHOLE["rows"]],
    "sites": [{**row, "activations": 0} for row in WHOLE["sites"]],
    "modules": [MODULE, {**MODULE, "module": "Net", "shared": []}],
    "memory": MEMORY,
}
CALL, TIMELINE = ("modules", 0, "calls", 0), ("memory", "timeline")


def changed(value, *path, of=WHOLE):
    """Put a value at a place of a document; an ellipsis removes what is there."""
    document = copy.deepcopy(of)
    *above, last = path
    inside = document
    for step in above:
        inside = inside[step]
    if value is ...:
        del inside[last]
    else:
        inside[last] = value
    return json.dumps(document)


def count_of(text):
    return changed(text, "rows", 0, "cost", "macs")


def test_the_profile_is_read_as_it_is():
    """What the damaged ones are made of is no damaged one."""
    profile = Profile.from_json(json.dumps(WHOLE))
    assert Profile.from_json(profile.to_json()) == profile
    assert profile.at(b=2, s=3).rows[0].cost == (24, 2 * 3 // 2 + 2 * 9 // 2, 0, 68, 1, 0)
    assert profile.at(b=1, s=3).rows[0].cost == (9, 9, 9, 9, 9, 0)
    new = Profile.from_json(json.dumps(NEW))
    assert Profile.from_json(new.to_json()) == new
    assert new.at(b=2, s=3).rows[0].activations == 6
    assert new.at(b=2, s=3).modules[0].calls[0].outputs == (((1, 7), "float32"), ((), "int64"))


DAMAGED = {
    "version true": (changed(True, "version"), "version True"),
    "version 1.0": (changed(1.0, "version"), "version 1.0"),
    "version text": (changed("1", "version"), "version '1'"),
    "version list": (changed([1], "version"), r"version \[1\]"),
    "version of the future": (changed(10**30, "version"), "reads versions 1 to 7"),
    "no version": (changed(..., "version"), "version None"),
    "schema": (changed(["opflops.profile"], "schema"), "not a profile"),
    "dimension twice": (changed([BATCH, SEQUENCE, BATCH], "dimensions"), "b is there more than once"),
    "dimension of another spelling": (
        changed([{**BATCH, "name": "fi"}, {**BATCH, "name": "\ufb01"}], "dimensions", of={**WHOLE, "rows": []}),
        "more than once",
    ),
    "minimum above": (changed(101, "dimensions", 1, "minimum"), "minimum of s, 101, is above its maximum, 100"),
    "example below": (changed(0, "dimensions", 1, "example"), "outside its range, 1 to 100"),
    "example above": (changed(101, "dimensions", 1, "example"), "outside its range"),
    "example true": (changed(True, "dimensions", 1, "example"), "whole numbers"),
    "example of no tensor": (changed(2**63, "dimensions", 0, "example"), "whole numbers from 0"),
    "negative minimum": (changed(-1, "dimensions", 1, "minimum"), "whole numbers from 0"),
    "maximum float": (changed(9.0, "dimensions", 1, "maximum"), "whole numbers"),
    "name is code": (changed("b=print(1)", "dimensions", 0, "name"), "identifier"),
    "name is empty": (changed("", "dimensions", 0, "name"), "identifier"),
    "name is a keyword": (changed("if", "dimensions", 0, "name"), "identifier"),
    "name is a number": (changed(3, "dimensions", 0, "name"), "a string"),
    "dimension of more": (changed(1, "dimensions", 0, "step"), r"step.*in its dimensions \(entry 1\)"),
    "dimension of less": (changed(..., "dimensions", 1, "maximum"), r"lacks maximum.*entry 2"),
    "dimension is a name": (changed("b", "dimensions", 0), "an object"),
    "negative calls": (changed(-1, "rows", 0, "calls"), r"calls must be 0 or more, not -1.*in its rows \(entry 1\)"),
    "negative calls of a site": (changed(-3, "sites", 0, "calls"), r"calls.*in its sites \(entry 1\)"),
    "calls true": (changed(True, "rows", 0, "calls"), "whole numbers"),
    "calls float": (changed(1.0, "rows", 1, "calls"), r"whole numbers.*\(entry 2\)"),
    "calls text": (changed("1", "rows", 0, "calls"), "whole numbers"),
    "calls null": (changed(None, "rows", 0, "calls"), "whole numbers"),
    "negative count": (changed(-4, "rows", 0, "cost", "bytes_read"), "bytes_read must be 0 or more"),
    "negative formula": (count_of("-12*b"), "macs must be 0 or more, not -48"),
    "negative at the example": (count_of("b**2 - 17"), "macs must be 0 or more, not -1"),
    "negative seconds": (changed(-0.5, "rows", 0, "seconds"), "seconds must be 0 or more"),
    "nan": (changed(float("nan"), "rows", 0, "seconds"), "seconds must be a number"),
    "infinity": (changed(float("inf"), "rows", 0, "seconds"), "seconds must be a number"),
    "seconds beyond floats": (changed(10**400, "rows", 0, "seconds"), "seconds must be a number"),
    "seconds 1e999": (changed(0.25, "rows", 0, "seconds").replace("0.25", "1e999", 1), "seconds must be a number"),
    "nan count": (changed(float("nan"), "rows", 0, "cost", "macs"), "whole numbers"),
    "count null": (count_of(None), "whole numbers"),
    "count list": (count_of([1]), "whole numbers"),
    "cost is a number": (changed(3, "rows", 0, "cost"), "a cost must be an object"),
    "cost of less": (changed(..., "rows", 0, "cost", "ops"), "lacks ops"),
    "cost of more": (changed(1, "rows", 0, "cost", "flops"), "flops"),
    "row of less": (changed(..., "rows", 0, "priced"), "lacks priced"),
    "row of more": (changed(1, "rows", 0, "macs"), "macs, which it should not have"),
    "row is a list": (changed([1], "rows", 0), "an object"),
    "row is null": (changed(None, "rows", 0), "an object"),
    "name null": (changed(None, "rows", 0, "module"), "strings, but module is None"),
    "estimate false": (changed(False, "rows", 0, "estimate"), "strings, but estimate"),
    "priced 1": (changed(1, "rows", 0, "priced"), "a bool"),
    "rows an object": (changed({}, "rows"), "lists"),
    "no rows": (changed(..., "rows"), "no rows"),
    "called a number": (changed(3, "called", 0), "a string"),
    "remarks null": (changed(None, "remarks"), "lists"),
    "condition 1/0": (changed("1/0", "conditions", 0, "expression"), "divides by zero"),
    "condition b/0 > 1": (changed("b/0 > 1", "conditions", 0, "expression"), "in its conditions"),
    "condition Eq(b, 1/0)": (changed("Eq(b, 1/0)", "conditions", 0, "expression"), "in its conditions"),
    "condition b": (changed("b", "conditions", 0, "expression"), "a relation"),
    "condition 2*b": (changed("2*b", "conditions", 0, "expression"), "a relation"),
    "condition True": (changed("True", "conditions", 0, "expression"), "in its conditions"),
    "condition 1 < 2": (changed("1 < 2", "conditions", 0, "expression"), "in its conditions"),
    "condition and a number": (changed("Ne(b, 1) & b", "conditions", 0, "expression"), "in its conditions"),
    "condition of another": (changed("Ne(c, 1)", "conditions", 0, "expression"), "not an expression in b, s"),
    "condition null": (changed(None, "conditions", 0, "expression"), "a string"),
    "condition that is huge": (changed("2**(2**b**b) > 3", "conditions", 0, "expression"), "too large"),
    "case of no dimension": (changed({"c": 1}, "cases", 0, "sizes"), "not a dimension"),
    "case of no size": (changed({}, "cases", 0, "sizes"), "object of sizes"),
    "case of true": (changed({"b": True}, "cases", 0, "sizes"), "whole numbers"),
    "case of the dimension": (changed({"s": 1}, "cases", 0, "sizes"), "does not leave open"),
    "case without profile": (changed(..., "cases", 0, "profile"), "lacks profile"),
    "case of no profile": (changed([], "cases", 0, "profile"), "not a profile"),
    "complex count": (count_of("2*I"), "not an expression"),
    "root of -1": (count_of("sqrt(-1)"), "complex"),
    "root of -1 as a power": (count_of("(-1)**(1/2)*b"), "complex"),
    "j": (count_of("3j*b"), "not an expression"),
    "count 1/0": (count_of("b/0"), "divides by zero"),
    "count of nothing": (count_of("0/0"), "not a real number"),
    "count that is infinite": (count_of("1e999*b"), "not a real number"),
    "count of log": (count_of("log(b)"), "whole numbers"),
    "count of a third": (count_of("b/3"), "whole numbers.*4/3.* at b=4"),
    "count of a float": (count_of("1.5"), "whole numbers"),
    "count that is true": (count_of("b > 3"), "whole numbers"),
    "count without dimensions": (changed("12", "rows", 0, "cost", "macs", of=PLAIN), "whole numbers"),
    "count too long": (changed(7, "rows", 0, "calls").replace('"calls": 7', f'"calls": 1{"0" * 5000}'), "5,001 digits"),
    "activations in version 3": (changed(3, "version", of=NEW), "it has memory, modules, unlike version 3"),
    "row of version 3 in version 4": (
        changed(..., "sites", 0, "activations", of=NEW),
        "lacks activations.*in its sites",
    ),
    "row of version 4 in version 3": (changed(0, "rows", 0, "activations"), "activations, which it should not have"),
    "negative activations": (changed(-1, "rows", 0, "activations", of=NEW), "activations must be 0 or more, not -1"),
    "activations true": (changed(True, "rows", 0, "activations", of=NEW), "whole numbers, but activations is True"),
    "activations of a third": (
        changed("b/3", "rows", 1, "activations", of=NEW),
        r"whole numbers.*in its rows \(entry 2\)",
    ),
    "modules null": (changed(None, "modules", of=NEW), "lists, not None in its modules"),
    "module is a name": (changed("Net", "modules", 1, of=NEW), r"a module must be an object.*modules \(entry 2\)"),
    "module twice": (changed("Net", "modules", 0, "module", of=NEW), r"'Net' is there more than once.*\(entry 2\)"),
    "module of more": (
        changed(1, "modules", 0, "params", of=NEW),
        "has params, which it should not have in its modules",
    ),
    "module of less": (changed(..., "modules", 0, "buffers", of=NEW), "lacks buffers in its modules"),
    "module path null": (changed(None, "modules", 0, "module", of=NEW), "module must be a string, not None"),
    "negative parameters": (changed(-15, "modules", 0, "parameters", of=NEW), "parameters must be 0 or more, not -15"),
    "trainable true": (changed(True, "modules", 0, "trainable", of=NEW), "whole numbers, but trainable is True"),
    "bytes float": (
        changed(60.0, "modules", 0, "parameter_bytes", of=NEW),
        "whole numbers, but parameter_bytes is 60.0",
    ),
    "parameters of a formula": (changed("3*b", "modules", 0, "parameters", of=NEW), "whole numbers, but parameters"),
    "owner a number": (
        changed(3, "modules", 0, "shared", 0, "owner", of=NEW),
        r"owner must be a string.*shared \(entry 1\)",
    ),
    "shared an object": (changed({}, "modules", 0, "shared", of=NEW), "shared must be a list"),
    "shared fewer than none": (
        changed(-1, "modules", 0, "shared", 0, "elements", of=NEW),
        "elements must be a whole number",
    ),
    "call without calls": (
        changed(..., *CALL, "calls", of=NEW),
        r"a call lacks calls in its calls \(entry 1\) in its modules",
    ),
    "calls of a call text": (changed("3", *CALL, "calls", of=NEW), "whole numbers, but calls is '3'"),
    "outputs null": (changed(None, *CALL, "outputs", of=NEW), "outputs must be a list, not None"),
    "tensor a list": (changed([["b", 4], "float32"], *CALL, "inputs", 0, of=NEW), "a tensor must be an object.*inputs"),
    "shape a text": (changed("b", *CALL, "inputs", 0, "shape", of=NEW), "shape must be a list, not 'b'"),
    "negative size": (
        changed(-4, *CALL, "inputs", 0, "shape", 1, of=NEW),
        r"sizes must be.*-4 in its shape \(entry 2\)",
    ),
    "unknown size as a number": (
        changed(-1, *CALL, "inputs", 0, "shape", 1, of=NEW),
        "sizes must be whole numbers",
    ),
    "size true": (changed(True, *CALL, "inputs", 0, "shape", 1, of=NEW), "sizes must be whole numbers"),
    "size of no tensor": (changed(2**63, *CALL, "inputs", 0, "shape", 1, of=NEW), "sizes must be whole numbers"),
    "negative formula of a size": (changed("b - 5", *CALL, "inputs", 0, "shape", 0, of=NEW), "sizes must be.*-1"),
    "size in another dimension": (changed("c", *CALL, "inputs", 0, "shape", 0, of=NEW), "not an expression in b, s"),
    "size that is huge": (changed("b**s**b**s", *CALL, "inputs", 0, "shape", 0, of=NEW), "too large"),
    "size of a third": (changed("b/3", *CALL, "inputs", 0, "shape", 0, of=NEW), "whole numbers.*4/3"),
    "size that is true": (changed("b > 3", *CALL, "inputs", 0, "shape", 0, of=NEW), "whole numbers"),
    "shape of a million sizes": (
        changed([1] * 10**6, *CALL, "inputs", 0, "shape", of=NEW),
        "1,000,000 entries; the most are",
    ),
    "dtype null": (changed(None, *CALL, "inputs", 0, "dtype", of=NEW), "dtype must be a string"),
    "memory a list": (changed([MEMORY], "memory", of=NEW), "memory must be an object"),
    "memory of less": (changed(..., "memory", "saved", of=NEW), "memory lacks saved in its memory"),
    "memory of more": (changed(1, "memory", "params", of=NEW), "params, which it should not have in its memory"),
    "negative bytes": (
        changed(-1, "memory", "end_of_forward", of=NEW),
        "end_of_forward must be a whole number, 0 or more, not -1",
    ),
    "peak true": (changed(True, "memory", "peak", of=NEW), "peak must be a whole number"),
    "peak null": (changed(None, "memory", "peak", of=NEW), "peak must be a whole number"),
    "peak of a formula": (changed("b", "memory", "peak", of=NEW), "peak must be a whole number"),
    "peak of more": (changed(177, "memory", "peak", of=NEW), "add up to 176, and not to the peak, 177"),
    "category of more": (changed(9, "memory", "at_peak", "gradients", of=NEW), "add up to 135"),
    "category negative": (changed(-5, "memory", "at_peak", "gradients", of=NEW), "gradients must be a whole number"),
    "category missing": (changed(..., "memory", "at_peak", "inputs", of=NEW), "at_peak lacks inputs"),
    "category unknown": (changed(0, "memory", "at_peak", "weights", of=NEW), "at_peak has weights"),
    "end above the peak": (
        changed(177, "memory", "end_of_forward", of=NEW),
        "end_of_forward has 177 bytes, more than the peak",
    ),
    "phase above the peak": (changed(177, "memory", "phase_peaks", "forward", of=NEW), "phase_peaks has 177"),
    "module above the peak": (changed(177, "memory", "module_peaks", "Net", of=NEW), "module_peaks has 177"),
    "phases a list": (changed([176], "memory", "phase_peaks", of=NEW), "phase_peaks must be an object"),
    "saved text": (changed("6", "memory", "saved", "Net.fc", of=NEW), "'Net.fc' of saved must be a whole number"),
    "at is a name": (changed("Net", "memory", "at", of=NEW), "at must be an object"),
    "at of less": (changed(..., "memory", "at", "source", of=NEW), "at lacks source"),
    "at a number": (changed(3, "memory", "at", "op", of=NEW), "op must be a string"),
    "at before the first": (changed(-1, "memory", "at", "number", of=NEW), "number must be a whole number"),
    "device null": (changed(None, "memory", "device", of=NEW), "device must be a string"),
    "allocator": (
        changed("best", "memory", "allocator", of=NEW),
        r"allocator must be one of \[\"\", \"cuda\"\], not 'best'",
    ),
    "allocator a list": (changed([], "memory", "allocator", of=NEW), "allocator must be one of"),
    "others in others": (
        changed([OTHER], "memory", "others", 0, "others", of=NEW),
        "of a device among others must be empty",
    ),
    "a device twice": (changed("cpu", "memory", "others", 0, "device", of=NEW), "a device is there more than once"),
    "another's peak": (
        changed(10, "memory", "others", 0, "peak", of=NEW),
        r"add up to 9.*in its others \(entry 1\) in its memory",
    ),
    "memory's remark": (changed([3], "memory", "remarks", of=NEW), r"a remark must be a string.*remarks \(entry 1\)"),
    "timeline a list": (changed([], *TIMELINE, of=NEW), "timeline must be an object"),
    "timeline of more": (changed([], *TIMELINE, "ops", of=NEW), "timeline has ops"),
    "names a text": (changed("Net", *TIMELINE, "names", of=NEW), "names must be a list"),
    "name a number": (
        changed(3, *TIMELINE, "names", 1, of=NEW),
        r"a name must be a string, not 3 in its names \(entry 2\)",
    ),
    "samples out of order": (changed(6, *TIMELINE, "samples", 0, 0, of=NEW), "sample 5 of timeline comes after 6"),
    "sample of less": (
        changed(..., *TIMELINE, "samples", 1, 3, of=NEW),
        r"list of 12 numbers.*samples \(entry 2\) in its memory",
    ),
    "sample an object": (changed({}, *TIMELINE, "samples", 0, of=NEW), "list of 12 numbers"),
    "sample of no name": (changed(4, *TIMELINE, "samples", 0, 2, of=NEW), "has the name 4, but there are 4"),
    "sample of a name before": (changed(-1, *TIMELINE, "samples", 0, 2, of=NEW), "a number of a sample must be"),
    "sample negative": (changed(-60, *TIMELINE, "samples", 0, 5, of=NEW), "a number of a sample must be"),
    "sample false": (changed(False, *TIMELINE, "samples", 0, 5, of=NEW), "a number of a sample must be"),
    "sample above the peak": (
        changed(61, *TIMELINE, "samples", 1, 5, of=NEW),
        "a sample has 177 bytes, more than the peak",
    ),
    "samples beyond number": (
        changed([NEW["memory"]["timeline"]["samples"][0]] * 100_001, *TIMELINE, "samples", of=NEW),
        "samples has 100,001 entries; the most are 100,000",
    ),
    "others in others in others": (
        json.dumps(NEW).replace('"others": []', '"others": [' + '{"others": [' * 300 + "]}" * 300 + "]"),
        "must be empty",
    ),
    "empty": ("", "not JSON"),
    "null": ("null", "not a profile"),
    "nothing but brackets": ("[" * 10**6, "not JSON"),
    "objects in objects": ('{"a":' * 10**5, "not JSON"),
    "a key twice": (json.dumps(WHOLE).replace('"calls": 3', '"calls": 3, "calls": 4', 1), "'calls' more than once"),
    "rows twice": (json.dumps(WHOLE)[:-1] + ', "rows": []}', "'rows' more than once"),
    "cut off": (json.dumps(WHOLE)[:500], "not JSON"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_what_is_damaged_is_refused_with_a_sentence_that_says_where(name):
    """At once, and by opflops itself."""
    text, message = DAMAGED[name]
    started = time.process_time()
    with pytest.raises(ProfileError, match=f"(?s){message}") as refused:
        Profile.from_json(text)
    assert time.process_time() - started < 1
    assert len(str(refused.value)) < 700


EXPLOSIVE = [
    *("(b + s + c)**200", "((b + s + c)**9)**9", "2**2**2**40", "9**9**9", "b**s**99999", "(b + 1)**(s + 4000)"),
    *("(" * 10**5 + "b" + ")" * 10**5, "-" * 10**4 + "b", "factorial(10**9)", "9" * 5000, "0x" + "f" * 9000),
    *("*".join(["(b + s + c + 1)"] * 40), "+".join(["b"] * 60_000), "floor((b + s + c + 1)**60)", "1/(b + s + c)**64"),
    *(f"Max({', '.join(f'b + {number}*s' for number in range(100))})", "*".join(["10**64"] * 100), "b**64*s**64"),
    *("Mod((b + s + c)**40, 7)", "antialias_taps(9, 10**12, 1, 0, 0)", "sqrt(" * 3000 + "b" + ")" * 3000),
    *("(((b**64)**64)**64)", "b\ud800", "b\0", "Max(*b)", "b if s else c", "b < s < c", "(b, s)", "", " "),
]


@pytest.mark.parametrize("text", EXPLOSIVE, ids=range(len(EXPLOSIVE)))
def test_a_count_that_would_take_long_is_refused_at_once(text):
    """Before sympy expands or computes it."""
    started = time.process_time()
    with pytest.raises(ValueError, match=r"\w"):
        parse(text, ["b", "s", "c"])
    assert time.process_time() - started < 1


@pytest.mark.parametrize("text", ["2**b**b**b", "antialias_taps(b, 10**12*s, 1, 0, 0.0)", "(2*b)**(3**b**s)"])
def test_a_count_whose_value_would_take_long_is_refused_at_once(text):
    """It is not computed at the sizes of the example."""
    with pytest.raises(ProfileError, match=r"too large|takes too long"):
        Profile.from_json(count_of(text))


def test_long_sums_are_read():
    """They are deep trees to Python, and counts of models have many terms."""
    text = " + ".join(f"{power + 1}*b**{power % 30}*s**{power // 30}" for power in range(600))
    value = parse(text, ["b", "s"]).xreplace({})
    assert value.subs({"b": 1, "s": 1}) == 600 * 601 // 2


def test_a_difference_has_negative_numbers_and_says_so():
    """So that a reader can tell it from a damaged profile."""
    before, after = Profile.from_json(json.dumps(WHOLE)), Profile.from_json(json.dumps(PLAIN))
    new, unnamed = Profile.from_json(json.dumps(NEW)), Profile.from_json(changed([], "modules", of=NEW))
    for difference in (
        *(before.diff(after), after.diff(before), before.at(b=2, s=3).diff(after), new.diff(after), after.diff(new)),
        *(new.diff(unnamed), new.diff(Profile())),
    ):
        assert json.loads(difference.to_json())["schema"] == "opflops.difference"
        assert Profile.from_json(difference.to_json()) == difference
    assert json.loads(before.to_json())["schema"] == "opflops.profile"


def places(value, path=()):
    """List the places of all values in a document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inside in items:
        yield (*path, key)
        yield from places(inside, (*path, key))


TEXTS = st.one_of(
    st.sampled_from(["b", "s", "b*s", "12*b - 3", "b/s", "b**s", "1/(b - 4)", "Ne(b, 4)", "b > s", "floor(b/s)", "-1",
                     "opflops.profile", "opflops.difference", "\ud800", "\x1b[2J", "=1", "Max(b, s)", "sqrt(b)"]),
    st.text(max_size=5),
)  # fmt: skip
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-5, 9), st.integers(), st.floats(), TEXTS),
    lambda inside: st.one_of(st.lists(inside, max_size=3), st.dictionaries(TEXTS, inside, max_size=3)),
    max_leaves=5,
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    st.sampled_from([WHOLE, NEW]),
    st.lists(
        st.tuples(st.sampled_from(list(places(NEW))), st.sampled_from(["put", "drop", "twice"]), JSON),
        min_size=1,
        max_size=2,
    ),
)
def test_every_mutation_of_a_file_is_refused_or_is_a_profile(whole, mutations):
    """One that is read can be printed, evaluated where it holds, and written without loss."""
    document = copy.deepcopy(whole)
    for path, how, value in mutations:
        inside = document
        try:
            for step in path[:-1]:
                inside = inside[step]
            if how == "put":
                inside[path[-1]] = value
            elif how == "drop":
                del inside[path[-1]]
            elif isinstance(inside, list):
                inside.append(inside[path[-1]])
            else:
                inside[f"{path[-1]} 2"] = inside[path[-1]]
        except (KeyError, IndexError, TypeError):
            continue
    started = time.process_time()
    try:
        profile = Profile.from_json(json.dumps(document))
    except ProfileError:
        return
    finally:
        assert time.process_time() - started < 1
    assert Profile.from_json(profile.to_json()) == profile
    assert str(profile)
    assert profile.to_csv()
    assert profile.to_csv("modules")
    for sizes in ({each.name: each.example for each in profile.dimensions}, {"b": 2, "s": 5}, {"b": 1, "s": 3}):
        try:
            found = profile.at(**sizes)
        except ProfileError:
            continue
        assert Profile.from_json(found.to_json()) == found
        assert str(found)
