"""Distributed tensors: ``DTensor``, which runs operators on the tensor of this rank, and plans where results lie."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from torch.utils._pytree import tree_leaves

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType

    from torch import Tensor

_TENSOR_MODULE = "torch.distributed.tensor"

PROPAGATION_MODULE = "torch.distributed.tensor._sharding_prop"
"""The module that plans which ranks hold what of a result, by running the operator on fake tensors of global shapes."""

# A plan is looked up in the cache of the thread, which was made for the functions of the propagator, or made anew.
_PROPAGATIONS = (
    ("LocalLRUCache", "__call__"),
    ("ShardingPropagator", "propagate_op_sharding_non_cached"),
    ("ShardingPropagator", "_propagate_tensor_meta_non_cached"),
)


def sharding_propagations(module: ModuleType) -> list[tuple[Any, str]]:
    """Return the methods of a module that plan where results lie."""
    if module.__name__ != PROPAGATION_MODULE:
        return []
    owners = ((getattr(module, owner, None), name) for owner, name in _PROPAGATIONS)
    return [(owner, name) for owner, name in owners if name in getattr(owner, "__dict__", ())]


def loaded_sharding_propagations() -> list[tuple[Any, str]]:
    """Return the methods that plan where results lie, if their module is loaded."""
    module = sys.modules.get(PROPAGATION_MODULE)
    return [] if module is None else sharding_propagations(module)


def are_distributed(types: Iterable[type[Any]]) -> bool:
    """Return whether a distributed tensor is among the arguments of a call, given by their types."""
    found = _distributed_class()
    return found is not None and any(issubclass(cls, found) for cls in types)


def distributed_types(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[type[Any], ...]:
    """Return the types of the distributed tensors among the arguments of a call."""
    found = _distributed_class()
    if found is None:
        return ()
    return tuple(type(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, found))


def is_distributed(tensor: Any) -> bool:
    """Return whether a tensor is a distributed one."""
    return are_distributed((type(tensor),))


def local_part(tensor: Any) -> Tensor:
    """Return the tensor of this rank that a distributed tensor holds."""
    part: Tensor = tensor._local_tensor
    return part


def with_local_part(tensor: Any, part: Tensor) -> Tensor:
    """Make a distributed tensor that is laid out as another one, of another tensor of this rank."""
    layout = {"shape": tensor.shape, "stride": tensor.stride()}
    made: Tensor = type(tensor).from_local(part, tensor.device_mesh, tensor.placements, run_check=False, **layout)
    return made


def _distributed_class() -> type[Any] | None:
    # Whoever has a distributed tensor has imported this. While it is being imported, the class may be missing.
    return getattr(sys.modules.get(_TENSOR_MODULE), "DTensor", None)
