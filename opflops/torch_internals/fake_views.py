"""Views of fake tensors that autograd knows by their strides, as it knows those of real tensors.

If a program writes to a view, or to a tensor that has views, autograd makes new nodes for the views. Of a real tensor
it knows the shape, the strides and the offset of each view, and the node is that of ``as_strided``, whose backward
clears a tensor and copies the gradient to a part of it. For a tensor with a ``__torch_dispatch__``, as a fake one, it
repeats the operators that made the view, whose backward moves other bytes.

In the context here, views of fake tensors are recorded as results of ``as_strided`` on the tensor that they are views
of in the end. Only programs that write to views need that, which :class:`WritesToViews` finds.
"""

from __future__ import annotations

import warnings
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch._subclasses.fake_tensor import FakeTensor

from opflops.torch_internals.dispatch import OpOverload, TorchDispatchMode, known_to_dispatcher, modes_disabled
from opflops.torch_internals.fake_kernel_fixes import DEVICE_OF_TENSOR
from opflops.torch_internals.mode_stack import push_mode
from opflops.torch_internals.operator_traits import OperatorTraits
from opflops.torch_internals.shared_context import SharedContext

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_Result = TypeVar("_Result")
_KEY = "ADInplaceOrView"
_AS_STRIDED = torch.ops.aten.as_strided.default
_DETACHING = (torch.ops.aten.detach.default, torch.ops.aten.view.dtype)
"""Operators that return a tensor without a gradient, which is written to with its argument."""

_AFTER_KEY = torch._C._after_ADInplaceOrView_keyset
_below_key: Any = torch._C._AutoDispatchBelowADInplaceOrView
_creation_meta: Any = torch._C._autograd._get_creation_meta
_DEFAULT = torch._C._autograd.CreationMeta.DEFAULT
_VIEWS = "_opflops_views"
_REFERENCES = 2
"""How often the storage of a tensor without views is referred to: by the tensor, and by whoever asks."""

VIEW_OPERATORS = (
    *("_reshape_alias", "alias", "as_strided", "diagonal", "expand", "permute", "select", "slice", "slice_inverse"),
    *("squeeze", "t", "transpose", "unfold", "unsqueeze", "view"),
)
"""Operators that return one view, and change no more of their argument than shape, strides and offset."""


def view_overloads() -> list[OpOverload]:
    """List the overloads of :data:`VIEW_OPERATORS` that return a view through which gradients flow."""
    packets = [getattr(torch.ops.aten, name) for name in VIEW_OPERATORS]
    overloads = [getattr(packet, name) for packet in packets for name in packet.overloads()]
    return [each for each in overloads if each not in _DETACHING and _has_kernel(each)]


def _has_kernel(overload: OpOverload) -> bool:
    has_kernel = torch._C._dispatch_has_kernel_for_dispatch_key
    return known_to_dispatcher(overload) and has_kernel(overload.name(), _KEY)


class _GiveResult(TorchDispatchMode):
    """Answer an operator with the result that it has had already.

    Args:
        result: The result.
    """

    def __init__(self, result: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._result = result

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return args[0].fake_device if func is DEVICE_OF_TENSOR else self._result

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False


class _ViewKernel:
    """Record views of fake tensors as results of ``as_strided``, and all others as PyTorch does.

    Args:
        overload: The operator that makes the views.
    """

    def __init__(self, overload: OpOverload) -> None:
        self._overload = overload
        self._kernel = torch.library.get_kernel(overload, _KEY)
        self._as_strided = torch.library.get_kernel(_AS_STRIDED, _KEY)

    def __call__(self, keys: Any, given: Any, *args: Any, **kwargs: Any) -> Any:
        base = given._base if isinstance(given, FakeTensor) and given._is_view() else given
        if not isinstance(base, FakeTensor):
            return self._kernel.call_boxed(keys, given, *args, **kwargs)
        if base.dtype != given.dtype or base.is_conj() != given.is_conj() or base.is_neg() != given.is_neg():
            # Autograd repeats what changed more than the strides for real tensors too.
            base = given
        # Of a view that was written to, autograd makes only the node if the tensor is real, so that modes see nothing.
        is_repeated = self._overload is _AS_STRIDED and base is given and _is_repeated(base, *args, **kwargs)
        with _below_key(), modes_disabled() if is_repeated else nullcontext():
            made = self._overload.redispatch(keys & _AFTER_KEY, given, *args, **kwargs)
        if not isinstance(made, FakeTensor):
            return made
        shape, strides, offset = list(made.shape), list(made.stride()), made.storage_offset()
        start = base.storage_offset()
        is_at_start = _key(offset) == _key(start)
        push_mode(_GiveResult(made))
        try:
            if not (is_at_start or _key(start) == 0):
                # In the backward, autograd makes the view of a tensor whose elements begin at 0.
                return self._kernel.call_boxed(keys, given, *args, **kwargs)
            view = self._as_strided.call_boxed(keys, base, shape, strides, None if is_at_start else offset)
        finally:
            torch._C._pop_torch_dispatch_stack(None)
        vars(base).setdefault(_VIEWS, set()).add(_geometry(shape, strides, offset))
        if base is not given and view._is_view() and _creation_meta(view) == _DEFAULT:
            # Autograd refuses some writes to views of views as it does to these.
            torch._C._autograd._set_creation_meta(view, _creation_meta(given))
        return view


def _is_repeated(base: Any, shape: Any, strides: Any, offset: Any = None) -> bool:
    """Tell whether autograd asks for a view that there was already, of a tensor that was written to since."""
    if base._version == 0 or not torch.is_grad_enabled():
        return False
    start = base.storage_offset() if offset is None else offset
    return _geometry(shape, strides, start) in vars(base).get(_VIEWS, ())


def _geometry(shape: Sequence[Any], strides: Sequence[Any], offset: Any) -> tuple[Any, ...]:
    return tuple(map(_key, shape)), tuple(map(_key, strides)), _key(offset)


def _key(size: Any) -> Any:
    """Return a size as a hashable value; that of a symbol is its expression, so that no guard is added."""
    return size if type(size) is int else size.node.expr


_libraries: list[torch.library.Library] = []


def _record_by_strides() -> None:
    library = torch.library.Library("aten", "IMPL")
    _libraries.append(library)
    with warnings.catch_warnings():
        # PyTorch warns of what is replaced.
        warnings.simplefilter("ignore")
        # All of PyTorch's kernels are looked up before one is replaced.
        for overload, kernel in [(each, _ViewKernel(each)) for each in view_overloads()]:
            # PyTorch notes what a library has registered only afterwards: an interruption may come between.
            library._op_impls.add(f"aten/{overload.name().removeprefix('aten::')}/{_KEY}")
            library.impl(overload, kernel, _KEY, with_keyset=True)


def _record_as_before() -> None:
    while _libraries:
        _libraries[-1]._destroy()
        _libraries.pop()


views_known_by_strides = SharedContext(_record_by_strides, _record_as_before)
"""A context in which autograd knows views of fake tensors by their strides. Other tensors are as before."""


class WritesToViews:
    """Find whether a program writes to tensors that have views, or are views, and through which gradients may flow."""

    def __init__(self) -> None:
        self.found = False
        self._traits: dict[Any, OperatorTraits] = {}
        # The storages of tensors that were detached, and share the versions of those that they were detached from.
        self._detached: set[int] = set()

    def repeat(self, count: Callable[[], _Result]) -> _Result:
        """Count a program, and count it again if such writes were found that were not known."""
        known = self.found
        result = count()
        return count() if self.found and not known else result

    def see(self, func: Any, args: Any, kwargs: Any, *, is_nested: bool = False) -> None:
        """See an operator before it runs; one that the kernel of another calls is no part of the program."""
        if is_nested or self.found:
            return
        traits = self._traits.get(func)
        if traits is None:
            traits = self._traits[func] = OperatorTraits.of(func)
        if func in _DETACHING and isinstance(args[0], FakeTensor) and args[0].requires_grad:
            self._detached.add(args[0].untyped_storage()._cdata)
        if not traits.writes or not torch.is_grad_enabled():
            return
        for written in traits.written(args, kwargs or {}):
            if isinstance(written, FakeTensor) and written.layout is torch.strided:
                self.found = self.found or self._matters(written, args)

    def _matters(self, written: FakeTensor, args: Any) -> bool:
        storage = written.untyped_storage()
        if not written._is_view() and torch._C._storage_Use_Count(storage._cdata) <= _REFERENCES:
            return False
        given = (each for value in args for each in (value if isinstance(value, (list, tuple)) else (value,)))
        return storage._cdata in self._detached or any(
            isinstance(each, torch.Tensor) and each.requires_grad for each in given
        )
