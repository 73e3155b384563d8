"""``FlopCountAnalysis``: the multiply-accumulates of a model, and what fvcore counts of normalization and the like."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from opflops.compat.fvcore.jit_analysis import JitModelAnalysis
from opflops.compat.fvcore.jit_handles import (
    addmm_flop_jit,
    batchnorm_flop_jit,
    bmm_flop_jit,
    conv_flop_jit,
    einsum_flop_jit,
    elementwise_flop_counter,
    linear_flop_jit,
    matmul_flop_jit,
    norm_flop_counter,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from opflops.compat.fvcore.graph_trace import TracedOperator
    from opflops.compat.fvcore.jit_handles import Handle

# Of matrix products and convolutions, a run has counted the multiply-accumulates.
_PRODUCTS: dict[str, Handle] = {
    "aten::addmm": addmm_flop_jit,
    "aten::bmm": bmm_flop_jit,
    "aten::_convolution": conv_flop_jit,
    "aten::_convolution_mode": conv_flop_jit,
    "aten::einsum": einsum_flop_jit,
    "aten::matmul": matmul_flop_jit,
    "aten::mm": matmul_flop_jit,
    "aten::linear": linear_flop_jit,
}
_DEFAULT_SUPPORTED_OPS: dict[str, Handle] = {
    **_PRODUCTS,
    "aten::batch_norm": batchnorm_flop_jit,
    "aten::group_norm": norm_flop_counter(2),
    "aten::layer_norm": norm_flop_counter(2),
    "aten::instance_norm": norm_flop_counter(1),
    "aten::upsample_nearest2d": elementwise_flop_counter(0, 1),
    "aten::upsample_bilinear2d": elementwise_flop_counter(0, 4),
    "aten::adaptive_avg_pool2d": elementwise_flop_counter(1, 0),
    "aten::grid_sampler": elementwise_flop_counter(0, 4),
}


class FlopCountAnalysis(JitModelAnalysis):
    """Count the multiply-accumulates of a model, each as one flop, and a few other operators by fvcore's conventions.

    Operators that multiply and have no handle, such as fused attention and recurrent layers, count their
    multiply-accumulates under their own names. ``set_op_handle`` replaces and adds handles.

    >>> import torch
    >>> from opflops.compat.fvcore import FlopCountAnalysis
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.LayerNorm(3))
    >>> flops = FlopCountAnalysis(model, torch.ones(2, 4))
    >>> flops.total(), flops.total("0"), flops.by_operator()
    (54, 24, Counter({'layer_norm': 30, 'linear': 24}))

    Args:
        model: The model.
        inputs: Its arguments: a tuple, or a single argument that is no tuple.
    """

    def __init__(self, model: nn.Module, inputs: Tensor | tuple[Any, ...]) -> None:
        super().__init__(model=model, inputs=inputs)
        self.set_op_handle(**_DEFAULT_SUPPORTED_OPS)

    def _count_products(self, operator: TracedOperator) -> Any:
        # An operator whose default handle was removed is not supported.
        return None if operator.kind in _PRODUCTS else operator.macs

    def _measured(self, operator: TracedOperator, handle: Handle) -> Any:
        if _PRODUCTS.get(operator.kind) is not handle:
            return None
        if handle is einsum_flop_jit:
            return operator.macs + operator.multiplications
        return Counter({"conv": operator.macs}) if handle is conv_flop_jit else operator.macs


def flop_count(
    model: nn.Module, inputs: tuple[Any, ...], supported_ops: Mapping[str, Handle] | None = None
) -> tuple[defaultdict[str, float], Counter[str]]:
    """Return the giga-flops of a model by operator, and how many times it ran operators without a handle.

    Args:
        model: The model.
        inputs: Its arguments.
        supported_ops: Handles that are added to the default ones, or replace them, by operator.
    """
    analysis = FlopCountAnalysis(model, inputs).set_op_handle(**(supported_ops or {}))
    counts = {name: count / 1e9 for name, count in analysis.by_operator().items()}
    return defaultdict(float, counts), analysis.unsupported_ops()
