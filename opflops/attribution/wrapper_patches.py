"""Patches of the wrappers of torch.distributed, which put their work where it belongs.

FSDP gathers and reduces the parameters of a unit while another module runs, or none; so do the stages of a pipeline
with what they send. The patches enter that unit, or announce the messages.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial, wraps
from typing import TYPE_CHECKING, Any

from opflops.attribution.memory_patches import tracking_modes
from opflops.attribution.module_context import BACKWARD, FORWARD, OUTSIDE
from opflops.attribution.module_stack import counting_modes, module_stacks_of
from opflops.attribution.phase_patches import call_entered, wrap_optimizer_function
from opflops.attribution.shared_work import Bucket, DueBuckets
from opflops.attribution.subgraphs import counting_modes_disabled
from opflops.torch_internals import distributed_wrappers as wrappers
from opflops.torch_internals.autograd import accumulated_leaf
from opflops.torch_internals.dispatch import dispatch_modes
from opflops.torch_internals.pipelines import stages_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import ModuleType

    from torch import Tensor, nn

    from opflops.attribution.module_stack import ModuleStack
    from opflops.attribution.shared_work import Shares

    Wrapper = Callable[[Callable[..., Any]], Callable[..., Any]]

SETUP_REMARK = (
    "A pipeline was set up inside the block: its stages agreed on the shapes of what they send, for which PyTorch may "
    "run each of them once. That is in no count."
)

UNKNOWN_BUCKETS_REMARK = (
    "With sparse gradients, DistributedDataParallel does not tell which gradients it reduces together: each reduction "
    "is listed under the module whose gradient was the last to come."
)


def wrapper_patches(module: ModuleType | None = None) -> list[tuple[Any, str, Wrapper]]:
    """List the patches of one module, or of all that are loaded: owner, attribute, and what makes the wrapper."""
    return [(owner, name, _WRAPPERS[purpose]) for owner, name, purpose in wrappers.wrapper_callables(module)]


def wrap_group_creation(install: Callable[[], None], original: Callable[..., Any]) -> Callable[..., Any]:
    """Install these patches only once there is a process group, in which wrappers can communicate."""

    @wraps(original)
    def call(group: Any) -> Any:
        result = original(group)
        if group is not None:
            install()
        return result

    return call


def _enter(stack: ModuleStack, module: nn.Module, phase: str | None = None) -> tuple[ModuleStack, int]:
    return stack, stack.enter_module(module, phase or stack.attribution()[1])


def _wrap_unit(phase: str | None) -> Wrapper:
    """Attribute the work for a unit of FSDP to it, in a phase; None for the phase that runs."""

    def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(original)
        def call(group: Any, *args: Any, **kwargs: Any) -> Any:
            stacks = module_stacks_of(dispatch_modes())
            if not stacks:
                return original(group, *args, **kwargs)
            (first, *others), sizes = zip(*(units := wrappers.unit_modules(group)).items(), strict=True)
            entered = [_enter(stack, first, phase) for stack in stacks]
            if not others:
                return call_entered(entered, original, group, *args, **kwargs)
            with ExitStack() as shared:
                for stack in stacks:
                    shares = tuple((*stack.place_of(each), sizes[number]) for number, each in enumerate(units))
                    shared.enter_context(stack.shared_work.sharing(shares))
                return call_entered(entered, original, group, *args, **kwargs)

        return call

    return wrap


def _wrap_reduction(original: Callable[..., Any]) -> Callable[..., Any]:
    """Attribute the reduction of a unit of FSDP to it, and show trackers of memory the gradients that it made."""
    attributed = _wrap_unit(BACKWARD)(original)

    @wraps(original)
    def call(group: Any, *args: Any, **kwargs: Any) -> Any:
        result = attributed(group, *args, **kwargs)
        for mode in tracking_modes():
            mode.memory_tracker.see_gradients(wrappers.unit_gradients(group))
        return result

    return call


def _wrap_for(module_of: Callable[[Any], nn.Module]) -> Wrapper:
    """Attribute a method's work to the module of its object, in the phase that runs."""

    def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(original)
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            entered = [_enter(stack, module_of(self)) for stack in module_stacks_of(dispatch_modes())]
            return call_entered(entered, original, self, *args, **kwargs)

        return call

    return wrap


def _shares(stack: ModuleStack, parameters: Iterable[Tensor], default: tuple[str, str] = (OUTSIDE, "")) -> Shares:
    """Return the modules that register parameters, with the bytes of each one's; the default is for the others."""
    sizes: dict[tuple[str, str], int] = {}
    for parameter in parameters:
        owner = stack.roots.parameter_owner(parameter)
        owner = owner if owner[0] else default
        sizes[owner] = sizes.get(owner, 0) + parameter.numel() * parameter.element_size()
    return tuple((*owner, size) for owner, size in sizes.items())


def _due_buckets(stack: ModuleStack, model: Any) -> DueBuckets:
    """Return the buckets of gradients that the next backward of a data-parallel model reduces."""
    buckets = wrappers.gradient_buckets(model)
    if buckets is None:
        stack.remarks[UNKNOWN_BUCKETS_REMARK] = None
        buckets = []
    place = stack.place_of(model)
    return DueBuckets(
        # A parameter is in no module if the model computes with another tensor in its place.
        [Bucket(_shares(stack, bucket, place), sum(each.numel() for each in bucket)) for bucket in buckets],
        {id(each) for bucket in buckets for each in bucket},
        place,
    )


def _expect(stack: ModuleStack, model: Any) -> None:
    stack.shared_work.expect(model, wrappers.buckets_version(model), partial(_due_buckets, stack, model))


def _wrap_parallel_forward(original: Callable[..., Any]) -> Callable[..., Any]:
    """Note the buckets of a model when its forward ends; its reducer is locked in the backward."""

    @wraps(original)
    def call(model: Any, *args: Any, **kwargs: Any) -> Any:
        result = original(model, *args, **kwargs)
        if wrappers.awaits_backward(model):
            for stack in module_stacks_of(dispatch_modes()):
                _expect(stack, model)
        return result

    return call


def _wrap_joined(original: Callable[..., Any]) -> Callable[..., Any]:
    """Attribute the reductions that a rank without inputs repeats as those of a backward."""

    @wraps(original)
    def call(model: Any, *args: Any, **kwargs: Any) -> Any:
        stacks = module_stacks_of(dispatch_modes())
        with ExitStack() as joined:
            for stack in stacks:
                joined.enter_context(stack.shared_work.joining(_due_buckets(stack, model)))
            entered = [_enter(stack, model, BACKWARD) for stack in stacks]
            return call_entered(entered, original, model, *args, **kwargs)

    return call


def _wrap_bucket(original: Callable[..., Any]) -> Callable[..., Any]:
    """Note which bucket a communication hook reads."""

    @wraps(original)
    def call(bucket: Any) -> Any:
        for stack in module_stacks_of(dispatch_modes()):
            stack.shared_work.give_to_hook(_shares(stack, bucket.parameters()))
        return original(bucket)

    return call


def _wrap_callback(original: Callable[..., Any]) -> Callable[..., Any]:
    """Count a function that is called once a collective has ended, which may be in a thread of PyTorch's own."""

    @wraps(original)
    def call(future: Any, callback: Callable[..., Any]) -> Any:
        modes = counting_modes(dispatch_modes())
        return original(future, _attributed(callback, modes) if modes else callback)

    return call


def _attributed(callback: Callable[..., Any], modes: list[Any]) -> Callable[..., Any]:
    """Let a function run, in any thread, for the modules that work is attributed to now."""
    places = []
    for mode in modes:
        stack = mode.module_stack
        context, phase = stack.attribution()
        place = context.path, context.module_type
        places.append((mode.for_callbacks(), place, phase, stack.shared_work.present_shares()))

    @wraps(callback)
    def call(*args: Any) -> Any:
        with ExitStack() as entered:
            for get_mode, place, phase, shares in places:
                mode = get_mode()
                if mode is None:
                    continue
                if not any(each is mode for each in dispatch_modes()):
                    entered.enter_context(mode)
                stack = mode.module_stack
                entered.callback(stack.leave, stack.enter_place(place, phase))
                entered.enter_context(stack.shared_work.sharing(shares))
            return callback(*args)

    return call


def _name_stage(stack: ModuleStack, stage: Any) -> nn.Module:
    """Give the module of a stage its name, and return it."""
    module, number = wrappers.stage_of(stage)
    stack.roots.name_part(module, f"stage {number}", lambda: wrappers.traced_root_name(module))
    return module


def _wrap_stage_run(original: Callable[..., Any]) -> Callable[..., Any]:
    """Name a stage before it runs."""

    @wraps(original)
    def call(stage: Any, *args: Any, **kwargs: Any) -> Any:
        for stack in module_stacks_of(dispatch_modes()):
            _name_stage(stack, stage)
            if (model := wrappers.parallel_stage(stage)) is not None:
                _expect(stack, model)
        return original(stage, *args, **kwargs)

    return call


def _wrap_schedule_run(original: Callable[..., Any]) -> Callable[..., Any]:
    """Name all stages of a schedule before any of them runs, or FSDP gathers the parameters of one."""

    @wraps(original)
    def call(schedule: Any, *args: Any, **kwargs: Any) -> Any:
        for stack in module_stacks_of(dispatch_modes()):
            for stage in stages_of(schedule):
                _name_stage(stack, stage)
        return original(schedule, *args, **kwargs)

    return call


def _wrap_stage_end(original: Callable[..., Any]) -> Callable[..., Any]:
    """Attribute what a stage does with its gradients, after the last backward, to its backward."""

    @wraps(original)
    def call(stage: Any, *args: Any, **kwargs: Any) -> Any:
        entered = [_enter(stack, _name_stage(stack, stage), BACKWARD) for stack in module_stacks_of(dispatch_modes())]
        return call_entered(entered, original, stage, *args, **kwargs)

    return call


class _OfTheirModules:
    """Go through nodes that stand for parameters, each time in the module of the parameter and in phase backward."""

    def __init__(self, nodes: Iterable[Any]) -> None:
        self._nodes = nodes

    def __iter__(self) -> Iterator[Any]:
        for node in self._nodes:
            with ExitStack() as entered:
                for stack in module_stacks_of(dispatch_modes()):
                    place = stack.roots.parameter_owner(accumulated_leaf(node))
                    entered.callback(stack.leave, stack.enter_place(place, BACKWARD))
                yield node


def _wrap_stage_weights(original: Callable[..., Any]) -> Callable[..., Any]:
    """Attribute what is added to the gradient of a parameter, outside any backward, to its module's backward."""

    @wraps(original)
    def call(weights: Any, param_groups: Any, *args: Any, **kwargs: Any) -> Any:
        if module_stacks_of(dispatch_modes()):
            wrappers.map_weight_nodes(param_groups, _OfTheirModules)
        return original(weights, param_groups, *args, **kwargs)

    return call


def _wrap_messages(phase: str, original: Callable[..., Any]) -> Callable[..., Any]:
    """Attribute the messages of a stage to it, in the phase of what they carry."""

    @wraps(original)
    def call(stage: Any, *args: Any, **kwargs: Any) -> Any:
        messages = original(stage, *args, **kwargs)
        for stack in module_stacks_of(dispatch_modes()):
            context = stack.context_at(*stack.place_of(_name_stage(stack, stage)))
            stack.shared_work.announce(wrappers.message_tensors(messages), context, phase)
        return messages

    return call


def _wrap_setup(original: Callable[..., Any]) -> Callable[..., Any]:
    """Count nothing of how a pipeline is set up, and say so."""

    @wraps(original)
    def call(schedule: Any, *args: Any, **kwargs: Any) -> Any:
        stacks, before = module_stacks_of(dispatch_modes()), wrappers.setup_state(schedule)
        with counting_modes_disabled():
            result = original(schedule, *args, **kwargs)
        if wrappers.setup_state(schedule) != before:
            for stack in stacks:
                stack.remarks[SETUP_REMARK] = None
        return result

    return call


_WRAPPERS: dict[str, Wrapper] = {
    wrappers.UNIT_GATHER: _wrap_unit(None),
    wrappers.UNIT_REDUCE: _wrap_reduction,
    wrappers.FLAT_GATHER: _wrap_for(wrappers.flat_parameter_module),
    wrappers.DATA_PARALLEL: _wrap_parallel_forward,
    wrappers.PARALLEL_REST: _wrap_for(lambda model: model),
    wrappers.JOINED: _wrap_joined,
    wrappers.BUCKET: _wrap_bucket,
    wrappers.CALLBACK: _wrap_callback,
    wrappers.STAGE_RUN: _wrap_stage_run,
    wrappers.STAGE_END: _wrap_stage_end,
    wrappers.STAGE_WEIGHTS: _wrap_stage_weights,
    wrappers.FORWARD_MESSAGES: partial(_wrap_messages, FORWARD),
    wrappers.BACKWARD_MESSAGES: partial(_wrap_messages, BACKWARD),
    wrappers.SETUP: _wrap_setup,
    wrappers.SCHEDULE_RUN: _wrap_schedule_run,
    wrappers.OPTIMIZER_WORK: wrap_optimizer_function,
}
