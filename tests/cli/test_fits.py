"""Memory on the command line: the peak, whether it fits, and the largest size at which it does."""

import json

import pytest
import torch

from opflops import Profile, count
from opflops.devices import DEVICES

CNN = "opflops.example:SimpleCNN"


def words(text):
    return " ".join(text.split())


def test_memory_is_in_the_report_and_in_files(run, project):
    """Of the same call that is counted; without the option there is none."""
    code, out, _ = run("mymodels:Net", "--input", "5,4", "--backward", "--memory")
    assert code == 0
    assert "memory" in out
    run("mymodels:Net", "--input", "5,4", "--backward", "--memory", "-o", "net.json")
    found = Profile.from_json((project / "net.json").read_text(encoding="utf-8")).memory
    # 15 parameters and their gradients, 20 inputs, 15 results and the gradient of ones.
    assert found.parameters == 4 * 15
    assert found.peak == count(_net(project), torch.zeros(5, 4), backward=True, memory=True).memory.peak
    assert "memory on" not in run("mymodels:Net", "--input", "5,4")[1]


def _net(project):
    import mymodels  # noqa: PLC0415 - made by the fixture

    assert (project / "mymodels.py").exists()
    return mymodels.Net()


def test_an_allocator_rounds_up(run, project):
    """Each storage, to 512 bytes: weight, bias, input, result."""
    run("mymodels:Net", "--input", "5,4", "--memory", "--allocator", "cuda", "-o", "net.json")
    found = json.loads((project / "net.json").read_text(encoding="utf-8"))["memory"]
    assert found["peak"] == 4 * 512
    assert found["allocator"] == "cuda"


def test_a_real_run_has_a_memory_too(run, project):
    """The same as counting without running; of a training step, when the outputs are gone."""
    for name, more in (("fake", ()), ("real", ("--device", "cpu"))):
        options = ("--batch", "3", "--optimizer", "adamw", "--memory")
        assert run(CNN, *options, *more, "-o", f"{name}.json")[0] == 0
    peaks = [json.loads((project / f"{name}.json").read_text())["memory"]["peak"] for name in ("fake", "real")]
    assert peaks[0] == peaks[1]


@pytest.mark.parametrize(
    ("there", "sentence"),
    [
        ("h100-sxm", "4.92 kB of 80 GB: fits (h100-sxm)."),
        ("V100-PCIe-32GB", "4.92 kB of 32 GB: fits (v100-pcie-32gb)."),
        ("6kB", "4.92 of 6 kB: fits (6kB)."),
        ("5000", "4.92 of 5 kB: barely fits (5000)."),
        ("4.88kB", "4.92 of 4.88 kB: does not fit, 40 bytes too many (4.88kB)."),
    ],
)
def test_the_report_says_whether_it_fits(run, there, sentence):
    """By hand: 930 parameters, 150 elements each of input and result. Not to fit is no error; --memory is implied."""
    code, out, _ = run("mymodels:Sized", "--arg", "width=30", "--input", "5,30", "--fits", there)
    assert code == 0
    head = words(out.split("\n\n", maxsplit=1)[0])
    assert sentence in head
    assert "Not in it: fragmentation, what the allocator rounds up (--allocator cuda does), workspaces" in head


def test_a_size_that_fits_is_found(run):
    """By hand: 3720 bytes of parameters and 240 for each example; the report is of that size."""
    sized = ("mymodels:Sized", "--arg", "width=30", "--input", "1,30")
    code, out, _ = run(*sized, "--largest", "batch=0:0", "--fits", "10kB")
    assert code == 0
    assert "· batch=26" in out
    sentence = "batch = 26 is the largest that fits: 9.96 of 10 kB. 27 needs 10.2 kB, 200 bytes too many. Worst"
    assert sentence in " ".join(out.split())
    assert f"{26 * 30 * 30:,}" in out


def test_files_are_of_the_size_that_fits(run, project):
    """Where the format has no sentences, they stand on stderr."""
    options = ("mymodels:Sized", "--arg", "width=30", "--input", "1,30", "--largest", "batch=x:0", "--fits", "10kB")
    for form in ("json", "csv", "github"):
        code, out, err = run(*options, "--format", form)
        assert code == 0
        assert "is the largest that fits" not in out
        assert "opflops: batch = 26 is the largest that fits" in err
    assert run(*options, "--format", "json", "--quiet")[2] == ""
    run(*options, "-o", "sized.json")
    saved = Profile.from_json((project / "sized.json").read_text(encoding="utf-8"))
    assert saved.total.macs == 26 * 30 * 30
    assert "9.96 of 10 kB: barely fits (10kB)." in run("sized.json", "--fits", "10kB")[1]


def test_multiples_are_tried_alone(run):
    """NAME=INPUT:AXIS:MULTIPLE."""
    options = ("mymodels:Sized", "--arg", "width=30", "--input", "8,30", "--fits", "10kB")
    assert "batch = 24 is the largest multiple of 8 that fits" in run(*options, "--largest", "batch=0:0:8")[1]


def test_axes_of_several_inputs_change_together(run):
    """One name for both; with different ones there are two answers."""
    text = ("mymodels:Text", "--input", "ids=1,8:int64", "--input", "mask=1,8", "--fits", "100kB")
    axes = ("--largest", "batch=ids:0", "--largest", "batch=mask:0:2")
    code, out, _ = run(*text, *axes)
    assert code == 0
    found = int(words(out).split("batch = ")[1].split()[0])
    assert f"batch = {found} is the largest multiple of 2 that fits" in words(out)
    # 50 parameters, and for each of 8 tokens 8 bytes of id, 4 of mask, 4 floats of features, 2 and 2 of results.
    assert 200 + found * 8 * (8 + 4 + 16 + 8 + 8) <= 100_000 < 200 + (found + 2) * 8 * (8 + 4 + 16 + 8 + 8)
    assert "has the dimensions batch and b." in run(*text, "--largest", "batch=ids:0", "--largest", "b=mask:0")[2]


def test_several_targets_have_a_line_each(run):
    """Below what each of them is."""
    code, out, _ = run("mymodels:Net", "mymodels:factory", "--input", "2,4", "--fits", "t4")
    assert (code, out.count("of 16 GB: fits (t4).")) == (0, 2)


@pytest.mark.parametrize("option", ["--fits", "--largest"])
def test_what_a_forward_keeps_for_no_backward_is_said(run, option):
    """A forward alone needs less without gradients, so that more may fit."""
    sentence = "are kept for a backward pass that was not counted; --no-grad counts inference, which keeps none."
    options = ("--fits", "1MB", *(["--largest", "batch=0:0"] if option == "--largest" else []))
    assert sentence in " ".join(run(CNN, *options)[1].split())
    assert sentence not in " ".join(run(CNN, *options, "--backward")[1].split())


@pytest.mark.parametrize("more", [(), ("--device", "cpu"), ("--time-limit", "100")], ids=" ".join)
def test_inference_keeps_nothing_for_a_backward(run, project, more):
    """Of three layers only the input and two results live at once, beside the parameters; with gradients all do."""
    (project / "deep.py").write_text(
        "from torch import nn\ndef make():\n    return nn.Sequential(*(nn.Linear(4, 4) for _ in range(3)))\n"
    )
    parameters, activation = 3 * (16 + 4), 100 * 4
    for option, alive in (((), 4), (("--no-grad",), 3)):
        options = ("--input", "100,4", "--memory", *option, *more)
        code, out, _ = run("deep.py:make", *options)
        assert code == 0
        assert ("--no-grad counts inference" in words(out)) == (not option)
        assert ("eval \N{MIDDLE DOT} no_grad" in words(out)) == bool(option)
        run("deep.py:make", *options, "-o", "deep.json")
        found = Profile.from_json((project / "deep.json").read_text(encoding="utf-8")).memory
        assert found.peak == 4 * (parameters + alive * activation)
        assert bool(found.saved) == (not option)


def test_the_largest_size_is_one_for_inference(run, project):
    """Each example needs three of the four vectors that it needs with gradients."""
    (project / "deep.py").write_text(
        "from torch import nn\ndef make():\n    return nn.Sequential(*(nn.Linear(4, 4) for _ in range(3)))\n"
    )
    options = ("deep.py:make", "--input", "1,4", "--fits", "10kB", "--largest", "batch=0:0")
    for option, alive in (((), 4), (("--no-grad",), 3)):
        largest = (10_000 - 4 * 3 * (16 + 4)) // (4 * 4 * alive)
        assert f"batch = {largest} is the largest" in words(run(*options, *option)[1])


def test_memory_of_this_machine(run):
    """The CPU's is what the system says."""
    assert ": fits (this machine)." in run("--fits", "cpu")[1]
    if not torch.cuda.is_available():
        assert "--fits cuda needs a GPU that PyTorch can use" in run("--fits", "cuda")[2]


def test_devices_are_listed_with_their_memory(run):
    """In GB; none for those with several sizes."""
    _, out, _ = run("devices", "--format", "tsv")
    header, *lines = [[cell.strip() for cell in line.split("\t")] for line in out.splitlines()]
    sizes = {line[0]: line[header.index("GB")] for line in lines}
    assert (sizes["h200-sxm"], sizes["t4"], sizes["v100-sxm2"]) == ("141", "16", "")
    assert list(sizes) == list(DEVICES)


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--memory", "--dim", "batch=0:0"], "A peak of memory is no formula, so --memory and --fits cannot be used"),
        (["--fits", "t4", "--dim", "batch=0:0"], "--largest batch=0:0 finds the largest that fits"),
        (["--allocator", "cuda"], "--allocator says how memory is measured, which needs --memory"),
        (["--memory", "--allocator", "cdua"], "there is cuda"),
        (["--largest", "batch=0:0"], "--largest needs to know into what. Give a device, as in --fits h100-sxm"),
        (["--largest", "batch=0:0", "--fits", "t4", "--device", "cpu"], "--largest counts without running"),
        (["--largest", "batch=0:0", "--fits", "t4", "--timing"], "--largest counts without running"),
        (["--largest", "batch", "--fits", "t4"], "--largest 'batch' does not have the form NAME=INPUT:AXIS"),
        (["--largest", "b=y:0", "--fits", "t4"], "--largest 'b=y:0': There is no input 'y'; there is x"),
        (["--largest", "b=0:7", "--fits", "t4"], "--largest has axis 7 of x, which has 4 dimensions."),
        (["--largest", "b=0:0:0", "--fits", "t4"], "the form NAME=INPUT:AXIS or NAME=INPUT:AXIS:MULTIPLE"),
        (
            ["--no-grad", "--backward"],
            "--no-grad counts inference, which has no gradients, so it cannot be used with --b",
        ),
        (["--no-grad", "--optimizer", "sgd"], "so it cannot be used with --optimizer."),
        (["--fits", "h101"], "There are no figures for a device 'h101'"),
        (["--fits", "80"], "The size '80' has no unit. Write it as 80GB"),
        (["--fits", "v100-sxm2"], "There are v100-sxm2-16gb and v100-sxm2-32gb"),
        (["mymodels:Peeks", "--input", "2,4", "--largest", "b=0:0", "--fits", "t4"], "without --largest, --device cpu"),
    ],
    ids=" ".join,
)
def test_a_mistake_is_one_sentence(mistaken, argv, sentence):
    """Before anything is counted, if that is possible."""
    assert sentence.lower() in mistaken(*argv).lower()


def test_saved_profiles_have_the_memory_that_they_were_saved_with(run, mistaken, project):
    """Without it, there is nothing to compare; options that count have no effect."""
    run("mymodels:Net", "--input", "2,4", "-o", "net.json")
    assert "net.json has no memory in it. Count with --memory." in mistaken("net.json", "--fits", "t4")
    assert "--memory would have no effect" in mistaken("net.json", "--memory")
    assert "--no-grad would have no effect" in mistaken("net.json", "--no-grad")
    assert "--largest would have no effect" in mistaken("net.json", "--largest", "b=0:0", "--fits", "t4")
    assert (project / "net.json").exists()


def test_a_difference_may_be_of_memory(run):
    """``diff`` counts with the same options."""
    code, _, err = run("diff", "mymodels:Net", "mymodels:factory", "--input", "2,4", "--memory", "--allocator", "cuda")
    assert (code, err) == (0, "")
