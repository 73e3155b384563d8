"""Patches of the arithmetic of symbolic sizes, so that each operation on the same expressions is computed once.

Autograd compares the shape of each gradient with that of the result that it belongs to, and the layers of a model have
the same shapes. PyTorch computes each comparison anew, since its own caches begin below what takes most of the time.

Results are kept by the expressions of the operands, by all else in an operand that the result depends on, and by the
number of times that the shape environment has replaced symbols.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch._ops import mode_stack_state_for_pre_dispatch
from torch.fx.experimental.sym_node import SymNode

from opflops.torch_internals.symbolic_shapes import RecordingShapeEnv

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_COMPARISONS = ("_eq", "_ne", "_lt", "_le", "_gt", "_ge")
# Not the remainder, for which PyTorch asks for the range of a symbol: a guard changes it.
_ARITHMETIC = ("_add", "_sub", "_mul", "_int_floordiv", "_sym_min", "_sym_max")
_PLAIN_HINTS = frozenset({int, bool, float, type(None)})
_PROXY = torch._C._TorchDispatchModeKey.PROXY
_UNKNOWN: Any = object()
_proxy_mode = torch._C._get_dispatch_mode
_pre_dispatch_mode = mode_stack_state_for_pre_dispatch().get


def patches() -> Iterator[tuple[Any, str, Callable[[Any], Callable[..., Any]]]]:
    """Yield the patches: of each one its owner, its name, and a function that makes the replacement."""
    for name in (*_COMPARISONS, *_ARITHMETIC):
        if name in vars(SymNode):
            yield SymNode, name, _wrap_binary(name)
    yield SymNode, "wrap_int", _wrap_integer
    yield SymNode, "maybe_as_int", _wrap_maybe_as_int


def _wrap_binary(name: str) -> Callable[[Any], Callable[..., Any]]:
    def wrap(original: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        def call(first: Any, second: Any) -> Any:
            env = first.shape_env
            if type(env) is not RecordingShapeEnv:
                return original(first, second)
            key = (
                name,
                first._expr,
                second._expr,
                env._replacements_version_counter,
                first._hint,
                second._hint,
                first.pytype,
                second.pytype,
                first._optimized_summation,
                second._optimized_summation,
            )
            try:
                known = env.operations.get(key)
            except TypeError:
                # A hint that is itself symbolic.
                return original(first, second)
            if _proxy_mode(_PROXY) is not None or _pre_dispatch_mode(0) is not None:
                # The program traces itself, and its tracer notes each operation.
                return original(first, second)
            if known is None:
                known = env.operations[key] = original(first, second)
            return known

        return call

    return wrap


def _wrap_integer(original: Callable[[Any, int], Any]) -> Callable[[Any, int], Any]:
    def call(node: Any, number: int) -> Any:
        env = node.shape_env
        if type(env) is not RecordingShapeEnv or type(number) is not int:
            return original(node, number)
        known = env.integers.get(number)
        if known is None:
            known = env.integers[number] = original(node, number)
        return known

    return call


def _wrap_maybe_as_int(original: Callable[[Any], int | None]) -> Callable[[Any], int | None]:
    def call(node: Any) -> int | None:
        env = node.shape_env
        if type(env) is not RecordingShapeEnv:
            return original(node)
        expression = node.expr
        known: int | None = env.numbers.get(expression, _UNKNOWN)
        if known is _UNKNOWN:
            known = env.numbers[expression] = original(node)
        return known

    return call
