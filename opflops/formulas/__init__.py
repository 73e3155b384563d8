"""The formulas of operators, one file for each family; importing the package registers them all.

A formula is a function from the arguments of a call, by their schema names, to a :class:`opflops.Cost`. It reads only
sizes, dtypes and numbers. It uses integer arithmetic, so that it also takes symbolic sizes.

The conventions that all formulas follow, by family:

- Matrix products: m·n·k multiply-accumulates, never 2k - 1. A bias adds one operation per element of the result.
- Convolutions: batch · positions · weights, padding included, exact for groups and for transposed ones.
- Attention, every kernel: two matmuls over all scores (five in the backward, which recomputes the scores), plus
  softmax, scale and mask. Variable-length kernels count true lengths. ``causal="exact"``: only pairs that the mask lets
  through; a mask tensor is read if it has values.
- Recurrent layers: the same as their unrolled cells.
- Element-wise: the operations of the defining expression: relu 1, add 1, sigmoid 3 and one exponential. In-place and
  ``out=`` variants cost the same. Casts and ``where`` are 0.
- Complex numbers: the real operations. A complex multiply-accumulate is 4 of real numbers.
- Reductions, norms, softmax, losses: from the definition; n - 1 operations per result of n elements, and one division
  for a mean.
- Pooling: one comparison or addition for each further element of a window. Resampling: taps and weights per point.
- Indexing, movement, factories, random numbers: 0. Operators that accumulate cost their additions.
- Sorting and searching: n·ceil(log2 n) per row, as a comparison sort.
- FFT: 5·n·log2 n, half of it for real numbers.
- Linear algebra: LAPACK Working Note 41; iterative routines by Golub and Van Loan, marked as estimates.
- Sparse: by stored elements.
- Quantized and low-precision layers: a row of the dtype that the products run in, with all else that the operator does
  (quantizing, bias, scaling back). This includes dynamic quantization: its 8-bit layers are rows of ``quint8``, as
  static ones are, and so in no floating-point total. Weights that are only stored in few bits (4-bit, 8-bit and float16
  weights) are converted and multiplied in floating point: a row of the activations' dtype. So are embedding tables.
- Optimizers: fused, foreach and per-tensor forms cost the same.
- Collectives: bytes, and the additions of a reduction.
- Bytes: each distinct element of each tensor argument is read once and each result written once. Views move nothing.
  Gathers read only the elements that they pick.

``opflops coverage NAME`` prints the formula of one operator.

May import ``pricing``, ``records`` and ``torch_internals``, but no mode. The registry imports the package at the first
look-up; the handlers of higher-order operators import it too.
"""

from opflops.formulas import (
    activation,
    activation_forms,
    attention,
    collective,
    comparison,
    contraction,
    convolution,
    ctc,
    distance,
    embedding,
    factories,
    flex_attention,
    fold_unfold,
    foreach,
    grid_sampler,
    histogram,
    indexing,
    linalg,
    loss,
    margin,
    movement,
    nested,
    normalization,
    onednn,
    optimizer,
    padding,
    pointwise,
    pooling,
    prims,
    product_gradients,
    randomness,
    recurrent,
    reduction,
    resampling,
    sorting,
    sparse,
    special,
    spectral,
    sync_batch_norm,
    transformer_encoder,
    triton_attention,
)
from opflops.formulas.extensions import attention as extension_attention
from opflops.formulas.extensions import (
    bitsandbytes,
    bitsandbytes_optimizers,
    compiler_prims,
    torchao,
    torchao_quantization,
)
from opflops.formulas.extensions import collective as extension_collective
from opflops.formulas.extensions import contraction as extension_contraction
from opflops.formulas.extensions import cross_entropy as extension_cross_entropy
from opflops.formulas.extensions import movement as extension_movement
from opflops.formulas.extensions import quantized as extension_quantized
from opflops.formulas.extensions import static_runtime as extension_static_runtime
from opflops.formulas.extensions import torchvision as extension_torchvision
from opflops.formulas.extensions import torchvision_regions as extension_torchvision_regions
from opflops.formulas.quantized import embedding as quantized_embedding
from opflops.formulas.quantized import fake_quantize, low_precision
from opflops.formulas.quantized import layers as quantized_layers
from opflops.formulas.quantized import pointwise as quantized_pointwise
from opflops.formulas.quantized import recurrent as quantized_recurrent

__all__ = [
    "activation",
    "activation_forms",
    "attention",
    "bitsandbytes",
    "bitsandbytes_optimizers",
    "collective",
    "comparison",
    "compiler_prims",
    "contraction",
    "convolution",
    "ctc",
    "distance",
    "embedding",
    "extension_attention",
    "extension_collective",
    "extension_contraction",
    "extension_cross_entropy",
    "extension_movement",
    "extension_quantized",
    "extension_static_runtime",
    "extension_torchvision",
    "extension_torchvision_regions",
    "factories",
    "fake_quantize",
    "flex_attention",
    "fold_unfold",
    "foreach",
    "grid_sampler",
    "histogram",
    "indexing",
    "linalg",
    "loss",
    "low_precision",
    "margin",
    "movement",
    "nested",
    "normalization",
    "onednn",
    "optimizer",
    "padding",
    "pointwise",
    "pooling",
    "prims",
    "product_gradients",
    "quantized_embedding",
    "quantized_layers",
    "quantized_pointwise",
    "quantized_recurrent",
    "randomness",
    "recurrent",
    "reduction",
    "resampling",
    "sorting",
    "sparse",
    "special",
    "spectral",
    "sync_batch_norm",
    "torchao",
    "torchao_quantization",
    "transformer_encoder",
    "triton_attention",
]
