"""Whose work it is under data parallelism, FSDP and pipelines, on real ranks; all expected bytes are by hand.

An all-reduce of S bytes sends 2 (n - 1) S / n, a gather or a reduce-scatter half of that, and a message S.
"""

import warnings

import pytest
import torch
from mlps import MLP
from ranks import on_ranks
from torch import distributed, nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks, powerSGD_hook
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import (
    FullyShardedDataParallel,
    MixedPrecision,
    MixedPrecisionPolicy,
    ShardingStrategy,
    fully_shard,
)
from torch.distributed.fsdp.wrap import ModuleWrapPolicy
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from opflops import OpFlopMode

CPU = torch.device("cpu")


class Net(nn.Module):
    def __init__(self, head=None, *, keep=True):
        super().__init__()
        self.a, self.b = MLP(), MLP()
        self.head, self.keep = head, keep

    def forward(self, x):
        for part in (self.a, self.b, self.head):
            if part is not None:
                x = part(x) if self.keep else checkpoint(part, x, use_reentrant=False)
        return x


# Bytes of the parameters of a Linear(8, 16), of a Linear(16, 8), and of a whole MLP.
UP, DOWN = 4 * (16 * 8 + 16), 4 * (8 * 16 + 8)
PART = UP + DOWN
LAYERS = {"Net.a.up": UP, "Net.a.down": DOWN, "Net.b.up": UP, "Net.b.down": DOWN}
# Products of a step of a batch of four: twice as many in the backward, where the input has no gradient.
STEP = 4 * 4 * 128 * 3 - 4 * 128


def data(rank):
    return torch.randn(4, 8, generator=torch.Generator().manual_seed(rank))


def sgd(model):
    return torch.optim.SGD(model.parameters(), 0.1, foreach=False)


def local(results):
    """Copy what this rank holds of tensors."""
    whole = [each.to_local() if hasattr(each, "to_local") else each for each in results if each is not None]
    return [each.detach().clone() for each in whole]


def step(model, rank, optimizer=None):
    y = model(data(rank))
    y.square().sum().backward()
    if optimizer is not None:
        optimizer.step()
    results = local([y, *(each.grad for each in model.parameters()), *model.parameters()])
    model.zero_grad()
    return results


def counted(make, steps=1, run=step):
    """Run a new model with and without a mode; return what the mode counted, as plain data."""
    outcomes = []
    for counts in (False, True):
        torch.manual_seed(0)
        rank, (model, optimizer) = distributed.get_rank(), make()
        mode = OpFlopMode()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of wrappers, about the CPU
            if counts:
                mode.__enter__()
            torch.manual_seed(1)
            outcomes.append([each for _ in range(steps) for each in run(model, rank, optimizer)])
            if counts:
                mode.__exit__(None, None, None)
    assert all(torch.equal(one, other) for one, other in zip(*outcomes, strict=True))
    sent = {}
    for row in mode.profile.rows:
        if row.group and row.floating:
            calls, bytes_sent = sent.get((row.phase, row.module), (0, 0))
            sent[row.phase, row.module] = calls + row.calls, bytes_sent + row.cost.sent
    names = {row.module for row in mode.profile.rows}
    assert mode.profile.total.sent == sum(each for _, each in sent.values())
    return {"macs": mode.profile.total.macs, "sent": sent, "names": names, "remarks": mode.profile.remarks}


def parallel(hook=None, state=None, **options):
    def make():
        model = DistributedDataParallel(Net(), **options)
        if hook is not None:
            model.register_comm_hook(state, hook)
        return model, sgd(model)

    return make


def built_in():
    model = DistributedDataParallel(Net())
    model._register_builtin_comm_hook(distributed.BuiltinCommHookType.FP16_COMPRESS)
    return model, sgd(model)


def accumulated(model, rank, optimizer):
    with model.no_sync():
        model(data(rank)).sum().backward()
    return step(model, rank, optimizer)


def until_all_ended(model, rank, _optimizer):
    with model.join():
        for _ in range(1 + rank):
            model(data(rank)).sum().backward()
    return local(model.parameters())


def replicas():
    from torch.distributed._composable import replicate  # noqa: PLC0415 - it warns

    model = replicate(Net(), device_mesh=init_device_mesh("cpu", (distributed.get_world_size(),)))
    return model, sgd(model)


def reduced(_rank, world):
    """Reduce gradients in buckets, in every way."""
    return {
        "one bucket": counted(parallel()),
        "rebuilt": counted(parallel(), 2),
        "small buckets": counted(parallel(bucket_cap_mb=0.0005), 2),
        "two buckets": counted(parallel(bucket_cap_mb=0.0009), 2),
        "static": counted(parallel(static_graph=True), 2),
        "unused": counted(parallel(find_unused_parameters=True), 2),
        "views": counted(parallel(gradient_as_bucket_view=True), 2),
        "accumulated": counted(parallel(), 1, accumulated),
        "replicate": counted(replicas),
        "halves": counted(parallel(default_hooks.fp16_compress_hook)),
        "built-in halves": counted(built_in),
        "joined": counted(parallel(), 1, until_all_ended) if world == 2 else None,
    }


STEPS = {"rebuilt": 2, "two buckets": 2, "small buckets": 2, "static": 2, "unused": 2, "views": 2, "joined": 2}


@pytest.mark.parametrize("world", [2, 4])
def test_gradients_that_are_reduced_together_belong_to_the_modules_of_their_parameters(world):
    """Whatever the buckets, hooks and graphs; by bytes, in phase backward, and all of them once."""
    for result in on_ranks(reduced, world):
        for name, found in result.items():
            if found is None:
                continue
            steps, size = STEPS.get(name, 1), 2 if "halves" in name else 4
            factor = steps * 2 * (world - 1) * size // 4
            reductions = {
                place: each for place, each in found["sent"].items() if place[0] == "backward" and place[1] in LAYERS
            }
            assert {place[1]: each for place, (_, each) in reductions.items()} == {
                layer: factor * size_ // world for layer, size_ in LAYERS.items()
            }, name
            # The first step has one bucket, and later ones as many as the cap says.
            buckets = {"small buckets": 1 + 4, "two buckets": 1 + 2}.get(name, steps)
            assert sum(calls for calls, _ in reductions.values()) == buckets, name
            if name not in ("joined", "replicate"):
                assert found["sent"] == reductions, name


def compressed(_rank, _world):
    def make():
        state = powerSGD_hook.PowerSGDState(None, 1, start_powerSGD_iter=2)
        return parallel(powerSGD_hook.powerSGD_hook, state)()

    return [counted(make, 4) for _ in range(2)]


@pytest.mark.parametrize("world", [2, 4])
def test_hooks_that_go_on_when_a_reduction_has_ended_are_counted_in_whatever_thread(world):
    """PowerSGD: two steps reduce all gradients, two the biases and two vectors for each of four 8 x 16 matrices.

    Each such matrix is multiplied by a vector twice, and restored from two.
    """
    for runs in on_ranks(compressed, world):
        for found in runs:
            assert found["macs"] == 4 * STEP + 2 * 4 * 3 * 8 * 16
            whole = 2 * 2 * PART + 2 * 4 * (2 * (16 + 8) + 4 * (16 + 8))
            total = 2 * (world - 1) * whole // world
            assert sum(each for _, each in found["sent"].values()) == total
            # Each call is split by the bytes of the bucket, in whole numbers.
            for layer, size in LAYERS.items():
                assert abs(found["sent"]["backward", layer][1] - total * size / (2 * PART)) < 2 * 4
            assert len(found["sent"]) == len(LAYERS)


def sharded(net=Net, units=("a", "b"), mesh=None, *, together=False, **options):
    def make():
        model = net()
        device_mesh = init_device_mesh("cpu", mesh or (distributed.get_world_size(),), **_named(mesh))
        parts = [model.get_submodule(each) for each in units]
        for part in [parts] if together else parts:
            fully_shard(part, mesh=device_mesh, **options)
        fully_shard(model, mesh=device_mesh, **options)
        return model, sgd(model)

    return make


def _named(mesh):
    return {"mesh_dim_names": ("replicas", "shards")[: len(mesh)]} if mesh else {}


def prefetching():
    model, optimizer = sharded(lambda: Net(nn.Linear(8, 8)), ("a", "b", "head"))()
    model.a.set_modules_to_forward_prefetch([model.b, model.head])
    model.head.set_modules_to_backward_prefetch([model.b, model.a])
    return model, optimizer


def wrapped_parts():
    net = Net()
    net.a, net.b = checkpoint_wrapper(net.a), checkpoint_wrapper(net.b)
    return net


class Outer(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = Net()

    def forward(self, x):
        return checkpoint(self.block, x, use_reentrant=False)


def flat(**options):
    def make():
        policy = ModuleWrapPolicy({MLP})
        model = FullyShardedDataParallel(Net(), auto_wrap_policy=policy, device_id=CPU, **options)
        return model, sgd(model)

    return make


def gathered(_rank, world):
    """Gather and reduce units, in every way."""
    halves = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    flat_halves = MixedPrecision(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    return {
        "units": counted(sharded()),
        "two steps": counted(sharded(), 2),
        "kept": counted(sharded(reshard_after_forward=False)),
        "halves": counted(sharded(mp_policy=halves)),
        "together": counted(sharded(together=True)),
        "checkpointed": counted(sharded(lambda: Net(keep=False))),
        "checkpointed parts": counted(sharded(wrapped_parts)),
        "rest": counted(sharded(units=("a",))),
        "prefetched": counted(prefetching),
        "recomputed": counted(sharded(Outer, ("block.a", "block.b"))),
        "hybrid": counted(sharded(mesh=(2, world // 2))) if world > 2 else None,
        "flat": counted(flat()),
        "flat, original": counted(flat(use_orig_params=True)),
        "flat, kept": counted(flat(use_orig_params=True, sharding_strategy=ShardingStrategy.SHARD_GRAD_OP)),
        "flat, not sharded": counted(flat(use_orig_params=True, sharding_strategy=ShardingStrategy.NO_SHARD)),
        "flat, halves": counted(flat(use_orig_params=True, mixed_precision=flat_halves)),
    }


# What a unit of S bytes gathers in the forward, and moves in the backward, in units of (n - 1) S / n.
UNITS = {
    "units": (1, 2),
    "two steps": (2, 4),
    "kept": (1, 1),
    "halves": (0.5, 1.5),
    "together": (1, 2),
    "checkpointed": (1, 2),
    "checkpointed parts": (1, 2),
    "flat": (1, 2),
    "flat, original": (1, 2),
    "flat, kept": (1, 1),
    "flat, not sharded": (0, 2),
    "flat, halves": (0.5, 1.5),
}


def bytes_sent(found):
    return {place: each for place, (_, each) in found["sent"].items() if each}


@pytest.mark.parametrize("world", [2, 4])
def test_what_fsdp_moves_belongs_to_the_unit_in_the_phase_that_asks(world):
    """Of both generations: prefetched while another unit runs, or reduced after the last one."""
    for result in on_ranks(gathered, world):
        part = (world - 1) * PART // world
        for name, (forward, backward) in UNITS.items():
            expected = {("forward", unit): forward * part for unit in ("Net.a", "Net.b")}
            expected |= {("backward", unit): backward * part for unit in ("Net.a", "Net.b")}
            assert bytes_sent(result[name]) == {place: each for place, each in expected.items() if each}, name
            assert not any("FSDP" in each or "wrapped" in each for each in result[name]["names"]), name
        plain = {("forward", "Net.a"): part, ("backward", "Net.a"): 2 * part}
        # The last unit, which is the root, is not sharded again after its forward.
        rest = {("forward", "Net"): part, ("backward", "Net"): part}
        assert bytes_sent(result["rest"]) == plain | rest
        head = (world - 1) * 4 * (8 * 8 + 8) // world
        heads = {("forward", "Net.head"): head, ("backward", "Net.head"): 2 * head}
        both = plain | {("forward", "Net.b"): part, ("backward", "Net.b"): 2 * part}
        assert bytes_sent(result["prefetched"]) == both | heads
        assert result["units"]["macs"] == STEP
        recomputed = bytes_sent(result["recomputed"])
        assert sum(recomputed.values()) == 6 * part
        assert {path for _, path in recomputed} == {"Outer.block.a", "Outer.block.b"}
        if world == 4:
            # Gathers and scatters of halves of four ranks, and an all-reduce of what each keeps, one half.
            half = PART // 2
            assert bytes_sent(result["hybrid"]) == {
                (phase, unit): factor * half
                for phase, factor in (("forward", 1), ("backward", 3))
                for unit in ("Net.a", "Net.b")
            }


def stepped(_rank, _world):
    from torch.distributed.optim import ZeroRedundancyOptimizer  # noqa: PLC0415 - it warns

    def make():
        model = DistributedDataParallel(Net())
        return model, ZeroRedundancyOptimizer(model.parameters(), torch.optim.SGD, lr=0.1, foreach=False)

    return counted(make)


def test_what_sharded_optimizers_send_is_in_phase_optimizer():
    """Each rank sends the parameters that it updates, which are all of them in the end."""
    found = on_ranks(stepped, 2)
    sent = [each["sent"]["optimizer", ""][1] for each in found]
    assert sum(sent) == sum(LAYERS.values())
    assert all(sent)


def clip(model, rank, _optimizer):
    """Make the gradients as long as one, in a norm that all ranks agree on."""
    model(data(rank)).square().sum().backward()
    model.clip_grad_norm_(1.0)
    return local(each.grad for each in model.parameters())


def clipped_or_averaged(_rank, world):
    from torch.distributed.algorithms.model_averaging import averagers, utils  # noqa: PLC0415 - they warn
    from torch.distributed.optim import PostLocalSGDOptimizer  # noqa: PLC0415 - it warns

    class Weighted(averagers.ModelAverager):
        def average_parameters(self, params):
            for each in params:
                distributed.all_reduce(each.data.div_(world))

    def flat_net():
        return FullyShardedDataParallel(Net(), device_id=CPU), None

    def averaging():
        model = Net()
        averager = averagers.PeriodicModelAverager(period=1, warmup_steps=0)
        return model, PostLocalSGDOptimizer(torch.optim.SGD(model.parameters(), 0.1, foreach=False), averager)

    def by(function):
        def run(model, _rank, _optimizer):
            with torch.no_grad():
                function(model.parameters())
            return local(model.parameters())

        return run

    def net():
        return Net(), None

    return {
        "clipped": counted(flat_net, 1, clip),
        "optimizer": counted(averaging),
        "own averager": counted(net, 1, by(lambda parameters: Weighted().average_parameters(parameters))),
        "function": counted(net, 1, by(lambda parameters: utils.average_parameters(parameters, None))),
    }


def test_clipping_sharded_gradients_and_averaging_parameters_are_in_phase_optimizer():
    """Two ranks agree on a norm, which has four bytes, or on the mean of all parameters: each sends as much."""
    for found in on_ranks(clipped_or_averaged, 2):
        sent = {name: result["sent"] for name, result in found.items()}
        assert sent["clipped"].pop(("optimizer", "")) == (1, 4)
        assert {phase for phase, _ in sent["clipped"]} <= {"forward", "backward"}
        assert all(path for _, path in sent["clipped"])
        assert sent["optimizer"] == sent["function"] == {("optimizer", ""): (1, sum(LAYERS.values()))}
        assert sent["own averager"] == {("optimizer", ""): (8, sum(LAYERS.values()))}


class Frozen(nn.Module):
    """Has a parameter of each kind: frozen, tied, of its own, and in the unit inside; and a buffer."""

    def __init__(self):
        super().__init__()
        self.part, self.norm = MLP(9, 14), nn.BatchNorm1d(9)
        self.first, self.tied = nn.Linear(9, 9), nn.Linear(9, 9, bias=False)
        self.tied.weight = self.first.weight
        self.scale = nn.Parameter(torch.ones(9))

    def forward(self, x):
        return self.tied(self.first(self.norm(self.part(x)))) * self.scale


FROZEN = {
    "Frozen": (9, 9, 0),
    "Frozen.part.up": (9 * 14 + 14, 14, 0),
    "Frozen.part.down": (14 * 9 + 9, 9 + 14 * 9, 0),
    "Frozen.norm": (2 * 9, 2 * 9, 2 * 9 + 1),
    "Frozen.first": (9 * 9 + 9, 9 * 9 + 9, 0),
}


def whole_parameters(_rank, _world):
    found = {}
    strategies = [ShardingStrategy.FULL_SHARD, ShardingStrategy.SHARD_GRAD_OP, ShardingStrategy.NO_SHARD]
    halves = MixedPrecision(param_dtype=torch.bfloat16, buffer_dtype=torch.float32)
    cases = [(strategy, each, None) for strategy in strategies for each in (True, False)]
    for strategy, keep, precision in [*cases, (strategies[1], True, halves), (strategies[1], False, halves)]:
        net = Frozen()
        if keep:
            net.part.up.weight.requires_grad = False
        options = {"sharding_strategy": strategy, "use_orig_params": keep, "mixed_precision": precision}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            policy = ModuleWrapPolicy({MLP})
            model = FullyShardedDataParallel(net, auto_wrap_policy=policy, device_id=CPU, **options)
            # Also of a model of which only a forward was run, after which some strategies keep it whole.
            for backward in (False, True):
                with OpFlopMode() as mode:
                    y = model(torch.ones(4, 9))
                    if backward:
                        y.sum().backward()
                found[strategy.name, keep, precision is not None, backward] = {
                    each.module: (each.parameters, each.trainable, each.buffers, each.parameter_bytes)
                    for each in mode.profile.modules
                    if each.parameters or each.buffers
                }
    return found


def test_parameters_of_a_flat_one_are_those_of_the_whole_model():
    """On each rank, with their sizes before they were sharded, and shared ones once."""
    for results in on_ranks(whole_parameters, 3):
        for (_, keep, *_), found in results.items():
            assert found == {
                path: (number, trainable if keep else number, buffers, 4 * number)
                for path, (number, trainable, buffers) in FROZEN.items()
            }


def two_axes(rank, world):
    from torch.distributed.tensor.parallel import (  # noqa: PLC0415 - few programs need it
        ColwiseParallel,
        RowwiseParallel,
        parallelize_module,
    )

    axes = init_device_mesh("cpu", (world // 2, 2), mesh_dim_names=("dp", "tp"))

    def make():
        model = Net()
        for part in (model.a, model.b):
            parallelize_module(part, axes["tp"], {"up": ColwiseParallel(), "down": RowwiseParallel()})
            fully_shard(part, mesh=axes["dp"])
        fully_shard(model, mesh=axes["dp"])
        return model, sgd(model)

    def run(model, _rank, optimizer):
        return step(model, rank // 2, optimizer)

    return counted(make, 1, run)


def test_units_of_tensor_parallel_modules_send_by_axis():
    """Half of each weight is in a unit, whose gathers are of two ranks; activations of 4 x 8 go between the others."""
    unit = 4 * (8 * 8 + 8 + 8 * 8 + 8) // 2
    activations = 4 * 4 * 8
    results = on_ranks(two_axes, 4)
    for found in results:
        assert found["macs"] == STEP // 2
        assert bytes_sent(found) == {
            ("forward", "Net.a"): unit,
            ("forward", "Net.b"): unit,
            ("backward", "Net.a"): 2 * unit,
            ("backward", "Net.b"): 2 * unit,
            ("forward", "Net.a.down"): activations,
            ("forward", "Net.b.down"): activations,
            ("backward", "Net.b.up"): activations,
        }
    assert sum(found["macs"] for found in results) == 11_264
