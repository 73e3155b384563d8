"""Times of operators on the CPU: each by itself, whatever runs around and inside it."""

import threading

import pytest
import torch
from torch import nn
from torch._ops import HigherOrderOperator
from torch._subclasses.fake_tensor import FakeTensorMode

from opflops import Cost, OpFlopMode, UnpricedOpWarning

X = torch.ones(3, 4)
NAME = "timing_tests::work"


class Time(threading.local):
    """Stand for the clock of the machine: it goes on only where the program says so, for each thread by itself."""

    now = 0.0

    def pass_by(self, seconds):
        """Go on."""
        self.now += seconds

    def __call__(self):
        """Return the time."""
        return self.now


machine = Time()


def take(x, seconds):
    machine.pass_by(seconds)
    return x.clone()


def give_up(x):
    machine.pass_by(1)
    raise ValueError("no result")


library = torch.library.Library("timing_tests", "DEF")
library.define("work(Tensor x, float seconds) -> Tensor")
library.impl("work", take, "CPU")
library.impl("work", lambda x, seconds: x.clone(), "Meta")
library.define("fail(Tensor x) -> Tensor")
library.impl("fail", give_up, "CPU")
work, fail = torch.ops.timing_tests.work, torch.ops.timing_tests.fail


@pytest.fixture(autouse=True)
def _time_stands_still(monkeypatch):
    monkeypatch.setattr("opflops.dispatch.timing.perf_counter", machine)


def slowly_priced(x):
    machine.pass_by(5)
    return Cost(ops=1)


PRICES = {NAME: lambda x: Cost(ops=1), "timing_tests::fail": lambda x: Cost()}


def timed(program, **options):
    with OpFlopMode(timing=True, formulas=options.pop("formulas", PRICES), **options) as mode:
        program()
    return mode.profile


def seconds_by_op(profile):
    return {row.op: row.seconds for row in profile.rows}


def test_the_time_of_a_row_is_of_all_its_calls():
    """Of the first, which takes the slow path, and of those after it."""
    profile = timed(lambda: [work(X, each) for each in (1, 2, 1)])
    (row,) = profile.rows
    assert row.calls == 3
    assert row.seconds == 4


def test_the_block_is_timed_as_a_single_run():
    """With the time from its beginning to its end, which does not grow afterwards, and the calls of each model."""
    net, other = nn.Sequential(nn.Linear(4, 4), nn.ReLU()), nn.Tanh()

    def program():
        for _ in range(3):
            net(X)
        other(work(X, 1))
        net[1](X)

    with OpFlopMode(timing=True, formulas=PRICES) as mode:
        program()
        assert mode.profile.timing.runs == 1
    timing = mode.profile.timing
    machine.pass_by(2)
    assert mode.profile.timing == timing
    assert (timing.runs, timing.warmup, timing.spread, timing.wall, timing.overhead) == (1, 0, None, None, None)
    assert timing.calls == {"Sequential": 3, "Tanh": 1}
    assert timing.median == 1
    with OpFlopMode(formulas=PRICES) as untimed:
        program()
    assert untimed.profile.timing is None


def test_formulas_are_in_no_time():
    """Neither in that of their own operator nor in that of a mode around or inside, on either path."""
    slow, fast = {NAME: slowly_priced}, PRICES

    def program():
        work(X, 1)
        work(X, 1)

    for outer_prices, inner_prices in ((slow, fast), (fast, slow)):
        with OpFlopMode(timing=True, formulas=outer_prices) as outer:
            inner = timed(program, formulas=inner_prices)
        for profile in (outer.profile, inner):
            assert seconds_by_op(profile)["timing_tests.work"] == 2


def test_calls_of_several_dtypes_are_timed_for_the_row_of_each():
    """They share the fast path of a module."""

    def program():
        for _ in range(3):
            work(X, 1)
            work(X.double(), 3)

    found = {row.dtype: row.seconds for row in timed(program).where(op="timing_tests.work").rows}
    assert found["float32"] == 3
    assert found["float64"] == 9


class Repeats(HigherOrderOperator):
    """An operator that calls a function twice, and has no handler."""

    def __init__(self):
        super().__init__("timing_tests_repeats")

    def __call__(self, function, x):
        return super().__call__(function, x)


repeats = Repeats()


@repeats.py_impl(torch._C.DispatchKey.CompositeExplicitAutograd)
def _(function, x):
    machine.pass_by(1)
    function(x)
    return function(x)


@repeats.py_impl(torch._C.DispatchKey.Autograd)
def _(function, x):
    with torch._C._AutoDispatchBelowAutograd():
        return repeats(function, x)


def test_what_runs_inside_an_operator_is_not_in_its_time_too():
    """The operators of a subgraph have rows of their own."""
    with pytest.warns(UnpricedOpWarning):
        found = seconds_by_op(timed(lambda: repeats(lambda x: work(x, 3), X)))
    assert found["higher_order.timing_tests_repeats"] == 1
    assert found["timing_tests.work"] == 6


def test_an_operator_that_raises_leaves_the_clock_as_it_was():
    """Also inside another operator, which goes on; what was recorded before and after has its time."""

    def attempt(x):
        work(x, 1)
        with pytest.raises(ValueError, match="no result"):
            fail(x)
        return work(x, 1)

    def program():
        with pytest.raises(ValueError, match="no result"):
            fail(X)
        repeats(attempt, X)

    with pytest.warns(UnpricedOpWarning):
        found = seconds_by_op(timed(program))
    assert found["timing_tests.work"] == 4
    # Each of its two runs fails once, which is in the time of no other row.
    assert found["higher_order.timing_tests_repeats"] == 1 + 2


def test_operators_of_other_threads_are_timed():
    """Each in its thread, while another one runs."""
    net = nn.Sequential(nn.Linear(4, 4))
    net[0].register_forward_hook(lambda _module, _args, out: work(out, 1))

    def program():
        threads = [threading.Thread(target=net, args=(X,)) for _ in range(2)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()

    found = seconds_by_op(timed(program, threads=True))
    assert found["timing_tests.work"] == 2


@pytest.mark.parametrize("make", [lambda: X.to("meta"), lambda: FakeTensorMode().from_tensor(X)], ids=["meta", "fake"])
def test_operators_without_values_have_no_time(make):
    """They compute nothing; the report says how many there were."""
    x = make()
    profile = timed(lambda: [work(x, 1) for _ in range(3)])
    assert [row.seconds for row in profile.rows] == [None]
    assert any("Not timed: 3 operator calls" in each and "without values" in each for each in profile.remarks)
    assert "Not timed: 3" in str(profile)


def test_a_replay_is_not_timed():
    """What a graph repeats is counted; a remark says that it has no times."""
    with OpFlopMode(timing=True) as mode:
        begun = mode.begin_capture()
        torch.mm(X, X.t())
        work = mode.end_capture(begun)
        (before,) = mode.profile.where(op="mm").rows
        mode.repeat_capture(work, lambda: machine.pass_by(1))
        mode.repeat_capture(work, lambda: None)
    (row,) = mode.profile.where(op="mm").rows
    assert (row.calls, row.seconds) == (3, before.seconds)
    assert any("Not timed: 2 operator calls, which were replays" in each for each in mode.profile.remarks)


def test_a_composite_operator_at_a_formula_is_timed_from_its_first_call():
    """Its kernel may decompose it in autograd, which is found out by the first call."""
    with torch.library._scoped_library("timingtests", "DEF") as library:
        library.define("doze(Tensor x) -> Tensor")
        library.impl("doze", lambda x: work(x, 1), "Autograd")
        library.impl("doze", lambda x: x * 2, "CPU")
        doze = torch.ops.timingtests.doze
        profile = timed(lambda: doze(X), formulas={doze: lambda x: Cost(ops=3), **PRICES})
    assert seconds_by_op(profile) == {"timingtests.doze": 1}


def test_an_operator_that_its_kernel_dispatches_again_is_timed_from_its_first_call():
    """By a kernel for autograd that does not decompose it; both of its calls are one row."""
    with torch.library._scoped_library("timingtests", "DEF") as library:
        library.define("nap(Tensor x) -> Tensor")

        def dispatch_again(x):
            with torch._C._AutoDispatchBelowAutograd():
                return torch.ops.timingtests.nap(x)

        library.impl("nap", dispatch_again, "Autograd")
        library.impl("nap", lambda x: take(x, 2), "CPU")
        nap = torch.ops.timingtests.nap
        profile = timed(lambda: [nap(X), nap(X)], formulas={nap: lambda x: Cost(ops=3)})
    assert [(row.op, row.calls, row.seconds) for row in profile.rows] == [("timingtests.nap", 2, 4)]


class Hiding(torch.Tensor):
    """A tensor that runs operators where no dispatch mode sees them."""

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        with torch._C._DisableTorchDispatch():
            machine.pass_by(1)
            return torch.Tensor._make_wrapper_subclass(cls, (3, 3))


def test_work_that_a_subclass_hides_is_timed():
    """The operator that it was given has the time that the subclass took."""
    hidden = torch.Tensor._make_wrapper_subclass(Hiding, (4, 3))
    found = seconds_by_op(timed(lambda: torch.mm(X, hidden)))
    assert found["aten.mm"] == 1


def test_a_new_block_starts_a_new_clock():
    """Times of two blocks do not add up, and neither do blocks of modes that were left in between."""
    mode = OpFlopMode(timing=True, formulas=PRICES)
    with mode:
        work(X, 3)
    with mode:
        work(X, 1)
    assert seconds_by_op(mode.profile) == {"timing_tests.work": 1}
    assert mode.profile.timing.median == 1
