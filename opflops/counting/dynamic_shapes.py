"""Dynamic shapes: which axes of the inputs are symbolic, their names, and their sizes in the example inputs."""

from __future__ import annotations

import inspect
from keyword import iskeyword
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor
from torch.utils._pytree import tree_flatten

from opflops.errors import DimensionError
from opflops.records.dimensions import Dimension
from opflops.torch_internals.distributed_tensors import is_distributed
from opflops.torch_internals.modules import forward_of
from opflops.torch_internals.symbolic_shapes import MIN_SYMBOLIC_SIZE, Dim, DimSpec, parse_dim
from opflops.wording import nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opflops.counting.fake_call import FakeCall


class DynamicAxis(NamedTuple):
    """Hold one axis of an input whose size is symbolic.

    Attributes:
        label: The name of the input, as in ``ids`` or ``cache[0]``.
        tensor: The input.
        axis: The number of the axis.
        dim: The dimension that was given for it.
    """

    label: str
    tensor: Tensor
    axis: int
    dim: DimSpec


def parse_dynamic_shapes(call: FakeCall, dynamic_shapes: Any) -> list[DynamicAxis]:
    """Match ``dynamic_shapes`` with the inputs of a call.

    Raises:
        DimensionError: It does not fit them.
    """
    axes = list(_axes(call.name, _arguments(call), dynamic_shapes))
    if not axes:
        raise DimensionError(
            'dynamic_shapes names no dimension. Give a torch.export.Dim for an axis, as in {"x": {0: Dim("batch")}}.'
        )
    return axes


def _arguments(call: FakeCall) -> dict[str, Any]:
    try:
        signature = inspect.signature(forward_of(call.model))
    except ValueError:
        # A builtin function may have no signature.
        return {**{f"argument {number}": value for number, value in enumerate(call.inputs)}, **call.kwargs}
    try:
        bound = signature.bind(*call.inputs, **call.kwargs)
    except TypeError as error:
        raise DimensionError(f"The inputs do not fit {call.name}: {error}.") from error
    arguments: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        by_keyword = bound.signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD
        arguments.update(value if by_keyword else {name: value})
    return arguments


def _axes(model: str, arguments: dict[str, Any], spec: Any) -> Iterator[DynamicAxis]:
    if isinstance(spec, (tuple, list)):
        if len(spec) > len(arguments):
            raise DimensionError(
                f"dynamic_shapes has {len(spec)} entries, but {model} is called with {len(arguments)} arguments: "
                f"{', '.join(arguments)}."
            )
        spec = dict(zip(arguments, spec, strict=False))
    if not hasattr(spec, "items"):
        raise DimensionError(f"dynamic_shapes must be a dict by argument name or a tuple by position, not {spec!r}.")
    for name, inner in spec.items():
        if name not in arguments:
            near = nearest(str(name), arguments, 1)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            raise DimensionError(
                f"dynamic_shapes has {name!r}, but {model} is called with {', '.join(arguments) or 'nothing'}{hint}"
            )
        yield from _axes_of(name, arguments[name], inner)


def _axes_of(label: str, value: Any, spec: Any) -> Iterator[DynamicAxis]:
    if spec is None:
        return
    if isinstance(value, Tensor):
        for axis, dim in _by_axis(label, value, spec):
            if (checked := _check_dim(label, value, axis, dim)) is not None:
                if is_distributed(value):
                    raise DimensionError(
                        f"dynamic_shapes names a dimension of {label}, which is a {type(value).__name__}: how its size "
                        "divides among ranks has no formula. Count it at each size, or name a dimension of a plain "
                        "tensor."
                    )
                yield DynamicAxis(label, value, axis, parse_dim(checked))
        return
    for inner_label, part, inner in _parts(label, value, spec):
        yield from _axes_of(inner_label, part, inner)


def _parts(label: str, value: Any, spec: Any) -> Iterator[tuple[str, Any, Any]]:
    """Pair the parts of a list, tuple, dict, or another pytree with their specs."""
    if isinstance(value, dict) and isinstance(spec, dict):
        for key, inner in spec.items():
            if key not in value:
                raise DimensionError(
                    f"dynamic_shapes has {label}[{key!r}], but {label} has {', '.join(map(repr, value))}."
                )
            yield f"{label}[{key!r}]", value[key], inner
    elif isinstance(spec, (list, tuple)):
        parts = list(value) if isinstance(value, (list, tuple)) else tree_flatten(value)[0]
        if len(parts) != len(spec):
            raise DimensionError(f"dynamic_shapes has {len(spec)} entries for {label}, which has {len(parts)} parts.")
        for index, (part, inner) in enumerate(zip(parts, spec, strict=True)):
            yield f"{label}[{index}]", part, inner
    else:
        raise DimensionError(
            f"dynamic_shapes has {spec!r} for {label}, which is a {type(value).__name__} and not a tensor."
        )


def _by_axis(label: str, tensor: Tensor, spec: Any) -> Iterator[tuple[int, Any]]:
    if isinstance(spec, (list, tuple)):
        if len(spec) != tensor.dim():
            raise DimensionError(
                f"dynamic_shapes has {len(spec)} entries for {label}, which has {tensor.dim()} dimensions."
            )
        spec = dict(enumerate(spec))
    if not isinstance(spec, dict):
        raise DimensionError(
            f"dynamic_shapes for {label} must be a dict of Dims by axis, as in {{0: Dim('batch')}}, not {spec!r}."
        )
    seen: set[int] = set()
    for axis, dim in spec.items():
        if type(axis) is not int or not -tensor.dim() <= axis < tensor.dim():
            raise DimensionError(f"dynamic_shapes has axis {axis!r} of {label}, which has {tensor.dim()} dimensions.")
        if axis % tensor.dim() in seen:
            raise DimensionError(f"dynamic_shapes has axis {axis % tensor.dim()} of {label} twice.")
        seen.add(axis % tensor.dim())
        yield axis % tensor.dim(), dim


def _check_dim(label: str, tensor: Tensor, axis: int, dim: Any) -> Any:
    """Return the Dim of an axis; None if its size is static.

    A string stands for a Dim of that name, and Dim.AUTO and Dim.DYNAMIC for one that is named after the axis.
    """
    size = tensor.shape[axis]
    if type(dim) is int and dim != size:
        raise DimensionError(f"dynamic_shapes has size {dim} for axis {axis} of {label}, but its size is {size}.")
    if dim is None or type(dim) is int or dim is Dim.STATIC:
        return None
    if dim in (Dim.AUTO, Dim.DYNAMIC):
        return Dim("".join(letter if letter.isidentifier() else "_" for letter in f"{label}_") + str(axis))
    if isinstance(dim, str) and dim.isidentifier() and not iskeyword(dim):
        return Dim(dim)
    root = getattr(getattr(dim, "root", dim), "__name__", "")
    # In older versions of PyTorch, Dim is not a class.
    if isinstance(dim, str) or not all(hasattr(dim, each) for each in ("__name__", "min", "max")) or iskeyword(root):
        raise DimensionError(f"dynamic_shapes for axis {axis} of {label} must be a torch.export.Dim, not {dim!r}.")
    return dim


def dimensions_of(axes: Sequence[DynamicAxis]) -> dict[str, Dimension]:
    """Read the size of each dimension from the example inputs.

    Raises:
        DimensionError: Inputs have different sizes for one dimension, or a size is outside the limits of its Dim.
    """
    dimensions: dict[str, tuple[Dimension, DynamicAxis]] = {}
    for each in axes:
        label, tensor, axis, dim = each
        start, step = dim.of(0), dim.of(1) - dim.of(0)
        size, remainder = divmod(tensor.shape[axis] - start, step)
        if remainder or size < 1:
            raise DimensionError(
                f"Axis {axis} of {label} has size {tensor.shape[axis]}, which no size of {dim.name} gives with its Dim."
            )
        if size < dim.minimum or (dim.maximum is not None and size > dim.maximum):
            raise DimensionError(
                f"{dim.name} is {size} in axis {axis} of {label}, but its Dim allows {max(dim.minimum, 1)} to "
                f"{'any size' if dim.maximum is None else dim.maximum}."
            )
        dimension = Dimension(dim.name, size, max(dim.minimum, 1), dim.maximum)
        known, first = dimensions.setdefault(dim.name, (dimension, each))
        if (known.minimum, known.maximum) != (dimension.minimum, dimension.maximum):
            raise DimensionError(
                f"Two Dims are named {dim.name} and have different limits. Give axis {axis} of {label} the same Dim."
            )
        if dim.maximum is not None and dim.maximum < MIN_SYMBOLIC_SIZE:
            raise DimensionError(
                f"The Dim {dim.name} allows only size 1. Leave axis {axis} of {label} out of dynamic_shapes."
            )
        if known.example != size:
            raise DimensionError(
                f"{dim.name} is {known.example} in axis {first.axis} of {first.label}, but {size} in axis {axis} of "
                f"{label}. Give inputs of equal sizes, or two Dims."
            )
    return {name: dimension for name, (dimension, _) in dimensions.items()}
