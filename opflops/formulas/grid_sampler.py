"""cuDNN's grid sampler: bilinear, with zeros outside; it costs the same as PyTorch's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opflops.formulas.resampling import grid_sampler_2d, grid_sampler_2d_backward
from opflops.formulas.sizes import aten
from opflops.pricing.registration import formula

if TYPE_CHECKING:
    from torch import Tensor

    from opflops.records.cost import Cost

_BILINEAR, _ZEROS = 0, 0


@formula(aten.cudnn_grid_sampler)
def cudnn_grid_sampler(self: Tensor, grid: Tensor) -> Cost:
    """An image (batch, channels, height, width) at the points of a grid (batch, rows, columns, 2)."""
    return grid_sampler_2d(self, grid, _BILINEAR, _ZEROS)


@formula(aten.cudnn_grid_sampler_backward)
def cudnn_grid_sampler_backward(self: Tensor, grid: Tensor) -> Cost:
    """Always both gradients: of the image and of the grid."""
    return grid_sampler_2d_backward(self, grid, _BILINEAR, _ZEROS, (True, True))
