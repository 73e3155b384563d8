"""Ctrl-C at any line while a block begins or ends, or a count runs, leaves nothing behind."""

import dis
import gc
import signal
import sys
from contextlib import contextmanager

import pytest
import torch
from torch import nn
from torch.utils import _python_dispatch
from torch.utils._python_dispatch import TorchDispatchMode

from opflops import Cost, OpFlopMode, count

LEAVE = vars(OpFlopMode)["__exit__"] if "__exit__" in vars(OpFlopMode) else None
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


def state():
    """List everything global that a block changes."""
    modes = [torch._C._get_dispatch_stack_at(index) for index in range(torch._C._len_torch_dispatch_stack())]
    flags = {name: value for name, value in vars(_python_dispatch).items() if name.startswith("_is_in_")}
    hooks = dict(sys.modules["torch.optim.optimizer"]._global_optimizer_pre_hooks)
    dynamo = sys.modules.get("torch._dynamo.eval_frame")
    return (
        modes,
        flags,
        hooks,
        [vars(owner).get(name) for owner, name in PATCHED],
        [type(finder) for finder in sys.meta_path],
        sorted(torch.library._impls),
        [
            torch._C._dispatch_has_kernel_for_dispatch_key(f"aten::{name}", "AutogradCPU")
            for name in ("linear", "matmul")
        ],
        dynamo and dynamo._stance.stance,
        "FakeTensor" in vars(torch._subclasses),
        sys.modules["torch._subclasses.fake_tensor"].log.disabled,
        torch.is_grad_enabled(),
    )


class Interruption:
    """Raise KeyboardInterrupt at one of the lines, or instructions, of functions outside this file."""

    def __init__(self, number, event, only=""):
        self.left, self.event, self.only = number, event, only
        self.done = False

    def trace(self, frame, event, _argument):
        if frame.f_code.co_filename == __file__ or self.done:
            return self.trace
        frame.f_trace_opcodes = self.event == "opcode"
        if event == self.event and self.only in frame.f_code.co_filename:
            if not self.left:
                self.done = True
                raise KeyboardInterrupt
            self.left -= 1
        return self.trace


def numbers(program, event="line", only="", step=1):
    """Yield how often a program was interrupted, each time at the next place, until there is none left."""
    number = 0
    while True:
        interruption = Interruption(number, event, only)
        before = sys.gettrace()
        try:
            sys.settrace(interruption.trace)
            program()
        except KeyboardInterrupt as error:
            sys.settrace(before)
            yield number, error
        finally:
            sys.settrace(before)
        if not interruption.done:
            return
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


def crossed():
    """End a block before another mode that was entered after it."""
    block, mode = OpFlopMode(), Foreign()
    block.__enter__()
    try:
        with mode:
            block.__exit__(None, None, None)
    finally:
        if block.active:
            block.__exit__(None, None, None)


BLOCKS = {
    "plain": block(),
    "root": block(root=NET),
    "threads": block(threads=True),
    "timing": block(timing=True),
    "formula of a composite": block(formulas={torch.ops.aten.linear: linear_cost}),
    "nested": nested(),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_an_interruption_at_any_line_of_entering_or_leaving_leaves_nothing(name):
    """Everything is as before while the exception is handled, and the next block counts and names modules."""
    program = BLOCKS[name]
    program()
    before, places = state(), 0
    for _, error in numbers(program):
        assert state() == before, error.__traceback__
        places += 1
        with OpFlopMode() as mode:
            NET(X)
        assert mode.profile.by("module").keys() == {"Linear"}
        assert mode.total.macs == MACS
        assert state() == before
    assert places > 200


def counted():
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    x = torch.ones(2, 4)
    meta = nn.Linear(4, 4, device="meta")
    return {"fake": lambda: count(net, x), "meta": lambda: count(meta, torch.ones(2, 4, device="meta"))}


@pytest.mark.parametrize("kind", ["fake", "meta"])
def test_an_interruption_at_any_line_of_a_count_leaves_nothing(kind):
    """Once the exception is gone; the next count is right."""
    program = counted()[kind]
    program()
    expected = program()
    before, places = state(), 0
    for _, error in numbers(program, only="opflops/"):
        del error
        gc.collect()
        assert state() == before
        places += 1
    assert program() == expected
    assert places > 1000
