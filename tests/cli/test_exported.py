"""``model.pt2``: programs that ``torch.export.save`` wrote, with the modules that they were exported from."""

import subprocess
import sys

import pytest
import torch
from torch import nn

pytestmark = pytest.mark.filterwarnings("ignore")


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(4, 8), nn.Linear(8, 4)

    def forward(self, x):
        return x + self.down(torch.relu(self.up(x)))


class Program(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = Block()

    def forward(self, x):
        return self.block(x) * 2


def save(path, **options):
    torch.export.save(torch.export.export(Program().eval(), (torch.zeros(3, 4),), **options), path)


@pytest.fixture
def exported(project):
    save(project / "fixed.pt2")
    save(project / "any.pt2", dynamic_shapes={"x": {0: torch.export.Dim("batch")}})


@pytest.mark.usefixtures("exported")
def test_the_example_is_what_a_program_is_called_with(run, counted):
    """3 x (4 x 8 + 8 x 4) macs in the linear layers, each of which has its name and class."""
    profile = counted("fixed.pt2")
    assert profile.total.macs == 3 * 64
    assert profile.inclusive()["Program.block.up"].macs == 3 * 32
    assert {row.module_type for row in profile.rows} == {"Program", "Block", "Linear"}
    header = run("fixed.pt2")[1].splitlines()[0]
    assert header == "fixed.pt2 · meta · inputs x=3x4 float32 (the example that it was exported with)".replace(
        "3x4", "3\N{MULTIPLICATION SIGN}4"
    )


@pytest.mark.usefixtures("exported")
def test_other_sizes_are_for_programs_that_allow_them(counted, mistaken):
    """By --batch, --input or as an expression; one that was exported for one size refuses others."""
    assert counted("any.pt2", "--batch", "7").total.macs == 7 * 64
    assert counted("any.pt2", "--input", "5,4").total.macs == 5 * 64
    assert str(counted("any.pt2", "--dim", "batch=x:0").total.macs) == "64*batch"
    assert "equal to 3, but got 7" in mistaken("fixed.pt2", "--batch", "7")


@pytest.mark.usefixtures("exported")
@pytest.mark.parametrize("options", [(), ("--device", "cpu"), ("--dtype", "bfloat16")], ids=" ".join)
def test_gradients_of_a_program(counted, options):
    """Of the weights as much as the forward, and of the inner layer's input 3 x 8 x 4; wherever it runs."""
    profile = counted("fixed.pt2", "--backward", *options)
    assert profile.by("phase")["backward"].macs == 3 * 64 + 3 * 32


@pytest.mark.parametrize("content", [b"", b"junk", "half"], ids=["empty", "junk", "damaged"])
def test_what_holds_no_program_is_one_sentence(mistaken, project, content):
    """Whatever PyTorch logs about it."""
    if content == "half":
        save(project / "whole.pt2")
        content = (project / "whole.pt2").read_bytes()[:1000]
    (project / "bad.pt2").write_bytes(content)
    assert "bad.pt2 is no program that torch.export.save wrote, or is damaged" in mistaken("bad.pt2")


def test_what_pytorch_logs_of_a_damaged_file_is_not_shown(project):
    """Its traceback, which goes to the real stderr."""
    (project / "bad.pt2").write_bytes(b"junk")
    command = [sys.executable, "-m", "opflops", "bad.pt2"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr.count("\n") == 1


@pytest.mark.usefixtures("exported")
@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["gone.pt2"], "There is no file 'gone.pt2'"),
        (["fixed.pt2", "--arg", "width=3"], "is a program already"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_sentence(mistaken, argv, words):
    """No such file, and nothing to make with arguments."""
    assert words in mistaken(*argv)
