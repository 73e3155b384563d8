"""What counting costs, in Python function calls, which are the same on every machine; times are for benchmarks/.

A ceiling is what it takes today. Raise one only for something that is worth it.
"""

import gc
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from known_cost_tables import forget_known_costs
from torch import nn

from opflops import Cost, OpFlopMode, Profile, Row
from opflops.torch_internals.autograd import next_sequence_nr

X, Y, Z = torch.ones(4, 4), torch.ones(4, 4), torch.ones(5, 5)
WEIGHT, BIAS = nn.Parameter(torch.ones(4, 4)), nn.Parameter(torch.ones(4))


pytestmark = pytest.mark.counts_calls


@pytest.fixture(autouse=True)
def no_known_costs():
    """Forget the costs that earlier tests made known, of which several may be tried in turn."""
    forget_known_costs()


@pytest.fixture(autouse=True)
def _nothing_of_before_is_cleared_up():
    """What other tests left is collected before, as their modules' last calls would be counted."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def calls(program):
    """Count the calls of functions, Python's and C's, that a program makes."""
    count = 0

    def note(_frame, event, _argument):
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        program()
    finally:
        sys.setprofile(None)
    return count


def added(program, **options):
    """Count the calls that counting adds to a program that has been met before."""
    program()
    plain = calls(program)
    with OpFlopMode(**options):
        program()
        program()
        counted = calls(program)
    return counted - plain


def per(times, program, **options):
    """Count the calls that counting adds to each repetition."""

    def some():
        for _ in range(times):
            program()

    def twice_as_many():
        for _ in range(2 * times):
            program()

    more, fewer = added(twice_as_many, **options), added(some, **options)
    assert (more - fewer) % times == 0
    return (more - fewer) // times


# PyTorch itself asks the dispatch rules of an operator before it calls a mode: three calls.
OPERATORS = {
    "add": (lambda: torch.add(X, X), 16),
    "relu": (lambda: torch.relu(X), 14),
    "a number": (lambda: X.mul_(1.0), 13),
    "alpha": (lambda: torch.add(X, X, alpha=2), 23),
    "view": (lambda: X.t(), 11),
    "mm": (lambda: torch.mm(X, Y), 15),
    "mm of one matrix": (lambda: torch.mm(Z, Z), 25),
    "linear": (lambda: nn.functional.linear(X, WEIGHT, BIAS), 27),
    "softmax": (lambda: torch.softmax(X, -1), 14),
}

MODULE = 15
BACKWARD = 324
BLOCK = 277
NEW_MODULE = 47


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_takes_no_more_calls(name):
    """The whole way: look-up, the operator itself, price, bytes, module and phase."""
    program, ceiling = OPERATORS[name]
    with torch.no_grad():
        assert per(50, program) <= ceiling


# Of each operator, what following its memory adds: its tensors, what it made, and what has died since.
MEMORY = {"add": 24, "relu": 21, "view": 15, "linear": 44}


@pytest.mark.parametrize("name", MEMORY)
def test_following_memory_takes_no_more_calls(name):
    """To see its tensors, and to note what is alive after it."""
    program, without = OPERATORS[name]
    with torch.no_grad():
        assert per(50, program, memory=True) - without <= MEMORY[name]


def test_a_module_takes_no_more_calls():
    """Entering and leaving it."""

    def inside(modules):
        model = nn.Sequential(*[nn.Identity() for _ in range(modules)])
        return added(lambda: model(X))

    with torch.no_grad():
        assert inside(150) - inside(50) <= 100 * MODULE


def pass_dividing_nodes():
    """Make nodes of autograd until none of the next 1,000 may divide a deep graph, which takes calls of its own."""
    leaf = torch.ones(1, requires_grad=True)
    while not 0x100 <= next_sequence_nr() % 0x1000 < 0xB00:
        _ = leaf * 1


def test_a_backward_takes_no_more_calls():
    """Eight operators, of which six are looked up by the node that asks for them."""
    pass_dividing_nodes()
    module = nn.Linear(4, 4)
    assert per(20, lambda: module(X).sum().backward()) <= BACKWARD


def block():
    """Count nothing."""
    with OpFlopMode():
        pass


def test_a_block_takes_no_more_calls():
    """Everything is put in place and taken away again; there is more of that where more of PyTorch is loaded."""
    code = "import test_overhead; test_overhead.block(); print(test_overhead.calls(test_overhead.block))"
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
    )
    assert int(ran.stdout) <= BLOCK


def training(steps):
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step():
        optimizer.zero_grad()
        model(X).sum().backward()
        optimizer.step()

    with OpFlopMode() as mode:
        counts = [calls(step) for _ in range(steps)]
    return counts, mode


def test_a_step_costs_the_same_however_many_there_were():
    """From the third on, when gradients are there and everything was met, each takes the same calls."""
    pass_dividing_nodes()
    counts, mode = training(60)
    assert len(set(counts[3:])) == 1
    _, short = training(6)
    assert len(mode.accumulators) == len(short.accumulators)
    assert len(mode.profile.rows) == len(short.profile.rows)


def first_meeting(modules):
    model = nn.Sequential(*[nn.ReLU() for _ in range(modules)])

    def block():
        with OpFlopMode():
            model(X)

    block()
    return calls(block)


def test_modules_that_are_new_cost_the_same_each():
    """A model of twice as many takes twice as long to meet."""
    hundred, two, three = (first_meeting(modules) for modules in (100, 200, 300))
    assert two - hundred == three - two
    assert (two - hundred) / 100 <= NEW_MODULE


@pytest.mark.no_outer_mode
def test_reading_a_total_takes_as_many_calls_for_many_modules(monkeypatch):
    """And none once it was read: rows are made when something asks for them."""
    monkeypatch.undo()  # what checks each block as it ends reads its rows

    def reading(modules):
        model = nn.Sequential(*[nn.ReLU() for _ in range(modules)])
        with torch.no_grad(), OpFlopMode() as mode:
            model(X)
        first = calls(lambda: mode.total)
        assert mode.total.ops == 16 * modules
        return first, calls(lambda: mode.total)

    few, many = reading(10), reading(300)
    assert few == many
    assert many[1] < many[0] < 80


def profile_of(modules):
    """Make a profile of ten rows for each module."""
    return Profile(
        tuple(
            Row(f"Net.{module // 100}.{module}", "Block", f"aten.op{op}", "forward", "float32", 3, Cost(module, op))
            for module in range(modules)
            for op in range(10)
        )
    )


VIEWS = {
    "overview": (str, 24),
    "whole tree": (lambda profile: profile.table(), 50),
    "by operator": (lambda profile: profile.table(by="op"), 6),
    "json": (lambda profile: profile.to_json(), 9),
    "difference": (lambda profile: profile.diff(profile), 20),
}


@pytest.mark.parametrize("name", VIEWS)
def test_reports_take_so_many_calls_for_a_row(name):
    """Twice the rows are twice the work, and the work for one is bounded."""
    view, ceiling = VIEWS[name]
    profiles = [profile_of(modules) for modules in (200, 400, 600)]
    view(profiles[0])  # what writes reports is loaded with the first
    one, two, three = (calls(lambda profile=profile: view(profile)) for profile in profiles)
    assert three - two <= 1.1 * (two - one)
    assert (two - one) / 2000 <= ceiling


def test_importing_opflops_loads_no_formula():
    """They are loaded when something is first counted, and an own formula may be registered before."""
    code = (
        "import torch, sys; from opflops import *; import opflops; assert 'opflops.formulas' not in sys.modules\n"
        "try: opflops.formula(torch.ops.aten.mm)(lambda self: opflops.Cost())\n"
        "except opflops.DuplicateFormulaError as error: print('refused')\n"
        "opflops.OpFlopMode(); print('opflops.formulas.contraction' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["refused", "True"]
