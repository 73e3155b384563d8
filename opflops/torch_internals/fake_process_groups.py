"""Process groups without processes: one rank of a cluster, whose collectives communicate nothing."""

from __future__ import annotations

import random
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.overrides import TorchFunctionMode

from opflops.torch_internals.modules import DATA_PARALLEL, distributed_by

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from types import FrameType

    from torch.distributed.device_mesh import DeviceMesh

# What asks these for its rank asks for something that only depends on how tensors are sharded.
_SHARDING_PACKAGES = (
    "torch.distributed.tensor",
    "torch.distributed.fsdp._fully_shard",
    "torch.distributed._composable",
)
# It sends tensors from one rank to the others, which distributes parameters before the step.
_SCATTERING_MODULE = "torch.distributed.tensor._collective_utils"
_GROUP_MODULES = tuple(f"torch.distributed.{name}" for name in ("distributed_c10d", "c10d_logger", "device_mesh"))
# The functions of these modules by which a program asks for its rank; the others make groups, or check arguments.
_RANK_GETTERS = frozenset({"get_rank", "get_local_rank", "get_coordinate", "get_node_local_rank", "get_group_rank"})


class RankRead(NamedTuple):
    """Say where a program asked which rank it is.

    Attributes:
        dimensions: The dimensions of the mesh along which the ranks of the group differ.
        source: The line, such as ``"train.py:12"``.
    """

    dimensions: tuple[str, ...]
    source: str


def is_distributed_available() -> bool:
    """Return whether this build of PyTorch has torch.distributed."""
    return torch.distributed.is_available()


def existing_process_group() -> str:
    """Describe the process group that the program has; "" if it has none."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return ""
    return f"{torch.distributed.get_backend()}, {torch.distributed.get_world_size()} ranks"


@contextmanager
def fake_rank(rank: int, mesh: Mapping[str, int]) -> Iterator[DeviceMesh]:
    """Be one rank of a mesh of processes that do not exist, until the end of the block.

    There must be no process group yet; afterwards there is none.

    Args:
        rank: The rank.
        mesh: The sizes of the dimensions of the mesh, by name.

    Yields:
        The mesh.
    """
    from torch.distributed.device_mesh import init_device_mesh  # noqa: PLC0415 - not in every build
    from torch.distributed.tensor import _random  # noqa: PLC0415 - as above
    from torch.nn import parallel  # noqa: PLC0415 - as above
    from torch.testing._internal.distributed.fake_pg import FakeStore  # noqa: PLC0415 - as above

    world = 1
    for size in mesh.values():
        world *= size
    # Making a group replaces what writes tracebacks.
    tracker, hook = _random._rng_tracker, sys.excepthook
    # Collectives on meta draw numbers. All ranks begin with the same, as those with one seed.
    numbers, torch_numbers = random.getstate(), torch.get_rng_state()
    data_parallel: Any = parallel.distributed
    verify = data_parallel._verify_param_shape_across_processes
    try:
        # It compares what the ranks sent.
        data_parallel._verify_param_shape_across_processes = lambda *_args, **_kwargs: True
        _random._rng_tracker = None
        # Plans of where results lie refer to the meshes of another rank.
        _forget_sharding()
        torch.distributed.init_process_group("fake", store=FakeStore(), rank=rank, world_size=world)
        yield init_device_mesh("cpu", tuple(mesh.values()), mesh_dim_names=tuple(mesh))
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        random.setstate(numbers)
        torch.set_rng_state(torch_numbers)
        _random._rng_tracker, sys.excepthook = tracker, hook
        data_parallel._verify_param_shape_across_processes = verify
        _forget_sharding()


class _CreatedOn(TorchFunctionMode):
    """Create tensors on a device that are asked for on meta, also by ``with torch.device("meta")``."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self._device = device

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if (device := kwargs.get("device")) is not None and torch.device(device).type == "meta":
            # Fake tensors are made of such on meta.
            asking = str(sys._getframe(1).f_globals.get("__name__"))
            if not asking.startswith(("torch._", "opflops.")):
                kwargs = {**kwargs, "device": self._device}
        return func(*args, **kwargs)


def created_on(device: torch.device) -> TorchFunctionMode:
    """Return a context in which tensors that are asked for on meta are on another device."""
    return _CreatedOn(device)


def needs_its_tensors(model: torch.nn.Module) -> bool:
    """Return whether a wrapper in a model keeps the tensors that it found, so that they cannot be replaced."""
    wrappers = (DATA_PARALLEL, "FullyShardedDataParallel")
    return any(distributed_by(module) in wrappers for module in model.modules())


def _forget_sharding() -> None:
    """Forget the results of sharding propagation, which refer to meshes, which refer to the rank."""
    from torch.distributed.tensor import DTensor, _redistribute  # noqa: PLC0415 - as above

    # As the functions of torch.distributed.tensor.debug do, whose import takes seconds.
    propagator: Any = DTensor._op_dispatcher.sharding_propagator
    propagator.propagate_op_sharding.cache_clear()
    torch._C._clear_DTensor_sharding_propagator_cache()
    _redistribute.clear_redistribute_planner_cache()


def uneven_shapes(
    tensors: Iterable[Any], mesh: Mapping[str, int]
) -> list[Callable[[tuple[int, ...]], tuple[int, ...]]]:
    """Return functions from the coordinates of a rank in the mesh to the shapes that it holds of distributed tensors.

    Those whose shards are even are left out, and those that are distributed over groups that are not of the mesh.

    Args:
        tensors: Tensors of any kind.
        mesh: The sizes of the dimensions of the mesh, by name.
    """
    from torch.distributed.tensor import DTensor  # noqa: PLC0415 - as above

    found = {}
    for tensor in tensors:
        if not isinstance(tensor, DTensor):
            continue
        names, placements = tensor.device_mesh.mesh_dim_names, tensor.placements
        if names and all(name in mesh for name in names) and _is_uneven(tensor):
            axes = tuple([*mesh].index(name) for name in names)
            found[tensor.shape, axes, placements] = _shape_at(tensor.shape, tensor.device_mesh.shape, axes, placements)
    return [*found.values()]


def _is_uneven(tensor: Any) -> bool:
    parts: dict[int, int] = {}
    for placement, size in zip(tensor.placements, tensor.device_mesh.shape, strict=True):
        # Replicated and partial ones have no dimension.
        if (dimension := getattr(placement, "dim", None)) is not None:
            parts[dimension] = parts.get(dimension, 1) * size
    return any(tensor.shape[dimension] % part for dimension, part in parts.items())


def _shape_at(
    shape: tuple[int, ...], sizes: tuple[int, ...], axes: tuple[int, ...], placements: Any
) -> Callable[[tuple[int, ...]], tuple[int, ...]]:
    from torch.distributed.tensor import _utils  # noqa: PLC0415 - as above

    def at(coordinates: tuple[int, ...]) -> tuple[int, ...]:
        here = [coordinates[axis] for axis in axes]
        return _utils._compute_local_shape_and_global_offset(shape, sizes, here, placements, skip_offset=True)[0]

    return at


class RankReads(dict[RankRead, None]):
    """Hold where a program asks for its rank, other than to shard tensors.

    Attributes:
        in_step: Whether the program runs its step, and not what comes before it and is not counted.
    """

    in_step = False


@contextmanager
def rank_reads(mesh: Mapping[str, int]) -> Iterator[RankReads]:
    """Collect where a program asks for its rank, other than to shard tensors.

    Args:
        mesh: The sizes of the dimensions of the mesh, by name.
    """
    from torch.distributed import ProcessGroup, get_process_group_ranks  # noqa: PLC0415 - as above
    from torch.distributed.device_mesh import DeviceMesh  # noqa: PLC0415 - as above

    reads = RankReads()

    def dimensions_of(ranks: list[int]) -> tuple[str, ...]:
        where = [coordinates_of(rank, mesh) for rank in ranks]
        return tuple(name for axis, name in enumerate(mesh) if len({each[axis] for each in where}) > 1)

    def note(ranks: Callable[[], list[int]], frame: FrameType) -> None:
        asking = _asking_frame(frame, in_step=reads.in_step)
        if asking is not None and (dimensions := dimensions_of(ranks())):
            name = asking.f_code.co_filename.replace("\\", "/").rpartition("/")[2]
            reads[RankRead(dimensions, f"{name}:{asking.f_lineno}")] = None

    def noting_group(original: Callable[..., Any]) -> Callable[..., Any]:
        def rank(group: Any) -> Any:
            frame = sys._getframe(1)
            # Of a group, the rank in it is asked for, and found from that in the world.
            asked = frame.f_locals.get("group") if frame.f_code is torch.distributed.get_rank.__code__ else None
            note(lambda: get_process_group_ranks(group if asked is None else asked), frame)
            return original(group)

        return rank

    def noting_mesh(original: Callable[..., Any]) -> Callable[..., Any]:
        name = original.__name__

        def method(self: Any, *args: Any, **kwargs: Any) -> Any:
            frame = sys._getframe(1)
            # C++ code asks too, in the name of whatever Python runs.
            if name in (*frame.f_code.co_names, *frame.f_code.co_consts):
                note(lambda: _ranks_asked_for(self, name, *args, **kwargs), frame)
            return original(self, *args, **kwargs)

        return method

    with ExitStack() as stack:
        patched: list[tuple[Any, str, Any]] = [(ProcessGroup, "rank", noting_group)]
        patched += [(DeviceMesh, name, noting_mesh) for name in ("get_rank", "get_local_rank", "get_coordinate")]
        for owner, name, wrap in patched:
            # Not what getattr() returns, which is no method any more for a class of C++.
            original = vars(owner)[name]
            setattr(owner, name, wrap(getattr(owner, name)))
            stack.callback(setattr, owner, name, original)
        yield reads


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
        return torch.distributed.get_process_group_ranks(mesh.get_group(mesh_dim))
    return [int(each) for each in mesh.mesh.flatten().tolist()]


def _asking_frame(frame: FrameType | None, *, in_step: bool) -> FrameType | None:
    """Return the frame outside torch.distributed's groups that asks for a rank; None if it needs not be known."""
    entry = None
    while frame is not None and frame.f_globals.get("__name__") in (*_GROUP_MODULES, __name__):
        entry = frame if frame.f_globals.get("__name__") != __name__ else entry
        frame = frame.f_back
    if frame is None or (entry is not None and entry.f_code.co_name not in _RANK_GETTERS):
        return None
    name = str(frame.f_globals.get("__name__"))
    if name == _SCATTERING_MODULE and in_step:
        return frame
    return None if any(name == each or name.startswith(f"{each}.") for each in _SHARDING_PACKAGES) else frame
