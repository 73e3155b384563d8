"""A cache for operators on meta tensors: the metadata of the arguments determines the metadata of the result.

The layers of a model call the same operators on the same shapes again and again, and PyTorch computes each meta result
in Python. Only operators that neither write to a tensor nor alias one are cached. The key holds everything about the
arguments that the metadata of a result can depend on. Some results follow from those on other shapes.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from opflops.counting.time_limit import check_time_limits
from opflops.pricing.traffic import EXACT_TENSOR_TYPES
from opflops.torch_internals.derived_results import IN_PLACE, NON_TENSOR_TYPES, DerivedResults
from opflops.torch_internals.dispatch import DispatchMode, OpOverload, schema_of
from opflops.torch_internals.fake_dtype_checks import check_dtypes
from opflops.torch_internals.fake_kernel_fixes import with_kept_buffer
from opflops.torch_internals.fake_size_checks import check_sizes

_META = torch.device("meta")
_HITS_PER_CHECK = 100


class _NotCacheableError(Exception):
    """Report an argument or a result that cannot be cached by its metadata."""


class MetaCacheMode(DispatchMode):
    """Run each operator on meta tensors once for each metadata of its arguments.

    This mode is entered before the counting mode, and so receives the operators that the counting mode runs.
    """

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()
        self._is_pure: dict[Any, bool] = {}
        self._derived = DerivedResults(_description)
        self._results: dict[Any, Any] = {}
        self._hits = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operator, or make its result from the cache.

        Raises:
            RuntimeError: Operands have dtypes, or sizes, that a real kernel refuses.
        """
        kwargs = kwargs or {}
        is_pure = self._is_pure.get(func)
        if is_pure is None:
            is_pure = self._is_pure[func] = _is_pure(func)
        if types:
            return func(*args, **kwargs)
        key = None
        if is_pure:
            with suppress(_NotCacheableError):
                key = (func, torch.get_default_dtype(), _cache_key(args), _cache_key(tuple(kwargs.items())))
            cached = self._results.get(key)
            if cached is not None:
                self._check_time()
                return _make_result(cached)
        to_see, known = self._derived.look_up(func, args, kwargs)
        if known is IN_PLACE:
            self._check_time()
            return args[0]
        if known is not None:
            self._check_time()
            out = _make_contiguous(known)
        else:
            _check(func, args, kwargs)
            out = func(*args, **kwargs)
            if is_pure:
                out = with_kept_buffer(func, args, out)
            if to_see is not None:
                self._derived.see(to_see, args[0], out)
        if key is not None:
            with suppress(_NotCacheableError):
                self._results[key] = _result_metadata(out, _storages(args))
        return out

    def _check_time(self) -> None:
        """Check the time that a count may take, now and then."""
        self._hits += 1
        if not self._hits % _HITS_PER_CHECK:
            check_time_limits()


def _check(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Check what kernels of devices check, and those of meta do not."""
    check_dtypes(func, args)
    check_sizes(func, args, kwargs)


def _is_pure(func: Any) -> bool:
    """Tell whether an operator takes tensors and returns new tensors only."""
    if not isinstance(func, OpOverload):
        return False
    schema = schema_of(func)
    takes_tensors = any("Tensor" in str(argument.type) for argument in schema.arguments)
    aliases = any(part.alias_info for part in (*schema.arguments, *schema.returns))
    return_types = {str(returned.type) for returned in schema.returns}
    return takes_tensors and not aliases and return_types == {"Tensor"}


def _description(value: Any) -> Any:
    """Return the dtype of a tensor on meta; None for what is something else, or not described by its metadata."""
    if type(value) not in EXACT_TENSOR_TYPES or value.device != _META or value.layout is not torch.strided:
        return None
    return value.dtype


def _cache_key(value: Any) -> Any:
    """Return, as a hashable value, all of an argument that the metadata of a result can depend on."""
    exact_type = type(value)
    if exact_type in EXACT_TENSOR_TYPES:
        if value.device != _META or value.layout is not torch.strided or value.is_complex():
            raise _NotCacheableError
        return value.shape, value.stride(), value.dtype, value.storage_offset()
    if exact_type in NON_TENSOR_TYPES:
        # 1, 1.0 and True are equal, but promote to different dtypes.
        return exact_type, value
    if exact_type in (list, tuple):
        return exact_type, tuple([_cache_key(item) for item in value])
    raise _NotCacheableError


def _storages(args: tuple[Any, ...]) -> set[int]:
    """Return the identities of the storages of tensors among arguments, whose Python objects live as they do."""
    return {id(each.untyped_storage()) for each in args if type(each) in EXACT_TENSOR_TYPES}


def _result_metadata(out: Any, shared: set[int]) -> Any:
    """Return the metadata to make a result from; None among several results stays None.

    Args:
        out: The result.
        shared: The storages of the arguments. A result that shares one, or that of another result, is not cached, nor
            is one whose storage is larger than its elements: whoever counts storages would see the difference.
    """
    if isinstance(out, tuple):
        return tuple([None if one is None else _result_metadata(one, shared) for one in out])
    if type(out) is not Tensor or out.device != _META or out.layout is not torch.strided or out.storage_offset():
        raise _NotCacheableError
    metadata = [out.shape, out.stride(), out.dtype]
    storage = out.untyped_storage()
    if id(storage) in shared or storage.nbytes() != _make_result(metadata).untyped_storage().nbytes():
        raise _NotCacheableError
    shared.add(id(storage))
    return metadata


def _make_contiguous(known: Any) -> Any:
    """Make a result of a shape and a dtype, or several results."""
    if type(known) is list:
        return tuple([_make_contiguous(each) for each in known])
    shape, dtype = known
    return torch.empty(shape, dtype=dtype, device=_META)


def _make_result(metadata: Any) -> Any:
    if type(metadata) is tuple:
        return tuple([None if one is None else _make_result(one) for one in metadata])
    shape, stride, dtype = metadata
    return torch.empty_strided(shape, stride, dtype=dtype, device=_META)
