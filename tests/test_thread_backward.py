"""Backward passes and steps of optimizers in other threads: counted in the right modules, or remarked.

The expected counts are those of the same program without threads. All of it runs in a thread of its own, in which
PyTorch numbers the nodes of autograd from zero, as in each of the program's threads: numbers alone tell nothing.
"""

import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from test_backward import LINEAR, Net, X, check, macs
from thread_programs import PROGRAMS
from torch import nn
from torch.utils.checkpoint import checkpoint

from opflops import OpFlopMode
from opflops.report.notes import uncounted_remark


def apart(function, *args):
    """Run a function in a new thread, and return its result."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *args).result()


def here(function, *args):
    return function(*args)


def work(mode):
    """List the arithmetic of each module in each phase, without forwards outside modules, which are not counted."""
    found = check(mode).by("module", "phase").items()
    by_module = {key: (each.macs, each.ops, each.transcendentals) for key, each in found if key != ("", "forward")}
    # For a thread that did not run the forward, what it recomputes is called by the backward.
    recomputes = any(phase == "recompute" for _, phase in by_module)
    sites = () if recomputes else mode.profile.sites
    return by_module, {(row.module, row.site, row.phase, row.op): row.cost.macs for row in sites}


def counted(program, run, **options):
    """Count a program that does with ``run`` what may happen in another thread."""

    def block():
        with OpFlopMode(threads=True, **options) as mode:
            program(run)
        return mode

    mode = apart(block)
    assert mode.profile.remarks == ()
    return work(mode)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda each: each.__name__)
def test_a_program_in_threads_costs_what_it_costs_without(program):
    """In the same modules and phases."""
    torch.manual_seed(0)
    expected = counted(program, here)
    torch.manual_seed(0)
    assert counted(program, apart) == expected
    assert any(phase == "backward" for _, phase in expected[0])


@pytest.mark.parametrize("workers", [1, 4])
def test_threads_that_train_one_model_are_counted(workers):
    """As Hogwild does: forward and backward cost the same in every thread, in the same modules, and so does a step."""
    net, loss, steps = Net(), nn.MSELoss(), 12
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with OpFlopMode(threads=True) as mode, ThreadPoolExecutor(workers) as pool:
        list(pool.map(lambda _: loss(net(X), X).backward(), range(steps)))
        for _ in range(steps):
            pool.submit(optimizer.step).result()
    assert macs(mode) == {
        ("Net.first", "forward"): steps * LINEAR,
        ("Net.second", "forward"): steps * LINEAR,
        ("Net.second", "backward"): steps * 2 * LINEAR,
        ("Net.first", "backward"): steps * LINEAR,
    }
    # Each of the 40 parameters is multiplied and added once.
    assert mode.profile.by("phase")["optimizer"].ops == steps * 2 * 40


def test_work_of_threads_is_remarked_where_it_is_not_counted():
    """Backward passes and steps, also of a graph that the block itself made; nothing is counted of them."""
    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    loss = net(X).sum()
    with OpFlopMode() as mode:
        apart(loss.backward)
        apart(optimizer.step)
    assert mode.profile.remarks == (uncounted_remark({}, 1, 1),)
    assert mode.profile.rows == ()
    with OpFlopMode() as mode:
        thread = threading.Thread(target=net(X).sum().backward)
        thread.start()
        thread.join()
    assert mode.profile.remarks == (
        "Not counted: 1 backward pass in other threads. OpFlopMode(threads=True) counts it.",
    )
    assert macs(mode) == {("Net.first", "forward"): LINEAR, ("Net.second", "forward"): LINEAR}

    def train(_):
        torch.autograd.grad(net(X).sum(), net.first.weight)

    with OpFlopMode() as mode, ThreadPoolExecutor(2) as pool:
        list(pool.map(train, range(3)))
    (remark,) = mode.profile.remarks
    assert remark == (
        "Not counted: modules called in other threads: Net (3 calls); 3 backward passes in other threads. "
        "OpFlopMode(threads=True) counts them."
    )


def test_work_inside_what_is_remarked_is_no_other_remark():
    """A module that trains itself is one call, and a pass inside another one is part of that."""

    class Trained(Net):
        def forward(self, x):
            return torch.autograd.grad(super().forward(x).sum(), self.first.weight)

    net = Net()
    with OpFlopMode() as mode:
        apart(Trained(), X)
        apart(checkpoint(net, X.clone().requires_grad_(), use_reentrant=True).sum().backward)
    assert mode.profile.remarks == (uncounted_remark({"Trained": 1}, 1),)


def test_the_block_s_own_backward_is_not_remarked():
    """Nor that of a thread with a block of its own, nor what runs before or after."""
    net = Net()

    def own():
        with OpFlopMode() as mode:
            net(X).sum().backward()
        return mode

    apart(net(X).sum().backward)
    with OpFlopMode() as mode:
        net(X).sum().backward()
        inner = apart(own)
    apart(net(X).sum().backward)
    assert mode.profile.remarks == inner.profile.remarks == ()


def test_a_thread_of_the_engine_works_for_the_thread_that_began_the_pass():
    """It numbers its nodes separately, and stands here for one that PyTorch has for a device."""
    found = []

    class Trained(Net):
        def forward(self, x):
            y = super().forward(x)
            (stack,) = [each.module_stack for each in mode._thread_modes]
            node = y.grad_fn
            y.register_hook(lambda _: found.append(apart(stack.node_owner, node, node._sequence_nr()).path))
            return torch.autograd.grad(y.sum(), self.first.weight)

    with OpFlopMode(threads=True) as mode:
        apart(Trained(), X)
    assert found == ["Trained.second"]


def test_a_pass_that_fails_in_a_thread_leaves_nothing_behind():
    """The thread's next work is counted, and attributed, as before."""
    net = Net()

    def fail():
        y = net(X)
        y.register_hook(lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            y.sum().backward()
        assert torch._C._len_torch_dispatch_stack() == 0
        net(X).sum().backward()

    with OpFlopMode(threads=True) as mode:
        apart(fail)
    assert macs(mode) == {
        ("Net.first", "forward"): 2 * LINEAR,
        ("Net.second", "forward"): 2 * LINEAR,
        ("Net.second", "backward"): 2 * LINEAR,
        ("Net.first", "backward"): LINEAR,
    }


def test_blocks_inside_each_other_each_find_the_modules():
    """Each notes for itself who made a node; the inner one does not know what ran before it."""

    def block():
        net = nn.Sequential(Net(), Net())
        with OpFlopMode(threads=True) as outer:
            before = apart(net, X)
            with OpFlopMode(threads=True) as inner:
                (before + apart(net[1], X)).sum().backward()
        return outer, inner

    outer, inner = apart(block)
    assert {key: value for key, value in macs(outer).items() if key[1] == "backward"} == {
        ("Sequential.1.second", "backward"): 4 * LINEAR,
        ("Sequential.1.first", "backward"): 3 * LINEAR,
        ("Sequential.0.second", "backward"): 2 * LINEAR,
        ("Sequential.0.first", "backward"): LINEAR,
    }
    assert {key: value for key, value in macs(inner).items() if key[1] == "backward"} == {
        ("", "backward"): 6 * LINEAR - LINEAR + 2 * LINEAR,
        ("Net.second", "backward"): 2 * LINEAR,
        ("Net.first", "backward"): LINEAR,
    }


def test_nothing_lives_longer_for_what_is_noted():
    """Neither a model nor a graph; and a graph keeps no model."""
    with OpFlopMode(threads=True):
        net = Net()
        model = weakref.ref(net)
        output = apart(net, X)
        kept = weakref.ref(net.first.weight)
        output.sum().backward()
        del net
        gc.collect()
        assert model() is None
        del output
        gc.collect()
        assert kept() is None


def test_replicas_that_run_at_once_are_counted():
    """As ``parallel_apply`` runs them; then the block's thread, or all of them at once, begin the backward."""

    class Meeting(Net):
        def forward(self, x):
            barrier.wait(10)
            return super().forward(x)

    number = 4
    barrier = threading.Barrier(number)
    net = Meeting()
    expected = {
        ("Meeting.first", "forward"): number * LINEAR,
        ("Meeting.second", "forward"): number * LINEAR,
        ("Meeting.second", "backward"): number * 2 * LINEAR,
        ("Meeting.first", "backward"): number * LINEAR,
    }

    def backward(loss):
        barrier.wait(10)
        loss.backward()

    with ThreadPoolExecutor(number) as pool:
        with OpFlopMode(threads=True) as mode:
            torch.cat(list(pool.map(net, [X] * number))).sum().backward()
        assert macs(mode) == expected
        with OpFlopMode(threads=True) as mode:
            losses = [each.sum() for each in pool.map(net, [X] * number)]
            list(pool.map(backward, losses))
        assert macs(mode) == expected
