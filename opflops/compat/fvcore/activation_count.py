"""``ActivationCountAnalysis``: the elements of the results of a model's matrix products and convolutions."""

from __future__ import annotations

from collections import Counter, defaultdict
from math import prod
from typing import TYPE_CHECKING, Any

from opflops.compat.fvcore.jit_analysis import JitModelAnalysis
from opflops.compat.fvcore.jit_handles import generic_activation_jit, get_shape

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from opflops.compat.fvcore.graph_trace import TracedOperator
    from opflops.compat.fvcore.jit_handles import Handle

_PRODUCTS: dict[str, Handle] = {
    "aten::_convolution": generic_activation_jit("conv"),
    "aten::_convolution_mode": generic_activation_jit("conv"),
    "aten::addmm": generic_activation_jit(),
    "aten::bmm": generic_activation_jit(),
    "aten::einsum": generic_activation_jit(),
    "aten::matmul": generic_activation_jit(),
    "aten::linear": generic_activation_jit(),
}
_DEFAULT_SUPPORTED_OPS: dict[str, Handle] = {**_PRODUCTS}


class ActivationCountAnalysis(JitModelAnalysis):
    """Count the elements of what operators that multiply return: matrix products, convolutions, attention.

    ``set_op_handle`` replaces and adds handles.

    >>> import torch
    >>> from opflops.compat.fvcore import ActivationCountAnalysis
    >>> ActivationCountAnalysis(torch.nn.Linear(4, 3), torch.ones(2, 4)).by_operator()
    Counter({'linear': 6})

    Args:
        model: The model.
        inputs: Its arguments: a tuple, or a single argument that is no tuple.
    """

    def __init__(self, model: nn.Module, inputs: Tensor | tuple[Any, ...]) -> None:
        super().__init__(model=model, inputs=inputs)
        self.set_op_handle(**_DEFAULT_SUPPORTED_OPS)

    def _count_products(self, operator: TracedOperator) -> Any:
        # An operator whose default handle was removed is not supported.
        if operator.kind in _PRODUCTS:
            return None
        shape = get_shape(operator.outputs[0]) if operator.outputs else None
        return None if shape is None else prod(shape)


def activation_count(
    model: nn.Module, inputs: tuple[Any, ...], supported_ops: Mapping[str, Handle] | None = None
) -> tuple[defaultdict[str, float], Counter[str]]:
    """Return the mega-activations of a model by operator, and how many times it ran operators without a handle.

    Args:
        model: The model.
        inputs: Its arguments.
        supported_ops: Handles that are added to the default ones, or replace them, by operator.
    """
    analysis = ActivationCountAnalysis(model, inputs).set_op_handle(**(supported_ops or {}))
    counts = {name: count / 1e6 for name, count in analysis.by_operator().items()}
    return defaultdict(float, counts), analysis.unsupported_ops()
