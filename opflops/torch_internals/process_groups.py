"""Process groups of torch.distributed."""

from __future__ import annotations

from typing import Any

import torch


def ranks_of(group: Any) -> int:
    """Return the number of ranks of a process group.

    Args:
        group: The group, its name, or the ``torch.ScriptObject`` that the dispatcher passes.
    """
    from torch.distributed import ProcessGroup, distributed_c10d  # noqa: PLC0415 - not in every build

    if isinstance(group, str):
        groups: Any = distributed_c10d
        group = groups._resolve_process_group(group)
    elif isinstance(group, torch.ScriptObject):
        group = ProcessGroup.unbox(group)
    return int(group.size())
