"""Data frames of pandas and polars: the rows, groups and modules of a profile with the right numbers and dtypes."""

import csv
import io
import sys
from dataclasses import replace
from importlib import import_module

import pytest
import torch
from hypothesis import given, settings
from module_facts import MEMORY, MODULES
from required import absent
from sympy import Symbol
from test_rows import PROFILE, profiles
from torch import nn
from torch.export import Dim

from opflops import Cost, MissingExtraError, Profile, ProfileError, Row, count
from opflops.errors import ProfileArgumentError

COSTS = ["macs", "ops", "flops", "transcendentals", "bytes_read", "bytes_written", "bytes", "sent"]
ROWS = [
    "module", "module_type", "op", "phase", "dtype", "calls", *COSTS, "seconds", "spread", "activations", "estimate",
    "priced", "group", "rank",
]  # fmt: skip
SUMS = ["calls", *COSTS, "seconds", "spread", "activations"]
STEP = Row(
    "Net.a", "Linear", "aten.mm", "forward", "float32", 2, Cost(12, 6, 4, 8, 2, 6), 0.5, "guessed", False, "", 10, 0.25,
    "tp (2)", 3,
)  # fmt: skip


@pytest.fixture(params=["pandas", "polars"])
def backend(request):
    try:
        import_module(request.param)
    except ImportError as error:
        absent("frames", f"{request.param} does not import ({error})")
    return request.param


def values(frame, column):
    """Return the values of a column as Python's own, None for those that are missing."""
    return [None if str(each) in ("nan", "<NA>") else each for each in frame[column].to_list()]


def dtypes(frame, backend):
    if backend == "pandas":
        return {name: str(dtype) for name, dtype in frame.dtypes.items()}
    return {name: str(dtype) for name, dtype in frame.schema.items()}


def test_a_line_has_every_key_of_its_row(backend):
    """Under the names of rows and costs."""
    frame = Profile((STEP,)).to_dataframe(backend=backend)
    assert list(frame.columns) == ROWS
    assert [values(frame, name)[0] for name in ROWS] == [
        "Net.a", "Linear", "aten.mm", "forward", "float32", 2, 12, 6, 30, 4, 8, 2, 10, 6, 0.5, 0.25, 10, "guessed",
        False, "tp (2)", 3,
    ]  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(profile=profiles)
@pytest.mark.parametrize("name", ["pandas", "polars"])
def test_columns_add_up_as_by_does(name, profile):
    """Lines are in the order of rows; groups, by one key or two, have what by() has."""
    try:
        import_module(name)
    except ImportError as error:
        absent("frames", f"{name} does not import ({error})")
    frame = profile.to_dataframe(backend=name)
    for column in ("module", "op", "phase", "dtype", "calls", "group", "rank", "seconds", "spread", "estimate"):
        assert values(frame, column) == [getattr(row, column) for row in profile.rows]
    for column in COSTS:
        assert values(frame, column) == [getattr(row.cost, column) for row in profile.rows]
    for keys in (("op",), ("module",), ("rank",), ("module", "phase"), ("dtype", "group")):
        frame, groups = profile.to_dataframe(by=keys, backend=name), profile.by(*keys)
        assert list(frame.columns) == [*keys, *SUMS]
        found = list(zip(*(values(frame, key) for key in keys), strict=True))
        assert found == [key if len(keys) > 1 else (key,) for key in groups]
        for column in COSTS:
            assert values(frame, column) == [getattr(cost, column) for cost in groups.values()]
            assert sum(values(frame, column)) == getattr(profile.total, column)
        assert sum(values(frame, "calls")) == sum(row.calls for row in profile.rows if row.floating)


def test_times_and_activations_of_groups_are_sums(backend):
    """A time is missing if nothing of a group was timed."""
    rows = (STEP, replace(STEP, seconds=1.0, spread=0.5), replace(STEP, op="aten.add", seconds=None, spread=None))
    frame = Profile(rows).to_dataframe("op", backend=backend)
    assert values(frame, "seconds") == [1.5, None]
    assert values(frame, "spread") == [0.75, None]
    assert values(frame, "activations") == [20, 10]


EXPECTED = {
    "pandas": {"text": "str", "count": "int64", "missing": "Int64", "time": "float64", "flag": "bool"},
    "polars": {"text": "String", "count": "Int64", "missing": "Int64", "time": "Float64", "flag": "Boolean"},
}


def expected_dtypes(backend, columns):
    texts = {"module", "module_type", "op", "phase", "dtype", "estimate", "group", "shared", "input", "output"}
    missing = {"rank", "saved", "peak", "params", "trainable", "param_bytes", "buffers", "buffer_bytes"}
    kinds = {**dict.fromkeys(texts, "text"), **dict.fromkeys(missing, "missing"), "priced": "flag"}
    kinds |= {"seconds": "time", "spread": "time"}
    found = {name: EXPECTED[backend][kinds.get(name, "count")] for name in columns}
    if backend == "pandas":
        # Texts are objects before pandas 3.
        text = str(import_module("pandas").Series([], dtype="str").dtype)
        found = {name: text if dtype == "str" else dtype for name, dtype in found.items()}
        if "params" in columns:
            found["calls"] = "Int64"
    return found


@pytest.mark.parametrize("profile", [Profile(), PROFILE, Profile((STEP,), modules=MODULES, memory=MEMORY)])
@pytest.mark.parametrize("by", [None, "op", ("rank", "group"), "modules"])
def test_dtypes_are_the_same_whatever_there_is(backend, profile, by):
    """So an empty profile has the columns too."""
    frame = profile.to_dataframe(by, backend=backend)
    assert dtypes(frame, backend) == expected_dtypes(backend, list(frame.columns))


def test_no_number_is_rounded_or_wraps(backend):
    """Beyond int64, also in the sum of a column, there are Python's integers."""
    most = 2**63 - 1
    for counts, kind in (
        ([most], EXPECTED[backend]["count"]),
        ([-most], EXPECTED[backend]["count"]),
        ([most + 1], "object"),
        ([2**62, 2**62], "object"),
        ([-(2**62), -(2**62)], "object"),
        ([10**40], "object"),
    ):
        rows = tuple(replace(STEP, op=f"aten.mm{at}", cost=Cost(ops=number)) for at, number in enumerate(counts))
        frame = Profile(rows).to_dataframe("op", backend=backend)
        assert dtypes(frame, backend)["ops"].lower() == kind.lower()
        assert values(frame, "ops") == counts
        assert set(map(type, values(frame, "ops"))) == {int}
        assert dtypes(frame, backend)["macs"] == EXPECTED[backend]["count"]


def test_expressions_are_objects(backend):
    """Sympy's own, in the columns that have any."""
    p = count(nn.Linear(4, 3), torch.ones(2, 4), dynamic_shapes=({0: Dim("batch")},))
    frame = p.to_dataframe("op", backend=backend)
    batch = Symbol("batch")
    assert values(frame, "macs") == [0, 12 * batch]
    assert (values(frame, "calls"), dtypes(frame, backend)["calls"]) == ([1, 1], EXPECTED[backend]["count"])
    assert values(p.at(batch=5).to_dataframe("op", backend=backend), "macs") == [0, 60]
    modules = p.to_dataframe("modules", backend=backend)
    assert (values(modules, "macs"), values(modules, "input")) == ([12 * batch], ["batchx4 float32"])


def test_modules_are_those_of_the_csv(backend):
    """Cell for cell, where that is empty nothing is known."""
    profile = Profile((STEP, replace(STEP, module="Net.new", activations=0)), modules=MODULES, memory=MEMORY)
    frame = profile.to_dataframe(by="modules", backend=backend)
    lines = list(csv.DictReader(io.StringIO(profile.to_csv("modules"), newline="")))
    assert len(lines) == len(values(frame, "module"))
    for name in lines[0]:
        cells = ["" if value is None else str(value) for value in values(frame, name)]
        assert cells == [line[name] for line in lines]
    assert values(frame, "bytes") == [int(line["bytes_read"]) + int(line["bytes_written"]) for line in lines]
    assert sum(each or 0 for each in values(frame, "params")) == profile.parameters


def test_names_of_any_kind(backend):
    """They are as they were, but for what is no text."""
    names = ["Net.<b>|x", "Net.层\n", "=1+1", "Net.\ud800"]
    frame = Profile(tuple(replace(STEP, module=name) for name in names)).to_dataframe(backend=backend)
    assert values(frame, "module") == ["Net.<b>|x", "Net.层\n", "=1+1", "Net.\\ud800"]


def test_a_difference_is_a_frame_of_changes(backend):
    """Decreases are negative."""
    frame = (PROFILE - PROFILE * 3).to_dataframe("op", backend=backend)
    assert sum(values(frame, "macs")) == -2 * PROFILE.total.macs


def test_a_missing_package_is_said_with_the_line_that_installs_it(monkeypatch):
    """For each of them."""
    for name in ("pandas", "polars"):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(MissingExtraError, match=rf"needs {name}.*pip install 'opflops\[{name}\]'"):
            PROFILE.to_dataframe(backend=name)


@pytest.mark.parametrize("by", ["opp", (), ("op", "opp"), 3, ("op", "modules"), PROFILE, "rows.csv"])
def test_a_wrong_key_gets_a_sentence(by):
    """Before any package is imported."""
    with pytest.raises(ProfileError, match=r"to_dataframe\(\) (got|needs)"):
        PROFILE.to_dataframe(by)


@pytest.mark.parametrize("backend_given", ["arrow", "Pandas", 3, None])
def test_a_wrong_backend_gets_a_sentence(backend_given):
    """With those that there are."""
    with pytest.raises((ProfileError, ProfileArgumentError), match="polars"):
        PROFILE.to_dataframe(backend=backend_given)
