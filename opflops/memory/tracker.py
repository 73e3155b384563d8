"""The tracker of live memory: it sees the tensors of each operator, and of models, backward passes and optimizers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import torch
from torch import Tensor, is_grad_enabled
from torch.utils._pytree import tree_leaves

from opflops.attribution.deep_graphs import divide_nodes
from opflops.attribution.weak_callbacks import weak_callback
from opflops.errors import raised_by_signal_handler
from opflops.memory.classifier import StorageClassifier
from opflops.memory.existing import ExistingTensors
from opflops.memory.source_lines import SourceLines
from opflops.memory.storages import (
    ACTIVATION,
    BEFORE,
    INPUT,
    OPTIMIZER,
    DeviceMemory,
    StorageRecord,
    Storages,
)
from opflops.records.memory import ALLOCATORS
from opflops.torch_internals.autograd import (
    ACCUMULATE_GRAD_NR,
    accumulated_leaf,
    graph_task_id,
    next_sequence_nr,
    sequence_nr,
)
from opflops.torch_internals.dispatch import OpOverload, mode_count, schema_of
from opflops.torch_internals.operator_traits import OperatorTraits
from opflops.torch_internals.optimizers import optimizer_tensors
from opflops.torch_internals.saved_tensors import graph_nodes, node_of, saved_tensors
from opflops.torch_internals.storages import (
    PLAIN_TENSORS,
    all_tensors,
    is_empty,
    is_fake,
    storage_bytes,
    storage_of,
)
from opflops.torch_internals.tracing import is_being_traced

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opflops.attribution.module_context import ModuleContext
    from opflops.attribution.module_stack import ModuleStack
    from opflops.attribution.root_modules import RootModules

# Arguments that hold no tensors.
_NUMBERS = frozenset({type(None), bool, int, float, complex, str, torch.dtype, torch.device, torch.layout})
_LOWEST = -(2**63)
_DEVICE = torch.device
_MUTATES, _LIFTS, _VIEWS, _OTHER = "mutates", "lifts", "views", "other"


class MemoryTracker(StorageClassifier):
    """Track which storages are alive while a block runs, for the modes of all of its threads.

    Args:
        allocator: ``"cuda"`` to round sizes as PyTorch's allocator for CUDA does; "" not to.

    Attributes:
        operators: How many operators have run.
        ends_of_forward: Of each device: the highest that was live when a backward pass began, or before there was one
            when the outermost module returned, with what autograd kept.
        compiled: Whether the program called compiled code, which ran in eager mode.
        source_lines: Finds the line of the program that runs.
    """

    def __init__(self, allocator: str = "") -> None:
        super().__init__(Storages(ALLOCATORS.get(allocator, 1)))
        self.allocator = allocator
        self.operators = 0
        # Not in the devices, to which the records refer.
        self.ends_of_forward: dict[DeviceMemory, tuple[int, list[StorageRecord]]] = {}
        self.compiled = False
        # The sequence number of the first node of the block.
        self._first_node = 0
        self._optimizers: WeakSet[Any] = WeakSet()
        self._existing = ExistingTensors(weak_callback(self._note_unused))
        # By the identity of operators, which takes less than their hash.
        self._kinds: dict[int, str] = {}
        self._operators: list[Any] = []
        self._resizing: dict[int, OperatorTraits] = {}
        self.source_lines = SourceLines()

    def begin(self, roots: RootModules) -> None:
        """Note all storages that exist, before the block begins."""
        self._existing.begin()
        for root in roots.roots():
            self.classify_module(root)
        roots.on_new_root = self.classify_module
        self._first_node = next_sequence_nr()

    def note_existing(self) -> None:
        """Note all storages that exist and that no operator has shown, as from before the block."""
        for tensor in all_tensors():
            self.note(tensor, BEFORE)
        for record in [*self.records.values()]:
            # A collection of garbage may have noted it as something of the block.
            if record.device is None:
                record.born, record.category = BEFORE, min(record.category, INPUT)

    def end(self, roots: RootModules) -> None:
        """See what models and their gradients have become, at the end of the block."""
        self._existing.end()
        roots.on_new_root = None
        for root in roots.roots():
            self.classify_module(root)
        for optimizer in [*self._optimizers]:
            self.see_optimizer(optimizer)

    def begin_backward(self, stack: ModuleStack, roots: Iterable[Any], *, inside: bool) -> list[Tensor]:
        """See what autograd kept for a backward pass that begins; return the leaves, for :meth:`end_backward`.

        Args:
            stack: The modules that run.
            roots: What the pass begins with.
            inside: Whether it begins inside of another one.
        """
        if is_being_traced():
            return []
        leaves = self._see_graph(stack, roots)
        self.classify_gradients(leaves)
        if not inside:
            self._note_end_of_forward(by_backward=True)
        return leaves

    def end_backward(self, leaves: list[Tensor]) -> None:
        """See the gradients that a backward pass made."""
        self.classify_gradients(leaves)

    def see_returned(self, stack: ModuleStack, result: Any) -> None:
        """See what autograd keeps of a module that no other one called, and that has returned."""
        if graph_task_id() < 0 and not is_being_traced():
            if is_grad_enabled():
                self._see_graph(stack, [each for each in tree_leaves(result) if isinstance(each, Tensor)])
            self._note_end_of_forward(by_backward=False)

    def _see_graph(self, stack: ModuleStack, roots: Iterable[Any]) -> list[Tensor]:
        """Mark what the nodes of a graph saved, and return its leaves."""
        roots = [*roots]
        leaves = [root for root in roots if isinstance(root, Tensor) and root.requires_grad and root.is_leaf]
        nodes = graph_nodes([node for root in roots if (node := node_of(root)) is not None])
        divide_nodes(nodes)
        for node in nodes:
            number = sequence_nr(node)
            if number == ACCUMULATE_GRAD_NR:
                # Nodes that only raise an error have that number too.
                if hasattr(node, "variable"):
                    leaves.append(accumulated_leaf(node))
                continue
            for tensor in saved_tensors(node):
                if number < self._first_node:
                    self.note(tensor, BEFORE)
                # What no operator has seen, such as the state of a random generator, does not count.
                for record in self.records_of(tensor):
                    if record.device is None and number < self._first_node:
                        self.count_from_before(record, tensor)
                    if record.device is not None and record.owner is None:
                        record.owner, record.category = stack.node_owner(node, number), min(record.category, ACTIVATION)
        return leaves

    def _note_end_of_forward(self, *, by_backward: bool) -> None:
        for device in [*self.storages.devices.values()]:
            if by_backward and not device.backward_began:
                device.backward_began = True
                self.ends_of_forward.pop(device, None)
            best = self.ends_of_forward.get(device)
            if (by_backward or not device.backward_began) and (best is None or device.live > best[0]):
                kept = [each for each in [*self.records.values()] if each.device is device and each.owner is not None]
                self.ends_of_forward[device] = device.live, kept

    def see_optimizer(self, optimizer: Any) -> None:
        """Count the state of an optimizer, and the gradients that it is given."""
        self._optimizers.add(optimizer)
        parameters, state = optimizer_tensors(optimizer)
        self.classify_gradients(each for each in parameters if each.is_leaf)
        for tensor in state:
            self.classify(tensor, OPTIMIZER)

    def see_resized(self, storage: Any) -> None:
        """See that a storage has another size, with no operator."""
        record, size = self.records.get(id(storage)), storage_bytes(storage)
        if record is not None:
            self._resize(record, storage, self.operators, storage.device)
        elif size:
            self.storages.count(self.storages.add(storage, size, self.operators), storage.device)

    def may_resize(self, func: Any) -> bool:
        """Return whether an operator may give an argument's storage another size, so that it needs :meth:`before`."""
        if id(func) not in self._kinds:
            self._kind_of(func)
        return id(func) in self._resizing

    def before(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
        """See the tensors that an operator may resize; return how many operators have run.

        After it, what it made larger could not be told from what had this size before the block.
        """
        number = self.operators
        if self.may_resize(func) and not (mode_count() and is_being_traced()):
            for tensor in self._resizing[id(func)].written(args, kwargs):
                self._see(tensor, number, resized=False, made=False)
                storage = storage_of(tensor)
                if storage is not None and id(storage) not in self.records and is_empty(storage):
                    self.storages.add(storage, 0, number)
        return number

    def after(  # noqa: C901, PLR0912 - function calls would take longer
        self,
        context: ModuleContext,
        phase: str,
        func: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any] | None,
        out: Any,
    ) -> None:
        """See the tensors that an operator was given and that it returned.

        This runs after every operator, so it avoids function calls.

        Args:
            context: The module that the operator belongs to.
            phase: The phase.
            func: The operator.
            args: Its positional arguments.
            kwargs: Its keyword arguments.
            out: What it returned.
        """
        its_type = type(out)
        # Fake tensors ask for their device by an operator.
        if out is NotImplemented or its_type is _DEVICE or (mode_count() and is_being_traced()):
            return
        number, storages, records = self.operators, self.storages, self.records
        kind = self._kinds.get(id(func))
        if kind is None:
            kind = self._kind_of(func)
        mutates = kind is _MUTATES
        if kind is _VIEWS and args and type(args[0]) is not its_type and is_fake(out) and not is_fake(args[0]):
            self._see_fake_views(args[0], out, number)
        elif kind is _LIFTS:
            # What PyTorch made of numbers is the result; a fake one only stands for it.
            args = ()
        for arg in (*args, *kwargs.values()) if kwargs else args:
            if type(arg) in PLAIN_TENSORS:
                try:
                    storage = arg.untyped_storage()
                    record = records.get(id(storage))
                except (NotImplementedError, RuntimeError) as error:
                    if raised_by_signal_handler(error):
                        raise
                    record = None
                if record is None or record.device is None or (mutates and storage.nbytes() != record.size):
                    self._see(arg, number, mutates, made=False)
            elif type(arg) not in _NUMBERS:
                self._see_all((arg,), number, mutates, made=False)
        if its_type in PLAIN_TENSORS:
            try:
                storage = out.untyped_storage()
                record = records.get(id(storage))
            except (NotImplementedError, RuntimeError) as error:
                if raised_by_signal_handler(error):
                    raise
                record = storage = None
            if record is None and storage is not None and type(size := storage.nbytes()) is int and size:
                storages.make(storage, size, number, out.device)
            elif record is None or record.device is None or (mutates and storage.nbytes() != record.size):
                self._see(out, number, mutates, made=True)
        elif its_type not in _NUMBERS:
            self._see_all((out,), number, mutates, made=True)
        # Not before: a collection of garbage may have noted the result with this number.
        self.operators = number + 1
        for device in storages.in_order:
            live, timeline = device.live, device.timeline
            peaks = device.peaks[phase]
            if live > peaks.get(context, _LOWEST):
                peaks[context] = live
            if number >> timeline.shift > timeline.stretch or live > timeline.latest:
                timeline.add(number, live, context, phase, func)
                if live > device.highest:
                    device.highest = live
                    device.source = self.source_lines.present()

    def _kind_of(self, func: Any) -> str:
        """Return what an operator may do with storages of its arguments."""
        traits = OperatorTraits.of(func)
        if traits.may_resize:
            self._resizing[id(func)] = traits
        if not isinstance(func, OpOverload) or schema_of(func).is_mutable:
            kind = _MUTATES
        else:
            kind = _LIFTS if traits.is_lift else _VIEWS if traits.is_view else _OTHER
        # As long as the operator lives, no other one has its identity.
        self._kinds[id(func)] = kind
        self._operators.append(func)
        return kind

    def _see_fake_views(self, original: Any, out: Any, number: int) -> None:
        """See fake views of a tensor that is not fake: they take no memory, but keep that tensor's."""
        storage = storage_of(original) if isinstance(original, Tensor) else None
        for each in tree_leaves(out) if storage is not None else ():
            made = storage_of(each) if isinstance(each, Tensor) else None
            known = None if made is None else self.records.get(id(made))
            # A collection of garbage may have noted it just now.
            if made is not None and (known is None or known.device is None):
                record = self.storages.add(made, 0, number)
                record.keeps = storage
                self.storages.count(record, each.device)

    def _see_all(self, values: Iterable[Any], number: int, mutates: bool, *, made: bool) -> None:
        for value in values:
            if isinstance(value, Tensor):
                self._see(value, number, mutates, made=made)
            elif isinstance(value, (list, tuple)):
                self._see_all(value, number, mutates, made=made)
            elif isinstance(value, dict):
                self._see_all(value.values(), number, mutates, made=made)

    def _see(self, tensor: Tensor, number: int, resized: bool, *, made: bool) -> None:
        """Count a tensor's storage, if it is not known yet: from the beginning of the block, or from this operator on.

        Args:
            tensor: The tensor.
            number: The number of the operator.
            resized: Whether the operator may have given a storage another size.
            made: Whether the tensor is a result of the operator.
        """
        storage = storage_of(tensor)
        if storage is None:
            # The parts of an argument may be views that were just made, of what is old.
            is_old = not made and self._existing.include(tensor)
            for part in self.components(tensor):
                for old in self.unused_records_of(part) if is_old else ():
                    self.count_from_before(old, part)
                self._see(part, number, resized, made=made)
            return
        record = self.records.get(id(storage))
        if record is not None:
            # One without bytes is a fake view, or was empty before an operator.
            was_empty = not record.size and record.keeps is None
            if record.device is None and not was_empty:
                self._begin_to_count(record, tensor, number, made)
            if was_empty or (resized and record.size):
                self._resize(record, storage, number, tensor.device)
            return
        size = storage_bytes(storage)
        if size:
            born = BEFORE if not made and self._existing.include(tensor) else number
            self.storages.count(self.storages.add(storage, size, born), tensor.device)

    def _resize(self, record: StorageRecord, storage: Any, number: int, device: Any) -> None:
        """Let a storage have its present size from now on; count it, if it was only noted."""
        self.storages.resize(record, storage, storage_bytes(storage), number)
        now = self.records.get(id(storage))
        if now is not None and now is not record and now.device is None:
            self.storages.count(now, device)

    def _begin_to_count(self, record: StorageRecord, tensor: Tensor, number: int, made: bool) -> None:
        """Count a storage that was noted, now that an operator has shown a tensor of it."""
        if record.born != BEFORE:
            # A collection of garbage in the middle of an operator sees its result, which may be a view of what is old.
            is_old = not made and id(tensor) not in record.noted and self._existing.include(tensor)
            record.born = BEFORE if is_old else number
            record.category = min(record.category, INPUT) if is_old else record.category
        self.storages.count(record, tensor.device)

    def _note_unused(self, tensor: Tensor, *, before: bool) -> None:
        """Note a tensor that exists now, and that the block may use."""
        self.note(tensor, BEFORE if before else self.operators)
        storage = None if before else storage_of(tensor)
        record = None if storage is None else self.records.get(id(storage))
        if record is not None and record.device is None and record.born != BEFORE:
            record.noted = *record.noted, id(tensor)
