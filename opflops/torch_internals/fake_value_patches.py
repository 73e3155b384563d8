"""Patches for composite operators of PyTorch that read a value to check it, which fake tensors do not have.

The answer is known without the values, since the program fails or warns otherwise: a covariance has degrees of freedom
left, and the windows of an inverse short-time Fourier transform overlap.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import is_fake

from opflops.torch_internals.fake_index_checks import check_range
from opflops.torch_internals.shared_context import patched

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_MATRIX_RANK = 2

_check_passes: ContextVar[bool] = ContextVar("check_passes", default=False)
"""Whether a check of values is going on that is known to find nothing."""


@contextmanager
def check_that_passes() -> Iterator[None]:
    """Let operators inside compare values as if nothing was wrong."""
    before = _check_passes.get()
    # An interruption can come at each line, so all are inside.
    try:
        _check_passes.set(True)
        yield
        _check_passes.set(before)
    except BaseException:
        _check_passes.set(before)
        raise


def finds_nothing(operator: Any) -> bool:
    """Return whether an operator compares values inside :func:`check_that_passes`; its result is False then."""
    return operator is torch.ops.aten.equal.default and _check_passes.get()


def _wrap_one_hot(original: Callable[..., Any]) -> Callable[..., Any]:
    """Compare numbers of classes with how many there are; PyTorch does so only for tensors with values."""

    def call(tensor: Tensor, num_classes: Any = -1) -> Any:
        if isinstance(tensor, Tensor) and is_fake(tensor) and type(num_classes) is int and num_classes > 0:
            check_range(tensor, num_classes, 0, symbolic=False)
        return original(tensor, num_classes)

    return call


def _wrap_covariance(original: Callable[..., Any]) -> Callable[..., Any]:
    def call(input: Tensor, **options: Any) -> Any:
        weighted = options.get("fweights") is not None or options.get("aweights") is not None
        if weighted or not isinstance(input, Tensor) or not is_fake(input) or input.dim() > _MATRIX_RANK:
            return original(input, **options)
        observations = input.shape[-1] if input.dim() else 1
        if observations <= options.get("correction", 1):
            return original(input, **options)
        with check_that_passes():
            return original(input, **options)

    return call


def _wrap_istft(original: Callable[..., Any]) -> Callable[..., Any]:
    def call(input: Tensor, *rest: Any, **options: Any) -> Any:
        if not is_fake(input):
            return original(input, *rest, **options)
        with check_that_passes():
            return original(input, *rest, **options)

    return call


fake_value_patches_active = patched(
    lambda: [
        *((owner, name, _wrap_covariance) for owner in (torch, Tensor) for name in ("cov", "corrcoef")),
        (torch, "istft", _wrap_istft),
        (torch.nn.functional, "one_hot", _wrap_one_hot),
    ]
)
"""A context in which the patches are installed. Calls without fake tensors go to PyTorch's functions."""
