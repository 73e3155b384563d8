"""The accuracy table: opflops has every figure that is derived by hand, and the table shows which peers do not."""

import os
import sys
from pathlib import Path

import pytest
import torch

from opflops import OpFlopMode

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import accuracy
import gpu_memory
import overhead_workloads
import timing
from accuracy_cases import CASES, Case, run
from accuracy_peers import PEERS, Peer, Reading
from minimal_mode import MinimalMode


@pytest.fixture
def peers(monkeypatch):
    """Let a test add and replace peers."""
    return lambda name, **fields: monkeypatch.setitem(PEERS, name, Peer(**{"distribution": "torch", **fields}))


def cells(output, name):
    row = next(line for line in output.splitlines() if line.startswith(f"| {name} "))
    return [cell.strip() for cell in row.strip("|").split("|")[1:]]


def test_opflops_is_right_and_the_table_says_where_torch_is_not(capsys):
    """On CPU torch's counter has no price for fused attention or an LSTM, and claims nothing elementwise."""
    assert accuracy.main(["torch"], accuracy.ask) == 0
    output = capsys.readouterr().out
    assert cells(output, "LSTM") == ["36,000", "✓ 36,000", "✗ 0"]
    assert cells(output, "attention, one function") == ["6,291,456", "✓ 6,291,456", "✗ 0"]
    assert cells(output, "matmul, broadcast") == ["960", "✓ 960", "✓ 960"]
    assert cells(output, "functional ReLU (ops)") == ["64", "✓ 64", "—"]
    assert output.count("✗") > 2
    assert f"opflops: 0 wrong of {len(CASES)}; torch: " in output


def test_opflops_being_wrong_is_an_exit_code(peers, monkeypatch, capsys):
    """One figure off by one is enough."""
    monkeypatch.setattr(accuracy, "CASES", {"functional linear": CASES["functional linear"]})
    peers("opflops", read=lambda *_: Reading(513))
    assert accuracy.main(["torch"], accuracy.ask) == 1
    assert cells(capsys.readouterr().out, "functional linear") == ["512", "✗ 513", "✓ 512"]


@pytest.mark.parametrize(
    ("macs", "exact", "mixed"),
    [(99, "✗ 99", "✗ 99"), (100, "✓ 100", "✓ 100"), (107, "✗ 107", "✓ 107"), (108, "✗ 108", "✗ 108"), (None, "—", "—")],
)
def test_a_number_that_holds_other_work_may_be_larger_by_that(macs, exact, mixed):
    """Right is 100, and seven operations are there besides."""
    case = Case(build=None, right=100)
    assert accuracy.judge(Reading(macs), case).text == exact
    assert accuracy.judge(Reading(macs), case, other_work=7).text == mixed


def test_elementwise_cases_ask_for_elementwise_work():
    """They look at no multiply-accumulates, and allow nothing besides."""
    case = Case(build=None, right=64, unit="ops")
    assert accuracy.judge(Reading(macs=64, ops=65), case, other_work=7) == ("✗ 65", True)
    assert accuracy.judge(Reading(macs=0, ops=64), case) == ("✓ 64", False)
    assert accuracy.judge(Reading(macs=64), case) == ("—", False)


def test_a_peer_that_raises_shows_as_an_error(peers, capsys):
    """What it printed on the way is kept out of the table."""

    def fail(*_):
        print("a banner")  # noqa: T201
        raise ValueError

    peers("broken", read=fail)
    assert accuracy.ask("broken", "functional linear") is None
    assert accuracy.judge(None, CASES["functional linear"]) == ("error", True)
    assert capsys.readouterr().out == ""


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_each_question_is_asked_in_a_process_of_its_own(peers):
    """What a peer does to torch, or to the interpreter, reaches nobody else."""
    peers("dying", read=lambda *_: os._exit(3))
    peers("telling", read=lambda *_: Reading(os.getpid()))
    assert accuracy.ask_in_subprocess("dying", "functional linear") is None
    assert accuracy.ask_in_subprocess("telling", "functional linear").macs != os.getpid()


def test_a_peer_that_is_not_installed_is_left_out_and_named(peers, monkeypatch, capsys):
    """The table goes without its column."""
    monkeypatch.setattr(accuracy, "CASES", {"functional linear": CASES["functional linear"]})
    peers("absent", read=None, distribution="opflops-has-no-such-peer")
    assert accuracy.main(["absent"], accuracy.ask) == 0
    output = capsys.readouterr().out
    assert cells(output, "functional linear") == ["512", "✓ 512"]
    assert output.rstrip().endswith("absent is not installed and left out")


def test_an_unknown_peer_is_refused(capsys):
    """The message lists those that there are."""
    with pytest.raises(SystemExit, match="2"):
        accuracy.main(["nobody"], accuracy.ask)
    assert "nobody: unknown peer; there are torch, fvcore" in capsys.readouterr().err


def test_the_trained_cases_and_no_others_run_backward():
    """Otherwise their figures would be of something else than their names say."""
    for case in CASES.values():
        if case.right > 1e9:
            continue
        model, inputs = case.build()
        with OpFlopMode() as mode:
            run(model, inputs, training=case.training)
        assert bool(mode.profile.where(phase="backward").rows) == case.training


def test_memory_is_as_another_tracker_has_it(capsys):
    """To the byte, in a run and without one; the table has a line for each case."""
    assert gpu_memory.main(["--cpu"]) == 0
    output = capsys.readouterr().out
    for name in gpu_memory.CASES:
        measured, run, counted, difference = cells(output, name)
        assert measured == run == counted
        assert difference == "0.00 %"


def test_a_difference_in_memory_is_an_exit_code(monkeypatch, capsys):
    """One byte is enough on the CPU, and the case is named."""
    monkeypatch.setattr(gpu_memory, "measure", lambda name, _: gpu_memory.Peaks(100, 100, 100 + (name == "GPT")))
    assert gpu_memory.main(["--cpu"]) == 1
    assert "More than 0 % apart: GPT.\n" in capsys.readouterr().out


def test_without_a_gpu_nothing_is_measured(monkeypatch, capsys):
    """The script says so."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu_memory.main([]) == 0
    assert capsys.readouterr().out.startswith("no CUDA device: nothing was measured.")


def test_times_are_about_those_of_timer(monkeypatch, capsys):
    """Within a factor that a busy machine allows; the table is for a quiet one. Without a GPU the script says so."""
    a, b = torch.randn(256, 256), torch.randn(256, 256)
    monkeypatch.setattr(timing, "STEPS", {"product": lambda: lambda: torch.relu(a @ b)})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    found = timing.compare(lambda: torch.relu(a @ b), 5)
    assert found.op == "aten.mm"
    for ours, theirs in ((found.wall, found.timer), (found.row, found.op_timer)):
        assert 1 / 5 < ours / theirs < 5
    assert 1 / 5 < found.operators < 5
    assert timing.main(["--rounds", "2"]) == 0
    output = capsys.readouterr().out
    assert "| product" in output
    assert "aten.mm" in output
    assert output.endswith("no CUDA device\n")


@pytest.mark.no_outer_mode
@pytest.mark.parametrize("name", ["first_operators", "first_modules", "first_training"])
def test_the_minimal_mode_counts_what_opflops_does(name):
    """So its overhead bounds that of a mode that counts the same."""
    workload = getattr(overhead_workloads, name)()
    with MinimalMode() as minimal:
        workload.run()
    with OpFlopMode() as mode:
        workload.run()
    assert minimal.total == mode.total
    assert {(each.context.path, each.pricing.op, each.calls) for each in minimal.accumulators if each.context.path} >= {
        (row.module, row.op, row.calls) for row in mode.profile.rows if row.module and row.phase == "forward"
    }
