"""Models in a user's own code: what a target names, what it is called with, and on which device."""

import json
import re
import sys
from dataclasses import replace
from importlib.machinery import PathFinder

import pytest
import torch

from opflops import Profile
from opflops.cli import library_names, main, targets
from opflops.cli.call_arguments import CallArguments
from opflops.cli.inputs import DTYPES, InputSpec, parse
from opflops.cli.sources import python_code
from opflops.errors import TargetError
from opflops.extras import how_to_install

X = "\N{MULTIPLICATION SIGN}"


@pytest.mark.parametrize(
    "target",
    [
        *("mymodels:Net", "mymodels:factory", "mymodels:instance", "mymodels:Holder.inner"),
        *("mymodels.py:Net", "./mymodels.py:Holder.inner"),
    ],
)
def test_a_target_is_a_class_a_factory_or_an_instance(counted, target):
    """From the current folder; 2 x 4 x 3 macs and 2 x 3 biases."""
    total = counted(target, "--input", "2,4").total
    assert (total.macs, total.ops) == (24, 6)


def test_a_file_may_be_anywhere(counted, project, monkeypatch, tmp_path_factory):
    """Its own folder is searched for what it imports."""
    (project / "imports.py").write_text("from mymodels import Net\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert counted(f"{project / 'imports.py'}:Net", "--input", "2,4").total.macs == 24


def test_a_file_that_is_called_as_a_module_does_not_replace_it(counted, project):
    """A user's json.py is not what Python's own imports find from then on."""
    (project / "json.py").write_text("from mymodels import Net\n", encoding="utf-8")
    assert counted("json.py:Net", "--input", "2,4").total.macs == 24
    assert sys.modules["json"] is json


def test_arguments_make_the_model(counted):
    """A number, and what is no literal as text: 2 x 6 x 6 macs and no bias."""
    profile = counted(
        "mymodels:Sized", "--arg", "width=6", "--arg", "bias=False", "--arg", "name=a b", "--input", "2x6"
    )
    assert (profile.total.macs, profile.total.ops) == (72, 0)


def test_a_function_of_tensors_is_counted_itself(counted):
    """Where it needs inputs and gets them: 2 x 3 by 3 x 4, and the same with the right one transposed."""
    assert counted("mymodels:product", "--input", "2,3", "--input", "3,4").total.macs == 24
    arguments = ("--arg", "transposed=True")
    assert counted("mymodels:product", "--input", "2,3", "--input", "4,3", *arguments).total.macs == 24


def test_inputs_have_dtypes_and_names(counted):
    """Integers for an embedding, and a mask passed by name."""
    total = counted("mymodels:Text", "--input", "2,5:int64", "--input", "mask=2,5").total
    assert total.macs == 2 * 5 * 4 * 2


def test_a_model_may_need_no_input(counted):
    """Three additions."""
    assert counted("mymodels:Silent").total.ops == 3


def test_the_batch_is_the_leading_size(counted):
    """Of what was given, and of what the source proposes."""
    assert counted("mymodels:Net", "--input", "2,4", "--batch", "5").total.macs == 5 * 12
    assert counted("--batch", "3").total.macs == 3 * counted().total.macs


def test_backward_counts_gradients(counted):
    """The gradient of the weight takes as many macs as the forward; the input needs none."""
    profile = counted("mymodels:Net", "--input", "2,4", "--backward")
    assert profile.by("phase")["backward"].macs == 24


def test_an_optimizer_steps(counted):
    """SGD subtracts a multiple of each gradient: two operations for each of 4 x 3 + 3 parameters."""
    profile = counted("mymodels:Net", "--input", "2,4", "--optimizer", "sgd")
    assert profile.by("phase")["optimizer"].ops == 2 * 15
    assert profile.by("phase")["backward"].macs == 24


@pytest.mark.parametrize(
    ("options", "mode"),
    [([], "eval"), (["--backward"], "train"), (["--train"], "train"), (["--backward", "--eval"], "eval")],
)
def test_models_are_evaluated_unless_they_learn(run, options, mode):
    """Shown above the report; a dropout does nothing in evaluation."""
    _, out, _ = run("mymodels:Sized", "--arg", "width=4", "--input", "2,4", "--by", "op", *options)
    assert f" · {mode} · " in out.splitlines()[0]
    assert ("bernoulli" in out) == (mode == "train")


def test_the_dtype_is_the_models_and_the_inputs(counted):
    """Integers stay as they are."""
    profile = counted("mymodels:Text", "--input", "2,5:int64", "--input", "mask=2,5", "--dtype", "bf16")
    assert set(profile.by("dtype")) == {"bfloat16"}


def test_an_exact_causal_mask_leaves_out_what_it_hides(counted):
    """10 of 16 pairs of four queries and four keys, with eight features each, twice."""
    options = ("mymodels:Attends", "--input", "1,1,4,8")
    assert counted(*options).total.macs == 2 * 16 * 8
    assert counted(*options, "--causal", "exact").total.macs == 2 * 10 * 8


def test_an_exact_count_that_left_nothing_out_says_so(run, counted):
    """A model without causal attention is no larger under the dense convention."""
    _, _, err = run("mymodels:Net", "--input", "2,4", "--causal", "exact")
    assert "--causal exact left nothing out" in err
    _, _, err = run("mymodels:Attends", "--input", "1,1,4,8", "--causal", "exact")
    assert "left nothing out" not in err


def test_attention_is_fused_as_in_a_run(counted):
    """On meta itself it is not; what is counted without storage has the operators of the CPU."""
    options = ("mymodels:Attends", "--input", "1,1,4,8")
    fused = "aten._scaled_dot_product_flash_attention_for_cpu"
    assert fused in counted(*options).by("op")
    assert counted(*options).total == counted(*options, "--device", "cpu").total


def test_an_unknown_argument_of_a_factory_is_named(mistaken):
    """With the nearest that it has."""
    words = mistaken("mymodels:Sized", "--arg", "wdth=8", "--input", "2,8")
    assert "mymodels:Sized has no argument 'wdth'; did you mean width?" in words


def test_dimensions_make_expressions(counted, run):
    """By position or name, and at a size of one's choice."""
    for place in ("0:0", "x:0"):
        profile = counted("mymodels:Net", "--input", "2,4", "--dim", f"batch={place}")
        assert str(profile.total.macs) == "12*batch"
    at = ("mymodels:Net", "--input", "2,4", "--dim", "batch=0:0", "--at", "batch=7")
    assert counted(*at).total.macs == 84
    assert run(*at)[1].splitlines()[0].endswith("batch=7")


def test_one_name_is_one_dimension(counted):
    """Of several inputs, given by several --dim."""
    profile = counted(
        *("mymodels:Text", "--input", "2,5:int64", "--input", "mask=2,5"),
        *("--dim", "b=ids:0", "--dim", "b=mask:0", "--dim", "s=0:1", "--dim", "s=1:1"),
    )
    assert str(profile.total.macs) == "8*b*s"


def test_a_model_that_needs_values_runs_on_real_tensors(run):
    """With a word about it on stderr, unless it is to be quiet or to stay on meta."""
    target = ("mymodels:Peeks", "--input", "2,4", "--format", "json")
    code, out, err = run(*target)
    assert (code, err) == (0, "opflops: the model needs the values of tensors, so it runs on zeros.\n")
    assert Profile.from_json(out).total.macs == 24
    assert run(*target, "--quiet")[2] == ""
    code, _, err = run(*target, "--device", "meta")
    assert code == 2
    assert "needs the value of a tensor" in err
    assert err.endswith("; --device cpu runs it for real.\n")
    assert "OpFlopMode" not in err


@pytest.mark.parametrize(
    ("name", "why"),
    [("Stored", "has operators that need storage"), ("Leaves", "needs the values of tensors")],
)
@pytest.mark.parametrize("options", [[], ["--causal", "exact"]], ids=" ".join)
def test_a_model_that_needs_storage_runs_on_real_tensors(run, name, why, options):
    """An operator without such a kernel, and NumPy, on meta and on fake tensors: 2 x 4 x 3 macs; or a hint."""
    target = (f"mymodels:{name}", "--input", "2,4", "--format", "json", *options)
    code, out, err = run(*target)
    assert (code, err) == (0, f"opflops: the model {why}, so it runs on zeros.\n")
    assert Profile.from_json(out).total.macs == 24
    code, out, err = run(*target, "--device", "meta")
    assert (code, out) == (2, "")
    assert err.endswith("; --device cpu runs it for real.\n")
    code, out, err = run(*target, "--dim", "batch=0:0")
    assert (code, out) == (2, "")
    assert err.endswith("; without --dim, --device cpu runs it for real.\n")


def test_what_fails_for_real_too_is_said(run):
    """After the word that it runs, what it raised then."""
    code, out, err = run("mymodels:LeavesAndFails", "--input", "2,4")
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].endswith("ValueError: for real too.")


def test_a_model_that_cannot_be_made_on_meta_is_made_with_storage(run):
    """With a word about why, unless it is to stay on meta."""
    code, out, err = run("mymodels:Decides", "--input", "2,4", "--by", "op")
    assert code == 0
    assert err.startswith("opflops: mymodels:Decides cannot be made on meta (RuntimeError: Tensor.item()")
    assert "24" in out
    assert run("mymodels:Decides", "--input", "2,4", "--device", "meta")[0] == 2


def test_a_model_too_large_to_run_is_refused_before_it_is_made(run, monkeypatch):
    """Where it needs values, and its parameters alone do not fit into memory."""
    monkeypatch.setattr("os.sysconf", lambda name: 1)
    code, _, err = run("mymodels:Peeks", "--input", "2,4")
    assert code == 2
    assert "this machine has 0 GiB of memory" in err


def test_timing_runs_for_real(run):
    """On the CPU by default, in repeated runs after a warm-up, with the counts of one and what the mode costs."""
    code, out, err = run("mymodels:Net", "--input", "2,4", "--timing", "--by", "op")
    assert (code, err) == (0, "")
    assert " · cpu · " in out.splitlines()[0]
    assert {"seconds", "spread"} <= set(out.split())
    text = " ".join(out.split())
    assert re.search(r"Times are medians of [\d,]+ runs after 3 of warm-up", text)
    assert re.search(r"A run takes [\d.]+ \S+ \(spread [\d.]+ \S+\) without the mode", text)
    assert re.search(r"Counted and timed, a run takes .*: the mode('s own time is below| itself costs [\d.]+)", text)
    _, untimed, _ = run("mymodels:Net", "--input", "2,4", "--by", "op", "--columns", "calls,flops")
    _, timed, _ = run("mymodels:Net", "--input", "2,4", "--by", "op", "--columns", "calls,flops", "--timing")
    assert timed.splitlines()[2:7] == untimed.splitlines()[2:7]


def test_times_and_memory_are_of_different_runs(run, tmp_path):
    """To follow the memory takes time; the profile has both, and the gradients of no earlier run."""
    where = tmp_path / "timed.json"
    options = ("--input", "2,4", "--optimizer", "adamw", "--memory")
    code, _, err = run("mymodels:Net", *options, "--timing", "--time-limit", "60", "-o", str(where))
    # A file has no room for sentences.
    assert (code, "Counted and timed, a run takes" in err) == (0, True)
    timed = Profile.from_json(where.read_text())
    assert run("mymodels:Net", *options, "--device", "cpu", "-o", str(where))[0] == 0
    untimed = Profile.from_json(where.read_text())
    assert timed.memory.peak == untimed.memory.peak
    assert timed.total == untimed.total
    assert timed.timing.runs >= 1
    assert all(row.seconds > 0 for row in timed.rows)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("option", [("--device", "cuda"), ("--roofline", "cuda")])
def test_cuda_needs_a_gpu(mistaken, option):
    """In one sentence."""
    assert "there is none here" in mistaken(*option, "--by", "op")


def test_what_a_model_prints_is_not_part_of_the_report(project, capfd):
    """Nor what its processes print; JSON on stdout stays JSON, and warnings are seen with --debug alone."""
    target = ["mymodels:Noisy", "--input", "2,4", "--format", "json"]
    assert main(target) == 0
    out, err = capfd.readouterr()
    assert Profile.from_json(out).total.macs == 24
    assert "from the model\n" in err
    assert "from a process of the model\n" in err
    assert "UserWarning" not in err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["mymodels"], "'mymodels' does not have the form package.module:callable"),
        ([":Net"], "does not have the form"),
        (["mymodels:"], "does not have the form"),
        (["mymodels.py"], "Name the class or function in it too, as in mymodels.py:Net"),
        (["mymodel:Net"], "no module 'mymodel'"),
        (["mymodel.py:Net"], "no file 'mymodel.py'; did you mean mymodels.py?"),
        (["./mymodels:Net"], "Name a file as folder/file.py:callable"),
        (["mymodels.sub:Net"], "no module 'mymodels.sub'"),
        (["mymodels:net"], "no 'net'; did you mean Net?"),
        (["mymodels:Net.gone"], "no 'Net.gone'"),
        (["mymodels:constant"], "must be a model, or a class or function that makes one, not int"),
        (["mymodels:number"], "must return a torch.nn.Module, not int"),
        (["mymodels:Sized"], "needs arguments (missing a required argument: 'width')"),
        (["mymodels:Sized", "--arg", "widht=3"], "did you mean width?"),
        (["mymodels:instance", "--arg", "width=3"], "is a model instance, which takes no --arg"),
        (["mymodels:Broken"], "fails to make its model: OSError: no weights here"),
        (["broken:Net"], "fails to import: ZeroDivisionError"),
        (["broken.py:Net"], "fails to run: ZeroDivisionError"),
        (["script:Net"], "fails to import: SystemExit"),
        (["lacking:Net"], "fails to import: ModuleNotFoundError: No module named 'not_installed_anywhere'"),
        (["mymodels:Net"], "Net.forward(x, scale=…) needs inputs; give each by its shape, as in --input x=1,4"),
        (["mymodels:Text", "--input", "2,5:int64"], "Text.forward(ids, mask) needs mask too; give --input mask=SIZES."),
        (["mymodels:Net", "--input", "2,5"], f"Net fails on x=2{X}5 float32: RuntimeError"),
        (["mymodels:Net", "--input", "2,4", "--input", "wrong=1"], "Net.forward has no parameter 'wrong'; it has x, s"),
        (["mymodels:Net", "--input", "x=1,4", "--input", "x=3,4"], "Each name can be given to one --input only"),
        (
            ["mymodels:Net", "--input", "9999999999999,4", "--device", "cpu"],
            "mymodels:Net fails to make its inputs: RuntimeError",
        ),
        (["mymodels:Net", "--input", "99999999999999999999,4"], "a size that is too large"),
        (["mymodels:Exits"], "Exits fails on no input (--input gives some): SystemExit: 3"),
        (["mymodels:Net", "--input", "2,x"], "size that is not a whole number"),
        (["mymodels:Net", "--input", "2,-4"], "size that is not a whole number"),
        (["mymodels:Net", "--input", "2,,4"], "size that is not a whole number"),
        (["mymodels:Net", "--input", "2,4:int65"], "There is no dtype 'int65'; did you mean int64"),
        (["mymodels:Net", "--input", "a b=2,4"], "name 'a b'"),
        (["mymodels:Net", "--input", "=2,4"], "name ''"),
        (["mymodels:Net", "--input", "2,4:int64:bool"], "does not have the form [name=]"),
        (["mymodels:Silent", "--backward"], "No output requires a gradient"),
        (["weights.pth"], "looks like weights"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_in_the_target_is_one_sentence(mistaken, argv, message):
    """Nothing on stdout, one line on stderr."""
    assert message in mistaken(*argv)


def test_a_model_that_reads_from_the_terminal_finds_nothing_there(run):
    """It does not hang, and its question is not part of the report."""
    code, out, err = run("mymodels:Asks")
    assert (code, out) == (2, "")
    assert "EOFError" in err


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("1,3,224,224", InputSpec("", (1, 3, 224, 224))),
        ("1x3x224x224", InputSpec("", (1, 3, 224, 224))),
        ("1\N{MULTIPLICATION SIGN}3", InputSpec("", (1, 3))),
        ("2,128:int64", InputSpec("", (2, 128), torch.int64)),
        ("name=2,128:int64", InputSpec("name", (2, 128), torch.int64)),
        ("x=3x4", InputSpec("x", (3, 4))),
        (" x = 3", None),
        ("7", InputSpec("", (7,))),
        (":bool", InputSpec("", (), torch.bool)),
        ("", InputSpec("", ())),
        ("0,4", InputSpec("", (0, 4))),
        ("1, 3", InputSpec("", (1, 3))),
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


def test_no_dtype_is_the_models(counted):
    """A model that a factory makes in float64 gets inputs in float64."""
    assert parse("2,3").tensor().dtype == torch.float32
    assert parse("2,3").tensor(torch.float64).dtype == torch.float64
    profile = counted("mymodels:double", "--input", "2,4")
    assert set(profile.by("dtype")) == {"float64"}


def test_a_suggested_input_suits_the_first_layer(run):
    """Tokens for an embedding, features for a linear layer."""
    code, _, err = run("opflops.example:GPT")
    assert code == 2
    assert "--input ids=1,128:int64." in err
    assert "--input x=1,4." in run("mymodels:Net")[2]


HUGE = """
from torch import nn


class Weights(nn.Module):
    def __init__(self, width=10**15):
        super().__init__()
        self.fc = nn.Linear(width, width, bias=False)

    def forward(self, x):
        return self.fc(x)


class Table(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(10**15, 8)
        self.head = nn.Linear(8, 10**15, bias=False)

    def forward(self, ids):
        return self.head(self.words(ids))


class OnCpu(nn.Module):
    def __init__(self):
        super().__init__()
        nn.Parameter(__import__("torch").ones(2)).data.numpy()
        self.fc = nn.Linear(2**28, 2**28, bias=False)
"""


@pytest.mark.parametrize("width", ["10**15", "10**10", "10**30"])
def test_a_tensor_beyond_the_numbers_of_pytorch_is_a_sentence(mistaken, project, width):
    """No memory is asked for: it cannot be on meta either."""
    (project / "huge.py").write_text(HUGE.replace("10**15)", f"{width})"), encoding="utf-8")
    said = mistaken("huge.py:Weights", "--input", "1,4")
    assert "a tensor of more than 2**63 - 1 bytes, which PyTorch cannot describe on any device" in said
    assert "allocat" not in said


def test_weights_of_any_size_below_are_counted(counted, project):
    """By hand, one product for each of 8 inputs and 10**15 outputs, of each of two words."""
    (project / "huge.py").write_text(HUGE, encoding="utf-8")
    assert counted("huge.py:Table", "--input", "1,2:int64").total.macs == 2 * 8 * 10**15


def test_a_constructor_that_lacks_a_field_is_not_tried_with_storage(mistaken, project):
    """It would take the memory of all weights made before, and fail all the same."""
    (project / "lacking.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    made = 0\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        Net.made += 1\n"
        "        raise KeyError(f'field, try {Net.made}')\n",
        encoding="utf-8",
    )
    assert "try 1" in mistaken("lacking.py:Net", "--input", "1,4")


def test_weights_that_need_memory_and_find_none_are_a_sentence(mistaken, project):
    """With the reason why they need it."""
    (project / "huge.py").write_text(HUGE, encoding="utf-8")
    said = mistaken("huge.py:OnCpu", "--input", "1,4")
    assert "there is not enough memory for its tensors" in said
    assert "It needs memory because it cannot be made on meta" in said


def test_an_error_of_a_model_names_the_module_and_the_line(mistaken, project):
    """Before the sentence that says what was run; the exit code is that of a mistake."""
    (project / "joined.py").write_text(
        "from torch import nn\n"
        "class Joined(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.first, self.second = nn.Linear(4, 3), nn.Linear(5, 2)\n"
        "    def forward(self, x):\n"
        "        return self.second(self.first(x))\n",
        encoding="utf-8",
    )
    assert mistaken("joined.py:Joined", "--input", "2,4").startswith(
        f"In Joined.second (Linear) on input=2{X}3 float32, at joined.py:7 (return self.second(self.first(x))), "
        f"Joined fails on x=2{X}4 float32: RuntimeError: "
    )


def test_a_bare_name_of_a_library_model_is_met_with_its_targets(tmp_path, monkeypatch):
    """A name that a library registers, or one close to it, is suggested as a target, without importing the library."""
    for package, names in {"torchvision": ("resnet50", "alexnet"), "timm": ("resnet50",)}.items():
        folder = tmp_path / package / "models"
        folder.mkdir(parents=True)
        (tmp_path / package / "__init__.py").write_text("raise SystemError('imported')\n")
        (folder / "zoo.py").write_text("".join(f"@register_model()\ndef {name}(): ...\n" for name in names))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(library_names, "find_spec", lambda name: PathFinder.find_spec(name, [str(tmp_path)]))
    assert library_names.suggest_libraries("resnet50") == " Did you mean torchvision:resnet50 or timm:resnet50?"
    assert library_names.suggest_libraries("alexnt") == " Did you mean torchvision:alexnet?"
    assert library_names.suggest_libraries("org/model") == " For a model of the Hugging Face Hub, write hf:org/model."


def test_a_bare_name_without_the_libraries_is_met_with_the_install_line(monkeypatch):
    """Where no library is installed, the sentence says how a target is written and what to install."""
    monkeypatch.setattr(library_names, "find_spec", lambda _: None)
    suggestion = library_names.suggest_libraries("resnet50")
    assert "as in torchvision:resnet50, timm:resnet50 or hf:resnet50." in suggestion
    assert suggestion.endswith(f" {how_to_install('models')}")


POOLED = """
import torch
from torch import nn


class Pooled(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x):
        return self.norm(self.conv(x).mean((2, 3), keepdim=True))
"""


def test_a_proposed_input_that_batch_norm_refuses_is_doubled_and_said(project, monkeypatch, capsys):
    """Batch norm over one value per channel: a proposed batch of 1 becomes 2, with twice 3 x 4 x 8 x 8 macs forward."""
    (project / "pooled.py").write_text(POOLED, encoding="utf-8")

    def find(text, request):
        found = python_code.find(text, request)
        return replace(found, propose_inputs=lambda _, batch: CallArguments((torch.zeros(batch, 3, 8, 8),)))

    monkeypatch.setattr(targets, "find", find)
    assert main(["pooled.py:Pooled", "--backward", "--format", "json"]) == 0
    printed = capsys.readouterr()
    profile = Profile.from_json(printed.out)
    assert profile.where(phase="forward").total.macs == 2 * 3 * 4 * 8 * 8
    assert "--batch 2, since batch norm" in printed.err


def test_a_given_input_that_batch_norm_refuses_is_kept_and_explained(project, capsys):
    """The user's own sizes are not changed; the error says which option to give."""
    (project / "pooled.py").write_text(POOLED, encoding="utf-8")
    assert main(["pooled.py:Pooled", "--backward", "--input", "1,3,8,8"]) == 2
    assert "give --batch 2, or --eval." in capsys.readouterr().err
