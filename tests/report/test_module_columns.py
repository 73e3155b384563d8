"""Columns of modules: parameters, shapes and activations, what is folded with them, and the notes below."""

import re
from dataclasses import replace

import pytest
import sympy
import torch
from test_columns import tsv
from torch import nn

from opflops import Cost, OpFlopMode, Profile, ProfileError, Row, count
from opflops.records.memory import Memory
from opflops.records.modules import UNKNOWN_SIZE, CallShapes, ModuleRecord, SharedParameter, TensorShape


def row(module, macs=1, **changes):
    made = Row(module, "Linear", "aten.mm", "forward", "float32", 1, Cost(macs=macs), activations=2 * macs)
    return replace(made, **changes)


def shapes(inputs, outputs, dtype="float32"):
    return CallShapes(
        *(tuple(TensorShape(shape, dtype) for shape in each) for each in (inputs, outputs)),
    )


def record(module, parameters=0, trainable=None, calls=(), **changes):
    trainable = parameters if trainable is None else trainable
    return ModuleRecord(module, "Linear", parameters, trainable, calls=tuple(calls), **changes)


ROWS = [row("Net.stem", 3), row("Net.head", 5), row("", 7, module_type="")]
MODULES = (
    record("Net", 11, calls=[shapes([(8, 4)], [(8, 2)])]),
    record("Net.stem", 100, 40, calls=[shapes([(8, 4)], [(8, 16)])]),
    record("Net.head", 1000, calls=[shapes([(8, 16)], [(8, 2)])]),
)
NET = Profile(ROWS, modules=MODULES)


def lines(profile, **options):
    """Return the cells of each line of a tree by its label without indentation, numbers as such."""
    header, *found = [
        [cell.strip() for cell in line.split("\t")] for line in profile.table(tablefmt="tsv", **options).splitlines()
    ]
    return {
        label: {name: int(cell) if cell.isdecimal() else cell for name, cell in zip(header[1:], cells, strict=True)}
        for label, *cells in found
    }


def test_parameters_are_those_of_a_module_and_all_below():
    """11 of the model itself, 100 and 1,000 below; operators and work outside modules have none."""
    found = lines(NET, columns="params,trainable,activations")
    assert found["Net"] == {"params": 1111, "trainable": 1051, "activations": 16}
    assert found["stem (Linear)"] == {"params": 100, "trainable": 40, "activations": 6}
    assert found["(outside)"] == {"params": "", "trainable": "", "activations": 14}
    assert found["aten.mm"]["params"] == ""
    assert found["total"] == {"params": 1111, "trainable": 1051, "activations": 30}


def test_the_tree_shows_parameters_where_they_are_known():
    """First of the columns; lists by another key, and profiles without modules, have none."""
    assert list(tsv(NET)["total"]) == ["params", "calls", "macs", "flops", "%"]
    assert list(tsv(NET, by="op")["total"]) == ["calls", "macs", "flops", "%"]
    assert list(tsv(Profile(ROWS))["total"]) == ["calls", "macs", "flops", "%"]
    assert re.search(r"^Net +1,111 +2 ", str(NET), re.MULTILINE)
    assert re.search(r"^total +1,111 +3 ", str(NET), re.MULTILINE)
    assert re.search(r"^aten.mm +3 ", str(NET), re.MULTILINE)


def test_parameters_of_modules_without_a_line_count_above():
    """And a note names them; so no parameter of the model is missing from its line."""
    modules = (*MODULES, record("Net.aux", 7), record("Net.aux.fc", 20), record("Net.list", 0))
    profile = Profile(ROWS, modules=modules)
    found = lines(profile, columns="params")
    assert found["Net"]["params"] == found["total"]["params"] == 1138
    assert "aux" not in found
    note = "27 of the params are in modules without floating-point work here: Net.aux and Net.aux.fc."
    assert note in profile.table(width=200)
    assert note in profile.table(depth=0, width=200)
    assert "are in modules" not in NET.table(width=200)


def test_of_many_idle_modules_the_first_is_named():
    """Experts that no token went to, for example."""
    modules = (*MODULES, *(record(f"Net.experts.{number}", 10) for number in range(9)))
    text = Profile(ROWS, modules=modules).table(width=200)
    assert "90 of the params are in" in text
    assert "floating-point work here: Net.experts.0 and 8 more." in text


def test_shared_parameters_are_marked_and_explained():
    """They count for their first owner; formats for programs have numbers alone."""
    shared = record("Net.head", 0, shared=(SharedParameter("weight", "Net.stem", 100),))
    profile = Profile(ROWS, modules=(MODULES[0], MODULES[1], shared))
    text = profile.table(width=200)
    assert re.search(r"^  head \(Linear\) +\*0 ", text, re.MULTILINE)
    assert re.search(r"^  stem \(Linear\) +100 ", text, re.MULTILINE)
    assert "* Shared parameters count once, for their first owner: Net.head.weight counts for Net.stem." in text
    assert lines(profile)["head (Linear)"]["params"] == 0
    assert lines(profile)["Net"]["params"] == 111
    assert "Shared" not in NET.table(width=200)


def test_shapes_are_written_without_the_usual_dtype():
    """Which a note names; another one follows its shape, and a number of one element is a scalar."""
    ids = CallShapes((TensorShape((8,), "int64"),), (TensorShape((8, 4), "float32"), TensorShape((), "float32")))
    profile = Profile(ROWS, modules=(*MODULES[:2], replace(MODULES[2], calls=(ids,))))
    found = lines(profile, columns="input,output")
    assert found["Net"] == {"input": "8×4", "output": "8×2"}
    assert found["head (Linear)"] == {"input": "8 int64", "output": "8×4, scalar"}
    assert found["aten.mm"] == found["total"] == {"input": "", "output": ""}
    assert "Shapes without a dtype are float32." in profile.table(columns="input")
    indices = replace(MODULES[1], calls=(shapes([(1,), (2,), (3,)], [(4,), (5,), (6,)], "int64"),))
    few = Profile(ROWS, modules=(MODULES[0], indices))
    assert "Shapes without a dtype are float32." in few.table(columns="output")
    assert "Shapes" not in profile.table(columns="params")


def test_calls_of_several_shapes_are_the_first_and_a_number():
    """Of inputs and outputs each: two kinds of input may have one kind of output."""
    calls = [shapes([(8, 4)], [(2,)]), shapes([(6, 4)], [(2,)]), shapes([(8, 4)], [(3,)]), shapes([(7, 4)], [])]
    profile = Profile([row("Net")], modules=(record("Net", calls=calls),))
    found = lines(profile, columns="input,output")
    assert found["Net (Linear)"] == {"input": "8×4 +2 more", "output": "2 +2 more"}
    assert "+N more: other calls had N other shapes." in profile.table(columns="input", width=200)
    assert "more:" not in NET.table(columns="input", width=200)


def test_of_many_tensors_the_first_are_shown():
    """As of a cache of keys and values."""
    profile = Profile([row("Net")], modules=(record("Net", calls=[shapes([(1,), (2,), (3,), (4,), (5,)], [])]),))
    found = lines(profile, columns="input,output")
    assert found["Net (Linear)"] == {"input": "1, 2, 3, … (5 tensors)", "output": "none"}


def test_sizes_that_are_expressions_are_written():
    """A dimension as its name, a product in parentheses; a size that is not known, as of a nested tensor, as ``?``."""
    batch = sympy.Symbol("batch")
    call = shapes([(batch, 3, sympy.floor(batch / 2))], [(2 * batch, UNKNOWN_SIZE)])
    profile = Profile([row("Net")], modules=(record("Net", calls=[call]),))
    found = lines(profile, columns="input,output")
    assert found["Net (Linear)"] == {"input": "batch×3×floor(batch/2)", "output": "(2*batch)×?"}


def test_names_of_a_file_act_upon_no_terminal():
    """Dtypes, and the names of parameters and of their owners."""
    shared = (SharedParameter("\x1b[1m", "\x1b[2m", 1),)
    module = record("Net", 1, calls=[shapes([(8,)], [(4,)], "\x1b[3m"), shapes([(8,)], [], "\x1b[4m")], shared=shared)
    text = Profile([row("Net")], modules=(module,)).table(columns="params,input,output")
    assert "\x1b" not in text
    assert "\\x1b[2m" in text


BLOCKS = [row(f"Net.{index}.fc") for index in range(4)]


def blocks(**changes):
    """Make a profile of four equal blocks, of which one may have another record."""
    call = shapes([(8, 4)], [(8, 6)])
    records = [record("Net"), *(record(f"Net.{index}.fc", 10, calls=[call]) for index in range(4))]
    records[3] = replace(records[3], **changes)
    return Profile(BLOCKS, modules=tuple(records))


def test_folded_modules_have_the_sum_of_numbers_and_one_shape():
    """Forty parameters of four blocks."""
    found = lines(blocks(), columns="params,trainable,output,activations")
    assert found["0-3 ×4"]["params"] == 40
    assert found["fc (Linear)"] == {"params": 40, "trainable": 40, "output": "8×6", "activations": 8}


OTHER = (shapes([(8, 5)], [(8, 6)]),)


@pytest.mark.parametrize(
    ("change", "columns", "folded"),
    [
        ({"parameters": 12}, "params", False),
        ({"parameters": 12}, "trainable,input", True),
        ({"trainable": 4}, "trainable", False),
        ({"trainable": 4}, "params", True),
        ({"calls": OTHER}, "input", False),
        ({"calls": OTHER}, "output,params", True),
        ({"shared": (SharedParameter("weight", "Net.0.fc", 5),)}, "params", False),
        ({"parameters": 12, "calls": OTHER, "trainable": 4}, "calls,macs,%", True),
    ],
)
def test_modules_fold_unless_what_is_shown_differs(change, columns, folded):
    """In a table of work alone, parameters and shapes do not tell modules apart."""
    found = lines(blocks(**change), columns=columns)
    assert ("0-3 ×4" in found) == folded
    assert ("2 ×1" in found) is False
    assert ("3" in found) is (not folded)


def test_repeated_modules_of_other_sizes_have_lines_of_their_own_by_default():
    """The default tree shows parameters."""
    assert "×" not in "".join(lines(blocks(parameters=12))) or "0-1 ×2" in lines(blocks(parameters=12))
    assert lines(blocks(parameters=12))["2"]["params"] == 12


def test_trees_are_sorted_by_what_is_known_of_modules():
    """By parameters, or by activations; other lists have no parameters to sort by."""
    assert list(lines(NET, columns="params", depth=1, sort="params"))[:3] == ["Net", "head (Linear)", "aten.mm"]
    rows = [row("Net.a", 1, activations=3), row("Net.b", 1, activations=9)]
    assert [each for each in lines(Profile(rows), sort="activations") if "(" in each] == ["b (Linear)", "a (Linear)"]
    assert next(iter(tsv(Profile(rows), by=("module",), sort="activations", columns="activations"))) == "Net"
    with pytest.raises(ProfileError, match=r"params is known of modules, and this table is by op"):
        NET.table("op", sort="params")


@pytest.mark.parametrize("column", ["params", "trainable", "input", "output", "saved", "peak"])
def test_columns_of_modules_are_of_the_tree_alone(column):
    """The error says what works."""
    with pytest.raises(ProfileError, match=rf"{column} is known of modules, and this table is by op, phase\..*module"):
        NET.table(("op", "phase"), columns=["macs", column])


def test_activations_are_of_any_list():
    """They are of operators."""
    assert tsv(NET, by="op", columns="activations")["aten.mm"]["activations"] == 30


def test_a_column_that_is_blank_says_why():
    """A file of an older version has no modules; no memory was asked for."""
    text = Profile(ROWS).table(columns="params,input,macs", width=200)
    assert "params and input: not known of this profile." in text
    text = NET.table(columns="params,saved,peak", width=200)
    assert "saved and peak: not known. Count with memory=True, or with --memory." in text
    assert "input: not" not in text


def test_memory_of_modules_is_shown():
    """What they and those below keep, and the most live bytes while they ran; of folded ones the sum, the highest."""
    memory = Memory(
        peak=900,
        saved={"Net": 1, "Net.0.fc": 10, "Net.1.fc": 20, "Net.2.fc": 30, "": 4},
        module_peaks={"Net": 800, "Net.0": 300, "Net.0.fc": 200, "Net.1.fc": 700},
    )
    found = lines(replace(blocks(), memory=memory), columns="saved,peak")
    assert found["Net"] == {"saved": 61, "peak": 800}
    assert found["0-3 ×4"] == {"saved": 60, "peak": 700}
    assert found["aten.mm"] == {"saved": "", "peak": ""}
    assert found["total"] == {"saved": 65, "peak": 900}


def test_others_have_the_sum_of_their_parameters():
    """Modules that have no line because only the largest are shown."""
    found = lines(replace(NET, rows=NET.rows[:2]), columns="params,input", top=1, sort="params")
    assert found["1 other module"] == {"params": 100, "input": ""}


def test_parameters_give_way_before_multiply_accumulates():
    """Where names need the room."""
    rows = [row("Net.a_module_with_a_long_name", 123)]
    profile = Profile(rows, modules=(record("Net.a_module_with_a_long_name", 12_345),))
    notes = " ".join(profile.table(width=45, numbers="scaled").split())
    assert "Hidden because the terminal is narrow: calls, params." in notes


def test_transcendental_functions_are_told_below():
    """There is no column of them unless it is asked for."""
    many = Profile([row("Net", 1, cost=Cost(transcendentals=1234)), row("Net", 1, dtype="int64")])
    sentence = "1,234 transcendental functions (exp, sqrt, tanh, ...), not part of flops."
    assert sentence in many.table(width=200)
    assert sentence in str(many).replace("\n", " ")
    one = Profile([row("Net", 1, cost=Cost(transcendentals=1))])
    assert "\n1 transcendental function (exp" in one.table(width=200)
    assert "transcendental" not in NET.table(width=200)
    assert tsv(many, columns="transcendentals")["total"]["transcendentals"] == 1234
    symbolic = Profile([row("Net", 1, cost=Cost(transcendentals=3 * sympy.Symbol("n")))])
    assert "3*n transcendental functions" in symbolic.table(width=200)


class Tied(nn.Module):
    """Share a weight, hold a parameter of its own, and leave a layer out."""

    def __init__(self):
        super().__init__()
        self.tokens = nn.Embedding(11, 6)
        self.blocks = nn.Sequential(*(nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Tanh()) for _ in range(3)))
        self.blocks[0].requires_grad_(requires_grad=False)
        self.scale = nn.Parameter(torch.ones(6))
        self.unused = nn.Linear(6, 5)
        self.head = nn.Linear(6, 11, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, ids):
        return self.head(self.blocks(self.tokens(ids)) * self.scale)


@pytest.mark.parametrize("counted", ["run", "count"])
def test_parameters_of_a_model_are_those_of_its_modules(counted):
    """In each line the elements of the distinct parameters, in the total those of the model; run or not."""
    model, ids = Tied(), torch.arange(4)
    if counted == "run":
        with OpFlopMode() as mode:
            model(ids).sum().backward()
        profile = mode.profile
    else:
        profile = count(model, ids, backward=True)

    def elements(module, *, trainable=False):
        return sum(each.numel() for each in module.parameters() if each.requires_grad or not trainable)

    found = lines(profile, columns="params,trainable,input,output", expand=True)
    whole = {"params": elements(model), "trainable": elements(model, trainable=True)}
    assert found["Tied"] == {**whole, "input": "4 int64", "output": "4×11"}
    assert found["total"] == {**whole, "input": "", "output": ""}
    assert found["tokens (Embedding)"] == {"params": 66, "trainable": 66, "input": "4 int64", "output": "4×6"}
    assert found["head (Linear)"] == {"params": 0, "trainable": 0, "input": "4×6", "output": "4×11"}
    blocks = {"params": 3 * (42 + 12), "trainable": 2 * (42 + 12), "input": "4×6", "output": "4×6"}
    assert found["blocks"] == blocks
    assert found["0 (Linear)"] == {"params": 42, "trainable": 42, "input": "4×6", "output": "4×6"}
    text = profile.table(width=300)
    assert "Tied.head.weight counts for Tied.tokens." in text
    assert "35 of the params are in modules without floating-point work here: Tied.unused." in text
    assert lines(profile, columns="params,trainable")["0"] == {"params": 54, "trainable": 0}
    assert lines(profile, columns="params,trainable")["1-2 ×2"] == {"params": 108, "trainable": 108}
    assert lines(profile, columns="activations", depth=0)["Tied"]["activations"] == 4 * (3 * 6 + 11)
