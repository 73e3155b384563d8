"""``opflops coverage``: counts, lists, and one operator with its formula."""

import linecache

import pytest
import torch

from opflops import coverage
from opflops.cli import main


def output_of(capsys, *arguments):
    """Run the subcommand; returns what it printed."""
    assert main(["coverage", *arguments]) == 0
    return capsys.readouterr().out


def test_counts_add_up_by_namespace(capsys):
    """Each line has as many operators as verdicts, and the last line is the sum of the others."""
    lines = [line.split() for line in output_of(capsys, "--format", "tsv").splitlines()[1:]]
    figures = [[int(number.replace(",", "")) for number in numbers] for _, *numbers in lines]
    assert all(operators == sum(verdicts) for operators, *verdicts in figures)
    assert figures[-1] == [sum(column) for column in zip(*figures[:-1], strict=True)]
    assert sum(name == "aten" for name, *_ in lines) == 1
    assert figures[-1][0] == len(coverage())


def test_a_namespace_lists_its_operators(capsys):
    """Every operator of the namespace has a line with its verdict."""
    lines = [line.split("\t") for line in output_of(capsys, "c10d", "--format", "tsv").splitlines()[1:]]
    assert {name.strip(): verdict.strip() for name, verdict in lines} == coverage("c10d")


def test_a_verdict_narrows_the_list(capsys):
    """Only operators of that verdict are left."""
    lines = output_of(capsys, "aten", "--verdict", "decomposes", "--format", "tsv").splitlines()[1:]
    assert {line.split("\t")[1].strip() for line in lines} == {"decomposes"}
    assert any(line.startswith("aten.conv2d") for line in lines)


def test_a_verdict_that_no_operator_has_is_said_so(capsys):
    """In a sentence; a format for programs keeps its header."""
    assert output_of(capsys, "--verdict", "unpriced") == "No operator has the verdict unpriced.\n"
    assert output_of(capsys, "aten", "--verdict", "unpriced") == "No operator in aten has the verdict unpriced.\n"
    assert output_of(capsys, "--verdict", "unpriced", "--format", "tsv").split() == ["operator", "verdict"]


@pytest.mark.parametrize("name", ["aten.convolution", "aten::convolution", "convolution", "aten.convolution.default"])
def test_an_operator_shows_schema_docstring_and_source_line(capsys, name):
    """The line is the one where the formula begins."""
    text = output_of(capsys, name)
    assert "aten::convolution(Tensor input" in text
    path, _, line = text.splitlines()[-1].rpartition(":")
    assert path.endswith("convolution.py")
    assert "def " in "".join(linecache.getlines(path)[int(line) - 1 : int(line) + 3])


@pytest.mark.parametrize(
    ("name", "file"), [("relu", "activation.py"), ("exp", "pointwise.py"), ("mul", "pointwise.py")]
)
def test_an_entry_of_a_table_is_shown_in_its_table(capsys, name, file):
    """The source line of an element-wise operator is where the table names it."""
    path, _, line = output_of(capsys, f"aten.{name}").splitlines()[-1].rpartition(":")
    assert path.endswith(file)
    assert name in linecache.getline(path, int(line))


@pytest.mark.parametrize(
    ("name", "words"), [("aten.view", "zero: "), ("aten.conv2d", "decomposes: "), ("aten.relu", "formula: max(x, 0)")]
)
def test_a_verdict_is_put_in_words(capsys, name, words):
    """What does no arithmetic and what decomposes say so."""
    assert words in output_of(capsys, name)


def test_an_unpriced_operator_of_a_library_says_so(capsys):
    """An operator that a library defines can be asked for too."""
    with torch.library._scoped_library("coverage_test", "DEF") as library:
        library.define("op(Tensor x) -> Tensor")
        assert "unpriced: It has no formula" in output_of(capsys, "coverage_test.op")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["aten.mn"], "Did you mean aten.min"),
        (["nothing_like_it"], "'nothing_like_it'"),
        (["aten.mm.other"], "no overload 'other'; it has default, dtype, dtype_out, out"),
        (["--format", "paper"], "There is no format 'paper'"),
        (["--format", "foo"], "There is no format 'foo'; there are "),
        (["aten.mm", "--verdict", "zero"], "--verdict would have no effect: aten.mm is one operator"),
        (["mm", "--format", "github"], "--format would have no effect: aten.mm is one operator"),
    ],
)
def test_a_mistake_is_one_sentence(capsys, arguments, words):
    """Exit code 2, and the nearest valid names."""
    assert main(["coverage", *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert len(error.splitlines()) == 1
