"""``opflops devices``: the list by family, one device with its ridge points and source, and formats for programs."""

import csv
import io
import json

import pytest
import torch

from opflops.devices import DEVICES


def test_devices_are_listed_with_their_peaks(run):
    """An H100 SXM does 989.4 TFLOP/s in bfloat16 and moves 3.35 TB/s, by its datasheet."""
    code, out, _ = run("devices", "--format", "tsv")
    assert code == 0
    header, *lines = [[cell.strip() for cell in line.split("\t")] for line in out.splitlines()]
    h100 = dict(zip(header, next(line for line in lines if line[0] == "h100-sxm"), strict=True))
    assert (h100["bfloat16"], h100["TB/s"]) == ("989.4", "3.35")
    assert "datasheet" in h100["source"]


@pytest.mark.parametrize("columns", [60, 80, 100, 160])
def test_the_list_fits_the_terminal(run, monkeypatch, columns):
    """Families head their devices; columns that do not fit are named below."""
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = run("devices")[1].splitlines()
    assert max(map(len, lines)) <= columns
    families = list(dict.fromkeys(each.family for each in DEVICES.values()))
    assert [line for line in lines if line in families] == families
    assert [line.split()[0] for line in lines if line.startswith("  ")] == list(DEVICES)
    shown = lines[0].split()[1:]
    assert {"GB", "TB/s", "float16"} <= set(shown)
    hidden = "Hidden because the terminal is narrow:" in " ".join(lines)
    assert hidden == (len(shown) < 10)


@pytest.mark.parametrize("words", [["h100-sxm"], ["NVIDIA", "H100", "80GB", "HBM3"], ["H100 SXM"]])
def test_one_device_is_shown_with_ridge_points_and_source(run, words):
    """By hand: 989.4 TFLOP/s over 3.35 TB/s are 295.3 flops a byte; 67 are 20."""
    code, out, _ = run("devices", *words)
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == "h100-sxm (NVIDIA data center): 80 GB of memory, 3.35 TB/s"
    cells = [line.split() for line in lines]
    assert ["bfloat16", "989.4", "295.3"] in cells
    assert ["float64", "67", "20"] in cells
    text = " ".join(lines)
    assert "Source: NVIDIA H100 Tensor Core GPU datasheet, without sparsity." in text
    assert "PyTorch's name: NVIDIA H100 80GB HBM3." in text
    assert "Not stated: float4." in text


def test_a_device_of_two_dies_says_so(run):
    """PyTorch sees two devices, whose name is given."""
    text = " ".join(run("devices", "mi250x")[1].split())
    assert "PyTorch sees each of its two dies as a device with half of everything: mi250x-die." in text


def test_a_device_without_peaks_shows_what_is_stated(run):
    """Its bandwidth, and that no peak is."""
    text = " ".join(run("devices", "m2-max")[1].split())
    assert text.startswith("m2-max (Apple): 0.4 TB/s Not stated: float64, float32,")
    assert "It is sold with several sizes of memory." in text


def test_an_ambiguous_name_lists_the_candidates(run):
    """On stderr, with the exit code of wrong use."""
    code, out, err = run("devices", "h100")
    assert (code, out) == (2, "")
    assert "did you mean h100-pcie, h100-sxm or h100-nvl?" in err


def test_programs_can_read_the_devices(run):
    """As JSON with rates in bytes and operations per second, or as CSV with the columns of the table."""
    listed = json.loads(run("devices", "--format", "json")[1])
    assert [each["name"] for each in listed] == list(DEVICES)
    (found,) = json.loads(run("devices", "rtx-5090", "--format", "json")[1])
    assert (found["memory"], found["bandwidth"], found["peaks"]["float4"]) == (32e9, 1.792e12, 1676e12)
    assert found["torch_names"] == ["NVIDIA GeForce RTX 5090"]
    rows = list(csv.DictReader(io.StringIO(run("devices", "--format", "csv")[1])))
    assert [row["device"] for row in rows] == list(DEVICES)
    assert next(row for row in rows if row["device"] == "mi355x")["float8"] == "5033.2"


@pytest.mark.usefixtures("float32_alone")
def test_this_machine_is_measured(run):
    """The CPU by a benchmark, which no datasheet replaces; a GPU that is not there is said to be missing."""
    code, out, _ = run("devices", "cpu")
    assert code == 0
    assert out.startswith("this CPU: ")
    assert "Source: measured with PyTorch" in out
    assert "Not stated" not in out
    if not torch.cuda.is_available():
        assert "cuda needs a GPU that PyTorch can use, and there is none here." in run("devices", "cuda")[2]
