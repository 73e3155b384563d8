"""How devices are found: by our names in any form, by PyTorch's, or as a device of this machine."""

import pytest
import torch

from opflops import Cost, Profile, ProfileError, Row
from opflops.devices import DEVICES, device
from opflops.records import datasheets

TORCH_NAMES = [(each.name, torch_name) for each in DEVICES.values() for torch_name in each.torch_names]
SHARED = {
    "AMD Instinct MI250X/MI250": ["mi250-die", "mi250x-die"],
    "AMD Instinct MI250X / MI250": ["mi250-die", "mi250x-die"],
    "Apple M3 Max": ["m3-max-30-core", "m3-max-40-core"],
    "Apple M4 Max": ["m4-max-32-core", "m4-max-40-core"],
}
MATMUL = Row("Net", "Net", "aten.mm", "forward", "float16", 1, Cost(0, 989_400, 0, 10, 0))


@pytest.mark.parametrize("name", DEVICES)
def test_a_name_is_found_however_it_is_written(name):
    """In upper case, with spaces, underscores or nothing in place of hyphens, behind its maker."""
    maker = DEVICES[name].family.split()[0]
    for written in (name.upper(), name.replace("-", " "), name.replace("-", "_"), name.replace("-", ""), f" {name} "):
        assert device(written) is DEVICES[name]
    # PyTorch may mean another by it: "NVIDIA H200" is the one on an SXM board.
    assert device(f"{maker} {name}").name in {name, *_named(f"{maker} {name}")}


@pytest.mark.parametrize(("name", "torch_name"), TORCH_NAMES)
def test_every_name_of_pytorch_is_found(name, torch_name):
    """One device alone has it, or the message names those that share it."""
    if torch_name not in SHARED:
        assert _named(torch_name) == [name]
        assert device(torch_name) is device(torch_name.upper()) is DEVICES[name]
        return
    with pytest.raises(
        ProfileError, match=f"to several devices, whose figures differ: {' and '.join(SHARED[torch_name])}"
    ):
        device(torch_name)


def _named(torch_name):
    return [name for name, each in TORCH_NAMES if each.lower() == torch_name.lower()]


@pytest.mark.parametrize(
    ("torch_name", "name"),
    [
        ("NVIDIA B200", "b200"),
        ("NVIDIA B300 SXM6 AC", "b300"),
        ("NVIDIA GB200", "gb200"),
        ("NVIDIA H100 NVL", "h100-nvl"),
        ("NVIDIA H200", "h200-sxm"),
        ("NVIDIA H200 NVL", "h200-nvl"),
        ("NVIDIA GH200 480GB", "gh200-96gb"),
        ("NVIDIA GH200 144G HBM3e", "gh200-144gb"),
        ("NVIDIA H20", "h20"),
        ("NVIDIA RTX 6000 Ada Generation", "rtx-6000-ada"),
        ("NVIDIA RTX A6000", "rtx-a6000"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "rtx-pro-6000-server"),
        ("NVIDIA GeForce RTX 5090", "rtx-5090"),
        ("Tesla V100S-PCIE-32GB", "v100s-pcie"),
        ("AMD Instinct MI325X", "mi325x"),
        ("AMD Instinct MI300X VF", "mi300x"),
        ("AMD Instinct MI250X", "mi250x-die"),
        ("GAUDI2", "gaudi-2"),
        ("TPU v5 lite", "tpu-v5e"),
        ("Apple M2 Ultra", "m2-ultra"),
    ],
)
def test_names_that_logs_of_pytorch_show(torch_name, name):
    """As drivers report them."""
    assert device(torch_name) is DEVICES[name]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("a100", "did you mean a100-pcie-40gb, a100-pcie-80gb, a100-sxm-40gb or a100-sxm-80gb?"),
        ("A100 80GB", "did you mean a100-pcie-80gb or a100-sxm-80gb?"),
        ("80gb_a100", "did you mean a100-pcie-80gb or a100-sxm-80gb?"),
        ("H100 80GB", "did you mean h100-pcie or h100-sxm?"),
        ("NVIDIA H200 141GB", "did you mean h200-sxm or h200-nvl?"),
        ("gh200", "did you mean gh200-96gb or gh200-144gb?"),
        ("RTX PRO 6000", "did you mean rtx-pro-6000-workstation, rtx-pro-6000-max-q or rtx-pro-6000-server?"),
        ("5090", "did you mean rtx-5090?"),
        ("h100-smx", "did you mean h100-pcie, h100-sxm or h100-nvl?"),
        ("Trillium", "did you mean tpu-v6e?"),
        ("mi300", "did you mean mi300a or mi300x?"),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", "it is a part of a GPU, and datasheets are of whole ones."),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "a laptop's GPU is another than the card of that name"),
        ("Intel(R) Xeon(R) Platinum 8480+", "datasheets of CPUs do not state what PyTorch reaches on them."),
        ("AMD EPYC 9654 96-Core Processor", "benchmark_device('cpu') measures it; so does opflops devices cpu."),
        ("nvidia", "which the command opflops devices lists."),
    ],
)
def test_a_name_that_is_not_exact_gets_advice(name, sentence):
    """Those that it may mean, or why there are no figures and what to do."""
    with pytest.raises(ProfileError) as caught:
        device(name)
    assert str(caught.value).startswith(f"There are no figures for a device {name!r}; ")
    assert sentence in str(caught.value)


@pytest.fixture
def two_gpus(monkeypatch):
    """Make PyTorch name an H100 and an unknown GPU."""
    names = ["NVIDIA H100 80GB HBM3", "NVIDIA Odd 9000"]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(names))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index=None: names[index or 0])


@pytest.mark.parametrize("where", ["cuda", "cuda:0", "CUDA:0", torch.device("cuda"), torch.device("cuda", 0)])
def test_a_device_of_this_machine_is_found_by_what_pytorch_calls_it(two_gpus, where):
    """By a name of ``torch.device``, or as one."""
    assert device(where) is DEVICES["h100-sxm"]


@pytest.mark.usefixtures("two_gpus")
def test_a_device_of_this_machine_may_compute_in_tf32():
    """The suffix follows it as any name."""
    assert device("cuda:0:tf32").peak("float32") == DEVICES["h100-sxm"].peaks["tf32"]


@pytest.mark.usefixtures("two_gpus")
def test_a_roofline_can_be_of_this_machine():
    """A million flops at 989.4 TFLOP/s take a nanosecond."""
    found = Profile((MATMUL,)).roofline("cuda")
    assert (found.device.name, found.total.seconds) == ("h100-sxm", pytest.approx(1e-9))


@pytest.mark.usefixtures("two_gpus")
def test_what_is_not_there_or_not_known_is_said():
    """A third GPU, one without figures, a CPU, and types without names."""
    with pytest.raises(
        ProfileError, match="cuda:2 needs a device that PyTorch can use, and there are 2 here, numbered"
    ):
        device("cuda:2")
    with pytest.raises(ProfileError, match="There are no figures for a device 'NVIDIA Odd 9000'"):
        device("cuda:1")
    with pytest.raises(ProfileError, match=r"what PyTorch reaches on a CPU\. .*benchmark_device\('cpu'\) measures it"):
        device(torch.device("cpu"))
    with pytest.raises(ProfileError, match="PyTorch has no name of the hardware behind xla"):
        device("xla")


def test_a_machine_without_such_a_device_says_so(monkeypatch):
    """Whatever the machine of the test has."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ProfileError, match="cuda needs a device that PyTorch can use, and there is none here"):
        device("cuda")


def test_an_apple_chip_is_found_by_its_name(monkeypatch):
    """That of Metal; an older PyTorch does not say it."""
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.mps, "get_name", lambda: "Apple M2 Max", raising=False)
    assert device("mps") is DEVICES["m2-max"]
    monkeypatch.delattr(torch.backends.mps, "get_name")
    with pytest.raises(ProfileError, match="This PyTorch does not say which chip this machine has"):
        device("mps")


def test_records_know_no_machine():
    """Where no device can be asked, the sentence says who can."""
    with pytest.raises(ProfileError, match=r"opflops\.devices\.device\('cuda:0'\) finds what it is"):
        datasheets.device("cuda:0")
