"""The section on memory: what the peak consists of, when it was, what is kept for the backward, and its sentences."""

import re
from dataclasses import replace

import pytest
import torch

from opflops import OpFlopMode, Profile
from opflops.example import INPUT_SHAPE, SimpleCNN
from opflops.records.memory import LiveBytes, Memory, Moment
from opflops.report import overview
from opflops.report.text.memory_lines import format_bytes, format_moment, memory_lines
from opflops.report.text.terminal import width_of

MOMENT = Moment("Net.act", "aten.threshold_backward", "backward", "model.py:12", 30)
MEMORY = Memory(
    "cuda:0",
    4_000_000,
    MOMENT,
    LiveBytes(parameters=1_000_000, gradients=600, optimizer=0, inputs=99_400, activations=2_900_000),
    end_of_forward=3_000_000,
    phase_peaks={"forward": 3_100_000, "backward": 4_000_000},
    saved={"Net.a": 10, "Net.b": 2_000_000, "": 5, "Net.c": 0},
)


def table(memory, **options):
    """Return the cells of each line by its label."""
    header, rule, *lines = memory_lines(memory, **options)
    assert set(rule) == {"-", " "}
    lines = lines[: lines.index("")]
    return header.split("  ")[0], {
        re.split(r"  +", line.strip())[0]: re.split(r"  +", line.strip())[1:] for line in lines
    }


def sentences(memory, *args, **options):
    lines = memory_lines(memory, *args, **{"width": 200, **options})
    return lines[lines.index("") + 1 :]


def test_the_peak_and_what_it_consists_of():
    """Categories that have no bytes are left out; the others sum to the peak, and their shares to a hundred."""
    heading, lines = table(MEMORY)
    assert heading == "memory on cuda:0"
    assert lines["peak"] == ["4,000,000", "4.000 MB", "100.0"]
    categories = list(lines)[1:5]
    assert categories == ["parameters", "gradients", "inputs", "activations"]
    assert lines["gradients"] == ["600", "600 B", "0.0"]
    assert sum(int(lines[name][0].replace(",", "")) for name in categories) == MEMORY.peak
    assert sum(float(lines[name][2]) for name in categories) == pytest.approx(100, abs=0.2)


def test_phases_and_the_end_of_the_forward_pass():
    """Where there is more than one phase, and a module was called."""
    _, lines = table(MEMORY)
    assert lines["peak in forward"] == ["3,100,000", "3.100 MB", "77.5"]
    assert lines["peak in backward"] == ["4,000,000", "4.000 MB", "100.0"]
    assert lines["end of forward"] == ["3,000,000", "3.000 MB", "75.0"]
    _, lines = table(replace(MEMORY, phase_peaks={"forward": 4_000_000}, end_of_forward=0))
    assert not any("forward" in name for name in lines)


def test_the_modules_that_keep_most_are_listed():
    """Largest first, none that keeps nothing; of many the others are added up."""
    _, lines = table(MEMORY)
    assert list(lines.items())[-4:] == [
        ("kept for the backward pass", ["2,000,015", "2.000 MB", "50.0"]),
        ("Net.b", ["2,000,000", "2.000 MB", "50.0"]),
        ("Net.a", ["10", "10 B", "0.0"]),
        ("(outside)", ["5", "5 B", "0.0"]),
    ]
    many = replace(MEMORY, saved={f"Net.{number}": 1000 + number for number in range(9)})
    _, lines = table(many)
    assert list(lines)[-6:] == [*(f"Net.{number}" for number in (8, 7, 6, 5, 4)), "4 others"]
    assert lines["4 others"][0] == "4,006"
    assert lines["kept for the backward pass"][0] == "9,036"
    _, lines = table(replace(MEMORY, saved={f"Net.{number}": 9 - number for number in range(6)}))
    assert list(lines)[-1] == "Net.5"
    stack = {f"Net.{number}.fc": 9 for number in range(8)} | {"Net.8.fc": 7, "Net.tail": 50}
    _, lines = table(replace(MEMORY, saved=stack))
    assert list(lines)[-3:] == ["Net.*.fc ×8", "Net.tail", "Net.8.fc"]
    assert lines["Net.*.fc ×8"][0] == "72"
    _, lines = table(replace(MEMORY, saved={}))
    assert "kept for the backward pass" not in lines


def test_sentences_say_when_and_of_what():
    """The operator, its module, phase and line; whether it fits; other devices; and what is not seen."""
    other = Memory("cpu", 1_500, Moment("", "aten.copy_", "forward"))
    memory = replace(MEMORY, others=(other,), allocator="cuda", remarks=("One more thing.",))
    eager = "Memory is of eager execution, by lifetime of storages. What kernels use inside is not seen."
    blocks = "Each storage is rounded up to blocks of 512 bytes, as by PyTorch's allocator for CUDA."
    assert sentences(memory, "4.0 of 80 MB: fits.") == [
        "The peak is after aten.threshold_backward in Net.act (backward, model.py:12).",
        "cpu: peak 1,500 bytes (1.500 kB), after aten.copy_ outside any module (forward).",
        "4.0 of 80 MB: fits.",
        f"{eager} {blocks} 1 MB = 10**6 bytes.",
        "One more thing.",
    ]
    assert sentences(Memory()) == [f"{eager} 1 MB = 10**6 bytes."]


def test_bytes_and_moments_are_written():
    """In full, and in a unit from a thousand on; what is not known of a moment is left out."""
    assert [format_bytes(number) for number in (0, 1, 999, 1000, 80 * 10**9)] == [
        "0 bytes", "1 byte", "999 bytes", "1,000 bytes (1.000 kB)", "80,000,000,000 bytes (80.00 GB)",
    ]  # fmt: skip
    assert format_moment(Moment("Net", "aten.mm", "", "")) == "aten.mm in Net"


@pytest.mark.parametrize("width", [30, 40, 60, 100])
def test_the_section_fits(width):
    """Long names of modules are cut, and columns give way before."""
    memory = replace(MEMORY, saved={"Net.encoder.layers.11.self_attention.out_projection": 10**12})
    assert max(map(width_of, memory_lines(memory, width=width))) <= width


def test_names_act_upon_no_terminal():
    """Neither of modules nor of devices."""
    memory = replace(MEMORY, device="\x1b[2J", saved={"\x1b[31m": 9}, at=MOMENT._replace(module="\x1b[1m"))
    assert "\x1b" not in "\n".join(memory_lines(memory, width=300))
    assert "\x1b" in "\n".join(memory_lines(MEMORY, color=True))


def test_the_printed_report_has_the_section_if_memory_was_tracked():
    """Between the tables and the notes; a block without the option has none."""
    model, x = SimpleCNN(), torch.zeros(INPUT_SHAPE)
    with OpFlopMode(memory=True) as mode:
        model(x).sum().backward()
    text = str(mode.profile)
    assert f"\npeak {mode.profile.memory.peak:,} " in re.sub(" +", " ", text)
    assert text.index("\nphase ") < text.index("\nmemory on cpu ") < text.index("1 mac = ")
    assert "memory" not in str(replace(mode.profile, memory=None))
    assert "memory" not in mode.profile.table()
    assert "Fits." in overview(mode.profile.rows, memory=mode.profile.memory, fit="Fits.")


def test_work_on_integers_alone_has_memory_too():
    """Though there is no table of its operators."""
    with OpFlopMode(memory=True) as mode:
        kept = torch.ones(100, dtype=torch.int64) + 1
    assert kept.sum() == 200
    assert "memory on cpu" in str(mode.profile)
    assert "memory on cpu" in str(Profile(memory=replace(MEMORY, device="cpu")))
