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

from opflops.counting.derived_results import (
    BATCH_NORM,
    META,
    NON_TENSOR_TYPES,
    PointwiseResults,
    batch_norm_result,
    is_pointwise,
)
from opflops.counting.time_limit import check_time_limits
from opflops.pricing.traffic import EXACT_TENSOR_TYPES
from opflops.torch_internals.dispatch import DispatchMode, OpOverload, schema_of
from opflops.torch_internals.fake_dtype_checks import check_dtypes
from opflops.torch_internals.fake_kernel_fixes import with_kept_buffer

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
        # Of each operator: whether it is pure, and whether it is pointwise.
        self._traits: dict[Any, tuple[bool, bool]] = {}
        self._pointwise = PointwiseResults()
        self._results: dict[Any, Any] = {}
        self._hits = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operator, or make its result from the cache.

        Raises:
            RuntimeError: Operands have dtypes that a real kernel refuses.
        """
        kwargs = kwargs or {}
        traits = self._traits.get(func)
        if traits is None:
            traits = self._traits[func] = _is_pure(func), is_pointwise(func)
        is_pure, pointwise = traits
        if types:
            return func(*args, **kwargs)
        key = None
        if is_pure:
            try:
                key = (func, torch.get_default_dtype(), _cache_key(args), _cache_key(tuple(kwargs.items())))
            except _NotCacheableError:
                pointwise = False
            cached = self._results.get(key)
            if cached is not None:
                self._check_time()
                return _make_result(cached)
        pointwise_key = self._pointwise.key(func, args, kwargs) if pointwise else None
        out = self._derived(func, pointwise_key, args, kwargs)
        if out is None:
            check_dtypes(func, args)
            out = func(*args, **kwargs)
            if is_pure:
                out = with_kept_buffer(func, args, out)
            if pointwise_key is not None:
                self._pointwise.see(pointwise_key, args[0], out)
        if key is not None:
            with suppress(_NotCacheableError):
                self._results[key] = _result_metadata(out, _storages(args))
        return out

    def _derived(self, func: Any, pointwise_key: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return a result that needs no kernel; None if there is none."""
        out: Any = None
        if pointwise_key is not None:
            out = self._pointwise.get(pointwise_key, args[0])
        elif func is BATCH_NORM and not kwargs:
            out = batch_norm_result(*args)
        if out is not None:
            self._check_time()
        return out

    def _check_time(self) -> None:
        """Check the time that a count may take, now and then."""
        self._hits += 1
        if not self._hits % _HITS_PER_CHECK:
            check_time_limits()


def _is_pure(func: Any) -> bool:
    """Tell whether an operator takes tensors and returns new tensors only."""
    if not isinstance(func, OpOverload):
        return False
    schema = schema_of(func)
    takes_tensors = any("Tensor" in str(argument.type) for argument in schema.arguments)
    aliases = any(part.alias_info for part in (*schema.arguments, *schema.returns))
    return_types = {str(returned.type) for returned in schema.returns}
    return takes_tensors and not aliases and return_types == {"Tensor"}


def _cache_key(value: Any) -> Any:
    """Return, as a hashable value, all of an argument that the metadata of a result can depend on."""
    exact_type = type(value)
    if exact_type in EXACT_TENSOR_TYPES:
        if value.device != META or value.layout is not torch.strided or value.is_complex():
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
    if type(out) is not Tensor or out.device != META or out.layout is not torch.strided or out.storage_offset():
        raise _NotCacheableError
    metadata = [out.shape, out.stride(), out.dtype]
    storage = out.untyped_storage()
    if id(storage) in shared or storage.nbytes() != _make_result(metadata).untyped_storage().nbytes():
        raise _NotCacheableError
    shared.add(id(storage))
    return metadata


def _make_result(metadata: Any) -> Any:
    if type(metadata) is tuple:
        return tuple([None if one is None else _make_result(one) for one in metadata])
    shape, stride, dtype = metadata
    return torch.empty_strided(shape, stride, dtype=dtype, device=META)
