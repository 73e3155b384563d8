"""Masks of attention scores: floating-point tensors of which some elements hide a score that they are added to."""

from __future__ import annotations

import torch
from torch import Tensor


def is_mask(tensor: Tensor) -> bool:
    """Return whether a floating-point tensor hides something: an element is -inf, or the smallest number or close.

    One of a byte or less for each element does not: PyTorch cannot compare or add such numbers.
    """
    return tensor.itemsize > 1 and bool(tensor.numel()) and bool((tensor <= hiding_limit(tensor.dtype)).any())


def hiding_limit(dtype: torch.dtype) -> float:
    """Return the largest number that hides a score when it is added to one: half of the smallest number of the dtype.

    A bias that was added to the smallest number may have rounded it up.
    """
    return torch.finfo(dtype).min / 2
