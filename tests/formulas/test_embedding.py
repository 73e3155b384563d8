"""Look-ups and what accumulates: adds against numpy's unbuffered addition, bytes against what is picked."""

import numpy as np
import pytest
import torch
from counted import cost_of
from torch.nn import functional

from opflops import Cost, OpFlopMode
from opflops.registry import registry

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
    """How many places a mask takes cannot be read from a meta tensor: it is taken from the values, and said so."""
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


@pytest.mark.parametrize("scale", [False, True])
def test_embedding_gradient_adds_each_row_that_was_looked_up(scale):
    """One addition for each number of each looked-up row; scaled by frequency, one division before it."""
    weight = torch.randn(10, 3, dtype=torch.float64, requires_grad=True)
    tokens = torch.tensor([[1, 2, 2, 9], [2, 0, 1, 1]])
    out = functional.embedding(tokens, weight, scale_grad_by_freq=scale)
    gradient = torch.randn_like(out)
    sums, steps = np.zeros((10, 3)), 0
    for place in np.ndindex(2, 4, 3):
        token, number = tokens[place[:2]], gradient[place].item()
        if scale:
            number /= (tokens == token).sum().item()
            steps += 1
        sums[token, place[2]] += number
        steps += 1
    (found,) = torch.autograd.grad(out, weight, gradient, retain_graph=True)
    torch.testing.assert_close(found, torch.from_numpy(sums))
    assert cost_of(torch.autograd.grad, out, weight, gradient) == Cost(ops=steps)
    assert cost_of(lambda: functional.embedding(tokens, weight, scale_grad_by_freq=scale)) == NOTHING


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


@pytest.mark.parametrize("padding", [None, 3])
def test_twice_the_tokens_are_twice_the_cost(padding):
    """The gradient of an embedding costs the same for each token, on meta tensors too, padding included."""
    weight = torch.randn(10, 6, requires_grad=True)

    def cost(weight, tokens):
        out = functional.embedding(tokens, weight, padding_idx=padding)
        return cost_of(torch.autograd.grad, out, weight, torch.ones_like(out))

    tokens = torch.tensor([[1, 3, 3, 9]])
    assert cost(weight, tokens) == Cost(ops=24)
    assert cost(weight, torch.cat([tokens, tokens])) == Cost(ops=48)
    assert cost(torch.empty(10, 6, device="meta", requires_grad=True), tokens.to("meta")) == Cost(ops=24)
