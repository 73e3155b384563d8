"""Count what steps do, each kind once.

A step is a sequence of events: it begins, models are called, optimizers step. There are two ways to know what one costs
without counting it:

- If its inputs are given, steps with equal inputs and equal events cost the same. The first is counted, as a whole.
- If not, its parts are what it does from one event to the next. What a part costs follows from the events before it, so
  the first step in which an event follows others is counted from that event on.
"""

from __future__ import annotations

from threading import get_ident
from typing import TYPE_CHECKING, Any, NamedTuple

from opflops.attribution.module_context import OPTIMIZER
from opflops.mode import OpFlopMode

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from opflops.profile.profile import Profile

# How often a step is counted from its beginning for a part that does not come again.
_MAX_ATTEMPTS = 8


class Work(NamedTuple):
    """Hold what a part of a step costs.

    Attributes:
        flops: Its floating-point operations.
        model_seconds: The time of its model FLOPs at the peak of the device.
        hardware_seconds: The same with what was recomputed.
        backward: The FLOPs of its backward passes.
        optimizer: The FLOPs of its optimizers.
    """

    flops: int = 0
    model_seconds: float = 0.0
    hardware_seconds: float = 0.0
    backward: int = 0
    optimizer: int = 0

    def since(self, before: Work) -> Work:
        """Return the difference."""
        return Work(
            self.flops - before.flops,
            self.model_seconds - before.model_seconds,
            self.hardware_seconds - before.hardware_seconds,
            self.backward - before.backward,
            self.optimizer - before.optimizer,
        )

    @classmethod
    def sum(cls, works: Iterable[Work]) -> Work:
        """Return the sum of costs."""
        return cls(*map(sum, zip(NOTHING, *works, strict=True)))


NOTHING = Work()


class _Part:
    """Hold the cost of a part of a step, None until it was counted, and the parts that can follow.

    Attributes:
        work: The cost.
        settled: Whether nothing is left of it that a later backward pass would go through, so that what follows does
            not depend on it.
        following: The parts that can follow, by their event.
        recount: For the first part of a step, how often it is yet to be counted from the beginning.
    """

    __slots__ = ("following", "recount", "settled", "work")

    def __init__(self) -> None:
        self.work: Work | None = None
        self.settled = False
        self.following: dict[Hashable, _Part] = {}
        self.recount: dict[_Part, int] = {}


class _Kind:
    """Hold the costs of steps with equal inputs.

    Attributes:
        works: The costs, by the events of the step.
        wanted: The events of steps whose cost is not known, and how often the next steps are yet to be counted for it.
    """

    __slots__ = ("wanted", "works")

    def __init__(self) -> None:
        self.works: dict[tuple[Hashable, ...], Work] = {}
        self.wanted: dict[tuple[Hashable, ...], int] = {}

    def is_to_be_counted(self) -> bool:
        """Tell whether the step that begins is to be counted."""
        if self.wanted:
            self.wanted = {key: left - 1 for key, left in self.wanted.items() if key not in self.works and left}
        return bool(self.wanted) or not self.works


# The counters whose step is running. Hooks ask for them.
running: list[StepCounter] = []


class StepCounter:
    """Count steps: :meth:`begin`, :meth:`event` as often as needed, and :meth:`end`, or :meth:`abort` after an error.

    Attributes:
        counting: Whether the mode counts now.
        profile: What was counted in the last step that was.
        counted_steps: How many steps were counted, as a whole or in part.
        follows_calls: Whether calls of models are events of the step that is running; not if its inputs are known.

    Args:
        measure: Computes the cost of a profile.
    """

    def __init__(self, measure: Callable[[Profile], Work]) -> None:
        self._measure = measure
        self.profile: Profile | None = None
        self.counted_steps = 0
        self.follows_calls = False
        self._roots: dict[Hashable, _Part] = {}
        self._kinds: dict[Hashable, _Kind] = {}
        self._kind: _Kind | None = None
        self._events: list[Hashable] = []
        # Whether parts may stand on their own after a backward pass; not if that has proved wrong.
        self._may_settle = True
        self._mode: OpFlopMode | None = None
        self._thread = 0
        self._depth: int | None = None
        # Whether gradients are there to which a backward pass adds its own; an optimizer's step ends that.
        self._accumulates = False
        self._begin_step(_Part(), settles=False)

    def _begin_step(self, root: _Part, *, settles: bool) -> None:
        self._root, self._settles = root, settles
        self._parts: list[_Part] = []
        self._began_afresh = True
        self._before = NOTHING
        self._unknown = False

    @property
    def counting(self) -> bool:
        """Tell whether the mode counts now."""
        return self._mode is not None

    def begin(self, state: Hashable, inputs: Hashable = None) -> None:
        """Begin a step.

        Args:
            state: What of the model decides how much work it is. Costs are kept for each.
            inputs: What of the inputs does; None if only the calls of models tell.
        """
        self._thread, self.follows_calls = get_ident(), inputs is None
        running.append(self)
        if inputs is None:
            self._kind = None
            self._begin_parts(state)
        else:
            key = (state, inputs, self._accumulates)
            self._kind = self._kinds.setdefault(key, _Kind())
            self._events = []
            if self._kind.is_to_be_counted():
                self._start()

    def _begin_parts(self, state: Hashable) -> None:
        root = self._roots.setdefault(state, _Part())
        self._begin_step(root, settles=self._may_settle)
        first = root.following.get((None, self._accumulates))
        if first is not None and first.recount and self._needs_recount(first):
            self._start()
        self.event(None)

    def _needs_recount(self, first: _Part) -> bool:
        left = {part: times - 1 for part, times in first.recount.items() if part.work is None and times}
        first.recount = left
        return bool(left)

    def event(self, event: Hashable, *, phase: str = "", can_start: bool = True) -> None:
        """Note an event of the step that is running; if it is new here, count from here on.

        Args:
            event: What decides, with the events before, how much work follows.
            phase: The phase in which the program is, if it is the optimizer's.
            can_start: Whether counting can begin here. If not, the next such step is counted from its beginning.
        """
        if self._kind is not None:
            self._events.append(event)
            return
        last = self._parts[-1] if self._parts else None
        if last is not None:
            self._finish(last)
        self._began_afresh = last is None or last.settled
        following = self._root.following if last is None or last.settled else last.following
        key = (event, self._accumulates)
        part = following.get(key)
        if part is None:
            part = following[key] = _Part()
        self._parts.append(part)
        if part.work is None and self._mode is None:
            if can_start:
                self._start(phase)
            else:
                self._unknown = True
                self._parts[0].recount.setdefault(part, _MAX_ATTEMPTS)

    def is_running_here(self) -> bool:
        """Tell whether a step is running in this thread."""
        return self._thread == get_ident()

    def _start(self, phase: str = "") -> None:
        self._before = NOTHING
        self.counted_steps += 1
        # Kept first, so that it is left if an interruption comes while it is entered.
        self._mode = OpFlopMode()
        self._mode.__enter__()
        if phase == OPTIMIZER:
            self._depth = self._mode.module_stack.enter_phase(phase)

    def leave_phase(self) -> None:
        """End the phase that an event began."""
        if self._mode is not None and self._depth is not None:
            self._mode.module_stack.leave(self._depth)
        self._depth = None

    def _finish(self, part: _Part) -> None:
        """End a part."""
        if self._mode is not None:
            self._note_cost(part, self._mode)
        if part.work is not None:
            self._note_gradients(part.work)

    def _note_gradients(self, work: Work) -> None:
        if work.backward or work.optimizer:
            self._accumulates = not work.optimizer

    def _note_cost(self, part: _Part, mode: OpFlopMode) -> None:
        self.profile = mode.profile
        total = self._measure(self.profile)
        work, self._before = total.since(self._before), total
        if part.work is not None and part.work.flops != work.flops and self._settles:
            # A part that seemed to stand on its own does not. From now on all that came before in the step decides.
            self._may_settle = self._settles = False
            self._roots.clear()
        part.work = work
        if self._settles:
            ended = work.backward or (work.optimizer and self._began_afresh)
            part.settled = bool(ended) or len(self._parts) == 1

    def end(self) -> Work | None:
        """End the step, and return its cost; None if it was counted, which takes longer, or its cost is not known."""
        work = self._work_of_parts() if self._kind is None else self._work_of_kind(self._kind)
        counted = self._mode is not None
        self.abort()
        return None if counted else work

    def _work_of_kind(self, kind: _Kind) -> Work | None:
        """Return the cost of a step with given inputs, after noting it if it was counted."""
        events = tuple(self._events)
        if self._mode is not None:
            self.profile = self._mode.profile
            kind.works[events] = self._measure(self.profile)
        work = kind.works.get(events)
        if work is None:
            kind.wanted.setdefault(events, _MAX_ATTEMPTS)
        else:
            self._note_gradients(work)
        return work

    def _work_of_parts(self) -> Work | None:
        self._finish(self._parts[-1])
        works = [part.work for part in self._parts if part.work is not None]
        return Work.sum(works) if len(works) == len(self._parts) and not self._unknown else None

    def abort(self, *exception: Any) -> None:
        """End the step without its cost, if it is running."""
        mode, self._mode, self._thread, self._depth = self._mode, None, 0, None
        if self in running:
            running.remove(self)
        if mode is not None and mode.active:
            mode.__exit__(*(exception or (None, None, None)))
