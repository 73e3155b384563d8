"""Operators of torchao, registered by name: layers and matrix products in low precision.

A product of two low-precision operands is a row of their dtype, with the scaling of its sums. Operators that quantize
their input themselves are rows of ``int8``. Weights of a few bits under floating-point activations are converted and
multiplied in the dtype of the activations. Operators that are gone from the newest version are here too.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch

from opflops.formulas.attention import scaled_dot_product_attention
from opflops.formulas.contraction import products
from opflops.formulas.quantized.layers import quantize_by_range
from opflops.formulas.quantized.low_precision import grouped_mm, scaled_mm
from opflops.formulas.sizes import numel, reduction_ops
from opflops.pricing.registration import declare_zero, formula
from opflops.records.cost import Cost, Estimate
from opflops.torch_internals.size_arithmetic import ceil_log2

if TYPE_CHECKING:
    from torch import Tensor

_OURS = "torchao::"


def _named(names: str) -> list[str]:
    return [f"{_OURS}{name}" for name in names.split()]


def _biased(bias: Tensor | None, out: Tensor) -> Cost:
    return Cost(ops=0 if bias is None else out.numel())


# Scaled products of floats of eight or four bits: as torch._scaled_mm.


@formula(*_named("mx_fp8_bf16 mx_fp4_bf16 blockwise_scaled_mm"), dtype_from="a")
@formula(*_named("triton_fp8_gemm_1x128_128x128 triton_fp8_gemm_1x128_128x1"), dtype_from="a")
def scaled_product(a: Tensor, b: Tensor, *, out: Tensor) -> Cost:
    """``(scale_a * a) @ (scale_b * b)``, with one multiplication per element of both operands."""
    return scaled_mm(a, b, out=out)


@formula("ao::blockwise_fp8_gemm", dtype_from="a")
def scaled_product_transposed(a: Tensor, b: Tensor, *, out: Tensor) -> Cost:
    """The same by a weight (out_features, in_features)."""
    return scaled_mm(a, b.t(), out=out)


@formula(f"{_OURS}emulated_blockwise_scaled_grouped_mm", dtype_from="a")
def scaled_grouped_product(a: Tensor, b: Tensor, offs: Tensor, *, out: Tensor) -> Cost | Estimate:
    """The products of the groups, by their true sizes, and one multiplication per element of both operands."""
    priced = grouped_mm(a, b, offs, out=out)
    cost, reason = priced if isinstance(priced, Estimate) else (priced, "")
    cost += Cost(ops=a.numel() + b.numel())
    return Estimate(cost, reason) if reason else cost


@formula(f"{_OURS}swizzle_mm", dtype_from="mat1")
def swizzle_mm(mat1: Tensor, mat2: Tensor, mat2_is_swizzled: bool, *, out: Tensor) -> Cost:
    """m·n·k; a reordered operand has as many elements as before, in other shapes."""
    return Cost(macs=mat1.numel() * (out.shape[-1] if mat2_is_swizzled else mat2.shape[-1]))


@formula(f"{_OURS}swizzle_scaled_mm", dtype_from="mat1")
def swizzle_scaled_mm(
    mat1: Tensor,
    mat2: Tensor,
    mat2_is_swizzled: bool,
    bias: Tensor | None = None,
    *,
    out: Tensor,
) -> Cost:
    """The same with both operands scaled, as in ``torch._scaled_mm``, and a bias."""
    product = swizzle_mm(mat1, mat2, mat2_is_swizzled, out=out)
    return product + Cost(ops=mat1.numel() + mat2.numel()) + _biased(bias, out)


@formula(f"{_OURS}float8_linear_cpu", dtype_from="input")
def float8_linear(input: Tensor, bias: Tensor | None, *, out: Tensor) -> Cost:
    """A linear layer on floats of eight bits: one multiplication per element of input and weight, and a bias."""
    scaling = Cost(ops=input.numel() + input.shape[-1] * out.shape[-1])
    return Cost(macs=products(input, out)) + scaling + _biased(bias, out)


@formula(
    *_named("rowwise_scaled_linear_sparse_cutlass_f8f8"),
    dtype_from="input",
)
def sparse_scaled_linear(input: Tensor, bias: Tensor | None = None, *, out: Tensor) -> Cost:
    """Half of the products, since weights are 2:4 sparse; both scales multiply each sum, and a bias is added."""
    return Cost(macs=products(input, out) // 2, ops=2 * out.numel()) + _biased(bias, out)


@formula("float8_sparse::fp8_sparse_mm", dtype_from="dense")
def sparse_product(dense: Tensor, bias: Tensor | None, *, out: Tensor) -> Cost:
    """Half of the products; one scale multiplies each sum, and a bias is added."""
    return Cost(macs=products(dense, out) // 2, ops=out.numel()) + _biased(bias, out)


# Products of integers.


@formula(f"{_OURS}int_matmul", dtype_from="a")
def int_matmul(a: Tensor, b: Tensor) -> Cost:
    """m·n·k products of signed bytes."""
    return Cost(macs=products(a, b))


@formula(f"{_OURS}int_scaled_matmul", dtype_from="a")
def int_scaled_matmul(a: Tensor, b: Tensor, *, out: Tensor) -> Cost:
    """The same; a scale for each row multiplies the sums."""
    return int_matmul(a, b) + Cost(ops=out.numel())


@formula(f"{_OURS}scaled_int8_mm", dtype_from="A")
def scaled_int8_mm(A: Tensor, B: Tensor, *, out: Tensor) -> Cost:
    """The same; scales for rows and for columns multiply the sums."""
    return int_matmul(A, B) + Cost(ops=2 * out.numel())


@formula(f"{_OURS}da8w4_linear_cpu", dtype_from="input")
def da8w4_linear(input: Tensor, weight_scales: Tensor, bias: Tensor | None, *, out: Tensor) -> Cost:
    """Quantized input by 4-bit weights, which are shifted by their zero points first.

    For each group of the summed axis, the input's zero point times a precomputed sum is subtracted, both scales
    multiply, and all but the first group are added.
    """
    features = out.shape[-1]
    groups = max(weight_scales.numel() // features, 1)
    weights = input.shape[-1] * features
    each_sum = 2 + 2 + 1
    scaling = Cost(ops=weights + (groups * each_sum - 1) * out.numel())
    return Cost(macs=products(input, out)) + scaling + _biased(bias, out)


def scaled_linear(input: Tensor, bias: Tensor | None = None, per_byte: int = 1, *, out: Tensor) -> Cost:
    """Integers by 4-bit weights; both scales multiply each sum, and a bias is added."""
    return Cost(macs=per_byte * products(input, out), ops=2 * out.numel()) + _biased(bias, out)


formula(f"{_OURS}rowwise_scaled_linear_cutlass_s8s4", dtype_from="input")(scaled_linear)
# Here the input has two numbers in each byte.
formula(f"{_OURS}rowwise_scaled_linear_cutlass_s4s4", dtype_from="input")(partial(scaled_linear, per_byte=2))


# Integer kernels that quantize each row of their input by its range.


def linear_of_quantized_rows(activations: Tensor, group_size: int, *, out: Tensor) -> Cost:
    """Quantize each row to eight bits by its range, multiply by weights of a few bits, and scale by groups.

    Each group's sum is multiplied with both scales, and all but the first are added.
    """
    depth = activations.shape[-1]
    groups = max(depth // group_size, 1) if group_size > 0 else 1
    quantized = quantize_by_range(activations.numel(), numel(activations.shape[:-1]))
    return Cost(macs=products(activations, out), ops=(3 * groups - 1) * out.numel()) + quantized


for _bits in range(1, 9):
    formula(f"{_OURS}_linear_8bit_act_{_bits}bit_weight", dtype_from=torch.int8)(linear_of_quantized_rows)


# Weights of a few bits under floating-point activations.


def linear_of_groups(A: Tensor, *, out: Tensor) -> Cost:
    """``A @ (scale * q + zero).T``: two operations per weight, and the products in floating point."""
    return Cost(macs=products(A, out), ops=2 * A.shape[-1] * out.shape[-1])


def linear_of_table(activations: Tensor, *, out: Tensor) -> Cost:
    """Weights that are looked up in a table and scaled: one operation per weight, and the products."""
    return Cost(macs=products(activations, out), ops=activations.shape[-1] * out.shape[-1])


for _bits in range(1, 9):
    formula(f"{_OURS}_linear_fp_act_{_bits}bit_weight")(linear_of_groups)
for _bits in range(1, 5):
    formula(f"{_OURS}_linear_groupwise_{_bits}bit_weight_with_lut")(linear_of_table)


@formula(f"{_OURS}quant_llm_linear")
def quant_llm_linear(_in_feats: Tensor, *, out: Tensor) -> Cost:
    """Floats of six bits or fewer are widened and scaled, one operation per weight, and multiplied."""
    return Cost(macs=products(_in_feats, out), ops=_in_feats.shape[-1] * out.shape[-1])


@formula(f"{_OURS}marlin_24_gemm")
def marlin_24_gemm(size_m: int, size_n: int, size_k: int) -> Cost:
    """Half of the products, since weights are 2:4 sparse; each stored weight is scaled."""
    stored = size_n * size_k // 2
    return Cost(macs=size_m * stored, ops=stored)


@formula(f"{_OURS}marlin_qqq_gemm", dtype_from=torch.int8)
def marlin_qqq_gemm(size_m: int, size_n: int, size_k: int) -> Cost:
    """Products of bytes and 4-bit weights; the scales of rows and of columns multiply each sum."""
    return Cost(macs=size_m * size_n * size_k, ops=2 * size_m * size_n)


@formula(f"{_OURS}dequantize_tensor_core_tiled_layout")
def dequantize_tiled(*, out: Tensor) -> Cost:
    """``(q - 8) * scale + zero``."""
    return Cost(ops=3 * out.numel())


# Weights of which blocks are stored.


@formula("blocksparse::addmm")
def block_sparse_product(x_padded: Tensor, values: Tensor) -> Cost:
    """Every stored number times a row of the other operand."""
    return Cost(macs=values.numel() * x_padded.shape[-1])


@formula("blocksparse::int_addmm", dtype_from="values")
def block_sparse_int_product(values: Tensor, A: Tensor, *, out: Tensor) -> Cost:
    """The same on signed bytes; the scales of rows and of columns multiply each sum."""
    return Cost(macs=values.numel() * A.shape[-1], ops=2 * out.numel())


# Attention.


@formula(f"{_OURS}qscaled_dot_product", dtype_from="query")
def attention_on_bytes(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    out: Tensor,
    causal: str,
) -> Cost | Estimate:
    """Attention on bytes: the scores are scaled back, their softmax is quantized again, and so is the result.

    Zero points are subtracted with sums of rows and columns, which are not counted apart.
    """
    attention = scaled_dot_product_attention(query, key, value, dropout_p, is_causal, attn_mask, causal=causal)
    cost, reason = attention if isinstance(attention, Estimate) else (attention, "")
    scores = numel(query.shape[:-1]) * key.shape[-2]
    cost += Cost(ops=(2 + 5) * scores + (1 + 5) * out.numel())
    return Estimate(cost, reason) if reason else cost


def _float8_attention(q: Tensor, k: Tensor, v: Tensor, *, is_causal: bool, hadamard: str, causal: str) -> Estimate:
    attention = scaled_dot_product_attention(q, k, v, is_causal=is_causal, causal=causal)
    cost = attention.cost if isinstance(attention, Estimate) else attention
    operands = (q, k, v)
    # Each head of a sequence is scaled by its largest absolute value.
    quantized = [Cost(ops=4 * each.numel() + reduction_ops(each.numel(), each.shape[0])) for each in operands]
    turned = operands if hadamard.upper() not in ("NONE", "V") else (v,) if hadamard.upper() == "V" else ()
    rotations = [Cost(ops=each.numel() * ceil_log2(each.shape[-1])) for each in turned]
    return Estimate(sum([*quantized, *rotations], cost), "what the kernel does besides the products is approximate")


@formula(*_named("fp8_fa3_sdpa fp8_fa4_sdpa"), dtype_from=torch.float8_e4m3fn)
def float8_attention(
    q: Tensor, k: Tensor, v: Tensor, is_causal: bool = False, hadamard: str = "NONE", *, causal: str
) -> Estimate:
    """Quantize queries, keys and values, in the layout (batch, heads, sequence, head_dim), and attend."""
    return _float8_attention(q, k, v, is_causal=is_causal, hadamard=hadamard, causal=causal)


@formula(*_named("fp8_fa3_rope_sdpa fp8_fa4_rope_sdpa"), dtype_from=torch.float8_e4m3fn)
def float8_rotary_attention(
    q: Tensor, k: Tensor, v: Tensor, is_causal: bool = False, hadamard: str = "NONE", *, causal: str
) -> Estimate:
    """The same in the layout (batch, sequence, heads, head_dim), after ``x * cos + rotated(x) * sin``."""
    heads_first = [each.transpose(1, 2) for each in (q, k, v)]
    cost, reason = _float8_attention(*heads_first, is_causal=is_causal, hadamard=hadamard, causal=causal)
    return Estimate(cost + Cost(ops=3 * (q.numel() + k.numel())), reason)


@formula(f"{_OURS}hadamard_transform")
def hadamard_transform(x: Tensor, scale: float = 1.0) -> Cost:
    """A fast Walsh-Hadamard transform of each row: log2 n additions per element, and a scale other than 1."""
    return Cost(ops=x.numel() * (ceil_log2(x.shape[-1]) + (scale != 1)))


# Embedding tables.


@formula(f"{_OURS}_scaled_embedding_bag", picked=("qweight",))
def scaled_embedding_bag(indices: Tensor, *, out: Tensor) -> Cost:
    """Sum the rows of each bag in floating point, and scale the sums."""
    picked = indices.numel() * out.shape[-1]
    return Cost(ops=reduction_ops(picked, out.numel()) + out.numel())


def embedding(*, out: Tensor) -> Cost:
    """Look up rows of a few bits, and dequantize them."""
    return Cost(ops=2 * out.numel())


for _bits in range(1, 9):
    formula(f"{_OURS}_embedding_{_bits}bit", f"{_OURS}_shared_embedding_{_bits}bit")(embedding)


_MOVED = """
da8w4_linear_prepack_cpu float8_linear_prepack_cpu to_sparse_semi_structured_cutlass_sm9x_f8
unpack_tensor_core_tiled_layout mx_block_rearrange_2d_M_groups triton_mx_block_rearrange
triton_mx_block_rearrange_2d_M_groups triton_mx_block_rearrange_per_group_3d triton_mx_block_rearrange_2d_K_groups
_fill_indices_wrapper _triton_permute_bwd fused_pad_token_groups
fused_unpad_token_groups
"""
declare_zero(*_named(_MOVED), "blocksparse::bsr_to_dense")
for _bits in range(1, 9):
    declare_zero(f"{_OURS}_pack_8bit_act_{_bits}bit_weight", f"{_OURS}_pack_weight_{_bits}bit")
    declare_zero(f"{_OURS}_pack_embedding_{_bits}bit")
for _bits in range(1, 5):
    declare_zero(f"{_OURS}_pack_groupwise_{_bits}bit_weight_with_lut")
