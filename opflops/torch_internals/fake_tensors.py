"""Fake tensors: copies of a program's tensors that have no storage, and the errors that they raise."""

from __future__ import annotations

import copy
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch._dispatch.python import enable_python_dispatcher
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeCopyMode,
    FakeTensorMode,
    UnsupportedOperatorException,
    is_fake,
)
from torch.fx.experimental.proxy_tensor import ProxyTorchDispatchMode
from torch.utils._pytree import tree_leaves

from opflops.torch_internals.dispatch import dispatch_modes
from opflops.torch_internals.fake_kernel_fixes import corrected_result, result_without_kernel
from opflops.torch_internals.shared_context import Shared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from torch.fx.experimental.symbolic_shapes import ShapeEnv


def has_values(tensor: Tensor) -> bool:
    """Tell a tensor whose elements can be read from one that only has a shape (meta, fake)."""
    return not (tensor.is_meta or is_fake(tensor))


def mixes_devices(error: RuntimeError) -> bool:
    """Tell what a fake tensor raises when it meets another one that is on another device; the words vary by version."""
    return "two devices" in str(error) or "two different devices" in str(error)


def value_dependent_errors() -> tuple[type[Exception], ...]:
    """Return what a fake tensor raises when a program asks for a value that it does not have."""
    return (DataDependentOutputException, DynamicOutputShapeException)


def lacks_kernel(error: BaseException | None) -> bool:
    """Tell whether an error is of an operator that has no kernel for tensors without storage."""
    if isinstance(error, UnsupportedOperatorException):
        return True
    return isinstance(error, NotImplementedError) and "Meta" in str(error)


def lacks_storage(error: BaseException | None) -> bool:
    """Tell whether an error is of a program that takes the elements of a tensor without storage out of PyTorch."""
    words = {
        NotImplementedError: ("out of meta tensor",),
        RuntimeError: (".numpy() is not supported for tensor subclasses",),
        TypeError: ("convert meta device type tensor to numpy",),
    }
    return any(type(error) is kind and word in str(error) for kind, known in words.items() for word in known)


def _silence() -> Callable[[], object]:
    log = logging.getLogger(FakeTensorMode.__module__)
    before, log.disabled = log.disabled, True
    return lambda: setattr(log, "disabled", before)


_silent = Shared(_silence)


def _with_python_kernels(mode: FakeTensorMode) -> FakeTensorMode:
    """Let a mode work out what results look like as the compiler does: with kernels written in Python, all the way.

    Those in C++ know no symbolic sizes, and lay some results out in memory as no device does. It is the mode's method
    that changes, not its class, by which higher-order operators know what to do.
    """
    dispatch = mode.dispatch

    def call(func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with enable_python_dispatcher():
            if mode.shape_env is not None:
                from opflops.torch_internals.symint_patches import result_of  # noqa: PLC0415 - only for symbolic sizes

                shape = result_of(func, args)
                if shape is not None:
                    with mode:
                        return torch.empty(shape, dtype=args[0].dtype, device=args[0].device)
            out = result_without_kernel(mode, func, args)
            return corrected_result(mode, func, args, dispatch(func, types, args, kwargs)) if out is None else out

    mode.dispatch = call  # type: ignore[method-assign]
    return mode


@contextmanager
def fake_copies(
    originals: Any, copy_memo: Callable[[], Mapping[int, Any]] | None = None, sizes: ShapeEnv | None = None
) -> Iterator[Any]:
    """Yield a deep copy whose tensors have shape, dtype and device but no storage, inside the mode that runs them.

    The copy keeps identity: a tensor or module that stands twice in ``originals`` is one object in the copy too.
    The originals are left as they are.

    Args:
        originals: What to copy.
        copy_memo: Makes, among tensors without storage, what is to stand for some of the originals, by their identity.
        sizes: Where the symbols in sizes come from, if there are any.
    """
    # Plain tensors that a forward meets along the way (constants in closures, globals) become fake as they come.
    fake_mode = _with_python_kernels(FakeTensorMode(allow_non_fake_inputs=True, shape_env=sizes))
    memo: dict[int, Any] = {}
    if copy_memo is not None:
        with fake_mode:
            memo.update(copy_memo())
    with FakeCopyMode(fake_mode):
        copies = copy.deepcopy(originals, memo)
    # Newer versions also log what a fake kernel raises, with a traceback; the caller gets it, and can say it better.
    with _silent, fake_mode:
        yield copies


def is_fake_or_tracing(arguments: Any) -> bool:
    """Tell whether values are missing because the tensors are fake, or because the program is being traced."""
    abstract = (FakeTensorMode, ProxyTorchDispatchMode)
    return any(isinstance(mode, abstract) for mode in dispatch_modes()) or any(map(is_fake, tree_leaves(arguments)))


def is_tracing() -> bool:
    """Tell whether operators are being written down in a graph."""
    return any(isinstance(mode, ProxyTorchDispatchMode) for mode in dispatch_modes())
