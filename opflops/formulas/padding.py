"""Reflection and replication padding: a copy; backward adds the gradients of the copies to those of the image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opflops.formulas.sizes import aten, numel
from opflops.pricing.registration import declare_zero, formula
from opflops.records.cost import Cost

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

_NAMES = [f"{kind}_pad{rank}d" for kind in ("reflection", "replication") for rank in (1, 2, 3)]

declare_zero(*[getattr(aten, name) for name in _NAMES])


@formula(*[getattr(aten, f"{name}_backward") for name in _NAMES])
def pad_backward(grad_output: Tensor, self: Tensor, padding: Sequence[int]) -> Cost:
    """Add each gradient beyond the first of its element; a cropped element has none."""
    rank = len(padding) // 2
    # Pads are listed from the last axis backwards; a negative one crops.
    kept = [
        size + min(padding[2 * axis], 0) + min(padding[2 * axis + 1], 0)
        for axis, size in enumerate(reversed(self.shape[-rank:]))
    ]
    return Cost(ops=grad_output.numel() - numel(self.shape[:-rank]) * numel(kept))
