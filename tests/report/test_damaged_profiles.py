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
    assert profile.at(b=2, s=3).rows[0].cost == (24, 2 * 3 // 2 + 2 * 9 // 2, 0, 68, 1)
    assert profile.at(b=1, s=3).rows[0].cost == (9, 9, 9, 9, 9)


DAMAGED = {
    "version true": (changed(True, "version"), "version True"),
    "version 1.0": (changed(1.0, "version"), "version 1.0"),
    "version text": (changed("1", "version"), "version '1'"),
    "version list": (changed([1], "version"), r"version \[1\]"),
    "version of the future": (changed(10**30, "version"), "reads versions 1 to 4"),
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
    for difference in (before.diff(after), after.diff(before), before.at(b=2, s=3).diff(after)):
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
@given(st.lists(st.tuples(st.sampled_from(list(places(WHOLE))), st.sampled_from(["put", "drop", "twice"]), JSON),
                min_size=1, max_size=2))  # fmt: skip
def test_every_mutation_of_a_file_is_refused_or_is_a_profile(mutations):
    """One that is read can be printed, evaluated where it holds, and written without loss."""
    document = copy.deepcopy(WHOLE)
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
    for sizes in ({each.name: each.example for each in profile.dimensions}, {"b": 2, "s": 5}, {"b": 1, "s": 3}):
        try:
            found = profile.at(**sizes)
        except ProfileError:
            continue
        assert Profile.from_json(found.to_json()) == found
        assert str(found)
