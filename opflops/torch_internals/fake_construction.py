"""Fake tensors made and asked in one step.

``FakeTensor(...)`` sets its attributes one by one, which takes most of its time. The device of a fake tensor is the
result of an operator, which goes through all dispatch modes.

Tried with torch 2.12.0, 2.13.0 and 2.14.1, in which all attributes of a new fake tensor are in its ``__dict__``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from opflops.torch_internals.dispatch import modes_disabled
from opflops.torch_internals.distributed_tensors import is_distributed, local_part, with_local_part
from opflops.torch_internals.fake_kernel_fixes import DEVICE_OF_TENSOR
from opflops.torch_internals.meta_copies import is_plain_on_meta

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torch._subclasses.fake_tensor import FakeTensorMode

# That of Tensor itself is patched while programs are counted.
_make_subclass: Any = torch._C.TensorBase._make_subclass
_META = torch.device("meta")


class FakeTensorMaker:
    """Make fake tensors of one mode. No dispatch mode may be active meanwhile.

    Args:
        mode: The mode.
    """

    def __init__(self, mode: FakeTensorMode) -> None:
        self._mode = mode
        # As FakeTensor does.
        self._protect = (
            torch._C._set_warn_deprecated_on_mutable_data_ptr
            if mode._allow_unsafe_data_ptr_access
            else torch._C._set_throw_on_mutable_data_ptr
        )
        # By device, the attributes of a tensor that PyTorch made.
        self._attributes: dict[torch.device, dict[str, Any]] = {}

    def make(self, element: Tensor, device: torch.device) -> Tensor:
        """Make a fake tensor of the shape, strides and storage of a meta tensor, as ``FakeTensor`` does."""
        attributes = self._attributes.get(device)
        if attributes is None:
            made: Tensor = FakeTensor(self._mode, element, device)
            self._attributes[device] = dict(vars(made))
            return made
        made = _make_subclass(FakeTensor, element, False, dispatch_device=True, device_for_backend_keys=device)  # noqa: FBT003
        self._protect(made)
        vars(made).update(attributes)
        return made

    def make_empty(self, tensor: Tensor, device: torch.device) -> Tensor:
        """Make a fake tensor of the shape and strides of a strided tensor; a parameter if that is one."""
        element = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=_META)
        made = self.make(element, device)
        if isinstance(tensor, nn.Parameter):
            return self.as_parameter(made, requires_grad=tensor.requires_grad)
        return made.requires_grad_(tensor.requires_grad)

    @staticmethod
    def as_parameter(made: Any, *, requires_grad: bool) -> Tensor:
        """Make a fake tensor an instance of ``nn.Parameter``."""
        made._is_param = True
        return made.requires_grad_(requires_grad)  # type: ignore[no-any-return]


def unknown_like(tensors: Iterable[Tensor], device: torch.device) -> dict[int, Tensor]:
    """Make tensors of the same metadata on another device, by the identity of the original; their values are unknown.

    This must be called inside a mode that runs fake tensors.
    """
    maker = FakeTensorMaker(torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.FAKE))
    return {id(each): _unknown_like(maker, each, device) for each in tensors}


def _unknown_like(maker: FakeTensorMaker, tensor: Tensor, device: torch.device) -> Tensor:
    if is_plain_on_meta(tensor):
        with modes_disabled():
            return maker.make_empty(tensor, device)
    if is_distributed(tensor):
        made = with_local_part(tensor, _unknown_like(maker, local_part(tensor).detach(), device))
    else:
        # From a tensor on meta, so that the values are unknown; known ones take memory, until there are too many.
        unknown = torch.empty(0, dtype=tensor.dtype, device=_META)
        made = unknown.new_empty_strided(tensor.shape, tensor.stride(), device=device)
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(made, requires_grad=tensor.requires_grad)
    return made.requires_grad_(tensor.requires_grad)


def answer_devices(dispatch: Callable[..., Any]) -> Callable[..., Any]:
    """Let a method ``__torch_dispatch__`` answer at once what the device of a fake tensor is."""

    def call(mode: Any, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        if func is DEVICE_OF_TENSOR and type(args[0]) is FakeTensor:
            return args[0].device
        return dispatch(mode, func, types, args, kwargs)

    return call
