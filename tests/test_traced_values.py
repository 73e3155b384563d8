"""Programs whose sizes or branches depend on values, traced inside a block."""

import pytest
import torch
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx

from opflops import Cost, OpFlopMode


class Program(nn.Module):
    """Call a function."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        """Call the function."""
        return self.function(x)


def rows_up_to_largest(x):
    """Multiply as many rows of ones as a value says."""
    count = x.max().item()
    torch._check(count > 0)
    return torch.ones(count, 4) @ torch.ones(4, 3)


COMPOSITES = {
    "item": lambda x: x * x.sum().item(),
    "argwhere": lambda x: torch.argwhere(x > 1) * 2,
    "where": lambda x: torch.where(x > 1)[0] + 1,
    "repeat_interleave": lambda x: torch.repeat_interleave(x, x, dim=0) * 2,
    "one_hot": lambda x: torch.nn.functional.one_hot(x, 5) * 2,
    "tensor_split": lambda x: torch.tensor_split(x, torch.tensor([1]))[0] * 2,
    "branch": lambda x: torch.cond(x.sum() > 2, lambda x: x * x.sum().item(), lambda x: x * 2, (x,)),
    "rows": rows_up_to_largest,
}


def exported_again(function):
    """Export a program, and export the result, whose graph still has operators that others define."""
    first = torch.export.export(Program(function), (torch.tensor([1, 2, 3]),), strict=False)
    return torch.export.export(first.module(), (torch.tensor([1, 2, 3]),), strict=False)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("name", COMPOSITES)
def test_operators_that_read_values_stay_priced_in_graphs_that_are_traced_again(name):
    """A tracer that keeps them whole leaves their parts to count where there are no values."""
    plain = exported_again(COMPOSITES[name]).graph_module.code
    with OpFlopMode(strict=True) as m:
        traced = exported_again(COMPOSITES[name]).graph_module.code
    assert traced == plain
    assert m.profile.unpriced == {}


def less_than_twice(x):
    """Make a vector of as many elements as one value exceeds twice another."""
    larger, smaller = x.sum().item(), x.min().item()
    torch._check(larger >= 2 * smaller)
    return torch.ones(larger - 2 * smaller) * 2


def quotient(x):
    """Make a vector of a length that is a quotient of values."""
    dividend, divisor = x.sum().item(), x.max().item() - x.min().item()
    torch._check(divisor >= 1)
    length = dividend // divisor
    torch._check(length >= 0)
    return torch.ones(length) * 2


@pytest.mark.parametrize("function", [less_than_twice, quotient])
def test_sizes_without_a_smallest_value_count_as_one(function):
    """Where the smallest values would give a negative size or divide by 0; the row says that the size is unknown."""
    x = torch.tensor([3, 2, 2])
    plain = make_fx(function, tracing_mode="symbolic")(x).code
    with OpFlopMode(strict=True) as m:
        assert make_fx(function, tracing_mode="symbolic")(x).code == plain
    product = next(row for row in m.profile.rows if row.op == "aten.mul" and "unknown" in row.estimate)
    assert product.cost == Cost(ops=1, bytes_read=4, bytes_written=4)


def test_a_number_that_may_be_any_counts_as_one():
    """A value without a lower bound does not end the trace: it multiplies four elements."""

    def scaled(x):
        return x * x.max().item()

    x = torch.tensor([[3, -2], [2, 7]])
    plain = make_fx(scaled, tracing_mode="symbolic")(x).code
    with OpFlopMode(strict=True) as m:
        assert make_fx(scaled, tracing_mode="symbolic")(x).code == plain
    assert next(row for row in m.profile.rows if row.op == "aten.mul").cost.ops == 4
