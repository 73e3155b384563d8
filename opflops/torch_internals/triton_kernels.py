"""Triton: the classes whose ``run`` launches a kernel, and a kernel's name and arguments. Nothing here imports it."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import ModuleType

LAUNCHING_MODULES = ("triton.runtime.jit", "triton.runtime.autotuner", "triton.runtime.interpreter")
"""Modules with classes that launch kernels. The last is imported only if ``TRITON_INTERPRET`` is set."""

_LAUNCHERS = ("JITFunction", "InterpretedFunction", "Autotuner", "Heuristics")
RUN = "run"
"""The method that ``kernel[grid](...)`` calls."""


def kernel_launchers(module: ModuleType) -> Iterator[tuple[type, str]]:
    """Yield the classes of one of these modules that launch kernels, with the name of the method that does."""
    for name in _LAUNCHERS:
        launcher = vars(module).get(name)
        if isinstance(launcher, type) and launcher.__module__ == module.__name__ and RUN in vars(launcher):
            yield launcher, RUN


def is_kernel(value: object) -> bool:
    """Tell whether a value is what ``@triton.jit`` makes of a function."""
    return any(each.__name__ in _LAUNCHERS[:2] and each.__module__ in LAUNCHING_MODULES for each in type(value).__mro__)


def kernel_function(kernel: Any) -> Any:
    """Return the Python function of a kernel, which autotuners and heuristics wrap."""
    while hasattr(kernel, "fn"):
        kernel = kernel.fn
    return kernel


def kernel_parameters(kernel: Any) -> list[str]:
    """Return the names of a kernel's parameters."""
    return list(inspect.signature(kernel_function(kernel)).parameters)


def kernel_arguments(kernel: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Name the arguments of a launch as the kernel does, with defaults and without the options of the launch."""
    signature = inspect.signature(kernel_function(kernel))
    bound = signature.bind_partial(*args, **{name: kwargs[name] for name in signature.parameters if name in kwargs})
    bound.apply_defaults()
    return dict(bound.arguments)


def settle_launch(kernel: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keyword arguments that autotuners and heuristics would add, without running anything.

    An autotuner, which would try its configurations, takes the first.
    """
    settled = dict(kwargs)
    while hasattr(kernel, "fn"):
        if getattr(kernel, "configs", None):
            settled.update(kernel.configs[0].all_kwargs())
        for name, value in getattr(kernel, "values", {}).items():
            settled[name] = value({**dict(zip(kernel.arg_names, args, strict=False)), **settled})
        kernel = kernel.fn
    return settled
