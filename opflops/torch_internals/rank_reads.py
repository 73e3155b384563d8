"""Where a program asks which rank it is, by its number, its place in a mesh, or the groups that it is in."""

from __future__ import annotations

import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from types import FrameType

# What asks these for its rank asks for something that only depends on how tensors are sharded.
_SHARDING_PACKAGES = (
    "torch.distributed.tensor",
    "torch.distributed.fsdp._fully_shard",
    "torch.distributed._composable",
)
# It sends tensors from one rank to the others, which distributes parameters before the step.
_SCATTERING_MODULE = "torch.distributed.tensor._collective_utils"
_GROUP_MODULES = tuple(f"torch.distributed.{name}" for name in ("distributed_c10d", "device_mesh"))
# Decorates many functions of these.
_DECORATORS = "torch.distributed.c10d_logger"
# The functions of these modules by which a program asks for its rank; the others make groups, or check arguments.
_RANK_GETTERS = frozenset(
    {"get_rank", "get_local_rank", "get_coordinate", "get_node_local_rank", "get_group_rank", "split_group"}
)
# Those that say which ranks are in a group, and those by which it makes groups of ranks that it lists.
_MEMBER_GETTERS = frozenset({"get_process_group_ranks", "get_global_rank", "get_group_rank"})
_GROUP_MAKERS = frozenset({"new_group", "new_subgroups", "new_subgroups_by_enumeration"})


class RankRead(NamedTuple):
    """Say where a program asked which rank it is.

    Attributes:
        dimensions: The dimensions of the mesh along which ranks get different answers.
        source: The line, such as ``"train.py:12"``.
        members: If the answer is only whether a rank is one of some, these; None if it depends on all coordinates.
    """

    dimensions: tuple[str, ...]
    source: str
    members: frozenset[int] | None = None


class RankReads(dict[RankRead, None]):
    """Hold where a program asks for its rank, other than to shard tensors.

    Attributes:
        in_step: Whether the program runs its step, and not what comes before it and is not counted.
    """

    in_step = False


class _Noting:
    """Note where a program asks.

    Args:
        mesh: The sizes of the dimensions of the mesh, by name.
        reads: Gets what is noted.
    """

    def __init__(self, mesh: Mapping[str, int], reads: RankReads) -> None:
        self._mesh, self._reads = mesh, reads

    def place(self, ranks: Callable[[], list[int]], frame: FrameType) -> None:
        """Note that the program asks for its place among some ranks."""
        if asking := _asking_frame(frame, _RANK_GETTERS, in_step=self._reads.in_step):
            self._add(asking, self._dimensions_of(ranks()))

    def others(self, ranks: Callable[[], Iterable[int]], frame: FrameType) -> None:
        """Note that the program asks for the ranks with which it is in a group, or a mesh."""
        asking = _asking_frame(frame, _MEMBER_GETTERS)
        # PyTorch asks to communicate.
        if asking and not str(asking.f_globals.get("__name__")).startswith(("torch.", "opflops.")):
            group = {*ranks()}
            here = self._dimensions_of(group)
            size = 1
            for name in here:
                size *= self._mesh[name]
            # Ranks that are not all of some dimensions may be in a group of any kind elsewhere.
            self._add(asking, tuple(name for name in self._mesh if size != len(group) or name not in here))

    def membership(self, ranks: Iterable[int], frame: FrameType) -> None:
        """Note that the program asks whether it is one of some ranks."""
        if asking := _asking_frame(frame, _GROUP_MAKERS):
            members = frozenset(ranks)
            if len(members) < torch.distributed.get_world_size():
                self._add(asking, tuple(self._mesh), members)

    def _add(self, asking: FrameType, dimensions: tuple[str, ...], members: frozenset[int] | None = None) -> None:
        if dimensions:
            name = asking.f_code.co_filename.replace("\\", "/").rpartition("/")[2]
            self._reads[RankRead(dimensions, f"{name}:{asking.f_lineno}", members)] = None

    def _dimensions_of(self, ranks: Iterable[int]) -> tuple[str, ...]:
        where = [coordinates_of(rank, self._mesh) for rank in ranks]
        return tuple(name for axis, name in enumerate(self._mesh) if len({each[axis] for each in where}) > 1)


@contextmanager
def rank_reads(mesh: Mapping[str, int]) -> Iterator[RankReads]:
    """Collect where a program asks for its rank, other than to shard tensors.

    Args:
        mesh: The sizes of the dimensions of the mesh, by name.
    """
    from torch.distributed import ProcessGroup, distributed_c10d  # noqa: PLC0415 - not in every build
    from torch.distributed.device_mesh import DeviceMesh  # noqa: PLC0415 - as above

    reads = RankReads()
    note = _Noting(mesh, reads)
    members = _noting_members(note, distributed_c10d._pg_group_ranks)
    with ExitStack() as stack:
        for owner, name, replacement in (
            (ProcessGroup, "rank", _noting_group(note, ProcessGroup.rank)),
            *(
                (DeviceMesh, name, _noting_mesh(note, getattr(DeviceMesh, name)))
                for name in ("get_rank", "get_local_rank", "get_coordinate")
            ),
            (DeviceMesh, "__init__", _noting_new_mesh(note, DeviceMesh.__init__)),
            (DeviceMesh, "mesh", _noting_ranks(note, vars(DeviceMesh).get("mesh"))),
            (distributed_c10d, "_new_group_with_tag", _noting_new_group(note, distributed_c10d._new_group_with_tag)),
            (distributed_c10d._World, "pg_group_ranks", members),
        ):
            # Not what getattr() returns, which is no method any more for a class of C++.
            if name in vars(owner):
                stack.callback(setattr, owner, name, vars(owner)[name])
            else:
                stack.callback(delattr, owner, name)
            setattr(owner, name, replacement)
        yield reads


def _noting_group(note: _Noting, original: Callable[..., Any]) -> Callable[..., Any]:
    def rank(group: Any) -> Any:
        frame = sys._getframe(1)
        # Of a group, the rank in it is asked for, and found from that in the world.
        asked = frame.f_locals.get("group") if frame.f_code is torch.distributed.get_rank.__code__ else None
        note.place(lambda: _ranks_of_group(group if asked is None else asked), frame)
        return original(group)

    return rank


def _noting_mesh(note: _Noting, original: Callable[..., Any]) -> Callable[..., Any]:
    name = original.__name__

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        frame = sys._getframe(1)
        # C++ code asks too, in the name of whatever Python runs.
        if name in (*frame.f_code.co_names, *frame.f_code.co_consts):
            note.place(lambda: _ranks_asked_for(self, name, *args, **kwargs), frame)
        return original(self, *args, **kwargs)

    return method


def _noting_new_group(note: _Noting, original: Callable[..., Any]) -> Callable[..., Any]:
    def new_group(ranks: Any = None, *args: Any, **kwargs: Any) -> Any:
        if ranks is not None:
            note.membership(ranks, sys._getframe(1))
        return original(ranks, *args, **kwargs)

    return new_group


def _noting_new_mesh(note: _Noting, original: Callable[..., Any]) -> Callable[..., Any]:
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        if len(args) > 1 or kwargs.get("mesh") is not None:
            given = torch.as_tensor(args[1] if len(args) > 1 else kwargs["mesh"], device="cpu")
            note.membership(given.flatten().tolist(), sys._getframe(1))

    return init


def _noting_members(note: _Noting, group_ranks: dict[Any, dict[int, int]]) -> property:
    def known(_world: Any) -> dict[Any, dict[int, int]]:
        frame = sys._getframe(1)
        if frame.f_code.co_name in _MEMBER_GETTERS and (group := frame.f_locals.get("group")) in group_ranks:
            note.others(lambda: group_ranks[group], frame)
        return group_ranks

    return property(known)


def _noting_ranks(note: _Noting, original: property | None) -> property:
    def ranks(made: Any) -> torch.Tensor:
        # Older versions keep it in the object.
        found: torch.Tensor = vars(made)["mesh"] if original is None else original.__get__(made)
        note.others(lambda: [int(each) for each in found.flatten().tolist()], sys._getframe(1))
        return found

    def keep(made: Any, value: torch.Tensor) -> None:
        vars(made)["mesh"] = value

    return property(ranks, keep)


def _ranks_of_group(group: Any) -> list[int]:
    return list(torch.distributed.distributed_c10d._pg_group_ranks[group])


def coordinates_of(rank: int, mesh: Mapping[str, int]) -> tuple[int, ...]:
    """Return the coordinates of a rank in a mesh; the last dimension varies fastest."""
    found = []
    for size in reversed([*mesh.values()]):
        rank, coordinate = divmod(rank, size)
        found.append(coordinate)
    return tuple(reversed(found))


def _ranks_asked_for(mesh: Any, method: str, mesh_dim: int | str | None = None) -> list[int]:
    """List the ranks among which a method of a mesh says which one this is."""
    if method == "get_local_rank" and (mesh_dim is not None or mesh.ndim == 1):
        return _ranks_of_group(mesh.get_group(mesh_dim))
    return [int(each) for each in mesh.mesh.flatten().tolist()]


def _asking_frame(frame: FrameType | None, getters: frozenset[str], *, in_step: bool = False) -> FrameType | None:
    """Return the frame outside torch.distributed's groups that asks by a function; None if it needs not be known."""
    entry = None
    while frame is not None and frame.f_globals.get("__name__") in (*_GROUP_MODULES, _DECORATORS, __name__):
        entry = frame if frame.f_globals.get("__name__") in _GROUP_MODULES else entry
        frame = frame.f_back
    if frame is None or (entry is not None and entry.f_code.co_name not in getters):
        return None
    name = str(frame.f_globals.get("__name__"))
    if name == _SCATTERING_MODULE and in_step:
        return frame
    return None if any(name == each or name.startswith(f"{each}.") for each in _SHARDING_PACKAGES) else frame
