"""Reports of large profiles: work in proportion to the rows, memory in proportion to the result, and any depth."""

import csv
import io
import json
import pickle
import random
import re
import sys
import tracemalloc
from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_overhead import calls, profile_of
from test_rows import profiles
from torch import nn

from opflops import Cost, OpFlopMode, Profile, ProfileError, Row, annotate
from opflops.records.cost import total_of
from opflops.records.modules import CallShapes, ModuleRecord, TensorShape
from opflops.records.rows import new_row
from opflops.report.files import reading

DEPTH, SIBLINGS = 900, 10_000


class Nest(nn.Module):
    """Hold a module."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner


def nested(depth):
    """Put a module in a module in a module."""
    module = nn.ReLU()
    for _ in range(depth):
        module = Nest(module)
    return module


OPERATORS = (("aten.mm", "forward", 5), ("aten.relu", "backward", 0))


def rows_of(paths, operators=OPERATORS):
    """Make a row for each operator of each module, the cost of which is the same in all."""
    return [
        Row(path, path.rpartition(".")[2], op, phase, "float32", 1, Cost(macs, 3, 1, 8, 4))
        for path in paths
        for op, phase, macs in operators
    ]


def profile_with(paths, operators=OPERATORS):
    shape = TensorShape((2, 3), "float32")
    modules = [
        ModuleRecord(path, path.rpartition(".")[2], 7, 7, 28, calls=(CallShapes((shape,), (shape,)),)) for path in paths
    ]
    return Profile(rows_of(paths, operators), called=paths, modules=modules)


DEEP = profile_with(["Nest" + ".inner" * depth for depth in range(DEPTH)])
WIDE = profile_with(["Net", *(f"Net.layers.{each}" for each in range(SIBLINGS))], OPERATORS[:1])
LARGE = {"deep": DEEP, "wide": WIDE}
# Each module has 2 * 5 + 3 flops in the forward, and the deep ones 3 in the backward.
FLOPS = {"deep": DEPTH * 16, "wide": (SIBLINGS + 1) * 13}


def sum_of_stacks(text):
    return sum(int(line.rpartition(" ")[2]) for line in text.splitlines())


def sum_of_csv(text):
    return sum(int(line["flops"]) for line in csv.DictReader(io.StringIO(text, newline="")))


TEXTS = {
    "print": str,
    "tree": lambda profile: profile.table(),
    "expanded": lambda profile: profile.table(expand=True),
    "to a depth": lambda profile: profile.table(depth=2),
    "largest": lambda profile: profile.table(top=5),
    "all columns": lambda profile: profile.table(columns="params,input,output,phases,flops,%", width=200),
    "by operator": lambda profile: profile.table("op"),
    "markup": lambda profile: profile.table(tablefmt="github"),
    "page": lambda profile: profile.to_html(),
    "notebook": lambda profile: profile._repr_html_(),
    "difference": lambda profile: profile.diff(2 * profile).table(),
    "state diagram": lambda profile: profile.to_mermaid(),
    "entities": lambda profile: profile.to_mermaid("er"),
    "roofline": lambda profile: str(profile.roofline("h100-sxm", "module")),
    "bottlenecks": lambda profile: str(profile.bottlenecks("h100-sxm")),
}
SUMS = {
    "rows": lambda profile: sum_of_csv(profile.to_csv()),
    "modules": lambda profile: sum_of_csv(profile.to_csv("modules")),
    "stacks": lambda profile: sum_of_stacks(profile.to_folded()),
    "speedscope": lambda profile: json.loads(profile.to_speedscope())["profiles"][0]["endValue"],
    "frame of rows": lambda profile: profile.to_dataframe()["flops"].sum(),
    "frame of modules": lambda profile: profile.to_dataframe("modules")["flops"].sum(),
    "groups": lambda profile: sum(cost.flops for cost in profile.by("module", "op").values()),
    "root": lambda profile: next(iter(profile.inclusive().values())).flops,
    "selection": lambda profile: profile.where(module=profile.called[0], below=True).total.flops,
    "json": lambda profile: Profile.from_json(profile.to_json()).total.flops,
    "pickle": lambda profile: pickle.loads(pickle.dumps(profile)).total.flops,  # noqa: S301 - written here
    "sum": lambda profile: (profile + profile).total.flops // 2,
}


@pytest.mark.parametrize("shape", LARGE)
@pytest.mark.parametrize("name", TEXTS)
def test_no_depth_and_no_number_of_modules_is_too_much_for_a_report(name, shape):
    """Nothing recurses into the tree, which is nearly as deep as Python's limit."""
    assert DEPTH < sys.getrecursionlimit() <= DEPTH + 100
    assert len(TEXTS[name](LARGE[shape])) > 100


@pytest.mark.parametrize("diagram", ["state", "er"])
def test_a_diagram_of_any_depth_is_drawn_as_deep_as_is_asked_for(diagram):
    """As far as Mermaid draws so long a text; what is deeper is in the last layer."""
    (level,) = re.findall(r"%%.*Modules deeper than level (\d+) are folded", DEEP.to_mermaid(diagram, depth=DEPTH))
    assert int(level) > 50


@pytest.mark.parametrize("shape", LARGE)
@pytest.mark.parametrize("name", SUMS)
def test_what_a_large_profile_is_written_as_adds_up(name, shape):
    """To the work of each module times the number of modules."""
    assert SUMS[name](LARGE[shape]) == FLOPS[shape]


def test_a_model_of_any_depth_is_annotated():
    """A line for each module opened and one that closes it, further in for each level; its repr() would recurse."""
    lines = annotate(nested(DEPTH), DEEP).splitlines()
    assert len(lines) == 2 * DEPTH + 1
    assert re.fullmatch(
        rf" {{{2 * DEPTH - 2}}}\(inner\): Nest\(  # +5 macs, +16 flops,.* own 16 flops.*", lines[DEPTH - 1]
    )
    assert lines[DEPTH].startswith(" " * 2 * DEPTH + "(inner): ReLU()")
    assert lines[-1] == ")"


def test_many_modules_in_a_list_are_annotated():
    """Equal ones on one line, as in the model's repr."""
    model = nn.ModuleList(nn.ReLU() for _ in range(SIBLINGS))
    profile = Profile(rows_of([f"ModuleList.{each}" for each in range(SIBLINGS)]), called=["ModuleList"])
    lines = annotate(model, profile, numbers="exact").splitlines()
    assert len(lines) == 3
    assert lines[1].startswith(f"  (0-{SIBLINGS - 1}): {SIBLINGS} x ReLU()  # 50,000 macs, 160,000 flops, 100.0 %")


def test_a_repr_that_recurses_too_deep_is_said_to():
    """A class with its own repr may call that of the modules inside, which opflops cannot help."""

    class Endless(nn.Module):
        def __repr__(self):
            return repr(self)

    with pytest.raises(ProfileError, match=r"^Endless cannot be annotated: its repr\(\) recurses .*setrecursionlimit"):
        annotate(Endless(), Profile(rows_of(["Endless"]), called=["Endless"]))


def counted(modules):
    """Count a block of two rows for each module."""
    model = nn.Sequential(*[nn.Sequential(nn.Sigmoid(), nn.ReLU()) for _ in range(modules)])
    from test_overhead import X  # noqa: PLC0415 - as a tensor of any kind

    with OpFlopMode() as mode:
        model(X)
    return mode


VIEWS = {
    "csv": (lambda profile: profile.to_csv(), 13),
    "modules": (lambda profile: profile.to_csv("modules"), 20),
    "stacks": (lambda profile: profile.to_folded(), 16),
    "diagram": (lambda profile: profile.to_mermaid(), 52),
    "frame": (lambda profile: profile.to_dataframe(), 8),
    "sums": (lambda profile: profile.inclusive(), 5),
    "groups": (lambda profile: profile.by("module", "op"), 11),
    "saved and read": (lambda profile: Profile.from_json(profile.to_json()), 18),
    "sum": (lambda profile: profile + profile, 12),
}


@pytest.mark.counts_calls
@pytest.mark.parametrize("name", VIEWS)
def test_other_views_take_so_many_calls_for_a_row(name):
    """Twice the rows are twice the work, and the work for one is bounded."""
    view, ceiling = VIEWS[name]
    found = [profile_of(modules) for modules in (200, 400, 600)]
    view(found[0])  # what writes is loaded with the first
    one, two, three = (calls(lambda profile=profile: view(profile)) for profile in found)
    assert three - two <= 1.1 * (two - one)
    assert (two - one) / 2000 <= ceiling


@pytest.mark.counts_calls
def test_a_profile_takes_so_many_calls_for_a_module():
    """Twice the modules are twice the work: two rows for three modules, with their shapes."""
    found = [counted(modules) for modules in (100, 200, 300)]
    one, two, three = (calls(lambda mode=mode: mode.profile.rows) for mode in found)
    assert three - two <= 1.1 * (two - one)
    assert (two - one) / 100 <= 150


def some_rows(number):
    """Make rows of many kinds, some with names that JSON escapes."""
    order = random.Random(0)  # noqa: S311 - not cryptographic
    return [
        Row(
            f"Net.{order.choice(('conv', 'größe', 'a b'))}.{each // 10}",
            "Block",
            f"aten.op{each % 10}",
            order.choice(("forward", "backward")),
            order.choice(("float32", "int64")),
            order.randrange(9),
            Cost(*(order.randrange(10**digits) for digits in (3, 6, 9, 12, 30, 2))),
            order.choice((None, order.random() * 1e-3, 1e-9)),
            order.choice(("", 'of the "largest" size')),
            order.random() < 0.9,
            "",
            order.randrange(10**6),
            order.choice((None, 1e-7)),
            order.choice(("", "tp (8)")),
            order.choice((None, order.randrange(8))),
        )
        for each in range(number)
    ]


def with_types(profile):
    return [
        [(value, type(value)) for value in (*row.cost, *(getattr(row, each) for each in row.__slots__))]
        for row in profile.rows
    ]


def test_a_large_profile_is_written_and_read_without_loss(tmp_path):
    """In whatever order its keys and its spaces are; a file has the text."""
    profile = Profile(some_rows(5_000))
    text = profile.to_json()
    assert text == json.dumps(json.loads(text))
    profile.save(tmp_path / "profile.json")
    assert (tmp_path / "profile.json").read_text() == text
    for written in (text, json.dumps(json.loads(text), indent=1), json.dumps(json.loads(text), sort_keys=True)):
        assert with_types(Profile.from_json(written)) == with_types(profile)


@given(profiles)
def test_rows_are_written_as_json_writes_their_objects(profile):
    """Byte for byte, whatever they have."""
    text = profile.to_json()
    assert text == json.dumps(json.loads(text))


def outcome(text):
    try:
        return with_types(Profile.from_json(text))
    except ProfileError as error:
        return str(error)


FEW = Profile(some_rows(3)).to_json()


@given(
    st.integers(0, len(FEW) - 1),
    st.integers(0, 12),
    st.sampled_from(
        ["", " ", '"', "\\", ",", "]", "}", "0", "-", "1e999", "null", "true", "NaN", "\n", "é", "1" * 4001]
    ),
)
def test_a_changed_file_is_read_as_it_is_without_the_short_cut(start, length, new):
    """The way that reads rows as they are parsed accepts nothing that is refused otherwise, and reads the same."""
    text = FEW[:start] + new + FEW[start + length :]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "parse", lambda *_: None)
        expected = outcome(text)
    assert outcome(text) == expected


def most_memory(program):
    """Return how many bytes a program held at most beyond what it leaves, and what it returns."""
    tracemalloc.start()
    try:
        result = program()
        left, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return peak - left, result


def test_files_take_little_memory_beside_the_rows(tmp_path):
    """A document of a million rows is gigabytes as objects; neither these nor the text are made to save it."""
    profile, path = Profile(some_rows(10_000)), tmp_path / "profile.json"
    text = profile.to_json()
    peak, _ = most_memory(lambda: profile.save(path))
    assert peak < len(text) / 4
    for read in (lambda: Profile.from_json(text), lambda: Profile.load(path)):
        peak, again = most_memory(read)
        assert peak < len(text) / 4
        assert again == profile


def test_rows_made_in_bulk_are_rows():
    """Equal to others, of the class itself, and as unchangeable."""
    (expected,) = some_rows(1)
    row = new_row(*(getattr(expected, each) for each in expected.__slots__))
    assert type(row) is Row
    assert (row, hash(row), repr(row)) == (expected, hash(expected), repr(expected))
    assert pickle.loads(pickle.dumps(row)) == row  # noqa: S301 - written here
    with pytest.raises(FrozenInstanceError):
        row.calls = 5


@pytest.mark.parametrize("number", [0, 1, 999, 1_000, 1_001, 2_500])
def test_any_number_of_costs_is_added_up(number):
    """As one by one: the sum of 0, 1, ... is n (n - 1) / 2."""
    whole = total_of(Cost(each, 2 * each, 1) for each in range(number))
    assert whole == Cost(number * (number - 1) // 2, number * (number - 1), number)
