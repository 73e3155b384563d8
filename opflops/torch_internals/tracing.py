"""Tracing: whether a program is being recorded in a graph, and its tensors with sizes that no tracer watches.

A tracer records what is done with the sizes of its tensors. ``make_fx`` and ``torch.export`` give them symbols, and add
a node or a guard for each calculation or comparison; ``torch.jit.trace`` gives them tensors. So costs are computed from
the sizes of the example that is traced, while the tracer is paused.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import SymBool, SymFloat, SymInt, Tensor
from torch._guards import TracingContext
from torch._ops import _len_torch_dispatch_stack_pre_dispatch
from torch._subclasses.functional_tensor import FunctionalTensor
from torch.nn.parameter import is_lazy
from torch.utils._pytree import tree_map

from opflops.torch_internals.dispatch import modes_disabled
from opflops.torch_internals.jit_tracing import jit_state, set_jit_state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

SYMBOLIC_TYPES = frozenset({SymInt, SymFloat, SymBool})
"""The types of numbers that a tracer may watch."""

EXAMPLE_SIZES = "sizes that the program leaves open are those of the example that was traced"
UNKNOWN_SIZES = "sizes that depend on values are unknown here, and count as the smallest above 0 that they can be"

_MAKE_FX = "torch.fx.experimental.proxy_tensor"
_PROXY = torch._C._TorchDispatchModeKey.PROXY
_FUNCTIONAL = torch._C._TorchDispatchModeKey.FUNCTIONAL
_active_mode = torch._C._get_dispatch_mode


def is_being_traced() -> bool:
    """Return whether a program is being traced: by ``make_fx``, AOTAutograd, the compiler, or ``torch.jit.trace``.

    This also holds where the tracer's own mode is not active, as while AOTAutograd runs a program to learn its results.
    """
    return (
        _active_mode(_PROXY) is not None
        or _active_mode(_FUNCTIONAL) is not None
        or jit_state() is not None
        or getattr(sys.modules.get(_MAKE_FX), "_CURRENT_MAKE_FX_TRACER", None) is not None
        or TracingContext.try_get() is not None
        or _len_torch_dispatch_stack_pre_dispatch() > 0
    )


@contextmanager
def tracer_paused() -> Iterator[None]:
    """Return a context in which no tracer records anything, and no dispatch mode is active."""
    state = jit_state()
    if state is not None:
        set_jit_state(None)
    try:
        with modes_disabled():
            yield
    finally:
        if state is not None:
            set_jit_state(state)


class _ExampleSizes:
    """Replace symbols by numbers, and remember whether there were any.

    Attributes:
        reason: Why costs of what was replaced are estimates; "" if nothing was replaced.
    """

    def __init__(self, *, all_tensors: bool = False) -> None:
        self.reason = ""
        self._all_tensors = all_tensors

    def number(self, value: Any) -> Any:
        """Return a number for one that may be symbolic."""
        if type(value) not in SYMBOLIC_TYPES:
            return value
        node = value.node
        # Symbols that opflops made itself are what the user asked for; those of nested tensors are no sizes.
        if node.is_nested_int() or hasattr(getattr(node, "shape_env", None), "recorded_guards"):
            return value
        constant = node.maybe_as_int() if isinstance(value, SymInt) else None
        if constant is not None:
            return constant
        self.reason = self.reason or EXAMPLE_SIZES
        kind = {SymInt: int, SymFloat: float, SymBool: bool}[type(value)]
        if node.hint is not None:
            return kind(node.hint)
        self.reason = UNKNOWN_SIZES
        return _smallest(node, kind)

    def size(self, value: Any) -> Any:
        """Return a number for a size or a stride."""
        number = self.number(value)
        # Each symbol at its smallest may still leave less than nothing for their difference.
        return 1 if number is not value and number < 0 else number

    def tensor(self, value: Tensor) -> Tensor:
        """Return a meta tensor for one of symbolic sizes, or a new tensor for any if all are asked for."""
        value = _without_functional_wrapper(value)
        # A parameter of a lazy module has no shape yet.
        if is_lazy(value) or value.is_nested or value.layout is not torch.strided:
            return value
        shape, strides = value.shape, value.stride()
        sizes, steps = [*map(self.size, shape)], [*map(self.size, strides)]
        symbolic = any(type(size) in SYMBOLIC_TYPES for size in (*shape, *strides))
        if not (symbolic or self._all_tensors) or any(type(size) in SYMBOLIC_TYPES for size in (*sizes, *steps)):
            return value
        device = value.device if self._all_tensors else "meta"
        return torch.empty_strided(sizes, steps, dtype=value.dtype, device=device)

    def leaf(self, value: Any) -> Any:
        """Return a leaf of a tree of arguments."""
        return self.tensor(value) if isinstance(value, Tensor) else self.number(value)


def _smallest(node: Any, kind: Callable[[Any], Any]) -> Any:
    """Evaluate an expression without adding a guard: hints where there are some, or the smallest positive value.

    Where the expression has no such value, as when it divides by 0 then, it counts as 1.
    """
    env, expression = node.shape_env, node.expr
    values = {symbol: _value_of(env, symbol) for symbol in expression.free_symbols}
    try:
        return kind(expression.xreplace(values))
    except (ArithmeticError, TypeError, ValueError):
        return kind(1)


def _value_of(env: Any, symbol: Any) -> Any:
    # Newer versions give a new name to what the older ones have.
    known = env.backed_var_to_val if hasattr(env, "backed_var_to_val") else env.var_to_val
    if symbol in known:
        return known[symbol]
    bounds = env.var_to_range.get(symbol)
    # A bound may be infinite.
    lower = int(bounds.lower) if bounds is not None and bounds.lower.is_Integer else 1
    return _integer(max(lower, 1))


@lru_cache(maxsize=1000)
def _integer(value: int) -> Any:
    import sympy  # noqa: PLC0415 - only for symbolic sizes

    return sympy.Integer(value)


@contextmanager
def untraced(value: Any, *, all_tensors: bool = False) -> Iterator[tuple[Any, str]]:
    """Yield values to compute a cost from, with the tracer paused, and why the cost is an estimate, or "".

    Without a tracer these are the values themselves, which may be of symbolic sizes that the user made.

    Args:
        value: The arguments or results of an operator, in tuples, lists and dicts.
        all_tensors: Whether to replace all tensors by fake tensors, so that operators can run on them. Their results
            have new symbols for sizes and numbers that depend on values.
    """
    if not is_being_traced():
        yield value, ""
        return
    with tracer_paused(), _new_fake_mode() if all_tensors else nullcontext():
        sizes = _ExampleSizes(all_tensors=all_tensors)
        replaced = tree_map(sizes.leaf, value)
        yield replaced, sizes.reason


def _new_fake_mode() -> AbstractContextManager[Any]:
    """Return a mode that runs operators without values, and gives each size or number that depends on some a symbol."""
    from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: PLC0415 - only while a program is traced
    from torch.fx.experimental.symbolic_shapes import ShapeEnv  # noqa: PLC0415 - as above

    return FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True)


@contextmanager
def tracer_bypassed(value: Any) -> Iterator[Any]:
    """Yield the arguments of an operator such that operators can run on them while the tracer is paused."""
    if not is_being_traced():
        yield value
        return
    with tracer_paused():
        yield tree_map(_without_functional_wrapper, value)


def _without_functional_wrapper(value: Any) -> Any:
    return torch._from_functional_tensor(value.elem) if isinstance(value, FunctionalTensor) else value


def count_at_example(count: Any) -> tuple[Any, str]:
    """Return a count as a number, and why it is an estimate; other counts than SymInts as they are, and ""."""
    sizes = _ExampleSizes()
    return sizes.number(count), sizes.reason


class SymbolicSizeError(Exception):
    """A size is a symbol, so that the fast path cannot count the call."""


def check_concrete_sizes(tensor: Tensor) -> None:
    """Raise if a tensor has a symbolic size; ask for no more, as a tracer would record calculations with sizes.

    Raises:
        SymbolicSizeError: It has.
    """
    if not tensor.is_nested:
        for size in tensor.shape:
            if type(size) is not int:
                raise SymbolicSizeError
