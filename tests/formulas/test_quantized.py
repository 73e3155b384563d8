"""Quantized tensors: definitions run on single numbers, and layers on integers against their float references."""

import pytest
import torch
from counted import cost_of
from torch import nn
from torch.nn import functional

from opflops import Cost, OpFlopMode
from opflops.pricing.registry import registry

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


def rounded(x, performed):
    """Quantize one number step by step; returns an integer."""
    steps = [lambda x: x / SCALE, round, lambda x: x + ZERO_POINT, lambda x: max(x, 0), lambda x: min(x, 255)]
    for step in steps:
        x = step(x)
        performed.append(step)
    return x


def restored(q, performed):
    """Dequantize one number step by step."""
    for step in [lambda q: q - ZERO_POINT, lambda q: q * SCALE]:
        q = step(q)
        performed.append(step)
    return q


def test_quantizing_and_back():
    """A division, a rounding, an addition and two bounds in; a subtraction and a product back; for 6 numbers."""
    x, performed = torch.randn(2, 3), []
    q = [rounded(value, performed) for value in x.flatten().tolist()]
    assert quantize(x).int_repr().flatten().tolist() == q
    assert cost_of(quantize, x) == Cost(ops=len(performed)) == Cost(ops=30)
    performed, tensor = [], quantize(x)
    torch.testing.assert_close(tensor.dequantize().flatten(), torch.tensor([restored(value, performed) for value in q]))
    assert cost_of(tensor.dequantize) == Cost(ops=len(performed)) == Cost(ops=12)


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
    assert (row.dtype, row.estimate, *work(row)) == ("quint8", "", 24, 59 + 6 * (1 + added), 0)
    assert row.cost.bytes_read == 32 + 12 + 12 * added
    row = row_of(lambda: quantized.linear_relu_dynamic(x, packed), "quantized.linear_relu_dynamic")
    assert (row.dtype, row.estimate, *work(row)) == ("quint8", "", 24, 59 + 6 * (2 + added), 0)


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
    """A convolution on integers takes the products of its floating-point reference, in groups and with strides too."""
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


@pytest.fixture
def onednn():
    """Use the engine that fuses more than the others."""
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = "onednn"
    yield
    torch.backends.quantized.engine = before


@pytest.mark.usefixtures("onednn")
@pytest.mark.parametrize(("bias", "added"), BIAS)
def test_linear_with_other_activations(bias, added):
    """A leaky relu compares and multiplies each sum; a tanh takes it scaled back, by one product more."""
    packed = quantized.linear_prepack(quantize(torch.randn(3, 4), torch.qint8), bias)
    x = quantize(torch.randn(2, 4))
    row = row_of(lambda: quantized.linear_leaky_relu(x, packed, SCALE, 0, 0.1), "quantized.linear_leaky_relu")
    assert (row.dtype, *work(row)) == ("quint8", 24, 6 * (5 + added + 2), 0)
    row = row_of(lambda: quantized.linear_tanh(x, packed, SCALE, 0), "quantized.linear_tanh")
    assert (row.dtype, *work(row)) == ("quint8", 24, 6 * (5 + added + 1), 6)


def test_weights_of_half_precision_are_multiplied_in_single_precision():
    """The product 1 * (1 + 2**-20) is exact; in half precision it would be 1. So the rows above are of float32."""
    x = torch.full((1, 16), 1 + 2**-20)
    packed = quantized.linear_prepack_fp16(torch.eye(16), None)
    assert torch.equal(quantized.linear_dynamic_fp16(x, packed), x)


def test_a_model_quantized_dynamically_multiplies_bytes():
    """None of its products is in the floating-point total, as in a model quantized statically."""
    model = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3))
    model = torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
    with OpFlopMode(strict=True) as mode:
        model(torch.randn(4, 5))
    assert mode.total.macs == 0
    products = {row.dtype: row.cost.macs for row in mode.profile.rows if row.op == "quantized.linear_dynamic"}
    macs = sum(row.cost.macs for row in mode.profile.rows if row.dtype == "quint8")
    assert (set(products), macs) == ({"quint8"}, 4 * (5 * 7 + 7 * 3))


@pytest.mark.parametrize(("bias", "added"), BIAS)
def test_linear_with_a_given_scale(bias, added):
    """The input is quantized by a scale that is known (5 operations for each of 8 numbers), the sums scaled back."""
    packed = quantized.linear_prepack(quantize(torch.randn(3, 4), torch.qint8), bias)
    x, op = torch.randn(2, 4), "linear_with_input_q_dq_qweight_dq"
    call, relu = getattr(quantized, f"{op}_output_fp32"), getattr(quantized, f"{op}_relu_output_fp32")
    row = row_of(lambda: call(x, SCALE, ZERO_POINT, packed), f"quantized.{op}_output_fp32")
    assert (row.dtype, row.estimate, *work(row)) == ("quint8", "", 24, 40 + 6 * (1 + added), 0)
    assert row.cost.bytes_read == 32 + 12 + 12 * added
    row = row_of(lambda: relu(x, SCALE, ZERO_POINT, packed), f"quantized.{op}_relu_output_fp32")
    assert (row.dtype, row.estimate, *work(row)) == ("quint8", "", 24, 40 + 6 * (2 + added), 0)


@pytest.mark.parametrize(("bias", "added"), BIAS)
def test_linear_with_plain_weights(bias, added):
    """Weights that are converted to half precision on the way cost what the layer costs."""
    x, weight = torch.randn(2, 4), torch.randn(3, 4)
    call = quantized.linear_dynamic_fp16_unpacked_weight
    row = row_of(lambda: call(x, weight, bias), "quantized.linear_dynamic_fp16_unpacked_weight")
    assert (row.dtype, *work(row)) == ("float32", 24, 6 * added, 0)


@pytest.mark.parametrize(("bias", "added"), [(None, 0), (torch.ones(6), 1)])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_convolutions_with_dynamic_quantization(rank, transposed, bias, added):
    """The products of the floating-point reference; the input quantized by its range, the sums scaled back."""
    name = f"conv_transpose{rank}d" if transposed else f"conv{rank}d"
    x = torch.randn(2, 4, *[5] * rank)
    weight = torch.randn(*((4, 6) if transposed else (6, 4)), *[3] * rank)
    expected = cost_of(getattr(functional, name), x, weight)
    between = [[0] * rank] if transposed else []
    packed = getattr(quantized, f"{name}_prepack")(
        quantize(weight, torch.qint8), bias, [1] * rank, [0] * rank, *between, [1] * rank, 1
    )
    call = getattr(quantized, f"{name}_dynamic")
    out = call(x, packed)
    row = row_of(lambda: call(x, packed), f"quantized.{name}_dynamic")
    by_range = 2 * (x.numel() - 1) + 5 + 5 * x.numel()
    assert work(row) == (expected.macs, by_range + (1 + added) * out.numel(), 0)
    assert row.cost.bytes_read == 4 * x.numel() + weight.numel() + 24 * added
    assert (row.dtype, row.estimate) == ("quint8", "")


@pytest.mark.usefixtures("onednn")
@pytest.mark.parametrize(("op", "relu"), [("conv2d_add", 0), ("conv2d_add_relu", 1)])
def test_convolution_that_adds(op, relu):
    """A sum is scaled back (1), what lies there dequantized (2) and added (1), and the result quantized (5)."""
    weight, x, there = quantize(torch.randn(6, 4, 3, 3), torch.qint8), torch.randn(1, 4, 5, 5), torch.randn(1, 6, 3, 3)
    packed = quantized.conv2d_prepack(weight, torch.ones(6), [1, 1], [0, 0], [1, 1], 1)
    qx, accumulated = quantize(x), quantize(there)
    row = row_of(lambda: getattr(quantized, op)(qx, accumulated, packed, SCALE, 0), f"quantized.{op}")
    assert (row.dtype, *work(row)) == ("quint8", 9 * 216, 54 * (1 + 1 + 2 + 1 + 5 + relu), 0)
    assert row.cost.bytes_read == 100 + 54 + 216 + 24


def test_packing_is_movement():
    """Parameters that are laid out anew, and back, take no arithmetic."""
    weight, kernel = quantize(torch.randn(3, 4), torch.qint8), quantize(torch.randn(3, 3, 3), torch.qint8)
    plain, one = torch.randn(3, 4), [[1], [0], [1], 1]
    with OpFlopMode(strict=True) as mode:
        quantized.linear_unpack(quantized.linear_prepack(weight, None))
        quantized.linear_unpack_fp16(quantized.linear_prepack_fp16(plain, None))
        quantized.conv1d_prepack(kernel, None, *one)
        quantized.conv_transpose1d_prepack(kernel, None, *one[:2], [0], *one[2:])
    rows = [row for row in mode.profile.rows if row.op.startswith("quantized.")]
    assert len(rows) == 6
    assert {(row.cost.flops, row.cost.transcendentals) for row in rows} == {(0, 0)}


@pytest.fixture
def sparse_weight():
    """Make a weight (3, 8) whose blocks of one by four hold something in three places of six."""
    weight = torch.zeros(3, 8)
    weight[0, 1], weight[1, 0], weight[1, 7], weight[1, 6] = 1, 2, 3, 4
    return quantize(weight, torch.qint8)


def sparse_layer(engine, weight, bias):
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = engine
    try:
        return torch.ops.sparse.qlinear_prepack(weight, bias, 1, 4)
    finally:
        torch.backends.quantized.engine = before


@pytest.mark.parametrize(("bias", "added"), BIAS)
def test_linear_on_stored_blocks(sparse_weight, bias, added):
    """Two rows times three blocks of four: 24 products, where a dense weight has 48; the rest is as ever."""
    packed, x = sparse_layer("fbgemm", sparse_weight, bias), quantize(torch.randn(2, 8))
    for op, relu in [("qlinear", 0), ("qlinear_relu", 1)]:
        call = getattr(torch.ops.sparse, op)
        row = row_of(lambda call=call: call(x, packed, SCALE, 0), f"sparse.{op}")
        assert (row.dtype, *work(row)) == ("quint8", 24, 6 * (5 + added + relu), 0)
        assert row.cost.bytes_read == 16 + 12 + 12 * added


def test_linear_on_stored_blocks_with_dynamic_quantization(sparse_weight):
    """The input is quantized by its range: 30 comparisons, 5 operations and 80, for 16 numbers; QNNPACK has a bias."""
    packed, x = sparse_layer("qnnpack", sparse_weight, torch.ones(3)), torch.randn(2, 8)
    for op, relu in [("qlinear_dynamic", 0), ("qlinear_relu_dynamic", 1)]:
        # Only some processors have a kernel.
        price = registry.resolve(getattr(torch.ops.sparse, op).default, {"causal": "dense"})
        cost, dtype, reason = price.charge(torch.empty(2, 3), (x, packed), {})
        assert (cost.macs, cost.ops, cost.transcendentals) == (24, 115 + 6 * (2 + relu), 0)
        assert cost.bytes_read == 64 + 12 + 12
        assert (dtype, reason) == (torch.quint8, "")
