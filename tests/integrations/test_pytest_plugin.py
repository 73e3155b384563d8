"""The pytest plugin, in runs of pytest inside the one that runs this."""

import json
import subprocess
import sys
from importlib.metadata import entry_points
from itertools import count

import pytest

# Where opflops was installed before it had a plugin, pytest has to be told of it.
PLUGIN = (
    []
    if any(each.name == "opflops" for each in entry_points(group="pytest11"))
    else ["-p", "opflops.integrations.pytest_plugin"]
)
HEAD = """
import pytest
import torch
from torch import nn

def model():
    return nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.Linear(20, 5))

X = torch.ones(3, 10)
"""


@pytest.fixture
def run(tmp_path, capsys):
    """Run a test with a body in a pytest of its own, with warnings as errors; returns its exit code and output."""
    numbers = count()

    def ran(body, *arguments):
        lines = "\n".join(f"    {line}" for line in body.splitlines())
        # Modules of one name would be one module.
        file = tmp_path / f"test_{tmp_path.name}_{next(numbers)}.py"
        file.write_text(f"{HEAD}\ndef test_it(flop_budget):\n{lines}\n", encoding="utf-8")
        options = ["-q", "-W", "error", "-p", "no:cacheprovider", "--import-mode=importlib", *PLUGIN, *arguments]
        code = pytest.main([*options, f"--rootdir={tmp_path}", str(file)])
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return ran


def test_a_model_within_its_budget_passes(run):
    """3 x (10 x 20 + 20 x 5) macs, a bias for each output and a ReLU; the profile comes back."""
    code, text = run(
        "profile = flop_budget(model(), X, macs=900, flops=1_935, parameters=325)\n"
        "assert profile.total.macs == 900\n"
        "assert profile.total.flops == 1935\n"
        "assert flop_budget(model(), X, macs=1e15).total == profile.total\n"
    )
    assert code == 0, text


def test_a_model_over_its_budget_fails(run):
    """By how much, and what is largest; no traceback through the plugin."""
    code, text = run("flop_budget(model(), X, macs=800, parameters=300)")
    assert code == 1
    assert "Sequential is over its budget:" in text
    assert "900 macs are 100 (12.50 %) above the limit of 800." in text
    assert "325 parameters are 25 (8.33 %) above the limit of 300." in text
    assert "66.7 %  600  Sequential.0" in text
    assert "100.0 %  900  aten.addmm" in text
    assert "pytest_plugin.py" not in text


def test_a_tolerance_is_kept(run):
    """As a share of the limit."""
    code, text = run('flop_budget(model(), X, macs=890, tolerance="2%")')
    assert code == 0, text


def test_backward_and_optimizer_count_too(run):
    """A limit of the forward does not do for a step of training."""
    code, text = run(
        "forward = flop_budget(model(), X, macs=900)\n"
        "backward = flop_budget(model(), X, macs=2400, backward=True)\n"
        "assert backward.total.macs == 900 + 900 + 300\n"
        "step = flop_budget(model(), X, macs=2400, optimizer=torch.optim.SGD)\n"
        "assert step.total.flops > backward.total.flops\n"
    )
    assert code == 0, text


BASELINE = 'flop_budget({model}, X, baseline="baselines/model.json"{more})'


def test_a_baseline_is_written_and_compared_with(run, tmp_path):
    """Missing: a sentence. Written by the option. Grown: the modules that did. Smaller: no failure."""
    same = BASELINE.format(model="model()", more="")
    code, text = run(same)
    assert code == 1
    assert "There is no baseline" in text
    assert "pytest --opflops-update" in text
    code, text = run(same, "--opflops-update")
    assert code == 0, text
    written = tmp_path / "baselines" / "model.json"
    assert json.loads(written.read_text())["schema"] == "opflops.profile"
    before = written.read_bytes()
    code, text = run(same)
    assert code == 0, text

    larger = "nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.Linear(20, 6))"
    code, text = run(BASELINE.format(model=larger, more=""))
    assert code == 1
    assert "960 macs are 60 (6.67 %) above the baseline's 900; up to 1 % is allowed." in text
    assert "baseline" in text
    code, text = run(BASELINE.format(model=larger, more=', fail_above="10%"'))
    assert code == 0, text
    code, text = run(BASELINE.format(model="nn.Sequential(nn.Linear(10, 20))", more=""))
    assert code == 0, text
    assert written.read_bytes() == before


def test_limits_hold_while_baselines_are_written(run):
    """The option writes baselines, and forgives nothing else."""
    code, text = run(BASELINE.format(model="model()", more=", macs=1"), "--opflops-update")
    assert code == 1
    assert "above the limit of 1." in text


def test_unpriced_operators_fail_unless_they_are_allowed(run):
    """A total without them keeps any limit."""
    body = """
library = torch.library.Library("budgeted", "DEF")
library.define("odd(Tensor x) -> Tensor")
library.impl("odd", lambda x: x + 1, "CompositeExplicitAutograd")
class Odd(nn.Module):
    def forward(self, x):
        return torch.ops.budgeted.odd(x)
flop_budget(Odd(), X, macs=1{more})
"""
    code, text = run(body.format(more=""))
    assert code == 1
    assert "budgeted.odd (1 call) is not counted, since it has no formula." in text
    code, text = run(body.format(more=", allow_unpriced=True"))
    assert code == 0, text


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("flop_budget(model(), X)", "flop_budget needs a limit or a baseline. Give one of macs, flops"),
        ("flop_budget(model(), X, macs=-1)", "macs must be a number from 0 up, such as macs=4.1e9, not -1"),
        ("flop_budget(model(), X, macs='4e9')", "macs must be a number from 0 up, such as macs=4.1e9, not '4e9'"),
        ("flop_budget(model(), X, macs=1, tolerance='x')", "'x' is not a share"),
        ("flop_budget(torch.relu, X, parameters=1)", "parameters= works only for a torch.nn.Module"),
    ],
)
def test_a_budget_that_makes_no_sense_is_an_error(run, call, message):
    """One sentence."""
    code, text = run(call)
    assert code == 1
    assert message in text


def test_functions_have_budgets_too(run):
    """Whatever can be counted."""
    code, text = run("flop_budget(torch.relu, X, flops=30)\nflop_budget(lambda x, *, y: x @ y, X, y=X.T, macs=90)")
    assert code == 0, text


def test_loading_the_plugin_does_not_load_pytorch():
    """A run of tests that asks for no budget does not wait for it."""
    code = "import sys; import opflops.integrations.pytest_plugin; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


def test_the_option_is_in_the_help(run):
    """In a group of its own."""
    code, text = run("pass", "--help")
    assert code == 0
    assert "--opflops-update" in text


def test_a_profile_has_a_budget_too(run):
    """That of a block, so that models whose values decide have budgets; the mode itself will do."""
    code, text = run(
        "from opflops import OpFlopMode\n"
        "net = model()\n"
        "with OpFlopMode() as m:\n"
        "    y = net(X)\n"
        "    y[y > -torch.inf].sum()\n"
        "assert flop_budget(m.profile, macs=900) == m.profile\n"
        "assert flop_budget(m, macs=900, tolerance='1%') == m.profile\n"
        "flop_budget(m.profile, baseline='block.json')\n",
        "--opflops-update",
    )
    assert code == 0, text
    code, text = run(
        "from opflops import OpFlopMode\nwith OpFlopMode() as m:\n    model()(X)\nflop_budget(m.profile, macs=800)"
    )
    assert code == 1
    assert "The profile is over its budget:" in text
    assert "900 macs are 100 (12.50 %) above the limit of 800." in text
    assert "66.7 %  600  Sequential.0" in text


PROFILE = "opflops.count(model(), X)"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("flop_budget(model(), X, mac=900)", "no option 'mac'; did you mean macs?"),
        ("flop_budget(model(), X, macs=900, flop=2e3)", "no option 'flop'; did you mean flops?"),
        ("flop_budget(lambda x, **others: x, X, macs=9, parameter=3)", "kwargs={'parameter': ...}"),
        ("flop_budget('net.pt', X, macs=900)", "torch.load('net.pt', weights_only=False)"),
        ("flop_budget(X, model(), macs=900)", "flop_budget(model, x)"),
        ("flop_budget(macs=900)", "flop_budget() needs the argument model"),
        ("flop_budget(model(), X, baseline=3)", "baseline must be the name of a file"),
        (f"flop_budget({PROFILE}, X, macs=900)", "counts nothing, so that it cannot use a Tensor of shape (3, 10)"),
        (f"flop_budget({PROFILE}, macs=900, scale=2)", "counts nothing, so that it cannot use scale"),
        (f"flop_budget({PROFILE}, macs=900, kwargs={{'a': 1}})", "counts nothing, so that it cannot use the dict"),
        (f"flop_budget({PROFILE}, mac=900)", "no argument 'mac'; did you mean macs?"),
        (f"flop_budget({PROFILE}, macs=900, backward=True)", "backward= works only for a model"),
        (f"flop_budget({PROFILE}, parameters=3)", "325 parameters are 322 ("),
        (f"flop_budget({PROFILE})", "needs a limit or a baseline"),
        ("flop_budget(opflops.OpFlopMode(), macs=900)", "has not been entered"),
        ("import warnings\nwarnings.simplefilter('ignore')\nflop_budget(opflops.OpFlopMode(), macs=9)", "been entered"),
        ("with opflops.OpFlopMode() as m:\n    pass\nmodel()(X)\nflop_budget(m, macs=9)", "Nothing was counted"),
        ("with opflops.OpFlopMode() as m:\n    flop_budget(m, macs=900)", "still counting"),
    ],
)
def test_a_wrong_budget_says_what_is_right(run, call, message):
    """In a sentence: the nearest argument, and what a profile cannot be given with."""
    code, text = run(f"import opflops\n{call}")
    assert code == 1
    assert message in text


def test_arguments_of_the_budget_that_the_model_has_too_go_in_kwargs(run):
    """The model gets them, and the limit stays a limit."""
    code, text = run(
        "def repeated(x, bytes=1):\n    return (x @ x.mT) * bytes\n"
        "flop_budget(repeated, X, macs=90, bytes=1e6, kwargs={'bytes': 3})"
    )
    assert code == 0, text
