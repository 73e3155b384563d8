"""The rows of a model: one for each call of a module, below the modules above it."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch.jit import ScriptModule
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from opflops.compat.torchinfo.layer_info import LayerInfo, get_children_layers
from opflops.compat.torchinfo.values import bytes_in, shape_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import nn

    from opflops.mode import OpFlopMode


def places_of(model: nn.Module) -> list[LayerInfo]:
    """Return a row for each name in a model, in the order of registration; a module of two names has two."""
    places: list[LayerInfo] = []
    waiting: list[tuple[str, nn.Module, LayerInfo | None]] = [(type(model).__name__, model, None)]
    while waiting:
        name, module, above = waiting.pop()
        place = LayerInfo(name, module, 0 if above is None else above.depth + 1, above)
        places.append(place)
        # Not named_children(), which names a module once.
        registered = reversed([*module._modules.items()])  # noqa: SLF001 - there is no public way to see all names
        waiting += [(name, child, place) for name, child in registered if child is not None]
    return places


@dataclass
class _RunningCall:
    """Hold where a call is, its row, the count before it, the error handled then, and the count of calls inside."""

    place: LayerInfo
    row: LayerInfo
    before: int
    handled: BaseException | None
    inside: int = 0


class CallRecorder:
    """Make a row of each call of a model's modules, with the multiply-accumulates that a mode counts meanwhile.

    Args:
        model: The model, on whose modules hooks are until the block ends.
        mode: The mode, which counts.

    Attributes:
        calls: The rows of the calls so far, each with the place in the model that it was called at.
    """

    def __init__(self, model: nn.Module, mode: OpFlopMode) -> None:
        self.calls: list[tuple[LayerInfo, LayerInfo]] = []
        self._model = model
        self._mode = mode
        self._places: dict[int, list[LayerInfo]] = {}
        self._order = places_of(model)
        for place in self._order:
            self._places.setdefault(place.layer_id, []).append(place)
        self._running: list[_RunningCall] = []
        self._hooks = ExitStack()

    def __enter__(self) -> CallRecorder:  # noqa: PYI034 - typing.Self is not in Python 3.10
        # Functions, which a copy of a module shares; a copy of a bound method would copy this too.
        def begin(module: nn.Module, *_: Any) -> None:
            self._begin(module)

        def end(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            self._end(module, args, kwargs, output)

        def begin_script(module: nn.Module, *_: Any) -> None:
            if isinstance(module, ScriptModule):
                self._begin(module)

        def end_script(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            if isinstance(module, ScriptModule):
                self._end(module, args, kwargs, output)

        modules = [places[0].module for places in self._places.values()]
        with ExitStack() as hooks:
            for module in modules:
                # Scripted modules refuse hooks of their own.
                if not isinstance(module, ScriptModule):
                    # First and last, so that what other hooks compute is the module's.
                    hooks.enter_context(module.register_forward_pre_hook(begin, prepend=True))
                    hooks.enter_context(module.register_forward_hook(end, with_kwargs=True, always_call=True))
            if any(isinstance(module, ScriptModule) for module in modules):
                hooks.enter_context(register_module_forward_pre_hook(begin_script))
                hooks.enter_context(register_module_forward_hook(end_script, with_kwargs=True, always_call=True))
            self._hooks = hooks.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._hooks.close()

    def _counted(self) -> int:
        return sum([accumulator.macs for accumulator in self._mode.accumulators])

    def _begin(self, module: nn.Module) -> None:
        # A copy that the model made of a module has its hooks, but is no module of the model.
        if id(module) not in self._places:
            return
        place = self._place_now(self._places[id(module)])
        row = _row_at(place)
        self.calls.append((row, place))
        self._running.append(_RunningCall(place, row, self._counted(), sys.exc_info()[1]))
        if isinstance(module, ScriptModule):
            # The interpreter calls the modules inside, which no hook sees.
            self.calls += [(_row_at(below), below) for below in self._order if place in _above(below)]

    def _place_now(self, places: Sequence[LayerInfo]) -> LayerInfo:
        """Return the place below the innermost module that runs; the first one of several."""
        if len(places) == 1:
            return places[0]
        running = {id(call.place): number for number, call in enumerate(self._running)}

        def innermost_above(place: LayerInfo) -> int:
            return next((running[id(above)] for above in _above(place) if id(above) in running), -1)

        return max(places, key=innermost_above)

    def _end(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        if not self._running or self._running[-1].row.module is not module:
            return
        call = self._running.pop()
        row, counted = call.row, self._counted() - call.before
        row.own_macs = counted - call.inside
        if self._running:
            self._running[-1].inside += counted
        if output is None and sys.exc_info()[1] is not call.handled:
            # The hook runs because the call raised an error.
            return
        row.input_size, _ = shape_of(args or [*kwargs.values()])
        row.output_size, _ = shape_of(output)
        row.output_bytes = bytes_in(output)
        row.executed = True

    def finished_rows(self) -> list[LayerInfo]:
        """Return the rows of the calls, with those of the modules above that were not called themselves."""
        rows: list[LayerInfo] = []
        # The place of the row above, by depth.
        shown: dict[int, LayerInfo] = {}
        # A class with a __call__ of its own runs no hooks.
        for row, place in self.calls or [(_row_at(self._order[0]), self._order[0])]:
            for above in reversed([*_above(place)]):
                if shown.get(above.depth) is not above:
                    rows.append(_row_at(above))
                    shown = {depth: other for depth, other in shown.items() if depth < above.depth}
                    shown[above.depth] = above
            rows.append(row)
            shown = {depth: other for depth, other in shown.items() if depth < place.depth}
            shown[place.depth] = place
        # What ran outside all calls, as in hooks that other code has put around the model's, is the model's.
        rows[0].own_macs = self._counted() - sum(row.own_macs for row in rows[1:])
        return complete(rows)


def complete(rows: list[LayerInfo]) -> list[LayerInfo]:
    """Fill in what depends on other rows, and the parameters as they are now; return the rows."""
    known: dict[int, LayerInfo] = {}
    numbers: dict[int, int] = {}
    for index, row in enumerate(rows):
        numbers[row.depth] = row.depth_index = numbers.get(row.depth, 0) + 1
        row.children = get_children_layers(rows, index)
        row.macs = row.own_macs + sum(below.own_macs for below in row.children)
        row.is_recursive = row.layer_id in known
        if row.is_recursive:
            row.copy_params(known[row.layer_id])
        else:
            row.calculate_num_params()
            known[row.layer_id] = row
    _list_parameters(rows)
    for row in reversed(rows):
        row.uses_parameters = (
            row.executed
            and bool(row.num_params)
            and (row.is_leaf_layer or row.macs > 0)
            and not any(below.uses_parameters for below in row.children)
        )
    return rows


def _list_parameters(rows: list[LayerInfo]) -> None:
    """Let each parameter be listed once, whichever depth is the last that is shown.

    Modules without modules list theirs, the first row of several; of other parameters, the deepest row.
    """
    first_rows = [row for row in rows if not row.is_recursive]
    owners: dict[int, LayerInfo] = {}
    for row in sorted(first_rows, key=lambda row: (not row.is_leaf_layer, 0 if row.is_leaf_layer else -row.depth)):
        for key in row.parameters:
            owners.setdefault(key, row)
    seen: set[tuple[int, int]] = set()
    for row in rows:
        row.listed = {key for key in row.parameters if owners[key] is row}
        at_depth = {(row.depth, key) for key in row.parameters if owners[key].depth >= row.depth}
        row.listed_if_last = {key for _, key in at_depth - seen}
        seen |= at_depth


def _above(place: LayerInfo) -> Iterator[LayerInfo]:
    """Yield the places above one, the nearest first."""
    above = place.parent_info
    while above is not None:
        yield above
        above = above.parent_info


def _row_at(place: LayerInfo) -> LayerInfo:
    return LayerInfo(place.var_name, place.module, place.depth, place.parent_info)
