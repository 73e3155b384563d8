"""Rows as comma-separated values."""

import csv
import io
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from module_facts import MEMORY, MODULES, memories
from sympy import Symbol
from test_rows import PROFILE, profiles

from opflops import Cost, Profile, ProfileError, Row, count
from opflops.profile.profile import Dimension
from opflops.records.modules import CallShapes, ModuleRecord, TensorShape

VERSION_1 = (
    "module,module_type,op,phase,dtype,calls,macs,ops,flops,transcendentals,bytes_read,bytes_written,seconds,"
    "estimate,priced"
)
VERSION_2 = f"{VERSION_1},activations,params,trainable,input,output,saved,peak"
VERSION_3 = f"{VERSION_2},spread"
VERSION_4 = f"{VERSION_3},sent,group,rank"


def read(text):
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_the_header_is_the_version():
    """Columns of version 1, then those of later ones, in this order for ever; lines end as RFC 4180 has them."""
    first, *lines, last = PROFILE.to_csv().split("\r\n")
    assert first == VERSION_4
    assert lines[0] == "Net.a,Linear,aten.addmm,forward,float32,2,10,4,24,0,0,0,,,true,0,,,,,,,,0,,"
    assert (len(lines), last) == (4, "")


@given(profiles)
def test_every_row_is_there_as_it_was(profile):
    """Integer rows too, and every number in full."""
    found = [
        Row(
            each["module"],
            each["module_type"],
            each["op"],
            each["phase"],
            each["dtype"],
            int(each["calls"]),
            Cost(*(int(each[name]) for name in Cost._fields)),
            float(each["seconds"]) if each["seconds"] else None,
            each["estimate"],
            each["priced"] == "true",
            activations=int(each["activations"]),
            spread=float(each["spread"]) if each["spread"] else None,
            group=each["group"],
            rank=int(each["rank"]) if each["rank"] else None,
        )
        for each in read(profile.to_csv())
        if each["op"]
    ]
    assert tuple(found) == profile.rows


def test_flops_are_two_for_each_mac_and_one_for_each_other_operation():
    """The one derived column, so that no reader has to know the convention."""
    assert [each["flops"] for each in read(PROFILE.to_csv())] == ["24", "6", "9", "40"]


def test_names_with_commas_quotes_and_lines_survive():
    """The csv module quotes what it must."""
    odd = Row('Net.a,"b"\r\nc', "Linear\n", "aten.mm", "forward", "float32", 1, Cost(), estimate='"so", she said')
    (found,) = read(Profile((odd,)).to_csv())
    assert (found["module"], found["module_type"], found["estimate"]) == (odd.module, odd.module_type, odd.estimate)


def test_expressions_are_text():
    """A count for all sizes is the expression, not one of its values."""
    batch = torch.export.Dim("batch")
    profile = count(torch.nn.Linear(4, 3), torch.ones(2, 4), dynamic_shapes=({0: batch},))
    assert {each["macs"] for each in read(profile.to_csv()) if each["op"] == "aten.addmm"} == {"12*batch"}


def test_a_count_that_is_symbolic_to_pytorch_is_refused():
    """It means nothing outside the process."""
    with pytest.raises(ProfileError, match=r"symbolic count .* cannot be written"):
        Profile((Row("", "", "aten.mm", "forward", "float32", 1, Cost(macs=object())),)).to_csv()


FIRST, SECOND = (Row("Net.a", "Embedding", op, "forward", "float32", 1, Cost(macs=4), activations=6)
                 for op in ("aten.mm", "aten.addmm"))  # fmt: skip
OUTSIDE = Row("", "", "aten.mul", "forward", "int64", 1, Cost(ops=2))
KNOWN = Profile((FIRST, SECOND, OUTSIDE), modules=MODULES, memory=MEMORY)


def test_what_is_known_of_a_module_stands_on_its_first_line():
    """So that a sum over the column counts it once; modules without work that have parameters have a line too."""
    lines = read(KNOWN.to_csv())
    assert [
        (each["module"], each["op"], each["calls"], each["activations"], each["params"], each["saved"])
        for each in lines
    ] == [
        ("Net.a", "aten.mm", "1", "6", "640", "200"),
        ("Net.a", "aten.addmm", "1", "6", "", ""),
        ("", "aten.mul", "1", "0", "", ""),
        ("Net.b", "", "0", "0", "10", "50"),
    ]
    assert (lines[0]["input"], lines[0]["output"], lines[0]["peak"]) == ("2x64 int64", "8x10 float16", "1200")
    assert (lines[3]["trainable"], lines[3]["macs"], lines[3]["peak"], lines[3]["priced"]) == ("0", "0", "", "true")


def test_each_module_has_a_line():
    """Its own parameters, shapes, floating-point work and memory; what is not known is empty."""
    net, embedding, head, outside = read(KNOWN.to_csv("modules"))
    assert (net["module"], net["calls"], net["params"], net["peak"], net["saved"]) == ("Net", "1", "0", "2000", "0")
    assert embedding == {
        "module": "Net.a", "module_type": "Embedding", "calls": "2", "params": "640", "trainable": "640",
        "param_bytes": "2560", "buffers": "0", "buffer_bytes": "0", "shared": "", "input": "2x64 int64",
        "output": "8x10 float16", "activations": "12", "macs": "8", "ops": "0", "flops": "16", "transcendentals": "0",
        "bytes_read": "0", "bytes_written": "0", "seconds": "", "saved": "200", "peak": "1200", "spread": "",
        "sent": "0",
    }  # fmt: skip
    assert head["shared"] == "weight of Net.a"
    assert head["input"] == "8x10 float16, 2x64 int64; none"
    assert head["output"] == "none; 8x3x32x32 float32, scalar bool, 4x? int8"
    assert (outside["module"], outside["ops"], outside["params"], outside["peak"]) == ("", "0", "", "")


@given(profiles, memories())
def test_columns_of_modules_add_up(profile, memory):
    """To the totals of the profile, in both files."""
    known = replace(profile, memory=memory)
    for of in ("rows", "modules"):
        lines = read(known.to_csv(of))
        for column, name in (("params", "parameters"), ("trainable", "trainable")):
            total = sum(getattr(record, name) for record in profile.modules)
            assert sum(int(each[column] or 0) for each in lines) == total
        assert sum(int(each["saved"] or 0) for each in lines) == sum(memory.saved.values())
    assert sum(int(each["flops"]) for each in lines) == profile.total.flops
    assert len({each["module"] for each in lines}) == len(lines)


def test_sizes_that_are_expressions_are_text():
    """In parentheses, if they are more than a name."""
    n = Symbol("n")
    call = CallShapes((TensorShape((n, 4), "float32"),), (TensorShape((-2 + n, 2 * n), "float32"),))
    profile = Profile((), modules=(ModuleRecord("Net", "Net", calls=(call,)),), dimensions=(Dimension("n", 8),))
    (line,) = read(profile.to_csv("modules"))
    assert (line["input"], line["output"]) == ("nx4 float32", "(n - 2)x(2*n) float32")


@pytest.mark.parametrize(
    ("of", "message"),
    [("module", "'rows' or 'modules', not 'module'"), ("out.csv", r"write_text\(profile.to_csv\(\)\)")],
)
def test_other_kinds_of_lines_get_a_sentence(of, message):
    """A name of a file too."""
    with pytest.raises(ProfileError, match=message):
        PROFILE.to_csv(of)
