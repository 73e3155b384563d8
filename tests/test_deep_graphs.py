"""Graphs of autograd that are so deep that PyTorch would run out of stack when it frees them."""

import gc
import json
import subprocess
import sys
import weakref

import pytest
import torch
from torch import nn

from opflops import OpFlopMode

DEEP = """
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import nn

from opflops import OpFlopMode

class Scaled(nn.Module):
    def forward(self, x):
        return x * 1.5

class Deep(nn.Module):
    def __init__(self):
        super().__init__()
        self.scaled = Scaled()

    def forward(self, x, steps):
        for _ in range(steps):
            x = {step}
        return x

x, steps = torch.ones(2, requires_grad=True), 60_000
with OpFlopMode({options}) as mode:
    y = {forward}
    {backward}
del y
x.grad = None
print([cost.ops for cost in mode.profile.by("phase").values()])
"""


def freed(step="self.scaled(x)", options="", forward="Deep()(x, steps)", backward=""):
    """Run the program in a process of its own, and return the operations of each phase."""
    program = DEEP.format(step=step, options=options, forward=forward, backward=backward)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-500:]
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("options", "ops"),
    [
        # Each multiplication multiplies two elements, and so does its backward. The sum adds one.
        ({"backward": "y.sum().backward()"}, [2 * 60_000 + 1, 2 * 60_000]),
        ({"backward": "y.sum().backward(retain_graph=True)"}, [2 * 60_000 + 1, 2 * 60_000]),
        # Two additions more in each step, and in its backward.
        ({"backward": "y.sum().backward()", "step": "self.scaled(x) + x"}, [4 * 60_000 + 1, 4 * 60_000]),
        ({"options": "memory=True"}, [2 * 60_000]),
        ({"options": "threads=True", "forward": "ThreadPoolExecutor(1).submit(Deep(), x, steps).result()"}, [120_000]),
    ],
    ids=["chain", "retained", "branches", "memory", "threads"],
)
def test_a_graph_of_many_operators_is_freed_without_a_crash(options, ops):
    """After a backward that the mode counted, or where it looks at the graph that a forward has made."""
    assert freed(**options) == ops


class Noted(torch.autograd.Function):
    """Keep an object as long as the node."""

    @staticmethod
    def forward(ctx, x, kept):
        ctx.kept = kept
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return grad, None


class Kept:
    pass


def program(steps):
    """Run a backward through a chain, which begins with a node that keeps an object; return a reference to that."""
    kept = Kept()
    y = Noted.apply(torch.ones(1, requires_grad=True), kept)
    for _ in range(steps):
        y = y * 1.5
    y.backward(retain_graph=True)
    return y, weakref.ref(kept)


@pytest.mark.parametrize("steps", [100, 30_000])
def test_no_graph_lives_longer_than_without_the_mode(steps):
    """A graph lives as long as the program holds it; a deep one until the garbage collector has run then."""
    gc.collect()
    with OpFlopMode():
        y, kept = program(steps)
        gc.collect()
        assert kept() is not None
        del y
        if steps > 10_000:
            while gc.collect():
                pass
        assert kept() is None


def test_without_the_garbage_collector_a_graph_is_freed_at_once():
    """A program that has switched it off would keep its graphs for ever."""
    gc.collect()
    gc.disable()
    try:
        with OpFlopMode():
            y, kept = program(30_000)
        del y
        assert kept() is None
    finally:
        gc.enable()


def test_modules_of_a_deep_graph_are_told_apart():
    """Each one's backward is its own, also where the graph is divided."""

    class Twice(nn.Module):
        def forward(self, x):
            return x * 2

    class Loop(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = Twice(), Twice()

        def forward(self, x):
            for _ in range(10_000):
                x = self.second(self.first(x))
            return x

    with OpFlopMode() as mode:
        Loop()(torch.zeros(1, requires_grad=True)).backward()
    backward = mode.profile.where(phase="backward").by("module")
    assert {path: cost.ops for path, cost in backward.items() if path} == {"Loop.first": 10_000, "Loop.second": 10_000}
