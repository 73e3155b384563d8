"""A cache of fake results: the metadata of the arguments determines the metadata of the result.

The layers of a model call the same operators on the same shapes again and again. PyTorch's own cache of fake results
takes most of the time of a fake run, for keys of many parts and, with symbols for sizes, for tensors that are computed
anew. Cached are builtin operators that do not write to their arguments, on dense fake tensors. With symbols, the key
holds the expression of each size, so that a hit evaluates nothing; its guards were added when the result was made.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from opflops.torch_internals.derived_results import IN_PLACE, DerivedResults
from opflops.torch_internals.dispatch import OpOverload, schema_of
from opflops.torch_internals.fake_construction import FakeTensorMaker
from opflops.torch_internals.fake_index_checks import checks_indices

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch._subclasses.fake_tensor import FakeTensorMode

_DisableModes = torch._C._DisableTorchDispatch
_layout: Callable[[Tensor], torch.layout] = torch._C.TensorBase.layout.__get__  # type: ignore[attr-defined]
_HITS_PER_CHECK = 100
_META = torch.device("meta")
_BUILTIN_NAMESPACES = frozenset({"aten", "prims"})
_PLAIN_TYPES = frozenset(
    {int, float, bool, complex, str, type(None), torch.dtype, torch.layout, torch.device, torch.memory_format}
)
_SYMBOLS = frozenset({torch.SymInt, torch.SymFloat, torch.SymBool})
_VARIES = (torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape, torch.Tag.inplace_view)


class NotCacheableError(Exception):
    """Report an argument or a result that its metadata does not describe."""


class _Made(NamedTuple):
    """Hold what a fake result is made of.

    Attributes:
        device: The device that it is on.
        source: The position of the tensor among the arguments that it is a view of; None if it has its own storage.
        size: Its shape, strides and storage offset.
        dtype: The type of its elements.
        element: If sizes are symbols, a meta tensor of these sizes: computing them anew takes most of the time.
    """

    device: torch.device
    source: int | None
    size: tuple[Any, Any, Any]
    dtype: torch.dtype
    element: Tensor | None


class FakeResultCache:
    """Run each operator on fake tensors once for each metadata of its arguments.

    Args:
        mode: The mode whose results it holds.
        on_hit: Called at times when results come from the cache, since no operator runs then; it may raise.
    """

    def __init__(self, mode: FakeTensorMode, on_hit: Callable[[], None]) -> None:
        self._mode = mode
        self._maker = FakeTensorMaker(mode)
        self._on_hit = on_hit
        self._hits = 0
        self._is_cacheable: dict[Any, bool] = {}
        self._derived = DerivedResults(_description)
        self._results: dict[Any, Any] = {}

    def run(self, func: Any, args: Sequence[Any], kwargs: Any, dispatch: Callable[[], Any]) -> Any:
        """Make the result of an operator from the cache, or by ``dispatch``."""
        cacheable = self._is_cacheable.get(func)
        if cacheable is None:
            cacheable = self._is_cacheable[func] = _is_cacheable(func)
        if not cacheable:
            return self._derive(None, func, args, kwargs, dispatch)
        tensors: list[Any] = []
        try:
            key = (
                func,
                torch.get_default_dtype(),
                torch.is_grad_enabled(),
                torch.is_inference_mode_enabled(),
                metadata_key(args, tensors),
                metadata_key(tuple(kwargs.items()), tensors) if kwargs else (),
            )
        except NotCacheableError:
            return dispatch()
        if not tensors:
            return dispatch()
        made = self._results.get(key)
        if made is None:
            out = self._derive(key, func, args, kwargs, dispatch)
            if key not in self._results:
                with suppress(NotCacheableError), _DisableModes():
                    self._results[key] = self._describe(out, tensors, set())
            return out
        if type(made) is _Made and made.source is None:
            # Autograd makes views where nothing may be raised.
            self._note_hit()
        with _DisableModes():
            return self._make(made, tensors)

    def _note_hit(self) -> None:
        self._hits += 1
        if not self._hits % _HITS_PER_CHECK:
            self._on_hit()

    def _derive(self, key: Any, func: Any, args: Sequence[Any], kwargs: Any, dispatch: Callable[[], Any]) -> Any:
        """Make the result of an operator that follows from another one, and cache it; if there is none, dispatch.

        Args:
            key: What the result is cached by; None if it is not.
            func: The operator.
            args: As for :meth:`run`.
            kwargs: As for :meth:`run`.
            dispatch: As for :meth:`run`.
        """
        if self._mode.shape_env is not None:
            # Sizes may be symbols.
            return dispatch()
        with _DisableModes():
            to_see, known = self._derived.look_up(func, args, kwargs)
        if known is None:
            out = dispatch()
            if to_see is not None:
                with _DisableModes():
                    if _is_plain(out) and not out.requires_grad:
                        self._derived.see(to_see, args[0], out)
            return out
        self._note_hit()
        if known is IN_PLACE:
            return args[0]
        with _DisableModes():
            device = args[0].fake_device
            made: Any = _contiguous(device, *known) if type(known) is tuple else None
            if made is None:
                made = tuple([_contiguous(device, *each) for each in known])
            if key is not None:
                self._results[key] = made
            return self._make(made, ())

    def _describe(self, out: Any, tensors: Sequence[Any], storages: set[int]) -> Any:
        """Return what to make a result of; a result that is an argument, or shares memory with another, is not cached.

        Args:
            out: The result.
            tensors: The tensors among the arguments.
            storages: The addresses of the storages of other results that are no views.
        """
        if out is None:
            return None
        if type(out) in (list, tuple):
            return type(out)(self._describe(one, tensors, storages) for one in out)
        if not _is_plain(out) or out.requires_grad or any(out is each for each in tensors):
            raise NotCacheableError
        storage = out.untyped_storage()._cdata
        sources = [index for index, each in enumerate(tensors) if each.untyped_storage()._cdata == storage]
        source = sources[0] if sources else None
        size = (tuple(out.shape), out.stride(), out.storage_offset())
        symbolic = any(type(each) is not int for each in (*size[0], *size[1], size[2]))
        if symbolic and self._mode.shape_env is not None:
            with self._mode.shape_env.suppress_guards():
                element = _element(*size, out.dtype, None if source is None else tensors[source])
            return _Made(out.fake_device, source, size, out.dtype, element)
        if source is None:
            element = _element(*size, out.dtype)
            if storage in storages or size[2] or element.untyped_storage().nbytes() != out.untyped_storage().nbytes():
                # Whoever counts storages would see the difference.
                raise NotCacheableError
            storages.add(storage)
        return _Made(out.fake_device, source, size, out.dtype, None)

    def _make(self, made: Any, tensors: Sequence[Any]) -> Any:
        if type(made) is _Made:
            # What is counted for all sizes does not depend on storage, so that results of symbols may share one.
            element = made.element
            if element is None:
                element = _element(*made.size, made.dtype, None if made.source is None else tensors[made.source])
            return self._maker.make(element, made.device)
        return None if made is None else type(made)(self._make(one, tensors) for one in made)


def _contiguous(device: torch.device, shape: Any, dtype: torch.dtype) -> _Made:
    return _Made(device, None, (tuple(shape), torch.empty(shape, device=_META).stride(), 0), dtype, None)


def _description(value: Any) -> Any:
    """Return what the dtype of a result can depend on of a tensor; None if its metadata does not describe it."""
    return (value.dtype, value.fake_device) if _is_plain(value) else None


def _element(shape: Any, stride: Any, offset: Any, dtype: torch.dtype, source: Any = None) -> Tensor:
    """Make a meta tensor: a new one, or one in the memory of another."""
    if source is None:
        return torch.empty_strided(shape, stride, dtype=dtype, device=_META)
    return torch.empty(0, dtype=dtype, device=_META).set_(source.untyped_storage(), offset, shape, stride)


def _is_cacheable(func: Any) -> bool:
    """Return whether an operator writes to nothing, and its results depend on no values."""
    if not isinstance(func, OpOverload) or func.namespace not in _BUILTIN_NAMESPACES:
        return False
    schema = schema_of(func)
    if any(each.alias_info and each.alias_info.is_write for each in (*schema.arguments, *schema.returns)):
        return False
    if any(tag in func.tags for tag in _VARIES) or schema.name.startswith("aten::lift"):
        return False
    # Indices are compared with the axis where their values are known.
    return not checks_indices(func)


def _is_plain(value: Any) -> bool:
    """Return whether a value is a dense fake tensor that stands for no number that PyTorch knows."""
    return (
        type(value) is FakeTensor
        and value.constant is None
        # The attribute layout is a property in Python, which looks for other keys than those that fake tensors have.
        and value.dispatch_keys is None
        and _layout(value) is torch.strided
        and not value.dtype.is_complex
        and not value.is_neg()
        and not value.is_quantized
    )


def metadata_key(value: Any, tensors: list[Any]) -> Any:
    """Return, as a hashable value, all of an argument that the metadata of a result can depend on.

    Args:
        value: The argument.
        tensors: Gets the tensors in it.

    Raises:
        NotCacheableError: It is no dense fake tensor, number, symbol, or other plain value, nor a list of those.
    """
    its_type = type(value)
    if its_type is FakeTensor:
        if not _is_plain(value):
            raise NotCacheableError
        tensors.append(value)
        shape, stride, offset = value.shape, value.stride(), value.storage_offset()
        if value._has_symbolic_sizes_strides:
            shape, stride, offset = tuple(map(_size, shape)), tuple(map(_size, stride)), _size(offset)
        return shape, stride, offset, value.dtype, value.fake_device, value.requires_grad
    if its_type in _PLAIN_TYPES:
        # 1, 1.0 and True are equal, but promote to different dtypes.
        return its_type, value
    if its_type in (list, tuple):
        return its_type, tuple([metadata_key(item, tensors) for item in value])
    if its_type in _SYMBOLS:
        return its_type, value.node.expr
    raise NotCacheableError


def _size(size: Any) -> Any:
    return size if type(size) is int else size.node.expr
