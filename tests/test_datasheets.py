"""Figures of devices: those of the makers' documents, typed by hand, and laws that all of them obey."""

from math import inf, nan

import pytest

from opflops import ProfileError
from opflops.devices import DEVICES, Device
from opflops.records.device_tables import read_table

MAKERS = {
    "NVIDIA data center": "NVIDIA",
    "NVIDIA workstation": "NVIDIA",
    "NVIDIA GeForce": "NVIDIA",
    "AMD Instinct": "AMD",
    "Intel Gaudi": "Intel",
    "Google TPU": "Google",
    "Apple": "Apple",
}
# Documents state rounded figures, so that what doubles doubles within two percent.
ROUNDED = 0.02


@pytest.mark.parametrize("rate", [inf, -inf, nan, 0, -1.0])
def test_a_rate_is_above_zero_and_finite(rate):
    """Of arithmetic as of memory; the message names the device, the rate and what it is for."""
    with pytest.raises(
        ProfileError, match=rf"The rate of device 'odd' for float32 must be above zero and finite, not {rate}\."
    ):
        Device("odd", {"float32": rate}, 1.0)
    with pytest.raises(ProfileError, match=rf"The rate of device 'odd' for bandwidth must be .*, not {rate}\."):
        Device("odd", {"float32": 1.0}, rate)


def test_any_size_of_rate_is_taken():
    """Whole numbers too, beyond what a double holds."""
    assert Device("fast", {"float32": 10**400}, 5e-324).peak("float32") == 10**400


@pytest.mark.parametrize(
    ("name", "terabytes", "gigabytes", "teraflops"),
    [
        # Tesla P100 datasheet; no rate in float16 that accumulates in float32.
        ("p100-sxm2", 0.732, 16, {"float64": 5.3, "float32": 10.6}),
        # T4 datasheet: 8.1 FP32, 65 mixed precision, 130 INT8.
        ("t4", 0.32, 16, {"float32": 8.1, "float16": 65, "int8": 130}),
        # V100 datasheet: V100S PCIe.
        ("v100s-pcie", 1.134, 32, {"float64": 8.2, "float32": 16.4, "float16": 130}),
        # A30 datasheet: 82 | 165, 165 | 330, 330 | 661.
        ("a30", 0.933, 24, {"float64": 10.3, "tf32": 82, "float16": 165, "bfloat16": 165, "int8": 330}),
        # A40 datasheet: 74.8 | 149.6, 149.7 | 299.4, 299.3 | 598.6.
        ("a40", 0.696, 48, {"float32": 37.4, "tf32": 74.8, "float16": 149.7, "int8": 299.3}),
        # L40 datasheet: 90.5 | 181, 181.05 | 362.1, 362 | 724.
        ("l40", 0.864, 48, {"float32": 90.5, "tf32": 90.5, "bfloat16": 181.05, "float8": 362, "int8": 362}),
        # H100 datasheet, H100 NVL: 60, 835*, 1671*, 3341*, halved where starred.
        ("h100-nvl", 3.9, 94, {"float64": 60, "tf32": 835 / 2, "bfloat16": 1671 / 2, "float8": 3341 / 2}),
        # H200 datasheet, H200 NVL: the same rates.
        ("h200-nvl", 4.8, 141, {"float32": 60, "float16": 1671 / 2, "int8": 3341 / 2}),
        ("h20", 4.0, 96, {"float32": 44, "tf32": 74, "bfloat16": 148, "float8": 296, "int8": 296}),
        # GH200 datasheet: 989*, 1979*, 3958*.
        ("gh200-96gb", 4.0, 96, {"float64": 67, "tf32": 989 / 2, "float16": 1979 / 2, "float8": 3958 / 2}),
        # HGX B200, sums of eight: 144 | 72 PF, 72* PF, 36* PF, 18* PF, 600 TF, 296 TF.
        ("b200", 7.7, 180, {"float4": 72_000 / 8, "float8": 72_000 / 16, "float16": 36_000 / 16,
                            "tf32": 18_000 / 16, "float32": 600 / 8, "float64": 296 / 8, "int8": 72_000 / 16}),
        # GB200 NVL72, each GPU: 20* PF, 10* PF, 10* POPS, 5* PF, 2.5* PF.
        ("gb200", 8.0, 186, {"float4": 10_000, "float8": 5_000, "int8": 5_000, "bfloat16": 2_500, "tf32": 1_250}),
        # HGX B300, sums of eight: 144 | 108 PF; each GPU: 9* PF, 307* TOPS, 1.2 TF.
        ("b300", 7.7, 270, {"float4": 108_000 / 8, "float8": 4_500, "int8": 307 / 2, "float64": 1.2}),
        # GA102 whitepaper: 154.8/309.6 with FP32 accumulate, 77.4/154.8, 309.7/619.4.
        ("rtx-a6000", 0.768, 48, {"float16": 154.8, "tf32": 77.4, "int8": 309.7}),
        # RTX 6000 Ada: 1457 TFLOP/s in FP8 with sparsity.
        ("rtx-6000-ada", 0.96, 48, {"float32": 91.1, "float8": 1457 / 2, "float16": 364.2}),
        # GeForce, with FP32 accumulate, in the whitepapers of Ada and of RTX Blackwell.
        ("rtx-4080", 0.7168, 16, {"float32": 48.7, "float16": 97.5, "float8": 194.9, "int8": 389.9}),
        ("rtx-4090", 1.008, 24, {"float32": 82.6, "float16": 165.2, "float8": 330.3, "int8": 660.6}),
        ("rtx-5080", 0.96, 16, {"float32": 56.3, "float16": 112.6, "float8": 225.1, "float4": 900.4}),
        ("rtx-5090", 1.792, 32, {"float32": 104.8, "bfloat16": 209.5, "float8": 419, "float4": 1676, "int8": 838}),
        ("mi210", 1.6384, 64, {"float64": 45.3, "float16": 181, "int8": 181}),
        ("mi300a", 5.3, 128, {"float64": 122.6, "tf32": 490.3, "float16": 980.6, "float8": 1961.2}),
        ("mi325x", 6.0, 256, {"float16": 1307.4, "float8": 2614.9}),
        ("mi355x", 8.0, 288, {"float64": 78.6, "float32": 157.3, "float16": 2516.6, "float8": 5033.2}),
        ("gaudi-2", 2.45, 96, {"bfloat16": 432, "float8": 865}),
        ("gaudi-3", 3.7, 128, {"bfloat16": 1835, "float8": 1835}),
        ("tpu-v5e", 0.819, 16, {"bfloat16": 197, "int8": 393}),
        ("tpu-v5p", 2.765, 95, {"bfloat16": 459, "float8": 459}),
        ("tpu-v7", 7.38, 192, {"bfloat16": 2307, "float8": 4614}),
        ("m4-pro", 0.273, None, {}),
    ],
)  # fmt: skip
def test_figures_are_those_of_the_documents(name, terabytes, gigabytes, teraflops):
    """Typed by hand from the documents; what they state with sparsity alone is halved."""
    device = DEVICES[name]
    assert device.bandwidth == pytest.approx(terabytes * 1e12)
    assert device.memory == (None if gigabytes is None else gigabytes * 10**9)
    for dtype, rate in teraflops.items():
        assert device.peak(dtype) == pytest.approx(rate * 1e12), dtype


def test_what_a_document_leaves_open_stays_open():
    """No rate is derived from that of another dtype."""
    assert list(DEVICES["m3-pro"].peaks) == []
    assert "bfloat16" not in DEVICES["t4"].peaks
    assert "float16" not in DEVICES["p100-pcie-16gb"].peaks
    assert "tf32" not in DEVICES["rtx-pro-6000-server"].peaks
    assert set(DEVICES["rtx-pro-6000-max-q"].peaks) == {"float32", "float4"}
    with pytest.raises(ProfileError, match=r"No peak of m3-pro is known for float32, nor for any other dtype\."):
        DEVICES["m3-pro"].peak("float32")


@pytest.mark.parametrize("device", DEVICES.values(), ids=lambda device: device.name)
def test_every_datasheet_is_plausible(device):
    """It has a family, a document of its maker, PyTorch's names where it has any, and rates of hardware there is."""
    assert device.source.startswith(MAKERS[device.family])
    assert device.name == "-".join(device.name.lower().split())
    assert len(set(device.torch_names)) == len(device.torch_names)
    assert 0.05e12 < device.bandwidth < 10e12
    assert all(1e12 <= rate <= 16e15 for dtype, rate in device.peaks.items() if dtype != "float64")
    assert device.memory is None or 10e9 < device.memory < 300e9


@pytest.mark.parametrize("device", DEVICES.values(), ids=lambda device: device.name)
def test_tensor_cores_double_with_each_halving_of_the_dtype(device):
    """From TF32 to float16 and from there to float8, dense figures all; float4 is twice to four times float8."""
    peaks = device.peaks
    for wide, narrow in (("tf32", "float16"), ("float16", "float8")):
        if {wide, narrow} <= set(peaks):
            assert peaks[narrow] / peaks[wide] == pytest.approx(2, rel=ROUNDED)
    if {"float8", "float4"} <= set(peaks):
        assert 2 * (1 - ROUNDED) <= peaks["float4"] / peaks["float8"] <= 4 * (1 + ROUNDED)
    if {"float16", "bfloat16"} <= set(peaks) and device.name != "mi100":
        assert peaks["float16"] == peaks["bfloat16"]


@pytest.mark.parametrize("name", ["mi250", "mi250x"])
def test_a_die_has_half_of_everything(name):
    """Each is a device to PyTorch, and the note of the whole says so."""
    whole, die = DEVICES[name], DEVICES[f"{name}-die"]
    assert f"{name}-die" in whole.note
    assert not whole.torch_names
    assert 2 * die.memory == whole.memory
    assert 2 * die.bandwidth == pytest.approx(whole.bandwidth)
    assert {dtype: 2 * rate for dtype, rate in die.peaks.items()} == pytest.approx(whole.peaks)


def test_a_ridge_point_is_where_arithmetic_takes_as_long_as_traffic():
    """By hand: 600 operations a second over 20 bytes a second; 2400 in TF32."""
    device = Device("toy", {"float32": 600.0, "tf32": 2400.0}, 20.0)
    assert (device.ridge("float32"), device.ridge("float32", tf32=True)) == (30.0, 120.0)
    with pytest.raises(ProfileError, match="No peak of toy is known for float16"):
        device.ridge("float16")


def test_a_table_is_read_as_it_stands():
    """Sources and notes hold up to the next source; further names stand on lines of their own; a dash is open."""
    text = """
name  GB  TB/s f64 f32 tf32 f16 bf16 f8 f4 i8 | names
source: First document
note: Odd.
one   16  0.5    1   2    -   4    -  -  -  8 | Board One
                                              | Board One OAM
# A comment.

source: Second document
two    -  0.25   -   -    -   -    3  -  -  - |
"""
    one, two = read_table("toys", text)
    assert (one.name, one.memory, one.bandwidth, one.source, one.note) == (
        "one",
        16e9,
        0.5e12,
        "First document",
        "Odd.",
    )
    assert one.peaks == {"float64": 1e12, "float32": 2e12, "float16": 4e12, "int8": 8e12}
    assert one.torch_names == ("Board One", "Board One OAM")
    assert (two.memory, two.peaks, two.source, two.note, two.torch_names) == (
        None, {"bfloat16": 3e12}, "Second document", "", (),
    )  # fmt: skip
    with pytest.raises(ValueError, match="zip"):
        read_table("toys", text.replace("-  8 |", "8 |"))
