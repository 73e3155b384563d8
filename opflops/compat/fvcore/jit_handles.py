"""Handles: functions that count an operator from its arguments and results, which are values of PyTorch's tracer.

The names and the conventions are those of ``fvcore.nn.jit_handles``. Those of matrix products and convolutions give
what opflops counts for a run of the operator.
"""

from __future__ import annotations

from collections import Counter
from math import prod
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from opflops.compat.fvcore.errors import HandleError
from opflops.compat.fvcore.graph_trace import multiplications
from opflops.mode import OpFlopMode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from opflops.profile.profile import Profile

Number: TypeAlias = "int | float"
Handle: TypeAlias = "Callable[[list[Any], list[Any]], Counter[str] | Number]"
"""Takes the arguments and the results of an operator; returns a number, or one for each name of a Counter."""

# The position of the argument of a convolution that says whether it is transposed.
_TRANSPOSED = 6


def get_shape(val: Any) -> list[int] | None:
    """Return the shape of a tensor; None for a value that is no tensor, such as ``None``.

    Args:
        val: A value of the tracer.
    """
    return list(val.type().sizes()) if val.isCompleteTensor() else None


def _shape(val: Any, what: str) -> list[int]:
    """Return the shape of a value.

    Raises:
        HandleError: It has none.
    """
    shape = get_shape(val)
    if shape is None:
        raise HandleError(
            f"The {what} ({str(val).strip()}) has no shape, so this handle cannot count the operator. "
            "Set a handle of your own with set_op_handle, or None to ignore the operator."
        )
    return shape


def _on_meta(val: Any, what: str) -> Tensor:
    """Return a tensor like a value, without memory."""
    return torch.empty(_shape(val, what), dtype=val.type().dtype(), device="meta")


def _profile(function: Callable[..., Any], *args: Any) -> Profile:
    with OpFlopMode() as mode, torch.no_grad():
        function(*args)
    return mode.profile


def _macs(function: Callable[..., Any], *args: Any) -> int:
    """Return the multiply-accumulates of a call."""
    return sum(row.cost.macs for row in _profile(function, *args).rows)


def generic_activation_jit(op_name: str | None = None) -> Handle:
    """Return a handle that counts the elements of the first result.

    Args:
        op_name: The name that they are counted under; by default that of the operator.
    """

    def generic_activation(_inputs: list[Any], outputs: list[Any]) -> Counter[str] | Number:
        count = prod(_shape(outputs[0], "result"))
        return count if op_name is None else Counter({op_name: count})

    return generic_activation


def addmm_flop_jit(inputs: list[Any], outputs: list[Any]) -> Number:
    """Count the multiply-accumulates of ``addmm``: m·n·k."""
    del outputs
    return _macs(torch.mm, *[_on_meta(value, "matrix") for value in inputs[1:3]])


def linear_flop_jit(inputs: list[Any], outputs: list[Any]) -> Number:
    """Count the multiply-accumulates of ``linear``; the bias does not count."""
    del outputs
    return _macs(torch.nn.functional.linear, *[_on_meta(value, "argument") for value in inputs[:2]])


def bmm_flop_jit(inputs: list[Any], outputs: list[Any]) -> Number:
    """Count the multiply-accumulates of ``bmm``: b·m·n·k."""
    del outputs
    return _macs(torch.bmm, *[_on_meta(value, "argument") for value in inputs])


def matmul_flop_jit(inputs: list[Any], outputs: list[Any]) -> Number:
    """Count the multiply-accumulates of ``matmul`` and ``mm``, vectors and broadcast batches included."""
    del outputs
    return _macs(torch.matmul, *[_on_meta(value, "argument") for value in inputs])


def einsum_flop_jit(inputs: list[Any], outputs: list[Any]) -> Number:
    """Count the multiplications of ``einsum``, with a sum or without, as PyTorch computes it."""
    del outputs
    operands = [_on_meta(value, "operand") for value in inputs[1].node().inputs()]
    rows = _profile(torch.einsum, inputs[0].toIValue(), *operands).rows
    count: Number = sum(row.cost.macs + multiplications(row.op, row.cost.ops, row.dtype) for row in rows)
    return count


def conv_flop_count(
    x_shape: Sequence[int], w_shape: Sequence[int], out_shape: Sequence[int], transposed: bool = False
) -> Number:
    """Count the multiply-accumulates of a convolution; the bias does not count.

    Args:
        x_shape: The shape of the input, with a batch.
        w_shape: The shape of the weight, which has the groups' part of the channels.
        out_shape: The shape of the output.
        transposed: Whether the convolution is transposed.
    """
    return x_shape[0] * prod(w_shape) * prod((x_shape if transposed else out_shape)[2:])


def conv_flop_jit(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
    """Count the multiply-accumulates of a convolution, as ``"conv"``."""
    x, weight = inputs[:2]
    x_shape, weight_shape, out_shape = _shape(x, "input"), _shape(weight, "weight"), _shape(outputs[0], "result")
    if len(x_shape) < len(weight_shape):
        # Without a batch.
        x_shape, out_shape = [1, *x_shape], [1, *out_shape]
    # With padding="same", in aten::_convolution_mode, there is no such argument.
    transposed = len(inputs) > _TRANSPOSED + 1 and bool(inputs[_TRANSPOSED].toIValue())
    return Counter({"conv": conv_flop_count(x_shape, weight_shape, out_shape, transposed)})


def norm_flop_counter(affine_arg_index: int) -> Handle:
    """Return a handle for layers of normalization: 4 for each element, 5 with a weight, by fvcore's convention.

    Args:
        affine_arg_index: The position of the weight among the arguments.
    """

    def norm_flop(inputs: list[Any], _outputs: list[Any]) -> Number:
        affine = get_shape(inputs[affine_arg_index]) is not None
        return prod(_shape(inputs[0], "input")) * (5 if affine else 4)

    return norm_flop


def batchnorm_flop_jit(inputs: list[Any], outputs: list[Any]) -> Number:
    """Count ``batch_norm``: as other layers in training, else 1 for each element, 2 with a weight."""
    if inputs[5].toIValue():
        return norm_flop_counter(1)(inputs, outputs)  # type: ignore[return-value]
    affine = get_shape(inputs[1]) is not None
    return prod(_shape(inputs[0], "input")) * (2 if affine else 1)


def elementwise_flop_counter(input_scale: float = 1, output_scale: float = 0) -> Handle:
    """Return a handle that counts so much for each element.

    Args:
        input_scale: For each element of the first argument.
        output_scale: For each element of the first result.
    """

    def elementwise_flop(inputs: list[Any], outputs: list[Any]) -> Number:
        count: Number = 0
        if input_scale:
            count += input_scale * prod(_shape(inputs[0], "input"))
        if output_scale:
            count += output_scale * prod(_shape(outputs[0], "result"))
        return count

    return elementwise_flop


def _simple_name(kind: str) -> str:
    """Return the name of an operator without its namespace."""
    return kind.partition("::")[2] or kind


def checked_count(result: Any, kind: str) -> Counter[str]:
    """Return the result of a handle as a Counter.

    Raises:
        HandleError: It is not a number, nor a Counter of numbers.
    """
    if _is_number(result):
        return Counter({_simple_name(kind): result})
    if not isinstance(result, dict):
        raise HandleError(f"The handle of {kind} must return a number or a Counter, not {result!r}.")
    for name, number in result.items():
        if not _is_number(number):
            raise HandleError(
                f"The handle of {kind} must count {name!r} by an int, a float, a NumPy int64 or float64, not by "
                f"{number!r} of type {type(number).__name__}."
            )
    return Counter(result)


def _is_number(value: Any) -> bool:
    # Narrow integers of NumPy would overflow.
    return isinstance(value, int | float) or (type(value).__module__, type(value).__name__) == ("numpy", "int64")
