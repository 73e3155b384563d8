"""What is said of the axes of inputs: which of them are symbolic, by which name, of which size in the example."""

from __future__ import annotations

import inspect
from keyword import iskeyword
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor
from torch.utils._pytree import tree_flatten

from opflops.errors import DimensionError
from opflops.records.dimensions import Dimension
from opflops.torch_internals.symbolic_shapes import SMALLEST, Dim, DimSpec, parse_dim
from opflops.wording import nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opflops.counting.fake_call import FakeCall


class Axis(NamedTuple):
    """Hold one axis of an input that is to be symbolic.

    Attributes:
        label: The input, as in ``ids`` or ``cache[0]``.
        tensor: The input.
        axis: Which of its axes.
        dim: What was said of it.
    """

    label: str
    tensor: Tensor
    axis: int
    dim: DimSpec


def parse_dynamic_shapes(call: FakeCall, dynamic_shapes: Any) -> list[Axis]:
    """Match what ``dynamic_shapes`` says with the inputs of a call.

    Raises:
        DimensionError: It does not fit them.
    """
    found = list(_axes(call.name, _arguments(call), dynamic_shapes))
    if not found:
        raise DimensionError(
            'dynamic_shapes names no dimension; give torch.export.Dim for an axis, as in {"x": {0: Dim("batch")}}.'
        )
    return found


def _arguments(call: FakeCall) -> dict[str, Any]:
    try:
        signature = inspect.signature(getattr(call.model, "forward", call.model))
    except ValueError:
        # A builtin function does not tell the names of its parameters.
        return {**{f"argument {place}": value for place, value in enumerate(call.inputs)}, **call.kwargs}
    try:
        bound = signature.bind(*call.inputs, **call.kwargs)
    except TypeError as error:
        raise DimensionError(f"The inputs do not fit {call.name}: {error}.") from error
    arguments: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        by_keyword = bound.signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD
        arguments.update(value if by_keyword else {name: value})
    return arguments


def _axes(model: str, arguments: dict[str, Any], spec: Any) -> Iterator[Axis]:
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


def _axes_of(label: str, value: Any, spec: Any) -> Iterator[Axis]:
    if spec is None:
        return
    if isinstance(value, Tensor):
        for axis, dim in _by_axis(label, value, spec):
            if (named := _named(label, value, axis, dim)) is not None:
                yield Axis(label, value, axis, parse_dim(named))
        return
    for inner_label, part, inner in _parts(label, value, spec):
        yield from _axes_of(inner_label, part, inner)


def _parts(label: str, value: Any, spec: Any) -> Iterator[tuple[str, Any, Any]]:
    """Take apart a list, tuple, dict, or another container that PyTorch knows, beside what is said of its parts."""
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
            raise DimensionError(f"dynamic_shapes says {len(spec)} things of {label}, which has {len(parts)} parts.")
        for index, (part, inner) in enumerate(zip(parts, spec, strict=True)):
            yield f"{label}[{index}]", part, inner
    else:
        raise DimensionError(f"dynamic_shapes says {spec!r} of {label}, which is a {type(value).__name__}, no tensor.")


def _by_axis(label: str, tensor: Tensor, spec: Any) -> Iterator[tuple[int, Any]]:
    if isinstance(spec, (list, tuple)):
        if len(spec) != tensor.dim():
            raise DimensionError(
                f"dynamic_shapes says {len(spec)} things of {label}, which has {tensor.dim()} dimensions."
            )
        spec = dict(enumerate(spec))
    if not isinstance(spec, dict):
        raise DimensionError(
            f"dynamic_shapes says {spec!r} of {label}; it can be a dict of Dims by axis, as in {{0: Dim('batch')}}."
        )
    seen: set[int] = set()
    for axis, dim in spec.items():
        if type(axis) is not int or not -tensor.dim() <= axis < tensor.dim():
            raise DimensionError(f"dynamic_shapes names axis {axis!r} of {label}, which has {tensor.dim()} dimensions.")
        if axis % tensor.dim() in seen:
            raise DimensionError(f"dynamic_shapes names axis {axis % tensor.dim()} of {label} twice.")
        seen.add(axis % tensor.dim())
        yield axis % tensor.dim(), dim


def _named(label: str, tensor: Tensor, axis: int, dim: Any) -> Any:
    """Return the Dim that an axis was given, by what people write for one; None for an axis that stays as it is."""
    size = tensor.shape[axis]
    if type(dim) is int and dim != size:
        raise DimensionError(f"dynamic_shapes says that axis {axis} of {label} is {dim}, but it is {size}.")
    if dim is None or type(dim) is int or dim is Dim.STATIC:
        return None
    if dim in (Dim.AUTO, Dim.DYNAMIC):
        return Dim("".join(letter if letter.isidentifier() else "_" for letter in f"{label}_") + str(axis))
    if isinstance(dim, str) and dim.isidentifier() and not iskeyword(dim):
        return Dim(dim)
    root = getattr(getattr(dim, "root", dim), "__name__", "")
    # In older versions Dim is no class.
    if isinstance(dim, str) or not all(hasattr(dim, each) for each in ("__name__", "min", "max")) or iskeyword(root):
        raise DimensionError(f"dynamic_shapes says {dim!r} of axis {axis} of {label}; it can be a torch.export.Dim.")
    return dim


def dimensions_of(axes: Sequence[Axis]) -> dict[str, Dimension]:
    """Read the size of each dimension in the example off the inputs.

    Raises:
        DimensionError: Inputs disagree about one, or it is outside its limits.
    """
    found: dict[str, tuple[Dimension, Axis]] = {}
    for each in axes:
        label, tensor, axis, dim = each
        start, step = dim.of(0), dim.of(1) - dim.of(0)
        size, left = divmod(tensor.shape[axis] - start, step)
        if left or size < 1:
            raise DimensionError(f"Axis {axis} of {label} is {tensor.shape[axis]}, which no size of {dim.name} gives.")
        if size < dim.minimum or (dim.maximum is not None and size > dim.maximum):
            raise DimensionError(
                f"{dim.name} is {size} in axis {axis} of {label}, but its Dim allows {max(dim.minimum, 1)} to "
                f"{'any size' if dim.maximum is None else dim.maximum}."
            )
        known, by = found.setdefault(dim.name, (Dimension(dim.name, size, max(dim.minimum, 1), dim.maximum), each))
        if (known.minimum, known.maximum) != (max(dim.minimum, 1), dim.maximum):
            raise DimensionError(
                f"There are two Dims named {dim.name}, with different limits; give axis {axis} of {label} the same one."
            )
        if dim.maximum is not None and dim.maximum < SMALLEST:
            raise DimensionError(f"The Dim {dim.name} allows no size but 1; leave axis {axis} of {label} out.")
        if known.example != size:
            raise DimensionError(
                f"{dim.name} is {known.example} in axis {by.axis} of {by.label}, but {size} in axis {axis} of {label}; "
                "give inputs that agree, or two Dims."
            )
    return {name: dimension for name, (dimension, _) in found.items()}
