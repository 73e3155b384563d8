"""Process groups."""

from __future__ import annotations

from typing import Any

import torch


def ranks_of(group: Any) -> int:
    """Count the ranks of a process group: itself, in the box that the dispatcher passes, or its name."""
    from torch.distributed import ProcessGroup, distributed_c10d  # noqa: PLC0415 - not in every build

    if isinstance(group, str):
        groups: Any = distributed_c10d
        group = groups._resolve_process_group(group)
    elif isinstance(group, torch.ScriptObject):
        group = ProcessGroup.unbox(group)
    return int(group.size())
