"""Pipelines of torch.distributed.pipelining: which stages of a pipeline a schedule runs on this rank."""

from __future__ import annotations

import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_STAGE, _SCHEDULES = "torch.distributed.pipelining.stage", "torch.distributed.pipelining.schedules"


def is_schedule(value: object) -> bool:
    """Return whether a value is a schedule of a pipeline, such as ``ScheduleGPipe``."""
    # Whoever has one has imported this.
    module = sys.modules.get(_SCHEDULES)
    return module is not None and isinstance(value, module._PipelineSchedule)


def lacks_loss(value: Any) -> bool:
    """Return whether a value is a schedule of a pipeline that only runs forward, as it has no loss."""
    return is_schedule(value) and value._loss_fn is None


def stages_of(value: Any) -> list[Any]:
    """Return the stages that a schedule runs on this rank, or a stage; none if the value is something else."""
    if is_schedule(value):
        return list(value._stages) if hasattr(value, "_stages") else [value._stage]
    module = sys.modules.get(_STAGE)
    return [value] if module is not None and isinstance(value, module._PipelineStageBase) else []


class StageNotRunError(Exception):
    """Report that a stage needs the shapes that another one sends, whose rank was not run yet.

    Attributes:
        rank: The rank of the other stage.
    """

    def __init__(self, rank: int) -> None:
        super().__init__(f"The shapes of a stage of rank {rank} are not known yet.")
        self.rank = rank


class StageShapes(dict[tuple[int, int, int], Any]):
    """Hold the shapes that stages of a pipeline send to one another, by rank and number of the sender, and receiver."""


@contextmanager
def stage_shapes_exchanged(shapes: StageShapes, rank: int) -> Iterator[None]:
    """Let stages of a pipeline learn the shapes of inputs and gradients from ranks that ran before in this process.

    Args:
        shapes: What is known; gets what this rank sends.
        rank: This rank.

    Raises:
        StageNotRunError: Inside, if a rank must run first.
    """
    module = sys.modules.get(_STAGE)
    with ExitStack() as stack:
        if module is not None:
            owner: Any = module.PipelineStage

            def send(stage: Any, meta: Any, to: int) -> None:
                shapes[rank, stage.stage_index, to] = meta

            def receive(stage: Any, sender: int) -> Any:
                other = stage._resolve_peer_global_rank(sender)
                if (other, sender, stage.stage_index) not in shapes:
                    raise StageNotRunError(other)
                return shapes[other, sender, stage.stage_index]

            def learn_shapes(schedule: Any, stages: list[Any], has_backward: bool, p2p_done: bool) -> None:
                # Ranks vote on whether shapes are sent. With a fake process group PyTorch 2.14 refuses to, since no
                # vote arrives there; here the shapes do.
                if not all(isinstance(stage, owner) for stage in stages):
                    warm_up(schedule, stages, has_backward, p2p_done)
                    return
                mode = module.InferenceMode
                dynamic = any(mode.needs_dynamic(stage._user_meta, has_backward) for stage in stages)
                for stage in stages:
                    stage._inference_mode = mode.DYNAMIC if dynamic else mode.STATIC

            schedule_class = sys.modules[_SCHEDULES]._PipelineSchedule
            warm_up = schedule_class._warmup_p2p
            replaced = [
                (owner, "_send_meta", send),
                (owner, "_recv_meta", receive),
                (schedule_class, "_warmup_p2p", learn_shapes),
            ]
            for changed, name, function in replaced:
                if name in vars(changed):
                    stack.callback(setattr, changed, name, vars(changed)[name])
                    setattr(changed, name, function)
        yield
