"""What moves: views, copies, factories and random fills do no arithmetic; and the bytes of any operator, by one rule.

Elements are float32, so a tensor of (2, 3) is 24 bytes.
"""

import warnings

import pytest
import torch
from counted import cost_of
from oracle import aten

from opflops import Cost, OpFlopMode
from opflops.traffic import stored_bytes


def _traffic(function, *args):
    """List each operator that a function runs, with the bytes it reads and writes, in whatever dtype."""
    with OpFlopMode(strict=True) as mode:
        function(*args)
    return [(row.op, row.cost.bytes_read, row.cost.bytes_written) for row in mode.profile.rows]


def _bytes(function, *args):
    """Add up the bytes read and written by all that a function runs."""
    rows = _traffic(function, *args)
    return sum(read for _, read, _ in rows), sum(written for _, _, written in rows)


x, y = torch.rand(2, 2, 3).unbind()
mask = x > 0.5
cube = torch.rand(2, 3, 4)


@pytest.mark.parametrize(
    "function",
    [
        lambda: x.view(3, 2),
        lambda: x.reshape(6),
        x.t,
        lambda: x.transpose(0, 1),
        lambda: cube.permute(2, 0, 1),
        lambda: x.unsqueeze(0).squeeze(0),
        lambda: x.select(0, 1),
        lambda: x[:, 1:],
        lambda: x.expand(5, 2, 3),
        x.diagonal,
        x.unbind,
        lambda: x.split(1),
        lambda: x.split_with_sizes([1, 2], 1),
        lambda: x.chunk(2),
        lambda: x.unfold(1, 2, 1),
        lambda: x.as_strided((2,), (1,)),
        x.detach,
        lambda: aten.alias(x),
        lambda: aten._unsafe_view(x, [6]),
        lambda: x.unsafe_split(1),
        lambda: aten.positive(x),
        lambda: torch.view_as_real(torch.view_as_complex(cube.view(2, 3, 2, 2))),
        lambda: x.view(torch.int32),
        lambda: torch.empty(2, 3),
        lambda: torch.empty_like(x),
        lambda: torch.empty_strided((2, 3), (3, 1)),
        lambda: x.new_empty(4),
        lambda: torch.empty(3).resize_(2),
        lambda: torch.empty(2, 3).t_(),
        lambda: torch.empty(2, 3).unsqueeze_(0).squeeze_(0).transpose_(0, 1),
        lambda: torch.empty(2, 3).detach_(),
    ],
)
def test_views_and_untouched_memory_move_nothing(function):
    """A view shares its argument's memory, and memory that is only set aside is not written."""
    assert _bytes(function) == (0, 0)


@pytest.mark.parametrize(
    ("function", "read", "written"),
    [
        (x.clone, 24, 24),
        (x.double, 24, 48),
        (x.half, 24, 12),
        (lambda: torch.cat([x, y]), 48, 48),
        (lambda: torch.stack([x, y, x]), 72, 72),
        (lambda: x.repeat(2, 2), 24, 96),
        (lambda: torch.flip(x, [0]), 24, 24),
        (lambda: x.roll(1), 24, 24),
        (x.tril, 24, 24),
        (x.triu, 24, 24),
        (lambda: torch.where(mask, x, y), 6 + 48, 24),
        (lambda: x.masked_fill(mask, 0), 24 + 6, 24),
        (lambda: torch.constant_pad_nd(x, [1, 1]), 24, 40),
        (lambda: torch.pixel_shuffle(torch.ones(1, 4, 2, 2), 2), 64, 64 + 64),  # and the ones
        (lambda: aten.select_backward(x[0], [2, 3], 0, 1), 12, 24),
        (lambda: aten.slice_backward(x[:, :1], [2, 3], 1, 0, 1, 1), 8, 24),
        (lambda: x.t().contiguous(), 24, 24),
        (x[0, 0].item, 4, 0),
    ],
)
def test_copies_read_and_write_each_element(function, read, written):
    """What is made into a new tensor is read once and written once."""
    assert _bytes(function) == (read, written)


@pytest.mark.parametrize(
    ("function", "written"),
    [
        (lambda: torch.zeros(2, 3), 24),
        (lambda: torch.ones(2, 3, dtype=torch.float64), 48),
        (lambda: torch.full((2, 3), 7.0), 24),
        (lambda: torch.arange(6), 48),
        (lambda: torch.linspace(0, 1, 6), 24),
        (lambda: torch.eye(3), 36),
        (lambda: torch.rand(2, 3), 24),
        (lambda: torch.randn(2, 3), 24),
        (lambda: torch.randint(5, (2, 3)), 48),
        (lambda: torch.randperm(6), 48),
        (lambda: torch.tril_indices(2, 2), 48),
        (lambda: torch.scalar_tensor(1.0), 4),
        (lambda: torch.zeros_like(x), 24),
        (lambda: torch.ones_like(x), 24),
        (lambda: torch.full_like(x, 2), 24),
        (lambda: torch.rand_like(x), 24),
        (lambda: torch.randn_like(x), 24),
        (lambda: torch.randint_like(x, 5), 24),
        (lambda: x.new_zeros(4), 16),
        (lambda: x.new_ones(4), 16),
        (lambda: x.new_full((4,), 2.0), 16),
    ],
)
def test_factories_only_write(function, written):
    """A tensor that lends its shape or dtype is not read."""
    assert _bytes(function) == (0, written)


@pytest.mark.parametrize(
    ("function", "read_in_all"),
    [
        (lambda t: t.zero_(), 0),
        (lambda t: t.fill_(2), 0),
        (lambda t: t.fill_(torch.tensor(2.0)), 4),
        (lambda t: t.copy_(y), 24),
        (lambda t: t.copy_(y[0]), 12),
        (lambda t: t.copy_(y.double()), 24 + 48),  # the conversion, and then the copy
        (lambda t: t.uniform_(), 0),
        (lambda t: t.normal_(), 0),
        (lambda t: t.random_(5), 0),
        (lambda t: t.exponential_(), 0),
        (lambda t: t.bernoulli_(0.5), 0),
        (lambda t: t.cauchy_(), 0),
        (lambda t: t.geometric_(0.5), 0),
        (lambda t: t.log_normal_(), 0),
        (lambda t: t.masked_fill_(mask, 0), 24 + 6),
        (lambda t: t.add_(y), 48),
        (lambda t: t.mul_(2), 24),
        (lambda t: t.relu_(), 24),
    ],
)
def test_what_is_overwritten_is_not_read_but_what_changes_is(function, read_in_all):
    """Fills and copies only write their destination; arithmetic in place reads it too."""
    rows = _traffic(function, x.clone())
    assert sum(read for _, read, _ in rows) == read_in_all
    assert rows[-1][2] == 24


def test_random_draws_read_their_probabilities():
    """A Bernoulli trial for each probability reads it and writes its outcome."""
    assert _traffic(torch.bernoulli, x) == [("aten.bernoulli", 24, 24)]


@pytest.mark.parametrize(
    ("function", "read", "written"),
    [
        (lambda out: torch.add(x, y, out=out), 48, 24),
        (lambda out: torch.exp(x, out=out), 24, 24),
        (lambda out: torch.cat([x[:1], y[:1]], out=out), 24, 24),
        (lambda out: aten.copy.out(x, y, out=out), 24, 24),
    ],
)
def test_out_arguments_are_only_written(function, read, written):
    """What receives the result is not read first."""
    assert _bytes(function, torch.empty(2, 3)) == (read, written)


@pytest.mark.parametrize(
    ("function", "read", "written"),
    [
        (lambda: x + y, 48, 24),
        (lambda: x + x, 48, 24),
        (lambda: x + 1, 24, 24),
        (lambda: x + y[0], 24 + 12, 24),
        (x.sum, 24, 4),
        (lambda: x.sum(0), 24, 12),
        (lambda: x.max(1), 24, 2 * 4 + 2 * 8),
        (lambda: x > y, 48, 6),
        (lambda: torch.addcmul(x, x, y), 72, 24),
        (lambda: torch.nn.functional.silu(x), 24, 24),
        (lambda: x.softmax(1), 24, 24),
    ],
)
def test_arithmetic_reads_its_arguments_and_writes_its_result(function, read, written):
    """Each tensor argument is read once, and each result written once, in its own dtype."""
    assert _bytes(function) == (read, written)


row = torch.rand(3)
line = torch.rand(10)
image = torch.rand(2, 3, 4, 5)


@pytest.mark.parametrize(
    ("tensor", "elements"),
    [
        (row.expand(100, 3), 3),
        (torch.tensor(1.0).expand(7, 7), 1),
        (row[:, None].expand(3, 50), 3),
        (row.expand(2, 4, 3).transpose(0, 2), 3),
        (line.unfold(0, 3, 1), 10),  # eight windows of three
        (line.unfold(0, 3, 2), 9),  # the last of them ends at the ninth
        (line.unfold(0, 3, 3), 9),  # windows that do not overlap
        (line.unfold(0, 2, 4), 6),  # windows with gaps: three of two
        (line[::2], 5),
        (line[3:7], 4),
        (x.t(), 6),
        (cube.permute(2, 0, 1), 24),
        (cube[:, ::2, 1:3], 8),
        (image.to(memory_format=torch.channels_last), 120),
        (image[:, :, ::2, ::2], 2 * 3 * 2 * 3),
        (line.as_strided((4, 4), (1, 1)), 7),  # a Hankel matrix of seven numbers
        (line.unfold(0, 4, 1).expand(5, 7, 4), 10),
        (torch.empty(0, 3), 0),
        (torch.empty(3, 0).t(), 0),
        (torch.empty(0).expand(4, 0), 0),
        (torch.tensor(1.0), 1),
    ],
)
def test_only_distinct_elements_are_read(tensor, elements):
    """A broadcast axis, and what overlapping windows share, is read once; a stride over unused elements reads none."""
    assert stored_bytes(tensor) == 4 * elements
    assert stored_bytes(tensor) == 4 * len({(tensor.storage_offset() + offset) for offset in _addresses(tensor)})
    assert _traffic(tensor.clone)[0][1] == 4 * elements


def _addresses(tensor):
    offsets = [0] if tensor.numel() else []
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        offsets = [offset + index * stride for offset in offsets for index in range(size)]
    return offsets


def test_a_broadcast_operand_is_read_once():
    """Expanding a row before adding it changes nothing: 24 and 12 bytes."""
    assert _traffic(lambda: x + row.expand(2, 3))[-1] == ("aten.add", 36, 24)
    assert _traffic(lambda: x + row)[-1] == ("aten.add", 36, 24)


def test_a_result_in_another_memory_format_is_written_once():
    """Channels-last tensors have as many elements as others."""
    assert _traffic(image.relu) == [("aten.relu", 480, 480)]
    last = image.to(memory_format=torch.channels_last)
    assert _traffic(last.relu) == [("aten.relu", 480, 480)]


def test_lists_and_missing_tensors_add_up():
    """A list is the sum of its tensors, and what is no tensor is nothing."""
    assert stored_bytes([x, y, [row]]) == 24 + 24 + 12
    assert stored_bytes((x, None, 3, 2.0, "none")) == 24
    assert stored_bytes(None) == 0


def test_a_sparse_tensor_is_what_it_stores():
    """Indices and values, not the dense shape: two numbers among 10 by 12, in each layout."""
    stored = torch.sparse_coo_tensor(torch.tensor([[0, 5], [1, 2]]), torch.ones(2), (10, 12), check_invariants=True)
    assert stored_bytes(stored) == 2 * 2 * 8 + 2 * 4
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch calls the compressed layouts a beta
        by_row, by_column = stored.to_sparse_csr(), stored.to_sparse_csc()
        blocks = stored.to_sparse_bsr((5, 4)), stored.to_sparse_bsc((5, 4))
    assert stored_bytes(by_row) == 11 * 8 + 2 * 8 + 2 * 4
    assert stored_bytes(by_column) == 13 * 8 + 2 * 8 + 2 * 4
    # One block in each of two rows of blocks, both in the first of three columns of blocks; a block holds 20 numbers.
    assert stored_bytes(blocks[0]) == 3 * 8 + 2 * 8 + 2 * 20 * 4
    assert stored_bytes(blocks[1]) == 4 * 8 + 2 * 8 + 2 * 20 * 4


def test_itemsize_decides():
    """A complex double is sixteen bytes, a bool one."""
    assert stored_bytes(torch.zeros(3, dtype=torch.complex128)) == 48
    assert stored_bytes(torch.zeros(3, dtype=torch.bool)) == 3
    assert stored_bytes(torch.zeros(3, dtype=torch.float8_e4m3fn)) == 3


@pytest.mark.parametrize(
    "function",
    [x.clone, x.double, x.t, x.tril, lambda: torch.cat([x, y]), lambda: torch.ones(2), lambda: x.clone().zero_()],
)
def test_movement_is_no_arithmetic(function):
    """There is nothing to count but bytes."""
    assert cost_of(function) == Cost()


@pytest.mark.parametrize(
    "function",
    [
        lambda device: torch.ones(2, 3, device=device).clone(),
        lambda device: torch.ones(2, 3, device=device).t().contiguous(),
        lambda device: torch.zeros(3, device=device).expand(4, 3) + torch.zeros(4, 3, device=device),
        lambda device: torch.zeros(9, device=device).unfold(0, 3, 1).clone(),
        lambda device: torch.empty(2, 3, device=device).copy_(torch.zeros(3, device=device)),
        lambda device: torch.cat([torch.zeros(2, 3, device=device)] * 3),
    ],
)
def test_meta_tensors_move_what_real_ones_do(function):
    """Sizes and strides decide, and meta tensors have both."""
    assert _traffic(function, "meta") == _traffic(function, "cpu")


@pytest.mark.parametrize(
    "question", [aten.sym_size.default, aten.stride.default, aten.numel.default, aten.is_contiguous.default]
)
def test_metadata_leaves_no_row(question):
    """What a tensor subclass is asked about itself is no work."""
    with OpFlopMode(strict=True) as mode:
        mode.__torch_dispatch__(question, (), (x,))
        mode.__torch_dispatch__(aten.clone.default, (), (x,))
    assert [row.op for row in mode.profile.rows] == ["aten.clone"]
