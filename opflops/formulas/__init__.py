"""Prices of operators, one file for each family; importing the package registers them all.

A formula is a function from the arguments of a call, by their schema names, to a :class:`opflops.cost.Cost`. It knows
sizes and dtypes and nothing else; it uses integer arithmetic, so that symbolic sizes flow through.
"""

from opflops.formulas import (
    activation,
    attention,
    contraction,
    convolution,
    embedding,
    encoder,
    folding,
    linalg,
    loss,
    movement,
    normalization,
    padding,
    pointwise,
    pooling,
    recurrent,
    reduction,
    resampling,
    sorting,
    special,
    spectral,
)

__all__ = [
    "activation",
    "attention",
    "contraction",
    "convolution",
    "embedding",
    "encoder",
    "folding",
    "linalg",
    "loss",
    "movement",
    "normalization",
    "padding",
    "pointwise",
    "pooling",
    "recurrent",
    "reduction",
    "resampling",
    "sorting",
    "special",
    "spectral",
]
