"""Whether a peak of memory fits: sizes of devices, the answer and its sentence, and which device's bytes count."""

from math import inf, nan

import pytest

from opflops import Device, Profile, ProfileError
from opflops.devices import DEVICES, device
from opflops.devices.benchmark import installed_memory
from opflops.records.fit import Fit, find_capacity, format_bytes, parse_size
from opflops.records.memory import Memory, Moment

RATES = ({"float32": 1e12}, 1e12)
GB = 10**9


@pytest.mark.parametrize(
    ("name", "gigabytes"),
    [("t4", 16), ("a10", 24), ("a100-pcie-40gb", 40), ("a100-sxm-80gb", 80), ("l40s", 48), ("h100-sxm", 80),
     ("h100-pcie", 80), ("h200-sxm", 141), ("rtx-3090", 24), ("rtx-4090", 24), ("mi300x", 192)],
)  # fmt: skip
def test_devices_know_their_memory(name, gigabytes):
    """In decimal gigabytes, as the datasheets say."""
    assert device(name).memory == gigabytes * GB


def test_every_device_knows_its_memory_unless_it_was_sold_with_several_sizes():
    """Those have a name for each size, which PyTorch's name of the device finds."""
    several = [each for each in DEVICES.values() if each.memory is None]
    assert [each.name for each in several if each.family != "Apple"] == ["v100-pcie", "v100-sxm2"]
    assert device("Tesla V100-PCIE-16GB").memory == 16 * GB
    assert device("Tesla V100-SXM2-32GB").memory == 32 * GB
    with pytest.raises(ProfileError, match=r"v100-pcie has\. There are v100-pcie-16gb and v100-pcie-32gb\."):
        Memory(peak=1).fits("V100-PCIe")
    with pytest.raises(ProfileError, match=r"how much memory m2-max has\. Give it, as in Device\("):
        Memory(peak=1).fits("Apple M2 Max")


def test_a_device_of_ones_own_may_have_a_memory():
    """In bytes; without it, the sentence says how to give it."""
    mine = Device("mine", *RATES, memory=80e9)
    assert (mine.memory, Memory(peak=80 * GB).fits(mine).fits) == (80 * GB, True)
    with pytest.raises(ProfileError, match=r"how much memory mine has\. Give it, as in Device\(\.\.\., memory=80e9\)"):
        Memory(peak=1).fits(Device("mine", *RATES))


@pytest.mark.parametrize("size", [0, -1, inf, nan, True, "80GB", [80e9]])
def test_a_memory_is_a_number_of_bytes(size):
    """Whatever else is given is refused where it is given."""
    with pytest.raises(ProfileError, match="The memory of device 'mine' must be a number of bytes above zero"):
        Device("mine", *RATES, memory=size)


@pytest.mark.parametrize(
    ("needed", "there", "sentence"),
    [
        (61_300_000_000, "h100-sxm", "61.3 of 80 GB: fits"),
        (91_200_000_000, "a100-sxm-80gb", "91.2 of 80 GB: does not fit, 11.2 GB too many"),
        (79_000_000_000, "h100-pcie", "79.0 of 80 GB: barely fits"),
        (78_400_000_000, "h100-pcie", "78.4 of 80 GB: fits"),
        (80 * GB, 80e9, "80.0 of 80 GB: barely fits"),
        (80 * GB + 1, 80e9, "80.0 of 80 GB: does not fit, 1 byte too many"),
        (3_950_984, "H100-SXM", "3.95 MB of 80 GB: fits"),
        (0, "t4", "0 bytes of 16 GB: fits"),
        (999_999_999, "24 GB", "1.00 of 24 GB: fits"),
        (12 * 2**30, "16GiB", "12.9 of 17.2 GB: fits"),
        (2000, 3000, "2.00 of 3 kB: fits"),
    ],
)
def test_the_answer_says_by_how_much(needed, there, sentence):
    """With little room left it says barely; the edge is the last byte."""
    found = Profile(memory=Memory(peak=needed)).memory.fits(there)
    assert str(found) == sentence
    assert bool(found) is found.fits is ("does not" not in sentence)
    assert found.room == found.available - needed


@pytest.mark.parametrize(
    ("there", "words"),
    [
        ("h100-sx", "There are no figures for a device 'h100-sx'; did you mean h100-sxm"),
        ("80", r"The size '80' has no unit\. Write it as 80GB"),
        ("80 QB", "unknown unit 'QB'"),
        ("0GB", "above zero"),
        (-1, "above zero"),
        (True, "not True"),
        (None, "A device is a name"),
        ([], "A device is a name"),
    ],
)
def test_what_is_no_device_and_no_size_is_a_sentence(there, words):
    """With similar names or an example."""
    with pytest.raises(ProfileError, match=words):
        Memory(peak=1).fits(there)


@pytest.mark.parametrize(
    ("text", "size"),
    [("24GB", 24 * GB), ("24 gb", 24 * GB), ("1.5TB", 1500 * GB), ("24GiB", 24 * 2**30), ("80e9", 80 * GB),
     ("512MiB", 2**29), ("4000", 4000), ("100kB", 10**5), ("t4", None), ("", None), ("GB", None)],
)  # fmt: skip
def test_sizes_are_read_with_their_units(text, size):
    """Decimal and binary; what begins with no digit is no size."""
    assert parse_size(text) == size


def test_bytes_are_written_with_three_digits():
    """A value that rounds up to 1000 has the next unit."""
    sizes = (0, 1, 999, 1000, 9_995, 10_050, 999_949, 999_950, 10**12, 123_456_789_012)
    assert [format_bytes(size) for size in sizes] == [
        "0 bytes", "1 byte", "999 bytes", "1.00 kB", "9.99 kB", "10.1 kB", "999.9 kB", "1.00 MB", "1.00 TB", "123.5 GB"
    ]  # fmt: skip


def test_the_bytes_are_those_of_the_accelerator_that_needs_most():
    """What was offloaded to the CPU needs no room on it; without an accelerator, the CPU counts."""
    gpus = [Memory("cuda:0", 5), Memory("cuda:1", 7)]
    assert Memory("cpu", 100, others=tuple(gpus)).fits(6).needed == 7
    assert Memory("cuda:1", 7, others=(gpus[0],)).fits(6).needed == 7
    assert Memory("meta", 3, others=(Memory("cpu", 2),)).fits(6).needed == 3
    assert Memory("cpu", 100).fits(6).needed == 100


def test_what_is_left_out_is_said():
    """Rounding only where sizes are not rounded already."""
    for allocator in ("", "cuda"):
        said = Memory(peak=1, allocator=allocator).fits("t4").left_out
        assert "workspaces of kernels, and the CUDA context, some hundred MB" in said
        assert ('allocator="cuda"' in said) is (not allocator)


def test_a_step_on_the_cpu_needs_less_than_one_on_cuda():
    """Where foreach=True is the default; a step that ran on CUDA has that in it."""
    for name, is_said in (("cpu", True), ("meta", True), ("cuda:0", False)):
        step = Memory(name, 1, phase_peaks={"forward": 1, "optimizer": 1})
        assert ("foreach=True" in step.fits("t4").left_out) is is_said
    assert "foreach" not in Memory(peak=1, phase_peaks={"backward": 1}).fits("t4").left_out


def test_a_device_has_a_name_and_a_size_does_not():
    """As reports show it."""
    assert Memory(peak=1).fits("T4") == Fit(1, 16 * GB, "t4")
    assert find_capacity(5.5) == ("", 5)


def test_this_machine_says_how_much_memory_it_has():
    """As the system does."""
    installed = installed_memory("cpu")
    assert installed is None or installed > 2**28


def test_a_moment_is_written_in_a_few_words():
    """Without a module or a line, these are left out."""
    assert str(Moment("Net.fc", "aten.mm", "backward", "a.py:1")) == "after aten.mm in Net.fc (backward), a.py:1"
    assert str(Moment("", "aten.mm", "forward")) == "after aten.mm (forward)"
