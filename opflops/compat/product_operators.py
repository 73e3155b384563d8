"""The operators that do multiply-accumulates: matmuls, convolutions, attention, recurrent layers, and their gradients.

A list, since what a formula returns is known only once an operator has run. A test compares it with the formulas.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opflops.pricing.native_kernels import native_kernels
from opflops.torch_internals.dispatch import packet_named

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opflops.torch_internals.dispatch import OpOverloadPacket

_MATMULS = """
    _addmm_activation _foreach_mm _grouped_mm _int_mm _mixed_dtypes_linear _scaled_grouped_mm _scaled_grouped_mm_v2
    _scaled_mm _scaled_mm_v2 _trilinear addbmm addbmm_ addmm addmm_ addmv addmv_ addr addr_ baddbmm baddbmm_ bmm dot
    linear linear_backward matmul_backward mkldnn_linear mkldnn_linear_backward mkldnn_linear_backward_input
    mkldnn_linear_backward_weights mm mv vdot
    _dyn_quant_matmul_4bit _weight_int4pack_mm _weight_int4pack_mm_for_cpu _weight_int4pack_mm_with_scales_and_zeros
    _weight_int8pack_mm
    _cslt_sparse_mm _cslt_sparse_mm_search _sparse_addmm _sparse_mm_reduce_impl _sparse_mm_reduce_impl_backward
    _sparse_semi_structured_addmm _sparse_semi_structured_linear _sparse_semi_structured_mm _sparse_sparse_matmul hspmm
    sparse_sampled_addmm sspaddmm
    _cdist_forward _compute_linear_combination _euclidean_dist affine_grid_generator cudnn_affine_grid_generator
    cudnn_affine_grid_generator_backward linalg_matrix_exp linalg_pinv
"""
_CONVOLUTIONS = """
    _conv_depthwise2d _convolution _mps_convolution _mps_convolution_transpose _nnpack_spatial_convolution
    _slow_conv2d_backward _slow_conv2d_forward conv_depthwise3d conv_tbc convolution convolution_backward
    convolution_backward_overrideable convolution_overrideable cudnn_convolution cudnn_convolution_add_relu
    cudnn_convolution_relu cudnn_convolution_transpose miopen_convolution miopen_convolution_add_relu
    miopen_convolution_relu miopen_convolution_transpose miopen_depthwise_convolution mkldnn_convolution
    mps_convolution_backward mps_convolution_transpose_backward slow_conv3d_forward slow_conv_dilated2d
    slow_conv_dilated3d slow_conv_transpose2d slow_conv_transpose3d
"""
_ATTENTION = """
    _cudnn_attention_backward _cudnn_attention_forward _efficient_attention_backward _efficient_attention_forward
    _flash_attention_backward _flash_attention_forward _flash_attention_forward_no_dropout_inplace
    _native_multi_head_attention _scaled_dot_product_attention_math_for_mps _scaled_dot_product_cudnn_attention
    _scaled_dot_product_cudnn_attention_backward _scaled_dot_product_efficient_attention
    _scaled_dot_product_efficient_attention_backward _scaled_dot_product_flash_attention
    _scaled_dot_product_flash_attention_backward _scaled_dot_product_flash_attention_for_cpu
    _scaled_dot_product_flash_attention_for_cpu_backward _scaled_dot_product_fused_attention_overrideable
    _scaled_dot_product_fused_attention_overrideable_backward _transformer_encoder_layer_fwd
    _triton_multi_head_attention _triton_scaled_dot_attention
"""
_RECURRENT = """
    _cudnn_rnn _cudnn_rnn_backward _lstm_mps lstm_mps_backward miopen_rnn miopen_rnn_backward mkldnn_rnn_layer
    mkldnn_rnn_layer_backward quantized_gru quantized_lstm
"""
_OTHER_NAMESPACES = {
    "quantized": """
        conv1d conv1d_dynamic conv1d_relu conv2d conv2d_add conv2d_add_relu conv2d_dynamic conv2d_relu conv3d
        conv3d_dynamic conv3d_relu conv_transpose1d conv_transpose1d_dynamic conv_transpose2d conv_transpose2d_dynamic
        conv_transpose3d conv_transpose3d_dynamic int4mm_packed_weight_cpu linear linear_dynamic linear_dynamic_fp16
        linear_dynamic_fp16_unpacked_weight linear_leaky_relu linear_relu linear_relu_dynamic linear_relu_dynamic_fp16
        linear_tanh linear_with_input_q_dq_qweight_dq_output_fp32 linear_with_input_q_dq_qweight_dq_relu_output_fp32
        matmul quantized_gru_cell_dynamic quantized_lstm_cell_dynamic quantized_rnn_relu_cell_dynamic
        quantized_rnn_tanh_cell_dynamic
    """,
    "_quantized": """
        _wrapped_quantized_linear_prepacked conv2d conv2d_relu conv3d conv3d_relu conv_transpose1d conv_transpose2d
        linear linear_dynamic wrapped_fbgemm_linear_fp16_weight wrapped_quantized_linear
    """,
    "sparse": "qlinear qlinear_dynamic qlinear_relu qlinear_relu_dynamic",
    "mkl": "_mkl_linear",
    "mkldnn": """
        _convolution_pointwise _convolution_pointwise_ _convolution_transpose_pointwise _linear_pointwise
    """,
    "mkldnn_prepacked": "conv2d_run",
    "onednn": """
        linear_dynamic_fp16 linear_relu_dynamic_fp16 qconv1d_pointwise qconv2d_pointwise qconv3d_pointwise
        qconv_pointwise qlinear_pointwise
    """,
    "inductor": "_mm_plus_mm",
    "symm_mem": """
        _async_input_mm fused_all_gather_matmul fused_all_gather_scaled_matmul fused_matmul_reduce_scatter
        fused_scaled_matmul_reduce_scatter
    """,
    "torch_attn": "_varlen_attn _varlen_attn_backward _varlen_attn_out",
    "torch_nn": "_linear_cross_entropy_batch_chunked _linear_cross_entropy_batch_chunked_no_reduction",
    "torchvision": "_deform_conv2d_backward deform_conv2d",
    "transformers": "grouped_mm_fallback grouped_mm_fallback_backward",
    "bitsandbytes": "gemm_4bit gemv_4bit int8_linear_matmul int8_mixed_scaled_mm int8_scaled_mm",
    "ao": "blockwise_fp8_gemm",
    "blocksparse": "addmm int_addmm",
    "float8_sparse": "fp8_sparse_mm",
    "semi_structured": "cusparselt_mm cutlass_mm",
}
_BITS = range(1, 9)
_TORCHAO_MATMULS = """
    blockwise_scaled_mm da8w4_linear_cpu emulated_blockwise_scaled_grouped_mm float8_linear_cpu fp8_fa3_rope_sdpa
    fp8_fa3_sdpa fp8_fa4_rope_sdpa fp8_fa4_sdpa int_matmul int_scaled_matmul marlin_24_gemm marlin_qqq_gemm
    mx_fp4_bf16 mx_fp8_bf16 qscaled_dot_product quant_llm_linear rowwise_scaled_linear_cutlass_s4s4
    rowwise_scaled_linear_cutlass_s8s4 rowwise_scaled_linear_sparse_cutlass_f8f8 scaled_int8_mm swizzle_mm
    swizzle_scaled_mm triton_fp8_gemm_1x128_128x1 triton_fp8_gemm_1x128_128x128
"""
_TORCHAO = [
    *(f"_linear_8bit_act_{bits}bit_weight" for bits in _BITS),
    *(f"_linear_fp_act_{bits}bit_weight" for bits in _BITS),
    *(f"_linear_groupwise_{bits}bit_weight_with_lut" for bits in _BITS[:4]),
    *_TORCHAO_MATMULS.split(),
]

PRODUCT_OPERATORS = tuple(
    f"{namespace}::{name}"
    for namespace, names in {
        "aten": [*_MATMULS.split(), *_CONVOLUTIONS.split(), *_ATTENTION.split(), *_RECURRENT.split()],
        **{namespace: names.split() for namespace, names in _OTHER_NAMESPACES.items()},
        "torchao": _TORCHAO,
    }.items()
    for name in names
) + tuple(native_kernels("_foreach_mm_native", "bmm_triton"))
"""The names of the operators; not each is defined in each release of PyTorch, and some are of other libraries."""


def product_packets() -> Iterator[OpOverloadPacket]:
    """Iterate over those of the operators that are defined by now."""
    for name in PRODUCT_OPERATORS:
        packet = packet_named(name)
        if packet is not None:
            yield packet
