"""Parameters, and the tables of ``opflops.compat.fvcore``, character by character as fvcore documents them."""

import logging

import pytest
import torch
from torch import nn

from opflops.compat.fvcore import (
    ActivationCountAnalysis,
    FlopCountAnalysis,
    flop_count_str,
    flop_count_table,
    parameter_count,
    parameter_count_table,
)
from opflops.compat.fvcore.print_model_statistics import _model_stats_table

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
    pytest.mark.no_outer_mode,
]


class Head(nn.Module):
    """A linear layer whose method the model calls, and one that it does not."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(300, 400)
        self.idle = nn.Linear(2, 2)
        self.register_module("gone", None)

    def forward(self, x):
        return self.fc(x)


class Net(nn.Module):
    """A body of one layer, and a head of which ``forward`` is called."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(100, 300, bias=False))
        self.act = nn.ReLU()
        self.head = Head()

    def forward(self, x):
        return self.head.forward(self.act(self.body(x)))


def lines(text):
    return "\n".join(line.strip() for line in text.strip().splitlines())


@pytest.fixture
def flops():
    return FlopCountAnalysis(Net(), torch.ones(7, 100))


def test_a_parameter_counts_for_all_modules_that_contain_it():
    """By hand; one that is shared has its first name, and a name that was not met counts 0."""
    net = Net()
    net.head.idle.weight = nn.Parameter(torch.ones(5, 2))
    net.tied = net.body[0]
    counts = parameter_count(net)
    fc = 300 * 400 + 400
    assert counts[""] == 30000 + fc + 12
    assert list(counts)[:4] == ["", "body", "body.0", "body.0.weight"]
    assert {
        name: counts[name] for name in ("body", "head", "head.fc", "head.fc.bias", "head.idle", "tied", "other")
    } == {
        "body": 30000,
        "head": fc + 12,
        "head.fc": fc,
        "head.fc.bias": 400,
        "head.idle": 12,
        "tied": 0,
        "other": 0,
    }


def test_table_of_parameters():
    """Levels are indented in both columns; units begin above a hundred."""
    assert parameter_count_table(Net(), max_depth=2) == lines(
        """
        | name        | #elements or shape   |
        |:------------|:---------------------|
        | model       | 0.2M                 |
        |  body       |  30.0K               |
        |   body.0    |   30.0K              |
        |  head       |  0.1M                |
        |   head.fc   |   0.1M               |
        |   head.idle |   6                  |
        """
    )
    assert "\n|    head.fc.bias     |    (400,)            |\n" in parameter_count_table(Net())
    assert parameter_count_table(nn.ReLU()).endswith("\n| model  |                    0 |")


def test_table_of_flops(flops):
    """A module with an only child of the same figures shares its row; parameters have shapes; zeros are left out."""
    assert flop_count_table(flops) == lines(
        """
        | module              | #parameters or shape   | #flops   |
        |:--------------------|:-----------------------|:---------|
        | model               | 0.15M                  | 1.05M    |
        |  body.0             |  30K                   |  0.21M   |
        |   body.0.weight     |   (300, 100)           |          |
        |  head               |  0.12M                 |  0.84M   |
        |   head.fc           |   0.12M                |   0.84M  |
        |    head.fc.weight   |    (400, 300)          |          |
        |    head.fc.bias     |    (400,)              |          |
        |   head.idle         |   6                    |          |
        |    head.idle.weight |    (2, 2)              |          |
        |    head.idle.bias   |    (2,)                |          |
        """
    )


def test_table_with_activations_and_without_shapes(flops):
    """Columns in fvcore's order; a deeper level is left out."""
    activations = ActivationCountAnalysis(Net(), torch.ones(7, 100))
    assert flop_count_table(flops, 1, activations, show_param_shapes=False) == lines(
        """
        | module   | #parameters   | #flops   | #activations   |
        |:---------|:--------------|:---------|:---------------|
        | model    | 0.15M         | 1.05M    | 4.9K           |
        |  body.0  |  30K          |  0.21M   |  2.1K          |
        |  head    |  0.12M        |  0.84M   |  2.8K          |
        """
    )


def test_repr_with_flops(flops, caplog):
    """As PyTorch's ``repr``, with figures after each module's own text, if it was called; nothing is logged."""
    flops.ancestor_mode("caller")
    note, _, text = flop_count_str(flops).partition("\n")
    assert note.startswith("N/A indicates a possibly missing statistic")
    assert text == (
        "Net(\n"
        "  #params: 0.15M, #flops: 1.05M\n"
        "  (body): Sequential(\n"
        "    #params: 30K, #flops: 0.21M\n"
        "    (0): Linear(\n"
        "      in_features=100, out_features=300, bias=False\n"
        "      #params: 30K, #flops: 0.21M\n"
        "    )\n"
        "  )\n"
        "  (act): ReLU()\n"
        "  (head): Head(\n"
        "    #params: 0.12M, #flops: N/A\n"
        "    (fc): Linear(\n"
        "      in_features=300, out_features=400, bias=True\n"
        "      #params: 0.12M, #flops: 0.84M\n"
        "    )\n"
        "    (idle): Linear(\n"
        "      in_features=2, out_features=2, bias=True\n"
        "      #params: 6, #flops: N/A\n"
        "    )\n"
        "    (gone): None\n"
        "  )\n"
        ")"
    )
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_repr_of_a_model_that_does_nothing():
    """One line, with activations if they are asked for."""
    model, x = nn.ReLU(), torch.ones(3)
    activations = ActivationCountAnalysis(model, x)
    assert flop_count_str(FlopCountAnalysis(model, x), activations) == "ReLU(#params: 0, #flops: 0, #acts: 0)"
    assert flop_count_table(FlopCountAnalysis(model, x)).splitlines()[-1].replace(" ", "") == "|model||0|"


def test_modules_with_other_columns_have_rows_of_their_own():
    """An only child shares a row if it has the same columns, and no other text in any of them."""
    texts = {"": {"a": "1K"}, "x": {"a": "1K", "b": "2K"}, "x.y": {"a": "", "b": "2K"}}
    texts["x.y.z"] = {"a": "3K", "b": "2K"}
    assert _model_stats_table(texts) == lines(
        """
        | module   | a    | b    |
        |:---------|:-----|:-----|
        | model    | 1K   |      |
        |  x.y     |  1K  |  2K  |
        |   x.y.z  |   3K |   2K |
        """
    )
