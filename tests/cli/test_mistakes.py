"""Mistakes of new users: each ends in one sentence that says what was given, what is wrong and what is right."""

import re

import pytest
import torch
from torch import nn

from opflops.cli import running
from opflops.cli.inputs import DTYPES, parse

X = "\N{MULTIPLICATION SIGN}"
MODELS = """
import torch
from torch import nn


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.fc = nn.Embedding(10, 4), nn.Linear(4, 2)

    def forward(self, ids, scale):
        return self.fc(self.table(ids)) * scale


class Bag(nn.EmbeddingBag):
    def __init__(self):
        super().__init__(10, 4)


class Indexed(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(10, 4))

    def forward(self, rows, labels):
        return nn.functional.cross_entropy(self.weight[rows], labels)


class Images(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 8, 3), nn.Linear(8, 10)

    def forward(self, x):
        return self.fc(self.conv(x).mean((2, 3)))


class Steps(nn.LSTM):
    def __init__(self):
        super().__init__(8, 4, batch_first=True)


class Loss(nn.Linear):
    def __init__(self):
        super().__init__(4, 3)

    def forward(self, x, labels):
        return super().forward(x).sum() + labels


class Lazy(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.LazyLinear(3)

    def forward(self, x):
        return self.fc(x)


class Fails(nn.Linear):
    calls = 0

    def __init__(self):
        super().__init__(4, 3)

    def forward(self, x):
        raise RuntimeError("whatever it is given")


class Wide(nn.Linear):
    def __init__(self, width, *, depth):
        super().__init__(width, depth)


class Batch(nn.Linear):
    def __init__(self):
        super().__init__(4, 3)

    def forward(self, batch):
        return super().forward(batch["x"]) + batch["y"]


class Scaled(nn.Linear):
    def __init__(self, width=4):
        super().__init__(width, width)


def pair():
    return Words(), 1


def nothing():
    Words()


def product(left, right):
    return left @ right


def refuses():
    raise ValueError("my own error")
"""
SCRIPT = "from torch import nn\nclass Net(nn.Linear): pass\nprint('step')\nraise SystemExit('usage')\n"


@pytest.fixture(autouse=True)
def files(project):
    """A file of models, a script, a package, a notebook and weights."""
    (project / "wrong.py").write_text(MODELS, encoding="utf-8")
    (project / "training.py").write_text(SCRIPT, encoding="utf-8")
    (project / "package").mkdir()
    (project / "package" / "part.py").write_text("from .other import Net\n", encoding="utf-8")
    (project / "net.ipynb").write_text("{}", encoding="utf-8")
    torch.save(nn.Linear(2, 2).state_dict(), project / "net.pt")


def inputs(*specs):
    return [word for spec in specs for word in ("--input", spec)]


@pytest.mark.parametrize(
    ("target", "given", "right"),
    [
        ("Words", ["1,16", "1"], ["1,16:int64", "1"]),
        ("Words", ["scale=1", "ids=1,16"], ["scale=1", "ids=1,16:int64"]),
        ("Bag", ["2,5"], ["2,5:int64"]),
        ("Indexed", ["5", "5"], ["5:int64", "5:int64"]),
        ("Indexed", ["rows=5:int64", "labels=5"], ["rows=5:int64", "labels=5:int64"]),
        ("Images", ["3,32,32"], ["1,3,32,32"]),
        ("Images", ["32,40,3"], ["1,3,32,40"]),
        ("Images", ["2,32,40,3"], ["2,3,32,40"]),
        ("Images", ["2,1,32,32"], ["2,3,32,32"]),
        ("Steps", ["2,5,7"], ["2,5,8"]),
        ("Images", ["2,3,8,8:bool"], ["2,3,8,8"]),
    ],
)
def test_an_error_on_inputs_ends_with_inputs_that_run(mistaken, run, target, given, right):
    """Integers for indices, a batch, channels first, or the features of the first layer; and they do run."""
    words = mistaken(f"wrong.py:{target}", *inputs(*given))
    assert words.endswith(f". It runs with {' '.join(inputs(*right))}.")
    assert run(f"wrong.py:{target}", *inputs(*right))[0] == 0


@pytest.mark.parametrize("options", [(), ("--device", "cpu"), ("--timing",)])
@pytest.mark.parametrize("dtype", ["int64", "bool", "float16", "float64"])
def test_inputs_of_another_dtype_than_the_model_are_corrected(mistaken, run, options, dtype):
    """Of floating-point dtypes, the model can have that of its input too; and both do run."""
    words = mistaken("wrong.py:Scaled", "--input", f"2,4:{dtype}", *options)
    assert "mat1 and mat2 must have the same dtype" in words
    second = f", or with --input 2,4 --dtype {dtype}" if dtype.startswith("float") else ""
    assert words.endswith(f". It runs with --input 2,4{second}.")
    for more in ((), ("--dtype", dtype)) if second else ((),):
        assert run("wrong.py:Scaled", "--input", "2,4", *more, *options)[0] == 0


def test_without_inputs_that_run_there_is_no_suggestion(mistaken):
    """A model that fails on all that was tried has an error of its own."""
    words = mistaken("wrong.py:Fails", "--input", "1,4")
    assert words.endswith(f"Fails fails on x=1{X}4 float32: RuntimeError: whatever it is given.")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["wrong.py:Loss", "--input", "2,4"], "Loss.forward(x, labels) needs labels too; give --input labels=SIZES."),
        (["wrong.py:product", "--input", "2,4"], "product(left, right) needs right too; give --input right=SIZES."),
        (["wrong.py:Wide", "--input", "2,4"], "Give them with --arg width=… --arg depth=…, or name an instance"),
        (["wrong.py:product"], "If it is a function of tensors, give these by --input."),
        (["wrong.py:Loss", "--input", "2", "4"], "'4' is no target. Write all sizes of an input in one word"),
        (["wrong.py:Loss", "4", "3"], "arguments of a class as in --arg width=4"),
        (["wrong.py:Loss", "--input", "-1,4"], "'-1,4' has a size that is not a whole number. Write sizes as in"),
        (["wrong.py:Loss", "--input", "1 4"], "Write sizes as in --input 1,4."),
        (["wrong.py:Loss", "--input", "x=(1, 4)"], "Write sizes as in --input x=1,4."),
        (["wrong.py:Loss", "--input", "[1,4]"], "Write sizes as in --input 1,4."),
        (["wrong.py:Loss", "--input", "1.5,4"], "Write sizes as in --input 1,4."),
        (["wrong.py:Loss", "--input", "B,4"], "Name an axis with --dim, as in --input 1,4 --dim B=0:0."),
        (["wrong.py:Loss", "--input", "x=2,dim"], "as in --input x=2,1 --dim dim=x:1."),
        (["wrong.py::Loss"], "has two colons in a row. Write one: wrong.py:Loss."),
        (["wrong.py:Images", *2 * ["--input", "1,3,8,8"]], "Images.forward(x) takes 1 input, but --input gives 2."),
        (["wrong.py:Batch", "--input", "2,4"], "If batch is a dict, give its items, as in --input batch.x=2,4."),
        (["wrong.py:Batch", "--input", "2,4", "--device", "cpu"], "as in --input batch.x=2,4."),
        (["wrong.py:Batch", "--input", "batch.x=2,4"], "Give 'y' too, as in --input batch.y=SIZES."),
        (["wrong.py:Scaled", "--arg", "width=abc"], "width was read as the text 'abc'."),
        (["wrong.py:Loss", "wrong.py:Fails", "--input", "2,4"], "--input applies to all targets. To compare"),
        (["--inputs", "2,4"], "There is no option '--inputs'; did you mean --input?"),
        (["--inptu", "2,4"], "There is no option '--inptu'; did you mean --input?"),
        (["wrong.py:Wide", "--width", "3"], "write --arg width=VALUE."),
        (["--fail-above", "1%"], "--fail-above is an option of opflops diff, and not of opflops."),
        (["diff", "a.json", "b.json", "--strict"], "--strict is an option of opflops, and not of opflops diff."),
        (["wrong.py:Loss", "--input", "x:1,4"], "Write a name before an equals sign: x=1,4."),
        (["wrong.py:pair"], "not tuple. Name a function that returns the model in it alone."),
        (["wrong.py:nothing"], "not NoneType. Does it end without return?"),
        (["wrong.py:refuses"], 'At wrong.py:101 (raise ValueError("my own error")), wrong.py:refuses fails'),
        (["package/part.py:Net"], "package: package.part:NAME, from the folder that holds the package."),
        (["package"], "It is a folder; name a file in it, as in package/model.py:Net."),
        (["torch.nn.Linear"], "Write a colon before the class or function: torch.nn:Linear."),
        (["net.ipynb"], "net.ipynb is a notebook. Write its code to a file"),
        (["net.ipynb:Net"], "name the class or function in it: net.py:Net."),
        (["net.pt"], "net.pt looks like weights"),
        (["net.pt:Net"], "net.pt looks like weights"),
        (["hf"], "Name a model too, as in hf:NAME. opflops models hf lists them."),
        (["count", "wrong.py:Loss"], "opflops counts without such a word: opflops TARGET."),
        (["--output", "x.json"], "There is no option '--output'; did you mean -o?"),
        (["-f", "json"], "There is no option '-f'; did you mean --format?"),
        (["--json"], "There is no option '--json'; did you mean --format json?"),
        (["--format", "yaml"], "There is no format 'yaml'; there are json, csv, csv-modules, folded, speedscope,"),
        (["--format", "jsn"], "did you mean json?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_a_mistake_is_met_with_what_is_right(mistaken, argv, words):
    """In one sentence, without a traceback."""
    assert words in mistaken(*argv)


def test_a_script_that_runs_on_import_is_told_how_to_be_imported(run):
    """After what it prints itself."""
    code, out, err = run("training.py:Net")
    assert (code, out) == (2, "")
    *printed, last = err.splitlines()
    assert printed == ["step"]
    assert last.startswith("opflops: At training.py:4 (raise SystemExit('usage')), the file 'training.py' fails to run")
    assert last.endswith("put what a script does below if __name__ == '__main__'.")


@pytest.mark.parametrize("options", [(), ("--device", "cpu"), ("--backward",)])
def test_a_lazy_model_learns_its_sizes_first(counted, options):
    """By hand: 2 x 4 x 3 macs forward, as after a first call, which is not counted."""
    assert counted("wrong.py:Lazy", "--input", "2,4", *options).where(phase="forward").total.macs == 24


@pytest.mark.parametrize(
    ("text", "dtype"),
    [("long", "int64"), ("int", "int32"), ("half", "float16"), ("torch.bfloat16", "bfloat16"), ("double", "float64")],
)
def test_dtypes_have_the_short_names_of_pytorch_too(text, dtype):
    """With or without ``torch.`` before them."""
    assert parse(f"1,4:{text}").dtype == DTYPES[dtype]


@pytest.mark.parametrize("make", [lambda: nn.BatchNorm1d(3), lambda: nn.BatchNorm2d(3)])
def test_pytorch_refuses_a_batch_of_one_in_the_words_that_are_looked_for(make):
    """If its sentence changes, a proposed batch is no longer doubled."""
    norm = make()
    x = torch.ones(1, 3) if isinstance(norm, nn.BatchNorm1d) else torch.ones(1, 3, 1, 1)
    with pytest.raises(ValueError, match=re.escape(running.BATCH_NORM_ERROR)):
        norm(x)
