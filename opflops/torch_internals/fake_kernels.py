"""The kernels of fake tensors: those in Python, with corrections, known values and a cache."""

from __future__ import annotations

from types import MethodType
from typing import TYPE_CHECKING, Any

from torch._dispatch.python import enable_python_dispatcher
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensor

from opflops.torch_internals.fake_kernel_fixes import (
    DEVICE_OF_TENSOR,
    corrected_result,
    hides_memory,
    result_without_kernel,
)
from opflops.torch_internals.fake_result_cache import FakeResultCache
from opflops.torch_internals.fake_size_checks import check_result_sizes, check_sizes, checks_sizes
from opflops.torch_internals.fake_value_patches import finds_nothing

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch._subclasses.fake_tensor import FakeTensorMode

    from opflops.torch_internals.fake_views import WritesToViews
    from opflops.torch_internals.known_values import KnownValues


def value_dependent_errors() -> tuple[type[Exception], ...]:
    """Return the exceptions that a fake tensor raises if a program needs its values."""
    return (DataDependentOutputException, DynamicOutputShapeException)


def use_python_kernels(
    mode: FakeTensorMode,
    values: KnownValues,
    lists: tuple[list[Any], list[Any], list[Any]],
    writes: WritesToViews,
    on_hit: Callable[[], None],
) -> None:
    """Make a mode compute results with Python kernels only, as the compiler does, and known values besides.

    The C++ kernels do not support symbolic sizes, and some of their results have a memory layout as on no device. This
    replaces methods of the mode, since higher-order operators dispatch on its class.

    Args:
        mode: The mode.
        values: Computes known values.
        lists: One that is filled with the latest operator, if it needs a value; one that gets all these operators; and
            one that gets the operators that keep memory whose size is not known.
        writes: Finds writes to views.
        on_hit: Called at times when results come from a cache.
    """
    needing_value, needed, hiding = lists
    dispatch = mode.dispatch
    cache = FakeResultCache(mode, on_hit)
    running: list[Any] = []
    checked: set[Any] = set()

    def call(func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        needing_value.clear()
        args = _with_symbolic_index(mode, func, args)
        if func is DEVICE_OF_TENSOR and type(args[0]) is FakeTensor:
            return args[0].fake_device
        if finds_nothing(func):
            return False
        writes.see(func, args, kwargs, is_nested=bool(running))
        try:
            return values.run(mode, func, args, kwargs, lambda: call_cached(func, types, args, kwargs))
        except value_dependent_errors() as error:
            # The error itself would keep the tensors of its traceback alive, and autograd copies gradients then.
            needing_value.append(getattr(error, "func", None))
            needed.append(func)
            raise

    def call_cached(func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return cache.run(func, args, kwargs, lambda: call_kernel(func, types, args, kwargs))

    def call_kernel(func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return _run_checked(running, func, args, kwargs, lambda: call_checked(func, types, args, kwargs))

    def call_checked(func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        with enable_python_dispatcher():
            if mode.shape_env is None:
                return _run(mode, dispatch, hiding, (func, types, args, kwargs))
            from opflops.torch_internals.symint_patches import get_result, resized  # noqa: PLC0415 - only for symbolic sizes

            with mode:
                made = get_result(func, args)
            if made is not None:
                return made
            out = _run(mode, dispatch, hiding, (func, types, args, kwargs))
            check_result_sizes(func, out, checked)
            with mode:
                return resized(func, out)

    mode.dispatch = call  # type: ignore[method-assign]
    # The dispatcher asks the instance first. The method of the class does the same with four calls around it.
    mode.__torch_dispatch__ = MethodType(lambda _mode, *given: call(*given), mode)  # type: ignore[method-assign]


def _with_symbolic_index(mode: FakeTensorMode, func: Any, args: Any) -> Any:
    """Return the arguments of an operator; a symbolic index is given as an integer first."""
    if getattr(mode.shape_env, "asked_index", None) is None:
        return args
    from opflops.torch_internals.symint_indexing import with_asked_index  # noqa: PLC0415 - only for symbolic sizes

    return with_asked_index(mode.shape_env, func, args)


def _run_checked(running: list[Any], func: Any, args: Any, kwargs: Any, run: Callable[[], Any]) -> Any:
    """Run an operator's fake kernel after the checks of sizes.

    Args:
        running: The operators whose kernels are running, which call others.
        func: The operator.
        args: Its arguments.
        kwargs: Those by name.
        run: Runs the kernel.
    """
    if checks_sizes(func, is_nested=bool(running)):
        check_sizes(func, args, kwargs)
    running.append(func)
    try:
        return run()
    finally:
        running.pop()


def _run(mode: FakeTensorMode, dispatch: Callable[..., Any], hiding: list[Any], call: tuple[Any, Any, Any, Any]) -> Any:
    """Compute the result of a call, with the corrections of :mod:`.fake_kernel_fixes`."""
    func, types, args, _ = call
    made = result_without_kernel(mode, func, types, args)
    if made is not None:
        return made
    hiding.extend([func] if hides_memory(func, args) else ())
    return corrected_result(mode, func, args, dispatch(*call))
