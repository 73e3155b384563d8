"""Comparing whole tensors costs what comparing their elements and folding the answers costs."""

import math

import pytest
import torch
from counted import cost_of
from oracle import Number, aten, by_hand, priced

from opflops import Cost, OpFlopMode

x = torch.rand(5)
u = torch.randn(5, dtype=torch.complex64)


def every(answers):
    """Fold answers by a step for each but the first."""
    first, *others = answers
    for other in others:
        first = first.smaller(other)
    return first


def alike(a, b):
    return a._operation(float(a.value == b.value))


@pytest.mark.parametrize("tensor", [x, torch.arange(5)])
def test_equality_by_hand(tensor):
    """A comparison for each element, and n - 1 steps, also where the first pair differs already."""
    work, result = by_hand(lambda a, b: every([alike(*pair) for pair in zip(a, b, strict=True)]), tensor, tensor)
    assert result == 1
    assert work == (5 + 4, 0)
    assert priced(aten.equal.default, tensor, tensor)[0].ops == work.ops
    assert priced(aten.equal.default, tensor, tensor + 1)[0] == priced(aten.equal.default, tensor, tensor)[0]


def test_equality_of_other_shapes_and_of_nothing():
    """Shapes that differ are the answer; nothing is equal to nothing without a step."""
    assert cost_of(torch.equal, x, x[:4]) == Cost()
    assert cost_of(torch.equal, x[:0], x[:0]) == Cost()
    assert cost_of(torch.equal, x[:1], x[:1]) == Cost(ops=1)


def size(a):
    """Take the size of a number; of a complex one, which is a pair, ``sqrt(re * re + im * im)``."""
    return abs(a) if isinstance(a, Number) else (a[0] * a[0] + a[1] * a[1]).root()


def close(a, b, *, equal_nan=False, floating=True):
    """Compare two real numbers as isclose does, with the default tolerances; joining answers does not count."""
    answer = alike(a, b)
    if equal_nan:
        a.is_not(a.value)
        b.is_not(b.value)
    allowed = size(b * 1e-5) + 1e-8
    error = size(a - b)
    if floating:
        error._operation(float(error.value == error.value))
        abs(error).is_not(math.inf)
    within = error._operation(float(error.value <= allowed.value))
    return Number(max(answer.value, within.value), a.counts)


@pytest.mark.parametrize("equal_nan", [False, True])
def test_closeness_by_hand(equal_nan):
    """The definition of isclose for each pair, and n - 1 steps to fold the answers."""

    def definition(first, second):
        return every([close(a, b, equal_nan=equal_nan) for a, b in zip(first, second, strict=True)])

    work, result = by_hand(definition, x, x)
    assert result == float(torch.allclose(x, x))
    assert cost_of(lambda: torch.allclose(x, x, equal_nan=equal_nan)) == Cost(ops=work.ops)
    assert work.ops == 5 * (12 if equal_nan else 10) + 4


def test_closeness_of_whole_numbers_by_hand():
    """They are all finite, and none is NaN."""

    def definition(first, second):
        return every([close(a, b, floating=False) for a, b in zip(first, second, strict=True)])

    numbers = torch.arange(5)
    work, _ = by_hand(definition, numbers, numbers)
    assert work.ops == 5 * 7 + 4
    for equal_nan in (False, True):
        assert priced(aten.allclose.default, numbers, numbers, equal_nan=equal_nan)[0].ops == work.ops


@pytest.mark.parametrize("tolerance", [{}, {"rtol": 0.0}, {"atol": 0.0}, {"rtol": 0.0, "atol": 0.0}])
@pytest.mark.parametrize("equal_nan", [False, True])
@pytest.mark.parametrize(("first", "second"), [(x, x + 1), (torch.rand(3, 5), x), (x[:0], x[:0]), (u, u)])
def test_closeness_costs_what_isclose_does(first, second, equal_nan, tolerance):
    """Its floating-point work is what ``isclose(...)`` runs, and the fold of the answers comes to that."""
    with OpFlopMode(strict=True) as mode:
        answers = torch.isclose(first, second, equal_nan=equal_nan, **tolerance)
    apart = mode.total
    fold = max(answers.numel() - 1, 0)
    # Complex rows count pairs of operations, so that an odd number is one more.
    ops = apart.ops + fold + (apart.ops + fold) % 2 * first.is_complex()
    together = cost_of(lambda: torch.allclose(first, second, equal_nan=equal_nan, **tolerance))
    assert together == Cost(ops=ops, transcendentals=apart.transcendentals)


@pytest.mark.parametrize("name", ["_is_all_true", "_is_any_true"])
def test_folding_truths(name):
    """It takes n - 1 steps, on truths and so in no total; meta tensors do the same."""
    truths = torch.ones(2, 3, dtype=torch.bool)
    overload = getattr(aten, name).default
    expected = Cost(ops=5, bytes_read=6, bytes_written=1)
    assert priced(overload, truths)[0] == priced(overload, truths, device="meta")[0] == expected
    assert cost_of(overload, truths) == Cost()


@pytest.mark.skipif(not hasattr(aten, "hash_tensor"), reason="this PyTorch has no hash_tensor")
def test_hashing_folds_by_exclusive_or():
    """It takes n - 1 steps for each result, which give what folding the bits of the numbers gives."""
    numbers = torch.tensor([[5, 6, 7], [1, 2, 9]])
    results = torch.hash_tensor(numbers, 1).tolist()
    assert results == [5 ^ 6 ^ 7, 1 ^ 2 ^ 9]
    assert priced(aten.hash_tensor.default, numbers, [1])[0] == Cost(ops=2 * 2, bytes_read=48, bytes_written=16)
    assert priced(aten.hash_tensor.default, numbers)[0] == Cost(ops=5, bytes_read=48, bytes_written=8)
    given = torch.empty(2, dtype=torch.uint64)
    assert priced(aten.hash_tensor.out, numbers, [1], out=given)[0].ops == 4
