"""The formulas of operators, one file for each family; importing the package registers them all.

A formula is a function from the arguments of a call, by their schema names, to a :class:`opflops.Cost`. It knows sizes
and dtypes and nothing else; it uses integer arithmetic, so that symbolic sizes flow through.

May import ``pricing``, ``records`` and ``torch_internals``, but no mode. The registry imports the package when it
first looks a formula up; the handlers of higher-order operators import it too.
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
    encoder,
    factories,
    flex_attention,
    folding,
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
    primitives,
    product_gradients,
    randomness,
    recurrent,
    reduction,
    resampling,
    sorting,
    sparse,
    special,
    spectral,
    synchronized,
    triton_attention,
)
from opflops.formulas.extensions import attention as extension_attention
from opflops.formulas.extensions import collective as extension_collective
from opflops.formulas.extensions import contraction as extension_contraction
from opflops.formulas.extensions import cross_entropy as extension_cross_entropy
from opflops.formulas.extensions import movement as extension_movement
from opflops.formulas.extensions import prims as extension_prims
from opflops.formulas.extensions import quantized as extension_quantized
from opflops.formulas.extensions import static_runtime as extension_static_runtime
from opflops.formulas.extensions import torchvision as extension_torchvision
from opflops.formulas.extensions import torchvision_regions as extension_torchvision_regions
from opflops.formulas.quantized import embedding as quantized_embedding
from opflops.formulas.quantized import fake_quantize, low_precision
from opflops.formulas.quantized import layers as quantized
from opflops.formulas.quantized import pointwise as quantized_pointwise
from opflops.formulas.quantized import recurrent as quantized_cells

__all__ = [
    "activation",
    "activation_forms",
    "attention",
    "collective",
    "comparison",
    "contraction",
    "convolution",
    "ctc",
    "distance",
    "embedding",
    "encoder",
    "extension_attention",
    "extension_collective",
    "extension_contraction",
    "extension_cross_entropy",
    "extension_movement",
    "extension_prims",
    "extension_quantized",
    "extension_static_runtime",
    "extension_torchvision",
    "extension_torchvision_regions",
    "factories",
    "fake_quantize",
    "flex_attention",
    "folding",
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
    "primitives",
    "product_gradients",
    "quantized",
    "quantized_cells",
    "quantized_embedding",
    "quantized_pointwise",
    "randomness",
    "recurrent",
    "reduction",
    "resampling",
    "sorting",
    "sparse",
    "special",
    "spectral",
    "synchronized",
    "triton_attention",
]
