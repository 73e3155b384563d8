"""The rows of a model: one for each call of a module, below the modules above it."""

from __future__ import annotations

import sys
import threading
import weakref
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch.jit import ScriptModule
from torch.nn.modules.module import register_module_forward_pre_hook

from opflops.compat.torchinfo.layer_info import LayerInfo, get_children_layers
from opflops.compat.torchinfo.own_parameters import has_own_parameters
from opflops.compat.torchinfo.values import bytes_in, shape_of, tensors_in
from opflops.torch_internals.modules import global_forward_hook

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

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
    """Hold a call that has not returned.

    Attributes:
        place: Where it is.
        row: Its row.
        index: How many rows of the thread are before that.
        before: The count before it.
        handled: The error that was handled then.
        inside: The count of calls inside.
        returned: The tensors whose bytes calls inside have counted, by identity.
    """

    place: LayerInfo
    row: LayerInfo
    index: int
    before: int
    handled: BaseException | None
    inside: int = 0
    returned: dict[int, weakref.ref[Any]] = field(default_factory=dict)

    def add_output(self, output: Any) -> None:
        """Count the bytes of the output, if the module has parameters of its own; each tensor once."""
        self.row.output_bytes = bytes_in(output)
        if has_own_parameters(self.row.module):
            new = [tensor for tensor in tensors_in(output) if not self._has_returned(tensor)]
            self.row.counted_output_bytes = bytes_in(new)
            self.returned.update({id(tensor): weakref.ref(tensor) for tensor in new})

    def _has_returned(self, tensor: Any) -> bool:
        known = self.returned.get(id(tensor))
        return known is not None and known() is tensor


class _Thread(threading.local):
    """Hold the calls that run in a thread, the outermost first, and the list that its rows go to."""

    def __init__(self) -> None:
        self.running: list[_RunningCall] = []
        self.calls: list[tuple[LayerInfo, LayerInfo]] = []


class CallRecorder:
    """Make a row of each call of a model's modules, with the multiply-accumulates that a mode counts meanwhile.

    Args:
        model: The model, on whose modules hooks are until the block ends.
        mode: The mode, which counts.
    """

    def __init__(self, model: nn.Module, mode: OpFlopMode) -> None:
        self._mode_here = mode.for_callbacks()
        self._places: dict[int, list[LayerInfo]] = {}
        self._model = model
        self._order: list[LayerInfo] = []
        self._add_places()
        # The modules with hooks of their own.
        self._hooked: set[int] = set()
        self._here = _Thread()
        # Of the thread that this is made in, where the model is called.
        self._main_running, self._main_calls = self._here.running, self._here.calls
        # What other threads called, each with the number of rows before it.
        self._of_threads: list[tuple[int, list[tuple[LayerInfo, LayerInfo]]]] = []
        self._hooks = ExitStack()

    @property
    def calls(self) -> list[tuple[LayerInfo, LayerInfo]]:
        """The rows of the calls so far, each with the place in the model that it was called at."""
        calls: list[tuple[LayerInfo, LayerInfo]] = []
        done = 0
        for position, others in sorted(self._of_threads, key=lambda each: each[0]):
            calls += [*self._main_calls[done:position], *others]
            done = position
        return calls + self._main_calls[done:]

    def __enter__(self) -> CallRecorder:  # noqa: PYI034 - typing.Self is not in Python 3.10
        modules = [places[0].module for places in self._places.values()]
        # Scripted modules refuse hooks of their own.
        self._hooked = {id(module) for module in modules if not isinstance(module, ScriptModule)}
        with ExitStack() as hooks:
            for module in modules:
                if id(module) in self._hooked:
                    # First and last, so that what other hooks compute is the module's.
                    hooks.enter_context(module.register_forward_pre_hook(self._begin_of(hooked=True), prepend=True))
                    hooks.enter_context(
                        module.register_forward_hook(self._end_of(hooked=True), with_kwargs=True, always_call=True)
                    )
            # For scripted modules, and those that the model makes when it is called.
            hooks.enter_context(register_module_forward_pre_hook(self._begin_of(hooked=False)))
            hooks.enter_context(global_forward_hook(self._end_of(hooked=False)))
            self._hooks = hooks.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._hooks.close()

    # The hooks are functions, which a copy of a module shares; a copy of a bound method would copy this object too.

    def _begin_of(self, *, hooked: bool) -> Callable[..., None]:
        """Return what begins the calls of modules with hooks of their own, or of others."""

        def begin(module: nn.Module, *_: Any) -> None:
            if (id(module) in self._hooked) is hooked:
                self._begin(module)

        return begin

    def _end_of(self, *, hooked: bool) -> Callable[..., None]:
        """Return what ends the calls of modules with hooks of their own, or of others."""

        def end(module: nn.Module, args: Any, *kwargs_and_output: Any) -> None:
            # After an error PyTorch calls global hooks without keyword arguments.
            *kwargs, output = kwargs_and_output
            if (id(module) in self._hooked) is hooked:
                self._end(module, args, kwargs[0] if kwargs else {}, output)

        return end

    def _add_places(self) -> None:
        """Add the places that the model has now and had not before."""
        # By module and name; the model has no name but that of its class, which may change.
        known = {
            (place.layer_id, id(above := place.parent_info), above and place.var_name): place for place in self._order
        }
        # As they are kept, by the identity of the place just made.
        kept: dict[int, LayerInfo] = {}
        made = places_of(self._model)
        for place in made:
            above = None if place.parent_info is None else kept[id(place.parent_info)]
            same = known.get((place.layer_id, id(above), above and place.var_name))
            kept[id(place)] = same or place
            if same is None:
                place.parent_info = above
                self._order.append(place)
                self._places.setdefault(place.layer_id, []).append(place)

    def _counted(self) -> int:
        """Return the multiply-accumulates that were counted in this thread."""
        mode = self._mode_here()
        return 0 if mode is None else sum([accumulator.macs for accumulator in mode.accumulators])

    def _begin(self, module: nn.Module) -> None:
        if id(module) not in self._places:
            # Modules that the model makes, such as copies, need not be modules of the model.
            if all(module is not each for each in self._model.modules()):
                return
            self._add_places()
        here = self._here
        place = self._place_now(self._places[id(module)])
        row = _row_at(place)
        if not here.running and here.running is not self._main_running:
            here.calls = []
            self._of_threads.append((self._position_now(place), here.calls))
        here.running.append(_RunningCall(place, row, len(here.calls), self._counted(), sys.exc_info()[1]))
        here.calls.append((row, place))
        if isinstance(module, ScriptModule):
            # The interpreter calls the modules inside, which no hook sees.
            here.calls += [(_row_at(below), below) for below in self._order if place in _above(below)]

    def _position_now(self, place: LayerInfo) -> int:
        """Return before which row a call of another thread comes: that of the first running call not above it."""
        above = [*_above(place)]
        beside = [call.index for call in [*self._main_running] if call.place not in above]
        return beside[0] if beside else len(self._main_calls)

    def _place_now(self, places: Sequence[LayerInfo]) -> LayerInfo:
        """Return the place below the innermost module that runs; the first one of several."""
        if len(places) == 1:
            return places[0]
        running = [*self._main_running] if self._here.running is not self._main_running else []
        running += self._here.running
        numbers = {id(call.place): number for number, call in enumerate(running)}

        def innermost_above(place: LayerInfo) -> int:
            return next((numbers[id(above)] for above in _above(place) if id(above) in numbers), -1)

        return max(places, key=innermost_above)

    def _end(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        running = self._here.running
        if not running or running[-1].row.module is not module:
            return
        call = running.pop()
        row, counted = call.row, self._counted() - call.before
        row.own_macs = counted - call.inside
        if running:
            running[-1].inside += counted
        if output is None and sys.exc_info()[1] is not call.handled:
            # The hook runs because the call raised an error.
            return
        row.input_size, _ = shape_of(args or [*kwargs.values()])
        row.output_size, _ = shape_of(output)
        call.add_output(output)
        if running:
            running[-1].returned.update({key: ref for key, ref in call.returned.items() if ref() is not None})
        row.executed = True

    def finished_rows(self, total: int) -> list[LayerInfo]:
        """Return the rows of the calls, with those of the modules above that were not called themselves.

        Args:
            total: The multiply-accumulates of the call of the model, in all threads.
        """
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
        rows[0].own_macs = total - sum(row.own_macs for row in rows[1:])
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
