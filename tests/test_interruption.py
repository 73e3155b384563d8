"""Ctrl-C at any line while a block begins or ends, or a count changes something global, leaves nothing behind."""

import gc
import signal
import sys
import threading

import pytest
import torch
from torch import nn
from torch.utils import _python_dispatch
from torch.utils._python_dispatch import TorchDispatchMode

from opflops import Cost, OpFlopMode, count
from opflops.attribution import patching
from opflops.torch_internals.shared_context import patched

# Finalizers, such as those of PyTorch's libraries, are interrupted too, where Python cannot raise.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
X = torch.ones(2, 4)
NET = nn.Linear(4, 4)
MACS = 2 * 4 * 4
PATCHED = [
    (nn.Module, "__call__"),
    (torch, "compile"),
    (torch.autograd.profiler.record_function, "__enter__"),
    (torch.autograd.profiler.record_function, "__exit__"),
    (torch.amp.GradScaler, "step"),
    (torch.utils.checkpoint, "checkpoint"),
    (torch.cuda.CUDAGraph, "replay"),
    (torch, "cov"),
    (torch.Tensor, "corrcoef"),
    (torch, "istft"),
]


@pytest.fixture(autouse=True)
def _nothing_is_checked_on_leaving(monkeypatch, _every_count_adds_up):
    """What other tests check at the end of each block would be interrupted too."""
    monkeypatch.undo()


@pytest.fixture(autouse=True)
def _libraries_of_other_tests_are_gone():
    """Libraries in reference cycles leave the dispatcher when garbage is collected, which could be amid a test."""
    gc.collect()


def modes_on_stack():
    return [torch._C._get_dispatch_stack_at(index) for index in range(torch._C._len_torch_dispatch_stack())]


def state():
    """List what a block or a count changes for the whole process."""
    dynamo = sys.modules.get("torch._dynamo.eval_frame")
    return {
        "dispatch modes": modes_on_stack(),
        "kinds of modes": {name: value for name, value in vars(_python_dispatch).items() if name.startswith("_is_in_")},
        "optimizer hooks": dict(sys.modules["torch.optim.optimizer"]._global_optimizer_pre_hooks),
        "patches": [vars(owner).get(name) for owner, name in PATCHED],
        "module call": nn.Module.__call__.__code__,
        "import hooks": [type(finder) for finder in sys.meta_path],
        "libraries": sorted(torch.library._impls),
        "kernel of linear": torch._C._dispatch_has_kernel_for_dispatch_key("aten::linear", "AutogradCPU"),
        "stance": dynamo and dynamo._stance.stance,
        "fake tensors": "FakeTensor" in vars(torch._subclasses),
        "log of fake tensors": sys.modules["torch._subclasses.fake_tensor"].log.disabled,
        "garbage collector": gc.isenabled(),
        "threads": [thread.name for thread in threading.enumerate() if "opflops" in thread.name],
    }


def inside_operator(frame):
    """PyTorch ends the process if some of its operators raise what they do not expect."""
    while frame is not None and frame.f_code.co_name != "__torch_dispatch__":
        frame = frame.f_back
    return frame is not None


class AlarmError(RuntimeError):
    """Raised by a handler of the program, as PyTorch raises errors of this type for tensors without a shape."""


def press(_number, _frame):
    raise KeyboardInterrupt


def sound_alarm(_number, _frame):
    raise AlarmError


class Interruption:
    """Call a signal handler at one of the lines, or instructions, of functions outside this file."""

    def __init__(self, number, event, files, *, operators_too=True, handler=press):
        self.left, self.event, self.files, self.operators_too = number, event, files, operators_too
        self.handler = handler
        self.done = False
        # One object for all frames: Python may call that of a frame once more after it let go of it.
        self.traced = self.trace

    def trace(self, frame, event, _argument):
        if frame.f_code.co_filename != __file__ and not self.done:
            frame.f_trace_opcodes = self.event == "opcode"
            if (
                event == self.event
                and frame.f_code.co_filename.endswith(self.files)
                and (self.operators_too or not inside_operator(frame))
            ):
                if not self.left:
                    self.done = True
                    self.handler(signal.SIGINT, frame)
                self.left -= 1
        return self.traced


def interruptions(program, event="line", files=("",), step=1, **options):
    """Run a program again and again, interrupted at one place after another; yield the exception of each."""
    number, before = 0, sys.gettrace()
    while True:
        interruption = Interruption(number, event, files, **options)
        error = None
        try:
            sys.settrace(interruption.traced)
            program()
        except (AlarmError, KeyboardInterrupt) as raised:
            error = raised
        finally:
            sys.settrace(before)
        if not interruption.done:
            return
        yield error
        number += step


def linear_cost(input, weight, bias=None, *, out):
    return Cost(macs=7)


def block(**options):
    # The same mode each time: one that was interrupted can be entered again.
    mode = OpFlopMode(**options)

    def program():
        with mode:
            pass

    return program


def nested():
    outer, inner = OpFlopMode(), OpFlopMode()

    def program():
        with outer, inner:
            pass

    return program


class Foreign(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


BLOCKS = {
    "plain": block(),
    "root": block(root=NET),
    "threads": block(threads=True),
    "timing": block(timing=True),
    "formula of a composite": block(formulas={torch.ops.aten.linear: linear_cost}),
    "nested": nested(),
}


def check_nothing_stays(program, **options):
    """Everything is as before while the exception is handled, and the next block counts and names modules."""
    program()
    before, places = state(), 0
    for error in interruptions(program, **options):
        assert state() == before, error
        places += 1
        with OpFlopMode() as mode:
            NET(X)
        assert mode.total.macs == MACS
        assert mode.profile.by("module").keys() == {"Linear"}
        assert state() == before
    return places


@pytest.mark.parametrize("name", BLOCKS)
def test_an_interruption_at_any_line_of_entering_or_leaving_leaves_nothing(name):
    """Everything is as before while the exception is handled, and the next block counts and names modules."""
    assert check_nothing_stays(BLOCKS[name], step=1 if name == "plain" else 7) > 50


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", BLOCKS)
def test_an_interruption_at_any_line_of_any_block_leaves_nothing(name):
    """As above, at all lines of all kinds."""
    assert check_nothing_stays(BLOCKS[name]) > 300


@pytest.mark.exhaustive
@pytest.mark.parametrize("event", ["call", "return", "opcode"])
def test_an_interruption_at_any_instruction_leaves_nothing(event):
    """Signals come between any two instructions, and before the first one of a function."""
    assert check_nothing_stays(BLOCKS["plain"], event=event) > 50


def test_an_interruption_before_the_first_line_of_leaving_leaves_nothing():
    """The call of ``__exit__`` is where Python looks for signals that came at the end of the block."""
    before = state()
    mode, other = OpFlopMode(), OpFlopMode()

    def interrupt(frame, event, _argument):
        if event == "call" and frame.f_code.co_name == "__exit__":
            sys.settrace(None)
            raise KeyboardInterrupt

    tracing = sys.gettrace()
    try:
        with other, mode:
            NET(X)
            sys.settrace(interrupt)
    except KeyboardInterrupt as error:
        after, traceback = state(), error.__traceback__
    finally:
        sys.settrace(tracing)
    assert after == before
    assert traceback is not None
    assert (mode.total.macs, mode.active, other.total.macs) == (MACS, False, MACS)
    with mode:
        pass
    assert mode.total.macs == 0


def test_looking_at_exit_does_not_end_a_block():
    """Only a ``with`` statement ends it that discards what it looked up."""
    mode = OpFlopMode()
    assert hasattr(mode, "__exit__")
    mode.__enter__()
    assert callable(mode.__exit__)
    NET(X)
    mode.__exit__(None, None, None)
    assert mode.total.macs == MACS


def test_the_compiler_s_stance_is_the_program_s_again():
    """Where the compiler is loaded, a block sets its stance, and an interruption sets it back."""
    import torch._dynamo  # noqa: PLC0415 - takes seconds

    with torch.compiler.set_stance("eager_on_recompile"):
        check_nothing_stays(BLOCKS["plain"], files=("patching.py", "compiler.py", "eval_frame.py", "decorators.py"))
        assert torch._dynamo.eval_frame._stance.stance == "eager_on_recompile"
    assert torch._dynamo.eval_frame._stance.stance == "default"


def test_a_block_that_ends_before_another_mode_may_be_interrupted():
    """While its mode is taken off from below: the other one stays, and the block has ended or goes on."""
    mode, foreign = OpFlopMode(), Foreign()
    before, places, number = state(), 0, 0
    while True:
        interruption = Interruption(number, "line", ("",))
        mode.__enter__()
        tracing = sys.gettrace()
        with foreign:
            try:
                sys.settrace(interruption.traced)
                mode.__exit__(None, None, None)
            except KeyboardInterrupt:
                sys.settrace(tracing)
                places += 1
            finally:
                sys.settrace(tracing)
            if mode.active:
                # Without a ``with`` statement, nothing follows from an interruption before the first line.
                mode.__exit__(None, None, None)
            assert modes_on_stack() == [foreign]
        assert state() == before
        if not interruption.done:
            break
        number += 1
    assert places > 100


def test_a_program_that_goes_on_after_an_interruption_is_counted_once():
    """A mode that was interrupted while it put itself back on the stack, to see inside an operator, is there once."""

    def program():
        with torch.inference_mode():
            torch.nn.functional.linear(X, NET.weight)

    with OpFlopMode() as mode:
        program()
        expected, places = mode.total.macs, 0
        for _ in interruptions(program, files=("mode_stack.py", "recording_mode.py")):
            assert modes_on_stack() == [mode]
            before = mode.total.macs
            program()
            assert mode.total.macs - before == expected == MACS
            places += 1
    assert places > 10


COUNTED_FILES = (
    "shared_context.py",
    "fake_tensor_checks.py",
    "mode_stack.py",
    "interruption.py",
    "patching.py",
    "time_limit.py",
)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_an_interruption_where_a_count_changes_something_leaves_nothing(device):
    """Once the exception is gone; and the next count is right."""
    net = nn.Sequential(nn.Linear(4, 4, device=device), nn.ReLU())
    x = torch.ones(2, 4, device=device)

    def program():
        return count(net, x, time_limit=60)

    def wait_for_timers():
        for thread in threading.enumerate():
            if "opflops" in thread.name:
                thread.join(5)

    expected = program()
    wait_for_timers()
    before, places = state(), 0
    for error in interruptions(program, files=COUNTED_FILES, step=5, operators_too=False):
        del error
        wait_for_timers()
        assert state() == before
        places += 1
    assert program() == expected
    assert places > 30


def test_an_interrupted_report_leaves_the_garbage_collector_on():
    """It is off while a large report is written."""
    with OpFlopMode() as mode:
        NET(X)
    profile = mode.profile
    before = state()
    for _ in interruptions(lambda: profile.table(), files=("garbage_collection.py",)):
        assert state() == before


def test_signals_at_any_time_leave_nothing():
    """Alarms at many times, as they come."""
    before = state()

    def ring(*_):
        raise KeyboardInterrupt

    handler = signal.signal(signal.SIGALRM, ring)
    try:
        for number in range(60):
            mode = None
            try:
                signal.setitimer(signal.ITIMER_REAL, 2e-5 * (number + 1))
                for _ in range(1000):
                    # Kept, so that no finalizer is interrupted in place of the block.
                    mode = mode or OpFlopMode()
                    with mode:
                        pass
            except KeyboardInterrupt:
                pass
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            assert state() == before
    finally:
        signal.signal(signal.SIGALRM, handler)
    assert not patching._modes


class Wave(nn.Module):
    """Run operators whose errors PyTorch passes on."""

    def forward(self, x):
        return x.sin() * 2


WAVES = nn.Sequential(Wave(), Wave())


def test_the_error_of_a_signal_handler_is_never_taken_for_one_of_a_tensor():
    """Wherever it comes while sizes and storages are read, and though it is of a type that is handled there."""
    count(WAVES, X)
    files = ("storages.py", "tensor_sizes.py", "traffic.py")
    errors = list(interruptions(lambda: count(WAVES, X), files=files, handler=sound_alarm))
    assert len(errors) > 10
    assert all(type(error) is AlarmError for error in errors)


@pytest.mark.parametrize("event", ["line", "opcode"])
@pytest.mark.parametrize("surrounded", [False, True])
def test_an_interruption_at_any_place_leaves_no_patch(event, surrounded):
    """While attributes are patched and put back; somebody else who is inside keeps the patch."""
    owner = type("Owner", (), {"method": lambda: 0})
    patch = patched(lambda: [(owner, "method", lambda _: lambda: 1)])

    def program():
        with patch():
            assert owner.method() == 1

    def around():
        with patch():
            for _ in interruptions(program, event=event, files=("shared_context.py", "interruption.py")):
                assert owner.method() == 1
                places.append(1)

    original, places = owner.method, []
    if surrounded:
        around()
    else:
        for _ in interruptions(program, event=event, files=("shared_context.py", "interruption.py")):
            assert owner.method is original
            places.append(1)
    assert owner.method is original
    assert len(places) > 20
