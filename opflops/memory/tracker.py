"""The tracker of live memory: it sees the tensors of each operator, and of models, backward passes and optimizers."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from torch import Tensor

from opflops.attribution.callers import is_user_file
from opflops.attribution.module_context import FORWARD
from opflops.memory.storages import (
    ACTIVATION,
    BEFORE,
    BUFFER,
    GRADIENT,
    INPUT,
    OPTIMIZER,
    PARAMETER,
    StorageRecord,
    Storages,
)
from opflops.records.memory import ALLOCATORS
from opflops.torch_internals.autograd import graph_task_id
from opflops.torch_internals.dispatch import OpOverload, schema_of
from opflops.torch_internals.storages import all_tensors, component_tensors, storage_bytes, storage_of
from opflops.torch_internals.tracing import is_being_traced

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import CodeType, FrameType

    from torch import nn

    from opflops.attribution.module_stack import ModuleStack
    from opflops.attribution.root_modules import RootModules

_MODE_METHODS = frozenset({"__torch_dispatch__", "__torch_function__"})


class MemoryTracker:
    """Track which storages are alive while a block runs, for the modes of all of its threads.

    Args:
        allocator: ``"cuda"`` to round sizes as PyTorch's allocator for CUDA does; "" not to.

    Attributes:
        storages: The storages that are alive.
        operators: How many operators have run.
        opaque: Whether a tensor was met whose memory cannot be seen.
    """

    def __init__(self, allocator: str = "") -> None:
        self.allocator = allocator
        self.storages = Storages(ALLOCATORS.get(allocator, 1))
        self.operators = 0
        self.opaque = False
        self._records = self.storages.records
        self._mutates: dict[Any, bool] = {}
        self._is_user_code: dict[CodeType, bool] = {}

    def begin(self, roots: RootModules) -> None:
        """Note all storages that exist, before the block begins."""
        for tensor in all_tensors():
            self._note(tensor, BEFORE)
        for root in roots.roots():
            self.classify_module(root)
        roots.on_new_root = self.classify_module

    def end(self, roots: RootModules) -> None:
        """See what models and their gradients have become, at the end of the block."""
        roots.on_new_root = None
        for root in roots.roots():
            self.classify_module(root)

    def after(self, stack: ModuleStack, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any] | None, out: Any) -> None:
        """See the tensors that an operator was given and that it returned."""
        if out is NotImplemented or is_being_traced():
            return
        number = self.operators
        self.operators = number + 1
        records = self._records
        mutates = self._mutates.get(func)
        if mutates is None:
            mutates = self._mutates[func] = not isinstance(func, OpOverload) or schema_of(func).is_mutable
        for arg in args:
            if isinstance(arg, Tensor):
                self._see(arg, number, mutates)
            elif type(arg) is list or type(arg) is tuple:
                self._see_all(arg, number, mutates)
        if kwargs:
            self._see_all(kwargs.values(), number, mutates)
        if isinstance(out, Tensor):
            self._see(out, number, mutates)
        elif out is not None:
            self._see_all((out,), number, mutates)
        task = graph_task_id()
        context, phase = stack.current if task < 0 else stack.attribute_backward(task)
        moment = context, phase, func
        where = context, phase
        for device in [*self.storages.devices.values()]:
            live = device.live
            peaks = device.peaks
            if live > peaks.get(where, -(2**63)):
                peaks[where] = live
            device.timeline.add(number, live, moment)
            if live > device.highest:
                device.highest = live
                device.source = self._source()

    def _see_all(self, values: Iterable[Any], number: int, mutates: bool) -> None:
        for value in values:
            if isinstance(value, Tensor):
                self._see(value, number, mutates)
            elif isinstance(value, (list, tuple)):
                self._see_all(value, number, mutates)
            elif isinstance(value, dict):
                self._see_all(value.values(), number, mutates)

    def _see(self, tensor: Tensor, number: int, resized: bool = False) -> None:
        """Count a tensor's storage, from this operator on if it is not known yet."""
        storage = storage_of(tensor)
        if storage is None:
            self._see_all(self._components(tensor), number, resized)
            return
        record = self._records.get(id(storage))
        if record is not None:
            if record.device is None:
                self.storages.count(record, tensor.device)
            if resized and (size := storage_bytes(storage)) != record.size:
                self.storages.resize(record, storage, size, number)
            return
        size = storage_bytes(storage)
        if size:
            self.storages.count(self.storages.add(storage, size, number), tensor.device)

    def _note(self, tensor: Tensor, born: int) -> None:
        """Note a tensor's storage, which counts once it is used."""
        storage = storage_of(tensor)
        if storage is None:
            for each in self._components(tensor):
                self._note(each, born)
        elif id(storage) not in self._records and (size := storage_bytes(storage)):
            self.storages.add(storage, size, born)

    def _components(self, tensor: Tensor) -> list[Tensor]:
        found = component_tensors(tensor)
        if found is None:
            self.opaque = True
        return found or []

    def classify(self, tensor: Tensor, category: int) -> None:
        """Count a tensor's storage in a category, unless it is in one that comes first."""
        for record in self._records_of(tensor):
            record.category = min(record.category, category)

    def _records_of(self, tensor: Tensor) -> list[StorageRecord]:
        """Return the records of a tensor's storages, which count from now on."""
        storage = storage_of(tensor)
        if storage is None:
            return [record for each in self._components(tensor) for record in self._records_of(each)]
        self._see(tensor, self.operators)
        record = self._records.get(id(storage))
        return [] if record is None else [record]

    def classify_module(self, module: nn.Module) -> None:
        """Count the parameters, gradients and buffers of a model."""
        for parameter in module.parameters():
            self.classify(parameter, PARAMETER)
            if parameter.grad is not None:
                self.classify(parameter.grad, GRADIENT)
        for buffer in module.buffers():
            self.classify(buffer, BUFFER)

    def _source(self) -> tuple[CodeType, int] | None:
        """Return the code of the user that runs, and the instruction there."""
        known = self._is_user_code
        frame: FrameType | None = sys._getframe(2)  # noqa: SLF001 - the only way to the callers
        while frame is not None:
            code = frame.f_code
            is_user_code = known.get(code)
            if is_user_code is None:
                is_user_code = known[code] = is_user_file(code.co_filename) and code.co_name not in _MODE_METHODS
            if is_user_code:
                return code, frame.f_lasti
            frame = frame.f_back
        return None


__all__ = ["ACTIVATION", "ALLOCATORS", "FORWARD", "INPUT", "OPTIMIZER", "MemoryTracker"]
