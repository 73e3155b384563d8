"""Fourier transforms: 5·n·log2 n real operations for a complex transform of length n, half of it for a real one.

That is the figure by which FFT libraries state their speed, whatever their algorithm is. It is what the algorithm of
Cooley and Tukey takes with radix 2, where each of log2 n passes makes n/2 butterflies of 10 operations. A transform
over several axes is one of each line along each axis. Where n is no power of two, the figure is no whole number and
is rounded to the nearest for each line, so that twice as many lines cost twice as much. A scale, 1/n or its root, is
taken to be folded into the factors of the last pass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from opflops.formulas.sizes import aten
from opflops.pricing.registration import formula
from opflops.records.cost import Cost
from opflops.torch_internals.size_arithmetic import log2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


def _half(signal: Tensor, dim: Sequence[int]) -> int:
    """Add up half of 5·n·log2 n over the lines of a signal along each axis; a symbolic length stays symbolic."""
    lengths = [signal.shape[axis] for axis in dim]
    return sum(signal.numel() // length * round(5 * length * log2(length) / 2) for length in lengths)


prims = torch.ops.prims


@formula(aten._fft_c2c, prims.fft_c2c)
def complex_to_complex(self: Tensor, dim: Sequence[int]) -> Cost:
    """5·n·log2 n along each axis: half as many additions of complex numbers, each of which is two operations."""
    return Cost(ops=_half(self, dim))


# The arithmetic of a real transform is on real numbers, so its row has their dtype, and counts as it stands.
@formula(aten._fft_r2c, prims.fft_r2c, dtype_from="self")
def real_to_complex(self: Tensor, dim: Sequence[int]) -> Cost:
    """Half of 5·n·log2 n along each axis of the real signal; writing the other half, conjugates, takes nothing."""
    return Cost(ops=_half(self, dim))


@formula(aten._fft_c2r, prims.fft_c2r)
def complex_to_real(dim: Sequence[int], *, out: Tensor) -> Cost:
    """Half of 5·n·log2 n along each axis of the real signal, as in the transform that it inverts."""
    return Cost(ops=_half(out, dim))


@formula(aten.fft_fftfreq, aten.fft_rfftfreq)
def frequencies(*, out: Tensor) -> Cost:
    """``k / (n * d)``: whole numbers times a factor that is the same for all."""
    return Cost(ops=out.numel())
