"""Make the records of modules in a profile: what they register, and the shapes of their calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from opflops.attribution.call_shapes import MAX_SHAPES
from opflops.records.modules import CallShapes, ModuleRecord, SharedParameter, merge_calls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from opflops.attribution.module_context import ModuleContext
    from opflops.attribution.module_stack import ModuleStack
    from opflops.attribution.registered_tensors import ModuleReading


class _Called(NamedTuple):
    """Hold the calls of a module.

    Attributes:
        module_type: The class name of the module.
        calls: Their shapes.
        others: How many calls are left out, since there were too many different shapes.
    """

    module_type: str
    calls: tuple[CallShapes, ...]
    others: int


def module_records(stacks: Sequence[ModuleStack]) -> tuple[tuple[ModuleRecord, ...], tuple[str, ...]]:
    """Return the records of the modules of a block, and remarks on what they leave out.

    Args:
        stacks: The module stacks of the block's threads, which share their root modules.
    """
    roots = stacks[0].roots
    called = _called_modules([context for stack in stacks for context in stack.called_contexts()], roots.resolve)
    records: dict[str, ModuleRecord] = {}
    for reading, owners, buffer_owners in roots.tensors.sorted_out(roots.resolve):
        record = _record_of(reading, owners, buffer_owners)
        known = records.get(record.module)
        records[record.module] = record if known is None else _merged(known, record)
    for path, each in called.items():
        known = records.get(path) or ModuleRecord(path, each.module_type)
        records[path] = _with_calls(known, each)
    return tuple(records[path] for path in _in_order(records, called)), _remarks(called)


def _called_modules(contexts: Iterable[ModuleContext], resolve: Callable[[str], str]) -> dict[str, _Called]:
    found: dict[str, _Called] = {}
    for context in contexts:
        path = resolve(context.path)
        known = found.get(path, _Called(context.module_type, (), 0))
        if context.shapes is not None:
            calls = (*known.calls, *context.shapes.calls())
            known = known._replace(calls=calls, others=known.others + context.shapes.calls_without_shapes())
        found[path] = known
    return found


def _record_of(reading: ModuleReading, owners: Sequence[str], buffer_owners: Sequence[str]) -> ModuleRecord:
    _, path, module_type, parameters, buffers = reading
    own = [each for each, owner in zip(parameters, owners, strict=True) if not owner]
    own_buffers = [each for each, owner in zip(buffers, buffer_owners, strict=True) if not owner]
    return ModuleRecord(
        path,
        module_type,
        sum(elements for _, _, elements, *_ in own),
        sum(elements for _, _, elements, _, trainable in own if trainable),
        sum(nbytes for _, _, _, nbytes, _ in own),
        sum(elements for _, _, elements, *_ in own_buffers),
        sum(nbytes for _, _, _, nbytes, _ in own_buffers),
        tuple(
            SharedParameter(name, owner, elements)
            for (name, _, elements, *_), owner in zip(parameters, owners, strict=True)
            if owner
        ),
    )


def _merged(first: ModuleRecord, second: ModuleRecord) -> ModuleRecord:
    """Add up the records of two modules of one path, of which one is a wrapper around the other."""
    return ModuleRecord(
        first.module,
        first.module_type,
        first.parameters + second.parameters,
        first.trainable + second.trainable,
        first.parameter_bytes + second.parameter_bytes,
        first.buffers + second.buffers,
        first.buffer_bytes + second.buffer_bytes,
        tuple(dict.fromkeys((*first.shared, *second.shared))),
    )


def _with_calls(record: ModuleRecord, called: _Called) -> ModuleRecord:
    calls = called.calls
    if len(calls) > 1 or called.others:
        # Several threads, or two roots of which one is part of the other, have contexts of the same path. Symbolic
        # sizes are compared once they are expressions.
        has_numbers = all(
            type(size) is int for each in calls for shape, _ in each.inputs + each.outputs for size in shape
        )
        calls = merge_calls(calls) if has_numbers else calls
        calls += (CallShapes((), (), called.others),) if called.others else ()
    return ModuleRecord(
        *(record.module, record.module_type, record.parameters, record.trainable, record.parameter_bytes),
        *(record.buffers, record.buffer_bytes, record.shared, calls),
    )


def _in_order(records: Iterable[str], called: Iterable[str]) -> list[str]:
    """Sort paths as a tree, its roots and the modules below each in order of first appearance.

    Modules that register something come in the order of ``named_modules()``, others in order of their first call.
    """
    places: dict[str, tuple[int, ...]] = {}

    def place(path: str) -> tuple[int, ...]:
        if path not in places:
            above = path.rpartition(".")[0]
            number = len(places)
            places[path] = (*place(above), number) if above else (number,)
        return places[path]

    return sorted(dict.fromkeys((*called, *records)), key=place)


def _remarks(called: dict[str, _Called]) -> tuple[str, ...]:
    paths = [path for path, each in called.items() if each.others]
    if not paths:
        return ()
    others = f" and {len(paths) - 1} other{'s' * (len(paths) > 2)}" if len(paths) > 1 else ""  # noqa: PLR2004 - a plural
    verb = "were" if others else "was"
    remark = (
        f"{paths[0]}{others} {verb} called with more than {MAX_SHAPES} different shapes; their later calls with other "
        "shapes are listed together, without shapes."
    )
    return (remark,)
