"""A fake call: the call to count, made on copies without storage, so that it needs no memory and does no arithmetic."""

from __future__ import annotations

import sys
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property, partial
from types import FunctionType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from opflops.counting.backward import check_gradients_stay_in_copies, find_differentiable, run_backward
from opflops.counting.call_options import how_to_pass
from opflops.counting.closures import bound_state, closure_state, modules_of_helpers, outermost, rebind, state_in
from opflops.counting.distributed_models import check_copies_run
from opflops.counting.fake_mode import FakeCallMode
from opflops.counting.frozen_heap import FrozenHeap
from opflops.counting.meta_cache import MetaCacheMode
from opflops.counting.optimizer_step import (
    attributes_to_copy,
    check_optimizer,
    is_optimizer,
    make_optimizer,
    names_of_state,
    read_scalar_state,
    rebuild_optimizer,
    run_step,
)
from opflops.counting.source_locations import location_of
from opflops.counting.time_limit import check_time_limits
from opflops.dispatch.parameter_reads import current_parameter_reads
from opflops.errors import OpflopsError, ValueNeededError, causes_of, raised_by_signal_handler
from opflops.pricing.op_pricing import op_name
from opflops.torch_internals.dispatch import modes_swapped
from opflops.torch_internals.fake_construction import unknown_like
from opflops.torch_internals.fake_tensors import fake_copies, mixes_devices, needs_value, refuses_nested_tensors
from opflops.torch_internals.fake_views import WritesToViews
from opflops.torch_internals.meta_copies import MetaTensorCopier
from opflops.torch_internals.modules import name_of, registered_below
from opflops.torch_internals.random_state import random_state_kept
from opflops.torch_internals.shared_context import replacement_of
from opflops.torch_internals.state_copies import StateCopier

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from contextlib import AbstractContextManager

    from opflops.mode import Causal, OpFlopMode
    from opflops.profile.profile import Profile

META, CPU = torch.device("meta"), torch.device("cpu")


@dataclass
class FakeCall:
    """Hold a call to count, and count it on meta tensors or on fake tensors.

    Attributes:
        model: The module or function to call.
        inputs: Its positional arguments.
        kwargs: Its keyword arguments.
        backward: Whether to count gradients.
        optimizer: The optimizer whose step to count, or a class or function that makes one; None for no step.
        causal: How to count under a causal mask, as for :class:`opflops.OpFlopMode`.
        device: The device to count for if all tensors are on meta; None counts on meta.
        memory: Whether to follow what is alive in memory.
        allocator: How to round sizes then, as for :class:`opflops.OpFlopMode`.
        mode: The mode of the latest count; None before the first one.
    """

    model: Callable[..., Any]
    inputs: tuple[Any, ...]
    kwargs: dict[str, Any]
    backward: bool = False
    optimizer: Any = None
    causal: Causal = "dense"
    device: str | torch.device | None = None
    memory: bool = False
    allocator: str | None = None

    def __post_init__(self) -> None:
        # By identity, so that a tensor that occurs twice among the inputs stays one.
        leaves: dict[int, tuple[Tensor, Tensor]] = {}

        def as_leaf(tensor: Tensor) -> Tensor:
            return leaves.setdefault(id(tensor), (tensor, _as_leaf(tensor)))[1]

        self.inputs, self.kwargs = tree_map_only(Tensor, as_leaf, (self.inputs, self.kwargs))
        self._closure_state = closure_state(self.model)
        check_optimizer(self.optimizer, how_to_pass(self.model, "optimizer", self.optimizer))
        check_copies_run(self.name, self._models, backward=self.backward or self.optimizer is not None)
        self.mode: OpFlopMode | None = None
        self.writes_to_views = WritesToViews()
        # The class of the optimizer, while it steps.
        self._stepping = ""
        # Whether to make a step first that is not counted, as for an optimizer that has no state yet.
        self._steps_first = self.optimizer is not None and not is_optimizer(self.optimizer)
        if any(tensor.is_nested for tensor in self.tensors):
            raise ValueNeededError(self._needed_lengths())

    @property
    def name(self) -> str:
        """Return the model's name, for messages."""
        return name_of(self.model)

    @cached_property
    def _state(self) -> list[nn.Module | Tensor]:
        return [*bound_state(self.model), *state_in((self._closure_state, self.inputs, self.kwargs))]

    @property
    def _models(self) -> list[nn.Module]:
        return [each for each in self._state if isinstance(each, nn.Module)]

    @cached_property
    def tensors(self) -> list[Tensor]:
        """List the tensors that exist before the call: inputs, parameters, buffers, and those in closures."""
        registered = [tensor for module in self._models for kind in registered_below(module) for tensor in kind]
        return [
            *{id(each): each for each in registered}.values(),
            *(each for each in self._state if isinstance(each, Tensor)),
        ]

    @property
    def _is_on_meta(self) -> bool:
        """Tell whether all tensors are on meta and no device is given that they stand for."""
        return self.device is None and all(each.device == META for each in self.tensors)

    @cached_property
    def devices(self) -> list[torch.device]:
        """List the devices that tensors are on, without meta unless it is the only one.

        Raises:
            OpflopsError: Some tensors are on meta, and the others on several devices; or ``device`` is not known, or
                not that of tensors that are not on meta.
        """
        devices = list(dict.fromkeys(tensor.device for tensor in self.tensors))
        real = [device for device in devices if device != META]
        if META in devices and len(real) > 1:
            raise OpflopsError(
                f"{self.name} and its inputs are on {', '.join(map(str, devices))}, so that it is not "
                "clear which device the meta tensors stand for. Put them on that device, or everything on meta."
            )
        if self.device is None:
            return real or devices
        wanted = _parse_device(self.device, how_to_pass(self.model, "device", self.device))
        if real and wanted.type != real[0].type:
            raise OpflopsError(
                f"device={str(wanted)!r} is for tensors on meta, but those of {self.name} are on {real[0]}, which is "
                "what is counted. Leave device out, or put everything on meta."
                f"{how_to_pass(self.model, 'device', self.device)}"
            )
        return real or (devices and [wanted])

    def make_mode(self, *, records_execution: bool = True) -> OpFlopMode:
        """Make the mode that counts."""
        mode = FakeCallMode(causal=self.causal, memory=self.memory, allocator=self.allocator)
        if records_execution:
            mode.record_execution()
        return mode

    def count(
        self, copy_memo: Callable[[], dict[int, Tensor]] | None = None, *, records_execution: bool | None = None
    ) -> Profile:
        """Count the call on tensors like those that were given.

        Args:
            copy_memo: Makes the tensors that replace some of them in the copy, by the identity of the original.
            records_execution: Whether to record the order of execution; None to, unless there are other tensors.
        """
        self._made_state = False
        self._records_execution = copy_memo is None if records_execution is None else records_execution
        with FrozenHeap(), random_state_kept():
            profile = self.writes_to_views.repeat(partial(self._count_once, copy_memo))
            if self.memory and self._made_state:
                # The costs are those of this step, but the memory is that of the steps after it.
                self._steps_first = True
                profile = replace(profile, memory=self._count_once(copy_memo).memory)
        return profile

    def _count_once(self, copy_memo: Callable[[], dict[int, Tensor]] | None) -> Profile:
        if self.devices == [META] and self.causal == "exact":
            # Exact counts need the masks of fused kernels, and meta has no fused kernels.
            self.devices = [CPU]
        if self.devices == [META]:
            # Meta tensors are faster than fake ones. The program may mix them with tensors that it makes itself, which
            # are real here and need memory; only fake tensors can run that.
            replaced: dict[int, Any] = {} if copy_memo is None else {**copy_memo()}
            try:
                copies = StateCopier(replaced, MetaTensorCopier()).copy(self.originals)
                with MetaCacheMode():
                    mode = self.make_mode(records_execution=self._records_execution)
                    return self.run(mode, nullcontext(copies), {id(each) for each in replaced.values()})
            except Exception as error:
                # A library may have put an exception of its own in place of PyTorch's.
                if copy_memo is not None or isinstance(error, OpflopsError) or raised_by_signal_handler(error):
                    raise
                self.devices = [CPU]
        mode = self.make_mode(records_execution=self._records_execution)
        with self.translated_errors(mode):
            # At other sizes a mask has other values, so a formula for all sizes may not read any.
            needed: list[Any] = []
            hiding: list[Any] = []
            memo = copy_memo or self.replace_meta_tensors
            copies = fake_copies(
                self.originals,
                memo,
                exact_values=copy_memo is None,
                needed=needed,
                hiding=hiding,
                writes=self.writes_to_views,
                on_hit=check_time_limits,
            )
            profile = self.run(mode, copies)
        if needed:
            names = ", ".join(dict.fromkeys(map(op_name, needed)))
            remark = (
                f"The program handled the error of {names}, which needs a value that only a real run has. A real run "
                "may do other work."
            )
            profile = replace(profile, remarks=(*profile.remarks, remark))
        if hiding and profile.memory is not None:
            remark = (
                f"What {', '.join(dict.fromkeys(map(op_name, hiding)))} keeps for the backward in this dtype is known "
                "to its kernel alone, and is not part of the memory. Run it inside OpFlopMode(memory=True)."
            )
            profile = replace(profile, memory=replace(profile.memory, remarks=(*profile.memory.remarks, remark)))
        return profile

    @contextmanager
    def translated_errors(self, mode: OpFlopMode) -> Iterator[None]:
        """Translate the errors of fake tensors: say where the program raised them, and what to do.

        Raises:
            ValueNeededError: The program reads the value of a tensor, or makes nested tensors.
            OpflopsError: It mixes tensors of several devices.
        """
        try:
            yield
        except OpflopsError:
            raise
        except Exception:
            # Looking at frames keeps their variables. So this frame, which the error refers to, does not refer to it.
            if sentence := self._needed_value(mode):
                raise ValueNeededError(sentence) from sys.exc_info()[1]
            if sentence := self._mixed_devices(mode):
                raise OpflopsError(sentence) from sys.exc_info()[1]
            raise

    def _mixed_devices(self, mode: OpFlopMode) -> str:
        """Say where the error that is handled mixes devices; "" if it is about something else."""
        error = sys.exc_info()[1]
        if not isinstance(error, RuntimeError) or raised_by_signal_handler(error) or not mixes_devices(error):
            return ""
        return (
            f"{self.name} mixes tensors of several devices at {location_of(error, mode)}: {error}. "
            "Put the model and its inputs on one device, and create other tensors on the device of the inputs."
        )

    def _needed_value(self, mode: OpFlopMode) -> str:
        """Say which value the error being handled, or one that it was raised from, is about; "" if it is about none."""
        error = sys.exc_info()[1]
        if error is None or raised_by_signal_handler(error):
            return ""
        wrappers: list[BaseException] = []
        for each in causes_of(error):
            # Whatever handles an exception of a fake tensor would not have run on real ones.
            if needs_value(each):
                who, where = self._stepping or self.name, location_of(each, mode, *wrappers)
                return (
                    f"{who} needs the value of a tensor ({where}), which only a real run has; "
                    "run it on real inputs inside OpFlopMode()."
                )
            if refuses_nested_tensors(each):
                return self._needed_lengths(f" ({location_of(each, mode, *wrappers)})")
            wrappers.insert(0, each)
        return ""

    def _needed_lengths(self, where: str = "") -> str:
        return (
            f"{self.name} runs on nested tensors{where}, and their lengths are values, which only a real run has; "
            "run it on real inputs inside OpFlopMode()."
        )

    @property
    def originals(self) -> Any:
        """Return everything to copy, in the order that :meth:`run` unpacks; of a function, what it refers to."""
        optimizer = attributes_to_copy(self.optimizer) if is_optimizer(self.optimizer) else {}
        model = None if isinstance(self.model, FunctionType) else self.model
        return model, self._closure_state, optimizer, self.inputs, self.kwargs

    def replace_meta_tensors(self) -> dict[int, Tensor]:
        """Make tensors on the device of the others in place of those on meta, by the identity of the original."""
        device = self.devices[0] if self.devices else META
        if device == META:
            return {}
        return unknown_like([each for each in self.tensors if each.device == META], device)

    def run(
        self, mode: OpFlopMode, copying: AbstractContextManager[Any], copied_ids: Collection[int] | None = None
    ) -> Profile:
        """Count the call on copies.

        Args:
            mode: The mode that counts.
            copying: Yields copies of :attr:`originals`.
            copied_ids: The identities of the copies; None if the copies are fake, so that only originals have values.
        """
        self.mode, self._stepping = mode, ""
        scalar_state = read_scalar_state(self.optimizer) if is_optimizer(self.optimizer) else []
        with (
            copying as (model, captured, optimizer_attributes, inputs, kwargs),
            mode.expect(self._models_among(model, captured, inputs, kwargs)),
        ):
            if (reads := current_parameter_reads()) is not None:
                reads.expect(self._models_among(model, captured, inputs, kwargs))
                mode.note_parameter_reads(reads)
            if mode.memory_tracker is not None:
                mode.memory_tracker.source_lines.end_at(FakeCall.run.__code__)
                if self._is_on_meta:
                    # Optimizers keep numbers on the CPU. On it, these would be with the parameters.
                    mode.memory_tracker.storages.only_device = META
            called = self.model if isinstance(self.model, FunctionType) else model
            outputs = call_model(rebind(called, captured) if captured else replacement_of(called), inputs, kwargs)
            if self.backward or self.optimizer is not None:
                differentiable = find_differentiable(outputs)
                check_gradients_stay_in_copies(differentiable, copied_ids)
                run_backward(differentiable)
                # As in a training step, the optimizer finds gradients only.
                del outputs, differentiable
            if self.optimizer is not None:
                with modes_swapped([mode], []):
                    if is_optimizer(self.optimizer):
                        stepping = rebuild_optimizer(self.optimizer, optimizer_attributes, scalar_state)
                    else:
                        state = [*bound_state(model), *state_in(captured)]
                        stepping = make_optimizer(
                            self.optimizer, [each for each in state if isinstance(each, nn.Module)]
                        )
                    self._stepping = type(stepping).__name__
                    if self._steps_first:
                        run_step(stepping)
                    before = names_of_state(stepping)
                    if mode.memory_tracker is not None:
                        mode.memory_tracker.note_existing()
                run_step(stepping)
                self._made_state = names_of_state(stepping) != before
        # The copies may share what cannot be copied, such as a file, with the model.
        mode.release_models()
        return mode.profile

    def _models_among(self, model: Callable[..., Any], *values: Any) -> list[nn.Module]:
        """List the models that the call has, so that their names are used if it calls a part of one on its own.

        Args:
            model: The copy of what is called.
            *values: The copies of its arguments and closure.
        """
        state = [*bound_state(model), *state_in(values), *modules_of_helpers(self.model)]
        return outermost(each for each in state if isinstance(each, nn.Module))


def call_model(model: Callable[..., Any], inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a model; a traceback with this function is that of an error of the model."""
    return model(*inputs, **kwargs)


def _as_leaf(tensor: Tensor) -> Tensor:
    """Detach an input from the graph that computed it, which is not part of the call."""
    return tensor if tensor.is_leaf else tensor.detach().requires_grad_(tensor.requires_grad)


def _parse_device(device: str | torch.device, advice: str) -> torch.device:
    """Return a device that fake tensors can be on.

    Args:
        device: The device, or its name.
        advice: What errors say at their end.

    Raises:
        OpflopsError: PyTorch does not know the device, or cannot use it here.
    """
    try:
        parsed = torch.device(device)
        # PyTorch ends the process for fake tensors on a device that is not available.
        is_available = parsed.type in ("cpu", "meta") or torch.get_device_module(parsed).is_available()
    except RuntimeError as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise OpflopsError(f"PyTorch does not know device={device!r}: {reason}.{advice}") from error
    if not is_available:
        raise OpflopsError(f"PyTorch cannot use device={device!r} here. Use 'cpu', which always works.{advice}")
    return parsed
