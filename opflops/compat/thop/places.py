"""Split what modules count as by the places that hold them, of which a shared module has several."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opflops.compat.module_names import CallChains
from opflops.mode import OpFlopMode
from opflops.records.rows import ancestry, merge
from opflops.torch_internals.modules import class_name, named_paths, wrapped_attribute

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping, Sequence
    from typing import Any

    from torch import nn

    from opflops.attribution.module_context import ModuleContext
    from opflops.profile.profile import Profile
    from opflops.records.rows import Row

    Place = tuple[str, ...]
    """The names of a module and those above it, below the model; () for the model itself."""


class PlacedCall:
    """Call a model, and count it with the modules that other threads call.

    Args:
        model: The model.
        args: Its arguments.

    Attributes:
        rows: What was counted.
        remarks: What was not, in sentences.
        root: The path of the model in the rows.
    """

    def __init__(self, model: nn.Module, args: Sequence[Any]) -> None:
        # The class of a model may change in its first call.
        self.root = class_name(model)
        mode = OpFlopModeOfCalls(root=model, threads=True)
        with mode:
            model(*args)
        profile: Profile = mode.profile
        # Calls that differ in a caller of a caller have the same row.
        self.rows: tuple[Row, ...] = tuple(merge(profile.rows))
        self.remarks = profile.remarks
        self._model = model
        self._mode = mode

    def paths(self) -> dict[int, str]:
        """Return the paths of modules, by identity."""
        return {identity: path for identity, (_, path) in named_paths(self._model, self.root).items()}

    def figures(self, own: Mapping[str, float], stated: Container[str]) -> dict[Place, float]:
        """Return what the module at each place counts as, with those below it.

        What hooks stated, and what other threads did, is at the first place of the module; all else is where the
        module was called from.

        Args:
            own: What each module itself counts as, by path.
            stated: The paths of modules with a hook.
        """
        places = _Places(self._model, self.paths(), self.root, self._mode)
        rest = dict(own)
        found: dict[Place, float] = {}
        for path, place, macs in places.work():
            if path in own and path not in stated:
                rest[path] -= macs
                _add(found, place, macs)
        for path, figure in rest.items():
            _add(found, places.first(path), figure)
        return found


class OpFlopModeOfCalls(OpFlopMode):
    """Keep the work of a module apart by all of its callers."""

    module_stack_class = CallChains


class _Places:
    """Find the places of the modules that ran."""

    def __init__(self, model: nn.Module, paths: Mapping[int, str], root: str, mode: OpFlopModeOfCalls) -> None:
        self._mode, self._root = mode, root
        self._at: dict[str, list[Place]] = {}
        self._known: dict[ModuleContext, Place] = {}
        waiting: list[tuple[nn.Module, Place]] = [(model, ())]
        while waiting:
            module, place = waiting.pop()
            # A wrapper has the path of the module inside, which does the work.
            if not wrapped_attribute(module):
                self._at.setdefault(paths[id(module)], []).append(place)
            waiting += [(child, (*place, name)) for name, child in reversed([*module.named_children()])]

    def work(self) -> Iterator[tuple[str, Place, int]]:
        """Yield the multiply-accumulates of the model's thread, each with a module's path and a place of it."""
        for accumulator in self._mode.accumulators:
            context = accumulator.context
            yield self._path(context), self._place(context), accumulator.cost().macs

    def first(self, path: str) -> Place:
        """Return the first place of a module, or of the one above that the model registers."""
        return next((self._at[above][0] for above in reversed(ancestry(path)) if above in self._at), ())

    def _path(self, context: ModuleContext) -> str:
        return self._mode.module_stack.roots.resolve(context.path)

    def _place(self, context: ModuleContext) -> Place:
        """Return the place of a call: of several, the one nearest to the caller's."""
        place = self._known.get(context)
        if place is None:
            candidates = self._at.get(self._path(context), [])
            if len(candidates) == 1 or context.caller is None:
                place = self.first(self._path(context))
            else:
                caller = self._place(context.caller)
                place = max(candidates, key=lambda each: (_common(each, caller), -len(each))) if candidates else caller
            self._known[context] = place
        return place


def _common(first: Place, second: Place) -> int:
    """Count the names that two places begin with."""
    same = [one == other for one, other in zip(first, second, strict=False)]
    return same.index(False) if False in same else len(same)


def _add(found: dict[Place, float], place: Place, amount: float) -> None:
    for length in range(len(place) + 1):
        found[place[:length]] = found.get(place[:length], 0) + amount
