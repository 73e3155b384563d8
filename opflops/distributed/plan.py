"""Plan a cluster: count what its ranks do on one machine, without processes and without values."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from opflops.errors import ArgumentError, OpflopsError
from opflops.records.arguments import check_flag, describe, explain_arguments
from opflops.wording import join_ranks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import torch

    from opflops.distributed.plan_result import Plan
    from opflops.distributed.rank_classes import RankGroup
    from opflops.mode import Causal


@explain_arguments()
def plan(
    build: Callable[[Any], Any],
    inputs: Any = (),
    *,
    mesh: Mapping[str, int],
    backward: bool = False,
    optimizer: Callable[..., torch.optim.Optimizer] | None = None,
    rank: int | None = None,
    causal: Causal = "dense",
    memory: bool = False,
    allocator: str | None = None,
) -> Plan:
    """Count what the ranks of a cluster compute, hold and send, on one machine, without the cluster and without values.

    ``build`` shards the model as it does on the cluster: by ``parallelize_module``, ``fully_shard``,
    ``DistributedDataParallel``, ``distribute_tensor`` or a pipeline. It runs in this process as one rank after the
    other, with PyTorch's fake process group, whose collectives communicate nothing, and with ``torch.device("meta")``
    as the default device. The step runs on fake tensors, as in :func:`opflops.count`, with the operators of the CPU.

    Few ranks are run, and stand for all others. PyTorch gives the first ranks of a dimension of the mesh the largest
    shards, so what a rank holds of any tensor never grows along it: if the first and the last rank of a part of the
    mesh do the same, so do all between them. Where they do not, as with uneven shards, the part is divided. Where the
    program itself asks which rank it is, as for its stage of a pipeline, or which groups it is in, each answer is run,
    up to 16 of them. Of more, the first two and the last are run, and a remark says that the others are not known to do
    the same.

    The step is one after the first: what ``fully_shard`` does once is in no count, and an optimizer has its state. Only
    ``DistributedDataParallel(static_graph=True)`` is planned as in its first step, in which it reduces a few more
    numbers. An :class:`opflops.OpFlopMode` around a plan counts nothing of it.

    >>> import torch
    >>> from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
    >>> def build(mesh):
    ...     net = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 8))
    ...     return parallelize_module(net, mesh["tp"], {"0": ColwiseParallel(), "2": RowwiseParallel()})
    >>> p = plan(build, torch.ones(4, 8), mesh={"dp": 64, "tp": 2}, backward=True)
    >>> p.ranks, p.of_rank(127).by("phase")["forward"].macs, p.total.macs
    (128, 512, 163840)
    >>> p.by("group")["tp (2)"].sent // p.ranks  # all-reduce of 4 x 8 numbers: 2 * (2 - 1) * 128 / 2 bytes
    128

    Args:
        build: Makes the sharded model from the mesh, a ``DeviceMesh`` on the CPU with the named dimensions. It returns
            the model, a pipeline schedule, or a function of the inputs that runs a step. Make the model inside: on the
            meta device it takes no memory.
        inputs: The inputs of one rank: a tensor, a tuple of positional arguments, a dict of keyword arguments, or a
            function of the mesh that returns one of these, as ``lambda mesh: torch.ones(mesh["dp"].get_local_rank())``.
            A pipeline's first stage gets them, and its last one ``target``, if the dict has one.
        mesh: The sizes of the dimensions of the mesh, by name, as in ``{"dp": 128, "tp": 8, "pp": 1}``. Ranks are
            numbered with the last dimension varying fastest, as ``init_device_mesh`` does.
        backward: Also count the gradients of all floating-point outputs, from gradients of ones; unless the step has
            computed gradients itself, as a pipeline with a loss does.
        optimizer: Also count gradients and one step: a class, such as ``torch.optim.AdamW``, or a function that is
            called with the list of this rank's parameters. As in :func:`opflops.count`, it takes one step first.
        rank: Run this rank alone.
        causal: ``"dense"`` or ``"exact"``, as for :class:`opflops.OpFlopMode`.
        memory: Also follow what would be alive in memory on each rank, as :func:`opflops.count` does.
        allocator: ``"cuda"`` to round sizes of storages as PyTorch's allocator for CUDA does; with ``memory``.

    Returns:
        The :class:`opflops.Plan`: classes of ranks with a profile of each, totals of all, imbalance, memory.

    Raises:
        ArgumentError: An argument cannot be used.
        OpflopsError: The program has a process group already, or ``build`` or the step fails as one of the ranks.
    """
    from opflops.attribution.subgraphs import counting_modes_disabled  # noqa: PLC0415 - as below
    from opflops.dispatch.mode_arguments import check_causal, check_memory  # noqa: PLC0415 - as below
    from opflops.distributed.plan_result import Plan, RankClass  # noqa: PLC0415 - keeps the import of opflops fast
    from opflops.distributed.rank_classes import RankClasses, RankGroup  # noqa: PLC0415 - as above
    from opflops.distributed.rank_runs import RankProgram  # noqa: PLC0415 - as above
    from opflops.torch_internals.fake_process_groups import (  # noqa: PLC0415 - as above
        existing_process_group,
        is_distributed_available,
    )

    sizes = _check_mesh(mesh)
    _check_rank(rank, sizes)
    for name, flag in (("backward", backward), ("memory", memory)):
        check_flag(name, flag)
        if type(flag) is int:
            raise ArgumentError(f"{name} must be True or False, not {describe(flag)}.")
    check_causal(causal)
    check_memory(memory, allocator, "plan")
    _check_optimizer(optimizer)
    if not callable(build):
        raise ArgumentError(
            f"build must be a function of the mesh that returns the sharded model, not {describe(build)}."
        )
    if not is_distributed_available():
        raise OpflopsError("plan() needs torch.distributed, which this build of PyTorch does not have.")
    if existing := existing_process_group():
        raise OpflopsError(
            f"plan() makes process groups of its own, and this program has one already ({existing}). Plan before "
            "init_process_group(), after destroy_process_group(), or in another process."
        )
    program = RankProgram(build, inputs, sizes, backward, optimizer, causal, memory, allocator)
    classes = RankClasses(sizes, program.run)
    # What is planned is not work of a program that counts its own.
    with counting_modes_disabled():
        groups = classes.find() if rank is None else [RankGroup([rank], [classes.run(rank).rank])]
    remarks = [_unproven(group, sizes) for group in groups if group.unproven]
    found = [RankClass((*each.ranks,), (*each.run,), classes.runs[each.run[0]].profile) for each in groups]
    return Plan(sizes, (*found,), (*dict.fromkeys(remarks),))


def _check_mesh(mesh: Any) -> dict[str, int]:
    if not hasattr(mesh, "items") or isinstance(mesh, type) or not mesh:
        raise ArgumentError(
            "mesh must be a dict of sizes by the names of dimensions, such as {'dp': 8, 'tp': 2}, "
            f"not {describe(mesh)}."
        )
    sizes = dict(mesh.items())
    for name, size in sizes.items():
        if not isinstance(name, str) or type(size) is not int or size < 1:
            raise ArgumentError(
                f"mesh must have names with sizes of 1 or more, such as {{'dp': 8, 'tp': 2}}, not {name!r}: {size!r}."
            )
    return sizes


def _check_optimizer(optimizer: object) -> None:
    from opflops.counting.optimizer_step import check_optimizer, is_optimizer  # noqa: PLC0415 - as above

    check_optimizer(optimizer)
    if is_optimizer(optimizer):
        raise ArgumentError(
            f"plan() makes an optimizer of the parameters of each rank. Give its class, as torch.optim."
            f"{type(optimizer).__name__}, or a function of a list of parameters that returns one."
        )


def _check_rank(rank: object, mesh: Mapping[str, int]) -> None:
    world = prod(mesh.values())
    if rank is not None and (type(rank) is not int or not 0 <= rank < world):
        raise ArgumentError(
            f"rank must be a number from 0 to {world - 1}, or None for all ranks, not {describe(rank)}."
        )


def _unproven(group: RankGroup, mesh: Mapping[str, int]) -> str:
    """Say which ranks are not known to do the same as those that were run."""
    sources = ", ".join(dict.fromkeys(read.source for read in group.unproven))
    names = ", ".join(name for name in mesh if any(name in read.dimensions for read in group.unproven))
    return (
        f"The program asks which rank it is ({sources}), so ranks with other places in {names} may do other work than "
        f"{join_ranks(group.run)}, which were run and do the same."
    )
