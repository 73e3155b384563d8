"""Primitives of the compiler: each against the operators of aten that its own definition runs."""

import pytest
import torch
from torch._inductor import inductor_prims

from opflops import Cost, OpFlopMode
from opflops.pricing.registry import registry

prims = torch.ops.prims


def row_of(function, op):
    with OpFlopMode(strict=True) as mode:
        function()
    (row,) = [row for row in mode.profile.rows if row.op == f"prims.{op}"]
    return row


def work(function, op):
    cost = row_of(function, op).cost
    return cost.macs, cost.ops, cost.transcendentals


def spelled_out(function):
    """Add up the arithmetic of a definition, on integers too."""
    with OpFlopMode(strict=True) as mode:
        function()
    costs = [row.cost for row in mode.profile.rows]
    return tuple(sum(getattr(cost, field) for cost in costs) for field in ("macs", "ops", "transcendentals"))


@pytest.mark.skipif(not hasattr(prims, "fma"), reason="an older PyTorch has no such operator")
def test_fma():
    """A product and a sum, for each of six elements."""
    a, b, c = torch.rand(3, 2, 3)
    assert work(lambda: prims.fma(a, b, c), "fma") == spelled_out(lambda: a * b + c) == (0, 12, 0)


@pytest.mark.skipif(not hasattr(prims, "prepare_softmax_online"), reason="an older PyTorch has no such operator")
@pytest.mark.parametrize("dim", [0, 1])
def test_the_beginning_of_a_softmax(dim):
    """The largest of each row, and the sum of the exponentials of the differences from it."""
    x = torch.randn(2, 5)
    expected = spelled_out(lambda: inductor_prims.eager_prepare_softmax(x, dim))
    assert work(lambda: prims.prepare_softmax_online(x, dim), "prepare_softmax_online") == expected
    assert expected == ((0, 2 * (4 + 5 + 4), 10) if dim else (0, 5 * (1 + 2 + 1), 10))


POOLS = [((6, 8), (2, 3)), ((4, 6, 8), (2, 3, 2))]


@pytest.mark.skipif(
    not hasattr(prims, "_low_memory_max_pool_with_offsets"), reason="an older PyTorch names it otherwise"
)
@pytest.mark.parametrize(("shape", "kernel"), POOLS)
def test_pooling_with_places(shape, kernel):
    """A window takes as many comparisons as in aten; a place in it becomes one in the input by integer arithmetic."""
    dims, x = len(kernel), torch.randn(2, 3, *shape)
    settings = (list(kernel), [0] * dims, [1] * dims)
    pool = getattr(torch.ops.aten, f"max_pool{dims}d_with_indices")
    expected = spelled_out(lambda: pool(x, list(kernel), *settings))
    call = lambda: prims._low_memory_max_pool_with_offsets(x, list(kernel), *settings, False)  # noqa: E731
    assert work(call, "_low_memory_max_pool_with_offsets") == expected
    _, offsets = call()
    _, indices = pool(x, list(kernel), *settings)

    def back():
        return prims._low_memory_max_pool_offsets_to_indices(offsets, list(kernel), list(shape), *settings)

    assert torch.equal(back(), indices)
    row = row_of(back, "_low_memory_max_pool_offsets_to_indices")
    assert (row.cost.macs, row.cost.ops, row.cost.transcendentals) == spelled_out(
        lambda: inductor_prims._low_memory_max_pool_offsets_to_indices_aten(
            offsets, list(kernel), list(shape), *settings
        )
    )
    assert row.dtype == "int64"


@pytest.mark.skipif(
    not hasattr(prims, "_low_memory_max_pool2d_with_offsets"), reason="a newer PyTorch names it otherwise"
)
def test_pooling_with_places_under_older_names():
    """The same, in two dimensions alone."""
    x, settings = torch.randn(2, 3, 6, 8), ([2, 3], [0, 0], [1, 1])
    expected = spelled_out(lambda: torch.ops.aten.max_pool2d_with_indices(x, [2, 3], *settings))
    call = lambda: prims._low_memory_max_pool2d_with_offsets(x, [2, 3], *settings, False)  # noqa: E731
    assert work(call, "_low_memory_max_pool2d_with_offsets") == expected
    _, offsets = call()
    back = lambda: prims._low_memory_max_pool2d_offsets_to_indices(offsets, 3, 8, [2, 3], [0, 0])  # noqa: E731
    assert work(back, "_low_memory_max_pool2d_offsets_to_indices") == spelled_out(
        lambda: inductor_prims._low_memory_max_pool2d_offsets_to_indices_aten(offsets, 3, 8, [2, 3], [0, 0])
    )


@pytest.mark.parametrize("accumulate", [False, True])
def test_writing_at_indices(accumulate):
    """It costs what ``index_put_`` costs: an addition for each of two elements, where it adds up."""
    x, index, values = torch.zeros(5), torch.tensor([1, 3]), torch.ones(2)
    counted = work(lambda: prims._unsafe_index_put_(x, [index], values, accumulate), "_unsafe_index_put_")
    assert counted == (0, 2 * accumulate, 0)
    assert counted == spelled_out(lambda: x.index_put_((index,), values, accumulate))


def test_the_order_of_strides():
    """Elements that lie as they should stay there; others are read and written."""
    x = torch.randn(3, 4)
    assert row_of(lambda: prims.inductor_force_stride_order(x, [4, 1]), "inductor_force_stride_order").cost == Cost()
    moved = row_of(lambda: prims.inductor_force_stride_order(x, [1, 3]), "inductor_force_stride_order").cost
    assert moved == Cost(bytes_read=48, bytes_written=48)


MOVES = {
    "inductor_seed": (lambda: prims.inductor_seed(torch.device("cpu")), 0, 8),
    "inductor_seeds": (lambda: prims.inductor_seeds(3, torch.device("cpu")), 0, 24),
    "inductor_random": (lambda: prims.inductor_random([3], torch.tensor(5), "rand"), 8, 12),
    "inductor_randint": (lambda: prims.inductor_randint(0, 9, [3], torch.tensor(5)), 8, 24),
}


@pytest.mark.parametrize("op", MOVES)
def test_random_numbers(op):
    """Seeds are read, or one of them is, and what is drawn is written."""
    function, read, written = MOVES[op]
    assert row_of(function, op).cost == Cost(bytes_read=read, bytes_written=written)


@pytest.mark.skipif(not hasattr(prims, "inductor_cvt_e8m0_rceil"), reason="an older PyTorch has no such operator")
def test_conversions():
    """A float becomes an exponent of eight bits: a cast."""
    counted = row_of(lambda: prims.inductor_cvt_e8m0_rceil(torch.rand(6)), "inductor_cvt_e8m0_rceil").cost
    assert counted == Cost(bytes_read=24, bytes_written=6)


def test_one_of_many_seeds():
    """Of five seeds one is read."""
    cost, _, _ = registry.resolve(prims.inductor_lookup_seed.default, {}).charge(
        torch.tensor(2), (torch.arange(5), 2), {}
    )
    assert cost == Cost(bytes_read=8, bytes_written=8)


def test_philox():
    """What only a GPU draws is priced without one: a seed and an offset are read, three numbers and one written."""
    number = torch.tensor(0)
    cost, _, _ = registry.resolve(torch.ops.rngprims.philox_rand.default, {}).charge(
        (torch.zeros(3), number), ([3], number, number, None), {}
    )
    assert cost == Cost(bytes_read=16, bytes_written=20)
