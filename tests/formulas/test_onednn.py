"""Layers that oneDNN runs with what follows them: against the layers and activations one by one."""

import pytest
import torch
from counted import cost_of
from torch.nn import functional

from opflops import Cost, OpFlopMode
from opflops.pricing.registry import registry

mkldnn, onednn = torch.ops.mkldnn, torch.ops.onednn

pytestmark = [
    pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="needs oneDNN"),
    pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning"),
]


def row_of(function, op):
    with OpFlopMode(strict=True) as mode:
        function()
    (row,) = [row for row in mode.profile.rows if row.op == op]
    return row


def work(row):
    return Cost(row.cost.macs, row.cost.ops, row.cost.transcendentals)


def charged(overload, out, *args, **kwargs):
    """Price a call of an operator that has no kernel here."""
    cost, dtype, _ = registry.resolve(overload, {"causal": "dense"}).charge(out, args, kwargs)
    return cost, dtype


# What oneDNN calls an activation, its numbers and its form; the function; its price for one element.
ACTIVATIONS = [
    ("none", [], "", lambda x: x, Cost()),
    ("relu", [], "", functional.relu, Cost(ops=1)),
    ("leaky_relu", [0.1], "", lambda x: functional.leaky_relu(x, 0.1), Cost(ops=2)),
    ("hardtanh", [-0.5, 1.0], "", lambda x: functional.hardtanh(x, -0.5, 1.0), Cost(ops=2)),
    ("hardswish", [], "", functional.hardswish, Cost(ops=5)),
    ("hardsigmoid", [], "", functional.hardsigmoid, Cost(ops=4)),
    ("tanh", [], "", torch.tanh, Cost(transcendentals=1)),
    ("sigmoid", [], "", torch.sigmoid, Cost(ops=3, transcendentals=1)),
    ("swish", [], "", functional.silu, Cost(ops=4, transcendentals=1)),
    ("gelu", [], "none", functional.gelu, Cost(ops=4, transcendentals=1)),
    ("gelu", [], "tanh", lambda x: functional.gelu(x, approximate="tanh"), Cost(ops=8, transcendentals=1)),
]
BIAS = [(None, 0), (torch.ones(6), 1)]

X, KERNEL, BACK = torch.randn(2, 4, 5, 5), torch.randn(6, 2, 3, 3), torch.randn(4, 6, 3, 3)
FORWARD = ([0, 0], [1, 1], [1, 1], 2)
OUT = 2 * 6 * 3 * 3
# 2 x 3 x 3 positions for 108 weights.
MACS = 18 * 108


@pytest.mark.parametrize(("bias", "added"), BIAS)
@pytest.mark.parametrize(("name", "numbers", "form", "function", "each"), ACTIVATIONS)
def test_convolution_and_activation(name, numbers, form, function, each, bias, added):
    """A convolution, its bias and an activation cost what they cost apart."""
    args = (X, KERNEL, bias, *FORWARD, name, numbers, form)
    expected = function(functional.conv2d(X, KERNEL, bias, groups=2))
    torch.testing.assert_close(mkldnn._convolution_pointwise(*args), expected, rtol=1e-3, atol=1e-3)
    row = row_of(lambda: mkldnn._convolution_pointwise(*args), "mkldnn._convolution_pointwise")
    assert work(row) == Cost(macs=MACS, ops=added * OUT) + each * OUT
    assert row.dtype == "float32"


@pytest.mark.parametrize(("then", "more"), [(None, 0), ("relu", 1)])
@pytest.mark.parametrize(("name", "function"), [("add", torch.add), ("sub", torch.sub), ("mul", torch.mul)])
def test_convolution_and_another_tensor(name, function, then, more):
    """One operation for each element, and the activation that comes then; in place as well."""
    other = torch.randn(2, 6, 3, 3)
    args = (X, other, KERNEL, None, *FORWARD, name, 1.0, then, [], None)
    expected = function(functional.conv2d(X, KERNEL, groups=2), other)
    out = mkldnn._convolution_pointwise.binary(*args)
    torch.testing.assert_close(out, expected.relu() if then else expected, rtol=1e-3, atol=1e-3)
    row = row_of(lambda: mkldnn._convolution_pointwise.binary(*args), "mkldnn._convolution_pointwise")
    assert work(row) == Cost(macs=MACS, ops=(1 + more) * OUT)
    if name == "add":
        into = other.clone()
        args = (into, X, KERNEL, None, *FORWARD, "add", 1.0, then, [], None)
        row = row_of(lambda: mkldnn._convolution_pointwise_.binary(*args), "mkldnn._convolution_pointwise_")
        assert work(row) == Cost(macs=MACS, ops=(1 + more) * OUT)


def test_factor_of_another_tensor():
    """A factor other than 1, which the schema allows, multiplies each element."""
    other = torch.empty(2, 6, 3, 3)
    args = (X, other, KERNEL, None, *FORWARD, "add", 2.0, None, [], None)
    cost, _ = charged(mkldnn._convolution_pointwise.binary, other, *args)
    assert (cost.macs, cost.ops) == (MACS, 2 * OUT)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("bias", "added"), BIAS)
def test_transposed_convolution_and_activation(packed, bias, added):
    """Positions lie on the input's grid; packed weights cost what plain ones do."""
    order = ([0, 0], [0, 0], [1, 1], [1, 1], 1)
    weight = mkldnn._reorder_convolution_transpose_weight(BACK, *order, [2, 4, 5, 5]) if packed else BACK
    args = (X, weight, bias, *order, "swish", [], "")
    expected = functional.silu(functional.conv_transpose2d(X, BACK, bias))
    torch.testing.assert_close(mkldnn._convolution_transpose_pointwise(*args), expected, rtol=1e-3, atol=1e-3)
    row = row_of(lambda: mkldnn._convolution_transpose_pointwise(*args), "mkldnn._convolution_transpose_pointwise")
    elements = 2 * 6 * 7 * 7
    assert work(row) == Cost(macs=2 * 25 * 216, ops=(added + 4) * elements, transcendentals=elements)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("bias", "added"), BIAS)
@pytest.mark.parametrize(("name", "numbers", "form", "function", "each"), ACTIVATIONS)
def test_linear_and_activation(name, numbers, form, function, each, bias, added, packed):
    """A linear layer on six rows, its bias and an activation cost what they cost apart; packed weights too."""
    x, plain = torch.randn(3, 2, 4), torch.randn(6, 4)
    weight = mkldnn._reorder_linear_weight(plain, 6) if packed else plain
    args = (x, weight, bias, name, numbers, form)
    torch.testing.assert_close(mkldnn._linear_pointwise(*args), function(functional.linear(x, plain, bias)))
    row = row_of(lambda: mkldnn._linear_pointwise(*args), "mkldnn._linear_pointwise")
    assert work(row) == Cost(macs=6 * 24, ops=added * 36) + each * 36


def test_linear_and_another_tensor():
    """One operation for each element."""
    x, other, weight = torch.randn(2, 4), torch.randn(2, 6), torch.randn(6, 4)
    args = (x, other, weight, torch.ones(6), "add")
    row = row_of(lambda: mkldnn._linear_pointwise.binary(*args), "mkldnn._linear_pointwise")
    assert work(row) == Cost(macs=48, ops=12 + 12)


def test_packing_is_movement():
    """Weights laid out anew take no arithmetic, and questions about them leave no row."""
    weight, lstm = torch.randn(6, 4), (torch.randn(16, 3), torch.randn(16, 4))
    integers = torch.randint(-5, 5, (6, 4), dtype=torch.int8)
    with OpFlopMode(strict=True) as mode:
        packed = mkldnn._reorder_linear_weight(weight, 2)
        mkldnn._reorder_convolution_weight(KERNEL, *FORWARD, [2, 4, 5, 5])
        mkldnn._reorder_mkldnn_rnn_layer_weight(*lstm, 4, False, True, False, [5, 2, 3])
        mkldnn._get_mkldnn_serialized_md(packed)
        onednn.linear_prepack_fp16(weight, None)
        onednn.qlinear_prepack(integers, None)
        assert mkldnn._nbytes(packed) > 0
        mkldnn.data_ptr(packed)
    ours = [row for row in mode.profile.rows if row.op.startswith(("mkldnn.", "onednn."))]
    assert len(ours) == 6
    assert {(row.cost.flops, row.cost.transcendentals) for row in ours} == {(0, 0)}
    assert not {row.op for row in ours} & {"mkldnn._nbytes", "mkldnn.data_ptr"}


@pytest.mark.parametrize(("bias", "added"), BIAS)
def test_linear_with_weights_of_half_precision(bias, added):
    """Weights in half precision change nothing in the arithmetic."""
    x, packed = torch.randn(2, 4), onednn.linear_prepack_fp16(torch.randn(6, 4), None)
    for op, relu in [("linear_dynamic_fp16", 0), ("linear_relu_dynamic_fp16", 1)]:
        call = getattr(onednn, op)
        row = row_of(lambda call=call: call(x, packed, bias), f"onednn.{op}")
        assert (row.dtype, work(row)) == ("float32", Cost(macs=48, ops=(added + relu) * 12))


# On integers: a sum is scaled back by one product, a number dequantized by two operations and quantized by five. An
# activation that does not depend on scale is applied to the sums as they are.
UINT8, FLOAT = torch.uint8, torch.float32
ZEROS, SCALES = torch.zeros(6, dtype=torch.int64), torch.full((6,), 0.1)
QX = torch.randint(0, 9, (2, 4), dtype=UINT8)
QW = torch.randint(-5, 5, (6, 4), dtype=torch.int8)
ON_INTEGERS = [
    ("none", "", 5, 0),
    ("relu", "", 1 + 5, 0),
    ("leaky_relu", "", 2 + 5, 0),
    ("hardtanh", "", 1 + 2 + 5, 0),
    ("tanh", "", 1 + 5, 1),
    ("swish", "", 1 + 4 + 5, 1),
    ("gelu", "none", 1 + 4 + 5, 1),
    ("gelu", "tanh", 1 + 8 + 5, 1),
]
NUMBERS = {"leaky_relu": [0.1], "hardtanh": [0.0, 1.0]}


def tensors(scale, zero_point):
    """Pass scale and zero point as one overload has it."""
    return torch.tensor(scale), torch.tensor(zero_point)


@pytest.mark.parametrize(("bias", "added"), BIAS)
@pytest.mark.parametrize(("name", "form", "ops", "transcendentals"), ON_INTEGERS)
def test_linear_on_integers(name, form, ops, transcendentals, bias, added):
    """Twelve sums of four products each, their bias, activation, and quantization."""
    packed = onednn.qlinear_prepack(QW, None)
    after = (bias, 0.5, 1, UINT8, name, NUMBERS.get(name, []), form)
    args = (QX, 0.5, 1, packed, SCALES, ZEROS, *after)
    row = row_of(lambda: onednn.qlinear_pointwise(*args), "onednn.qlinear_pointwise")
    expected = Cost(macs=48, ops=12 * (ops + added), transcendentals=12 * transcendentals)
    assert (row.dtype, work(row)) == ("uint8", expected)
    scale, zero_point = tensors(0.5, 1)
    args = (QX, scale, zero_point, packed, SCALES, ZEROS, *after)
    row = row_of(lambda: onednn.qlinear_pointwise.tensor(*args), "onednn.qlinear_pointwise")
    assert (row.dtype, work(row)) == ("uint8", expected)


def test_linear_from_integers_to_floating_point():
    """Sums are scaled back and not quantized."""
    args = (QX, 0.5, 1, onednn.qlinear_prepack(QW, None), SCALES, ZEROS, None, 1.0, 0, FLOAT, "relu", [], "")
    row = row_of(lambda: onednn.qlinear_pointwise(*args), "onednn.qlinear_pointwise")
    assert (row.dtype, work(row)) == ("uint8", Cost(macs=48, ops=12 * (1 + 1)))


@pytest.mark.parametrize(
    ("other", "alpha", "name", "dtype", "each"),
    [
        # Scaled back 1, dequantized 2, added 1, quantized 5.
        (UINT8, 1.0, "none", UINT8, 1 + 2 + 1 + 5),
        (UINT8, 1.0, "relu", UINT8, 1 + 2 + 1 + 1 + 5),
        (UINT8, 2.0, "relu", UINT8, 1 + 2 + 2 + 1 + 5),
        (FLOAT, 1.0, "relu", FLOAT, 1 + 1 + 1),
        (FLOAT, 1.0, "none", FLOAT, 1 + 1),
    ],
)
def test_linear_on_integers_and_another_tensor(other, alpha, name, dtype, each):
    """What is added must be on the same scale: sums are scaled back, and quantized numbers dequantized."""
    there, out = torch.zeros(2, 6, dtype=other), torch.empty(2, 6, dtype=dtype)
    after = (there, None, 0.5, 1, dtype, 0.5, 1, "sum", alpha, name, [], "")
    cost, filed = charged(onednn.qlinear_pointwise.binary, out, QX, 0.5, 1, QW.t(), SCALES, ZEROS, *after)
    assert (cost.macs, cost.ops, cost.transcendentals, filed) == (48, 12 * each, 0, UINT8)
    overload = onednn.qlinear_pointwise.binary_tensor
    cost, filed = charged(overload, out, QX, *tensors(0.5, 1), QW.t(), SCALES, ZEROS, *after)
    assert (cost.macs, cost.ops, cost.transcendentals, filed) == (48, 12 * each, 0, UINT8)


def convolution(rank):
    """Make a convolution on integers in two groups; returns operands, macs in floating point and result count."""
    weight = torch.randint(-5, 5, (6, 2, *[3] * rank), dtype=torch.int8)
    x = torch.randint(0, 9, (2, 4, *[5] * rank), dtype=UINT8)
    reference = getattr(functional, f"conv{rank}d")
    macs = cost_of(lambda: reference(x.float(), weight.float(), groups=2)).macs
    geometry = ([1] * rank, [0] * rank, [1] * rank, 2)
    packed = onednn.qconv_prepack(weight, SCALES, 0.5, 1, *geometry, None)
    return x, packed, geometry, macs, 2 * 6 * 3**rank


@pytest.mark.parametrize(("bias", "added"), BIAS)
@pytest.mark.parametrize(("rank", "name", "each"), [(1, "relu", 6), (2, "relu", 6), (2, "swish", 10), (3, "none", 5)])
def test_convolution_on_integers(rank, name, each, bias, added):
    """The products of the floating-point reference; bias, activation and quantization for each sum."""
    x, packed, geometry, macs, results = convolution(rank)
    after = (bias, *geometry, 0.5, 1, UINT8, name, [], "")
    expected = macs, results * (each + added), results if name == "swish" else 0
    for op in (f"qconv{rank}d_pointwise", "qconv_pointwise"):
        if not hasattr(onednn, op):
            continue
        call = getattr(onednn, op)
        row = row_of(
            lambda call=call: call.default(x, 0.5, 1, packed, SCALES, ZEROS, *after),
            f"onednn.{op}",
        )
        assert (row.dtype, row.cost.macs, row.cost.ops, row.cost.transcendentals) == ("uint8", *expected)
        if "tensor" in call.overloads():
            args = (x, *tensors(0.5, 1), packed, SCALES, ZEROS, *after)
            row = row_of(lambda call=call, args=args: call.tensor(*args), f"onednn.{op}")
            assert (row.dtype, row.cost.macs, row.cost.ops, row.cost.transcendentals) == ("uint8", *expected)


@pytest.mark.parametrize(("alpha", "name", "each"), [(1.0, "none", 9), (1.0, "relu", 10), (2.0, "relu", 11)])
def test_convolution_on_integers_and_what_lies_there(alpha, name, each):
    """Scaled back 1, dequantized 2, added 1 or 2, perhaps compared, quantized 5."""
    x, packed, geometry, macs, results = convolution(2)
    there = torch.zeros(2, 6, 3, 3, dtype=UINT8)
    after = (there, None, *geometry, 0.5, 1, UINT8, 0.5, 1, "sum", alpha, name, [], "")
    cost, filed = charged(onednn.qconv2d_pointwise.binary, there, x, 0.5, 1, packed, SCALES, ZEROS, *after)
    assert (cost.macs, cost.ops, cost.transcendentals, filed) == (macs, results * each, 0, UINT8)
    overload = onednn.qconv2d_pointwise.binary_tensor
    cost, filed = charged(overload, there, x, *tensors(0.5, 1), packed, SCALES, ZEROS, *after)
    assert (cost.macs, cost.ops, cost.transcendentals, filed) == (macs, results * each, 0, UINT8)


NEWER = pytest.mark.skipif(not hasattr(onednn, "qadd"), reason="this PyTorch has none of them")


@NEWER
@pytest.mark.parametrize(("op", "each"), [("qadd", 1), ("qmul", 1), ("qadd_relu", 2)])
def test_two_operands(op, each):
    """Both come out by two operations an element, and the result goes in by five, unless it is floating point."""
    a = torch.randint(0, 9, (2, 4, 3, 3), dtype=UINT8)
    call = getattr(onednn, op).tensor
    row = row_of(lambda: call(a, 0.5, 1, a, 0.5, 1, 0.5, 1, UINT8), f"onednn.{op}")
    assert (row.dtype, work(row)) == ("uint8", Cost(ops=72 * (2 + 2 + each + 5)))
    row = row_of(lambda: call(a, 0.5, 1, a, 0.5, 1, 1.0, 0, FLOAT), f"onednn.{op}")
    assert (row.dtype, work(row)) == ("uint8", Cost(ops=72 * (2 + 2 + each)))


@NEWER
def test_batch_norm():
    """It costs what ``torch.quantized_batch_norm`` does: seven operations an element; seven and a root a channel."""
    x, parameters = torch.randint(0, 9, (2, 4, 3, 3), dtype=UINT8), [torch.ones(4)] * 4
    row = row_of(lambda: onednn.qbatch_norm2d(x, 0.5, 1, *parameters, 1e-5, 0.5, 1, UINT8), "onednn.qbatch_norm2d")
    assert (row.dtype, work(row)) == ("uint8", Cost(ops=72 * 7 + 4 * 7, transcendentals=4))
