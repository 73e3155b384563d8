"""Results of fake operators that come from the cache are those that the operators' own kernels would make."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from typing import Any

import pytest
import sympy
import torch
from torch import Tensor, nn
from torch.export import Dim

from opflops import Cost, OpFlopMode, count
from opflops.errors import TimeLimitError
from opflops.pricing.op_pricing import OpPricing
from opflops.pricing.symbolic_prices import SymbolicPrices
from opflops.torch_internals import fake_kernels
from opflops.torch_internals.fake_tensors import fake_copies


def _kernels_run(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count the operators whose kernel runs, by name, from now on."""
    run: Counter[str] = Counter()
    original = fake_kernels._run

    def counted(mode: Any, dispatch: Any, hiding: Any, call: Any) -> Any:
        run[str(call[0])] += 1
        return original(mode, dispatch, hiding, call)

    monkeypatch.setattr(fake_kernels, "_run", counted)
    return run


@pytest.mark.parametrize("symbolic", [False, True])
def test_equal_layers_run_each_kernel_once(monkeypatch: pytest.MonkeyPatch, symbolic: bool) -> None:
    """Ten equal layers compute the shape of a product once, with numbers and with symbols for sizes."""
    model = nn.Sequential(*[nn.Linear(8, 8) for _ in range(10)])
    run = _kernels_run(monkeypatch)
    shapes = {"dynamic_shapes": ({0: Dim("batch")},)} if symbolic else {}
    profile = count(model, torch.zeros(4, 8), **shapes)
    assert profile.total.macs == (640 * sympy.Symbol("batch") if symbolic else 2560)
    # The first input needs no gradient, those of the other layers do. Of symbols there are the trace, and counts at
    # other sizes, which have a cache each.
    assert run["aten.addmm.default"] <= (10 if symbolic else 2)


@pytest.mark.parametrize("symbolic", [False, True])
def test_results_from_the_cache_have_versions_of_their_own(symbolic: bool) -> None:
    """A write to one result does not spoil an equal one that is kept for the backward."""

    def program(x: Tensor, y: Tensor) -> Tensor:
        kept = x.exp()
        written = y.exp()
        written.mul_(2)
        again = y.exp()
        again.detach().add_(1)
        return kept * written.detach()

    x, y = torch.zeros(4, 3, requires_grad=True), torch.zeros(4, 3)
    batch = Dim("batch")
    shapes = {"dynamic_shapes": ({0: batch}, {0: batch})} if symbolic else {}
    counted = count(program, x, y, backward=True, **shapes)
    with OpFlopMode() as mode:
        program(x, y).backward(torch.ones(4, 3))
    assert (counted.at(batch=4) if symbolic else counted).total == mode.total


def test_views_from_the_cache_share_the_memory_of_their_own_base() -> None:
    """A view that is made again for another tensor belongs to that tensor: the run and the count agree on the peak."""

    def program(x: Tensor) -> Tensor:
        first, second = torch.cos(x), torch.sin(x)
        kept = first[:2]
        del first
        other = second[:2]
        del second
        large = torch.cat([x, x, x])
        return kept + other + large[:2]

    x = torch.zeros(64, 64)
    with OpFlopMode(memory=True) as mode:
        program(x)
    assert count(program, x, memory=True).memory.peak == mode.profile.memory.peak


def test_numbers_of_other_types_are_other_arguments() -> None:
    """1, 1.0 and True are equal, but an integer tensor becomes another dtype by each."""
    with fake_copies(torch.zeros(3, dtype=torch.int32)) as x:
        dtypes = [(x + number).dtype for number in (1, 1.0, True, 1.0, 1)]
    assert dtypes == [torch.int32, torch.float32, torch.int32, torch.float32, torch.int32]


def test_default_dtype_is_part_of_what_a_result_depends_on() -> None:
    """The same division of integers has the default dtype of its time."""
    with fake_copies(torch.ones(3, dtype=torch.int64)) as x:
        dtypes = [(x / x).dtype]
        try:
            torch.set_default_dtype(torch.float64)
            dtypes.append((x / x).dtype)
        finally:
            torch.set_default_dtype(torch.float32)
        dtypes.append((x / x).dtype)
    assert dtypes == [torch.float32, torch.float64, torch.float32]


def test_values_that_are_known_are_those_of_the_call_not_of_the_cache() -> None:
    """A program branches on each of two comparisons of equal shapes by its own values."""

    def program(ids: Tensor, x: Tensor) -> Tensor:
        zero, one = torch.zeros_like(ids), torch.ones_like(ids)
        for other in (zero, one, zero):
            if bool(torch.eq(ids, other).all()):
                x = x @ x
        return x

    macs = count(program, torch.zeros(4, dtype=torch.int64), torch.zeros(8, 8)).total.macs
    assert macs == 2 * 8**3


def test_a_price_of_symbols_belongs_to_the_pricing_that_made_it() -> None:
    """Of two pricings, as before and after a registration, each prices equal calls once, by its own formula."""
    asked: Counter[str] = Counter()

    def pricing(name: str, ops: int) -> OpPricing:
        def pricer(_out: Tensor, _x: Tensor) -> tuple[Cost, int, int, torch.dtype]:
            asked[name] += 1
            return Cost(ops=ops), 0, 0, torch.float32

        return OpPricing(name, "formula", pricer=pricer)

    before, after, prices = pricing("before", 5), pricing("after", 7), SymbolicPrices()
    with fake_copies(torch.zeros(3)) as x:
        found = [prices.price_call(each, x, (x,), {})[1] for each in (before, after, before, after)]
    assert found == [5, 7, 5, 7]
    assert asked == {"before": 1, "after": 1}


def test_a_time_limit_interrupts_answers_from_the_cache() -> None:
    """A program that repeats one operator for ever ends at its time limit."""

    def program(x: Tensor) -> Tensor:
        while True:
            x = x + 1

    with pytest.raises(TimeLimitError):
        count(program, torch.zeros(4), time_limit=1.0)


def test_counting_for_all_sizes_imports_no_compiler() -> None:
    """PyTorch's exporter and compiler, which take half a second to import, are not needed for a formula."""
    program = (
        "import sys, torch, opflops\n"
        "from torch.export import Dim\n"
        "opflops.count(torch.nn.Linear(4, 3), torch.zeros(2, 4), dynamic_shapes=({0: Dim('batch')},))\n"
        "print([name for name in ('torch.export._trace', 'torch._functorch.aot_autograd') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
