"""Launches of kernels outside PyTorch's dispatcher, as in ``kernel[grid](x, n)``: each counting mode is told of them.

A kernel whose wrapper was already counted, as one operator, is launched while the mode handles that operator, and so is
not counted again. Nothing that a launch runs on tensors is counted: trials of an autotuner, the interpreter's copies.
"""

from __future__ import annotations

import threading
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from opflops.attribution.module_stack import counting_modes
from opflops.attribution.subgraphs import counting_modes_disabled
from opflops.torch_internals.dispatch import dispatch_modes
from opflops.torch_internals.fake_tensors import has_values
from opflops.torch_internals.triton_kernels import (
    kernel_arguments,
    kernel_function,
    kernel_parameters,
    settle_launch,
)

if TYPE_CHECKING:
    from collections.abc import Callable


class _Launch(NamedTuple):
    """Hold the kernel of a launch, its positional and its keyword arguments."""

    kernel: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class _Running(threading.local):
    """Hold the launch that this thread is counting.

    Attributes:
        launches: It, and then the launches that it passed its arguments on to; None while none is counted.
    """

    def __init__(self) -> None:
        self.launches: list[_Launch] | None = None


_running = _Running()


def wrap_kernel_run(original: Callable[..., Any]) -> Callable[..., Any]:
    """Tell the counting modes of the thread of each launch."""

    @wraps(original)
    def run(kernel: Any, *args: Any, **kwargs: Any) -> Any:
        if _running.launches is not None:
            _running.launches.append(_Launch(kernel, args, kwargs))
            return original(kernel, *args, **kwargs)
        modes = counting_modes(dispatch_modes())
        if not modes or kwargs.get("warmup"):
            return original(kernel, *args, **kwargs)
        name, launches = kernel_function(kernel).__name__, [_Launch(kernel, args, kwargs)]
        call: Callable[[], Any] = partial(_run, original, launches)
        for mode in modes:
            call = partial(mode.run_kernel, name, kernel_parameters(kernel), partial(_arguments, launches), call)
        return call()

    return run


def _run(original: Callable[..., Any], launches: list[_Launch]) -> Any:
    """Launch a kernel, uncounted. Tensors without data only take their shapes from it, and have those already."""
    kernel, args, kwargs = launches[0]
    if any(isinstance(value, torch.Tensor) and not has_values(value) for value in (*args, *kwargs.values())):
        launches.append(_Launch(kernel, args, settle_launch(kernel, args, kwargs)))
        return None
    # An interruption can come at each line, so all are inside.
    try:
        _running.launches = launches
        with counting_modes_disabled():
            result = original(kernel, *args, **kwargs)
        _running.launches = None
        return result  # noqa: TRY300
    except BaseException:
        _running.launches = None
        raise


def _arguments(launches: list[_Launch]) -> dict[str, Any]:
    """Return the arguments that the kernel itself got, after those that autotuners and heuristics added."""
    return kernel_arguments(*launches[-1])
