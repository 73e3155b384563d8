"""Process groups of torch.distributed."""

from __future__ import annotations

import gc
import sys
import weakref
from typing import Any, NamedTuple

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


def rank_in(group: Any) -> int:
    """Return the rank of this process in a group, given as for :func:`process_group`."""
    return int(process_group(group).rank())


_REDUCTIONS = {0: "sum", 1: "avg", 2: "product", 3: "min", 4: "max", 5: "band", 6: "bor", 7: "bxor", 8: "premul_sum"}


def name_reduction(reduction: Any) -> str:
    """Return the name of a ``c10d.ReduceOp``, as functional collectives write it; "" if it cannot be read.

    Args:
        reduction: The ``torch.ScriptObject`` that the dispatcher passes, which has the number of an enumeration.
    """
    try:
        return _REDUCTIONS.get(int(reduction.op()), "")
    except (AttributeError, RuntimeError, TypeError):
        return ""


def name_group(group: Any) -> str:
    """Name a process group as rows do: by its mesh dimension, or its description, and by its number of ranks.

    Args:
        group: As for :func:`process_group`. A name that this process does not know, as in a program that was traced
            elsewhere, is returned as "".
    """
    try:
        found = process_group(group)
        size, description = int(found.size()), str(found.group_desc)
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError):
        return ""
    if description in _NO_NAMES or any(part in description for part in _MADE_OF_OTHERS):
        return group_text(_name_by_meshes(found), size)
    return group_text(description.removeprefix(_OF_MESH), size)


# How descriptions of the groups of meshes begin, and those of groups that nobody named.
_OF_MESH = "mesh_"
_NO_NAMES = ("undefined", "default_pg", "mesh_default", "")
# What it adds for a group that it makes of another one, with a number.
_MADE_OF_OTHERS = (":split:", ":shrunk")


class _Meshes(NamedTuple):
    """Hold the meshes that there are, as long as these are all.

    Attributes:
        meshes: The meshes, which this does not keep alive.
        references: How many references to their class there were: each mesh has one.
        names: The names of groups among them, each with the group, by how PyTorch names it; "" if no mesh has it.
    """

    meshes: tuple[weakref.ref[Any], ...]
    references: int
    names: dict[str, tuple[weakref.ref[Any], str]]


_known = _Meshes((), -1, {})


def _name_by_meshes(group: Any) -> str:
    """Return the names of the mesh dimensions that a group is, as the group of all ranks may be; "" if there are none.

    A mesh that spans all ranks uses their group and gives it no description, so the meshes are looked for. Several may
    share it; nothing tells which of them a collective was for.
    """
    global _known  # noqa: PLW0603 - a cache of what the garbage collector takes long to find
    kind = getattr(sys.modules.get("torch.distributed.device_mesh"), "DeviceMesh", None)
    if kind is None:
        return ""
    meshes = [mesh() for mesh in _known.meshes]
    if any(mesh is None for mesh in meshes) or sys.getrefcount(kind) != _known.references:
        meshes = [mesh for mesh in gc.get_referrers(kind) if type(mesh) is kind]
        _known = _Meshes(tuple(map(weakref.ref, meshes)), sys.getrefcount(kind), {})
    last = _known.names.get(group.group_name)
    if last is not None and last[0]() is group:
        return last[1]
    names = {name for mesh in meshes for name, each in _dimensions(mesh) if each is group}
    name = "/".join(sorted(names))
    _known.names[group.group_name] = (weakref.ref(group), name)
    return name


def _dimensions(mesh: Any) -> list[tuple[str, Any]]:
    """List the dimensions of a mesh, by their names, and their groups; none if this rank is not part of it."""
    try:
        groups = mesh.get_all_groups()
        # A mesh finds its groups by their names. One that outlived its groups finds those that have their names now.
        made_of = getattr(mesh._root_mesh or mesh, "_pg_registry", {})
    except (AttributeError, LookupError, RuntimeError):
        return []
    return [
        (name, group)
        for name, group in zip(mesh.mesh_dim_names or (), groups, strict=False)
        if made_of.get(group.group_name, group) is group
    ]
