"""Which dtype an operator's arithmetic runs in."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_ALL = [dtype for dtype in vars(torch).values() if isinstance(dtype, torch.dtype)]

FLOATING = frozenset(dtype for dtype in _ALL if dtype.is_floating_point or dtype.is_complex)

REAL = frozenset(dtype for dtype in _ALL if not dtype.is_complex)


def first_dtype(value: Any, among: frozenset[torch.dtype] | None = None) -> torch.dtype | None:
    """Return the dtype of the first tensor in a value, or of the first with a dtype among those given; else None."""
    if isinstance(value, Tensor):
        return value.dtype if among is None or value.dtype in among else None
    if isinstance(value, (list, tuple)):
        for item in value:
            dtype = first_dtype(item, among)
            if dtype is not None:
                return dtype
    return None


def arithmetic_dtype(out: Any, *tensors: Any) -> torch.dtype | None:
    """Return the dtype that an operator's arithmetic runs in.

    The first of these that exists: the result's dtype if it is floating (a reduction with ``dtype=`` runs in that), the
    dtype of the first floating argument (a comparison, an argmax), the result's, the first argument's. None if there
    is no tensor at all.
    """
    if isinstance(out, Tensor):
        dtype = out.dtype
        if dtype in FLOATING:
            return dtype
    elif (floating := first_dtype(out, FLOATING)) is not None:
        return floating
    return first_dtype(tensors, FLOATING) or first_dtype(out) or first_dtype(tensors)
