"""Counters that are dropped while they count, and blocks that fail: no hook and no mode stays for ever."""

import gc
import threading

import pytest
import torch
from torch import nn
from torch.nn.modules import module as modules

from opflops import OpFlopMode
from opflops.compat import FlopCounterMode
from opflops.compat.deepspeed import FlopsProfiler
from opflops.torch_internals.mode_stack import dispatch_modes


def left():
    return len(modules._global_forward_hooks), len(modules._global_forward_pre_hooks), len(dispatch_modes())


def flop_counter(_model):
    counter = FlopCounterMode(display=False)
    counter.__enter__()
    return counter


def profiler(model):
    prof = FlopsProfiler(model)
    prof.start_profile()
    return prof


BEGINNINGS = pytest.mark.parametrize("begin", [flop_counter, profiler])


@BEGINNINGS
def test_a_counter_that_is_dropped_ends(begin):
    """So does one inside another, which goes on."""
    model, before = nn.Linear(4, 4), left()
    with OpFlopMode() as mode:
        inside = left()
        counter = begin(model)
        assert left() > inside
        model(torch.ones(2, 4))
        del counter
        gc.collect()
        assert left() == inside
        model(torch.ones(2, 4))
    assert mode.total.macs == 64
    assert left() == before


@BEGINNINGS
def test_a_counter_that_is_dropped_after_an_error_ends(begin):
    """As in a program that catches the model's error and never ends what it began."""
    before = left()

    def run():
        model = nn.Linear(4, 4)
        counter = begin(model)
        model(torch.ones(2, 5))
        return counter

    with pytest.raises(RuntimeError, match="shapes"):
        run()
    gc.collect()
    assert left() == before


# An outer mode that a fixture enters in the thread would have to be left there, too.
@pytest.mark.no_outer_mode
@BEGINNINGS
def test_a_counter_of_a_thread_that_ended_ends(begin):
    """Its hooks, if there are any, are every thread's."""
    before, kept = left(), []
    thread = threading.Thread(target=lambda: kept.append(begin(nn.Linear(4, 4))))
    thread.start()
    thread.join()
    assert left()[:2] != before[:2] or begin is profiler
    kept.clear()
    gc.collect()
    assert left() == before


@BEGINNINGS
def test_a_counter_that_is_dropped_inside_a_module_ends(begin):
    """The module that runs then is left by nobody."""
    before = left()

    class Drops(nn.Module):
        def forward(self, x):
            counters.clear()
            gc.collect()
            return x @ x

    model = Drops()
    counters = [begin(model)]
    model(torch.ones(3, 3))
    model(torch.ones(3, 3))
    assert left() == before


def test_a_block_whose_hooks_fail_to_begin_does_not_begin(monkeypatch):
    """The next block counts as usual."""
    before = left()
    counter = FlopCounterMode(display=False)

    def fails(_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(counter.mod_tracker, "begin", fails)
        with pytest.raises(KeyboardInterrupt):
            counter.__enter__()
    assert left() == before
    with counter:
        nn.Linear(4, 4)(torch.ones(2, 4))
    assert counter.get_total_flops() == 64


def test_nothing_ends_twice():
    """A counter is dropped after its block, with its figures read."""
    before = left()
    with FlopCounterMode(display=False) as other:
        with FlopCounterMode(display=False) as counter:
            torch.ones(2, 2) @ torch.ones(2, 2)
        del counter
        gc.collect()
        torch.ones(2, 2) @ torch.ones(2, 2)
    assert other.get_total_flops() == 32
    assert left() == before
