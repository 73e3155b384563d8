"""Process groups without processes: one rank of a cluster, whose collectives communicate nothing."""

from __future__ import annotations

import random
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch.overrides import TorchFunctionMode

from opflops.torch_internals.modules import DATA_PARALLEL, distributed_by

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from torch.distributed.device_mesh import DeviceMesh


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


def finish_sharding(model: torch.nn.Module) -> None:
    """Let ``fully_shard`` pad the parameters that it finds, as it does before the first step alone."""
    module = sys.modules.get("torch.distributed.fsdp._fully_shard._fsdp_state")
    if module is None:
        return
    for each in model.modules():
        state: Any = module._get_module_fsdp_state(each)
        # Older versions have one group, or none.
        groups = getattr(state, "_fsdp_param_groups", None) or [getattr(state, "_fsdp_param_group", None)]
        for group in groups:
            if group is not None and group.is_sharded and not group._reset_sharded_params:
                for parameter in group.fsdp_params:
                    parameter.reset_sharded_param()
                    parameter._init_extensions()
                group._reset_sharded_params = True


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
