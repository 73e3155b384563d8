"""Pipelines of torch.distributed.pipelining: which stages of a pipeline a schedule runs on this rank."""

from __future__ import annotations

import sys
from typing import Any

_SCHEDULES = "torch.distributed.pipelining.schedules"


def is_schedule(value: object) -> bool:
    """Return whether a value is a schedule of a pipeline, such as ``ScheduleGPipe``."""
    # Whoever has one has imported this.
    module = sys.modules.get(_SCHEDULES)
    return module is not None and isinstance(value, module._PipelineSchedule)


def stages_of(schedule: Any) -> list[Any]:
    """Return the stages that a schedule runs on this rank."""
    return list(schedule._stages) if hasattr(schedule, "_stages") else [schedule._stage]
