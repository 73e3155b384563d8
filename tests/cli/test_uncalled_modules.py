"""What a report says of modules that never ran: which they are, and no others."""

import json

import pytest

from opflops import Profile
from opflops.cli.uncalled_modules import UncalledModules, sentence_on_uncalled

MODELS = '''
import torch
from torch import nn
from torch.nn import functional as F


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.adapter = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.fc(x)


class Partial(nn.Module):
    """Leaves out a tower, an adapter in each block, and all experts but one."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(12))
        self.tower = nn.Sequential(nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, 10))
        self.experts = nn.ModuleList(nn.Linear(4, 4, bias=False) for _ in range(5))

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return self.experts[1](x)


class Functional(nn.Module):
    """Calls few of its modules, but functions of the parameters of all."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(10, 4)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.encoder = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True).requires_grad_(False)
        self.normed = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4, bias=False))
        self.stacked = nn.ModuleList(nn.Linear(4, 4, bias=False) for _ in range(3))
        self.scales = nn.ParameterList([nn.Parameter(torch.ones(4))])
        self.head = nn.Linear(4, 10, bias=False)
        self.head.weight = self.words.weight
        self.act, self.drop = nn.ReLU(), nn.Dropout()

    def forward(self, ids):
        x = self.words(ids)
        x = self.encoder(self.attention(x, x, x)[0])
        x = F.relu(F.linear(x, self.normed.weight)) * self.scales[0]
        x = x @ torch.stack([each.weight for each in self.stacked]).sum(0)
        return F.linear(x, self.head.weight)
'''
SENTENCE = (
    "17 modules never ran and are not counted: tower (11,110 parameters), blocks.0-11.adapter (12 modules, 120 "
    "parameters) and experts.0,2-4 (4 modules, 64 parameters)."
)


@pytest.fixture
def parts(project):
    """A file of models some of whose modules never run."""
    (project / "parts.py").write_text(MODELS, encoding="utf-8")


PARTIAL = ("parts.py:Partial", "--input", "2,4")


@pytest.mark.parametrize(
    "options",
    [(), ("--device", "cpu"), ("--backward",), ("--dim", "b=0:0"), ("--by", "op"), ("--timing",), ("--depth", "1")],
)
def test_a_report_names_the_modules_that_never_ran(run, parts, options):
    """By hand: 100 x 100 + 100 + 100 x 10 + 10; 12 x (4 x 2 + 2); 4 x 16 parameters; the largest first."""
    code, out, _ = run(*PARTIAL, *options)
    assert code == 0
    assert SENTENCE in " ".join(out.split())


@pytest.mark.parametrize("form", ["csv", "folded", "github", "speedscope"])
def test_a_format_without_sentences_leaves_it_to_stderr(run, parts, form):
    """Beside what is written to stdout, which has no place for it."""
    code, out, err = run(*PARTIAL, "--format", form)
    assert (code, err) == (0, f"opflops: {SENTENCE}\n")
    assert "never ran" not in out


def test_json_and_the_page_have_the_sentence(run, parts):
    """Among the remarks, and not on stderr too."""
    code, out, err = run(*PARTIAL, "--format", "json")
    assert (code, err) == (0, "")
    assert Profile.from_json(out).remarks == (SENTENCE,)
    code, out, err = run(*PARTIAL, "--format", "page")
    assert (code, err) == (0, "")
    assert json.dumps(SENTENCE)[1:-1] in out


def test_a_comparison_says_it_of_each_target(run, parts):
    """Below the line that says what was counted."""
    code, out, _ = run(*PARTIAL[:1], "mymodels:Net", *PARTIAL[1:])
    assert code == 0
    assert " ".join(out.split()).count(SENTENCE) == 1


@pytest.mark.parametrize("options", [(), ("--device", "cpu"), ("--timing", "--format", "json")])
def test_modules_whose_parameters_functions_use_are_not_named(run, parts, options):
    """The projection of attention, a fused encoder layer, a tied head, parametrizations, stacked weights."""
    code, out, err = run("parts.py:Functional", "--input", "2,5:int64", "--eval", *options)
    assert code == 0
    assert "never ran" not in out + err


def test_a_model_that_runs_whole_says_nothing(run):
    """Neither in the report nor beside it."""
    _, out, err = run("mymodels:Net", "--input", "2,4")
    assert "never ran" not in out + err


def test_many_modules_are_added_up():
    """Eight are named, the largest; the others have their number and parameters."""
    found = [UncalledModules(f"part_{chr(97 + at)}", 1, 10 * at + 1) for at in range(10)]
    said = sentence_on_uncalled(found)
    assert said.startswith("10 modules never ran and are not counted: part_j (91 parameters), part_i (81 parameters), ")
    assert said.endswith("part_c (21 parameters) and others (2 modules, 12 parameters).")
    assert sentence_on_uncalled([UncalledModules("aux", 1, 1)]) == (
        "1 module never ran and is not counted: aux (1 parameter)."
    )
    assert sentence_on_uncalled([]) == ""
