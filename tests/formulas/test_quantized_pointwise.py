"""Operators on quantized tensors: against scalar arithmetic on integers, and floating-point operators between casts."""

import pytest
import torch
from counted import cost_of
from torch.nn import functional

from opflops import OpFlopMode

aten, quantized = torch.ops.aten, torch.ops.quantized

pytestmark = pytest.mark.filterwarnings(
    "ignore:torch.quantize_per_tensor, torch.quantize_per_channel:UserWarning",
    "ignore:.*deprecated:DeprecationWarning",
)

SCALE, ZERO_POINT = 0.25, 3
OUT_SCALE, OUT_ZERO_POINT = 0.5, 1
# (q - zero_point) * scale; clamp(round(x / scale) + zero_point, 0, 255).
OUT_OF, INTO = 2, 5


def q(*shape, scale=SCALE, zero_point=ZERO_POINT):
    return torch.quantize_per_tensor(torch.randn(shape), scale, zero_point, torch.quint8)


def row_of(function, op):
    with OpFlopMode(strict=True) as mode:
        function()
    (row,) = [row for row in mode.profile.rows if row.op == op]
    return row


def work(function, op):
    """Count the row of an operator, which must be filed under the quantized dtype."""
    row = row_of(function, f"quantized.{op}")
    assert row.dtype == "quint8"
    assert row.estimate == ""
    return row.cost.macs, row.cost.ops, row.cost.transcendentals


def requantized(x, out_scale=OUT_SCALE, out_zero_point=OUT_ZERO_POINT):
    return torch.quantize_per_tensor(x, out_scale, out_zero_point, torch.quint8)


def same(left, right):
    """Compare quantized tensors; kernels may round a tie the other way."""
    assert (left.q_scale(), left.q_zero_point()) == (right.q_scale(), right.q_zero_point())
    assert (left.int_repr().int() - right.int_repr().int()).abs().max() <= 1


BINARY = [("add", torch.add), ("mul", torch.mul)]


@pytest.mark.parametrize(("name", "function"), BINARY)
@pytest.mark.parametrize("relu", [False, True])
def test_two_operands(name, function, relu):
    """Six elements of each operand come out, meet in one operation (and a comparison), and go back in."""
    a, b = q(2, 3), q(2, 3, scale=0.125)
    op = f"{name}_relu" if relu else name
    expected = function(a.dequantize(), b.dequantize())
    call = getattr(quantized, op)
    out = call(a, b, OUT_SCALE, OUT_ZERO_POINT)
    same(out, requantized(expected.relu() if relu else expected))
    ops = 6 * OUT_OF + 6 * OUT_OF + 6 * (1 + relu) + 6 * INTO
    assert work(lambda: call(a, b, OUT_SCALE, OUT_ZERO_POINT), op) == (0, ops, 0)
    # An operand that is broadcast has three elements to come out.
    row = q(3)
    assert work(lambda: call(a, row, OUT_SCALE, OUT_ZERO_POINT), op) == (0, ops - 3 * OUT_OF, 0)
    # What is written into is not read.
    target = q(2, 3)
    for overload, written in [(call.out, op), (getattr(quantized, f"{op}_out"), f"{op}_out")]:
        assert work(lambda overload=overload: overload(a, b, target), written) == (0, ops, 0)
        into = row_of(lambda overload=overload: overload(a, b, target), f"quantized.{written}")
        assert (into.cost.bytes_read, into.cost.bytes_written) == (12, 6)


def ways_to_pass_a_number(name, relu):
    """List the operators that combine a tensor with a number, each with the name that it has in rows."""
    op, scalar = (f"{name}_relu", f"{name}_scalar_relu") if relu else (name, f"{name}_scalar")
    target = q(2, 3)
    packet, alone, into = getattr(quantized, op), getattr(quantized, scalar), getattr(quantized, f"{scalar}_out")
    return [
        (op, packet.Scalar),
        (op, lambda x, number: packet.Scalar2(number, x)),
        (op, lambda x, number: packet.Scalar_out(x, number, target)),
        (scalar, alone),
        (scalar, lambda x, number: alone(x, torch.tensor(number))),
        (f"{scalar}_out", lambda x, number: into(x, number, target)),
        (f"{scalar}_out", lambda x, number: into.Tensor(x, torch.tensor(number), target)),
    ]


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize(
    ("number", "scale", "zero_point", "ops"),
    [
        # round(0.5 / 0.25) = 2 moves the zero point: a division, a rounding, a difference and two bounds.
        (0.5, 0.25, 1, 5),
        # 3 - 80 is below 0: (255 + 77) / 255 * scale, the ratio of both scales, and seven for each of six elements.
        (20.0, 332 / 255 * 0.25, 0, 5 + 4 + 6 * 7),
        # 3 + 800 is above 255: 803 / 255 * scale.
        (-200.0, 803 / 255 * 0.25, 255, 5 + 4 + 6 * 7),
    ],
)
def test_adding_a_number(number, scale, zero_point, ops, relu):
    """No element changes where the zero point takes the number up; else all are requantized."""
    x = q(2, 3)
    for op, call in ways_to_pass_a_number("add", relu):
        out = call(x, number)
        assert (out.q_scale(), out.q_zero_point()) == (pytest.approx(scale), zero_point)
        expected = x.dequantize() + number
        if not relu:
            torch.testing.assert_close(out.dequantize(), expected, rtol=0, atol=scale)
        elif out.dequantize().min() >= 0:  # the kernels that take the number as a tensor forget to compare
            torch.testing.assert_close(out.dequantize(), expected.relu(), rtol=0, atol=scale)
        assert work(lambda call=call: call(x, number), op) == (0, ops + 6 * relu, 0)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize(
    ("number", "scale", "zero_point", "ops"),
    # A product for the scale; nothing at all; abs, product, 255 - (3 - 0), and 255 + 0 - q for each of six elements.
    [(2.0, 0.5, 3, 1), (0.0, 1.0, 0, 0), (-2.0, 0.5, 252, 4 + 6)],
)
def test_multiplying_by_a_number(number, scale, zero_point, ops, relu):
    """The scale takes the number up; a negative one turns the integers round."""
    x = q(2, 3)
    for op, call in ways_to_pass_a_number("mul", relu):
        out = call(x, number)
        assert (out.q_scale(), out.q_zero_point()) == (scale, zero_point)
        expected = x.dequantize() * number
        torch.testing.assert_close(out.dequantize(), expected.relu() if relu else expected)
        assert work(lambda call=call: call(x, number), op) == (0, ops + 6 * relu, 0)


OUT = (OUT_SCALE, OUT_ZERO_POINT)
UNARY = {
    "sigmoid": (lambda x: quantized.sigmoid(x, *OUT), torch.sigmoid),
    "hardswish": (lambda x: quantized.hardswish(x, *OUT), functional.hardswish),
    "leaky_relu": (
        lambda x: quantized.leaky_relu(x, 0.125, False, *OUT),
        lambda x: functional.leaky_relu(x, 0.125),
    ),
    "elu": (lambda x: quantized.elu(x, *OUT, 2, 3, 4), lambda x: aten.elu(x, 2, 3, 4)),
    "celu": (lambda x: quantized.celu(x, *OUT, 2), lambda x: functional.celu(x, 2.0)),
    "softmax": (lambda x: quantized.softmax(x, 1, *OUT), lambda x: x.softmax(1)),
}


@pytest.mark.parametrize(("name", "scale"), [*dict.fromkeys(UNARY, OUT_SCALE).items()])
def test_one_operand(name, scale):
    """Each costs what it costs in floating point, and the way there and back."""
    call, floating = UNARY[name]
    x = q(2, 3)
    out = call(x)
    if name != "softmax":  # whose scale the kernel chooses where it is a library's
        same(out, requantized(floating(x.dequantize()), scale))
    expected = cost_of(floating, x.dequantize())
    assert expected.ops > 0
    assert work(lambda: call(x), name) == (0, expected.ops + 6 * (OUT_OF + INTO), expected.transcendentals)


def test_threshold():
    """Out, one comparison, and in again with the same scale."""
    x = q(2, 3)
    expected = functional.threshold(x.dequantize(), 0.1, 0.25)
    same(quantized.threshold(x, 0.1, 0.25), requantized(expected, SCALE, ZERO_POINT))
    assert work(lambda: quantized.threshold(x, 0.1, 0.25), "threshold") == (0, 6 * (OUT_OF + 1 + INTO), 0)


def test_prelu():
    """Out, a comparison and a product, and in again; the kernel wants a quantized weight with one slope a channel."""
    x, weight = q(2, 3, 4), q(3)
    out = quantized.prelu(x, weight, *OUT)
    same(out, requantized(functional.prelu(x.dequantize(), weight.dequantize())))
    assert work(lambda: quantized.prelu(x, weight, *OUT), "prelu") == (0, 24 * (OUT_OF + 2 + INTO), 0)


@pytest.mark.parametrize(("bounds", "given"), [({"min": -0.5, "max": 0.5}, 2), ({"min": -0.5}, 1), ({"max": 0.5}, 1)])
def test_clamp(bounds, given):
    """Every bound is quantized, and every integer compared with it."""
    x = q(2, 3)
    same(quantized.clamp(x, **bounds), requantized(x.dequantize().clamp(**bounds), SCALE, ZERO_POINT))
    assert work(lambda: quantized.clamp(x, **bounds), "clamp") == (0, given * (5 + 6), 0)


def test_relu6():
    """Six is quantized, in five operations; two comparisons for each of six elements."""
    x = q(2, 3)
    same(quantized.relu6(x), requantized(functional.relu6(x.dequantize()), SCALE, ZERO_POINT))
    assert work(lambda: quantized.relu6(x), "relu6") == (0, 5 + 12, 0)


@pytest.mark.parametrize("training", [False, True])
def test_dropout(training):
    """It hands its argument back: no work, and no bytes."""
    x = q(2, 3)
    assert quantized.dropout(x, *OUT, 0.5, training) is x
    row = row_of(lambda: quantized.dropout(x, *OUT, 0.5, training), "quantized.dropout")
    assert (row.cost.flops, row.cost.transcendentals, row.cost.bytes) == (0, 0, 0)


def test_max_pool():
    """A window of k takes k - 1 comparisons of integers."""
    line, plane = q(2, 3, 8), q(2, 3, 8, 9)
    ones = [[1], [0], [1], False]
    assert work(lambda: quantized.max_pool1d(line, [3], *ones), "max_pool1d") == (0, 2 * 3 * 6 * 2, 0)
    out = quantized.max_pool2d(plane, [2, 3], [2, 3], [0, 0], [1, 1], False)
    torch.testing.assert_close(out.dequantize(), functional.max_pool2d(plane.dequantize(), (2, 3)))
    counted = work(lambda: quantized.max_pool2d(plane, [2, 3], [2, 3], [0, 0], [1, 1], False), "max_pool2d")
    assert counted == (0, 2 * 3 * 4 * 3 * 5, 0)


@pytest.mark.parametrize("relu", [False, True])
def test_joining(relu):
    """Nine elements come out and go in again with one scale, each compared with zero if that is asked for."""
    parts = [q(2, 3), q(1, 3, scale=0.125)]
    op = "cat_relu" if relu else "cat"
    joined = torch.cat([part.dequantize() for part in parts])
    call, into = getattr(quantized, op), getattr(quantized, f"{op}_out")
    same(call(parts, 0, *OUT), requantized(joined.relu() if relu else joined))
    ops = 9 * (OUT_OF + INTO + relu)
    assert work(lambda: call(parts, 0, *OUT), op) == (0, ops, 0)
    target = q(3, 3)
    assert work(lambda: into(parts, 0, target), f"{op}_out") == (0, ops, 0)
    row = row_of(lambda: into(parts, 0, target), f"quantized.{op}_out")
    assert (row.cost.bytes_read, row.cost.bytes_written) == (9, 9)


def test_matmul():
    """(2, 3, 4) @ (2, 4, 5): 120 products of integers, whose 30 sums are quantized."""
    a, b = q(2, 3, 4), q(2, 4, 5)
    same(quantized.matmul(a, b, *OUT), requantized(a.dequantize() @ b.dequantize()))
    assert cost_of(torch.matmul, a.dequantize(), b.dequantize()).macs == 120
    assert work(lambda: quantized.matmul(a, b, *OUT), "matmul") == (120, 30 * INTO, 0)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize(
    ("rank", "shape"), [("", (2, 3, 2, 2)), ("1d", (2, 3, 4)), ("2d", (2, 3, 2, 2)), ("3d", (2, 3, 2, 2, 1))]
)
def test_batch_norm(rank, shape, relu):
    """It costs what ``torch.quantized_batch_norm`` does, and a comparison for each element if that is fused.

    Each of three channels takes seven operations and a root, each of 24 elements seven operations: a difference, a
    product and a sum; a rounding, a sum and two bounds.
    """
    op = f"batch_norm{rank}" + ("_relu" if relu else "")
    x, weight, bias, mean, var = q(*shape), *torch.rand(4, 3).add(0.5)
    call = getattr(quantized, op)
    expected = functional.batch_norm(x.dequantize(), mean, var, weight, bias)
    same(call(x, weight, bias, mean, var, 1e-5, *OUT), requantized(expected.relu() if relu else expected))
    counted = work(lambda: call(x, weight, bias, mean, var, 1e-5, *OUT), op)
    assert counted == (0, 3 * 7 + 24 * 7 + 24 * relu, 3)
    if rank == "2d" and not relu:
        unfused = row_of(
            lambda: torch.quantized_batch_norm(x, weight, bias, mean, var, 1e-5, *OUT), "aten.quantized_batch_norm"
        )
        assert counted[1:] == (unfused.cost.ops, unfused.cost.transcendentals)


NORMS = {
    "layer_norm": (
        lambda x, *affine: quantized.layer_norm(x, [4], *affine, 1e-5, *OUT),
        lambda x, *affine: functional.layer_norm(x, [4], *affine),
    ),
    "group_norm": (
        lambda x, *affine: quantized.group_norm(x, 2, *affine, 1e-5, *OUT),
        lambda x, *affine: functional.group_norm(x, 2, *affine),
    ),
    "instance_norm": (
        lambda x, *affine: quantized.instance_norm(x, *affine, 1e-5, *OUT),
        lambda x, *affine: functional.group_norm(x, 4, *affine),
    ),
}


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("name", NORMS)
def test_norms(name, affine):
    """Each costs what it costs in floating point, and the way there and back; an instance is a group of one channel."""
    call, floating = NORMS[name]
    x, parameters = q(2, 4, 4), list(torch.rand(2, 4).add(0.5)) if affine else [None, None]
    same(call(x, *parameters), requantized(floating(x.dequantize(), *parameters)))
    expected = cost_of(floating, x.dequantize(), *parameters)
    assert expected.ops > 0
    assert work(lambda: call(x, *parameters), name) == (
        0,
        expected.ops + 32 * (OUT_OF + INTO),
        expected.transcendentals,
    )
