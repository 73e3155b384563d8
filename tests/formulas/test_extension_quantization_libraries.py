"""Operators of bitsandbytes and torchao, priced by name: stand-ins with their schemas, and hand arithmetic.

Neither library needs to be installed. An operator that one of them has defined already is taken as it is.
"""

import pytest
import torch

from opflops import Cost, OpFlopMode, coverage
from opflops.pricing.registry import registry

HALF, FLOAT, BYTE, FP8 = torch.bfloat16, torch.float32, torch.int8, torch.float8_e4m3fn
NAMESPACES = ("bitsandbytes", "torchao", "blocksparse", "float8_sparse", "transformers", "ao")

SCHEMAS = """
bitsandbytes::gemm_4bit(Tensor A, Tensor B, int[] shapeB, Tensor absmax, int blocksize, str quant_type, Tensor? bias=None, Tensor? absmax_8bit=None, Tensor? absmax_code=None, Tensor? absmax_offset=None) -> Tensor
bitsandbytes::gemv_4bit(Tensor A, Tensor B, int[] shapeB, Tensor absmax, Tensor code, int blocksize) -> Tensor
bitsandbytes::gemv_4bit.out(Tensor A, Tensor B, int[] shapeB, Tensor absmax, Tensor code, int blocksize, Tensor(a0!) out) -> ()
bitsandbytes::dequantize_4bit(Tensor A, Tensor absmax, int blocksize, str quant_type, int[] shape, ScalarType dtype) -> Tensor
bitsandbytes::dequantize_blockwise(Tensor A, Tensor absmax, Tensor code, int blocksize, ScalarType dtype) -> Tensor
bitsandbytes::quantize_4bit(Tensor A, int blocksize, str quant_type, ScalarType quant_storage) -> (Tensor, Tensor)
bitsandbytes::quantize_blockwise(Tensor A, Tensor code, int blocksize) -> (Tensor, Tensor)
bitsandbytes::int8_linear_matmul(Tensor A, Tensor B) -> Tensor
bitsandbytes::int8_mm_dequant(Tensor A, Tensor row_stats, Tensor col_stats, ScalarType? dtype=None, Tensor? bias=None) -> Tensor
bitsandbytes::int8_scaled_mm(Tensor A, Tensor B, Tensor row_stats, Tensor col_stats, Tensor? bias=None, ScalarType? dtype=None) -> Tensor
bitsandbytes::int8_mixed_scaled_mm(Tensor A, Tensor CA, Tensor CB, Tensor SCA, Tensor SCB, Tensor? outlier_cols=None, Tensor? bias=None) -> (Tensor, Tensor?)
bitsandbytes::int8_vectorwise_dequant(Tensor A, Tensor stats) -> Tensor
bitsandbytes::int8_vectorwise_quant(Tensor A, float threshold=0.) -> (Tensor, Tensor, Tensor?)
bitsandbytes::int8_double_quant(Tensor A, float threshold=0.) -> (Tensor, Tensor, Tensor, Tensor, Tensor?)
bitsandbytes::optimizer_update_32bit(str optimizer_name, Tensor(a0!) g, Tensor(a1!) p, Tensor(a2!) state1, Tensor(a3!)? state2, Tensor(a4!)? unorm_vec, float max_unorm, float param_norm, float beta1, float beta2, float beta3, float alpha, float eps, float weight_decay, int step, float lr, float gnorm_scale, bool skip_zeros=False) -> ()
bitsandbytes::optimizer_update_8bit_blockwise(str optimizer_name, Tensor(a0!) g, Tensor(a1!) p, Tensor(a2!) state1, Tensor(a3!)? state2, float beta1, float beta2, float beta3, float alpha, float eps, int step, float lr, Tensor(a4!) qmap1, Tensor(a5!)? qmap2, Tensor(a6!) absmax1, Tensor(a7!)? absmax2, float weight_decay, float gnorm_scale, bool skip_zeros=False) -> ()
torchao::mx_fp8_bf16(Tensor a, Tensor b, Tensor a_scale, Tensor b_scale) -> Tensor
torchao::blockwise_scaled_mm(Tensor a, Tensor b, Tensor a_s, int scale_recipe_a, Tensor b_s, int scale_recipe_b, ScalarType out_dtype) -> Tensor
torchao::triton_fp8_gemm_1x128_128x1(Tensor a, Tensor b, Tensor a_s, Tensor b_s, int block_size=128, ScalarType out_dtype=6) -> Tensor
ao::blockwise_fp8_gemm(Tensor a, Tensor a_s, Tensor b, Tensor b_s, int block_size=128) -> Tensor
torchao::emulated_blockwise_scaled_grouped_mm(Tensor a, Tensor b, Tensor a_s, int scale_recipe_a, Tensor b_s, int scale_recipe_b, Tensor offs, ScalarType out_dtype, int block_size=128) -> Tensor
torchao::swizzle_mm(Tensor mat1, Tensor mat2, bool mat1_is_swizzled, bool mat2_is_swizzled) -> Tensor
torchao::swizzle_scaled_mm(Tensor mat1, Tensor mat2, bool mat1_is_swizzled, bool mat2_is_swizzled, Tensor scale_a, Tensor scale_b, Tensor? bias=None, Tensor? scale_result=None, ScalarType? out_dtype=None) -> Tensor
torchao::float8_linear_cpu(Tensor input, Tensor input_scales, Tensor weight, Tensor weight_scales, Tensor? bias, ScalarType output_dtype) -> Tensor
torchao::rowwise_scaled_linear_sparse_cutlass_f8f8(Tensor input, Tensor input_scale, Tensor weight, Tensor weight_meta, Tensor weight_scale, Tensor? bias=None, ScalarType? out_dtype=None) -> Tensor
torchao::rowwise_scaled_linear_cutlass_s8s4(Tensor input, Tensor input_scale, Tensor weight, Tensor weight_scale, Tensor? bias=None, ScalarType? out_dtype=None) -> Tensor
torchao::rowwise_scaled_linear_cutlass_s4s4(Tensor input, Tensor input_scale, Tensor weight, Tensor weight_scale, Tensor? bias=None, ScalarType? out_dtype=None) -> Tensor
float8_sparse::fp8_sparse_mm(Tensor dense, Tensor packed, Tensor? bias, Tensor alpha, int out_features, int min_size, int alg_id=0) -> Tensor
torchao::int_matmul(Tensor a, Tensor b) -> Tensor
torchao::int_scaled_matmul(Tensor a, Tensor b, Tensor scales1) -> Tensor
torchao::scaled_int8_mm(Tensor A, Tensor B, Tensor A_scale, Tensor B_scale) -> Tensor
torchao::da8w4_linear_cpu(Tensor input, Tensor input_scales, Tensor input_qzeros, Tensor weight, Tensor weight_scales, Tensor weight_qzeros, Tensor compensation, Tensor? bias, ScalarType output_dtype) -> Tensor
torchao::_linear_8bit_act_4bit_weight(Tensor activations, Tensor packed_weights, int group_size, int n, int k) -> Tensor
torchao::_linear_fp_act_3bit_weight(Tensor A, Tensor B, int group_size, Tensor S, Tensor Z) -> Tensor
torchao::_linear_groupwise_2bit_weight_with_lut(Tensor activations, Tensor packed_weights, int scale_group_size, int lut_group_size, int n, int k) -> Tensor
torchao::quant_llm_linear(int EXPONENT, int MANTISSA, Tensor _in_feats, Tensor _weights, Tensor _scales, int splitK) -> Tensor
torchao::marlin_24_gemm(Tensor x, Tensor weight_marlin, Tensor meta, Tensor s, Tensor workspace, int bits, int size_m, int size_n, int size_k) -> Tensor
torchao::marlin_qqq_gemm(Tensor x, Tensor weight_marlin, Tensor s_tok, Tensor s_ch, Tensor s_group, Tensor workspace, int size_m, int size_n, int size_k) -> Tensor
torchao::dequantize_tensor_core_tiled_layout(Tensor packed_w, Tensor scales_and_zeros, int group_size, int inner_k_tiles) -> Tensor
blocksparse::addmm(Tensor x_padded, Tensor crow_indices, Tensor col_indices, Tensor values, int M, int K, Tensor bias) -> Tensor
blocksparse::int_addmm(Tensor crow_indices, Tensor col_indices, Tensor values, Tensor A, Tensor left_alpha, Tensor right_alpha) -> Tensor
torchao::qscaled_dot_product(Tensor query, Tensor key, Tensor value, Tensor? attn_mask=None, float dropout_p=0., bool is_causal=False, float? scale=None, float q_scale=1., int q_zp=0, float k_scale=1., int k_zp=0, float v_scale=1., int v_zp=0, float a_scale=1., int a_zp=0, float o_scale=1., int o_zp=0) -> Tensor
torchao::fp8_fa3_sdpa(Tensor q, Tensor k, Tensor v, bool is_causal=False, float scale=0., bool enable_gqa=False, str hadamard="NONE") -> Tensor
torchao::fp8_fa3_rope_sdpa(Tensor q, Tensor k, Tensor v, Tensor cos, Tensor sin, bool is_causal=False, float scale=0., bool enable_gqa=False, bool rope_interleaved=False, str hadamard="NONE") -> Tensor
torchao::hadamard_transform(Tensor x, float scale=1.) -> Tensor
torchao::_scaled_embedding_bag(Tensor qweight, Tensor indices, Tensor offsets, Tensor weight_scale, float o_scale, int mode, bool include_last_offset, ScalarType output_dtype) -> Tensor
torchao::_embedding_4bit(Tensor packed_weight_qvals, int num_embeddings, int embedding_dim, Tensor weight_scales, Tensor weight_zeros, Tensor indices) -> Tensor
torchao::da8w4_linear_prepack_cpu(Tensor weight, Tensor scales, Tensor qzeros) -> (Tensor, Tensor, Tensor, Tensor)
torchao::quantize_affine_float8_non_decomposed(Tensor tensor, Tensor scale, ScalarType float8_dtype=24) -> Tensor
torchao::dequantize_affine_float8_non_decomposed(Tensor tensor, Tensor scale, ScalarType output_dtype=6) -> Tensor
torchao::mxfp8_quantize_2d_1x32_cutedsl(Tensor x, int block_size=32, str scaling_mode="rceil", int stage_count=2, Tensor? offs=None) -> (Tensor, Tensor)
torchao::mxfp8_quantize_3d_cutedsl(Tensor x, int block_size=32, int scale_block_dim1=32, int scale_block_dim2=1, str scaling_mode="rceil", int stage_count=2, bool blocked_scale_output=True) -> (Tensor, Tensor)
torchao::triton_to_mxfp8_dim0(Tensor x, int inner_block_size=32, str scaling_mode="rceil") -> (Tensor, Tensor)
torchao::mxfp8_quantize(Tensor input, bool rowwise, bool colwise, int scale_dim_x, int scale_dim_y, str fp8_format, str scaling_mode) -> (Tensor, Tensor, Tensor, Tensor)
torchao::triton_fp8_blockwise_act_quant_lhs(Tensor x, int block_size=128, ScalarType dtype=24) -> (Tensor, Tensor)
torchao::triton_fp8_blockwise_weight_quant_grouped_rhs(Tensor weight_t, int block_size=128, ScalarType dtype=24) -> (Tensor, Tensor)
torchao::triton_fp8_per_group_rowwise_scales(Tensor hp_tensor, Tensor offsets, ScalarType output_dtype=24, bool round_scales_to_power_of_2=False) -> (Tensor, Tensor)
torchao::triton_fp8_per_group_colwise_scales_dual(Tensor hp_tensor_1, Tensor hp_tensor_2, Tensor offsets, ScalarType output_dtype=24, bool round_scales_to_power_of_2=False) -> (Tensor, Tensor, Tensor, Tensor)
ao::mslk_quantize_nvfp4(Tensor x, Tensor? global_scale=None) -> (Tensor, Tensor)
ao::mslk_calculate_group_max(Tensor x, Tensor m_sizes) -> Tensor
torchao::triton_weight_quantize_2d(Tensor A, Tensor global_amax) -> (Tensor, Tensor, Tensor, Tensor)
torchao::triton_rht_amax(Tensor A, int[] sign_vector, int hadamard_dimension=16, int scaling_type=0) -> (Tensor, Tensor)
torchao::triton_rht_quantize_row_col(Tensor A, Tensor col_global_amax, Tensor row_global_amax, int[] sign_vector, bool stochastic_rounding=False, int hadamard_dimension=16, int scaling_type=0) -> (Tensor, Tensor, Tensor, Tensor)
transformers::grouped_mm_fallback(Tensor input, Tensor weight, Tensor offs) -> Tensor
transformers::grouped_mm_fallback_backward(Tensor input, Tensor weight, Tensor offs, Tensor grad_output) -> (Tensor, Tensor)
"""  # noqa: E501 - schemas, one a line


@pytest.fixture(autouse=True, scope="module")
def libraries():
    """Define what is not there yet, and take it away again."""
    opened = {namespace: torch.library.Library(namespace, "FRAGMENT") for namespace in NAMESPACES}
    for schema in SCHEMAS.strip().splitlines():
        name, _, _ = schema.partition("(")
        namespace, _, operator = name.partition("::")
        packet = getattr(getattr(torch.ops, namespace), operator.partition(".")[0], None)
        if packet is None or (operator.partition(".")[2] or "default") not in packet.overloads():
            opened[namespace].define(schema.partition("::")[2])
    yield opened
    for library in opened.values():
        library._destroy()


def t(*shape, dtype=FLOAT):
    return torch.zeros(shape, dtype=dtype)


def charged(name, out, *args, **kwargs):
    namespace, _, operator = name.partition("::")
    overload = getattr(getattr(torch.ops, namespace), operator).default
    cost, dtype, reason = registry.resolve(overload, {"causal": "dense"}).charge(out, args, kwargs)
    return (cost.macs, cost.ops, cost.transcendentals), dtype, reason


one, bias = torch.tensor(1.0), torch.zeros(32)
A, CODE = t(10, 64, dtype=HALF), t(256)
packed = t(1024, 1, dtype=torch.uint8)
BYTES = t(4, 8, dtype=BYTE), t(6, 8, dtype=BYTE)
EIGHTS = t(4, 64, dtype=FP8), t(64, 6, dtype=FP8)
OFFS = torch.tensor([1, 3], dtype=torch.int32)

# For each call: its result, its arguments, macs, ops and transcendentals by hand, and the dtype of the products.
CASES = [
    # 64 · 32 weights, each times the scale of its block.
    ("bitsandbytes::gemm_4bit", t(10, 32, dtype=HALF), (A, packed, [32, 64], t(32), 64, "nf4"), 20480, 2048, HALF),
    (
        "bitsandbytes::gemm_4bit",
        t(10, 32, dtype=HALF),
        (A, packed, [32, 64], t(1), 64, "nf4", bias, t(32, dtype=torch.uint8), CODE, one),
        20480,
        2048 + 320 + 2 * 32,
        HALF,
    ),
    ("bitsandbytes::gemv_4bit", t(1, 32, dtype=HALF), (A[:1], packed, [32, 64], t(32), t(16), 64), 2048, 2048, HALF),
    ("bitsandbytes::dequantize_4bit", t(32, 64), (packed, t(32), 64, "fp4", [32, 64], FLOAT), 0, 2048, FLOAT),
    ("bitsandbytes::dequantize_blockwise", t(300), (t(300, dtype=torch.uint8), t(2), CODE, 256, FLOAT), 0, 300, FLOAT),
    # Each of 640: absolute value, product, two bounds, four comparisons; 630 for ten blocks, and two for each.
    ("bitsandbytes::quantize_4bit", (t(320, 1, dtype=torch.uint8), t(10)), (A, 64, "nf4", torch.uint8), 0, 5770, HALF),
    # Eight comparisons for 256 codes, whose 255 middles are two operations each; three blocks.
    (
        "bitsandbytes::quantize_blockwise",
        (t(10, 64, dtype=torch.uint8), t(3)),
        (A, CODE, 256),
        0,
        640 * 12 + 637 + 6 + 510,
        HALF,
    ),
    ("bitsandbytes::int8_linear_matmul", t(4, 6, dtype=torch.int32), BYTES, 192, 0, BYTE),
    (
        "bitsandbytes::int8_mm_dequant",
        t(4, 6, dtype=HALF),
        (t(4, 6, dtype=torch.int32), t(4), t(6), HALF, t(6)),
        0,
        24 * 4,
        HALF,
    ),
    ("bitsandbytes::int8_scaled_mm", t(4, 6, dtype=HALF), (*BYTES, t(4), t(6)), 192, 72, BYTE),
    (
        "bitsandbytes::int8_mixed_scaled_mm",
        (t(4, 6, dtype=HALF), None),
        (t(4, 8, dtype=HALF), *BYTES, t(4), t(6)),
        192,
        72,
        BYTE,
    ),
    # Two columns of six weights, dequantized by two operations each; their product is added to 24 sums.
    (
        "bitsandbytes::int8_mixed_scaled_mm",
        (t(4, 6, dtype=HALF), t(4, 2, dtype=HALF)),
        (t(4, 8, dtype=HALF), *BYTES, t(4), t(6), torch.tensor([1, 5]), t(6)),
        192 + 4 * 2 * 6,
        96 + 24 + 24,
        BYTE,
    ),
    ("bitsandbytes::int8_vectorwise_dequant", t(4, 8), (BYTES[0], t(4)), 0, 64, FLOAT),
    # 32 absolute values, products and roundings; seven comparisons and a division for each of four rows.
    ("bitsandbytes::int8_vectorwise_quant", (BYTES[0], t(4), None), (t(4, 8, dtype=HALF),), 0, 96 + 28 + 4, HALF),
    ("bitsandbytes::int8_vectorwise_quant", (BYTES[0], t(4), None), (t(4, 8, dtype=HALF), 6.0), 0, 160, HALF),
    # And of eight columns of four.
    (
        "bitsandbytes::int8_double_quant",
        (BYTES[0], BYTES[0], t(4), t(8), None),
        (t(4, 8, dtype=HALF),),
        0,
        128 + 96 + 24 + 8,
        HALF,
    ),
    ("torchao::mx_fp8_bf16", t(4, 6, dtype=HALF), (*EIGHTS, one, one), 1536, 256 + 384, FP8),
    ("torchao::blockwise_scaled_mm", t(4, 6), (*EIGHTS, one, 0, one, 0, FLOAT), 1536, 640, FP8),
    ("torchao::triton_fp8_gemm_1x128_128x1", t(4, 6), (*EIGHTS, one, one), 1536, 640, FP8),
    ("ao::blockwise_fp8_gemm", t(4, 6), (EIGHTS[0], one, EIGHTS[1].t(), one), 1536, 640, FP8),
    # Three of four rows are in groups.
    (
        "torchao::emulated_blockwise_scaled_grouped_mm",
        t(4, 6),
        (EIGHTS[0], t(2, 64, 6, dtype=FP8), one, 0, one, 0, OFFS, FLOAT),
        3 * 64 * 6,
        256 + 768,
        FP8,
    ),
    ("torchao::swizzle_mm", t(4, 6), (t(4, 64), t(64, 6), False, False), 1536, 0, FLOAT),
    ("torchao::swizzle_mm", t(4, 6), (t(2, 1, 2, 64), t(6, 64), True, True), 1536, 0, FLOAT),
    ("torchao::swizzle_scaled_mm", t(4, 6), (*EIGHTS, False, False, one, one, bias), 1536, 640 + 24, FP8),
    ("torchao::float8_linear_cpu", t(4, 6), (EIGHTS[0], one, t(6, 64, dtype=FP8), one, bias, FLOAT), 1536, 664, FP8),
    (
        "torchao::rowwise_scaled_linear_sparse_cutlass_f8f8",
        t(4, 6),
        (EIGHTS[0], one, t(6, 32, dtype=FP8), one, one, bias),
        768,
        48 + 24,
        FP8,
    ),
    ("torchao::rowwise_scaled_linear_cutlass_s8s4", t(4, 6), (BYTES[0], t(4), t(6, 4, dtype=BYTE), one), 192, 48, BYTE),
    (
        "torchao::rowwise_scaled_linear_cutlass_s4s4",
        t(4, 6),
        (BYTES[0], t(4), t(6, 8, dtype=BYTE), one, bias),
        384,
        72,
        BYTE,
    ),
    ("float8_sparse::fp8_sparse_mm", t(4, 6), (EIGHTS[0], packed, None, one, 6, 16), 768, 24, FP8),
    ("torchao::int_matmul", t(4, 6), (BYTES[0], BYTES[1].t()), 192, 0, BYTE),
    ("torchao::int_scaled_matmul", t(4, 6), (BYTES[0], BYTES[1].t(), t(4, 1)), 192, 24, BYTE),
    ("torchao::scaled_int8_mm", t(4, 6), (BYTES[0], BYTES[1].t(), t(4), t(6)), 192, 48, BYTE),
    # 48 weights are shifted; two groups of four: five operations each, less one addition; a bias.
    (
        "torchao::da8w4_linear_cpu",
        t(4, 6),
        (BYTES[0], t(4), t(4), t(1, 2, 4, 3, dtype=BYTE), t(2, 6), t(2, 6), one, bias, FLOAT),
        192,
        48 + 24 * 9 + 24,
        BYTE,
    ),
    # Four rows: 2 · 7 comparisons, 5 operations, 5 for each of eight. Two groups: two products each, and one sum.
    (
        "torchao::_linear_8bit_act_4bit_weight",
        t(4, 6),
        (t(4, 8), packed, 4, 6, 8),
        192,
        4 * (14 + 5 + 40) + 24 * 5,
        BYTE,
    ),
    ("torchao::_linear_fp_act_3bit_weight", t(4, 6), (t(4, 8), packed, 4, one, one), 192, 96, FLOAT),
    ("torchao::_linear_groupwise_2bit_weight_with_lut", t(4, 6), (t(4, 8), packed, 4, 4, 6, 8), 192, 48, FLOAT),
    ("torchao::quant_llm_linear", t(4, 6, dtype=HALF), (3, 2, t(4, 8, dtype=HALF), packed, one, 1), 192, 48, HALF),
    (
        "torchao::marlin_24_gemm",
        t(4, 6, dtype=HALF),
        (t(4, 8, dtype=HALF), packed, one, one, one, 4, 4, 6, 8),
        96,
        24,
        HALF,
    ),
    ("torchao::marlin_qqq_gemm", t(4, 6), (BYTES[0], packed, one, one, one, one, 4, 6, 8), 192, 48, BYTE),
    ("torchao::dequantize_tensor_core_tiled_layout", t(6, 8), (packed, one, 4, 8), 0, 144, FLOAT),
    ("blocksparse::addmm", t(8, 5), (t(8, 5), one, one, t(3, 4, 4), 8, 8, None), 240, 0, FLOAT),
    (
        "blocksparse::int_addmm",
        t(8, 5),
        (one, one, t(3, 4, 4, dtype=BYTE), t(8, 5, dtype=BYTE), one, one),
        240,
        80,
        BYTE,
    ),
    # log2 8 additions for each of 32, and a scale.
    ("torchao::hadamard_transform", t(4, 8), (t(4, 8),), 0, 96, FLOAT),
    ("torchao::hadamard_transform", t(4, 8), (t(4, 8), 0.5), 0, 128, FLOAT),
    # Five rows of six into two bags: three additions for each of six, and twelve products.
    (
        "torchao::_scaled_embedding_bag",
        t(2, 6),
        (t(9, 6, dtype=BYTE), torch.zeros(5).long(), torch.tensor([0, 2, 5]), one, 1.0, 0, True, FLOAT),
        0,
        18 + 12,
        FLOAT,
    ),
    ("torchao::_embedding_4bit", t(5, 6), (packed, 9, 6, one, one, torch.zeros(5).long()), 0, 60, FLOAT),
    ("torchao::da8w4_linear_prepack_cpu", (t(1),) * 4, (t(6, 8, dtype=BYTE), one, one), 0, 0, FLOAT),
    ("torchao::quantize_affine_float8_non_decomposed", t(4, 8, dtype=FP8), (t(4, 8, dtype=HALF), one), 0, 96, HALF),
    ("torchao::dequantize_affine_float8_non_decomposed", t(4, 8), (t(4, 8, dtype=FP8), one), 0, 32, FLOAT),
    # 256 numbers in eight blocks: absolute value, product and two bounds each; 31 comparisons and three for each block.
    (
        "torchao::mxfp8_quantize_2d_1x32_cutedsl",
        (t(4, 64, dtype=FP8), t(4, 2)),
        (t(4, 64, dtype=HALF),),
        0,
        256 * 4 + 8 * 34,
        HALF,
    ),
    ("torchao::mxfp8_quantize_3d_cutedsl", (t(1), t(1)), (t(2, 32, 4, dtype=HALF),), 0, 256 * 4 + 8 * 34, HALF),
    ("torchao::triton_to_mxfp8_dim0", (t(1), t(1)), (t(4, 64, dtype=HALF),), 0, 256 * 4 + 8 * 34, HALF),
    (
        "torchao::mxfp8_quantize",
        (t(1),) * 4,
        (t(4, 64, dtype=HALF), True, True, 32, 32, "e4m3", "rceil"),
        0,
        2 * (256 * 4 + 8 * 34),
        HALF,
    ),
    (
        "torchao::mxfp8_quantize",
        (t(1),) * 4,
        (t(4, 64, dtype=HALF), False, True, 1, 32, "e4m3", "rceil"),
        0,
        256 * 4 + 8 * 34,
        HALF,
    ),
    # Eight ranges, as many as there are scales.
    (
        "torchao::triton_fp8_blockwise_act_quant_lhs",
        (t(4, 64, dtype=FP8), t(4, 2)),
        (t(4, 64, dtype=HALF),),
        0,
        1296,
        HALF,
    ),
    (
        "torchao::triton_fp8_blockwise_weight_quant_grouped_rhs",
        (t(4, 64, dtype=FP8), t(8)),
        (t(2, 2, 64, dtype=HALF),),
        0,
        1296,
        HALF,
    ),
    (
        "torchao::triton_fp8_per_group_rowwise_scales",
        (t(4, 64, dtype=FP8), t(8)),
        (t(4, 64, dtype=HALF), OFFS),
        0,
        1296,
        HALF,
    ),
    (
        "torchao::triton_fp8_per_group_colwise_scales_dual",
        (t(4, 64, dtype=FP8), t(8), t(2, 64, dtype=FP8), t(4)),
        (t(4, 64, dtype=HALF), t(2, 64, dtype=HALF), OFFS),
        0,
        1296 + 648,
        HALF,
    ),
    # 16 blocks of 16: 15 comparisons, and three operations more for each scale.
    ("ao::mslk_quantize_nvfp4", (t(1), t(1)), (t(4, 64, dtype=HALF),), 0, 256 * 4 + 16 * (15 + 3 + 3), HALF),
    ("ao::mslk_calculate_group_max", t(2), (t(4, 64, dtype=HALF), OFFS), 0, 256 + 254, HALF),
    # One tile of 16 by 16.
    ("torchao::triton_weight_quantize_2d", (t(1),) * 4, (t(16, 16, dtype=HALF), one), 0, 1024 + 255 + 6, HALF),
    # Twice 256 absolute values and 255 comparisons; signs, four additions and a scale for each.
    ("torchao::triton_rht_amax", (one, one), (t(16, 16, dtype=HALF), [1]), 0, 2 * 511 + 6 * 256, HALF),
    (
        "torchao::triton_rht_quantize_row_col",
        (t(1),) * 4,
        (t(16, 16, dtype=HALF), one, one, [1]),
        0,
        2 * (1024 + 16 * 21) + 6 * 256,
        HALF,
    ),
    ("transformers::grouped_mm_fallback", t(4, 6), (t(4, 8), t(2, 8, 6), OFFS), 3 * 48, 0, FLOAT),
    (
        "transformers::grouped_mm_fallback_backward",
        (t(4, 8), t(2, 8, 6)),
        (t(4, 8), t(2, 8, 6), OFFS, t(4, 6)),
        6 * 48,
        0,
        FLOAT,
    ),
]


@pytest.mark.parametrize(("name", "out", "args", "macs", "ops", "dtype"), CASES, ids=[case[0] for case in CASES])
def test_what_an_operator_costs(name, out, args, macs, ops, dtype):
    """By hand, in the dtype that its products run in."""
    assert charged(name, out, *args) == ((macs, ops, 0), dtype, "")


def test_every_operator_here_is_priced():
    """Nothing that the libraries define is without a formula."""
    wanted = {schema.partition("(")[0].partition(".")[0].replace("::", ".") for schema in SCHEMAS.split("\n") if schema}
    verdicts = coverage(*NAMESPACES)
    assert wanted <= set(verdicts)
    assert {name for name in wanted if verdicts[name] == "unpriced"} == set()


def heads(sequence, dtype=BYTE):
    return t(1, 2, sequence, 4, dtype=dtype)


def test_attention_on_bytes():
    """Two heads of 3 by 5 scores: both products, the softmax and the scale, and what is quantized."""
    out = heads(3)
    (macs, ops, transcendentals), dtype, _ = charged("torchao::qscaled_dot_product", out, heads(3), heads(5), heads(5))
    scores, rows = 2 * 3 * 5, 2 * 3
    softmax = (scores - rows) + scores + (scores - rows) + scores
    assert (macs, transcendentals, dtype) == (scores * 8, scores, BYTE)
    assert ops == scores + softmax + 7 * scores + 6 * 24


def test_attention_that_quantizes_its_operands():
    """Products of floats of eight bits; each operand's range is found, it is scaled, and rotated if asked for."""
    operands = [heads(length, HALF) for length in (3, 5, 5)]
    plain, dtype, reason = charged("torchao::fp8_fa3_sdpa", operands[0], *operands)
    scores, rows, elements = 30, 6, 24 + 40 + 40
    softmax = (scores - rows) + scores + (scores - rows) + scores
    assert plain == (scores * 8, scores + softmax + 4 * elements + elements - 3, scores)
    assert (dtype, "approximate" in reason) == (FP8, True)
    rotated, _, _ = charged("torchao::fp8_fa3_sdpa", operands[0], *operands, hadamard="QKV")
    assert rotated[1] - plain[1] == 2 * elements
    of_values, _, _ = charged("torchao::fp8_fa3_sdpa", operands[0], *operands, hadamard="V")
    assert of_values[1] - plain[1] == 2 * 40
    turned = [each.transpose(1, 2) for each in operands]
    rotary, _, _ = charged("torchao::fp8_fa3_rope_sdpa", operands[0], *turned, one, one)
    assert rotary == (plain[0], plain[1] + 3 * (24 + 40), plain[2])


def test_a_layer_of_four_bits_runs(libraries):
    """One row, in the dtype of the activations, of 10 · 64 · 32 products; also with a result that is given."""
    libraries["bitsandbytes"].impl("gemv_4bit", lambda x, _, shape, *__: x.new_zeros(*x.shape[:-1], shape[0]), "CPU")
    libraries["bitsandbytes"].impl("gemv_4bit.out", lambda *_: None, "CPU")
    gemv = torch.ops.bitsandbytes.gemv_4bit
    with OpFlopMode(strict=True) as mode:
        out = gemv(A, packed, [32, 64], t(32), t(16), 64)
        gemv.out(A, packed, [32, 64], t(32), t(16), 64, out)
    (row,) = [row for row in mode.profile.rows if row.op == "bitsandbytes.gemv_4bit"]
    assert (row.dtype, row.calls, row.cost.macs) == ("bfloat16", 2, 2 * 20480)


# Optimizers, written out for one element.


def element(name, counts, *, weight_decay=0.0, step=2):
    """Count the operations of the library's update as it is defined, and roots."""
    counts["ops"] += 1  # the gradient is scaled
    if weight_decay:
        counts["ops"] += 2 if name in ("momentum", "rmsprop", "adagrad") else 1
    average, of_squares, root = 3, 4, {"adam", "rmsprop", "adagrad", "ademamix"}
    counts["ops"] += {
        "momentum": 0 if step == 1 else 2,
        "rmsprop": of_squares,
        "adagrad": 2,
        "adam": average + of_squares,
        "lion": 2 * average,
        "ademamix": 2 * average + of_squares,
    }[name]
    counts["ops"] += {"momentum": 2, "rmsprop": 4, "adagrad": 4, "adam": 4, "lion": 3, "ademamix": 8}[name]
    counts["roots"] += name in root


ARGS_32 = {"param_norm": 1.0, "beta1": 0.9, "beta2": 0.9, "beta3": 0.9, "alpha": 1.0, "eps": 0.1, "lr": 0.1}


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize("name", ["momentum", "rmsprop", "adagrad", "adam", "lion", "ademamix"])
def test_steps_with_whole_states(name, step, weight_decay):
    """Twelve elements of the update; a limit of its norm takes a second look at each."""
    g = t(12)
    options = {**ARGS_32, "weight_decay": weight_decay, "step": step, "gnorm_scale": 1.0}
    counts = {"ops": 0, "roots": 0}
    element(name, counts, weight_decay=weight_decay, step=step)
    args = (name, g, g, t(12), None, None)
    expected = (0, 12 * counts["ops"], 12 * counts["roots"])
    assert charged("bitsandbytes::optimizer_update_32bit", None, *args, max_unorm=0.0, **options)[0] == expected
    limited, _, _ = charged("bitsandbytes::optimizer_update_32bit", None, *args, max_unorm=1.0, **options)
    assert limited[1] >= expected[1] + 12 + 12 + 11
    assert limited[2] >= expected[2] + 1


def test_the_norm_of_an_update():
    """Adam: both averages, both corrections, an addition, a root, a division and a square; the sum, and its root."""
    options = {**ARGS_32, "weight_decay": 0.0, "step": 2, "gnorm_scale": 1.0}
    args = ("adam", t(12), t(12), t(12), t(12), t(1))
    plain, _, _ = charged("bitsandbytes::optimizer_update_32bit", None, *args, max_unorm=0.0, **options)
    limited, _, _ = charged("bitsandbytes::optimizer_update_32bit", None, *args, max_unorm=1.0, **options)
    assert limited[1] - plain[1] == 12 * (1 + 7 + 2 + 2 + 1) + 11 + 12
    assert limited[2] - plain[2] == 12 + 1


@pytest.mark.parametrize(("name", "states"), [("momentum", 1), ("adam", 2), ("ademamix", 3)])
def test_steps_with_states_of_eight_bits(name, states):
    """Each state is dequantized (1), and quantized again: absolute value, division, eight comparisons; two blocks."""
    counts = {"ops": 0, "roots": 0}
    element(name, counts)
    second = None if states == 1 else t(300, dtype=torch.uint8)
    numbers = {key: value for key, value in ARGS_32.items() if key != "param_norm"}
    cost, _, _ = charged(
        "bitsandbytes::optimizer_update_8bit_blockwise",
        None,
        name,
        t(300),
        t(300),
        t(300, dtype=torch.uint8),
        second,
        **numbers,
        step=2,
        qmap1=CODE,
        qmap2=CODE,
        absmax1=t(2),
        absmax2=t(2),
        weight_decay=0.0,
        gnorm_scale=1.0,
    )
    assert cost == (0, 300 * counts["ops"] + states * (300 * 11 + 298), 300 * counts["roots"])


def test_packed_tables_and_weights_are_moved():
    """What lays weights out anew costs nothing, of every width."""
    named = registry.named
    for bits in range(1, 9):
        assert {f"torchao::_pack_8bit_act_{bits}bit_weight", f"torchao::_linear_8bit_act_{bits}bit_weight"} <= named
        rule = registry.get_rule_by_name(f"torchao::_pack_8bit_act_{bits}bit_weight")
        assert rule.formula is None


def test_bytes_of_a_packed_weight():
    """Two weights share a byte, and are read as they are stored."""
    overload = torch.ops.bitsandbytes.gemv_4bit.default
    cost, _, _ = registry.resolve(overload, {}).charge(
        t(10, 32, dtype=HALF), (A, packed, [32, 64], t(32), t(16), 64), {}
    )
    assert cost == Cost(20480, 2048, 0, bytes_read=1280 + 1024 + 128 + 64, bytes_written=640)
