"""The shapes of a module's calls: the tensors that it was given and returned, and how often."""

from __future__ import annotations

from collections import UserDict
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from opflops.errors import raised_by_signal_handler
from opflops.records.modules import CallShapes, TensorShape
from opflops.torch_internals.tensor_sizes import SymbolicSize, hashable_sizes, read_shapes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from opflops.attribution.module_context import ModuleContext
    from opflops.torch_internals.tensor_sizes import SizesAndDtype

MAX_SHAPES = 64
"""How many different shapes of calls are kept for a module; calls with others are only counted."""

_MAX_KEYS = 1000

_MAX_DEPTH = 32
"""How deep lists and dicts are looked into; one may contain itself."""

_WITHOUT_TENSORS = frozenset({type(None), bool, int, float, str})

_ONLY_INTEGERS = frozenset({int})

RAISED = object()
"""Stands for the result of a call that raised."""


class ShapeCounts(dict[Any, int]):
    """Count the calls of a module by their shapes.

    The key of a call with one tensor and a tensor as its result has four parts: the sizes and the dtype of the first,
    then those of the result. That of any other call is a pair of tuples of such pairs, for what it was given and what
    it returned.

    Attributes:
        others: The calls with other shapes than the first :data:`MAX_SHAPES`.
    """

    others = 0

    def add(self, key: Any, calls: int) -> None:
        """Add calls of some shapes."""
        if key in self or len(self) < MAX_SHAPES:
            self[key] = self.get(key, 0) + calls
        else:
            self.others += calls


NO_SHAPES = (None, None, None, None)
"""The usual shapes of a module before its first call; no call has them."""


class KnownSizes:
    """Hold the sizes of a tensor on meta, none of which is symbolic, to compare them with others that may be.

    To compare a symbolic size itself would add a guard.
    """

    __slots__ = ("sizes",)

    def __init__(self, sizes: tuple[int, ...]) -> None:
        self.sizes = sizes

    def __hash__(self) -> int:
        return hash(self.sizes)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, KnownSizes):
            return self.sizes == other.sizes
        return isinstance(other, tuple) and _ONLY_INTEGERS.issuperset(map(type, other)) and self.sizes == other

    def __iter__(self) -> Iterator[int]:
        return iter(self.sizes)


ShapeKeys = tuple[dict[Any, Any], dict[Any, Any]]
"""The keys of :func:`key_of_plain_call` that were made: of tensors with elements, and of those on meta."""


def key_of_plain_call(keys: ShapeKeys, given: tuple[Any, Any], result: Tensor) -> tuple[Any, Any, Any, Any] | None:
    """Return the key of a call with one plain tensor and a plain result; equal ones are one object, if they are few.

    Args:
        keys: The keys that were made; gets new ones.
        given: The sizes and the dtype of the tensor.
        result: The result.

    Returns:
        The key; None if a size is symbolic or the result has no shape.
    """
    try:
        key = (*given, result.shape, result.dtype)
        on_meta = result.is_meta
        table = keys[on_meta]
        known: tuple[Any, Any, Any, Any] | None = table.get(key)
    except (TypeError, RuntimeError) as error:
        if raised_by_signal_handler(error):
            raise
        # A symbolic size has no hash, a nested tensor no shape.
        return None
    if known is None:
        known = (KnownSizes(key[0]), key[1], KnownSizes(key[2]), key[3]) if on_meta else key
        if len(table) < _MAX_KEYS:
            table[key] = known
    return known


def shape_counts(context: ModuleContext) -> ShapeCounts:
    """Return the shapes of a module's calls, to which those of the usual shapes are added first."""
    shapes = context.shapes
    if shapes is None:
        shapes = context.shapes = ShapeCounts()
    if context.usual_calls:
        shapes.add(context.usual, context.usual_calls)
        context.usual_calls = 0
    return shapes


def recorded_calls(context: ModuleContext) -> tuple[list[CallShapes], int]:
    """List the shapes of a module's calls, and return how many calls had others. The module may run in a thread."""
    shapes = ShapeCounts(context.shapes or {})
    if context.shapes is not None:
        shapes.others = context.shapes.others
    if context.usual_calls:
        shapes.add(context.usual, context.usual_calls)
    found = []
    for key, number in shapes.items():
        given, returned = (key[:2],), (key[2:],)
        if not key[2:]:
            given, returned = key
        found += [CallShapes(_to_records(given), _to_records(returned), number)]
    return found, shapes.others


class _DtypeNames(dict[Any, str]):
    """Map dtypes to their names; a look-up of one that is known takes no function call."""

    def __missing__(self, dtype: Any) -> str:
        """Add a dtype."""
        name = self[dtype] = str(dtype).removeprefix("torch.")
        return name


_dtype_names = _DtypeNames()


def _to_records(tensors: Iterable[SizesAndDtype]) -> tuple[TensorShape, ...]:
    found = []
    for sizes, dtype in tensors:
        shape = (*sizes,)
        if SymbolicSize in {*map(type, shape)}:
            shape = tuple(size.value if type(size) is SymbolicSize else size for size in shape)
        found += [TensorShape(shape, _dtype_names[dtype])]
    return (*found,)


def shapes_in(*values: Any) -> list[SizesAndDtype]:
    """Return the sizes and dtypes of the tensors in values: also in lists, tuples, dicts and dataclasses."""
    tensors = tensors_in(*values)
    return [*read_shapes(tensors)] if tensors else []


def tensors_in(*values: Any) -> list[Tensor]:
    """Return the tensors in values, as :func:`shapes_in` finds them."""
    tensors: list[Tensor] = []
    _collect(values, tensors, -1)
    return tensors


def _collect(value: Any, tensors: list[Tensor], depth: int) -> None:
    if isinstance(value, (list, tuple)):
        parts: Any = value
    elif isinstance(value, (dict, UserDict)):
        parts = value.values()
    elif is_dataclass(value) and not isinstance(value, type):
        parts = [getattr(value, each.name, None) for each in fields(value)]
    else:
        return
    if depth < _MAX_DEPTH:
        for part in parts:
            # Most parts need no function call.
            if type(part) is Tensor or isinstance(part, Tensor):
                tensors.append(part)
            elif type(part) not in _WITHOUT_TENSORS:
                _collect(part, tensors, depth + 1)


def key_of_call(given: Any, result: Any) -> Any:
    """Return the key of a call of which one side is not a single plain tensor.

    Args:
        given: The sizes and the dtype of the only argument as a tuple, or the list of :func:`shapes_in`.
        result: What the call returned; :data:`RAISED` if it raised.
    """
    inputs = (hashable_sizes(*given),) if type(given) is tuple else tuple(given)
    outputs = () if result is RAISED else tuple(shapes_in(result))
    return (*inputs[0], *outputs[0]) if len(inputs) == len(outputs) == 1 else (inputs, outputs)
