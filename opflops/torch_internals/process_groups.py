"""Process groups of torch.distributed."""

from __future__ import annotations

from typing import Any

import torch

from opflops.records.groups import group_text


def process_group(group: Any) -> Any:
    """Return a process group.

    Args:
        group: The group, its name, or the ``torch.ScriptObject`` that the dispatcher passes.
    """
    from torch.distributed import ProcessGroup, distributed_c10d  # noqa: PLC0415 - not in every build

    if isinstance(group, str):
        groups: Any = distributed_c10d
        return groups._resolve_process_group(group)
    return ProcessGroup.unbox(group) if isinstance(group, torch.ScriptObject) else group


def ranks_of(group: Any) -> int:
    """Return the number of ranks of a process group, given as for :func:`process_group`."""
    return int(process_group(group).size())


def name_group(group: Any) -> str:
    """Name a process group as rows do: by its mesh dimension, or its description, and by its number of ranks.

    Args:
        group: As for :func:`process_group`.
    """
    found = process_group(group)
    return group_text(_mesh_dimension(str(found.group_desc)), int(found.size()))


# What PyTorch calls groups that nobody named.
_NO_NAMES = ("undefined", "default_pg", "")


def _mesh_dimension(description: str) -> str:
    """Return the name in the description of a group; meshes call theirs ``mesh_tp``."""
    return "" if description in _NO_NAMES else description.removeprefix("mesh_")
