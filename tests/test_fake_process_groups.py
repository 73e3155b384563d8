"""Being a rank of processes that do not exist: what PyTorch has to be as it was, and what is noted of programs."""

import inspect
import sys

import pytest
import torch
from torch import distributed, nn
from torch.distributed import ProcessGroup, distributed_c10d
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.pipelining import stage as pipeline_stage
from torch.distributed.tensor import Shard, _random, distribute_tensor
from torch.distributed.tensor.parallel import ColwiseParallel, parallelize_module
from torch.nn.parallel import DistributedDataParallel
from torch.nn.parallel import distributed as data_parallel

from opflops import ArgumentError, OpflopsError, count
from opflops.torch_internals.fake_process_groups import (
    created_on,
    existing_process_group,
    fake_rank,
    uneven_shapes,
)
from opflops.torch_internals.modules import replace_tensors
from opflops.torch_internals.rank_reads import coordinates_of, rank_reads

MESH = {"dp": 2, "tp": 3}


@pytest.mark.parametrize("rank", range(6))
def test_a_rank_has_its_place(rank):
    """As init_device_mesh numbers them."""
    with fake_rank(rank, MESH) as mesh:
        assert distributed.get_rank() == rank
        assert (*mesh.get_coordinate(),) == coordinates_of(rank, MESH)
        assert mesh.mesh_dim_names == ("dp", "tp")
        assert existing_process_group() == "fake, 6 ranks"
    assert existing_process_group() == ""


def test_what_making_groups_changes_is_undone():
    """Also after an error: what writes tracebacks, how dropout is seeded, what checks parameters."""

    def state():
        return sys.excepthook, _random._rng_tracker, data_parallel._verify_param_shape_across_processes

    def fail():
        with fake_rank(0, MESH):
            assert state()[0] is not before[0]
            raise ZeroDivisionError

    before = state()
    with pytest.raises(ZeroDivisionError):
        fail()
    assert state() == before
    assert not distributed.is_initialized()


def test_one_rank_does_not_know_the_plans_of_another():
    """Results of sharding refer to a mesh, which refers to its rank: ten rows are 3, 3, 3 and 1."""
    sizes = []
    for rank in range(4):
        with fake_rank(rank, {"x": 4}) as mesh:
            tensor = distribute_tensor(torch.ones(10, 2), mesh, [Shard(0)])
            total = tensor + tensor
            assert total.device_mesh is mesh
            assert total.full_tensor().shape == (10, 2)
            sizes.append(total.to_local().shape[0])
    assert sizes == [3, 3, 3, 1]


def reads_of(program, mesh=MESH, *, in_step=False):
    with fake_rank(1, mesh) as made, rank_reads(mesh) as reads:
        reads.in_step = in_step
        program(made)
    return [each.dimensions for each in reads]


@pytest.mark.parametrize(
    ("program", "dimensions"),
    [
        (lambda _: distributed.get_rank(), ("dp", "tp")),
        (lambda mesh: mesh.get_rank(), ("dp", "tp")),
        (lambda mesh: mesh.get_coordinate(), ("dp", "tp")),
        (lambda mesh: mesh.get_local_rank("tp"), ("tp",)),
        (lambda mesh: mesh.get_local_rank(0), ("dp",)),
        (lambda mesh: mesh["tp"].get_local_rank(), ("tp",)),
        (lambda mesh: distributed.get_rank(mesh["dp"].get_group()), ("dp",)),
        (lambda mesh: distributed.get_group_rank(mesh["dp"].get_group(), 1), ("tp",)),
        (lambda mesh: distributed.get_global_rank(mesh["dp"].get_group(), 0), ("tp",)),
        (lambda mesh: distributed.get_process_group_ranks(mesh["tp"].get_group()), ("dp",)),
        (lambda _: distributed.get_process_group_ranks(None), None),
        (lambda mesh: mesh["tp"].mesh.tolist(), ("dp",)),
        (lambda mesh: mesh.mesh.tolist(), None),
        (lambda _: distributed.new_group([0, 1, 5]), ("dp", "tp")),
        (lambda _: distributed.new_group(), None),
        (lambda _: DeviceMesh("cpu", [1, 3]), ("dp", "tp")),
        (lambda mesh: mesh["dp"].get_group().rank(), ("dp",)),
    ],
)
def test_questions_for_the_rank_are_noted(program, dimensions):
    """With the dimensions along which the answers differ; the members of a group are the same on all that are in it."""
    assert reads_of(program) == ([] if dimensions is None else [dimensions])


def test_a_question_has_its_line():
    """That of the program, not of PyTorch."""

    def program(_mesh):
        distributed.get_rank()

    with fake_rank(0, MESH) as mesh, rank_reads(MESH) as reads:
        program(mesh)
    assert [each.source for each in reads] == [f"test_fake_process_groups.py:{program.__code__.co_firstlineno + 1}"]


def test_what_shards_and_communicates_asks_for_nothing():
    """Meshes, groups, collectives, tensor parallelism; in a step, tensors that are sent from one rank are noted."""

    def program(mesh):
        layer = parallelize_module(nn.Linear(4, 6), mesh["tp"], ColwiseParallel())
        layer(torch.ones(2, 4)).sum().backward()
        distributed.all_reduce(torch.ones(2), group=mesh["dp"].get_group())
        mesh["dp", "tp"].size()

    assert reads_of(program) == []

    def scatter(mesh):
        distribute_tensor(torch.ones(3, 2), mesh["tp"], [Shard(0)])

    assert reads_of(scatter) == []
    assert reads_of(scatter, in_step=True) == [("tp",)]


def test_noting_ends():
    """Methods are those of PyTorch again, of the same kind."""
    owners = [
        (ProcessGroup, "rank"),
        *((DeviceMesh, name) for name in ("get_rank", "get_local_rank", "get_coordinate", "__init__", "mesh")),
        (distributed_c10d, "_new_group_with_tag"),
        (distributed_c10d._World, "pg_group_ranks"),
    ]
    before = [vars(owner).get(name) for owner, name in owners]
    with fake_rank(0, MESH), rank_reads(MESH):
        assert all(vars(owner)[name] != was for (owner, name), was in zip(owners, before, strict=True))
    assert [vars(owner).get(name) for owner, name in owners] == before


def test_shapes_of_uneven_shards():
    """Of 7 rows over 2 and then 3 ranks: 4 and 3, and then 2, 2, 0 and 1, 1, 1; even ones are left out."""
    with fake_rank(4, MESH) as mesh:
        tensor = distribute_tensor(torch.ones(7, 6), mesh, [Shard(0), Shard(0)])
        even = distribute_tensor(torch.ones(6, 6), mesh, [Shard(0), Shard(1)])
        (shape,) = uneven_shapes([tensor, tensor, even, torch.ones(2)], MESH)
        assert [shape(coordinates_of(rank, MESH)) for rank in range(6)] == [(rows, 6) for rows in (2, 2, 0, 1, 1, 1)]
        assert shape(coordinates_of(4, MESH)) == tensor.to_local().shape


def test_tensors_on_meta_are_created_elsewhere():
    """By the context and by the argument; PyTorch's own are not."""
    with created_on(torch.device("cpu")):
        with torch.device("meta"):
            assert nn.Linear(2, 3).weight.device.type == "cpu"
        assert torch.ones(2, device="meta").device.type == "cpu"
    assert torch.ones(2, device="meta").device.type == "meta"


def test_replaced_parameters_stay_shared():
    """Of one module and of another."""
    with torch.device("meta"):
        net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[1].weight = net[0].weight
    replace_tensors(net, lambda tensor: torch.zeros_like(tensor, device="cpu"))
    assert net[1].weight is net[0].weight
    assert {each.device.type for each in net.parameters()} == {"cpu"}


def test_stages_of_pipelines_exchange_shapes_as_expected():
    """Otherwise they would wait for a message that nobody sends."""
    names = {"_send_meta": 3, "_recv_meta": 2, "_warmup_forward_vote": 3, "_warmup_backward_result": 2}
    for name, parameters in names.items():
        assert len(inspect.signature(vars(pipeline_stage.PipelineStage)[name]).parameters) == parameters


def test_what_cannot_be_counted_without_running_says_what_to_do():
    """The gradients of data parallelism, and pipelines; a tensor-parallel model is counted as this rank."""
    with fake_rank(0, {"tp": 2}) as mesh:
        with pytest.raises(OpflopsError, match=r"opflops\.plan\(\) counts what each rank does"):
            count(DistributedDataParallel(nn.Linear(2, 2)), torch.ones(1, 2), backward=True)
        stage = pipeline_stage.PipelineStage(nn.Linear(2, 2), 0, 2, torch.device("cpu"))
        schedule = distributed.pipelining.ScheduleGPipe(stage, 2)
        for model in (schedule, schedule.step):
            with pytest.raises(ArgumentError, match=r"cannot run a ScheduleGPipe: .*or give opflops\.plan\(\)"):
                count(model, torch.ones(2, 2))
        layer = parallelize_module(nn.Linear(4, 6), mesh, ColwiseParallel())
        counted = count(layer, torch.ones(2, 4), backward=True)
        # Half of the columns; the input needs no gradient.
        assert [cost.macs for cost in counted.by("phase").values()] == [24, 24]
