"""Make the records of modules in a profile: what they register, and the shapes of their calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from opflops.attribution.call_shapes import MAX_SHAPES, recorded_calls
from opflops.records.modules import CallShapes, ModuleRecord, SharedParameter, merge_calls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from opflops.attribution.module_context import ModuleContext
    from opflops.attribution.module_stack import ModuleStack
    from opflops.attribution.registered_tensors import ModuleReading


class _Registered:
    """Add up what the modules of a path register: one module, or wrappers and what they wrap.

    Args:
        module_type: The class name of the first.

    Attributes:
        parameters: As in :class:`opflops.records.modules.ModuleRecord`, as are the others.
    """

    def __init__(self, module_type: str) -> None:
        self.module_type = module_type
        self.parameters = self.trainable = self.parameter_bytes = self.buffers = self.buffer_bytes = 0
        self.shared: list[SharedParameter] = []

    def add(self, reading: ModuleReading, owners: Sequence[str], buffer_owners: Sequence[str]) -> None:
        """Add what a module registers."""
        for (name, _, elements, nbytes, trainable), owner in zip(reading.parameters, owners, strict=True):
            if owner:
                self.shared += [SharedParameter(name, owner, elements)]
                continue
            self.parameters += elements
            self.parameter_bytes += nbytes
            if trainable:
                self.trainable += elements
        for (_, _, elements, nbytes, _), owner in zip(reading.buffers, buffer_owners, strict=True):
            if not owner:
                self.buffers += elements
                self.buffer_bytes += nbytes


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

    def all_calls(self) -> tuple[CallShapes, ...]:
        """Return the calls, those of equal shapes added up."""
        calls = self.calls
        if calls[1:]:
            # Several threads, or two roots of which one is part of the other, have contexts of the same path. Symbolic
            # sizes are compared once they are expressions.
            sizes = [size for each in calls for shape, _ in each.inputs + each.outputs for size in shape]
            calls = merge_calls(calls) if {*map(type, sizes)} <= {int} else calls
        return (*calls, CallShapes((), (), self.others)) if self.others else calls


def module_records(stacks: Sequence[ModuleStack]) -> tuple[tuple[ModuleRecord, ...], tuple[str, ...]]:
    """Return the records of the modules of a block, and remarks on what they leave out.

    Args:
        stacks: The module stacks of the block's threads, which share their root modules.
    """
    roots = stacks[0].roots
    called = _called_modules([context for stack in stacks for context in stack.called], roots.resolve)
    registered: dict[str, _Registered] = {}
    for path, reading, owners, buffer_owners in roots.tensors.sorted_out(roots.resolve):
        found = registered.get(path)
        if found is None:
            found = registered[path] = _Registered(reading.module_type)
        found.add(reading, owners, buffer_owners)
    records = []
    nothing, not_called = _Registered(""), _Called("", (), 0)
    for path in _in_order(registered, called):
        own, calls = registered.get(path, nothing), called.get(path, not_called)
        records += [
            ModuleRecord(
                *(path, own.module_type or calls.module_type, own.parameters, own.trainable, own.parameter_bytes),
                *(own.buffers, own.buffer_bytes, tuple(own.shared), calls.all_calls()),
            )
        ]
    return tuple(records), _remarks(called)


def _called_modules(contexts: Iterable[ModuleContext], resolve: Callable[[str], str]) -> dict[str, _Called]:
    found: dict[str, _Called] = {}
    runs: dict[str, int] = {}
    for context in contexts:
        path = resolve(context.path)
        module_type, calls, others = found.get(path, ("", (), 0))
        # Of modules that took each other's place, the last one says what there is, as for what they register.
        if context.run >= runs.get(path, 0):
            module_type, runs[path] = context.module_type, context.run
        if context.shapes is not None or context.usual_calls:
            its_calls, its_others = recorded_calls(context)
            calls, others = (*calls, *its_calls), others + its_others
        found[path] = _Called(module_type, calls, others)
    return found


def _in_order(records: Iterable[str], called: Iterable[str]) -> list[str]:
    """Sort paths as a tree, its roots and the modules below each in order of first appearance.

    Modules that register something come in the order of ``named_modules()``, others in order of their first call.
    """
    places: dict[str, tuple[int, ...]] = {}
    for path in dict.fromkeys((*called, *records)):
        new, above = [], path
        while above and above not in places:
            new.append(above)
            above = above.rpartition(".")[0]
        for each in reversed(new):
            places[each] = (*places.get(each.rpartition(".")[0], ()), len(places))
    return sorted(dict.fromkeys((*called, *records)), key=places.__getitem__)


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
