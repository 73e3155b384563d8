"""Fake tensors: copies of a program's tensors without storage, and the errors that they raise."""

from __future__ import annotations

import copy
import logging
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

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
from opflops.torch_internals.fake_tensor_checks import known_fakes_hidden
from opflops.torch_internals.fake_value_patches import fake_value_patches_active, finds_nothing
from opflops.torch_internals.known_values import KnownValues, known_mask, known_value
from opflops.torch_internals.shared_context import SharedContext

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from torch.fx.experimental.symbolic_shapes import ShapeEnv


def has_values(tensor: Tensor) -> bool:
    """Return whether the elements of a tensor can be read; meta tensors have only a shape, and so have most fake ones.

    See :mod:`opflops.torch_internals.known_values` for fake tensors whose values are known.
    """
    if tensor.is_meta:
        return False
    return not is_fake(tensor) or known_value(tensor) is not None


def values_of(tensor: Tensor) -> Tensor | None:
    """Return a tensor to read the elements of: itself, or the value that is known of a fake one; None if unknown."""
    if is_fake(tensor):
        return known_value(tensor)
    return None if tensor.is_meta else tensor


def mask_values_of(mask: Tensor) -> Tensor | None:
    """Return a tensor that hides what an attention mask hides; None if a fake or meta mask has no values."""
    return known_mask(mask) if is_fake(mask) else values_of(mask)


def mixes_devices(error: RuntimeError) -> bool:
    """Return whether an error says that fake tensors are on different devices; the message varies by version."""
    return "two devices" in str(error) or "two different devices" in str(error)


def value_dependent_errors() -> tuple[type[Exception], ...]:
    """Return the exceptions that a fake tensor raises if a program needs its values."""
    return (DataDependentOutputException, DynamicOutputShapeException)


def lacks_kernel(error: BaseException | None) -> bool:
    """Return whether an error says that an operator has no kernel for meta or fake tensors."""
    if isinstance(error, UnsupportedOperatorException):
        return True
    return isinstance(error, NotImplementedError) and "Meta" in str(error)


def lacks_storage(error: BaseException | None) -> bool:
    """Return whether an error says that a program reads elements of a meta or fake tensor outside PyTorch."""
    messages = {
        NotImplementedError: ("out of meta tensor",),
        RuntimeError: (".numpy() is not supported for tensor subclasses",),
        TypeError: ("convert meta device type tensor to numpy",),
    }
    return any(type(error) is cls and message in str(error) for cls, known in messages.items() for message in known)


def _disable_log() -> Callable[[], object]:
    log = logging.getLogger(FakeTensorMode.__module__)
    before, log.disabled = log.disabled, True
    return lambda: setattr(log, "disabled", before)


_log_disabled = SharedContext(_disable_log)


def _with_python_kernels(mode: FakeTensorMode, values: KnownValues) -> FakeTensorMode:
    """Make a mode compute results with Python kernels only, as the compiler does, and known values besides.

    The C++ kernels do not support symbolic sizes, and some of their results have a memory layout as on no device. This
    replaces a method of the mode, since higher-order operators dispatch on its class.
    """
    dispatch = mode.dispatch

    def call(func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if finds_nothing(func):
            return False
        return values.run(mode, func, args, kwargs, lambda: call_kernel(func, types, args, kwargs))

    def call_kernel(func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        with enable_python_dispatcher():
            if mode.shape_env is not None:
                from opflops.torch_internals.symint_patches import get_result, resized  # noqa: PLC0415 - only for symbolic sizes

                with mode:
                    made = get_result(func, args)
                if made is not None:
                    return made
            out = result_without_kernel(mode, func, args)
            if out is not None:
                return out
            out = corrected_result(mode, func, args, dispatch(func, types, args, kwargs))
            if mode.shape_env is None:
                return out
            with mode:
                return resized(func, out)

    mode.dispatch = call  # type: ignore[method-assign]
    return mode


def _is_causal_bias(tensor: Tensor) -> bool:
    module = sys.modules.get("torch.nn.attention.bias")
    return module is not None and isinstance(tensor, module.CausalBias)


class _CopyMode(FakeCopyMode):
    """Copy tensors as fake ones, and note the originals whose values are known."""

    def __init__(self, fake_mode: FakeTensorMode, values: KnownValues) -> None:
        super().__init__(fake_mode)
        self._values = values

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.__deepcopy__ and _is_causal_bias(args[0]):
            # It holds no elements, only what makes it, and cannot be made under a dispatch mode.
            return args[0]
        out = super().__torch_function__(func, types, args, kwargs)
        if func is Tensor.__deepcopy__:
            self._values.note_original(args[0], out)
        return out


@contextmanager
def fake_copies(
    originals: Any,
    copy_memo: Callable[[], Mapping[int, Any]] | None = None,
    sizes: ShapeEnv | None = None,
    *,
    exact_values: bool = True,
) -> Iterator[Any]:
    """Yield a deep copy whose tensors are fake, inside the mode that runs them.

    The copy preserves identity: a tensor or module that occurs twice in ``originals`` is one object in the copy too.
    The originals are not modified.

    Args:
        originals: What to copy.
        copy_memo: Called inside the mode; returns replacements for some originals, by the id of the original.
        sizes: The shape environment of symbolic sizes, if there are any.
        exact_values: Whether formulas may read values that are known; see :mod:`.known_values`.
    """
    values = KnownValues(exact=exact_values)
    # Real tensors that the forward uses, such as constants in closures and globals, are converted on first use.
    fake_mode = _with_python_kernels(FakeTensorMode(allow_non_fake_inputs=True, shape_env=sizes), values)
    memo: dict[int, Any] = {}
    if copy_memo is not None:
        with fake_mode:
            memo.update(copy_memo())
    with _CopyMode(fake_mode, values):
        copies = copy.deepcopy(originals, memo)
    # Newer versions also log what a fake kernel raises, with a traceback. The caller reports it.
    with _log_disabled, known_fakes_hidden, fake_value_patches_active, fake_mode:
        yield copies


def is_fake_or_tracing(arguments: Any) -> bool:
    """Return whether values are missing: because tensors are fake, or because the program is being traced."""
    abstract = (FakeTensorMode, ProxyTorchDispatchMode)
    return any(isinstance(mode, abstract) for mode in dispatch_modes()) or any(map(is_fake, tree_leaves(arguments)))
