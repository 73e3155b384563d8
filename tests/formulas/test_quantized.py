"""Quantized tensors: definitions run on single numbers, and layers on integers against their floating-point twins."""

import pytest
import torch
from counted import cost_of
from torch.nn import functional

from opflops import Cost, OpFlopMode

aten, quantized = torch.ops.aten, torch.ops.quantized

pytestmark = pytest.mark.filterwarnings(
    "ignore:torch.quantize_per_tensor, torch.quantize_per_channel:UserWarning",
    "ignore:.*deprecated:DeprecationWarning",
)

SCALE, ZERO_POINT = 0.25, 3


def quantize(tensor, dtype=torch.quint8):
    return torch.quantize_per_tensor(tensor, SCALE, ZERO_POINT if dtype is torch.quint8 else 0, dtype)


def row_of(function, op):
    with OpFlopMode(strict=True) as mode:
        function()
    (row,) = [row for row in mode.profile.rows if row.op == op]
    return row


def work(row):
    return row.cost.macs, row.cost.ops, row.cost.transcendentals


def rounded(x, tally):
    """Quantize one number step by step; returns an integer."""
    steps = [lambda x: x / SCALE, round, lambda x: x + ZERO_POINT, lambda x: max(x, 0), lambda x: min(x, 255)]
    for step in steps:
        x = step(x)
        tally.append(step)
    return x


def restored(q, tally):
    """Dequantize one number step by step."""
    for step in [lambda q: q - ZERO_POINT, lambda q: q * SCALE]:
        q = step(q)
        tally.append(step)
    return q


def test_quantizing_and_back():
    """A division, a rounding, an addition and two bounds in; a subtraction and a product back; for 6 numbers."""
    x, tally = torch.randn(2, 3), []
    q = [rounded(value, tally) for value in x.flatten().tolist()]
    assert quantize(x).int_repr().flatten().tolist() == q
    assert cost_of(quantize, x) == Cost(ops=len(tally)) == Cost(ops=30)
    tally, tensor = [], quantize(x)
    torch.testing.assert_close(tensor.dequantize().flatten(), torch.tensor([restored(value, tally) for value in q]))
    assert cost_of(tensor.dequantize) == Cost(ops=len(tally)) == Cost(ops=12)


def test_other_ways_to_quantize():
    """Scales in tensors or by channel change nothing; lists cost what their tensors do."""
    x, scale, zero_point = torch.randn(2, 3), torch.tensor([SCALE, SCALE]), torch.tensor([3, 3])
    assert cost_of(torch.quantize_per_channel, x, scale, zero_point, 0, torch.quint8) == Cost(ops=30)
    assert cost_of(torch.quantize_per_tensor, x, scale[0], zero_point[0], torch.quint8) == Cost(ops=30)
    assert cost_of(torch.quantize_per_tensor, [x, x[0]], scale, zero_point, torch.quint8) == Cost(ops=45)
    tensors = [quantize(x), quantize(x[0])]
    assert cost_of(torch.dequantize, tensors) == Cost(ops=18)


def test_quantizing_by_range():
    """Two folds of 5 comparisons find the range, 5 operations scale and zero point; then 6 numbers are quantized."""
    assert cost_of(torch.quantize_per_tensor_dynamic, torch.randn(2, 3), torch.quint8, False) == Cost(ops=10 + 5 + 30)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.fake_quantize_per_tensor_affine(x, SCALE, ZERO_POINT, 0, 255),
        lambda x: torch.fake_quantize_per_channel_affine(
            x, torch.tensor([SCALE] * 2), torch.tensor([3] * 2, dtype=torch.int32), 0, 0, 255
        ),
    ],
)
def test_quantizing_in_training(function):
    """In and back again, and two comparisons for the mask that the gradient needs."""
    x = torch.randn(2, 3)
    torch.testing.assert_close(function(x), quantize(x).dequantize())
    assert cost_of(function, x) == Cost(ops=30 + 12 + 12)


def test_questions_leave_no_row():
    """Asking for scale and zero point is no work; nor is making a quantized tensor around integers."""
    x = quantize(torch.randn(2, 3))
    with OpFlopMode(strict=True) as mode:
        assert (x.q_scale(), x.q_zero_point()) == (SCALE, ZERO_POINT)
    assert mode.profile.rows == ()
    made = row_of(
        lambda: torch._make_per_tensor_quantized_tensor(x.int_repr(), SCALE, ZERO_POINT),
        "aten._make_per_tensor_quantized_tensor",
    )
    assert made.cost == Cost(bytes_read=6, bytes_written=6)


BIAS = [(None, 0), (torch.ones(3), 1)]


@pytest.mark.parametrize(("bias", "added"), BIAS)
def test_linear(bias, added):
    """A layer on integers: the products of the floating-point layer, its bias, and 5 operations to quantize a sum."""
    packed = quantized.linear_prepack(quantize(torch.randn(3, 4), torch.qint8), bias)
    x = quantize(torch.randn(2, 4))
    assert cost_of(functional.linear, x.dequantize(), torch.randn(3, 4), bias) == Cost(macs=24, ops=6 * added)
    row = row_of(lambda: quantized.linear(x, packed, SCALE, 0), "quantized.linear")
    assert (row.dtype, *work(row)) == ("quint8", 24, 6 * (5 + added), 0)
    # The input and the weight in bytes of one element each, a bias in singles.
    assert (row.cost.bytes_read, row.cost.bytes_written) == (8 + 12 + 12 * added, 6)
    row = row_of(lambda: quantized.linear_relu(x, packed, SCALE, 0), "quantized.linear_relu")
    assert (row.dtype, *work(row)) == ("quint8", 24, 6 * (6 + added), 0)


@pytest.mark.parametrize(("bias", "added"), BIAS)
def test_linear_with_dynamic_quantization(bias, added):
    """The input is quantized by its range (14 + 5 + 40 operations for 8 numbers), and the sums are scaled back."""
    packed = quantized.linear_prepack(quantize(torch.randn(3, 4), torch.qint8), bias)
    x = torch.randn(2, 4)
    row = row_of(lambda: quantized.linear_dynamic(x, packed), "quantized.linear_dynamic")
    assert work(row) == (24, 59 + 6 * (1 + added), 0)
    assert row.cost.bytes_read == 32 + 12 + 12 * added
    assert "8-bit" in row.estimate
    row = row_of(lambda: quantized.linear_relu_dynamic(x, packed), "quantized.linear_relu_dynamic")
    assert work(row) == (24, 59 + 6 * (2 + added), 0)


@pytest.mark.parametrize(("bias", "added"), BIAS)
def test_linear_with_weights_of_half_precision(bias, added):
    """Weights in half precision change nothing in the arithmetic."""
    packed = quantized.linear_prepack_fp16(torch.randn(3, 4), bias)
    x = torch.randn(2, 4)
    row = row_of(lambda: quantized.linear_dynamic_fp16(x, packed), "quantized.linear_dynamic_fp16")
    assert (row.dtype, *work(row)) == ("float32", 24, 6 * added, 0)
    row = row_of(lambda: quantized.linear_relu_dynamic_fp16(x, packed), "quantized.linear_relu_dynamic_fp16")
    assert work(row) == (24, 6 * (1 + added), 0)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_convolutions(rank, transposed):
    """A convolution on integers takes the products of its floating-point twin, in groups and with strides too."""
    groups = 1 if transposed else 2
    stride, padding, dilation = [2] * rank, [1] * rank, [1] * rank
    x = torch.randn(2, 4, *[5] * rank)
    weight = torch.randn(*((4, 6) if transposed else (6, 2)), *[3] * rank)
    name = f"conv_transpose{rank}d" if transposed else f"conv{rank}d"
    layer = getattr(functional, name)
    expected = cost_of(lambda: layer(x, weight, stride=stride, padding=padding, groups=groups))
    prepack = getattr(quantized, f"{name}_prepack")
    between = [[0] * rank] if transposed else []
    packed = prepack(quantize(weight, torch.qint8), torch.ones(6), stride, padding, *between, dilation, groups)
    q = quantize(x)
    call = getattr(quantized, name)
    call = getattr(call, "new", call)
    out = call(q, packed, SCALE, 0)
    row = row_of(lambda: call(q, packed, SCALE, 0), f"quantized.{name}")
    assert (row.dtype, *work(row)) == ("quint8", expected.macs, 6 * out.numel(), 0)
    assert row.cost.bytes_read == x.numel() + weight.numel() + 24
    if not transposed:
        relu = getattr(quantized, f"{name}_relu")
        relu = getattr(relu, "new", relu)
        row = row_of(lambda: relu(q, packed, SCALE, 0), f"quantized.{name}_relu")
        assert work(row) == (expected.macs, 7 * out.numel(), 0)


def test_convolution_in_its_older_form():
    """The overload that repeats stride and padding beside the packed parameters costs the same."""
    weight, q = quantize(torch.randn(6, 4, 3, 3), torch.qint8), quantize(torch.randn(1, 4, 5, 5))
    packed = quantized.conv2d_prepack(weight, None, [1, 1], [0, 0], [1, 1], 1)
    older = quantized.conv2d.default
    row = row_of(lambda: older(q, packed, [1, 1], [0, 0], [1, 1], 1, SCALE, 0), "quantized.conv2d")
    # Nine positions for 6 x 36 weights, and no bias for the 54 results.
    assert work(row) == (9 * 216, 5 * 54, 0)
