"""Count what steps do, each kind once.

A step is a sequence of events: it begins, models are called, optimizers step. There are two ways to know what one costs
without counting it:

- If its inputs are given, steps with equal inputs and equal events cost the same. The first is counted, as a whole.
- If not, its parts are what it does from one event to the next. What a part costs follows from the events before it, so
  the first step in which an event follows others is counted from that event on. It also follows from the event that
  ends it: gradients are clipped if the optimizer steps. When a known part ends in another way, the next such step is
  counted from its beginning.
"""

from __future__ import annotations

from threading import get_ident
from typing import TYPE_CHECKING, Any

from opflops.attribution.module_context import OPTIMIZER
from opflops.integrations.step_costs import NOTHING, Endings, Kind, Known, Part, Work
from opflops.mode import OpFlopMode

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from opflops.profile.profile import Profile

# What ends the last part of a step, in place of an event.
_END = "end"


# The counters whose step is running. Hooks ask for them.
running: list[StepCounter] = []


class StepCounter:
    """Count steps: :meth:`begin`, :meth:`event` as often as needed, and :meth:`end`, or :meth:`abort` after an error.

    Attributes:
        counting: Whether the mode counts now.
        profile: What was counted in the last step that was.
        counted_steps: How many steps were counted, as a whole or in part.
        steps: How many steps began.
        follows_calls: Whether calls of models are events of the step that is running; not if its inputs are known.

    Args:
        measure: Computes the cost of a profile.
    """

    def __init__(self, measure: Callable[[Profile], Work]) -> None:
        self._measure = measure
        self.profile: Profile | None = None
        self.counted_steps = 0
        self.follows_calls = False
        self._roots: dict[Hashable, Part] = {}
        self._kinds: dict[Hashable, Kind] = {}
        self.steps = 0
        self._endings = Endings()
        self._kind: Kind | None = None
        self._events: list[Hashable] = []
        # Whether parts may stand on their own after a backward pass; not if that has proved wrong.
        self._may_settle = True
        self._mode: OpFlopMode | None = None
        self._thread = 0
        self._depth: int | None = None
        # Whether gradients are there to which a backward pass adds its own; an optimizer's step ends that.
        self._accumulates = False
        # How many steps there were since the last of an optimizer. Where gradients accumulate, this tells steps apart.
        self._position = 0
        self._begin_step(Part(), settles=False)

    def _begin_step(self, root: Part, *, settles: bool) -> None:
        self._root, self._settles = root, settles
        self._parts: list[Part] = []
        self._works: list[Work | None] = []
        self._settled_before = True
        self._began_afresh = True
        self._before = NOTHING

    @property
    def counting(self) -> bool:
        """Tell whether the mode counts now."""
        return self._mode is not None

    def begin(self, state: Hashable, inputs: Hashable = None) -> None:
        """Begin a step.

        Args:
            state: What of the model decides how much work it is. Costs are kept for each. None if its calls tell.
            inputs: What of the inputs does; None if only the calls of models tell.
        """
        self._thread, self.follows_calls = get_ident(), inputs is None
        self.steps += 1
        self._optimized = False
        running.append(self)
        if inputs is None:
            self._kind = None
            self._begin_parts(state)
        else:
            key = (state, inputs, self._accumulates)
            self._kind = self._kinds.setdefault(key, Kind())
            self._events = []
            if self._kind.is_to_be_counted(self._position):
                self._start()

    def _begin_parts(self, state: Hashable) -> None:
        root = self._roots.setdefault(state, Part())
        self._begin_step(root, settles=self._may_settle)
        first = root.following.get((None, self._accumulates))
        if first is not None and first.recounts.are_due(self._position, self._is_known):
            self._start()
        self.event(None)

    def _is_known(self, ended_part: tuple[Part, Hashable]) -> bool:
        return self._endings.find(*ended_part) is not None

    def event(
        self, event: tuple[Hashable, ...] | None, *, phase: str = "", can_start: bool = True, state: Hashable = None
    ) -> None:
        """Note an event of the step that is running; if it is new here, count from here on.

        Args:
            event: What decides, with the events before, how much work follows. Its first two items say what happens,
                which ends what was before; the others, such as shapes, decide about what follows alone.
            state: What of the model decides how much work it is, if the event is its call.
            phase: The phase in which the program is, if it is the optimizer's.
            can_start: Whether counting can begin here. If not, the next such step is counted from its beginning.
        """
        self._optimized = self._optimized or phase == OPTIMIZER
        if self._kind is not None:
            self._events.append(event)
            return
        if self._parts and event is not None:
            self._finish(event[:2])
        if state is not None:
            self._root = self._roots.setdefault(state, Part())
        self._began_afresh = self._settled_before
        following = self._root.following if self._settled_before else self._parts[-1].following
        key = (event, self._accumulates)
        part = following.get(key)
        if part is None:
            part = following[key] = Part(event and event[:2])
        self._parts.append(part)
        if not part.costs and self._mode is None and can_start:
            self._start(phase)

    def is_running(self) -> bool:
        """Tell whether a step is running, in whatever thread."""
        return self._thread != 0

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

    def _finish(self, ending: Hashable) -> None:
        """End the part that is running."""
        part = self._parts[-1]
        if self._mode is not None:
            self._note_cost(part, ending, self._mode)
        known = part.costs[ending] if ending in part.costs else self._endings.find(part, ending)
        if known is None:
            self._parts[0].recounts.add((part, ending), self._position)
        else:
            self._note_gradients(known.work)
        self._works.append(None if known is None else known.work)
        self._settled_before = known is not None and known.settled

    def _note_gradients(self, work: Work) -> None:
        if work.backward or work.optimizer:
            self._accumulates = not work.optimizer

    def _note_cost(self, part: Part, ending: Hashable, mode: OpFlopMode) -> None:
        self.profile = mode.profile
        total = self._measure(self.profile)
        work, self._before = total.since(self._before), total
        before = part.costs.get(ending)
        if before is not None and before.work.flops != work.flops and self._settles:
            # A part that seemed to stand on its own does not. From now on all that came before in the step decides.
            self._may_settle = self._settles = False
            self._roots.clear()
        ended = work.backward or (work.optimizer and self._began_afresh)
        settled = self._settles and (bool(ended) or len(self._parts) == 1)
        self._endings.note(part, ending, Known(work, settled))

    def end(self) -> Work | None:
        """End the step, and return its cost; None if it was counted, which takes longer, or its cost is not known."""
        work = self._work_of_parts() if self._kind is None else self._work_of_kind(self._kind)
        counted = self._mode is not None
        self.abort()
        return None if counted else work

    def _work_of_kind(self, kind: Kind) -> Work | None:
        """Return the cost of a step with given inputs, after noting it if it was counted."""
        events = tuple(self._events)
        if self._mode is not None:
            self.profile = self._mode.profile
            kind.works[events] = self._measure(self.profile)
        work = kind.works.get(events)
        if work is None:
            kind.recounts.add(events, self._position)
        else:
            self._note_gradients(work)
        return work

    def _work_of_parts(self) -> Work | None:
        self._finish(_END)
        works = [work for work in self._works if work is not None]
        return Work.sum(works) if len(works) == len(self._works) else None

    def abort(self, *exception: Any) -> None:
        """End the step without its cost, if it is running."""
        mode, self._mode, self._thread, self._depth = self._mode, None, 0, None
        if self in running:
            running.remove(self)
            self._position = 0 if self._optimized else self._position + 1
        if mode is not None and mode.active:
            mode.__exit__(*(exception or (None, None, None)))
