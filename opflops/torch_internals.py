"""Every private PyTorch interface that opflops relies on, in one place.

Tried on torch 2.6.0, 2.13.0 and 2.14.1; 2.6 runs no higher-order operator under any mode. Each function has a test in
``tests/test_torch_internals.py`` that fails if its meaning changes.
"""

from __future__ import annotations

import copy
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch._ops import OpOverload, OpOverloadPacket
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeCopyMode,
    FakeTensorMode,
    is_fake,
)
from torch.nested._internal.nested_tensor import NestedTensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager

__all__ = [
    "OpOverload",
    "OpOverloadPacket",
    "TorchDispatchMode",
    "composite_implicit",
    "dispatch_modes",
    "dispatcher_packets",
    "fake_copies",
    "has_values",
    "in_backward",
    "is_jagged",
    "known_to_dispatcher",
    "log2",
    "nested_lengths",
    "packet_of",
    "ranks_of",
    "run_composite",
    "schema_of",
    "sparse_coo_parts",
    "third_party_formulas",
    "unseen",
    "value_dependent_errors",
]

_COMPOSITE_IMPLICIT = torch._C.DispatchKey.CompositeImplicitAutograd

in_backward = torch._C._current_autograd_node
"""Return the autograd node that this thread is running, or None outside a backward pass."""


def schema_of(overload: OpOverload) -> torch.FunctionSchema:
    """Return the schema of an operator: its arguments and results, with what is written and what is shared."""
    return overload._schema


def packet_of(op: Any) -> OpOverloadPacket | None:
    """Return the packet of an overload, or None for what has none (a higher-order operator)."""
    return getattr(op, "_overloadpacket", None)


def sparse_coo_parts(tensor: Tensor) -> tuple[Tensor, Tensor]:
    """Return the indices and values of a COO tensor as they are stored, coalesced or not."""
    with unseen():
        return tensor._indices(), tensor._values()


def nested_lengths(tensor: Tensor) -> list[int]:
    """List the sizes along the first ragged axis of a nested tensor in the strided layout."""
    with unseen():
        lengths: list[int] = tensor._nested_tensor_size()[:, 0].tolist()
    return lengths


def dispatch_modes() -> list[Any]:
    """List the dispatch modes active in this thread, outermost first.

    The list is the dispatcher's own, so it follows the thread into autograd's workers, and a mode that is handling
    an operator is not in it.
    """
    at = torch._C._get_dispatch_stack_at
    return [at(index) for index in range(torch._C._len_torch_dispatch_stack())]


def known_to_dispatcher(overload: OpOverload) -> bool:
    """Tell operators from TorchScript's builtins, such as ``aten::add.int``, which share their packets."""
    try:
        torch._C._dispatch_has_kernel_for_dispatch_key(overload.name(), "CPU")
    except RuntimeError:
        return False
    return True


def composite_implicit(overload: OpOverload) -> bool:
    """Tell whether an operator's kernel, on every device, is to call other operators.

    The Python decompositions that tracing uses do not count: they compute differently from what runs.
    """
    return torch._C._dispatch_has_kernel_for_dispatch_key(overload.name(), "CompositeImplicitAutograd")


def run_composite(overload: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run a composite operator's own kernel, as autograd does, whatever has been put in its place."""
    return overload._op_dk(_COMPOSITE_IMPLICIT, *args, **kwargs)


def is_jagged(types: Iterable[type]) -> bool:
    """Tell whether a nested tensor in the jagged layout is among the tensor subclasses of a call."""
    return any(issubclass(one, NestedTensor) for one in types)


def ranks_of(group: Any) -> int:
    """Count the ranks of a process group: itself, in the box that the dispatcher passes, or its name."""
    from torch.distributed import ProcessGroup, distributed_c10d  # noqa: PLC0415 - not in every build

    if isinstance(group, str):
        groups: Any = distributed_c10d
        group = groups._resolve_process_group(group)
    elif isinstance(group, torch.ScriptObject):
        group = ProcessGroup.unbox(group)
    return int(group.size())


def log2(size: int) -> Any:
    """Take the binary logarithm of a size; a symbolic size stays symbolic."""
    return torch._sym_log2(size)  # type: ignore[attr-defined]


def unseen() -> AbstractContextManager[Any]:
    """Hide the operators that pricing itself runs from every active mode."""
    return _disable_current_modes()


def dispatcher_packets(namespace: str) -> list[OpOverloadPacket]:
    """List the packets of a namespace that the dispatcher knows now, by name."""
    prefix = f"{namespace}::"
    names = {
        name[len(prefix) :].split(".")[0] for name in torch._C._dispatch_get_all_op_names() if name.startswith(prefix)
    }
    return [getattr(getattr(torch.ops, namespace), name) for name in sorted(names)]


def third_party_formulas() -> Mapping[Any, Any]:
    """Return the registry of ``torch.utils.flop_counter``, where libraries publish formulas for their own operators."""
    from torch.utils.flop_counter import flop_registry  # noqa: PLC0415 - only needed for operators unknown to opflops

    return flop_registry


def has_values(tensor: Tensor) -> bool:
    """Tell a tensor whose elements can be read from one that only has a shape (meta, fake)."""
    return not (tensor.is_meta or is_fake(tensor))


def value_dependent_errors() -> tuple[type[Exception], ...]:
    """Return what a fake tensor raises when a program asks for a value that it does not have."""
    return (DataDependentOutputException, DynamicOutputShapeException)


@contextmanager
def fake_copies(originals: Any) -> Iterator[Any]:
    """Yield a deep copy whose tensors have shape, dtype and device but no storage, inside the mode that runs them.

    The copy keeps identity: a tensor or module that stands twice in ``originals`` is one object in the copy too.
    The originals are left as they are.
    """
    # Plain tensors that a forward meets along the way (constants in closures, globals) become fake as they come.
    fake_mode = FakeTensorMode(allow_non_fake_inputs=True)
    with FakeCopyMode(fake_mode):
        copies = copy.deepcopy(originals)
    # Newer versions also log what a fake kernel raises, with a traceback; the caller gets it, and can say it better.
    log = logging.getLogger(FakeTensorMode.__module__)
    silent, log.disabled = log.disabled, True
    try:
        with fake_mode:
            yield copies
    finally:
        log.disabled = silent
