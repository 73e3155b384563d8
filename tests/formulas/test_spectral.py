"""Fourier transforms: against a radix-2 transform that counts itself, published figures, and laws."""

import cmath
import math

import pytest
import torch
from counted import cost_of
from torch._subclasses import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext

from opflops import Cost, OpFlopMode
from opflops.pricing.registry import registry


def signal(*shape):
    return torch.randn(*shape, dtype=torch.complex128)


def radix_two(numbers, counts):
    """Transform by halves: each butterfly takes a complex product (6 operations), a sum and a difference (2 each)."""
    if len(numbers) == 1:
        return numbers
    even, odd = radix_two(numbers[::2], counts), radix_two(numbers[1::2], counts)
    turned = [value * cmath.exp(-2j * math.pi * k / len(numbers)) for k, value in enumerate(odd)]
    counts[0] += (6 + 2 + 2) * len(odd)
    return [a + b for a, b in zip(even, turned, strict=True)] + [a - b for a, b in zip(even, turned, strict=True)]


@pytest.mark.parametrize("n", [1, 2, 4, 8, 32, 256])
def test_powers_of_two_cost_what_a_radix_two_transform_does(n):
    """A transform by butterflies that counts itself takes what is charged, and gives what torch gives."""
    x, counts = signal(n), [0]
    torch.testing.assert_close(torch.tensor(radix_two(x.tolist(), counts), dtype=x.dtype), torch.fft.fft(x))
    assert cost_of(torch.fft.fft, x) == Cost(ops=counts[0])


@pytest.mark.parametrize(
    ("function", "argument", "ops"),
    [
        (torch.fft.fft, signal(1024), 51_200),
        (torch.fft.ifft, signal(1024), 51_200),
        (torch.fft.rfft, torch.randn(1024), 25_600),
        (torch.fft.irfft, signal(513), 25_600),
        (torch.fft.hfft, signal(513), 25_600),
        (torch.fft.rfft, torch.randn(2), 5),
        (torch.fft.fft2, signal(64, 64), 245_760),  # 64 rows and 64 columns at 1,920 each
        (torch.fft.rfft2, torch.randn(64, 64), 122_880),
        (torch.fft.irfft2, signal(64, 33), 122_880),
        (torch.fft.fftn, signal(4, 8, 16), 23_040),  # 512 numbers at 5 x 9
        (torch.fft.fft, signal(3), 24),  # 23.77
        (torch.fft.fft, signal(1000), 49_828),  # 49,828.9: 24,914 pairs
        (torch.fft.rfft, torch.randn(1000), 24_914),
        (torch.fft.rfft, torch.randn(5), 29),  # 29.02
        (torch.fft.fftfreq, 6, 6),
        (torch.fft.rfftfreq, 6, 4),
    ],
)
def test_transforms_cost_the_published_figure(function, argument, ops):
    """5·n·log2 n for complex numbers and 2.5·n·log2 n for real ones, worked out by hand."""
    assert cost_of(function, argument) == Cost(ops=ops)


def test_the_primitives_of_the_references_cost_the_same():
    """What a decomposition calls is the same transform."""
    prims = torch.ops.prims
    assert cost_of(lambda: prims.fft_c2c(signal(16), dim=[0], forward=True)) == Cost(ops=320)
    assert cost_of(lambda: prims.fft_r2c(torch.randn(16), dim=[0], onesided=True)) == Cost(ops=160)
    assert cost_of(lambda: prims.fft_c2r(signal(9), dim=[0], last_dim_size=16)) == Cost(ops=160)


@pytest.mark.parametrize("norm", ["forward", "backward", "ortho"])
def test_a_scale_costs_nothing(norm):
    """It is folded into the factors of the last pass."""
    assert cost_of(lambda: torch.fft.fft(signal(8), norm=norm)) == Cost(ops=120)


def test_conjugates_are_written_without_arithmetic():
    """A real transform costs the same whether one half of its result or all of it is wanted."""
    x = torch.randn(16)
    assert cost_of(torch.ops.aten._fft_r2c, x, [0], 0, False) == cost_of(torch.fft.rfft, x) == Cost(ops=160)


@pytest.mark.parametrize("n", [6, 8])
def test_lines_cost_the_same_each(n):
    """Seven lines cost seven times one line, and the axes of a transform are added up."""
    one = cost_of(torch.fft.fft, signal(n))
    assert cost_of(torch.fft.fft, signal(7, n)) == 7 * one
    seven = cost_of(torch.fft.fft, signal(7))
    assert cost_of(torch.fft.fft2, signal(7, n)) == 7 * one + n * seven


@pytest.mark.parametrize(
    ("function", "argument", "dtype"),
    [
        (torch.fft.fft, signal(8), "complex128"),
        (torch.fft.rfft, torch.randn(8), "float32"),
        (torch.fft.irfft, signal(5), "float64"),
    ],
)
def test_the_row_has_the_dtype_of_the_signal(function, argument, dtype):
    """A real transform works on real numbers, in both directions."""
    with OpFlopMode(strict=True) as mode:
        function(argument)
    assert {row.dtype for row in mode.profile.rows if row.cost.ops} == {dtype}


def test_the_gradient_costs_a_transform():
    """The gradient of a complex transform is one of the same length."""
    x = signal(16).requires_grad_()
    with OpFlopMode(strict=True) as mode:
        y = torch.fft.fft(x)
        y.backward(torch.ones_like(y))
    assert mode.profile.where(phase="backward").by("op")["aten._fft_c2c"].ops == 320


def test_sizes_alone_decide():
    """Meta tensors cost what real ones do, and an empty batch has no transforms."""
    x = torch.empty(2, 8, dtype=torch.complex64, device="meta")
    assert cost_of(torch.fft.fft, x) == cost_of(torch.fft.fft, signal(2, 8)) == Cost(ops=240)
    assert cost_of(torch.fft.fft, x[:0]) == Cost()


def test_symbolic_lengths_stay_symbolic():
    """Neither the batch nor the length is fixed by counting, and put back in they give the same number."""
    mode = FakeTensorMode(shape_env=ShapeEnv())
    sizes = StatelessSymbolicContext([DimDynamic.DYNAMIC] * 2)
    x = mode.from_tensor(torch.empty(4, 12, dtype=torch.complex64), symbolic_context=sizes)
    # The operator's own shape function would fix both.
    transform = torch.ops.aten._fft_c2c.default
    ops = registry.resolve(transform, {}).charge(x, (x, [1], 0, True), {})[0].ops.node.expr
    batch, length = (size.node.expr for size in x.shape)
    assert ops.free_symbols == {batch, length}
    assert ops.subs({batch: 4, length: 12}) == cost_of(torch.fft.fft, signal(4, 12)).ops
    assert ops.subs({batch: 9, length: 16}) == 9 * 320
