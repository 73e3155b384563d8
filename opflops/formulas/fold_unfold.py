"""Fold and unfold: windows to columns is a copy; columns to windows adds where windows overlap."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opflops.formulas.sizes import aten
from opflops.pricing.registration import declare_zero, formula
from opflops.records.cost import Cost

if TYPE_CHECKING:
    from torch import Tensor

declare_zero(aten.im2col, aten.max_unpool2d, aten.max_unpool3d, aten.channel_shuffle)


@formula(aten.col2im)
def col2im(self: Tensor) -> Cost:
    """Add each element of a column to its element of the image, padding included as in every window."""
    return Cost(ops=self.numel())


@formula(aten.unfold_backward)
def unfold_backward(grad_in: Tensor) -> Cost:
    """Add each gradient of a window to its element."""
    return Cost(ops=grad_in.numel())
