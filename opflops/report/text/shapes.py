"""Shapes in tables: the tensors that a module was given and returned, with what is usual left out."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from opflops.records.modules import UNKNOWN_SIZE
from opflops.report.text.terminal import TIMES
from opflops.wording import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from opflops.records.modules import CallShapes, TensorShape

INPUT, OUTPUT = "input", "output"
_MAX_TENSORS = 3


def usual_dtype(calls: Iterable[CallShapes]) -> str:
    """Return the dtype that most of the tensors have, of floating-point ones if there are any; "" of no tensors."""
    dtypes = [tensor.dtype for call in calls for tensors in (call.inputs, call.outputs) for tensor in tensors]
    floating = [dtype for dtype in dtypes if dtype.startswith(("float", "bfloat", "complex"))]
    return next((dtype for dtype, _ in Counter(floating or dtypes).most_common(1)), "")


def distinct_tensors(name: str, calls: Iterable[CallShapes]) -> tuple[tuple[TensorShape, ...], ...]:
    """Return the different inputs, or outputs, of calls, in order of first appearance."""
    return tuple(dict.fromkeys(call.inputs if name == INPUT else call.outputs for call in calls))


def format_calls_shapes(name: str, calls: Sequence[CallShapes], usual: str = "") -> str:
    """Write the inputs or the outputs of calls: the first, and how many others differ from it.

    Args:
        name: ``"input"`` or ``"output"``.
        calls: The calls.
        usual: The dtype that is not written.

    >>> from opflops.records.modules import CallShapes, TensorShape
    >>> image = TensorShape((8, 3, 32, 32), "float32")
    >>> half, mask = TensorShape((8, 10), "float16"), TensorShape((8,), "bool")
    >>> format_calls_shapes("output", [CallShapes((image,), (half, mask)), CallShapes((image,), (half,))], "float32")
    '8×10 float16, 8 bool +1 more'
    """
    first, *others = distinct_tensors(name, calls) or ((),)
    if not calls:
        return ""
    text = ", ".join(format_shape(tensor, usual) for tensor in first[:_MAX_TENSORS]) or "none"
    if len(first) > _MAX_TENSORS:
        text = f"{text}, … ({len(first)} tensors)"
    return f"{text} +{len(others)} more" if others else text


def format_shape(tensor: TensorShape, usual: str = "") -> str:
    """Write the shape of a tensor, and its dtype unless that is the usual one.

    >>> from opflops.records.modules import TensorShape
    >>> format_shape(TensorShape((8, 3, 32, 32), "float32"), "float32"), format_shape(TensorShape((), "int64"))
    ('8×3×32×32', 'scalar int64')
    """
    shape = TIMES.join(map(_format_size, tensor.shape)) or "scalar"
    return printable(shape if tensor.dtype == usual else f"{shape} {tensor.dtype}")


def _format_size(size: Any) -> str:
    """Write a size, a sum or product of dimensions in parentheses."""
    text = "?" if type(size) is int and size == UNKNOWN_SIZE else str(size)
    is_plain = text == "?" or text.isidentifier() or text.isdecimal() or getattr(size, "is_Function", False)
    return text if is_plain else f"({text})"
