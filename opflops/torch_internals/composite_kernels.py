"""Operators that decompose: intercept them where autograd would decompose them before any dispatch mode sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from opflops.torch_internals.dispatch import composite_implicit, run_composite

if TYPE_CHECKING:
    from collections.abc import Callable

    from opflops.torch_internals.dispatch import OpOverload

    Kernel = Callable[..., Any]
    Runner = Callable[[Kernel, tuple[Any, ...], dict[str, Any]], Any]

# Those that the dispatcher can parse. Nested tensors have kernels of their own.
_AUTOGRAD_KEYS = (
    "AutogradCPU",
    "AutogradCUDA",
    "AutogradHPU",
    "AutogradLazy",
    "AutogradMPS",
    "AutogradMeta",
    "AutogradOther",
    "AutogradPrivateUse1",
    "AutogradPrivateUse2",
    "AutogradPrivateUse3",
    "AutogradXLA",
    "AutogradXPU",
)
# A device that PyTorch no longer supports. What is registered for all devices is found here while it is intercepted.
_NOT_INTERCEPTED = "AutogradIPU"
# PyTorch's own kernels for autograd dispatch the operator again, below autograd.
_GENERATED = ("aten::", "prims::", "quantized::")
_INVALID = "SafeKernelFunction has been invalidated"
# Since PyTorch 2.9.
_GET_KERNEL: Any = getattr(torch.library, "get_kernel", None)


def inside_transform() -> bool:
    """Return whether a function runs inside a transform of ``torch.func``, such as ``grad`` or ``vmap``."""
    return torch._C._functorch.peek_interpreter_stack() is not None


def may_decompose_in_autograd(overload: OpOverload) -> bool:
    """Return whether autograd may run an operator as other operators, so that a dispatch mode does not see it.

    That is so if its kernel is CompositeImplicitAutograd, and possible if its library registered one for Autograd.
    """
    return composite_implicit(overload) or (
        _GET_KERNEL is not None and not overload.name().startswith(_GENERATED) and _has_kernel(overload, "Autograd")
    )


def hidden_by(overload: OpOverload) -> str | None:
    """Return the dispatch key whose kernel always runs an operator before a dispatch mode sees it; None if none does.

    Such a kernel is for autograd on one device, and there is none for the device itself that it could call. A kernel
    that is registered from Python cannot be called once another replaces it, so that it cannot be intercepted.
    """
    if composite_implicit(overload) or overload.name().startswith(_GENERATED):
        return None
    computed = torch._C._dispatch_has_computed_kernel_for_dispatch_key
    keys = [key for key in _AUTOGRAD_KEYS if key != "AutogradOther" and _has_kernel(overload, key)]
    return next((key for key in keys if not computed(overload.name(), key.removeprefix("Autograd"))), None)


def intercept_autograd_kernel(overload: OpOverload, run: Runner) -> Callable[[], None]:
    """Call a function wherever autograd would run a kernel that may decompose an operator.

    Nested tensors and the transforms of ``torch.func`` decompose operators before autograd does.

    Args:
        overload: The operator.
        run: Called with the kernel, its positional and its keyword arguments.

    Returns:
        A function that undoes this. To call it again is harmless.
    """
    namespace, _, name = overload.name().partition("::")
    library = torch.library.Library(namespace, "IMPL")
    registered: set[str] = set()

    def stop() -> None:
        # PyTorch notes what a library has registered only afterwards: an interruption may come between.
        library._op_impls |= registered
        library._destroy()

    try:
        for key in _AUTOGRAD_KEYS:
            kernel = _autograd_kernel(overload, key)
            if kernel is not None:
                registered.add(f"{namespace}/{name}/{key}")
                library.impl(name, _bind(run, kernel), key, with_keyset=True)
        return stop  # noqa: TRY300 - an interruption here must be met too
    except BaseException:
        stop()
        raise


def _autograd_kernel(overload: OpOverload, key: str) -> Kernel | None:
    """Return the kernel to intercept for an autograd key, or None; it takes the dispatch keys as first argument."""
    device = key.removeprefix("Autograd")
    if _has_kernel(overload, key):
        return None
    if composite_implicit(overload):
        # A kernel for the device comes before the composite one.
        if device != "Other" and _has_kernel(overload, device):
            return None
        return lambda _, *args, **kwargs: run_composite(overload, args, kwargs)
    kernel = _GET_KERNEL(overload, key).call_boxed

    def call(keys: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return kernel(keys, *args, **kwargs)
        except RuntimeError as error:
            if not str(error).startswith(_INVALID):
                raise
        # The program has defined the operator again meanwhile, as torch.library.custom_op() does with a known name.
        return _GET_KERNEL(overload, _NOT_INTERCEPTED).call_boxed(keys, *args, **kwargs)

    return call


def _bind(run: Runner, kernel: Kernel) -> Kernel:
    def call(keys: Any, *args: Any, **kwargs: Any) -> Any:
        return run(lambda *args, **kwargs: kernel(keys, *args, **kwargs), args, kwargs)

    return call


def _has_kernel(overload: OpOverload, key: str) -> bool:
    return torch._C._dispatch_has_kernel_for_dispatch_key(overload.name(), key)
