"""Time the calls of a model's modules while they are counted, without a change to the modules."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from opflops.compat.module_costs import first_device
from opflops.dispatch.timing import synchronized_time
from opflops.mode import OpFlopMode
from opflops.torch_internals.autograd import graph_task_id
from opflops.torch_internals.modules import COMPILED_ATTRIBUTE, wrapped_attribute

if TYPE_CHECKING:
    from collections.abc import Collection

    from torch import nn
    from torch.utils.hooks import RemovableHandle


class SelfTimingMode(OpFlopMode):
    """Count the operators of a model, and measure the time that counting takes itself.

    Args:
        model: The model that names the modules.

    Attributes:
        own_seconds: The seconds from the dispatch of operators to their end, without those that they ran for.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__(root=model, timing=True)
        self.own_seconds = 0.0
        self._in_operator = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        clock = self.clock
        # An operator that decomposes is dispatched to the mode again, as others.
        if self._in_operator or clock is None:
            return super().__torch_dispatch__(func, types, args, kwargs)
        self._in_operator = True
        began, before = perf_counter(), clock.operator_seconds
        try:
            return super().__torch_dispatch__(func, types, args, kwargs)
        finally:
            self._in_operator = False
            self.own_seconds += perf_counter() - began - (clock.operator_seconds - before)


class Durations:
    """Time each forward of the modules of a model, from before it until the accelerator has done its work.

    On the CPU the time that counting takes is left out. An accelerator works meanwhile, so that it is not there. Calls
    inside a backward pass, as of checkpointing, are not timed. The hooks are PyTorch's global ones: hooks of a module
    would turn off the fused forward of a ``TransformerEncoderLayer``. Wrappers of ``torch.compile`` warn of global
    hooks, so that a model with one has hooks of its modules, until the end.

    Args:
        model: The model.
        ignored: The classes of modules that are not timed.
    """

    def __init__(self, model: nn.Module, ignored: Collection[type] = ()) -> None:
        self._model, self._ignored = model, ignored
        self._mode: SelfTimingMode | None = None
        self._on_cpu = True
        self._seconds: dict[int, float] = {}
        # The modules that run, and when they began.
        self._running: list[tuple[nn.Module, float]] = []
        self._timed: set[int] = set()
        self._handles: list[RemovableHandle] = []

    def start(self, mode: SelfTimingMode) -> None:
        """Begin to time, while a mode counts."""
        self._mode, self._on_cpu = mode, first_device(self._model).type == "cpu"
        # Also after an error, so that the next call finds nothing that runs.
        if any(wrapped_attribute(each) == COMPILED_ATTRIBUTE for each in self._model.modules()):
            for each in self._model.modules():
                self._handles.append(each.register_forward_pre_hook(self._begin))
                self._handles.append(each.register_forward_hook(self._end, always_call=True))
        else:
            self._handles.append(register_module_forward_pre_hook(self._begin))
            self._handles.append(register_module_forward_hook(self._end, always_call=True))

    def stop(self) -> None:
        """Stop; the times stay."""
        for handle in self._handles:
            handle.remove()
        self._handles, self._running, self._mode = [], [], None

    def _now(self) -> float:
        if self._on_cpu and self._mode is not None:
            return perf_counter() - self._mode.own_seconds
        return synchronized_time()

    def _is_timed(self, module: nn.Module) -> bool:
        if id(module) not in self._timed:
            # Modules may be added while the model runs.
            self._timed = {id(each) for each in self._model.modules() if type(each) not in self._ignored}
        return id(module) in self._timed

    def _begin(self, module: nn.Module, _args: Any) -> None:
        if graph_task_id() < 0 and self._is_timed(module):
            self._running.append((module, self._now()))

    def _end(self, module: nn.Module, _args: Any, _output: Any) -> None:
        if self._running and self._running[-1][0] is module:
            _, began = self._running.pop()
            # A module that calls itself runs once.
            if not any(each is module for each, _ in self._running):
                self._seconds[id(module)] = self._seconds.get(id(module), 0.0) + self._now() - began

    def of(self, module: nn.Module) -> float:
        """Return the seconds of all calls of a module; of one that was not called, those of the modules inside."""
        return self._seconds.get(id(module)) or sum(map(self.of, module.children()), 0.0)
