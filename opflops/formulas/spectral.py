"""Fourier transforms: 5·n·log2 n real operations for a complex transform of length n, half of it for a real one.

FFT libraries use this figure to state their speed, whatever their algorithm. It is the count of Cooley and Tukey's
algorithm with radix 2, where each of log2 n passes has n/2 butterflies of 10 operations. A transform over several axes
transforms each line along each axis. If n is not a power of two, the figure is rounded to an integer per line, so that
twice as many lines cost twice as much. A scale, 1/n or its root, is assumed to be part of the factors of the last pass.
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
    """Sum half of 5·n·log2 n over the lines of a signal along each axis; a symbolic length stays symbolic."""
    lengths = [signal.shape[axis] for axis in dim]
    return sum(signal.numel() // length * round(5 * length * log2(length) / 2) for length in lengths)


prims = torch.ops.prims


@formula(aten._fft_c2c, prims.fft_c2c)
def complex_to_complex(self: Tensor, dim: Sequence[int]) -> Cost:
    """5·n·log2 n along each axis: half as many complex additions, each of which is two operations."""
    return Cost(ops=_half(self, dim))


# The arithmetic of a real transform is on real numbers, so its row has their dtype and is not doubled.
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
    """``k / (n * d)``: integers times a shared factor."""
    return Cost(ops=out.numel())
