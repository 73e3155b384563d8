"""Times on accelerators, by events, on a stand-in for the device: what is recorded where, and read when."""

import contextlib
import threading

import pytest
import torch
from torch import nn
from torch._ops import HigherOrderOperator

from opflops import Cost, OpFlopMode, UnpricedOpWarning
from opflops.dispatch import device_events, timing

X, Y = torch.ones(3, 4), torch.ones(5, 4)
"""On the first device, and on the second."""


class Event:
    """A point of a stream, which its device has reached once it was synchronized."""

    def __init__(self, device, enable_timing):
        assert enable_timing
        self.machine, self.stream, self.at, self.reached = device, None, None, True
        device.made.append(self)

    def record(self, stream):
        """Become the present end of a stream; an event keeps to the device that it was first recorded on."""
        assert not self.machine.capturing
        assert self.stream is None or self.stream[0] == stream[0]
        self.stream, self.at, self.reached = stream, self.machine.ends.get(stream, 0.0), False
        self.machine.log.append(("record", stream))

    def elapsed_time(self, end):
        """Return the milliseconds to another event, which both were reached."""
        assert self.reached
        assert end.reached
        return end.at - self.at


class Machine:
    """Stand for ``torch.cuda``: each stream has a clock of its own, and no clock is the host's."""

    def __init__(self):
        self.made, self.log, self.ends = [], [], {}
        self.synchronized = []
        self.capturing = False
        self.current = 0
        self.local = threading.local()

    def Event(self, enable_timing=False):  # noqa: N802 - as in torch.cuda
        """Make an event."""
        return Event(self, enable_timing)

    def current_device(self):
        """Return the number of the current device."""
        return self.current

    def current_stream(self, device):
        """Return the current stream of a device in this thread."""
        return device, getattr(self.local, "stream", "default")

    def is_current_stream_capturing(self):
        """Tell it."""
        return self.capturing and self.current == 0

    @contextlib.contextmanager
    def device(self, number):
        """Make a device the current one."""
        before, self.current = self.current, number
        yield
        self.current = before

    def synchronize(self, device):
        """Reach all events of a device."""
        assert not self.capturing
        self.synchronized.append(device)
        for event in self.made:
            if event.stream is not None and event.stream[0] == device:
                event.reached = True

    def run(self, x, milliseconds):
        """Run a kernel."""
        stream = self.current_stream(device_of(x).index)
        self.ends[stream] = self.ends.get(stream, 0.0) + milliseconds
        self.log.append(("run", stream))


machine = Machine()


def device_of(x):
    return torch.device("cuda", 1 if x.shape[:1] == (5,) else 0)


def take(x, milliseconds):
    machine.run(x, milliseconds)
    return x.clone()


library = torch.library.Library("event_tests", "DEF")
library.define("work(Tensor x, float milliseconds) -> Tensor")
library.impl("work", take, "CPU")
library.define("fail(Tensor x) -> Tensor")


@torch.library.impl(library, "fail", "CPU")
def _(x):
    raise ValueError("no result")


work, fail = torch.ops.event_tests.work, torch.ops.event_tests.fail
PRICES = {work: lambda x: Cost(ops=1), fail: lambda x: Cost()}


@pytest.fixture(autouse=True)
def device(monkeypatch):
    """Let every tensor be on one of two devices of a new machine."""
    machine.__init__()
    monkeypatch.setitem(device_events._known, "cuda", device_events.DeviceEvents(machine))
    monkeypatch.setattr(timing, "_device_of", lambda args, kwargs: device_of(args[0]))
    return machine


def mode(**options):
    return OpFlopMode(timing=True, formulas=PRICES, **options)


def seconds(profile):
    return {row.op: row.seconds for row in profile.rows}


@pytest.mark.counts_calls  # the profile must not be read when the block ends
def test_an_operator_is_between_two_events_on_its_stream(device):
    """Nothing waits until the profile is read; then its device is synchronized, once."""
    with mode() as m:
        for each in (1, 2, 4):
            work(X, each)
    assert device.synchronized == []
    stream = (0, "default")
    # The first and the last event are of the block.
    each = [("record", stream), ("run", stream), ("record", stream)]
    assert device.log == [("record", stream), *each, *each, *each, ("record", stream)]
    assert seconds(m.profile) == {"event_tests.work": pytest.approx(7e-3)}
    assert device.synchronized == [0]
    assert m.profile.rows == m.profile.rows
    assert str(m)
    assert device.synchronized == [0]


def test_the_time_of_a_block_is_that_of_its_device_if_that_is_longer(device):
    """The host only launches."""
    with mode() as m:
        work(X, 4000.0)
        device.run(X, 1000.0)
    assert m.profile.timing.median == pytest.approx(5.0)
    with mode() as m:
        work(X, 1e-6)
    assert 1e-6 < m.profile.timing.median < 1


def test_each_device_has_its_own_events_and_is_synchronized_once(device):
    """The stream is that of the device that the operator runs on, whichever is current."""
    with mode() as m:
        work(X, 1)
        work(Y, 2)
        device.current = 1
        work(X, 4)
        work(Y, 8)
    assert seconds(m.profile) == {"event_tests.work": pytest.approx(15e-3)}
    assert sorted(device.synchronized) == [0, 1]
    with mode() as again:
        work(Y, 1)
    assert seconds(again.profile) == {"event_tests.work": pytest.approx(1e-3)}
    assert device.synchronized[2:] == [1]


def test_events_are_used_again(device):
    """In later blocks, after they were read; a block that is read while it goes on continues."""
    with mode() as m:
        for _ in range(10):
            work(X, 1)
    assert m.profile.total.ops == 10
    made = len(device.made)
    assert made == 2 * 10 + 2
    for _ in range(3):
        with mode() as m:
            for _ in range(5):
                work(X, 1)
            assert seconds(m.profile) == {"event_tests.work": pytest.approx(5e-3)}
            for _ in range(5):
                work(X, 2)
        assert seconds(m.profile) == {"event_tests.work": pytest.approx(15e-3)}
    assert len(device.made) == made


def test_nothing_is_recorded_while_a_graph_is_captured(device):
    """Such operators count, and have no times. A profile that is read meanwhile waits for nothing."""
    with mode() as m:
        work(X, 1)
        before = list(device.log)
        device.capturing = True
        for _ in range(3):
            work(X, 100)
        assert [event for event in device.log if event[0] == "record"] == [e for e in before if e[0] == "record"]
        profile = m.profile
        assert (profile.rows[0].calls, device.synchronized) == (4, [])
        assert any("1 operator call, which had not ended" in each for each in profile.remarks)
        device.capturing = False
        work(X, 2)
    (row,) = m.profile.rows
    assert (row.calls, row.seconds) == (5, pytest.approx(3e-3))
    not_timed = "Not timed: 3 operator calls, which ran while a graph of a device was captured."
    assert m.profile.remarks == ("No call used the formula for event_tests.fail.", not_timed)


def test_a_block_that_only_captures_has_no_times(device):
    """Also when it ends during the capture."""
    device.capturing = True
    with mode() as m:
        work(X, 1)
    assert seconds(m.profile) == {"event_tests.work": None}
    assert device.log == [("run", (0, "default"))]


def test_each_thread_has_its_own_stream(device):
    """As those of autograd have, one for each device."""
    net = nn.Sequential(nn.Identity())
    net[0].register_forward_hook(lambda _module, _args, out: work(out, 3))

    def run(name):
        device.local.stream = name
        net(X)

    with mode(threads=True) as m:
        threads = [threading.Thread(target=run, args=(f"stream {number}",)) for number in range(3)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        run("of the main thread")
    assert seconds(m.profile) == {"event_tests.work": pytest.approx(12e-3)}
    assert {stream for kind, (_, stream) in device.log if kind == "run"} >= {"stream 0", "stream 1", "stream 2"}
    assert device.synchronized == [0]
    device.local.stream = "default"


def test_a_backward_pass_is_timed(device):
    """On the stream that autograd makes the current one."""

    class Work(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return work(x, 1)

        @staticmethod
        def backward(ctx, gradient):
            return work(gradient, 5)

    with mode() as m:
        Work.apply(X.clone().requires_grad_()).sum().backward()
    found = {row.phase: row.seconds for row in m.profile.where(op="event_tests.work").rows}
    assert found == {"forward": pytest.approx(1e-3), "backward": pytest.approx(5e-3)}


class Within(HigherOrderOperator):
    """An operator that calls a function, and has no handler."""

    def __init__(self):
        super().__init__("event_tests_within")

    def __call__(self, x, function):
        return super().__call__(x, function)


within = Within()


@within.py_impl(torch._C.DispatchKey.CompositeExplicitAutograd)
def _(x, function):
    machine.run(x, 10)
    function(x)
    return function(x)


@within.py_impl(torch._C.DispatchKey.Autograd)
def _(x, function):
    with torch._C._AutoDispatchBelowAutograd():
        return within(x, function)


def test_what_runs_inside_an_operator_is_not_in_its_time_too(device):
    """The operators of a subgraph have rows of their own, and those inside them."""
    with mode() as m, pytest.warns(UnpricedOpWarning):
        within(X, lambda x: within(x, lambda x: work(x, 3)))
    assert seconds(m.profile) == {
        "higher_order.event_tests_within": pytest.approx(30e-3),
        "event_tests.work": pytest.approx(12e-3),
    }


def test_an_operator_that_raises_gives_its_event_back(device):
    """Nothing of it is read."""
    with mode() as m:
        for _ in range(4):
            with pytest.raises(ValueError, match="no result"):
                fail(X)
            work(X, 1)
    assert seconds(m.profile) == {"event_tests.work": pytest.approx(4e-3)}
    assert len(device.made) == 2 * 4 + 2


def test_a_call_without_tensors_is_timed_on_the_accelerator_that_the_program_uses(device, monkeypatch):
    """As the launch of a kernel that no operator wraps."""
    monkeypatch.setattr(timing, "current_accelerator", lambda: torch.device("cuda", 0))
    with mode() as m, pytest.warns(UnpricedOpWarning):
        m.run_kernel("event_tests_kernel", ("x",), lambda: {"x": X}, lambda: device.run(X, 6))
    assert seconds(m.profile) == {"triton.event_tests_kernel": pytest.approx(6e-3)}


def test_a_device_whose_events_have_no_times_is_waited_for(monkeypatch):
    """Before and after each operator, as there is no other way."""
    waited = []
    monkeypatch.setitem(device_events._known, "mps", None)
    monkeypatch.setattr(timing, "_device_of", lambda args, kwargs: torch.device("mps", 0))
    monkeypatch.setattr(timing, "synchronized_time", lambda: waited.append(None) or float(len(waited)))
    with mode() as m:
        work(X, 1)
        work(X, 1)
    assert seconds(m.profile) == {"event_tests.work": 2.0}
    assert len(waited) == 4


def test_only_cuda_and_xpu_have_events_that_are_timed(monkeypatch):
    """Those of other devices are not known to have times; this machine has no accelerator."""
    monkeypatch.undo()
    assert device_events.events_of("cuda") is not None
    assert device_events.events_of("mps") is None
    assert device_events.events_of("privateuseone") is None


TENSOR, META = X, X.to("meta")


@pytest.mark.parametrize(
    ("args", "kwargs", "kind"),
    [
        ((TENSOR, 1), {}, None),
        (([TENSOR, TENSOR],), {}, None),
        ((2, (TENSOR, META)), {}, "meta"),
        ((TENSOR,), {"other": META}, "meta"),
        ((TENSOR,), {"tensors": [None, [META]]}, "meta"),
        (([2, 3],), {"device": torch.device("cuda", 1)}, "cuda"),
        (([2, 3],), {"device": "cuda"}, "cuda"),
        (([2, 3],), {"device": "cpu"}, None),
        (([2, 3],), {"device": None}, None),
        ((nn.Parameter(META),), {}, "meta"),
    ],
)
def test_an_operator_runs_where_its_tensors_are(args, kwargs, kind, monkeypatch):
    """On an accelerator if any is there, as where a tensor is copied; or where it makes one."""
    monkeypatch.undo()
    found = timing._device_of(args, kwargs)
    assert (None if found is None else found.type) == kind
