"""Fake parameters: made, converted, swapped and subclassed as real ones are.

PyTorch treats a fake tensor as a tensor of a custom type, for which ``nn.Parameter`` calls ``detach``, and
``module.to(...)`` swaps tensors, which fails while anything refers to them. A real parameter gets other data. The
patches do for fake tensors what PyTorch does for plain ones.
"""

from __future__ import annotations

import builtins
import copyreg
import functools
from types import FunctionType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch._subclasses import fake_tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn.parameter import UninitializedTensorMixin

from opflops.torch_internals.dispatch import modes_disabled
from opflops.torch_internals.shared_context import patched

if TYPE_CHECKING:
    from collections.abc import Callable

_IMPORT = builtins.__import__
_NO_TORCH_FUNCTION = torch._C._disabled_torch_function_impl


class _NoTensor:
    """Stands for ``FakeTensor`` where a function asks whether tensors are fake: they are not."""


def _import_without_fakes(name: str, *arguments: Any) -> Any:
    module = _IMPORT(name, *arguments)
    return SimpleNamespace(FakeTensor=_NoTensor) if name == fake_tensor.__name__ else module


def _wrap_apply(original: Callable[..., Any]) -> Callable[..., Any]:
    """Convert the parameters of a module as if none was fake."""
    if not isinstance(original, FunctionType):
        return original
    builtins_used = {**vars(builtins), "__import__": _import_without_fakes}
    variables = {**original.__globals__, "FakeTensor": _NoTensor, "__builtins__": builtins_used}
    converted = FunctionType(
        original.__code__, variables, original.__name__, original.__defaults__, original.__closure__
    )

    @functools.wraps(original)
    def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        tensors = (*module._parameters.values(), *module._buffers.values())
        function = converted if any(isinstance(tensor, FakeTensor) for tensor in tensors) else original
        return function(module, *args, **kwargs)

    return call


def _wrap_new_parameter(original: Callable[..., Any]) -> Any:
    """Make a parameter without an operator that programs see."""

    def new(cls: type, *args: Any, **kwargs: Any) -> Any:
        data = args[0] if args else kwargs.get("data")
        if cls is not nn.Parameter or type(data) is not FakeTensor:
            return original(cls, *args, **kwargs)
        with modes_disabled():
            return original(cls, *args, **kwargs)

    return staticmethod(new)


def _wrap_make_subclass(original: Callable[..., Any]) -> Any:
    """Make a fake tensor of a class that derives from Tensor."""

    def make(cls: type, data: Tensor, require_grad: bool = False, *args: Any, **kwargs: Any) -> Tensor:  # noqa: FBT001, FBT002 - as in PyTorch
        if not isinstance(data, FakeTensor) or issubclass(cls, FakeTensor):
            return original(cls, data, require_grad, *args, **kwargs)  # type: ignore[no-any-return]
        with modes_disabled():
            made = data.detach().requires_grad_(require_grad)
        return with_class(made, cls)

    return staticmethod(make)


def _wrap_swap(original: Callable[[Tensor, Tensor], None]) -> Callable[[Tensor, Tensor], None]:
    """Swap fake tensors although the mode that made them keeps weak references to them."""

    def swap(t1: Tensor, t2: Tensor) -> None:
        if not (isinstance(t1, FakeTensor) and isinstance(t2, FakeTensor)):
            original(t1, t2)
            return
        slots = {name for each in (t1, t2) for name in copyreg._slotnames(type(each))}  # type: ignore[attr-defined]
        for name in ("__class__", "__dict__", *slots):
            first, second = getattr(t1, name, None), getattr(t2, name, None)
            setattr(t1, name, second)
            setattr(t2, name, first)
        torch._C._swap_tensor_impl(t1, t2)

    return swap


@functools.cache
def _fake_class(cls: type) -> type:
    """Make the class of fake tensors that are instances of a class derived from Tensor."""
    names: dict[str, Any] = {"__module__": cls.__module__, "__qualname__": cls.__qualname__}
    own = vars(cls).get("__torch_function__")
    names["__torch_function__"] = _NO_TORCH_FUNCTION if own is None else own
    if issubclass(cls, UninitializedTensorMixin):
        # A fake tensor has a shape at all times. The other is what materialize() makes of it.
        names |= {"__torch_function__": _NO_TORCH_FUNCTION, "shape": Tensor.shape, "cls_to_become": FakeTensor}
    return type(cls)(cls.__name__, (FakeTensor, cls), names)


def with_class(fake: Tensor, cls: type) -> Tensor:
    """Let a fake tensor be an instance of a class derived from Tensor, with its methods."""
    if type(fake) is FakeTensor and cls not in (Tensor, nn.Parameter, FakeTensor):
        fake._is_param = issubclass(cls, nn.Parameter)
        fake.__class__ = _fake_class(cls)
    return fake


fake_parameter_patches_active = patched(
    lambda: [
        (nn.Module, "_apply", _wrap_apply),
        (nn.Parameter, "__new__", _wrap_new_parameter),
        (Tensor, "_make_subclass", _wrap_make_subclass),
        (torch.utils, "swap_tensors", _wrap_swap),
    ]
)
"""A context in which the patches are installed. Calls without fake tensors go to PyTorch's functions."""
