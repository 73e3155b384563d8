"""Products in low precision: against loops over single numbers, group by group, and where they are filed."""

import pytest
import torch
from counted import cost_of

from opflops import Cost, OpFlopMode
from opflops.pricing.registry import registry

aten = torch.ops.aten

FLOAT8 = torch.float8_e4m3fn
HALF = torch.bfloat16


def loop(left, right):
    """Multiply two matrices number by number; returns the result and how many products were summed."""
    rows, depth, columns = left.shape[0], left.shape[1], right.shape[1]
    out, macs = torch.zeros(rows, columns), 0
    for i in range(rows):
        for j in range(columns):
            for k in range(depth):
                out[i, j] += float(left[i, k]) * float(right[k, j])
                macs += 1
    return out, macs


def row_of(function, op):
    with OpFlopMode(strict=True) as mode:
        function()
    (row,) = [row for row in mode.profile.rows if row.op == op]
    return row


def work(cost):
    return cost.macs, cost.ops, cost.transcendentals


def charged(overload, out, *args, **kwargs):
    """Price a call of an operator that has no kernel here."""
    return registry.resolve(overload, {"causal": "dense"}).charge(out, args, kwargs)


def eights(*shape, device="cpu"):
    return torch.randint(-2, 3, shape, device="cpu").to(device, FLOAT8)


def test_products_of_integers():
    """A product of 8-bit integers is filed under them, and stays out of the floating-point total."""
    left, right = (torch.randint(-3, 4, shape, dtype=torch.int8) for shape in [(4, 3), (3, 5)])
    expected, macs = loop(left, right)
    torch.testing.assert_close(torch._int_mm(left, right).float(), expected)
    row = row_of(lambda: torch._int_mm(left, right), "aten._int_mm")
    assert (row.dtype, *work(row.cost)) == ("int8", macs, 0, 0) == ("int8", 60, 0, 0)
    assert cost_of(torch._int_mm, left, right) == Cost()


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize(("bias", "more"), [(None, 0), (torch.ones(32, dtype=HALF), 16 * 32)])
def test_scaled_products(device, bias, more):
    """Both operands are scaled number by number, then multiplied, in a row of their own dtype; a bias is added."""
    left, right = eights(16, 48, device=device), eights(32, 48, device=device).t()
    scales = [torch.tensor(2.0, device=device), torch.tensor(3.0, device=device)]
    bias = None if bias is None else bias.to(device)

    def multiply():
        return torch._scaled_mm(left, right, *scales, bias=bias, out_dtype=HALF)

    row = row_of(multiply, "aten._scaled_mm")
    assert (row.dtype, *work(row.cost)) == ("float8_e4m3fn", 24576, 16 * 48 + 48 * 32 + more, 0)
    assert row.cost.transcendentals == 0
    if device == "cpu":
        expected = 6 * (left.float() @ right.float()) + (0 if bias is None else 1)
        torch.testing.assert_close(multiply().float(), expected, rtol=2e-2, atol=1e-1)


@pytest.mark.parametrize(("dtype", "scaled"), [(FLOAT8, 4 * 2), (HALF, 0)])
def test_results_of_eight_bits_are_scaled(dtype, scaled):
    """A scale for the result is used for results of eight bits alone."""
    left, right, out = eights(4, 3), eights(3, 2), torch.zeros(4, 2).to(dtype)
    one = torch.ones(())
    cost, _, _ = charged(aten._scaled_mm.default, out, left, right, one, one, scale_result=one)
    assert work(cost) == (24, 12 + 6 + scaled, 0)


def test_two_numbers_in_a_byte():
    """An operand of 4-bit numbers, two in each element, has twice the depth that its shape says."""
    left, right = (torch.empty(shape, dtype=torch.float4_e2m1fn_x2, device="meta") for shape in [(4, 3), (3, 5)])
    out, scales = torch.empty(4, 5, dtype=HALF, device="meta"), [torch.empty(1, device="meta")]
    call = (left, right, scales, [0], [0], scales, [0], [0], None, HALF)
    cost, dtype, reason = charged(aten._scaled_mm_v2.default, out, *call)
    assert (*work(cost), dtype, reason) == (120, 24 + 30, 0, torch.float4_e2m1fn_x2, "")


# Left, right, where groups end, and how many numbers of both operands the groups use. Two numbers are left over.
GROUPS = {
    "rows": ((16, 32), (3, 32, 8), [3, 9, 14], 14 * 32 + 3 * 32 * 8),
    "columns": ((3, 8, 32), (32, 16), [8, 12, 14], 3 * 8 * 32 + 32 * 14),
    "depth": ((8, 32), (32, 16), [8, 16, 24], 8 * 24 + 24 * 16),
    "none": ((3, 8, 32), (3, 32, 16), None, 3 * 8 * 32 + 3 * 32 * 16),
}


def operands(left, right, dtype=HALF, device="cpu"):
    """Draw operands as kernels want them: the left by rows, the right by columns."""
    first, second = torch.randn(left).to(device, dtype), torch.randn(right).transpose(-1, -2).contiguous()
    return first, second.to(device, dtype).transpose(-1, -2)


def group_by_group(kind, left, right, ends):
    """Multiply group by group with loops; returns the results and how many products were summed."""
    bounds = list(zip([0, *(ends or [])], ends or [], strict=False))
    pairs = {
        "rows": lambda: [(left[a:b], right[g]) for g, (a, b) in enumerate(bounds)],
        "columns": lambda: [(left[g], right[:, a:b]) for g, (a, b) in enumerate(bounds)],
        "depth": lambda: [(left[:, a:b], right[a:b]) for a, b in bounds],
        "none": lambda: list(zip(left, right, strict=True)),
    }[kind]()
    return [first.float() @ second.float() for first, second in pairs], sum(
        first.shape[0] * first.shape[1] * second.shape[1] for first, second in pairs
    )


@pytest.mark.parametrize("kind", GROUPS)
def test_groups_cost_their_true_sizes(kind):
    """Ragged groups cost the sum of their products, whichever axis is split; the rest costs nothing."""
    left_shape, right_shape, ends, _ = GROUPS[kind]
    left, right = operands(left_shape, right_shape)
    offs = None if ends is None else torch.tensor(ends, dtype=torch.int32)
    results, macs = group_by_group(kind, left, right, ends)
    out = torch._grouped_mm(left, right, offs=offs).float()
    joined = {"rows": torch.cat, "columns": lambda parts: torch.cat(parts, dim=1)}.get(kind, torch.stack)(results)
    used = tuple(slice(size) for size in joined.shape)
    torch.testing.assert_close(out[used], joined, rtol=2e-2, atol=2e-1)
    assert cost_of(torch._grouped_mm, left, right, offs) == Cost(macs=macs)


@pytest.mark.parametrize(("kind", "full"), [("rows", 4096), ("columns", 4096), ("depth", 4096)])
def test_groups_of_unknown_sizes(kind, full):
    """Where offsets have no values every row counts, and the row says that it is an estimate."""
    left, right = operands(*GROUPS[kind][:2], device="meta")
    offs = torch.empty(3, dtype=torch.int32, device="meta")
    row = row_of(lambda: torch._grouped_mm(left, right, offs=offs), "aten._grouped_mm")
    assert row.cost.macs == full
    assert "no value" in row.estimate


@pytest.mark.parametrize("overload", [aten._scaled_grouped_mm.default, aten._scaled_grouped_mm_v2.default])
@pytest.mark.parametrize("kind", GROUPS)
def test_scaled_groups(kind, overload):
    """Scaled groups cost the same products, and a multiplication for each number of both operands that is used."""
    left_shape, right_shape, ends, used = GROUPS[kind]
    left, right = operands(left_shape, right_shape)
    offs = None if ends is None else torch.tensor(ends, dtype=torch.int32)
    out, one = torch._grouped_mm(left, right, offs=offs), torch.ones(())
    _, macs = group_by_group(kind, left, right, ends)
    scales = (one, one) if "v2" not in str(overload) else ([one], [0], [0], [one], [0], [0])
    call = (left.to(FLOAT8), right.to(FLOAT8), *scales)
    cost, dtype, reason = charged(overload, out, *call, offs)
    assert (*work(cost), dtype, reason) == (macs, used, 0, FLOAT8, "")
    bias = torch.ones(out.shape[-1])
    assert charged(overload, out, *call, offs, bias)[0].ops == used + out.numel()


def test_bias_of_groups():
    """A bias is added to every element of the result."""
    left, right = operands((3, 8, 32), (3, 32, 16))
    out = torch._grouped_mm(left, right)
    cost, _, _ = charged(aten._grouped_mm.default, out, left, right, None, torch.ones(16))
    assert work(cost) == (12288, 384, 0)


def test_weights_of_four_bits():
    """Each weight is shifted, scaled and shifted again, once; then the product runs in the activations' dtype."""
    x = torch.randn(3, 32).to(HALF)
    q, scales = torch.randint(0, 16, (16, 32), dtype=torch.int32), torch.full((1, 16, 2), 2.0).to(HALF)
    packed = aten._convert_weight_to_int4pack_for_cpu(q, 2)
    out = aten._weight_int4pack_mm_for_cpu(x, packed, 32, scales)
    expected, macs = loop(x, ((q - 8) * 2.0 + 2.0).t())
    torch.testing.assert_close(out.float(), expected, rtol=2e-2, atol=1.0)
    row = row_of(lambda: aten._weight_int4pack_mm_for_cpu(x, packed, 32, scales), "aten._weight_int4pack_mm_for_cpu")
    assert (row.dtype, *work(row.cost)) == ("bfloat16", macs, 3 * 32 * 16, 0)


@pytest.mark.parametrize(
    ("overload", "packed", "scales"),
    [
        (aten._weight_int4pack_mm.default, (2, 1, 32, 4), 1),
        (aten._weight_int4pack_mm_with_scales_and_zeros.default, (16, 4), 2),
    ],
)
def test_weights_of_four_bits_on_other_devices(overload, packed, scales):
    """The kernels of CUDA and XPU cost what that of the CPU does, however they pack the weights."""
    x, out = (torch.empty(shape, dtype=HALF, device="meta") for shape in [(3, 32), (3, 16)])
    weight = torch.empty(packed, dtype=torch.int32, device="meta")
    cost, dtype, _ = charged(overload, out, x, weight, 32, *[torch.empty(1, 16, device="meta")] * scales)
    assert (*work(cost), dtype) == (1536, 1536, 0, HALF)


def test_weights_of_eight_bits():
    """The product runs in the activations' dtype, and each result is scaled."""
    x, q = torch.randn(3, 32).to(HALF), torch.randint(-8, 8, (16, 32), dtype=torch.int8)
    scales = torch.full((16,), 0.5).to(HALF)
    expected, macs = loop(x, q.t())
    torch.testing.assert_close(aten._weight_int8pack_mm(x, q, scales).float(), 0.5 * expected, rtol=2e-2, atol=0.5)
    row = row_of(lambda: aten._weight_int8pack_mm(x, q, scales), "aten._weight_int8pack_mm")
    assert (row.dtype, *work(row.cost)) == ("bfloat16", macs, 3 * 16, 0)


@pytest.mark.parametrize(
    ("options", "ops", "transcendentals"),
    [
        ({}, 0, 0),
        ({"bias": torch.ones(16)}, 1, 0),
        ({"activation": "none"}, 0, 0),
        ({"activation": "relu"}, 1, 0),
        ({"activation": "silu", "bias": torch.ones(16)}, 5, 1),
    ],
)
def test_linear_of_mixed_dtypes(options, ops, transcendentals):
    """Every weight is scaled once; the epilogue adds a bias and applies an activation."""
    x, out = torch.empty(2, 3, 32, dtype=HALF), torch.empty(2, 3, 16, dtype=HALF)
    weight = torch.empty(32, 16, dtype=torch.int8)
    cost, dtype, _ = charged(aten._mixed_dtypes_linear.default, out, x, weight, torch.ones(16), **options)
    assert (cost.macs, dtype) == (6 * 32 * 16, HALF)
    assert (cost.ops, cost.transcendentals) == (32 * 16 + 96 * ops, 96 * transcendentals)


def test_weights_of_four_bits_behind_another_name():
    """The quantized namespace has the same product; weights are restored by three operations each."""
    if not hasattr(torch.ops.quantized, "int4mm_packed_weight_cpu"):
        pytest.skip("this PyTorch has no such operator")
    x, scales = torch.ones(3, 32).to(HALF), torch.full((1, 16, 2), 2.0).to(HALF)
    packed = aten._convert_weight_to_int4pack_for_cpu(torch.randint(0, 16, (16, 32), dtype=torch.int32), 2)
    out = torch.empty(3, 16, dtype=HALF)
    overload = torch.ops.quantized.int4mm_packed_weight_cpu.default
    cost, dtype, _ = charged(overload, out, x, packed, torch.tensor(32), scales)
    assert (*work(cost), dtype) == (1536, 1536, 0, HALF)


DYNAMIC = pytest.mark.skipif(not hasattr(aten, "_dyn_quant_matmul_4bit"), reason="this PyTorch has no such operator")


def quantized_row(row, counts):
    """Quantize a row of numbers to eight bits by its own range; returns integers, scale and zero point."""
    low = high = row[0]
    for value in row[1:]:
        low, high = min(low, value), max(high, value)
        counts["ops"] += 2
    low, high = min(low, 0.0), max(high, 0.0)  # which the price of a range leaves out
    scale = (high - low) / 255
    zero_point = -128 - round(low / scale)
    counts["ops"] += 2 + 3
    counts["ops"] += 5 * len(row)
    return [min(max(round(value / scale) + zero_point, -128), 127) for value in row], scale, zero_point


def multiplied(x, weights, scales, block, counts):
    """Multiply rows quantized on the way with weights of four bits, block by block."""
    shifted = [[weight - 8 for weight in row] for row in weights]
    counts["ops"] += sum(map(len, weights))
    out = []
    for row in x:
        q, scale, zero_point = quantized_row(row, counts)
        results = []
        for column, of_blocks in zip(shifted, scales, strict=True):
            parts = []
            for index, of_block in enumerate(of_blocks):
                here = range(index * block, (index + 1) * block)
                # The zero point is taken off while the products are summed.
                parts.append(sum((q[k] - zero_point) * column[k] for k in here) * of_block)
                counts["macs"] += block
                counts["ops"] += 1
            results.append(sum(parts) * scale)
            counts["ops"] += len(parts) - 1 + 1
        out.append(results)
    return out


@DYNAMIC
@pytest.mark.parametrize(("block", "kind"), [(64, torch.float32), (32, torch.bfloat16)])
def test_weights_of_four_bits_and_quantized_input(block, kind):
    """Written out number by number: ranges of three rows, 64 weights a column, one or two blocks."""
    x = torch.randn(3, 64)
    q = torch.randint(0, 16, (8, 64), dtype=torch.uint8)
    scales = torch.rand(8, 64 // block).add(0.5).to(kind)
    packed = aten._dyn_quant_pack_4bit_weight(q[:, ::2] | q[:, 1::2] << 4, scales, None, block, 64, 8)
    counts = {"macs": 0, "ops": 0}
    expected = multiplied(x.tolist(), q.tolist(), scales.float().tolist(), block, counts)
    out = aten._dyn_quant_matmul_4bit(x, packed, block, 64, 8)
    torch.testing.assert_close(out, torch.tensor(expected), rtol=0.05, atol=2.0)
    for device in ("cpu", "meta"):
        args = x.to(device), packed.to(device)
        row = row_of(lambda args=args: aten._dyn_quant_matmul_4bit(*args, block, 64, 8), "aten._dyn_quant_matmul_4bit")
        assert (row.dtype, *work(row.cost)) == ("int8", counts["macs"], counts["ops"], 0)
        assert "bias" in row.estimate
    row = row_of(
        lambda: aten._dyn_quant_pack_4bit_weight(q[:, :32], scales, None, block, 64, 8),
        "aten._dyn_quant_pack_4bit_weight",
    )
    assert (row.cost.flops, row.cost.transcendentals) == (0, 0)
