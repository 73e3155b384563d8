"""The wrappers of torch.distributed: what FSDP, data parallelism and pipelines call, and whose tensors that moves.

Nothing here imports them.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from opflops.torch_internals.dispatch import modes_disabled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from types import ModuleType

    from torch import nn

_C10D = "torch.distributed.distributed_c10d"
GROUP_CREATED = "_update_default_pg"
"""What ``init_process_group`` calls with the default process group, and the end of it with None."""

UNIT_GATHER = "gather a unit's parameters"
UNIT_REDUCE = "reduce a unit's gradients"
FLAT_GATHER = "gather a flat parameter"
DATA_PARALLEL = "end the forward of a data-parallel model"
PARALLEL_REST = "keep the copies of a data-parallel model equal"
JOINED = "repeat the reductions of other ranks"
BUCKET = "give a hook the gradients of a bucket"
CALLBACK = "call a function once a future is complete"
STAGE_RUN = "run a microbatch in a stage"
STAGE_END = "end the backward of a stage"
STAGE_WEIGHTS = "add gradients to those of the parameters of a stage"
FORWARD_MESSAGES = "list the messages of a microbatch's forward"
BACKWARD_MESSAGES = "list those of its backward"
SETUP = "set up a pipeline"
SCHEDULE_RUN = "run a step of a pipeline"

OPTIMIZER_WORK = "clip gradients or average parameters"

_GROUPS = "torch.distributed.fsdp._fully_shard._fsdp_param_group", "FSDPParamGroup"
_HANDLES = "torch.distributed.fsdp._flat_param", "FlatParamHandle"
_PARALLEL = "torch.nn.parallel.distributed", "DistributedDataParallel"
_BUCKETS = "torch._C._distributed_c10d", "GradBucket"
_FUTURES = "torch._C", "Future"
_STAGES = "torch.distributed.pipelining.stage", "_PipelineStageBase"
_SCHEDULES = "torch.distributed.pipelining.schedules"
_FLAT = "torch.distributed.fsdp.fully_sharded_data_parallel", "FullyShardedDataParallel"
# The functions that the averagers of parameters call.
_AVERAGING = "torch.distributed.algorithms.model_averaging.utils"

_CALLABLES = (
    (*_GROUPS, ("unshard", "wait_for_unshard"), UNIT_GATHER),
    (*_GROUPS, ("post_backward",), UNIT_REDUCE),
    (*_HANDLES, ("pre_unshard", "unshard"), FLAT_GATHER),
    (*_PARALLEL, ("_post_forward",), DATA_PARALLEL),
    (*_PARALLEL, ("_sync_final_model", "_match_unused_params_allreduce"), PARALLEL_REST),
    (*_PARALLEL, ("_match_all_reduce_for_bwd_pass",), JOINED),
    (*_BUCKETS, ("buffer",), BUCKET),
    (*_FUTURES, ("then", "add_done_callback"), CALLBACK),
    (*_STAGES, ("forward_one_chunk", "backward_one_chunk", "backward_weight_one_chunk"), STAGE_RUN),
    (*_STAGES, ("perform_reduce_grad", "scale_grads"), STAGE_END),
    (_STAGES[0], "", ("stage_backward_weight",), STAGE_WEIGHTS),
    (*_STAGES, ("get_fwd_recv_ops", "get_fwd_send_ops"), FORWARD_MESSAGES),
    (*_STAGES, ("get_bwd_recv_ops", "get_bwd_send_ops"), BACKWARD_MESSAGES),
    (_SCHEDULES, "_PipelineSchedule", ("_check_inputs",), SCHEDULE_RUN),
    (_SCHEDULES, "PipelineScheduleSingle", ("_initialize_stage",), SETUP),
    (_SCHEDULES, "PipelineScheduleMulti", ("_initialize_stages",), SETUP),
    (*_FLAT, ("clip_grad_norm_",), OPTIMIZER_WORK),
    (_AVERAGING, "", ("average_parameters", "average_parameters_or_parameter_groups"), OPTIMIZER_WORK),
)

WRAPPER_MODULES = (_GROUPS[0], _HANDLES[0], _STAGES[0], _SCHEDULES, _FLAT[0], _AVERAGING)
"""The modules that a program may import long after ``torch``."""


class WrapperCallable(NamedTuple):
    """Name a function of a wrapper.

    Attributes:
        owner: Its class, or its module.
        name: Its name there.
        purpose: What it does, such as ``UNIT_GATHER``.
    """

    owner: type | ModuleType
    name: str
    purpose: str


def wrapper_callables(module: ModuleType | None = None) -> Iterator[WrapperCallable]:
    """Yield the functions of one module, or of all that are loaded; an older PyTorch lacks some."""
    for module_name, class_name, names, purpose in _CALLABLES:
        if module is not None and module.__name__ != module_name:
            continue
        loaded = sys.modules.get(module_name)
        owner = vars(loaded).get(class_name) if loaded is not None and class_name else loaded
        if owner is not None:
            yield from (WrapperCallable(owner, name, purpose) for name in names if name in vars(owner))


def group_creations() -> list[tuple[ModuleType, str]]:
    """List the function that ``init_process_group`` calls at the end, with its module; none without a group's code."""
    module = sys.modules.get(_C10D)
    return [] if module is None or GROUP_CREATED not in vars(module) else [(module, GROUP_CREATED)]


def has_process_group() -> bool:
    """Return whether there is a default process group, without which no wrapper communicates."""
    module = sys.modules.get(_C10D)
    return module is not None and bool(module._world.default_pg is not None)


def unit_modules(group: Any) -> dict[nn.Module, int]:
    """Return the modules that ``fully_shard`` was given for a group of parameters, with the bytes of each one's."""
    sizes = dict.fromkeys(group.modules, 0)
    if len(sizes) > 1:
        for parameter in group.fsdp_params:
            its_module, size = parameter._module_info.module, parameter._orig_size.numel()
            owner = next((top for top in sizes if any(each is its_module for each in top.modules())), group.modules[0])
            sizes[owner] += size * parameter.sharded_param.dtype.itemsize
    return sizes


def unit_gradients(group: Any) -> list[torch.Tensor]:
    """Return the gradients that a group of parameters of ``fully_shard`` keeps beside those of its leaves.

    These are what the gradients of leaves were reduced to, and what is yet to be reduced.
    """
    kept = [getattr(group, "_partial_reduce_output", None)]
    for parameter in group.fsdp_params:
        kept += [parameter.sharded_param.grad, getattr(parameter, "unsharded_accumulated_grad", None)]
    return [each for each in kept if each is not None]


def flat_parameter_module(handle: Any) -> nn.Module:
    """Return the module whose parameters FSDP made one flat parameter of."""
    module: nn.Module = handle._fully_sharded_module
    return module


# By the handle of each flat parameter. They live as long, so that their identities stay theirs.
_whole: WeakKeyDictionary[Any, list[torch.Tensor]] = WeakKeyDictionary()
_FLAT_NAME = "_flat_param"


def whole_parameters(wrapper: nn.Module) -> dict[int, dict[str, torch.Tensor]]:
    """Return what stands for the parameters that a wrapper of FSDP made one flat one of, of which a rank has a shard.

    These are tensors without memory, of the shapes before, by the identity of the module that registered them, and
    by name. One that was registered twice is the same tensor.
    """
    handle: Any = getattr(wrapper, "_handle", None)
    if handle is None:
        return {}
    flat = handle.flat_param
    standing = _whole.get(handle)
    if standing is None:
        with modes_disabled():
            dtype = handle._orig_param_dtype
            standing = _whole[handle] = [torch.empty(shape, dtype=dtype, device="meta") for shape in flat._shapes]
    # With ``use_orig_params``, each one can be frozen alone.
    for tensor, each in zip(standing, getattr(flat, "_params", None) or [flat] * len(standing), strict=True):
        tensor.requires_grad = each.requires_grad
    found: dict[int, dict[str, torch.Tensor]] = {id(handle._fully_sharded_module): {}}
    first: dict[tuple[int, str], torch.Tensor] = {}
    for info, tensor in zip(flat._param_infos, standing, strict=True):
        first[id(info.module), info.param_name] = tensor
        found.setdefault(id(info.module), {})[info.param_name] = tensor
    for info in flat._shared_param_infos:
        shared = first[id(info.prim_module), info.prim_param_name]
        found.setdefault(id(info.module), {})[info.param_name] = shared
    return found


def with_whole_parameters(registered: Mapping[str, Any], whole: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """Return the parameters that a module registers, with those of :func:`whole_parameters` for their shards."""
    return {**{name: each for name, each in registered.items() if name != _FLAT_NAME}, **whole}


class _WithoutMemory(TorchDispatchMode):
    """Run operators on tensors that have shapes only."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return func(*tree_map_only(torch.Tensor, _shape_of, args), **(kwargs or {}))


def _shape_of(tensor: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(tensor, device="meta")


def gradient_buckets(parallel: Any) -> list[list[torch.Tensor]] | None:
    """List the parameters of each bucket whose gradients ``DistributedDataParallel`` reduces together, in its order.

    Not while a backward runs, when its reducer is locked. None if the reducer cannot tell, as with sparse gradients.
    """
    reducer = getattr(parallel, "reducer", None)
    if reducer is None:
        return []
    with modes_disabled(), _WithoutMemory():  # type: ignore[no-untyped-call]
        try:
            # Each bucket comes with gradients of 0, for which no memory is needed here.
            buckets = reducer._get_zeros_like_grad_buckets()
        except RuntimeError:
            # A bucket without a tensor is one.
            return None
        return [list(bucket.parameters()) for bucket in buckets]


def buckets_version(parallel: Any) -> bool:
    """Return whether the buckets are the second ones of a model, which its second forward makes, and keeps."""
    return bool(getattr(parallel, "_has_rebuilt_buckets", False))


def awaits_backward(parallel: Any) -> bool:
    """Return whether the next backward of a data-parallel model reduces its gradients."""
    return bool(parallel.require_backward_grad_sync) and torch.is_grad_enabled()


def stage_of(stage: Any) -> tuple[nn.Module, int]:
    """Return the module of a stage of a pipeline, and the stage's number."""
    return stage.submod, int(stage.stage_index)


def parallel_stage(stage: Any) -> nn.Module | None:
    """Return the module of a stage if it is data-parallel, whose last backward alone reduces gradients; else None."""
    module: nn.Module = stage.submod
    return module if isinstance(module, torch.nn.parallel.DistributedDataParallel) else None


def map_weight_nodes(groups: list[dict[str, Any]], change: Callable[[Iterable[Any]], Iterable[Any]]) -> None:
    """Change how a zero-bubble schedule goes through the nodes that stand for parameters, of groups of these.

    It adds to the gradient of each parameter as it comes to its node.
    """
    for group in groups:
        group["params"] = change(group["params"])


def message_tensors(messages: Iterable[Any]) -> list[torch.Tensor]:
    """Return what some messages between two ranks send, or where they put what they receive."""
    return [message.tensor for message in messages]


def setup_state(schedule: Any) -> dict[str, Any]:
    """Return what a schedule of a pipeline notes of its having been set up; it is another one afterwards."""
    return {name: value for name, value in vars(schedule).items() if name.endswith("initialized")}


def traced_root_name(module: nn.Module) -> str:
    """Return the class name of the model that a stage was traced from; "" if it was not traced."""
    for each in module.modules():
        graph: Any = getattr(each, "graph", None)
        for node in getattr(graph, "nodes", ()):
            for path, kind in (node.meta.get("nn_module_stack") or {}).values():
                if not path:
                    return str(kind if isinstance(kind, str) else kind.__qualname__).rpartition(".")[2]
    return ""
