"""Reductions of gradients without processes: the data-parallel wrappers of one rank, on tensors without values."""

from __future__ import annotations

import warnings
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from opflops.torch_internals.dispatch import dispatch_modes, modes_disabled, modes_swapped
from opflops.torch_internals.fake_kernel_fixes import COPY
from opflops.torch_internals.modules import DATA_PARALLEL, distributed_by

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

# The collectives whose first argument is filled.
_FILLING = {"allreduce", "allgather", "_allgather_base", "_reduce_scatter_base", "broadcast", "alltoall_base"}


@contextmanager
def fake_reductions() -> Iterator[None]:
    """Let wrappers reduce gradients; what a fake group returns has no result, which C++ code needs.

    ``replicate()`` makes its wrapper in the first forward.
    """
    from torch.distributed import Reducer  # type: ignore[attr-defined]  # noqa: PLC0415 - not in every build
    from torch.nn.parallel import DistributedDataParallel  # noqa: PLC0415 - as above

    make: Any = DistributedDataParallel.__init__
    prepare, rebuild = vars(DistributedDataParallel)["_pre_forward"], vars(Reducer)["_rebuild_buckets"]

    def prepare_fake(wrapper: Any, *args: Any, **kwargs: Any) -> Any:
        if not wrapper._comm_hooks:
            _average_gradients(wrapper)
        return prepare(wrapper, *args, **kwargs)

    def make_uncounted(wrapper: Any, *args: Any, **kwargs: Any) -> None:
        # replicate() makes one in the first forward.
        with modes_swapped(_modes_that_count(), []):
            make(wrapper, *args, **kwargs)

    def rebuild_fake(reducer: Any) -> bool:
        with _RealIntegers():  # type: ignore[no-untyped-call]
            return bool(rebuild(reducer))

    with ExitStack() as stack:
        for owner, name, replacement in (
            (DistributedDataParallel, "__init__", make_uncounted),
            (DistributedDataParallel, "_pre_forward", prepare_fake),
            (Reducer, "_rebuild_buckets", rebuild_fake),
        ):
            stack.callback(setattr, owner, name, vars(owner)[name])
            setattr(owner, name, replacement)
        stack.enter_context(warnings.catch_warnings())
        stack.enter_context(_futures_have_results())
        # It compares addresses, of which fake tensors have none; no two of them are the same.
        warnings.filterwarnings("ignore", "Accessing the data pointer of FakeTensor")
        yield


def _modes_that_count() -> list[Any]:
    """Return the dispatch modes inside that of fake tensors."""
    modes = dispatch_modes()
    fakes = [index for index, mode in enumerate(modes) if isinstance(mode, FakeTensorMode)]
    return modes[fakes[-1] + 1 :] if fakes else []


class _RealIntegers(TorchDispatchMode):
    """Let C++ code read the integers that it writes: which parameters a bucket has, which the ranks agree on once.

    That is no part of a step, and is not counted.
    """

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        leaves = tree_leaves((args, kwargs))
        tensors = [each for each in leaves if isinstance(each, torch.Tensor)]
        dtypes: set[Any] = {each.dtype for each in tensors} or {kwargs.get("dtype")}
        if dtypes != {torch.int32} or any(type(each) is not torch.Tensor for each in tensors):
            return func(*args, **kwargs)
        with modes_disabled():
            return func(*args, **kwargs)


@contextmanager
def _futures_have_results() -> Iterator[None]:
    """Let the future of a collective hold the tensors that it fills, for which hooks wait; a fake one holds None."""
    from torch.distributed import ProcessGroup, Work  # noqa: PLC0415 - as above

    filled: list[tuple[Any, list[torch.Tensor]]] = []

    def noting(original: Callable[..., Any]) -> Callable[..., Any]:
        def collective(group: Any, tensors: Any, *args: Any, **kwargs: Any) -> Any:
            work = original(group, tensors, *args, **kwargs)
            # A hook asks at once.
            filled[:] = [(work, tensors if isinstance(tensors, list) else [tensors])]
            return work

        return collective

    def get_future(work: Any) -> torch.futures.Future[Any]:
        done: torch.futures.Future[Any] = torch.futures.Future()
        done.set_result(next((tensors for each, tensors in filled if each is work), None))
        return done

    with ExitStack() as stack:
        for name in _FILLING & vars(ProcessGroup).keys():
            stack.callback(setattr, ProcessGroup, name, vars(ProcessGroup)[name])
            setattr(ProcessGroup, name, noting(getattr(ProcessGroup, name)))
        stack.callback(setattr, Work, "get_future", vars(Work)["get_future"])
        setattr(Work, "get_future", get_future)  # noqa: B010 - which types it as a property
        yield


def _average_gradients(wrapper: Any) -> None:
    """Let ``DistributedDataParallel`` do by a hook in Python what it does in C++: add up gradients of all ranks.

    C++ code that has a hook copies gradients to buckets and does not divide them; see :class:`_Division`.
    """
    factor = 1 / wrapper.process_group.size()

    def note(parameter: torch.Tensor) -> None:
        if wrapper.require_backward_grad_sync and parameter.grad is not None:
            _undivided[id(parameter)] = parameter, parameter.grad, factor

    def add_up(group: Any, bucket: Any) -> torch.futures.Future[torch.Tensor]:
        for parameter in bucket.parameters():
            # Its gradient is a part of the bucket, and was not copied.
            if (found := _undivided.pop(id(parameter), None)) is not None:
                found[1].mul_(found[2])
        gradients = bucket.buffer()
        torch.distributed.all_reduce(gradients, group=group)
        done: torch.futures.Future[torch.Tensor] = torch.futures.Future()
        done.set_result(gradients)
        return done

    # The wrapper compares them with classes, and not with their names.
    add_up.__annotations__.clear()
    wrapper.register_comm_hook(wrapper.process_group, add_up)
    for parameter in wrapper.parameters():
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(note)


_undivided: dict[int, tuple[torch.Tensor, torch.Tensor, float]] = {}
"""The parameters whose gradients are to be divided, with these and the factor, by the identity of the parameter."""


class _Division(TorchDispatchMode):
    """Divide gradients as they are copied to buckets, in one operator as ``DistributedDataParallel`` does."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is COPY and _undivided:
            # C++ code copies the latest one.
            latest = next(reversed(_undivided))
            _, gradient, factor = _undivided[latest]
            if args[1] is gradient:
                del _undivided[latest]
                return torch.mul(gradient, factor, out=args[0])
        return func(*args, **(kwargs or {}))


@contextmanager
def reductions_divided(models: Iterable[torch.nn.Module]) -> Iterator[None]:
    """Divide the gradients of data-parallel models, inside the mode that counts that."""
    modules = [module for model in models for module in model.modules()]
    if not any(distributed_by(each) in (DATA_PARALLEL, "replicate") for each in modules):
        yield
        return
    try:
        with _Division():  # type: ignore[no-untyped-call]
            yield
    finally:
        _undivided.clear()
