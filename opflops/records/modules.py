"""What a profile knows of modules beside their work: parameters, buffers, and the shapes of their calls."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from opflops.records.algebra import Substitution
from opflops.records.arguments import explain_methods, no_advice
from opflops.records.display import brief_repr, repr_html
from opflops.records.rows import add_paths, floating_rows, inner_paths

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from opflops.records.rows import Row


UNKNOWN_SIZE = -1
"""Stands for a size that differs between the parts of a nested tensor, or that depends on values."""


class TensorShape(NamedTuple):
    """Hold the shape and dtype of a tensor.

    Attributes:
        shape: The sizes: whole numbers, or expressions in the profile's dimensions; :data:`UNKNOWN_SIZE` for one that
            is not known.
        dtype: Such as ``"float32"``.
    """

    shape: tuple[Any, ...]
    dtype: str


class CallShapes(NamedTuple):
    """Hold what calls of a module were given and returned.

    Attributes:
        inputs: The tensors among the arguments, in order, also those in lists, tuples and dicts.
        outputs: The tensors in the result; none if the call raised.
        calls: How many calls had these.
    """

    inputs: tuple[TensorShape, ...]
    outputs: tuple[TensorShape, ...]
    calls: int = 1


class SharedParameter(NamedTuple):
    """Name a parameter that another module registers too.

    Attributes:
        name: Its name in this module, such as ``"weight"``.
        owner: The path of the first module that registers it, which it counts for.
        elements: How many elements it has.
    """

    name: str
    owner: str
    elements: int


@explain_methods(no_advice)
@dataclass(frozen=True, slots=True)
class ModuleRecord:
    """Hold what is known of one module, without the modules below it.

    Attributes:
        module: Its path, as in :class:`opflops.Row`.
        module_type: Its class name.
        parameters: The elements of the parameters that it registers, at the end of the block if the model still exists
            then. A ``Parameter`` that several modules share counts for the first of them in the order of
            ``named_modules()``; of several models, the one that was called first. Two that are views of the same memory
            count twice, as for ``sum(p.numel() for p in model.parameters())``. Of modules that are made in each
            forward, the one with the most counts. Of a ``DTensor`` the elements on all ranks count, as for ``numel()``,
            and so they do of what ``FullyShardedDataParallel`` made a flat parameter of; what this rank holds is in
            :attr:`opflops.Profile.memory`.
        trainable: Those that require a gradient.
        parameter_bytes: Their bytes.
        buffers: The elements of the buffers that it registers; shared ones as parameters.
        buffer_bytes: Their bytes.
        shared: The parameters that count for another module.
        calls: The shapes of its calls, in order of first appearance; none if it was not called. A ``DTensor`` has the
            shape that the program sees, that of all ranks. Recomputed calls are
            not among them. Calls with others than the first 64 different shapes are added up in a last one without
            tensors, and a remark of the profile says so.
    """

    module: str
    module_type: str
    parameters: int = 0
    trainable: int = 0
    parameter_bytes: int = 0
    buffers: int = 0
    buffer_bytes: int = 0
    shared: tuple[SharedParameter, ...] = ()
    calls: tuple[CallShapes, ...] = ()

    def __repr__(self) -> str:
        return brief_repr(self)

    def _repr_html_(self) -> str:
        return repr_html(self)


class ModuleTotals(NamedTuple):
    """Hold what a module and all modules below it have together.

    Attributes:
        parameters: The elements of their parameters, shared ones once.
        trainable: Those that require a gradient.
        parameter_bytes: Their bytes.
        buffers: The elements of their buffers, shared ones once.
        buffer_bytes: Their bytes.
        activations: The elements of results, as in :attr:`opflops.Row.activations`, of floating-point work.
    """

    parameters: int = 0
    trainable: int = 0
    parameter_bytes: int = 0
    buffers: int = 0
    buffer_bytes: int = 0
    activations: Any = 0

    def _repr_html_(self) -> str:
        return repr_html(self)


def inclusive_totals(records: Iterable[ModuleRecord], rows: Iterable[Row] = ()) -> dict[str, ModuleTotals]:
    """Add up, for every module path, what the module and all modules below it have.

    A parameter that modules share counts below the one that owns it. So the sum over roots has each once.

    Args:
        records: The records of a profile.
        rows: Its rows, for activations.

    Returns:
        Totals by path, also of modules above the recorded ones; "" has the activations of work outside any module.
    """
    sums: dict[str, list[Any]] = {}
    zeros = [0] * len(ModuleTotals._fields)
    for each in records:
        add_paths(sums, each.module, zeros)
        own = (each.parameters, each.trainable, each.parameter_bytes, each.buffers, each.buffer_bytes, 0)
        sums[each.module] = _sum_pairs(sums[each.module], own)
    activations: dict[str, Any] = {}
    for row in floating_rows(rows):
        activations[row.module] = activations.get(row.module, 0) + row.activations
    for path, number in activations.items():
        add_paths(sums, path, zeros)
        sums[path] = _sum_pairs(sums[path], (*zeros[1:], number))
    for path in inner_paths(sums):
        above = path.rpartition(".")[0]
        sums[above] = _sum_pairs(sums[above], sums[path])
    return {path: ModuleTotals(*each) for path, each in sums.items()}


def _sum_pairs(numbers: Sequence[Any], more: Sequence[Any]) -> list[Any]:
    return [number + each for number, each in zip(numbers, more, strict=True)]


def total_parameters(records: Iterable[ModuleRecord]) -> tuple[int, int]:
    """Return the elements of all parameters, and of those that require a gradient."""
    records = tuple(records)
    return sum(each.parameters for each in records), sum(each.trainable for each in records)


def records_at(records: Iterable[ModuleRecord], sizes: Mapping[str, int]) -> tuple[ModuleRecord, ...]:
    """Substitute sizes for dimensions in the shapes of calls; calls that are equal then are added up."""
    return map_sizes(records, Substitution(sizes))


def map_sizes(records: Iterable[ModuleRecord], function: Callable[[Any], Any]) -> tuple[ModuleRecord, ...]:
    """Apply a function to each size in the shapes of calls; calls that are equal then are added up."""

    def mapped(shapes: tuple[TensorShape, ...]) -> tuple[TensorShape, ...]:
        return tuple(TensorShape(tuple(map(function, shape)), dtype) for shape, dtype in shapes)

    return tuple(
        replace(
            record,
            calls=merge_calls(
                CallShapes(mapped(inputs), mapped(outputs), calls) for inputs, outputs, calls in record.calls
            ),
        )
        if record.calls
        else record
        for record in records
    )


def merge_calls(calls: Iterable[CallShapes]) -> tuple[CallShapes, ...]:
    """Add up the numbers of calls with equal shapes, in order of first appearance."""
    merged: dict[Any, int] = {}
    for each in calls:
        key = each.inputs, each.outputs
        merged[key] = merged.get(key, 0) + each.calls
    return tuple(CallShapes(inputs, outputs, number) for (inputs, outputs), number in merged.items())
