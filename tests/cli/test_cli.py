"""The command line: the built-in example, a user's own model, formats, and mistakes that end in one sentence."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from opflops import Profile
from opflops.cli import main
from opflops.cli.inputs import DTYPES, InputSpec, parse
from opflops.errors import TargetError

GOLDEN = Path(__file__).parent.parent / "report" / "golden" / "simple_cnn.txt"

MODELS = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, x, scale=None):
        y = self.fc(x)
        return y if scale is None else y * scale


class Sized(nn.Module):
    def __init__(self, width):
        super().__init__()


class Text(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(10, 4)
        self.fc = nn.Linear(4, 2)

    def forward(self, ids, mask):
        return self.fc(self.table(ids)) * mask.unsqueeze(-1)


class Peeks(Net):
    def forward(self, x):
        return super().forward(x) if x.sum().item() == 0 else x


class Silent(nn.Module):
    def forward(self):
        return torch.ones(3) + 1


class Exits(nn.Module):
    def forward(self):
        raise SystemExit(3)


class Broken(nn.Module):
    def __init__(self):
        super().__init__()
        raise OSError("no weights\\nhere")


def factory():
    return Net()


def number():
    return 3


instance = Net()
constant = 3


class Holder:
    inner = Net
"""


@pytest.fixture(autouse=True)
def _project(tmp_path, monkeypatch):
    """A folder with a user's module in it, at eighty columns."""
    (tmp_path / "mymodels.py").write_text(MODELS, encoding="utf-8")
    (tmp_path / "broken.py").write_text("import torch\n1 / 0\n", encoding="utf-8")
    (tmp_path / "script.py").write_text("raise SystemExit(5)\n", encoding="utf-8")
    (tmp_path / "lacking.py").write_text("import not_installed_anywhere\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("mymodels", "broken", "script", "lacking"):
        sys.modules.pop(name, None)


def run(capsys, *argv):
    """Run the command line; returns the exit code, stdout and stderr."""
    try:
        code = main(argv)
    except SystemExit as error:  # argparse
        code = error.code
    return (code, *capsys.readouterr())


def counted(capsys, *argv):
    """Run the command line for JSON; returns the profile."""
    code, out, err = run(capsys, *argv, "--format", "json")
    assert (code, err) == (0, "")
    return Profile.from_json(out)


def test_without_arguments_it_prints_the_example(capsys):
    """The very report of SimpleCNN, counted without storage as on real tensors."""
    code, out, err = run(capsys)
    assert (code, err) == (0, "")
    header, _, report = out.partition("\n\n")
    assert header == "opflops.example:SimpleCNN · eval · meta · inputs x=1×3×32×32 float32"
    assert report == GOLDEN.read_text(encoding="utf-8")


def test_python_dash_m_is_the_same_program():
    """As a process: the exit code is the program's, and a mistake is no traceback."""
    wrong = subprocess.run(
        [sys.executable, "-m", "opflops", "mymodels:Nett"], capture_output=True, text=True, check=False
    )
    assert wrong.returncode == 2
    assert wrong.stdout == ""
    assert wrong.stderr == "opflops: The module 'mymodels' has no 'Nett'; did you mean Net?\n"


@pytest.mark.parametrize("target", ["mymodels:Net", "mymodels:factory", "mymodels:instance", "mymodels:Holder.inner"])
def test_a_target_is_a_class_a_factory_or_an_instance(capsys, target):
    """From the current folder; 2 x 4 x 3 macs and 2 x 3 biases."""
    total = counted(capsys, target, "--input", "2,4").total
    assert (total.macs, total.ops) == (24, 6)


def test_inputs_have_dtypes_and_names(capsys):
    """Integers for an embedding, and a mask passed by name."""
    total = counted(capsys, "mymodels:Text", "--input", "2,5:int64", "--input", "mask=2,5").total
    assert total.macs == 2 * 5 * 4 * 2


def test_a_model_may_need_no_input(capsys):
    """Three additions."""
    assert counted(capsys, "mymodels:Silent").total.ops == 3


def test_backward_counts_gradients(capsys):
    """The gradient of the weight takes as many macs as the forward; the input needs none."""
    profile = counted(capsys, "mymodels:Net", "--input", "2,4", "--backward")
    assert profile.by("phase")["backward"].macs == 24


def test_a_model_that_needs_values_runs_on_real_tensors(capsys):
    """With a word about it on stderr."""
    code, out, err = run(capsys, "mymodels:Peeks", "--input", "2,4", "--format", "json")
    assert code == 0
    assert err == "opflops: the model needs the values of tensors, so it runs on zeros.\n"
    assert Profile.from_json(out).total.macs == 24


def test_options_shape_the_report(capsys):
    """By operator, sorted, in a format that a program reads."""
    _, out, _ = run(capsys, "--by", "op", "--sort", "name", "--format", "tsv")
    names = [line.split("\t")[0].strip() for line in out.splitlines()[1:-1]]
    assert names == sorted(names)
    assert "aten.convolution" in names
    _, shallow, _ = run(capsys, "--depth", "0")
    assert "conv1" not in shallow
    _, pairs, _ = run(capsys, "--by", "module_type, op", "--format", "github")
    assert "Conv2d / aten.convolution" in pairs


def test_json_is_the_profile(capsys):
    """What is written can be read back."""
    assert json.loads(run(capsys, "--format", "json")[1])["schema"] == "opflops.profile"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["mymodels"], "'mymodels' is not of the form package.module:callable"),
        ([":Net"], "not of the form"),
        (["mymodels:"], "not of the form"),
        (["mymodel:Net"], "no module 'mymodel'"),
        (["mymodels.sub:Net"], "no module 'mymodels.sub'"),
        (["mymodels:net"], "no 'net'; did you mean Net?"),
        (["mymodels:Net.gone"], "no 'Net.gone'"),
        (["mymodels:constant"], "is int, not a model"),
        (["mymodels:number"], "makes int; it must make a torch.nn.Module"),
        (["mymodels:Sized"], "needs arguments (missing a required argument: 'width')"),
        (["mymodels:Broken"], "fails to make its model: OSError: no weights here"),
        (["broken:Net"], "fails to import: ZeroDivisionError"),
        (["script:Net"], "fails to import: SystemExit"),
        (["lacking:Net"], "fails to import: ModuleNotFoundError: No module named 'not_installed_anywhere'"),
        (["mymodels:Net"], "Net fails on no input: TypeError"),
        (["mymodels:Net", "--input", "2,5"], "Net fails on input (2, 5): RuntimeError"),
        (["mymodels:Net", "--input", "2,4", "--input", "wrong=1"], "Net fails on input (2, 4), wrong (1,): TypeError"),
        (["mymodels:Net", "--input", "x=1,4", "--input", "x=3,4"], "can be given once"),
        (["mymodels:Net", "--input", "9999999999999,4"], "Net fails on input (9999999999999, 4): RuntimeError"),
        (["mymodels:Net", "--input", "99999999999999999999,4"], "a size that no tensor can have"),
        (["mymodels:Exits"], "Exits fails on no input: SystemExit: 3"),
        (["mymodels:Net", "--input", "2,x"], "size that is not a whole number"),
        (["mymodels:Net", "--input", "2,-4"], "size that is not a whole number"),
        (["mymodels:Net", "--input", "2,,4"], "size that is not a whole number"),
        (["mymodels:Net", "--input", "2,4:int65"], "dtype 'int65'; it can be float32"),
        (["mymodels:Net", "--input", "a b=2,4"], "name 'a b'"),
        (["mymodels:Net", "--input", "=2,4"], "name ''"),
        (["mymodels:Net", "--input", "2,4:int64:bool"], "not of the form [name=]"),
        (["mymodels:Silent", "--backward"], "backward=True needs an output"),
        (["--input", "1,2"], "--input needs a TARGET"),
        (["--format", "word"], "no format 'word'"),
        (["--by", "modul"], "module, module_type, op, phase, dtype"),
        (["--sort", "size"], "cannot be sorted by 'size'"),
        (["--depth", "-1"], "--depth -1"),
    ],
    ids=" ".join,
)
def test_a_mistake_is_one_sentence_and_exit_code_2(capsys, argv, message):
    """Nothing on stdout, one line on stderr."""
    code, out, err = run(capsys, *argv)
    assert (code, out) == (2, "")
    assert err.startswith("opflops: ")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("argv", [["--depth", "x"], ["--unknown"], ["a:b", "c:d"]])
def test_what_is_no_command_line_ends_with_code_2_too(capsys, argv):
    """Argparse's own errors."""
    code, out, err = run(capsys, *argv)
    assert (code, out) == (2, "")
    assert "Traceback" not in err


def test_help_fits_a_screen(capsys):
    """Every option is explained, in no more lines than a terminal has."""
    code, out, _ = run(capsys, "--help")
    assert code == 0
    assert len(out.splitlines()) <= 24 + 12
    for option in ("TARGET", "--input", "--backward", "--by", "--depth", "--sort", "--format"):
        assert option in out


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("1,3,224,224", InputSpec("", (1, 3, 224, 224), torch.float32)),
        ("2,128:int64", InputSpec("", (2, 128), torch.int64)),
        ("name=2,128:int64", InputSpec("name", (2, 128), torch.int64)),
        (" x = 3", None),
        ("7", InputSpec("", (7,), torch.float32)),
        (":bool", InputSpec("", (), torch.bool)),
        ("", InputSpec("", (), torch.float32)),
        ("0,4", InputSpec("", (0, 4), torch.float32)),
        ("1, 3", InputSpec("", (1, 3), torch.float32)),
    ],
)
def test_specs_are_read_as_documented(text, spec):
    """Shape, optional dtype, optional name; no shape is a scalar."""
    if spec is None:
        with pytest.raises(TargetError, match="name 'x '"):
            parse(text)
    else:
        assert parse(text) == spec


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_makes_a_tensor(dtype):
    """Zeros of the shape, which index any table."""
    tensor = parse(f"2,3:{dtype}").tensor()
    assert (tuple(tensor.shape), tensor.dtype) == ((2, 3), DTYPES[dtype])
    assert not tensor.any()
