"""One rank of a cluster that does not exist: make its model, run it without values, and count what it does."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from types import FunctionType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils._pytree import tree_map_only

from opflops.counting.backward import find_differentiable, run_backward
from opflops.counting.closures import bound_state, closure_state, modules_of_helpers, outermost, rebind, state_in
from opflops.counting.fake_call import call_model
from opflops.counting.optimizer_step import make_optimizer, run_step
from opflops.distributed.pipelines import as_step, modules_of_pipelines
from opflops.distributed.rank_errors import errors_as_rank
from opflops.distributed.referred_state import ExistingState, reached_state, state_to_copy, with_copies
from opflops.errors import OpflopsError, raised_by_signal_handler
from opflops.mode import OpFlopMode
from opflops.records.arguments import describe
from opflops.torch_internals.dispatch import modes_swapped
from opflops.torch_internals.fake_process_groups import (
    created_on,
    fake_rank,
    finish_sharding,
    needs_its_tensors,
    uneven_shapes,
)
from opflops.torch_internals.fake_reductions import fake_reductions, reductions_divided
from opflops.torch_internals.fake_tensors import fake_copies
from opflops.torch_internals.fake_views import WritesToViews
from opflops.torch_internals.modules import name_of, replace_tensors
from opflops.torch_internals.pipelines import StageNotRunError, StageShapes, lacks_loss, stage_shapes_exchanged
from opflops.torch_internals.rank_reads import RankRead, RankReads, rank_reads
from opflops.wording import join_ranks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opflops.profile.profile import Profile

META, CPU = torch.device("meta"), torch.device("cpu")


@dataclass(frozen=True)
class RankRun:
    """Hold what one rank did.

    Attributes:
        rank: The rank.
        profile: What it computed, held and sent; its rows carry no rank.
        reads: Where the program asked for its rank, other than to shard tensors.
        shapes: What each rank of the mesh holds of the parameters that are not sharded evenly, as functions of its
            coordinates.
    """

    rank: int
    profile: Profile
    reads: tuple[RankRead, ...] = ()
    shapes: tuple[Callable[[tuple[int, ...]], tuple[int, ...]], ...] = field(default=(), repr=False)

    def does_as(self, other: RankRun) -> bool:
        """Return whether another rank did the same: all rows and, if it was followed, the memory."""
        mine, others = self.profile, other.profile
        return mine.rows == others.rows and mine.memory == others.memory and mine.modules == others.modules


@dataclass
class RankProgram:
    """Hold a program to run as some ranks.

    Attributes:
        build: Makes the model of a rank from the mesh.
        inputs: The inputs, or a function of the mesh that makes them.
        mesh: The sizes of the dimensions of the mesh, by name.
        backward: Whether to run the backward of the outputs.
        optimizer: A class or function that makes an optimizer; None for no step.
        causal: As for :class:`opflops.OpFlopMode`.
        memory: Whether to follow what is alive in memory.
        allocator: How to round sizes then.
        builds_on_meta: Whether the model can be made on the meta device, which is much faster than on fake tensors.
    """

    build: Callable[[Any], Any]
    inputs: Any
    mesh: Mapping[str, int]
    backward: bool = False
    optimizer: Callable[..., torch.optim.Optimizer] | None = None
    causal: Any = "dense"
    memory: bool = False
    allocator: str | None = None
    builds_on_meta: bool = True

    def __post_init__(self) -> None:
        self._runs: dict[int, RankRun] = {}
        self._shapes = StageShapes()
        self._mode = OpFlopMode()
        self._writes_to_views = WritesToViews()
        # Each rank gets a copy of what the program has already. Nothing of it is changed.
        self._existing = ExistingState()
        self._state = state_to_copy(self.build)
        if self._state is not None:
            self.builds_on_meta = False

    def run(self, rank: int) -> RankRun:
        """Run the program as a rank, after those whose shapes a stage of a pipeline needs.

        Raises:
            OpflopsError: ``build`` returns nothing to call, or there is no gradient to compute.
        """
        waiting = [rank]
        while waiting:
            known = len(self._shapes)
            missing = self._try(waiting[-1])
            if missing is None:
                waiting.pop()
            elif missing in waiting and len(self._shapes) == known:
                raise OpflopsError(
                    f"The stages of {join_ranks({*waiting})} wait for the shapes of one another. Give each "
                    "PipelineStage its input_args, output_args, input_grads and output_grads."
                )
            else:
                waiting.append(missing)
        return self._runs[rank]

    def _try(self, rank: int) -> int | None:
        """Run a rank, unless it was run; return the rank that must run first, if there is one."""
        if rank in self._runs:
            return None
        try:
            with errors_as_rank(rank, lambda: self._mode):
                self._runs[rank] = self._writes_to_views.repeat(partial(self._run, rank))
        except StageNotRunError as missing:
            return missing.rank
        return None

    def _run(self, rank: int) -> RankRun:
        if self.builds_on_meta:
            with fake_rank(rank, self.mesh) as mesh, rank_reads(self.mesh) as reads:
                try:
                    with META:
                        model = self.build(mesh)
                except Exception as error:
                    if isinstance(error, OpflopsError) or raised_by_signal_handler(error):
                        raise
                    self.builds_on_meta = False
                else:
                    self.builds_on_meta = not any(map(needs_its_tensors, _models_of(model)))
                if self.builds_on_meta:
                    try:
                        with fake_copies(None, writes=self._writes_to_views):
                            return self._run_built(rank, model, mesh, reads)
                    except Exception as error:
                        # The program may keep tensors on meta where they are not found, with errors of every kind.
                        if isinstance(error, (OpflopsError, StageNotRunError)) or raised_by_signal_handler(error):
                            raise
                        self.builds_on_meta = False
        # Some wrappers look at values, or keep the tensors that they find.
        with (
            fake_rank(rank, self.mesh) as mesh,
            rank_reads(self.mesh) as reads,
            fake_copies(self._state, self._replace_tensors, writes=self._writes_to_views) as copies,
        ):
            build = self.build if self._state is None else with_copies(self.build, copies)
            with created_on(CPU):
                model = build(mesh)
            return self._run_built(rank, model, mesh, reads)

    def _replace_tensors(self) -> dict[int, Tensor]:
        """Make tensors on the CPU for those of the program that are on other devices, by the identity of these."""
        found = [] if self._state is None else [*reached_state(self._state, into_code=False)]
        tensors = [each for each in found if isinstance(each, Tensor)]
        for module in found:
            if isinstance(module, nn.Module):
                tensors += [*module.parameters(), *module.buffers()]
        return {id(each): _on_cpu(each) for each in tensors if each.device != CPU and not is_lazy(each)}

    def _run_built(self, rank: int, model: Any, mesh: Any, reads: RankReads) -> RankRun:
        step = as_step(model)
        if (self.backward or self.optimizer is not None) and lacks_loss(model):
            raise OpflopsError(
                f"{'backward=True' if self.backward else 'An optimizer'} needs gradients, and a pipeline computes them "
                f"from its loss, which this {type(model).__name__} does not have. Give it one: "
                f"{type(model).__name__}(..., loss_fn=...)."
            )
        if not callable(step) or isinstance(step, type):
            raise OpflopsError(
                f"build(mesh) returned {describe(model)}. It must return the sharded model, a pipeline schedule, or a "
                "function of the inputs that runs a step."
            )
        models = _models_of(model)
        for each in models:
            if (found := self._existing.module_with(each)) is not None:
                raise OpflopsError(
                    f"build(mesh) returned something that uses a {name_of(found)} from before it ran, or from when it "
                    "ran as another rank, and plan() would change it. Make the model inside build, for each rank anew."
                )
        for each in models:
            self._existing.add(each)
        if self.builds_on_meta:
            for each in models:
                replace_tensors(each, fake_copy)
            step = with_fake_tensors(step)
        with ExitStack() as stack:
            stack.enter_context(stage_shapes_exchanged(self._shapes, rank))
            stack.enter_context(fake_reductions())
            for each in models:
                finish_sharding(each)
            args, kwargs = self._inputs(mesh)
            reads.in_step = True
            profile = self._count(step, models, args, kwargs)
        parameters = [each for model in models for each in model.parameters()]
        return RankRun(rank, profile, tuple(reads), tuple(uneven_shapes(parameters, self.mesh)))

    def _count(
        self,
        step: Callable[..., Any],
        models: list[nn.Module],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Profile:
        mode = self._mode = OpFlopMode(causal=self.causal, memory=self.memory, allocator=self.allocator)
        with mode.expect(models):
            if mode.memory_tracker is not None:
                # Some buffers of collectives are seen on meta, which fake tensors consist of.
                mode.memory_tracker.storages.only_device = CPU
            with reductions_divided(models):
                outputs = call_model(step, args, kwargs)
                # A pipeline, or a function that runs a whole step, has computed gradients already.
                if (self.backward or self.optimizer is not None) and not _has_gradients(models):
                    run_backward(find_differentiable(outputs))
            # As in a training step, the optimizer finds gradients only.
            del outputs
            if self.optimizer is not None:
                with modes_swapped([mode], []):
                    stepping = make_optimizer(self.optimizer, models)
                    # As for an optimizer that has no state yet.
                    run_step(stepping)
                    if mode.memory_tracker is not None:
                        mode.memory_tracker.note_existing()
                run_step(stepping)
        profile = mode.profile
        mode.release_models()
        return profile

    def _inputs(self, mesh: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        given = self.inputs(mesh) if callable(self.inputs) and not isinstance(self.inputs, Tensor) else self.inputs
        # From tensors on meta, since elements of others need memory.
        made = tree_map_only(Tensor, _fake_input, given)
        if isinstance(made, dict):
            return (), made
        return (tuple(made) if isinstance(made, (tuple, list)) else (made,)), {}


def _fake_input(tensor: Tensor) -> Tensor:
    if not tensor.is_meta:
        return tensor.detach().requires_grad_(tensor.requires_grad)
    made = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=CPU)
    return made.requires_grad_(tensor.requires_grad)


def _has_gradients(models: list[nn.Module]) -> bool:
    return any(each.grad is not None for model in models for each in model.parameters())


def _models_of(model: Any) -> list[nn.Module]:
    """List the models that what was built has: itself, those of a pipeline's stages, or those that a function uses."""
    state = [*bound_state(model), *state_in([closure_state(model), model]), *modules_of_helpers(model)]
    state += modules_of_pipelines(model)
    if not isinstance(model, nn.Module):
        state += reached_state(model)
    return outermost(each for each in state if isinstance(each, nn.Module))


def _on_cpu(tensor: Tensor) -> Tensor:
    made = torch.empty_like(tensor, device=CPU)
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(made.detach(), requires_grad=tensor.requires_grad)
    return made.detach().requires_grad_(tensor.requires_grad)


def with_fake_tensors(step: Callable[..., Any]) -> Callable[..., Any]:
    """Put fake tensors on the CPU in place of those on meta that a function, or another callable, refers to."""
    if isinstance(step, FunctionType):
        replaced = tree_map_only(Tensor, fake_copy, closure_state(step))
        return rebind(step, replaced) if replaced else step
    if not isinstance(step, nn.Module) and hasattr(step, "__dict__"):
        vars(step).update(tree_map_only(Tensor, fake_copy, vars(step)))
    return step


def fake_copy(tensor: Tensor) -> Tensor:
    """Return a tensor on the CPU without known values for a parameter, or for what is on meta; others as they are."""
    return torch.empty_like(tensor, device=CPU) if tensor.is_meta or isinstance(tensor, nn.Parameter) else tensor
