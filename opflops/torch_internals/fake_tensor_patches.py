"""Patches that let programs make, convert, copy and swap fake tensors as real ones, by the same operators.

PyTorch treats a fake tensor as one of a custom type, for which ``nn.Parameter`` calls ``detach``, ``copy.deepcopy``
calls ``clone``, and ``module.to(...)`` swaps tensors, which fails while anything refers to them.
"""

from __future__ import annotations

import builtins
import copyreg
import functools
import inspect
from types import FunctionType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch._subclasses import fake_tensor
from torch._subclasses.fake_tensor import FakeTensor

from opflops.torch_internals.dispatch import modes_disabled
from opflops.torch_internals.distributed_tensors import is_distributed, local_part
from opflops.torch_internals.known_values import move_known_value
from opflops.torch_internals.shared_context import SharedContext, patched

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

    def make(cls: type, data: Tensor, require_grad: bool = False, *args: Any, **kwargs: Any) -> Tensor:
        if not isinstance(data, FakeTensor) or issubclass(cls, FakeTensor):
            return original(cls, data, require_grad, *args, **kwargs)  # type: ignore[no-any-return]
        with modes_disabled():
            made = data.detach().requires_grad_(require_grad)
        return with_class(made, cls)

    return staticmethod(make)


def _wrap_as_subclass(original: Callable[..., Any]) -> Callable[..., Any]:
    """Make a view of a fake tensor that is of a class derived from Tensor."""

    def as_subclass(tensor: Tensor, cls: type) -> Any:
        if not isinstance(tensor, FakeTensor):
            return original(tensor, cls)
        with modes_disabled():
            made = tensor[...]
        if issubclass(cls, FakeTensor):
            made.__class__ = cls
            return made
        return with_class(made, cls)

    return as_subclass


def _wrap_deepcopy(original: Callable[..., Any]) -> Callable[..., Any]:
    """Copy a fake tensor as a real one: the bytes of its storage, or a clone if it is a parameter."""

    def deepcopy(tensor: Tensor, memo: dict[int, Any]) -> Any:
        if type(tensor) is not FakeTensor or not tensor.is_leaf or tensor.layout is not torch.strided:
            return original(tensor, memo)
        if describes_example(tensor):
            return tensor
        if id(tensor) not in memo:
            memo[id(tensor)] = made = _copy_parameter(tensor) if isinstance(tensor, nn.Parameter) else _copy(tensor)
            if tensor.grad is not None and not isinstance(tensor, nn.Parameter):
                made.grad = deepcopy(tensor.grad, memo)
        return memo[id(tensor)]

    return deepcopy


def describes_example(tensor: Tensor) -> bool:
    """Return whether a tensor is a fake one that an exported program was traced with, and has open sizes."""
    if not isinstance(tensor, FakeTensor) or all(type(size) is int for size in tensor.shape):
        return False
    return tensor.fake_mode is not torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.FAKE)


def _copy_parameter(parameter: Tensor) -> Tensor:
    data = parameter.data.clone(memory_format=torch.preserve_format)
    return nn.Parameter(data, parameter.requires_grad)


def _copy(tensor: Tensor) -> Tensor:
    storage = tensor.untyped_storage()
    new_storage = torch.UntypedStorage(storage.nbytes(), device=storage.device)
    target, source = (
        torch.empty(0, dtype=torch.uint8, device=tensor.device).set_(each) for each in (new_storage, storage)
    )
    target.copy_(source)
    made = tensor.new_empty([])
    made.set_(new_storage, tensor.storage_offset(), tensor.size(), tensor.stride())
    with modes_disabled():
        move_known_value(tensor.clone(), made)
    return made.requires_grad_(tensor.requires_grad)


def _wrap_data(original: Any) -> property:
    """Give a fake tensor the values of its new data, if they are known."""

    def set_data(tensor: Tensor, data: Tensor) -> None:
        original.__set__(tensor, data)
        move_known_value(data, tensor)

    return property(original.__get__, set_data)


def _wrap_new_fake(original: Callable[..., Any]) -> Any:
    """Make a parameter by ``type(parameter)(data, requires_grad=...)``, as for a real one."""

    def new(cls: type, *args: Any, **kwargs: Any) -> Any:
        if cls is FakeTensor and args and isinstance(args[0], Tensor):
            return nn.Parameter(*args, **kwargs)
        return original(cls, *args, **kwargs)

    return staticmethod(new)


def _wrap_swap(original: Callable[[Tensor, Tensor], None]) -> Callable[[Tensor, Tensor], None]:
    """Swap fake tensors, and distributed ones of them, although the mode that made them keeps weak references."""

    def swap(t1: Tensor, t2: Tensor) -> None:
        if not all(isinstance(local_part(each) if is_distributed(each) else each, FakeTensor) for each in (t1, t2)):
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
    names["__new__"] = lambda _, *args, **kwargs: cls(*args, **kwargs)
    function = inspect.getattr_static(cls, "__torch_function__")
    if issubclass(cls, (nn.UninitializedParameter, nn.UninitializedBuffer)):
        # A fake tensor has a shape at all times. The last is what materialize() makes of it.
        names |= {"shape": Tensor.shape, "cls_to_become": FakeTensor}
        function = _NO_TORCH_FUNCTION
    made: Any = type(cls)(cls.__name__, (FakeTensor, cls), names)
    # PyTorch takes the default one from classes that have a __torch_dispatch__.
    made.__torch_function__ = function
    return made  # type: ignore[no-any-return]


def with_class(fake: Tensor, cls: type) -> Tensor:
    """Let a fake tensor be an instance of a class derived from Tensor, with its methods."""
    if type(fake) is FakeTensor and cls not in (Tensor, nn.Parameter, FakeTensor):
        fake._is_param = issubclass(cls, nn.Parameter)
        fake.__class__ = _fake_class(cls)
    return fake


fake_classes_kept = SharedContext(lambda: None, _fake_class.cache_clear)
"""A context that keeps the classes of fake tensors: those of one class are of one class, and none stays behind."""

fake_tensor_patches_active = patched(
    lambda: [
        (nn.Module, "_apply", _wrap_apply),
        (nn.Parameter, "__new__", _wrap_new_parameter),
        (FakeTensor, "__new__", _wrap_new_fake),
        (FakeTensor, "data", _wrap_data),
        (Tensor, "__deepcopy__", _wrap_deepcopy),
        (Tensor, "as_subclass", _wrap_as_subclass),
        (Tensor, "_make_subclass", _wrap_make_subclass),
        (torch.utils, "swap_tensors", _wrap_swap),
    ]
)
"""A context in which the patches are installed. Calls without fake tensors go to PyTorch's functions."""
