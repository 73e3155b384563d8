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
    loss,
    movement,
    normalization,
    pointwise,
    pooling,
    recurrent,
    reduction,
)

__all__ = [
    "activation",
    "attention",
    "contraction",
    "convolution",
    "embedding",
    "encoder",
    "loss",
    "movement",
    "normalization",
    "pointwise",
    "pooling",
    "recurrent",
    "reduction",
]
