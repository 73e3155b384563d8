"""Quantization spelled out: each operator against the operators of aten that its definition runs; and older layers."""

from types import SimpleNamespace

import pytest
import torch
from counted import operator_name
from torch.ao.quantization.fx import _decomposed as definitions

from opflops import Cost, OpFlopMode, coverage
from opflops.pricing.registry import registry

pytestmark = pytest.mark.filterwarnings(
    "ignore:torch.quantize_per_tensor, torch.quantize_per_channel:UserWarning",
    "ignore:.*deprecated:DeprecationWarning",
)

ours, older = torch.ops.quantized_decomposed, torch.ops._quantized

x = torch.randn(4, 6)
q = torch.randint(-9, 9, (4, 6), dtype=torch.int8)
scales, zero_points = torch.rand(4) + 0.5, torch.randint(-3, 3, (4,))
of_tokens, zeros_of_tokens = scales.view(4, 1), zero_points.view(4, 1)
of_groups, zeros_of_groups = torch.rand(4, 2) + 0.5, torch.randint(-3, 3, (4, 2))
scale, zero_point = torch.tensor(0.5), torch.tensor(3)
lowest, highest = torch.tensor(-128), torch.tensor(127)
BOUNDS = (-128, 127)
INT8, FLOAT = torch.int8, torch.float32


def spelled_out(function, *args):
    """Add up the arithmetic of a definition, on integers too."""
    with OpFlopMode(strict=True) as mode:
        result = function(*args)
    costs = [row.cost for row in mode.profile.rows]
    return tuple(sum(getattr(cost, field) for cost in costs) for field in ("macs", "ops", "transcendentals")), result


def row_of(function, op):
    with OpFlopMode(strict=True) as mode:
        result = function()
    (row,) = [row for row in mode.profile.rows if row.op == op]
    return row, result


def arithmetic(row):
    return row.cost.macs, row.cost.ops, row.cost.transcendentals


# An operator, its definition, the arguments, what running the definition takes beyond it, and its operations by hand.
# Python runs ``1.0 / scales`` as a reciprocal and a product with 1.0: one operation too many for each scale.
CASES = [
    (ours.quantize_per_tensor.default, definitions.quantize_per_tensor, (x, 0.5, 3, *BOUNDS, INT8), 0, 24 * 5),
    (
        ours.quantize_per_tensor.tensor,
        definitions.quantize_per_tensor_tensor,
        (x, scale, zero_point, *BOUNDS, INT8),
        0,
        24 * 5,
    ),
    (
        ours.quantize_per_tensor.tensor2,
        definitions.quantize_per_tensor_tensor2,
        (x, scale, zero_point, lowest, highest, INT8),
        0,
        24 * 5,
    ),
    (
        ours.quantize_per_channel.default,
        definitions.quantize_per_channel,
        (x, scales, zero_points, 0, *BOUNDS, INT8),
        4,
        24 * 5 + 4,
    ),
    (
        ours.quantize_per_token.default,
        definitions.quantize_per_token,
        (x, of_tokens, zeros_of_tokens, *BOUNDS, INT8),
        4,
        24 * 5 + 4,
    ),
    # Each of 24 elements is asked whether it is NaN; the answers are added up, and the sum compared.
    (
        ours.quantize_per_channel_group.default,
        definitions.quantize_per_channel_group,
        (x, of_groups, zeros_of_groups, *BOUNDS, INT8, 3),
        24 + 23 + 1 + 8,
        24 * 5 + 8,
    ),
    (ours.dequantize_per_tensor.default, definitions.dequantize_per_tensor, (q, 0.5, 3, *BOUNDS, INT8), 0, 24 * 2),
    (
        ours.dequantize_per_tensor.tensor,
        definitions.dequantize_per_tensor_tensor,
        (q, scale, zero_point, *BOUNDS, INT8),
        0,
        24 * 2,
    ),
    (
        ours.dequantize_per_tensor.tensor2,
        definitions.dequantize_per_tensor_tensor2,
        (q, scale, zero_point, lowest, highest, INT8),
        0,
        24 * 2,
    ),
    (
        ours.dequantize_per_channel.default,
        definitions.dequantize_per_channel,
        (q, scales, zero_points, 0, *BOUNDS, INT8),
        0,
        24 * 2,
    ),
    (
        ours.dequantize_per_channel.default,
        definitions.dequantize_per_channel,
        (q, scales, None, 0, *BOUNDS, INT8),
        0,
        24,
    ),
    (
        ours.dequantize_per_token.default,
        definitions.dequantize_per_token,
        (q, of_tokens, zeros_of_tokens, *BOUNDS, INT8, FLOAT),
        0,
        24 * 2,
    ),
    (
        ours.dequantize_per_channel_group.default,
        definitions.dequantize_per_channel_group,
        (q, of_groups, zeros_of_groups, *BOUNDS, INT8, 3, FLOAT),
        0,
        24 * 2,
    ),
    (
        ours.dequantize_per_channel_group.default,
        definitions.dequantize_per_channel_group,
        (q, of_groups, None, *BOUNDS, INT8, 3, FLOAT),
        0,
        24 * 2,
    ),
    # Both ends of the range are looked at once, to see that they are numbers, and in order.
    (
        ours.choose_qparams.tensor,
        definitions.choose_qparams_tensor,
        (x, *BOUNDS, 1e-5, INT8),
        2,
        2 * 23 + 2 + 3 + 5,
    ),
    (
        ours.choose_qparams_symmetric.tensor,
        definitions.choose_qparams_symmetric_tensor,
        (x, *BOUNDS, 1e-5, INT8),
        2,
        2 * 23 + 2 + 4,
    ),
    (
        ours.choose_qparams_per_token.default,
        definitions.choose_qparams_per_token,
        (x, INT8),
        0,
        24 + 4 * 5 + 4 * 2,
    ),
    (
        ours.choose_qparams_per_token_asymmetric.default,
        definitions.choose_qparams_per_token_asymmetric,
        (x, INT8),
        0,
        2 * 4 * 5 + 4 * (2 + 3 + 11),
    ),
]


@pytest.mark.parametrize(("overload", "definition", "args", "beyond", "ops"), CASES, ids=operator_name)
def test_it_costs_what_its_definition_costs(overload, definition, args, beyond, ops):
    """The operator is one row with the operations of its definition, but for checks of its arguments."""
    name = f"quantized_decomposed.{overload._schema.name.partition('::')[2]}"
    row, result = row_of(lambda: overload(*args), name)
    expected, reference = spelled_out(definition, *args)
    torch.testing.assert_close(result, reference)
    assert arithmetic(row) == (0, ops, 0)
    assert (expected[0], expected[2]) == (0, 0)
    assert expected[1] - ops == beyond
    # Rows are of the floats that go in or come out; the scales that are found are doubles, made of floats.
    assert row.dtype == "float32"
    assert row.estimate == ""


def test_fake_quantization():
    """Under autograd its parts run; as one operator it costs what they cost.

    Joining two comparisons is logic, and each reciprocal is multiplied with 1.0.
    """
    args = (x, scales, zero_points.int(), 0, *BOUNDS)
    (macs, ops, transcendentals), result = spelled_out(ours.fake_quant_per_channel, *args)
    cost, _, _ = registry.resolve(ours.fake_quant_per_channel.default, {}).charge(result, args, {})
    assert (cost.macs, cost.ops, cost.transcendentals) == (0, 24 * 9 + 4, 0)
    assert (macs, ops, transcendentals) == (0, cost.ops + 24 + 4, 0)


def test_conversions():
    """A cast: elements are read and written."""
    row, _ = row_of(
        lambda: ours.convert_element_type.no_fuse(x, torch.float64), "quantized_decomposed.convert_element_type"
    )
    assert row.cost == Cost(bytes_read=96, bytes_written=192)


# Older layers.


def quantized(*shape, dtype=torch.quint8):
    return torch.quantize_per_tensor(torch.randn(shape), 0.25, 3 if dtype is torch.quint8 else 0, dtype)


def layers():
    """List calls of layers by name, each for the old namespace or the new one."""
    image, volume, line = quantized(2, 4, 6, 6), quantized(2, 4, 5, 6, 6), quantized(2, 4, 6)
    bias, once = torch.randn(3), ([1, 1], [0, 0], [1, 1], 1)
    of_plane = torch.ops.quantized.conv2d_prepack(quantized(3, 4, 3, 3, dtype=torch.qint8), bias, *once)
    of_volume = torch.ops.quantized.conv3d_prepack(
        quantized(3, 4, 3, 3, 3, dtype=torch.qint8), bias, [1] * 3, [0] * 3, [1] * 3, 1
    )
    back = ([1, 1], [0, 0], [0, 0], [1, 1], 1)
    of_plane_back = torch.ops.quantized.conv_transpose2d_prepack(quantized(4, 3, 3, 3, dtype=torch.qint8), None, *back)
    of_line_back = torch.ops.quantized.conv_transpose1d_prepack(
        quantized(4, 3, 3, dtype=torch.qint8), None, [1], [0], [0], [1], 1
    )
    packed = torch.ops.quantized.linear_prepack(quantized(3, 6, dtype=torch.qint8), bias)
    to = (0.5, 1)
    return {
        "add": lambda ops: ops.add(line, line, *to),
        "conv2d": lambda ops: ops.conv2d(image, of_plane, *to),
        "conv2d_relu": lambda ops: ops.conv2d_relu(image, of_plane, *to),
        "conv3d": lambda ops: ops.conv3d(volume, of_volume, *to),
        "conv3d_relu": lambda ops: ops.conv3d_relu(volume, of_volume, *to),
        "conv_transpose1d": lambda ops: ops.conv_transpose1d(line, of_line_back, *to),
        "conv_transpose2d": lambda ops: ops.conv_transpose2d(image, of_plane_back, *to),
        "linear": lambda ops: ops.linear(line, packed, *to),
        "linear_dynamic": lambda ops: ops.linear_dynamic(torch.randn(2, 6), packed),
    }


OLDER = "add conv2d conv2d_relu conv3d conv3d_relu conv_transpose1d conv_transpose2d linear linear_dynamic"


@pytest.mark.parametrize("name", OLDER.split())
def test_older_layers(name):
    """A layer costs the same under its older name."""
    call = layers()[name]
    new, expected = row_of(lambda: call(torch.ops.quantized), f"quantized.{name}")
    assert new.cost.ops > 0
    if "3d" in name:  # which has no kernel
        seen = []
        call(SimpleNamespace(**{name: lambda *args: seen.append(args)}))
        cost, _, reason = registry.resolve(getattr(older, name).default, {}).charge(expected, seen[0], {})
        assert (cost, reason) == (new.cost, "")
        return
    old, result = row_of(lambda: call(older), f"_quantized.{name}")
    assert result.shape == expected.shape
    assert (old.cost, old.dtype, old.estimate) == (new.cost, new.dtype, new.estimate)


def test_packing():
    """Weights that are laid out anew take no arithmetic, under every older name."""
    packing = {name for name in coverage("_quantized") if name.endswith(("prepack", "legacy", "prepack_fp16"))}
    zeros = {name for name, verdict in coverage("_quantized").items() if verdict == "zero"}
    assert packing - {"_quantized._wrapped_linear_prepack"} <= zeros
    assert "_quantized.wrapped_fbgemm_pack_gemm_matrix_fp16" in zeros


def hand_made(name, out, *args):
    cost, dtype, reason = registry.resolve(getattr(older, name).default, {}).charge(out, args, {})
    return (cost.macs, cost.ops, cost.transcendentals), dtype, reason


def test_wrapped_layers():
    """(2, 6) by (3, 6): 36 products and 6 biases; each number quantized takes 5 operations, each restored 2."""
    given, weight, bias, out = torch.randn(2, 6), torch.randn(3, 6), torch.randn(3), torch.zeros(2, 3)
    one = torch.tensor(1.0)
    packed = torch.zeros(8)
    whole = hand_made("wrapped_quantized_linear", out, given, one, one, weight, one, one, bias, one, one, 3)
    assert whole == ((36, 5 * (12 + 18) + 6 + 7 * 6, 0), torch.quint8, "")
    assert hand_made("_wrapped_linear_prepack", packed, weight, one, one, bias)[0] == (0, 5 * 18, 0)
    prepacked = hand_made("_wrapped_quantized_linear_prepacked", out, given, one, one, packed, one, one, 3)
    assert prepacked == ((36, 5 * 12 + 6 + 7 * 6, 0), torch.quint8, "")
    assert hand_made("wrapped_fbgemm_linear_fp16_weight", out, given, packed, bias, 3)[0] == (36, 6, 0)


def test_half_of_the_bits():
    """Numbers are cut to sixteen bits and filled up again: casts."""
    conversions = torch.ops.quantization
    if not hasattr(conversions, "_FloatToBfloat16Quantized"):
        pytest.skip("this build has no such operator")
    row, halves = row_of(lambda: conversions._FloatToBfloat16Quantized(x), "quantization._FloatToBfloat16Quantized")
    assert row.cost == Cost(bytes_read=96, bytes_written=48)
    row, _ = row_of(lambda: conversions._Bfloat16QuantizedToFloat(halves), "quantization._Bfloat16QuantizedToFloat")
    assert row.cost == Cost(bytes_read=48, bytes_written=96)
