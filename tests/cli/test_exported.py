"""``model.pt2``: programs that ``torch.export.save`` wrote, with the modules that they were exported from."""

import io
import os
import subprocess
import sys
import zipfile

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


def save_as(path, model, inputs, **options):
    torch.export.save(torch.export.export(model, inputs, **options), path)


def save(path, **options):
    save_as(path, Program().eval(), (torch.zeros(3, 4),), **options)


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
    assert header == "fixed.pt2 · meta · inputs x=3x4 float32 (the inputs that it was exported with)".replace(
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
    assert "bad.pt2 was not written by torch.export.save, or is damaged" in mistaken("bad.pt2")


def test_what_pytorch_logs_of_a_damaged_file_is_not_shown(project):
    """Its traceback, which goes to the real stderr."""
    (project / "bad.pt2").write_bytes(b"junk")
    command = [sys.executable, "-m", "opflops", "bad.pt2"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr.count("\n") == 1


class Planted:
    """Run code when it is unpickled."""

    def __reduce__(self):
        return open, ("planted", "w")


def pickled(value):
    written = io.BytesIO()
    torch.save(value, written)
    return written.getvalue()


def rewritten(source, path, records):
    """Copy an archive, with other records in it, by name."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for each in old.infolist():
            if each.filename.partition("/")[2] not in records:
                new.writestr(each, old.read(each))
        for name, content in records.items():
            new.writestr(f"fixed/{name}", content)


@pytest.mark.usefixtures("exported")
def test_code_in_a_program_runs_only_if_it_is_trusted(run, mistaken, project, monkeypatch):
    """Pickled among the example inputs, where PyTorch's own loader would run it; the environment stays as it was."""
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", raising=False)
    planted = pickled(((torch.zeros(3, 4), Planted()), {}))
    rewritten("fixed.pt2", "bad.pt2", {"data/sample_inputs/model.pt": planted})
    message = mistaken("bad.pt2")
    assert message == (
        "bad.pt2 contains pickled objects, which run code when they are loaded. If you trust the file, give "
        "--trust-remote-code."
    )
    assert not (project / "planted").exists()
    assert run("fixed.pt2")[0] == 0
    assert os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] == "1"
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ
    monkeypatch.delenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD")
    run("bad.pt2", "--trust-remote-code")
    assert (project / "planted").exists()


@pytest.mark.usefixtures("exported")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("data/constants/opaque_obj_0", "contains pickled objects"),
        ("data/aotinductor/model/model.so", "contains compiled code"),
    ],
)
def test_what_pytorch_loads_in_other_ways_is_refused_too(mistaken, name, words):
    """Objects that it unpickles without asking, and libraries."""
    rewritten("fixed.pt2", "bad.pt2", {name: b"."})
    assert words in mistaken("bad.pt2")


class Mixed(nn.Module):
    def forward(self, xs, scale, w):
        return (xs[0] * scale + xs[1]) @ w


def test_arguments_of_a_program_have_their_names(run, project, counted):
    """Lists and constants among them; another leading size is for what has the first one's: 5 x 4 x 7 macs."""
    inputs = ([torch.zeros(3, 4), torch.zeros(3, 4)], 2.0, torch.zeros(4, 7))
    save_as(project / "mixed.pt2", Mixed(), inputs)
    header = run("mixed.pt2", "--device", "cpu")[1].splitlines()[0].replace("\N{MULTIPLICATION SIGN}", "x")
    assert "inputs xs=[3x4 float32, 3x4 float32], scale=2.0, w=4x7 float32" in header
    batch = torch.export.Dim("batch")
    save_as(project / "any.pt2", Mixed(), inputs, dynamic_shapes=([{0: batch}, {0: batch}], None, None))
    assert counted("any.pt2", "--batch", "5", "--device", "cpu").total.macs == 5 * 4 * 7


@pytest.mark.usefixtures("exported")
@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["gone.pt2"], "There is no file 'gone.pt2'"),
        (["fixed.pt2", "--arg", "width=3"], "is an exported program, which takes no --arg"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_sentence(mistaken, argv, words):
    """No such file, and nothing to make with arguments."""
    assert words in mistaken(*argv)
