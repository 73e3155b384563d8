"""Formulas for operators that decompose: apply them where autograd would decompose the operator before the mode."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opflops.attribution.module_stack import counting_modes
from opflops.dispatch.memory_only import MemoryOnlyMode
from opflops.pricing.accumulator_deltas import add_times, apply_deltas, capture_deltas
from opflops.pricing.call_log import call_marked
from opflops.torch_internals.composite_kernels import inside_transform, intercept_autograd_kernel
from opflops.torch_internals.dispatch import (
    OpOverload,
    composite_implicit,
    dispatch_modes,
    modes_swapped,
    run_composite,
)
from opflops.torch_internals.distributed_tensors import are_distributed, distributed_types
from opflops.torch_internals.interruption import make_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from opflops.attribution.module_stack import ModuleStack
    from opflops.pricing.accumulator_deltas import AccumulatorDelta
    from opflops.pricing.accumulators import Accumulator, AccumulatorKey
    from opflops.pricing.call_log import CallLog
    from opflops.pricing.op_pricing import OpPricing
    from opflops.pricing.price_cache import PriceCache

    Kernel = Callable[..., Any]

_lock = make_lock()
# Of each intercepted operator: the modes that want it, and the function that ends it.
_intercepted: dict[OpOverload, tuple[set[Any], Callable[[], None]]] = {}
# Whether the kernel that an operator's library registered for autograd decomposes it; known after the first call while
# it is intercepted, since the library may register another one later.
_decomposes: dict[OpOverload, bool] = {}


class AppliesFormulas:
    """Base class of dispatch modes that record operators at their formulas.

    Attributes:
        prices: Finds the formula of each operator.
        accumulators: The sums so far.
        memory_tracker: What follows the memory of the block; None if that was not asked for.
        module_stack: The modules that are running.
        call_log: The log of each call, while PyTorch's profiler records; else None.
    """

    call_log: CallLog | None = None
    memory_tracker: Any
    module_stack: ModuleStack
    prices: PriceCache
    accumulators: list[Accumulator]

    def accumulator(self, context: Any, key: AccumulatorKey) -> Accumulator:
        """Return an accumulator; make it if there is none."""
        raise NotImplementedError

    def run(self, price: OpPricing, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run an operator, or a function in its place, and record its cost."""
        raise NotImplementedError

    def record(self, price: OpPricing, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> Any:
        """Record one call of an operator that has run."""
        raise NotImplementedError


def intercept_composites(mode: Any, wanted: set[OpOverload]) -> None:
    """Intercept these operators for a mode, and no others. Autograd decomposes those that no mode asks for as usual.

    If this is interrupted, do it again.
    """
    with _lock:
        for overload in wanted:
            if overload not in _intercepted:
                _intercepted[overload] = set(), intercept_autograd_kernel(overload, _runner(overload))
            _intercepted[overload][0].add(mode)
        for overload, (modes, stop) in list(_intercepted.items()):
            if overload not in wanted:
                modes.discard(mode)
            if not modes:
                stop()
                del _intercepted[overload]
                _decomposes.pop(overload, None)


def has_formula_for_composite(mode: AppliesFormulas, func: Any, types: Iterable[type[Any]] = ()) -> bool:
    """Return whether an operator that is intercepted has a formula in a mode, for tensors of these types.

    It has none for distributed tensors: their shapes are those of all ranks' work. The profile says so.
    """
    if func not in _intercepted or mode.prices[func].verdict not in ("formula", "zero"):
        return False
    if not are_distributed(types):
        return True
    mode.module_stack.remarks[
        f"The formula of {mode.prices[func].op} is for what runs as such on the tensors of this rank. Where it was "
        "given DTensors and PyTorch split it into other operators before that, these are counted."
    ] = None
    return False


def decompose(overload: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run an operator as those that it decomposes into; active modes with a formula for it record it instead."""

    def kernel(*args: Any, **kwargs: Any) -> Any:
        return run_composite(overload, args, kwargs)

    modes = _modes_with_formula(overload, ()) if _intercepted else []
    return _run(overload, kernel, modes, args, kwargs)


def _runner(overload: OpOverload) -> Callable[[Kernel, tuple[Any, ...], dict[str, Any]], Any]:
    def run(kernel: Kernel, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if inside_transform():
            # Tensors have the shapes that the transformed function sees, such as those of one example under vmap.
            return kernel(*args, **kwargs)
        modes = _modes_with_formula(overload, distributed_types(args, kwargs))
        if composite_implicit(overload) or _decomposes.get(overload):
            return _run(overload, kernel, modes, args, kwargs)
        if overload in _decomposes:
            return kernel(*args, **kwargs)
        return call_marked(modes, _run_first, overload, kernel, modes, args, kwargs)

    return run


def _modes_with_formula(overload: OpOverload, types: tuple[type[Any], ...]) -> list[AppliesFormulas]:
    modes = [mode for mode in counting_modes(dispatch_modes()) if isinstance(mode, AppliesFormulas)]
    return [mode for mode in modes if has_formula_for_composite(mode, overload, types)]


def _run(
    overload: OpOverload, kernel: Kernel, modes: list[AppliesFormulas], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Run an operator that decomposes, and record it in some modes, which do not see the operators that it runs."""
    if not modes:
        return kernel(*args, **kwargs)
    *others, mode = modes

    def run_unseen(*args: Any, **kwargs: Any) -> Any:
        active = dispatch_modes()
        above = active[active.index(mode) + 1 :]
        in_its_place = [] if mode.memory_tracker is None else [MemoryOnlyMode(mode.memory_tracker, mode.module_stack)]
        with modes_swapped([mode, *above], in_its_place + above):
            return _run(overload, kernel, others, args, kwargs)

    pricing = mode.prices[overload]
    return mode.run(pricing, run_unseen, args, kwargs) if pricing.recorded else run_unseen(*args, **kwargs)


def _run_first(
    overload: OpOverload, kernel: Kernel, modes: list[AppliesFormulas], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Run an operator whose kernel for autograd may decompose it or dispatch it again, and find out which it does."""
    captured: list[tuple[AppliesFormulas, list[AccumulatorDelta]]] = []

    def run(remaining: list[AppliesFormulas]) -> Any:
        if not remaining:
            return kernel(*args, **kwargs)
        out, deltas = capture_deltas(remaining[0], run, remaining[1:])
        captured.append((remaining[0], deltas))
        return out

    out = run(modes)
    for mode, deltas in captured:
        pricing = mode.prices[overload]
        if not pricing.recorded or any(delta.key[0] == pricing.op for delta in deltas):
            apply_deltas(mode, deltas)
            _decomposes[overload] = False
        else:
            accumulator = mode.record(pricing, args, kwargs, out)
            for delta in deltas:
                add_times(accumulator, delta.times)
            _decomposes[overload] = True
    return out
