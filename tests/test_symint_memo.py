"""Operations on symbolic sizes that are answered from memory are those that PyTorch computes."""

from __future__ import annotations

import operator
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.sym_node import SymNode

from opflops.torch_internals.symbolic_shapes import RecordingShapeEnv
from opflops.torch_internals.symint_patches import symint_patches_active

OPERATORS = [operator.add, operator.sub, operator.mul, operator.floordiv, operator.eq, operator.ne, operator.lt,
             operator.le, operator.gt, operator.ge, torch.sym_min, torch.sym_max]  # fmt: skip


def _sizes() -> tuple[RecordingShapeEnv, Any, Any]:
    env = RecordingShapeEnv(lambda: "here")
    return env, env.size("batch", 6, 2, None), env.size("seq", 10, 2, 64)


def _described(value: Any) -> tuple[str, Any, type]:
    node = value.node
    return str(node.expr), node.hint, node.pytype


@pytest.mark.parametrize("function", OPERATORS)
def test_an_operation_is_that_of_pytorch_the_first_time_and_later(function: Any) -> None:
    """Its expression, its value at the traced sizes and its type; with numbers, sums and floats as operands."""
    found = []
    for patched in (False, True):
        _, batch, seq = _sizes()
        operands = [batch, seq, batch + seq, 2 * batch, seq // 3, 4, 1, 2.5]
        pairs = [(x, y) for x in operands[:5] for y in operands]
        if patched:
            with symint_patches_active():
                first = [_described(function(*pair)) for pair in pairs]
                found += [first, [_described(function(*pair)) for pair in pairs]]
        else:
            found.append([_described(function(*pair)) for pair in pairs])
    assert found[0] == found[1] == found[2]


def test_equal_operations_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not again for the sizes of the next layer, which are other objects of the same expression."""
    computed = []
    original: Any = SymNode._mul  # type: ignore[attr-defined]

    def counted(first: Any, second: Any) -> Any:
        computed.append((first, second))
        return original(first, second)

    monkeypatch.setattr(SymNode, "_mul", counted)
    _, batch, seq = _sizes()
    with symint_patches_active():
        for _ in range(5):
            assert str(((batch + 1) * seq).node.expr) == str(((batch + 1) * seq).node.expr)
    assert len(computed) == 1


def test_an_operation_is_computed_again_once_a_size_has_been_replaced() -> None:
    """After a guard that two sizes are equal, their sum is twice one of them."""
    env, batch, seq = _sizes()
    del batch, seq
    one, other = env.size("one", 6, 2, None), env.size("other", 6, 2, None)
    with symint_patches_active():
        before = (one + other).node.expr
        assert len(before.free_symbols) == 2
        assert not env.specialized_dims()
        assert bool(one == other)
        after = (one + other).node.expr
        assert len(after.free_symbols) == 1
        assert (one - other).node.maybe_as_int() == 0


def test_guards_are_those_of_pytorch() -> None:
    """A comparison that is answered from memory adds its guard, and one that holds for all sizes adds none."""
    found = []
    for patched in (False, True):
        env, batch, seq = _sizes()
        if patched:
            with symint_patches_active():
                taken = [bool(each) for each in _comparisons(batch, seq)]
        else:
            taken = [bool(each) for each in _comparisons(batch, seq)]
        found.append((taken, [str(guard) for guard, _ in env.recorded_guards]))
    assert found[0] == found[1]
    assert found[0][0] == [True, True, True, False, True, True]
    assert len(found[0][1]) == 2


def _comparisons(batch: Any, seq: Any) -> list[Any]:
    return [batch > 4, batch > 4, batch == batch, batch > batch, seq < 40, seq < 40]  # noqa: PLR0124 - answered from memory


def test_a_tracer_of_the_program_notes_each_operation(monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph that the program makes inside gets a node for a product of sizes, although the product is known."""
    computed = []
    original: Any = SymNode._mul  # type: ignore[attr-defined]

    def counted(first: Any, second: Any) -> Any:
        computed.append(first)
        return original(first, second)

    def double(x: torch.Tensor) -> torch.Tensor:
        return x.new_zeros(x.shape[0] * 2 + 1)

    monkeypatch.setattr(SymNode, "_mul", counted)
    env, batch, _ = _sizes()
    with symint_patches_active(), FakeTensorMode(shape_env=env):
        x = torch.empty(batch)
        double(x)
        computed.clear()
        double(x)
        assert not computed
        for _ in range(2):
            graph: Any = make_fx(double)(x)
            assert sum(node.target is operator.mul for node in graph.graph.nodes) == 1
            assert computed
            computed.clear()
