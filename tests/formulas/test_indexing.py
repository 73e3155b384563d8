"""Indexing and what accumulates: adds against numpy's unbuffered addition, bytes against what is picked."""

import numpy as np
import pytest
import torch
from counted import cost_of
from torch.nn import functional

from opflops import Cost, OpFlopMode
from opflops.pricing.registry import registry

aten = torch.ops.aten

NOTHING = Cost()


def whole(*values):
    return torch.tensor(values)


def mask(length, *chosen):
    return torch.tensor([place in chosen for place in range(length)])


def additions(shape, place, values):
    """Add values to zeros one by one where numpy says they go; returns the sums and how many additions it took."""
    sums, hits = np.zeros(shape), np.zeros(shape, dtype=int)
    np.add.at(sums, place, values)
    np.add.at(hits, place, 1)
    return torch.from_numpy(sums), int(hits.sum())


# An index may be missing, integers of any shape, or a mask over one or more axes.
PLACES = [
    ([whole(0, 2, 2)], (3, 4, 5)),
    ([whole(1)], (1, 4, 5)),
    ([None, whole(3, 3)], (3, 2, 5)),
    ([None, None, whole(0, 4, 4, 1)], (3, 4, 4)),
    ([whole(0, 2), whole(1, 3)], (2, 5)),
    ([whole([0], [2]), whole(1, 3, 3)], (2, 3, 5)),
    ([whole([0], [2]), whole(1)], (2, 1, 5)),
    ([whole(0, 2, 0), None, whole(4, 4, 1)], (3, 4)),
    ([whole(0, 2), whole(1, 1), whole(4, 4)], (2,)),
    ([torch.tensor(1)], (4, 5)),
    ([torch.tensor(1), None, whole(0, 2)], (2, 4)),
    ([mask(3, 0, 2)], (2, 4, 5)),
    ([mask(3)], (0, 4, 5)),
    ([None, mask(4, 0, 2, 3)], (3, 3, 5)),
    ([torch.arange(12).reshape(3, 4) % 5 == 0], (3, 5)),
    ([None, torch.arange(20).reshape(4, 5) % 3 == 0], (3, 7)),
    ([mask(3, 0, 2), whole(1, 1)], (2, 5)),
    ([mask(3, 0), whole(1, 1, 2)], (3, 5)),
    ([torch.arange(60).reshape(3, 4, 5) % 7 == 0], (9,)),
]


@pytest.mark.parametrize(("indices", "addressed"), PLACES)
def test_accumulating_put_adds_to_each_place_it_addresses(indices, addressed):
    """One addition for each element that integers, masks and whole axes address together, repeated ones too."""
    x = torch.zeros(3, 4, 5, dtype=torch.float64)
    values = torch.randn(addressed, dtype=torch.float64)
    place = tuple(slice(None) if index is None else index.numpy() for index in indices)
    expected, count = additions((3, 4, 5), place, values.numpy())
    torch.testing.assert_close(aten.index_put(x, indices, values, accumulate=True), expected)
    assert cost_of(lambda: aten.index_put(x, indices, values, accumulate=True)) == Cost(ops=count)
    assert cost_of(lambda: aten._unsafe_index_put(x, indices, values, accumulate=True)) == Cost(ops=count)
    assert cost_of(lambda: aten._index_put_impl(x, indices, values, accumulate=True)) == Cost(ops=count)
    in_place = x.clone()
    assert cost_of(lambda: aten.index_put_(in_place, indices, values, accumulate=True)) == Cost(ops=count)
    assert cost_of(lambda: aten._index_put_impl_(in_place, indices, values, accumulate=True)) == Cost(ops=count)
    # One value for all places is added as often.
    assert cost_of(lambda: aten.index_put(x, indices, values.new_ones(()), accumulate=True)) == Cost(ops=count)
    # Without accumulation there is nothing to compute.
    assert cost_of(lambda: aten.index_put(x, indices, values)) == NOTHING


@pytest.mark.parametrize(("indices", "addressed"), PLACES[:11])
def test_integers_need_no_values_to_be_counted(indices, addressed):
    """Integer indices address as many places on meta tensors as on real ones."""
    x = torch.zeros(3, 4, 5)
    real = cost_of(lambda: aten.index_put(x, indices, torch.ones(addressed), accumulate=True))
    with torch.device("meta"):
        x, values = torch.empty(3, 4, 5), torch.empty(addressed)
    on_meta = [None if index is None else index.to("meta") for index in indices]
    assert real.ops > 0
    assert cost_of(lambda: aten.index_put(x, on_meta, values, accumulate=True)) == real


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8])
def test_masks_without_values_are_estimated(dtype):
    """A mask on meta has no elements to count: how many it selects is taken from the values, as an estimate."""
    with torch.device("meta"):
        x, values, rows = torch.empty(3, 4), torch.empty(2, 4), torch.empty(3, dtype=dtype)
    cost, _, reason = registry.resolve(aten.index_put.default, {}).charge(x, (x, [rows], values, True), {})
    assert cost.ops == 8
    assert "mask" in reason


def test_masks_of_bytes_select_as_masks_of_bools_do():
    """An index of unsigned bytes is a mask, not a list of places."""
    x, values = torch.zeros(3, 4), torch.ones(4)
    rows = torch.tensor([1, 0, 1], dtype=torch.uint8)
    cost, _, reason = registry.resolve(aten.index_put.default, {}).charge(x, (x, [rows], values, True), {})
    assert (cost.ops, reason) == (8, "")


@pytest.mark.parametrize("alpha", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize(("dim", "index", "shape"), [(0, whole(0, 2, 2, 1), (4, 4, 5)), (2, whole(4, 4), (3, 4, 2))])
def test_index_add_adds_each_element_of_its_source(dim, index, shape, dtype, alpha):
    """One addition for each element, and a multiplication where alpha is not 1: 2 and 6 operations if complex."""
    x, source = torch.zeros(3, 4, 5, dtype=dtype), torch.randn(shape, dtype=dtype)
    place = (*(slice(None),) * dim, index.numpy())
    expected, count = additions((3, 4, 5), place, alpha * source.real.numpy())
    torch.testing.assert_close(x.index_add(dim, index, source, alpha=alpha).real, expected)
    addition, multiplication = (2, 6) if dtype.is_complex else (1, 1)
    cost = cost_of(lambda: x.index_add(dim, index, source, alpha=alpha))
    assert cost == Cost(ops=count * (addition + (multiplication if alpha == 3 else 0)))
    assert cost_of(lambda: x.clone().index_add_(dim, index, source, alpha=alpha)) == cost
    out = torch.empty_like(x)
    assert cost_of(lambda: torch.index_add(x, dim, index, source, alpha=alpha, out=out)) == cost


@pytest.mark.parametrize("dim", [0, 1])
def test_scatter_add_adds_where_its_index_says(dim):
    """One addition for each index, of which there may be fewer than there are elements in the source."""
    x, source = torch.zeros(3, 4, dtype=torch.float64), torch.randn(5, 6, dtype=torch.float64)
    index = torch.tensor([[0, 2, 1], [2, 2, 0]])
    rows, columns = np.indices(index.shape)
    place = (index.numpy(), columns) if dim == 0 else (rows, index.numpy())
    expected, count = additions((3, 4), place, source[:2, :3].numpy())
    torch.testing.assert_close(x.scatter_add(dim, index, source), expected)
    assert count == 6
    assert cost_of(x.scatter_add, dim, index, source) == Cost(ops=6)
    assert cost_of(x.clone().scatter_add_, dim, index, source) == Cost(ops=6)
    out = torch.empty_like(x)
    assert cost_of(lambda: torch.scatter_add(x, dim, index, source, out=out)) == Cost(ops=6)
    meta = (tensor.to("meta") for tensor in (x, index, source))
    assert cost_of(lambda x, index, source: x.scatter_add(dim, index, source), *meta) == Cost(ops=6)


def test_gradients_of_look_ups_add():
    """What a look-up copies, its gradient accumulates: an addition for each element that was picked."""
    x = torch.randn(4, 5, requires_grad=True)
    index, place = whole(0, 2, 2), torch.tensor([[0, 1], [4, 4], [2, 0]])
    for picked in (x[index], x.index_select(0, index), x[:, index], x[index, index], x.gather(1, place)):
        gradients = cost_of(torch.autograd.grad, picked, x, torch.ones_like(picked))
        assert gradients == Cost(ops=picked.numel())


TABLE = torch.randn(100, 8)
ROWS = whole(5, 99, 7)
MASK = torch.arange(800).reshape(100, 8) % 80 == 0
CELLS = torch.tensor([[5, 7], [3, 2]])
# 3 rows of 8 numbers of 4 bytes, and 3 indices of 8 bytes; for 3 columns, of 100 numbers.
THREE_ROWS, THREE_COLUMNS = (96 + 24, 96), (1200 + 24, 1200)
LOOK_UPS = [
    ("embedding", (TABLE, ROWS), THREE_ROWS),
    ("index_select", (TABLE, 0, ROWS), THREE_ROWS),
    ("index_select", (TABLE, 1, whole(5, 0, 7)), THREE_COLUMNS),
    ("index", (TABLE, [ROWS]), THREE_ROWS),
    ("_unsafe_index", (TABLE, [ROWS]), THREE_ROWS),
    ("index", (TABLE, [None, whole(5, 0, 7)]), THREE_COLUMNS),
    # 6 numbers where 2 indices meet 3.
    ("index", (TABLE, [whole([1], [2]), whole(5, 0, 7)]), (24 + 16 + 24, 24)),
    # As many numbers as indices.
    ("gather", (TABLE, 0, CELLS), (16 + 32, 16)),
    ("take", (TABLE, ROWS), (12 + 24, 12)),
    # A mask of 800 bytes is read whole; 10 numbers are picked.
    ("masked_select", (TABLE, MASK), (40 + 800, 40)),
    ("index", (TABLE, [MASK]), (40 + 800, 40)),
]


@pytest.mark.parametrize(("name", "arguments", "traffic"), LOOK_UPS)
def test_look_ups_read_only_what_they_pick(name, arguments, traffic):
    """A look-up in a table of 3200 bytes reads the elements that come out, and its index; it computes nothing."""
    with OpFlopMode(strict=True) as mode:
        getattr(aten, name)(*arguments)
    read, written = traffic
    assert mode.total == Cost(bytes_read=read, bytes_written=written)


def test_accumulation_reads_and_writes_its_target():
    """In place, the target (3200 bytes) is read and written; the source (3 rows) and the index are read."""
    target = TABLE.clone()
    source = torch.randn(3, 8)
    with OpFlopMode(strict=True) as mode:
        target.index_add_(0, ROWS, source)
    assert mode.total == Cost(ops=24, bytes_read=3200 + 96 + 24, bytes_written=3200)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.scatter(0, CELLS[:, :1], x),
        lambda x: x.scatter(0, CELLS[:, :1], 2.0),
        lambda x: x.scatter_(0, CELLS[:, :1], 2.0),
        lambda x: x.index_copy(0, ROWS, x[:3]),
        lambda x: x.index_fill(0, ROWS, 2.0),
        lambda x: x.masked_scatter(MASK, x),
        lambda x: x.masked_select(MASK),
        lambda x: functional.embedding(ROWS, x),
    ],
)
def test_movement_is_no_arithmetic(function):
    """What overwrites or picks costs no operation."""
    assert cost_of(function, TABLE.clone()) == NOTHING


INTO = torch.randint(1, 5, (3, 4)).double()
PLACE = torch.tensor([[0, 2, 1], [2, 2, 0]])
SOURCE = torch.rand(5, 6, dtype=torch.float64) + 0.5


def folded(step, place=PLACE):
    """Fold the source into the rows that an index names, one by one; returns the result and how often it was done."""
    result, steps = INTO.clone(), 0
    for row, column in np.ndindex(*place.shape):
        target = place[row, column]
        result[target, column] = step(result[target, column], SOURCE[row, column])
        steps += 1
    return result, steps


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize(("reduce", "step"), [("add", torch.add), ("multiply", torch.mul)])
def test_scatter_with_a_reduction_folds_in_each_element(reduce, step, device):
    """Six indices take six steps, in place and into a tensor that is given too, on meta tensors too."""
    expected, steps = folded(step)
    torch.testing.assert_close(aten.scatter(INTO, 0, PLACE, SOURCE, reduce=reduce), expected)
    assert steps == 6
    into, place, source, out = (each.to(device) for each in (INTO, PLACE, SOURCE, torch.empty_like(INTO)))
    for call in (
        lambda: aten.scatter(into, 0, place, source, reduce=reduce),
        lambda: aten.scatter(into, 0, place, source, reduce=reduce, out=out),
        lambda: aten.scatter(into, 0, place, 2.0, reduce=reduce),
        lambda: aten.scatter_(into.clone(), 0, place, source, reduce=reduce),
        lambda: aten.scatter_(into.clone(), 0, place, 2.0, reduce=reduce),
    ):
        assert cost_of(call) == Cost(ops=6)


def test_complex_factors_take_six_operations():
    """A complex number takes 6 real operations to multiply in, and 2 to add."""
    into, source = INTO.to(torch.complex128), SOURCE.to(torch.complex128)
    assert cost_of(lambda: aten.scatter(into, 0, PLACE, source, reduce="multiply")) == Cost(ops=36)
    assert cost_of(lambda: aten.scatter(into, 0, PLACE, source, reduce="add")) == Cost(ops=12)
    assert cost_of(lambda: into.scatter_reduce(0, PLACE, source, "prod")) == Cost(ops=36)


# What 6 elements take that are folded into 12: those of a mean are also counted, and the 12 divided; where the 12 are
# left out of the mean, each count is compared with zero.
REDUCTIONS = [
    ("sum", True, 6),
    ("sum", False, 6),
    ("prod", True, 6),
    ("amax", True, 6),
    ("amin", False, 6),
    ("mean", True, 6 + 6 + 12),
    ("mean", False, 6 + 6 + 12 + 12),
]


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("name", ["scatter_reduce", "scatter_reduce_"])
@pytest.mark.parametrize(("reduce", "include_self", "steps"), REDUCTIONS)
def test_reductions_take_a_step_for_each_element_of_their_index(reduce, include_self, steps, name, device):
    """As many steps as indices, in place and on meta tensors too."""
    into, place, source = (each.to(device) for each in (INTO.clone(), PLACE, SOURCE))
    call = getattr(into, name)
    assert cost_of(lambda: call(0, place, source, reduce, include_self=include_self)) == Cost(ops=steps)


@pytest.mark.filterwarnings("ignore:index_reduce")
@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("name", ["index_reduce", "index_reduce_"])
@pytest.mark.parametrize(("reduce", "include_self", "steps"), REDUCTIONS[2:])
def test_index_reduction_takes_a_step_for_each_element_of_its_source(reduce, include_self, steps, name, device):
    """Two rows of three numbers go into four rows of three, which stand for the twelve."""
    into, source, rows = (each.to(device) for each in (torch.rand(4, 3), torch.rand(2, 3), whole(3, 3)))
    call = getattr(into, name)
    assert cost_of(lambda: call(0, rows, source, reduce, include_self=include_self)) == Cost(ops=steps)


def test_means_of_whole_numbers_are_rounded():
    """Six additions, six counts, twelve divisions that are rounded: integers, so in no total."""
    into, source = torch.ones(3, 4, dtype=torch.int64), torch.ones(5, 6, dtype=torch.int64)
    with OpFlopMode(strict=True) as mode:
        into.scatter_reduce(0, PLACE, source, "mean")
    (row,) = mode.profile.rows
    assert (row.cost.macs, row.cost.ops, row.cost.transcendentals) == (0, 6 + 6 + 2 * 12, 0)
    assert mode.total == NOTHING


def test_reductions_agree_with_a_loop():
    """What the steps of the loop compute is what PyTorch does."""
    for reduce, step in (("sum", torch.add), ("prod", torch.mul), ("amax", torch.maximum), ("amin", torch.minimum)):
        torch.testing.assert_close(INTO.scatter_reduce(0, PLACE, SOURCE, reduce), folded(step)[0])


def test_put_adds_when_it_accumulates():
    """One addition for each index, which counts the elements as they lie; without accumulation nothing."""
    index = torch.tensor([[0, 11, 5], [5, 5, 1]])
    expected, count = additions((12,), index.numpy().ravel(), SOURCE[:2, :3].numpy().ravel())
    x, source = torch.zeros(3, 4, dtype=torch.float64), SOURCE[:2, :3]
    torch.testing.assert_close(x.put(index, source, accumulate=True).ravel(), expected)
    assert count == 6
    for call in (x.put, x.clone().put_):
        assert cost_of(lambda call=call: call(index, source, accumulate=True)) == Cost(ops=6)
        assert cost_of(lambda call=call: call(index, source)) == NOTHING
    assert cost_of(lambda: x.to("meta").put_(index.to("meta"), source.to("meta"), accumulate=True)) == Cost(ops=6)


def test_masked_indexing():
    """Masked look-ups move what they pick, and accumulate at every place that is addressed, masked or not."""
    rows, columns, mask = whole(0, 7, 2), whole(1, 1, 3), whole(True, False, True)
    with OpFlopMode(strict=True) as mode:
        aten._unsafe_masked_index(TABLE, mask, [rows, columns], 0.0)
    # Three numbers, three bools, six indices.
    assert mode.total == Cost(bytes_read=12 + 3 + 48, bytes_written=12)
    x, values = torch.zeros(100, 8), torch.ones(3)
    found = aten._unsafe_masked_index_put_accumulate(x, mask, [rows, columns], values)
    assert (found[0, 1], found[2, 3], found.sum()) == (1, 1, 2)
    cost = cost_of(lambda: aten._unsafe_masked_index_put_accumulate(x, mask, [rows, columns], values))
    assert cost == Cost(ops=3)
    cost = cost_of(
        lambda: aten._unsafe_masked_index_put_accumulate(x, mask[:2, None], [rows[:2], None], torch.ones(2, 8))
    )
    assert cost == Cost(ops=16)


def test_gradient_of_a_masked_scatter_picks():
    """Ten numbers are picked of 800 by a mask of 800 bytes."""
    with OpFlopMode(strict=True) as mode:
        aten.masked_scatter_backward(TABLE, MASK, [10])
    assert mode.total == Cost(bytes_read=40 + 800, bytes_written=40)


def test_nonzero_compares_with_zero():
    """One comparison for each element."""
    x = torch.tensor([[0.0, 2.0, 3.0], [0.0, 0.0, 1.0]])
    assert cost_of(x.nonzero) == Cost(ops=6)
    assert cost_of(lambda: torch.nonzero(x, out=torch.empty(0, dtype=torch.int64))) == Cost(ops=6)
    assert cost_of(lambda: torch.nonzero_static(x, size=2)) == Cost(ops=6)


# Five rows of two numbers in segments of three, none, and two rows.
ROWS_OF_SEGMENTS = torch.rand(5, 2)
SEGMENTS = {"lengths": whole(3, 0, 2)}, {"offsets": whole(0, 3, 3, 5)}
# 10 numbers fold into 4 that are not empty; a mean divides each of those.
FOLDS = [("sum", 6), ("prod", 6), ("max", 6), ("min", 6), ("mean", 6 + 4)]


@pytest.mark.parametrize("segments", SEGMENTS, ids=["lengths", "offsets"])
@pytest.mark.parametrize(("reduce", "steps"), FOLDS)
def test_segments_cost_what_their_reductions_do(reduce, steps, segments):
    """A segment of n folds in n - 1 steps, an initial value in one more; an empty one takes none."""
    found = torch.segment_reduce(ROWS_OF_SEGMENTS, reduce, **segments)
    parts = [ROWS_OF_SEGMENTS[:3], ROWS_OF_SEGMENTS[3:]]
    op = getattr(torch, {"max": "amax", "min": "amin"}.get(reduce, reduce))
    torch.testing.assert_close(found[[0, 2]], torch.stack([op(part, 0) for part in parts]))
    unfused = sum(cost_of(op, part, 0) for part in parts)
    assert cost_of(lambda: torch.segment_reduce(ROWS_OF_SEGMENTS, reduce, **segments)) == unfused == Cost(ops=steps)
    with_initial = cost_of(lambda: torch.segment_reduce(ROWS_OF_SEGMENTS, reduce, initial=1, **segments))
    assert with_initial == Cost(ops=steps + 4)


def test_segments_may_lie_along_a_later_axis():
    """Two rows of their own segments, of which each element is three numbers; one row leaves two elements out."""
    data = torch.rand(2, 4, 3)
    lengths = torch.tensor([[1, 3], [2, 0]])
    # Six elements in three segments, times three.
    cost = cost_of(lambda: torch.segment_reduce(data, "sum", lengths=lengths, axis=1, unsafe=True))
    assert cost == Cost(ops=(6 - 3) * 3)


# 10 numbers in 4 that are not empty: a mean divides 4; an extreme compares 10; a product divides 10 and compares them
# with zero, and multiplies 4 by their gradients.
SEGMENT_GRADIENTS = [("sum", 0, ""), ("mean", 4, ""), ("max", 10, "equal"), ("min", 10, "equal"), ("prod", 24, "zero")]


@pytest.mark.parametrize("segments", SEGMENTS, ids=["lengths", "offsets"])
@pytest.mark.parametrize(("reduce", "steps", "word"), SEGMENT_GRADIENTS)
def test_gradients_of_segments_by_hand(reduce, steps, word, segments):
    """A division for each mean, a comparison for each candidate, and for products what a quotient takes."""
    data = ROWS_OF_SEGMENTS
    output = torch.segment_reduce(data, reduce, **segments)
    price = registry.resolve(aten._segment_reduce_backward.default, {})
    arguments = (torch.ones_like(output), output, data, reduce)
    out = aten._segment_reduce_backward(*arguments, **segments)
    cost, _, reason = price.charge(out, arguments, segments)
    assert (cost.macs, cost.ops, cost.transcendentals) == (0, steps, 0)
    assert word in reason
    assert bool(reason) == bool(word)
    (name, ends), *_ = segments.items()
    on_meta = tuple(each.to("meta") if isinstance(each, torch.Tensor) else each for each in arguments)
    cost, _, reason = price.charge(out, on_meta, {name: ends.to("meta")})
    # Without lengths there are six results that are not known to be empty.
    assert cost.ops == {"mean": 6, "prod": 26}.get(reduce, steps)
    assert ("no values" in reason) == (reduce != "sum")


def test_segments_without_values_count_as_full():
    """Ten numbers fold into six, since no segment is known to be empty; the row says so."""
    data, lengths = ROWS_OF_SEGMENTS.to("meta"), whole(3, 0, 2).to("meta")
    out = torch.segment_reduce(data, "sum", lengths=lengths)
    price = registry.resolve(aten.segment_reduce.default, {})
    cost, _, reason = price.charge(out, (data, "sum"), {"lengths": lengths})
    assert (cost.macs, cost.ops, cost.transcendentals) == (0, 4, 0)
    assert "no values" in reason


LENGTHS = {"lengths": whole(3, 0, 2)}
BAG = (TABLE, ROWS, whole(0, 2))
OF_BAG = (torch.ones(2, 8), ROWS, whole(0, 0, 1), whole(2, 1), whole(0, 0), 100, False, 0, None)
POINTS = torch.rand(6, 2)
# What fills a result that is given, beside those above: indexing, embeddings, histograms, sorting.
FILLING = [
    (aten.index_put, "default", "out", (TABLE, [ROWS], torch.ones(3, 8), True), {}),
    (aten._index_put_impl, "default", "out", (TABLE, [ROWS], torch.ones(3, 8), True), {}),
    (aten.put, "default", "out", (TABLE, ROWS, torch.ones(3), True), {}),
    (aten.scatter_reduce, "two", "two_out", (INTO, 0, PLACE, SOURCE, "prod"), {}),
    (aten.index_reduce, "default", "out", (TABLE, 0, ROWS, torch.ones(3, 8), "mean"), {}),
    (aten.nonzero_static, "default", "out", (TABLE,), {"size": 3}),
    (aten.segment_reduce, "default", "out", (ROWS_OF_SEGMENTS, "sum"), LENGTHS),
    (
        aten._segment_reduce_backward,
        "default",
        "out",
        (torch.ones(3, 2), torch.ones(3, 2), ROWS_OF_SEGMENTS, "mean"),
        LENGTHS,
    ),
    (aten.embedding_dense_backward, "default", "out", (torch.ones(3, 8), ROWS, 100, -1, False), {}),
    (aten.embedding_renorm, "default", "out", (TABLE, ROWS, 0.5, 2.0), {}),
    (aten._embedding_bag, "default", "out", BAG, {}),
    (aten._embedding_bag_forward_only, "default", "out", BAG, {}),
    (aten._embedding_bag_dense_backward, "default", "out", OF_BAG, {}),
    (aten._embedding_bag_per_sample_weights_backward, "default", "out", (OF_BAG[0], *BAG, OF_BAG[2], 0), {}),
    (aten.bincount, "default", "out", (ROWS, torch.ones(3)), {}),
    (aten._histogramdd_from_bin_cts, "default", "out", (POINTS, [3, 4]), {}),
    (aten._histogramdd_from_bin_tensors, "default", "out", (POINTS, [whole(0.0, 1.0), whole(0.0, 0.5, 1.0)]), {}),
    (aten.sort, "default", "values", (TABLE,), {}),
    (aten.sort, "stable", "values_stable", (TABLE,), {"stable": True}),
    (aten.topk, "default", "values", (TABLE, 2), {}),
    (aten.kthvalue, "default", "values", (TABLE, 2), {}),
    (aten.mode, "default", "values", (TABLE,), {}),
    (aten.cummax, "default", "out", (TABLE, 1), {}),
    (aten.cummin, "default", "out", (TABLE, 1), {}),
    (aten.logcumsumexp, "default", "out", (TABLE, 1), {}),
    (aten._logcumsumexp, "default", "out", (TABLE, 1), {}),
    (aten.searchsorted, "Tensor", "Tensor_out", (whole(0.0, 1.0, 2.0), TABLE), {}),
    (aten.searchsorted, "Scalar", "Scalar_out", (whole(0.0, 1.0, 2.0), 0.5), {}),
    (aten.bucketize, "Tensor", "Tensor_out", (TABLE, whole(0.0, 1.0, 2.0)), {}),
    (aten.bucketize, "Scalar", "Scalar_out", (0.5, whole(0.0, 1.0, 2.0)), {}),
    (aten._unique, "default", "out", (TABLE,), {}),
    (aten._unique2, "default", "out", (TABLE,), {}),
    (aten.unique_consecutive, "default", "out", (TABLE,), {}),
    (aten.unique_dim, "default", "out", (TABLE, 0), {}),
    (aten.unique_dim_consecutive, "default", "out", (TABLE, 0), {}),
    (aten._aminmax, "default", "out", (TABLE,), {}),
    (aten._aminmax, "dim", "dim_out", (TABLE, 1), {}),
]


@pytest.mark.filterwarnings("ignore:index_reduce")
@pytest.mark.parametrize(("packet", "functional_name", "name", "args", "kwargs"), FILLING)
def test_results_that_are_given_cost_what_new_ones_do(packet, functional_name, name, args, kwargs):
    """An ``out=`` variant takes the same arithmetic as the functional one, and some."""
    op, filling = getattr(packet, functional_name), getattr(packet, name)
    found = op(*args, **kwargs)
    results = [torch.empty_like(each) for each in (found if isinstance(found, tuple) else [found])]
    names = [argument.name for argument in filling._schema.arguments if argument.is_out]
    given = dict(zip(names, results, strict=True))
    assert cost_of(lambda: filling(*args, **kwargs, **given)) == cost_of(lambda: op(*args, **kwargs)) != NOTHING


def test_edges_that_are_given_cost_what_new_ones_do():
    """The operator that fills a list of edges returns nothing, and compares as often: 2·2·5."""
    edges = [torch.empty(4), torch.empty(5)]
    assert cost_of(lambda: aten._histogramdd_bin_edges(POINTS, [3, 4], out=edges)) == Cost(ops=20)
