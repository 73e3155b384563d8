"""Collectives over symmetric memory and of sharding: priced by hand-made calls, as most need several GPUs to run."""

import pytest
import torch
from torch import distributed
from torch.distributed import _functional_collectives
from torch.testing._internal.distributed.fake_pg import FakeStore

from opflops import Cost, OpFlopMode
from opflops.formulas.wire import ROOTED, SIZED_BY_VALUES
from opflops.pricing.registry import registry

symm_mem = pytest.importorskip("torch.distributed._symmetric_memory")
pytest.importorskip("torch.distributed.tensor")
pytest.importorskip("torch.distributed.tensor.experimental._context_parallel._cp_custom_ops")

ours = torch.ops.symm_mem
RANKS = 4


@pytest.fixture(scope="module", autouse=True)
def _group():
    """Begin a group of four ranks whose other members are imagined."""
    distributed.init_process_group("fake", store=FakeStore(), rank=0, world_size=RANKS)
    yield
    distributed.destroy_process_group()


def name():
    return distributed.group.WORLD.group_name


def charge(operator, out, *args, **kwargs):
    cost, dtype, reason = registry.resolve(operator.default, {}).charge(out, args, kwargs)
    assert reason == REASONS.get(operator.__name__, "")
    return cost, dtype


def folded_alone(elements):
    """Fold what four ranks have, element by element, on one of them; returns how many additions that takes."""
    return sum(1 for _ in range(elements) for rank in range(RANKS) if rank > 0)


def passed_on(elements, rounds=1):
    """Pass the parts of a buffer around a ring of four ranks; returns the bytes that the first rank sends."""
    return sum(4 * (elements // RANKS) for _ in range(rounds) for _ in range(RANKS - 1))


REASONS = {
    **dict.fromkeys(("nvshmem_broadcast", "multimem_one_shot_reduce_out", "tile_reduce"), ROOTED),
    "multi_root_tile_reduce": ROOTED,
    **dict.fromkeys(("all_to_all_vdev", "all_to_all_vdev_2d", "all_to_all_vdev_2d_offset"), SIZED_BY_VALUES),
}
# The bytes that the first of four ranks sends of 12 elements, by what an operator's name has in it; it is the root.
SENT = {
    "one_shot_all_reduce": 3 * 48, "all_reduce": passed_on(12, 2), "reduce_scatter": passed_on(12),
    "all_gather": passed_on(48), "all_to_all": passed_on(12), "broadcast": 48, "put": 48, "multicast": 3 * 48,
    # Three tiles of three elements that other ranks reduce.
    "multi_root": 36,
}  # fmt: skip


def sent(op):
    return next((SENT[each] for each in SENT if each in op), 0)


x, part = torch.ones(12), torch.ones(3)
words = torch.zeros(6, dtype=torch.int32)

# An operator, its result, its arguments, whether every rank folds everything, and elements read and written.
REDUCTIONS = [
    ("one_shot_all_reduce", x, lambda: (x, "sum", name()), True, 12, 12),
    ("one_shot_all_reduce_out", x, lambda: (x, "sum", name(), x), True, 12, 12),
    ("one_shot_all_reduce_copy", x, lambda: (x, x, "sum", name()), True, 12, 12),
    ("one_shot_all_reduce_copy_out", x, lambda: (x, x, "sum", name(), x), True, 12, 12),
    ("multimem_one_shot_all_reduce", x, lambda: (x, "sum", name()), True, 12, 12),
    ("multimem_one_shot_all_reduce_out", x, lambda: (x, "sum", name(), x), True, 12, 12),
    ("multimem_all_reduce_", x, lambda: (x, "sum", name()), False, 12, 12),
    ("multimem_one_shot_reduce_out", x, lambda: (x, "sum", 0, name(), x), False, 12, 12),
    ("two_shot_all_reduce_", x, lambda: (x, "sum", name()), False, 12, 12),
    ("two_shot_all_reduce_out", x, lambda: (x, "sum", name(), x), False, 12, 24),
    ("_low_contention_reduce_scatter", part, lambda: (x, "sum", name()), False, 12, 3),
    ("reduce_scatter_out", part, lambda: (x, name(), False, part), False, 12, 15),
    ("nccl_reduce_scatter_offset", None, lambda: (x, [part], name(), 0), False, 12, 3),
    ("tile_reduce", None, lambda: (x, x, 0, name()), False, 12, 12),
    ("multi_root_tile_reduce", None, lambda: ([part] * 4, part, [0, 1, 2, 3], name()), False, 12, 3),
]


@pytest.mark.parametrize(
    ("op", "out", "args", "alone", "read", "written"), REDUCTIONS, ids=[case[0] for case in REDUCTIONS]
)
def test_reductions(op, out, args, alone, read, written):
    """In one shot a rank folds all that four ranks have; otherwise the ranks share that."""
    if not hasattr(ours, op):
        pytest.skip("this PyTorch has no such operator")
    cost, dtype = charge(getattr(ours, op), out, *args())
    ops = folded_alone(12)
    traffic = Cost(bytes_read=4 * read, bytes_written=4 * written, sent=sent(op))
    assert cost == Cost(ops=ops if alone else ops // RANKS) + traffic
    assert dtype is torch.float32


def test_averages():
    """An average divides what it has added up."""
    assert charge(ours._low_contention_reduce_scatter, part, x, "avg", name())[0].ops == (36 + 12) // RANKS
    assert charge(ours.one_shot_all_reduce, x, x, "avg", name())[0].ops == 36 + 12


splits, placed = torch.zeros(4, dtype=torch.int64), torch.zeros(2, 4, dtype=torch.int64)
# An operator, its result, its arguments, and bytes read and written.
MOVES = [
    ("_low_contention_all_gather", torch.ones(48), lambda: (x, name()), 48, 192),
    ("multimem_all_gather_out", torch.ones(48), lambda: (x, name(), torch.ones(48)), 48, 192),
    ("nvshmem_broadcast", x, lambda: (x, 0, name()), 48, 48),
    ("nvshmem_all_to_all", x, lambda: (x, x, name()), 48, 48),
    ("all_to_all_vdev", None, lambda: (x, x, splits, placed, name()), 48 + 32, 48 + 64),
    ("all_to_all_vdev_2d", None, lambda: (x, x, splits, placed, name()), 48 + 32, 48 + 64),
    ("all_to_all_vdev_2d_offset", None, lambda: (x, x, placed, placed, name()), 48 + 64, 48 + 64),
    ("nvshmem_put", None, lambda: (x, 1), 48, 0),
    ("nvshmem_get", None, lambda: (x, 1), 0, 48),
    ("nccl_put", None, lambda: (x, 1), 48, 0),
    ("nccl_get", None, lambda: (x, 1), 0, 48),
    ("nccl_put_signal", None, lambda: (x, None, 1), 48, 0),
    ("nccl_put_with_signal", None, lambda: (x, 1, 1), 48, 0),
    ("nvshmem_put_with_signal", None, lambda: (x, torch.zeros(1, dtype=torch.int64), 1, 1), 56, 0),
    ("nccl_wait_for_signal", None, lambda: (words, 1), 0, 0),
    ("nccl_wait_signal", None, lambda: (None, 1), 0, 0),
    ("nvshmem_wait_for_signal", None, lambda: (words, 1, 1), 0, 0),
    ("get_remote_tensors", [x] * 4, lambda: (x, name()), 0, 0),
    ("_rendezvous", None, lambda: (x, name()), 0, 0),
    ("_barrier", None, lambda: (None,), 0, 0),
    ("_low_contention_all_gather_ce_multicast", torch.ones(48), lambda: (x, name()), 48, 192),
    ("_low_contention_all_gather_ce_multicast_out", x, lambda: (x, name(), torch.ones(48)), 48, 192),
    ("memcpy_to_multicast_", torch.ones(48), lambda: (torch.ones(48), x, 0, name()), 48, 48),
    ("nccl_all_to_all_nd", None, lambda: (x, x, 0, 0, name()), 48, 48),
    ("nccl_get_out", None, lambda: (x, None, 0, 12, 1), 0, 48),
    ("nvshmem_get_out", None, lambda: (x, None, 0, 12, 1), 0, 48),
    ("memset32_", words, lambda: (words, 0, 7, 5), 0, 20),
    ("stream_write_value32_", words, lambda: (words, 0, 7), 0, 4),
]


@pytest.mark.parametrize(("op", "out", "args", "read", "written"), MOVES, ids=[case[0] for case in MOVES])
def test_moves(op, out, args, read, written):
    """What is sent is read, what arrives is written over what is not read, and none of it takes arithmetic."""
    if not hasattr(ours, op):
        pytest.skip("this PyTorch has no such operator")
    assert charge(getattr(ours, op), out, *args())[0] == Cost(bytes_read=read, bytes_written=written, sent=sent(op))


def test_products_of_what_is_gathered():
    """Four ranks' (2, 3) make (8, 3); by (3, 5) and by (3, 7) that takes 8 * 3 * 12 products."""
    left, rights = torch.ones(2, 3), [torch.ones(3, 5), torch.ones(3, 7)]
    results = [torch.ones(8, 5), torch.ones(8, 7)]
    for gathered in (torch.ones(8, 3), None):
        cost, _ = charge(ours.fused_all_gather_matmul, (gathered, results), left, rights, 0, name())
        assert (cost.macs, cost.ops, cost.transcendentals) == (8 * 3 * 12, 0, 0)
        assert cost.sent == passed_on(24)
    # Gathered along the axis that is summed over, (8, 3) make (8, 12).
    cost, _ = charge(
        ours.fused_all_gather_matmul,
        (torch.ones(8, 12), [torch.ones(8, 5)]),
        torch.ones(8, 3),
        [torch.ones(12, 5)],
        1,
        name(),
    )
    assert cost.macs == 8 * 12 * 5


def test_products_as_they_arrive():
    """(4, 3) by (3, 5) takes 60 products, in whichever order the parts come."""
    cost, _ = charge(ours._async_input_mm, torch.ones(4, 5), torch.ones(4, 3), torch.ones(3, 5), torch.ones(4).int(), 0)
    assert (cost.macs, cost.ops, cost.transcendentals) == (60, 0, 0)


def fp8(*shape):
    return torch.ones(shape).to(torch.float8_e4m3fn)


def test_scaled_products_of_what_is_gathered():
    """Each element of both operands is scaled; a bias is added; a result of eight bits is scaled too."""
    one = torch.ones(())
    rights, results = [fp8(3, 5), fp8(3, 7)], [torch.ones(8, 5), fp8(8, 7)]
    biases, scales = [torch.ones(5), None], [one, one]
    call = (fp8(2, 3), rights, one, [one, one], 0, name(), biases, scales, [None, None], [False, False])
    cost, dtype = charge(ours.fused_all_gather_scaled_matmul, (fp8(8, 3), results), *call)
    assert cost.macs == 8 * 3 * 12
    # Operands of each product; 40 biases; 56 results of eight bits.
    assert (cost.ops, cost.transcendentals) == ((24 + 15) + (24 + 21) + 40 + 56, 0)
    assert dtype is torch.float8_e4m3fn
    # Six elements of a byte; with a scale for each of its two rows, eight bytes more.
    assert cost.sent == 3 * 6
    call = (*call[:2], torch.ones(2, 1), *call[3:])
    assert charge(ours.fused_all_gather_scaled_matmul, (fp8(8, 3), results), *call)[0].sent == 3 * (6 + 8)


def test_products_that_are_scattered():
    """Every rank has a product of 8 * 3 * 5, adds up its share of 40 sums of four, and keeps ten."""
    left, right, out = torch.ones(8, 3), torch.ones(3, 5), torch.ones(2, 5)
    cost, _ = charge(ours.fused_matmul_reduce_scatter, out, left, right, "sum", 0, name())
    assert (cost.macs, cost.ops, cost.transcendentals) == (120, folded_alone(40) // RANKS, 0)
    assert cost.sent == passed_on(40)
    cost, _ = charge(ours.fused_matmul_reduce_scatter, out, left, right, "avg", 0, name())
    assert cost.ops == (folded_alone(40) + 40) // RANKS


@pytest.mark.parametrize(("bias", "scale", "dtype"), [(True, False, torch.float32), (False, True, torch.float8_e4m3fn)])
def test_scaled_products_that_are_scattered(bias, scale, dtype):
    """The bias and the scale are of the whole product, of which a quarter is left."""
    one, out = torch.ones(()), torch.ones(2, 5).to(dtype)
    operator = ours.fused_scaled_matmul_reduce_scatter
    values = {
        "A": fp8(8, 3),
        "B": fp8(3, 5),
        "A_scale": one,
        "B_scale": one,
        "reduce_op": "sum",
        "group_name": name(),
        "bias": torch.ones(5) if bias else None,
        "result_scale": one if scale else None,
    }
    names = [each.name for each in operator.default._schema.arguments]
    cost, found = charge(operator, out, **{each: values.get(each) for each in names})
    assert (cost.macs, cost.transcendentals) == (120, 0)
    assert cost.ops == (24 + 15) + 40 + folded_alone(40) // RANKS
    assert cost.sent == passed_on(40) * dtype.itemsize // 4
    assert found is torch.float8_e4m3fn


def test_keys_and_values_of_a_sequence():
    """Gathering moves them; their gradients are added up, each rank its share."""
    k, v = torch.ones(2, 3, 4), torch.ones(2, 3, 5)
    full = (torch.ones(2, 12, 4), torch.ones(2, 12, 5))
    cost, _ = charge(torch.ops.cplib.flex_cp_allgather, full, k, v, 1, name())
    assert cost == Cost(bytes_read=4 * 54, bytes_written=4 * 216, sent=passed_on(216))
    cost, _ = charge(torch.ops.cplib.flex_cp_allgather_backward, (k, v), *full, 1, name())
    assert cost == Cost(ops=folded_alone(216) // RANKS, bytes_read=4 * 216, bytes_written=4 * 54, sent=passed_on(216))


def test_shards_of_another_axis():
    """Shards that change their axis are read and written."""
    if not hasattr(torch.ops._dtensor, "shard_dim_alltoall"):
        pytest.skip("this build has no such operator")
    cost, _ = charge(torch.ops._dtensor.shard_dim_alltoall, torch.ones(8, 3), torch.ones(2, 12), 0, 1, name())
    assert cost == Cost(bytes_read=96, bytes_written=96, sent=passed_on(24))


def test_collectives_as_autograd_sees_them():
    """They cost what the functional collectives cost, which they end in."""
    differentiable = torch.ops._c10d_functional_autograd
    for op, out, args in [
        ("all_gather_into_tensor", torch.ones(48), (x, RANKS, name())),
        ("all_to_all_single", x, (x, [3] * 4, [3] * 4, name())),
        ("reduce_scatter_tensor", part, (x, "sum", RANKS, name())),
    ]:
        cost, _ = charge(getattr(differentiable, op), out, *args)
        assert cost == charge(getattr(torch.ops._c10d_functional, op), out, *args)[0]
        assert (cost.ops, cost.sent) == (9 if "reduce" in op else 0, sent(op))


@pytest.mark.skipif(
    not hasattr(_functional_collectives, "_wrap_tensor_autograd"), reason="an older PyTorch has no such operator"
)
def test_wrapping_what_is_awaited():
    """A tensor that is on its way gets a wrapper, and nothing moves."""
    with OpFlopMode(strict=True) as mode:
        torch.ops._c10d_functional._wrap_tensor_autograd(x)
    assert all(row.cost == Cost() for row in mode.profile.rows)
