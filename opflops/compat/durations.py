"""Time the calls of a model's modules while they are counted, without hooks or another change to the modules."""

from __future__ import annotations

import threading
from functools import cache, partial
from threading import get_ident
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch

from opflops.attribution.call_shapes import RAISED
from opflops.attribution.module_stack import ModuleStack
from opflops.compat.module_costs import first_device
from opflops.dispatch.timing import synchronized_time
from opflops.mode import OpFlopMode
from opflops.torch_internals.autograd import graph_task_id
from opflops.torch_internals.dispatch import modes_disabled
from opflops.torch_internals.mode_stack import DispatchMode

if TYPE_CHECKING:
    from collections.abc import Collection

    from torch import nn

    from opflops.attribution.root_modules import RootModules
    from opflops.dispatch.thread_modes import ThreadMode


class SelfTimingMode(OpFlopMode):
    """Count the operators of a model in all threads, and measure the time that counting takes itself.

    Args:
        model: The model that names the modules.
        durations: Where the times of its modules are kept.
    """

    module_stack: _TimedStack

    def __init__(self, model: nn.Module, durations: Durations) -> None:
        # In all threads, modes are told of each call of a module before anything else happens.
        self.module_stack_class = cast("type[ModuleStack]", partial(_TimedStack, durations))
        super().__init__(root=model, timing=True, threads=True)
        self._seconds_to_dispatch = seconds_to_dispatch() if durations.on_cpu else 0.0

    @property
    def own_seconds(self) -> float:
        """Return the seconds that counting took so far in the thread of the block."""
        return self.module_stack.own_seconds

    def end(self) -> None:
        """End the block, in whatever thread."""
        if self._block is not None and self._block.thread != get_ident() and self._block.thread_is_alive:
            # Only its own thread can take it off its stack, and will when it begins or ends another block.
            self._abandon()
        else:
            self.__exit__(None, None, None)

    def mode_for_this_thread(self) -> ThreadMode | None:
        """See :meth:`OpFlopMode.mode_for_this_thread`."""
        if self._block is not None and self._block.thread == get_ident():
            self.module_stack.call_began = perf_counter()
            return None
        return super().mode_for_this_thread()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        began = perf_counter()
        clock, stack = self.clock, self.module_stack
        # An operator that decomposes is dispatched to the mode again, as others.
        if stack.in_operator or clock is None:
            return super().__torch_dispatch__(func, types, args, kwargs)
        stack.in_operator = True
        before = clock.operator_seconds
        try:
            return super().__torch_dispatch__(func, types, args, kwargs)
        finally:
            stack.in_operator = False
            ran = clock.operator_seconds - before
            stack.operator_seconds += ran
            stack.own_seconds += perf_counter() - began - ran + self._seconds_to_dispatch


class _Call(NamedTuple):
    """Hold a call of a module: its depth in the stack, when it began, and what operators had taken until then."""

    depth: int
    module: nn.Module
    began: float
    operator_seconds: float


class _TimedStack(ModuleStack):
    """Track the modules that run in a thread, and time them.

    Args:
        durations: Where the times are kept.
        roots: As for :class:`ModuleStack`.

    Attributes:
        own_seconds: The seconds that counting took in the thread so far, where that is measured.
        operator_seconds: Those that operators took.
        in_operator: Whether an operator runs, whose whole time is measured.
        call_began: When the wrapper of ``Module.__call__`` began; 0 if it is not known.
    """

    def __init__(self, durations: Durations, roots: RootModules | None = None) -> None:
        super().__init__(roots)
        self._durations = durations
        self._running: list[_Call] = []
        self.own_seconds = self.operator_seconds = self.call_began = 0.0
        self.in_operator = False

    def enter(
        self, module: nn.Module, args: tuple[Any, ...] | None = None, kwargs: dict[str, Any] | None = None
    ) -> int:
        """See :meth:`ModuleStack.enter`."""
        began, self.call_began = self.call_began or perf_counter(), 0.0
        depth = super().enter(module, args, kwargs)
        is_timed = graph_task_id() < 0 and self._durations.is_timed(module)
        if is_timed:
            # As if nothing had happened since the wrapper began; on an accelerator, once that has ended its work.
            start = began - self.own_seconds if self._durations.on_cpu else synchronized_time()
            self._running.append(_Call(depth, module, start, self.operator_seconds))
        if not self.in_operator:
            self.own_seconds += perf_counter() - began
        return depth

    def leave(self, depth: int, result: Any = RAISED) -> None:
        """See :meth:`ModuleStack.leave`."""
        began = perf_counter()
        ended = began - self.own_seconds if self._durations.on_cpu else synchronized_time()
        # Calls that are left out of order end with the one below them.
        while self._running and self._running[-1].depth >= depth:
            call = self._running.pop()
            # A module that calls itself runs once.
            if not any(each.module is call.module for each in self._running):
                # What PyTorch takes to hand an operator over is not always the same.
                seconds = max(ended - call.began, self.operator_seconds - call.operator_seconds)
                self._durations.add(call.module, seconds)
        super().leave(depth, result)
        if not self.in_operator:
            self.own_seconds += perf_counter() - began


class _BareMode(DispatchMode):
    """Run operators as they are."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return func(*args, **(kwargs or {}))


@cache
def seconds_to_dispatch() -> float:
    """Return how many seconds an operator takes longer if PyTorch hands it to a mode that only runs it.

    Measured once, on the CPU, by a few hundred tiny operators, which no mode that counts sees.
    """
    calls, repeats = 20, 8
    with modes_disabled(), torch.no_grad():
        x = torch.ones(1, 1, device="cpu")
        weight = torch.nn.Parameter(x.clone())

        def run() -> float:
            began = perf_counter()
            for _ in range(calls):
                torch.addmm(x, x, weight)
            return perf_counter() - began

        plain = min(run() for _ in range(repeats))
        with _BareMode():  # type: ignore[no-untyped-call]
            dispatched = min(run() for _ in range(repeats))
    return max(dispatched - plain, 0.0) / calls


class Durations:
    """Hold the seconds of the forwards of a model's modules, until the accelerator has done its work.

    On the CPU, what counting itself takes is left out, and for each operator what PyTorch takes to hand it to a mode.
    What remains is longer than without a mode nevertheless, and several times as long for tiny operators: they find
    the processor's caches full of the mode, are called from Python, and modules by more functions. In threads other
    than the one that starts it, and on an accelerator, which works meanwhile, nothing is left out. Calls inside a
    backward pass, as of checkpointing, are not timed.

    Args:
        model: The model.
        ignored: The classes of modules that are not timed.

    Attributes:
        on_cpu: Whether the model is on the CPU.
    """

    def __init__(self, model: nn.Module, ignored: Collection[type] = ()) -> None:
        self._model, self._ignored = model, ignored
        self.on_cpu = first_device(model).type == "cpu"
        self._seconds: dict[int, float] = {}
        self._timed: set[int] = set()
        self._lock = threading.Lock()

    def is_timed(self, module: nn.Module) -> bool:
        """Tell whether a module is one of the model's, and not ignored."""
        if id(module) not in self._timed:
            # Modules may be added while the model runs.
            self._timed = {id(each) for each in self._model.modules() if type(each) not in self._ignored}
        return id(module) in self._timed

    def add(self, module: nn.Module, seconds: float) -> None:
        """Add the time of a call, in whatever thread."""
        with self._lock:
            self._seconds[id(module)] = self._seconds.get(id(module), 0.0) + seconds

    def of(self, module: nn.Module) -> float:
        """Return the seconds of all calls of a module; of one that was not called, those of the modules inside."""
        return self._seconds.get(id(module)) or sum(map(self.of, module.children()), 0.0)

    def for_copy(self, copy: nn.Module) -> Durations:
        """Return the times of a copy of the model, which are those of the model so far."""
        durations = Durations(copy, self._ignored)
        for module, other in zip(self._model.modules(), copy.modules(), strict=True):
            if id(module) in self._seconds:
                durations.add(other, self._seconds[id(module)])
        return durations
