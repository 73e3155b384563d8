"""A folder with a user's modules in it, and the command line run in it."""

import sys

import pytest
import torch

from opflops import Profile
from opflops.cli import main

MODELS = '''
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
    def __init__(self, width, name="", bias=True):
        super().__init__()
        self.fc = nn.Linear(width, width, bias=bias)
        self.drop = nn.Dropout()

    def forward(self, x):
        return self.drop(self.fc(x))


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


library = torch.library.Library("mymodels", "FRAGMENT")
if not hasattr(torch.ops.mymodels, "stored"):
    library.define("stored(Tensor x) -> Tensor")
    library.impl("stored", lambda x: x.clone(), "CPU")


class Stored(Net):
    """Runs an operator that has no kernel without storage."""

    def forward(self, x):
        return torch.ops.mymodels.stored(super().forward(x))


class Leaves(Net):
    def forward(self, x):
        return super().forward(x) * float(x.numpy().shape[0])


class LeavesAndFails(Leaves):
    def forward(self, x):
        super().forward(x)
        raise ValueError("for real too")


class Decides(Net):
    """Looks at its weights while it is made, which has no answer on meta."""

    def __init__(self):
        super().__init__()
        if self.fc.weight.sum().item() > 1e9:
            raise ValueError


class Attends(nn.Module):
    def forward(self, q):
        return nn.functional.scaled_dot_product_attention(q, q, q, is_causal=True)


class Branches(nn.Module):
    def forward(self, x):
        return x @ x.T if x.shape[0] > 1 else x.exp()


class Silent(nn.Module):
    def forward(self):
        return torch.ones(3) + 1


class Exits(nn.Module):
    def forward(self):
        raise SystemExit(3)


class Interrupted(nn.Module):
    def forward(self):
        raise KeyboardInterrupt


class Asks(nn.Module):
    def forward(self):
        return input("how many? ")


class Noisy(Net):
    """Prints, warns, and lets another process print."""

    def forward(self, x):
        import subprocess
        import warnings

        print("from the model")
        warnings.warn("from the model")
        subprocess.run(["echo", "from a process of the model"], check=True)
        return super().forward(x)


class Broken(nn.Module):
    def __init__(self):
        super().__init__()
        raise OSError("no weights\\nhere")


def factory():
    return Net()


def double():
    return Net().double()


def number():
    return 3


def product(left, right, transposed=False):
    return left @ (right.T if transposed else right)


instance = Net()
constant = 3


class Holder:
    inner = Net
'''
MODULES = {
    "mymodels": MODELS,
    "broken": "import torch\n1 / 0\n",
    "script": "raise SystemExit(5)\n",
    "lacking": "import not_installed_anywhere\n",
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """The folder, as the current one, at eighty columns."""
    for name, text in MODULES.items():
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
        sys.modules.pop(name, None)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


@pytest.fixture
def run(project, capsys):
    """Run the command line; returns the exit code, stdout and stderr."""
    return lambda *argv: (main(argv), *capsys.readouterr())


@pytest.fixture
def float32_alone(monkeypatch):
    """Measure this CPU in one dtype and not in four, of which those of 16 bits take seconds."""
    monkeypatch.setattr("opflops.devices.benchmark.benchmark_device.__defaults__", ("cpu", (torch.float32,)))


@pytest.fixture
def counted(run):
    """Run the command line for JSON; returns the profile."""

    def count(*argv):
        code, out, err = run(*argv, "--format", "json")
        assert (code, err) == (0, "")
        return Profile.from_json(out)

    return count


@pytest.fixture
def mistaken(run):
    """Run the command line with a mistake; returns the one sentence on stderr."""

    def sentence(*argv):
        code, out, err = run(*argv)
        assert (code, out) == (2, "")
        assert err.startswith("opflops: ")
        assert err.count("\n") == 1
        return err.removeprefix("opflops: ").rstrip("\n")

    return sentence
