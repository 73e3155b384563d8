"""Distributed tensors on one rank of a group that does not communicate: every way to run and to count them."""

import threading

import pytest
import torch
from mlps import MLP
from torch import distributed, nn
from torch._prims import rng_prims
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed import init_device_mesh
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_module, distribute_tensor, ones, zeros
from torch.distributed.tensor.debug import CommDebugMode
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.export import Dim
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils.checkpoint import checkpoint

from opflops import Cost, OpFlopMode, count
from opflops.errors import DimensionError

WORLD = 4


@pytest.fixture(scope="module")
def mesh():
    distributed.init_process_group("fake", store=FakeStore(), rank=0, world_size=WORLD)
    yield init_device_mesh("cpu", (WORLD,), mesh_dim_names=("tp",))
    distributed.destroy_process_group()


@pytest.fixture(params=["cold", "warm"])
def cache(request):
    """Return what is called before a program is counted: nothing is planned yet, or everything is."""

    def prepare(program):
        if request.param == "warm":
            program()
            return
        propagator = DTensor._op_dispatcher.sharding_propagator
        propagator.propagate_op_sharding.cache_clear()
        type(propagator)._propagate_tensor_meta_cached.cache_clear()
        torch._C._clear_DTensor_sharding_propagator_cache()

    return prepare


def parallel(mesh, width=8, hidden=16):
    return parallelize_module(MLP(width, hidden), mesh, {"up": ColwiseParallel(), "down": RowwiseParallel()})


def sharded(mesh, *shape, dim=0):
    return distribute_tensor(torch.ones(shape), mesh, [Shard(dim)])


PART = 3 * 8 * 16 // WORLD
"""The multiply-accumulates of this rank in each matmul of ``MLP(8, 16)`` for three inputs."""


@pytest.mark.parametrize("options", [{}, {"memory": True}, {"timing": True, "strict": True}], ids=str)
@pytest.mark.parametrize("gradients", [torch.enable_grad, torch.no_grad])
def test_planning_is_never_counted(mesh, cache, options, gradients):
    """What PyTorch runs on fake tensors, to know where results lie, is the work of no rank."""
    model, x = parallel(mesh), torch.ones(3, 8)
    with gradients():
        cache(lambda: model(x))
        with OpFlopMode(**options) as m:
            model(x)
    assert m.total.macs == 2 * PART
    places = {(row.module, row.op): row.cost.macs for row in m.profile.rows if row.cost.macs}
    assert places == {("MLP.up", "aten.addmm"): PART, ("MLP.down", "aten.addmm"): PART}
    # Fake tensors have the shapes of all ranks' tensors.
    assert {row.calls for row in m.profile.where(module="MLP").rows if row.op == "aten.relu"} == {1}
    assert not m.profile.unpriced


def test_planning_is_not_counted_where_operators_are_composite(mesh, cache):
    """In inference mode PyTorch plans ``linear`` itself, or splits operators into others that it plans."""
    x, weight = sharded(mesh, 8, 16), distribute_tensor(torch.ones(4, 16), mesh, [Replicate()])

    def program():
        return functional.linear(x, weight), torch.einsum("ij,kj->ik", x, weight), x.softmax(1)

    with torch.inference_mode():
        cache(program)
        with OpFlopMode() as m:
            program()
    assert m.total.macs == 2 * (8 // WORLD) * 16 * 4
    assert m.profile.by("op")["aten._softmax"].transcendentals == 8 // WORLD * 16


@pytest.mark.parametrize("memory", [False, True])
def test_planning_is_not_counted_among_fake_tensors(mesh, cache, memory):
    """PyTorch plans with the fake mode of the program then, and the tensors of this rank are fake as well."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        model, x = parallel(mesh).to_empty(device="cpu"), torch.ones(3, 8)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        cache(lambda: model(x).sum().backward())
        optimizer.zero_grad()
        with OpFlopMode(memory=memory) as m:
            model(x).sum().backward()
            optimizer.step()
    assert m.total.macs == 5 * PART
    assert m.profile.where(phase="optimizer").total.ops == 2 * ((2 * 8 * 16 + 16) // WORLD + 8)
    if memory:
        # Weights and gradients of this rank.
        kept = m.profile.memory.at_peak
        assert kept.parameters == 4 * ((2 * 8 * 16 + 16) // WORLD + 8)
        assert m.profile.memory.peak < 4 * (2 * 8 * 16)


def test_count_takes_models_with_distributed_parameters(mesh, cache):
    """The copy that it runs is sharded as the model is."""
    model, x = parallel(mesh), torch.ones(3, 8)
    cache(lambda: model(x).sum().backward())
    profile = count(model, x, backward=True, memory=True)
    assert profile.total.macs == 5 * PART
    assert profile.memory.at_peak.parameters == 4 * ((2 * 8 * 16 + 16) // WORLD + 8)


def test_optimizers_step_on_shards(mesh):
    """One by one, in lists and fused: the same work, that of this rank's numbers."""
    found = {}
    for options in ({"foreach": False}, {"foreach": True}, {"fused": True}):
        weights = [nn.Parameter(sharded(mesh, 16, 16)), nn.Parameter(sharded(mesh, 6, 10, dim=1))]
        for weight in weights:
            weight.grad = torch.ones_like(weight)
        optimizer = torch.optim.AdamW(weights, 0.1, **options)
        plain = [nn.Parameter(weight.to_local().detach().clone()) for weight in weights]
        for weight in plain:
            weight.grad = torch.ones_like(weight)
        expected = torch.optim.AdamW(plain, 0.1, **options)
        for name, each in (("sharded", optimizer), ("plain", expected)):
            with OpFlopMode() as m:
                each.step()
            found[name, str(options)] = m.total
        assert found["sharded", str(options)] == found["plain", str(options)]
    weight = nn.Parameter(sharded(mesh, 16, 32))
    weight.grad = torch.ones_like(weight)
    with OpFlopMode() as m:
        torch.optim.SGD([weight], 0.1).step()
    assert m.total.ops == 2 * 16 * 32 // WORLD


@pytest.mark.filterwarnings("ignore:DTensor random operators may not")
@pytest.mark.parametrize("training", [True, False])
def test_dropout_is_drawn_for_the_tensor_of_this_rank(mesh, cache, training):
    """The rows are those of dropout on a plain tensor of that shape."""
    x, local = sharded(mesh, 8, 16), torch.ones(8 // WORLD, 16)
    cache(lambda: functional.dropout(x, 0.5, training))
    with OpFlopMode() as m:
        functional.dropout(x, 0.5, training)
    with OpFlopMode() as expected:
        functional.dropout(local, 0.5, training)
    assert m.total == expected.total
    assert not m.profile.unpriced


@pytest.mark.skipif(not hasattr(rng_prims, "run_dtensor_rng_op"), reason="not in this version of PyTorch")
def test_random_operators_of_gpus_are_counted_without_values():
    """A higher-order operator draws them with the random numbers of a rank, which need a GPU and values."""

    def drop(x):
        return rng_prims.run_dtensor_rng_op(0, 4, torch.ops.aten.native_dropout.default, x, 0.5, True)

    with FakeTensorMode():
        x = torch.ones(4, 16)
        with OpFlopMode() as m:
            drop(x)
    assert m.total.ops == 3 * 4 * 16
    assert not m.profile.unpriced
    with OpFlopMode() as m:
        graph = make_fx(drop, tracing_mode="fake")(torch.ones(4, 16))
    assert m.total.ops == 3 * 4 * 16
    assert not m.profile.unpriced
    assert "run_dtensor_rng_op" in str(graph.code)


def test_operators_without_work_on_this_rank_leave_no_row(mesh):
    """Shapes are compared without a tensor, and a rank outside the mesh has nothing to do."""
    x = sharded(mesh, 8, 16)
    other = init_device_mesh("cpu", (2, 2), mesh_dim_names=("a", "b"))["b"]
    with OpFlopMode() as m:
        x.is_same_size(x)
    assert not m.profile.rows
    with OpFlopMode() as m:
        sharded(other, 8, 16).relu()
    assert m.profile.by("op")["aten.relu"].ops == 4 * 16


def test_factories_fill_the_tensor_of_this_rank(mesh):
    """As all that follows from it."""
    with OpFlopMode() as m:
        x = ones(8, 12, device_mesh=mesh, placements=[Shard(0)])
        y = zeros(8, 12, device_mesh=mesh, placements=[Shard(1)])
        (x * 2, y + 1)
    assert m.total.ops == 2 * 8 * 12 // WORLD


def test_nested_modes_count_the_same(mesh, cache):
    """Also with modes of others between, and of other threads."""
    model, x = parallel(mesh), torch.ones(3, 8)
    cache(lambda: model(x))
    with OpFlopMode() as outer, CommDebugMode() as sent, OpFlopMode(memory=True) as inner:
        model(x)
    assert outer.total == inner.total
    assert inner.total.macs == 2 * PART
    assert sent.get_total_counts() == 1
    with OpFlopMode(threads=True) as m:
        thread = threading.Thread(target=model, args=(x,))
        thread.start()
        thread.join()
    assert m.total == inner.total


def test_checkpointed_and_compiled_modules_count_on_this_rank(mesh, cache):
    """The recomputation has the forward's work, and a phase of its own."""
    model, x = parallel(mesh), torch.ones(3, 8, requires_grad=True)
    cache(lambda: model(x))
    with OpFlopMode() as m:
        checkpoint(model, x, use_reentrant=True).sum().backward()
    phases = {phase: m.profile.where(phase=phase).total.macs for phase in ("forward", "recompute", "backward")}
    assert phases == {"forward": 2 * PART, "recompute": 2 * PART, "backward": 4 * PART}
    with OpFlopMode() as m:
        torch.compile(model, backend="eager")(x)
    assert {row.module: row.cost.macs for row in m.profile.rows if row.cost.macs} == {"MLP.up": PART, "MLP.down": PART}


def test_exact_causal_attention_counts_the_pairs_of_this_rank(mesh):
    """The heads are divided, and the mask hides the same pairs on each rank."""

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.q = nn.Linear(16, 16, bias=False)

        def forward(self, x):
            q = self.q(x).unflatten(-1, (-1, 2)).transpose(1, 2)
            return functional.scaled_dot_product_attention(q, q, q, is_causal=True)

    model = parallelize_module(Attention(), mesh, {"q": ColwiseParallel()})
    for causal, pairs in (("dense", 25), ("exact", 15)):
        with OpFlopMode(causal=causal) as m:
            model(torch.ones(3, 5, 16))
        assert m.total.macs == 3 * 5 * 16 * 16 // WORLD + 2 * 3 * (8 // WORLD) * pairs * 2


def test_formulas_of_composites_are_for_the_tensors_of_this_rank(mesh):
    """Where PyTorch splits an operator on distributed tensors, its parts are counted, and the profile says so."""
    formulas = {torch.ops.aten.linear: lambda input, weight, bias=None: Cost(macs=input.numel() * weight.shape[0])}  # noqa: A006
    x, weight = sharded(mesh, 8, 16), distribute_tensor(torch.ones(4, 16), mesh, [Replicate()])
    with OpFlopMode(formulas=formulas) as m:
        functional.linear(x, weight)
    assert {row.op: row.cost.macs for row in m.profile.rows if row.cost.macs} == {"aten.mm": 8 // WORLD * 16 * 4}
    assert any(remark.startswith("The formula of aten.linear is for") for remark in m.profile.remarks)
    with torch.inference_mode(), OpFlopMode(formulas=formulas) as m:
        functional.linear(x, weight)
    assert {row.op: row.cost.macs for row in m.profile.rows if row.cost.macs} == {"aten.linear": 8 // WORLD * 16 * 4}
    with OpFlopMode(formulas=formulas) as m:
        functional.linear(torch.ones(2, 16), torch.ones(4, 16))
    assert m.total.macs == 2 * 16 * 4
    assert not m.profile.remarks


def test_records_of_modules_have_the_numbers_of_the_model(mesh):
    """Parameters are those of all ranks, as the program sees them, and the bytes in memory those of this one."""
    model = parallel(mesh)
    with OpFlopMode(memory=True) as m:
        model(torch.ones(3, 8))
    record = m.profile.module("MLP.up")
    assert (record.parameters, record.parameter_bytes) == (8 * 16 + 16, 4 * (8 * 16 + 16))
    assert m.profile.memory.at_peak.parameters == 4 * ((2 * 8 * 16 + 16) // WORLD + 8)


def test_all_ranks_of_a_process_are_counted(mesh):
    """PyTorch can run all ranks in one process, one after another; then all of it is this process's work."""
    local = pytest.importorskip("torch.distributed._local_tensor")
    with local.LocalTensorMode(WORLD):
        a, b = sharded(mesh, 8, 16), distribute_tensor(torch.ones(16, 4), mesh, [Replicate()])
        with OpFlopMode() as m:
            a @ b
    assert m.total.macs == 8 * 16 * 4


@pytest.fixture
def ring(mesh):
    """Let attention on sequences that are divided go around the ranks, as ``context_parallel`` does on GPUs."""
    module = pytest.importorskip("torch.distributed.tensor.experimental._context_parallel._attention")
    balanced = module._cp_options.enable_load_balance
    module._enable_context_parallel_dispatcher_impl(2, mesh)
    yield module._cp_options
    module._disable_context_parallel_dispatcher_impl()
    module._cp_options.enable_load_balance = balanced


@pytest.mark.parametrize(
    ("causal", "balanced", "pairs"),
    [
        (False, False, WORLD * 6 * 6),
        # The first rank has the first part of the sequence, and sees no other.
        (True, False, 6 * 7 // 2),
        # It has the first and the last part, of 3 each: all see half of each other rank's.
        (True, True, 6 * 7 // 2 + (WORLD - 1) * 6 * 3),
    ],
)
def test_context_parallel_counts_the_steps_of_the_ring(mesh, ring, causal, balanced, pairs):
    """Its kernels are those of GPUs. They are dispatched without values too, one step for each part that is seen."""
    ring.enable_load_balance = balanced
    q = DTensor.from_local(torch.ones(2, 3, 6, 8, device="meta", requires_grad=True), mesh, [Shard(2)])
    with OpFlopMode(causal="exact") as m:
        out = torch.ops.aten._scaled_dot_product_flash_attention(q, q, q, 0.0, causal)[0]
        out.backward(DTensor.from_local(torch.ones(2, 3, 6, 8, device="meta"), mesh, [Shard(2)]))
    forward = 2 * 2 * 3 * pairs * 8
    assert {phase: m.profile.where(phase=phase).total.macs for phase in ("forward", "backward")} == {
        "forward": forward,
        "backward": 5 * forward // 2,
    }
    rows = {(row.op, row.phase) for row in m.profile.rows}
    assert ("_c10d_functional.all_gather_into_tensor", "forward") in rows
    assert ("_c10d_functional.all_to_all_single", "backward") in rows
    assert not m.profile.unpriced


def test_context_parallel_on_the_cpu_is_refused_by_pytorch(mesh):
    """The mode adds nothing to the error, and ends."""
    experimental = pytest.importorskip("torch.distributed.tensor.experimental")
    q = torch.ones(1, 2, 8 * WORLD, 16)
    with (
        pytest.raises(NotImplementedError, match="does not have a sharding strategy"),
        OpFlopMode() as m,
        experimental.context_parallel(mesh, buffers=[q], buffer_seq_dims=[2]),
    ):
        functional.scaled_dot_product_attention(q, q, q, is_causal=True)
    assert not m.active


@pytest.mark.parametrize("given", ["meta", "cpu"])
def test_distributed_parameters_on_meta_stay_distributed(mesh, given):
    """The tensors that stand for them on another device are laid out as they are."""
    with torch.device("meta"):
        model = parallel(mesh)
    profile = count(model, torch.ones(3, 8, device=given), device="cpu", backward=True, memory=True)
    assert profile.total.macs == 5 * PART
    assert profile.memory.at_peak.parameters == 4 * ((2 * 8 * 16 + 16) // WORLD + 8)


def test_programs_convert_distributed_parameters_without_values(mesh):
    """As on real tensors: the parameters of the model stay the same objects, and are of another dtype."""
    model = parallel(mesh)
    profile = count(lambda x: model.to(torch.float64)(x.double()), torch.ones(3, 8))
    assert {row.dtype for row in profile.rows if row.cost.macs} == {"float64"}
    assert profile.total.macs == 2 * PART
    assert {each.dtype for each in model.parameters()} == {torch.float32}


def test_sizes_may_be_open_where_they_are_not_divided(mesh):
    """The rows are formulas of this rank's work; a dimension of a distributed tensor is refused in a sentence."""
    dynamic = {0: Dim("batch", max=64)}
    # PyTorch considers dividing a dimension that has at least as many elements as there are ranks.
    profile = count(parallel(mesh), torch.ones(2 * WORLD, 8), backward=True, dynamic_shapes={"x": dynamic})
    assert profile.at(batch=23).total.macs == 5 * 23 * 8 * 16 // WORLD
    module = distribute_module(nn.Linear(16, 4), mesh)
    assert count(module, sharded(mesh, 10, 16)).total.macs == 3 * 16 * 4
    with pytest.raises(DimensionError, match=r"of input, which is a DTensor: .*Count it at each size"):
        count(module, sharded(mesh, 10, 16), dynamic_shapes={"input": dynamic})
