"""A step in repeated runs: when they end, what is made of their times, and what they leave behind."""

import gc

import pytest
import torch
from torch import nn

from opflops import ArgumentError, Cost, OpFlopMode, UnpricedOpError, time_step
from opflops.counting import timed_runs
from opflops.torch_internals.dispatch import dispatch_modes

X = torch.ones(3, 4)
library = torch.library.Library("run_tests", "DEF")
library.define("work(Tensor x, float seconds) -> Tensor")
library.define("other(Tensor x, float seconds) -> Tensor")
PRICES = {"run_tests::work": lambda x: Cost(ops=1), "run_tests::other": lambda x: Cost(ops=1)}


class Time:
    """Stand for the clock of the machine: it goes on only where the program says so."""

    now = 0.0

    def __call__(self):
        """Return the time."""
        return self.now


machine = Time()


def take(x, seconds):
    machine.now += seconds
    return x.clone()


library.impl("work", take, "CPU")
library.impl("other", take, "CPU")
work, other = torch.ops.run_tests.work, torch.ops.run_tests.other


@pytest.fixture(autouse=True)
def _time_stands_still(monkeypatch):
    for name in ("dispatch.timing.perf_counter", "counting.timed_runs.perf_counter"):
        monkeypatch.setattr(f"opflops.{name}", machine)
    monkeypatch.setattr(timed_runs, "synchronized_time", machine)


def is_counted():
    return any(isinstance(mode, OpFlopMode) for mode in dispatch_modes())


class Step:
    """A step that takes the given times in turn, plain and counted, and then the last of them for ever."""

    def __init__(self, plain, counted, overhead=0.0):
        self.plain, self.counted, self.overhead = list(plain), list(counted), overhead
        self.log = []

    def __call__(self):
        """Run."""
        counted = is_counted()
        self.log.append(counted)
        times = self.counted if counted else self.plain
        seconds = times.pop(0) if times[1:] else times[0]
        work(X, seconds)
        machine.now += self.overhead * counted


def test_medians_and_spreads_over_the_runs():
    """By hand: five runs of each kind, of which one is slow; the mode costs what the runs differ by."""
    step = Step([1, 2, 3, 4, 90], [5, 5, 5, 5, 70], overhead=0.5)
    profile = time_step(step, warmup=0, max_seconds=131, max_spread=0, formulas=PRICES)
    (row,) = profile.rows
    assert (row.calls, row.seconds, row.spread) == (1, 5, 0)
    timing = profile.timing
    assert (timing.runs, timing.warmup) == (5, 0)
    assert (timing.median, timing.spread) == (5.5, 0)
    assert (timing.wall, timing.wall_spread) == (3, 2)
    # 4.5, 3.5, 2.5, 1.5 and -19.5
    assert timing.overhead == 2.5
    assert profile.total == Cost(ops=1, bytes_read=48, bytes_written=48)


def test_the_kinds_of_runs_take_turns():
    """After the warm-up, which is counted, each comes first as often as the other."""
    step = Step([1], [1])
    assert time_step(step, warmup=2, formulas=PRICES, max_seconds=100).timing.warmup == 2
    plain, counted = False, True
    assert step.log == [counted] * 2 + [plain, counted, counted, plain] * 2 + [plain, counted]


def test_runs_go_on_until_the_times_are_steady():
    """Of both kinds: the spread is at most a tenth of the median from the ninth run on."""
    noisy = [1, 2, 1, 2, 1, 1, 1, 1]
    for plain, counted in ((noisy, [1]), ([1], noisy)):
        assert time_step(Step(plain, counted), formulas=PRICES, max_seconds=1000, warmup=0).timing.runs == 9
    assert time_step(Step(noisy, [1]), formulas=PRICES, max_seconds=1000, max_spread=5).timing.runs == 5


def test_runs_end_when_time_is_up():
    """After two seconds at the latest; a step that takes longer runs once, and has no spread."""
    step = Step([0.2, 0.1] * 99, [0.1, 0.3] * 99)
    assert time_step(step, formulas=PRICES).timing.runs == 6
    profile = time_step(Step([3], [4]), formulas=PRICES)
    assert (profile.timing.runs, profile.timing.median, profile.timing.wall, profile.timing.spread) == (1, 4, 3, None)
    assert profile.rows[0].spread is None
    assert "Times are of one run, after 3 of warm-up." in str(profile)
    assert "~" in str(profile)


def test_what_comes_before_each_run_is_not_in_its_time():
    """It is called before every run."""
    calls = []

    def before():
        calls.append(is_counted())
        machine.now += 100

    step = Step([1], [1])
    profile = time_step(step, before=before, formulas=PRICES, max_seconds=1000)
    assert len(calls) == len(step.log) == 3 + 2 * profile.timing.runs
    assert not any(calls)
    assert (profile.timing.median, profile.timing.wall) == (1, 1)


def test_runs_that_do_different_work_are_reported():
    """Counts are those of the last run, times of the runs that had a row."""
    steps = []

    def step():
        steps.append(None)
        (work if len(steps) % 3 else other)(X, len(steps))

    profile = time_step(step, warmup=0, formulas=PRICES, max_seconds=0)
    assert not any("same work" in each for each in profile.remarks)
    profile = time_step(step, warmup=0, formulas=PRICES, max_seconds=100)
    assert any("did not all do the same work" in each for each in profile.remarks)


def test_garbage_is_not_collected_in_a_run():
    """As timeit has it; what the program set is as it was."""
    seen = []

    def step():
        seen.append(gc.isenabled())
        work(X, 1)

    for enabled in (False, True):
        (gc.enable if enabled else gc.disable)()
        try:
            time_step(step, formulas=PRICES, max_seconds=0)
            assert gc.isenabled() is enabled
        finally:
            gc.enable()
    assert not any(seen)


def test_a_step_that_raises_leaves_no_mode_behind():
    """The error is that of the program."""
    runs = []

    def step():
        runs.append(None)
        if len(runs) == 5:
            raise LookupError("the end")
        work(X, 1)

    with pytest.raises(LookupError, match="the end"):
        time_step(step, formulas=PRICES)
    assert dispatch_modes() == []
    assert gc.isenabled()
    with pytest.raises(UnpricedOpError, match="work"):
        time_step(lambda: work(X, 1), strict=True)
    assert dispatch_modes() == []


def test_memory_is_followed_in_a_run_of_its_own():
    """It takes time, so the times are those of other runs; what lives is what lives without them."""
    model, x = nn.Linear(4, 5), torch.ones(2, 4)

    def step():
        model(x).sum().backward()
        machine.now += 1

    def forget():
        model.zero_grad()

    profile = time_step(step, before=forget, memory=True, max_seconds=0)
    with OpFlopMode(memory=True) as mode:
        forget()
        step()
    assert profile.memory.peak == mode.profile.memory.peak
    assert profile.timing.runs == 1
    assert time_step(step, before=forget, max_seconds=0).memory is None


def test_the_options_are_those_of_the_mode():
    """Names below a root, exact causal counts."""
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU())
    profile = time_step(lambda: model[0](X), root=model, max_seconds=0)
    assert set(profile.by("module")) == {"Sequential.0"}
    assert profile.timing.calls == {"Sequential.0": 1}
    q = torch.ones(1, 1, 4, 8)

    def attend():
        torch.nn.functional.scaled_dot_product_attention(q, q, q, is_causal=True)

    exact, dense = (time_step(attend, causal=causal, max_seconds=0).total.macs for causal in ("exact", "dense"))
    assert (exact, dense) == (10 * 16, 16 * 16)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((nn.Linear(4, 4),), {}, r"step must be a function without arguments.*lambda: model\(x\)"),
        ((X,), {}, r"step must be a function.*not a Tensor of shape \(3, 4\).*lambda: model\(x\)"),
        ((3,), {}, "step must be a function without arguments, not 3"),
        ((nn.Linear,), {}, "not the class Linear"),
        ((nn.Linear(4, 4), X), {}, r"takes only step by position.*time_step\(lambda: model\(x\)\)"),
        ((), {}, "needs the argument step"),
        ((print,), {"before": 1}, "before must be a function"),
        ((print,), {"warmup": -1}, "warmup must be 0 or more"),
        ((print,), {"max_seconds": "2"}, "max_seconds must be a number, 0 or more, not '2'"),
        ((print,), {"max_spread": float("nan")}, "max_spread must be a number"),
        ((print,), {"causal": "maybe"}, "causal must be"),
        ((print,), {"allocator": "cuda"}, "needs memory=True"),
        ((print,), {"backward": True}, "no argument 'backward'"),
    ],
)
def test_wrong_arguments_get_a_sentence(arguments, options, message):
    """What was given, and what is right."""
    with pytest.raises(ArgumentError, match=f"(?s){message}"):
        time_step(*arguments, **options)
