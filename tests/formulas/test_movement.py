"""What moves: views and copies do no arithmetic, unless they say so; and the bytes of any operator, by one rule.

Elements are float32, so a tensor of (2, 3) is 24 bytes.
"""

import math
import warnings

import pytest
import torch
from counted import cost_of, operator_name
from oracle import aten, by_hand, priced

from opflops import Cost, OpFlopMode
from opflops.pricing.registry import registry
from opflops.pricing.schemas import overloads_of
from opflops.pricing.traffic import stored_bytes


def traffic_of(function, *args):
    """List each operator that a function runs, with the bytes it reads and writes, in whatever dtype."""
    with OpFlopMode(strict=True) as mode:
        function(*args)
    return [(row.op, row.cost.bytes_read, row.cost.bytes_written) for row in mode.profile.rows]


def bytes_of(function, *args):
    """Add up the bytes read and written by all that a function runs."""
    rows = traffic_of(function, *args)
    return sum(read for _, read, _ in rows), sum(written for _, _, written in rows)


def charged(overload, out, /, *args, **kwargs):
    """Price a call on arguments made by hand, for what no device at hand can run."""
    return registry.resolve(overload, {"causal": "dense"}).charge(out, args, kwargs)[0]


def cost_with_bytes(function, *args):
    """Price the one operator that a function runs."""
    with OpFlopMode(strict=True) as mode:
        function(*args)
    (row,) = mode.profile.rows
    return row.cost


x, y = torch.rand(2, 2, 3).unbind()
mask = x > 0.5
cube = torch.rand(2, 3, 4)
onednn = x.to_mkldnn()
kernel = torch.rand(2, 3, 5, 5)
row = torch.rand(3)
rows = row.expand(5, 3)
line = torch.rand(10)


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
        lambda: aten._fw_primal(x, 0),
        lambda: aten._lazy_clone(torch.empty(2, 3)),
        lambda: aten.slice_inverse(x, x[:1], 0, 0, 1),
        lambda: aten.set(x),
        lambda: aten.set.source_Tensor(x, y),
        lambda: aten.set.source_Storage(x, y.untyped_storage()),
        lambda: aten.set.source_Storage_storage_offset(x, y.untyped_storage(), 1, [2]),
        lambda: aten._mkldnn_reshape(onednn, [3, 2]),
        lambda: aten._foobar(x),
        lambda: aten._test_parallel_materialize(torch.empty(2, 3), 2),
        lambda: aten._test_autograd_multiple_dispatch_view(x),
        *([lambda: aten.shallow_copy_data_(torch.empty(1), x)] if hasattr(aten, "shallow_copy_data_") else []),
    ],
)
def test_views_and_untouched_memory_move_nothing(function):
    """A view shares its argument's memory, and memory that is only set aside is not written."""
    assert bytes_of(function) == (0, 0)


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
        (lambda: torch.rot90(x), 24, 24),
        (lambda: torch.block_diag(x, y), 48, 4 * 6 * 4),
        (lambda: torch.diag_embed(x), 24, 2 * 9 * 4),
        (lambda: torch.complex(x, y), 48, 48),
        (lambda: aten._stack([x, y]), 48, 48),
        (lambda: aten._chunk_cat([x, y[:1]], 0, 2), 24 + 12, 2 * 6 * 4),  # a row of padding
        (lambda: aten.alias_copy(x), 24, 24),
        (lambda: aten.detach_copy(x), 24, 24),
        (lambda: aten.squeeze_copy(x), 24, 24),
        (lambda: aten.squeeze_copy.dim(x, 0), 24, 24),
        (lambda: aten.squeeze_copy.dims(x, [0]), 24, 24),
        (lambda: aten.unsqueeze_copy(x, 0), 24, 24),
        (lambda: aten.unbind_copy(x), 24, 24),
        (lambda: aten.split_with_sizes_copy(x, [1, 2], 1), 24, 24),
        (lambda: aten._reshape_alias_copy(x, [6], [1]), 24, 24),
        (lambda: aten.view_as_complex_copy(cube.view(3, 4, 2)), 96, 96),
        (lambda: aten.view_as_real_copy(torch.view_as_complex(cube.view(3, 4, 2))), 96, 96),
        (lambda: aten.diagonal_scatter(x, x[:, 0]), 24 + 8, 24),
        (lambda: aten.as_strided_scatter(x, x[0], [3], [1]), 24 + 12, 24),
        (lambda: aten.resize(x, [3]), 24, 12),
        (lambda: aten.resize_as(x, cube[0, 0]), 24, 16),
        (lambda: x.to_mkldnn(), 24, 24),
        (lambda: aten._mkldnn_transpose(onednn, 0, 1), 24, 24),
        (lambda: aten.mkldnn_reorder_conv2d_weight(kernel.to_mkldnn()), 2 * 600, 2 * 600),  # and the conversion
        (lambda: aten.mkldnn_reorder_conv3d_weight(kernel[None].to_mkldnn()), 2 * 600, 2 * 600),
        (lambda: aten._test_autograd_multiple_dispatch(x), 24, 24),
        (lambda: aten._test_autograd_multiple_dispatch_view_copy(x), 24, 24),
        (lambda: aten._test_functorch_fallback(x, y), 24, 24),
        (lambda: aten._test_warn_in_autograd(x), 24, 24),
    ],
)
def test_copies_read_and_write_each_element(function, read, written):
    """What is made into a new tensor is read once and written once."""
    assert bytes_of(function) == (read, written)


@pytest.mark.parametrize(
    ("function", "elements"),
    [
        (lambda: aten.select_copy(x, 0, 1), 3),
        (lambda: aten.slice_copy(x, 1, 0, 2), 4),
        (lambda: aten.narrow_copy(x, 1, 0, 1), 2),
        (lambda: aten.diagonal_copy(x), 2),
    ],
)
def test_copies_of_a_part_read_that_part(function, elements):
    """What is left behind is not read."""
    assert cost_with_bytes(function) == Cost(bytes_read=4 * elements, bytes_written=4 * elements)


@pytest.mark.parametrize(
    ("function", "read", "written"),
    [
        (lambda: aten.unfold_copy(line, 0, 3, 1), 10, 24),  # eight windows of three
        (lambda: aten.unfold_copy(line, 0, 3, 2), 9, 12),  # the last of four ends at the ninth
        (lambda: aten.unfold_copy(line, 0, 2, 4), 6, 6),  # three windows of two, with gaps
        (lambda: aten.unfold_copy(rows, 1, 2, 1), 3, 5 * 2 * 2),
        (lambda: aten.as_strided_copy(line, [4, 4], [1, 1]), 7, 16),  # a Hankel matrix of seven numbers
        (lambda: aten.as_strided_copy(line, [2, 2], [5, 1], 3), 4, 4),
    ],
)
def test_copies_of_overlapping_windows_read_each_element_once(function, read, written):
    """They read what the clone of the view reads, and write each window."""
    assert cost_with_bytes(function) == Cost(bytes_read=4 * read, bytes_written=4 * written)


def test_packing_a_sequence_leaves_the_padding():
    """Sequences of 3 and 1 steps of 4 numbers: 16 of 24 numbers are read, and two lengths; sizes are as wide as those.

    Meta tensors do the same.
    """
    lengths = torch.tensor([3, 1])
    expected = Cost(bytes_read=64 + 16, bytes_written=64 + 24)
    for batch in (torch.rand(3, 2, 4), torch.rand(3, 2, 4, device="meta")):
        assert cost_with_bytes(aten._pack_padded_sequence, batch, lengths, False) == expected


@pytest.mark.parametrize(
    ("overload", "args", "source"),
    [
        (aten.set.source_Tensor_out, (x, y[0]), 3),
        (aten.set.source_Storage_out, (x, torch.rand(5).untyped_storage()), 5),
        (aten.set.source_Storage_storage_offset_out, (x, torch.rand(5).untyped_storage(), 1, [4]), 4),
        (aten.set.out, (x,), 0),
    ],
    ids=operator_name,
)
def test_sharing_into_a_given_tensor_copies(overload, args, source):
    """What the functional form would share is read and written."""
    given = torch.empty(0)
    cost = cost_with_bytes(lambda: overload(*args, out=given))
    assert cost == Cost(bytes_read=4 * source, bytes_written=4 * source)


@pytest.mark.parametrize(
    ("overload", "args", "read", "written"),
    [
        (aten._copy_from.default, (x, torch.empty(2, 3)), 24, 24),
        (aten._copy_from_and_resize.default, (x, torch.empty(2, 3)), 24, 24),
        (aten._resize_output_.default, (x, [2, 3], torch.device("cpu")), 0, 0),
        (aten._resize_output.default, (x, [2, 3], torch.device("cpu")), 24, 24),
        (aten._make_dual.default, (x, y, 0), 0, 0),
        (aten._make_dual_copy.default, (x, y, 0), 24, 24),
        (aten._fw_primal_copy.default, (x, 0), 24, 24),
        (aten._mkldnn_transpose_.default, (x, 0, 1), 24, 24),
        (aten.record_stream.default, (x, None), 0, 0),
    ],
    ids=operator_name,
)
def test_movement_that_needs_another_device_or_autograd(overload, args, read, written):
    """The schema and what is declared of the operator give the bytes, with a result of six numbers."""
    assert charged(overload, torch.empty(2, 3), *args) == Cost(bytes_read=read, bytes_written=written)


def test_what_hands_its_argument_back_copies_it_into_a_given_tensor():
    """Six numbers are read and written."""
    assert charged(aten._foobar.out, x, x, out=torch.empty(2, 3)) == Cost(bytes_read=24, bytes_written=24)


pairs = torch.randn(2, 3, dtype=torch.complex64)


def test_a_copy_of_a_conjugate_negates():
    """A lazy conjugate is not left lazy: one real operation for each number, as when it is conjugated at once."""
    assert not aten._conj_copy(pairs).is_conj()
    assert cost_of(aten._conj_copy, pairs) == cost_of(torch.conj_physical, pairs) == Cost(ops=6)
    assert cost_of(aten._conj_copy, pairs.flatten()[:5]) == Cost(ops=6)  # five, in pairs
    assert cost_of(aten._conj_copy, pairs.to("meta")) == Cost(ops=6)


def test_a_copy_of_a_negated_view_negates():
    """One operation for each number."""
    torch.testing.assert_close(aten._neg_view_copy(x), -x)
    assert cost_of(aten._neg_view_copy, x) == cost_of(torch.neg, x) == Cost(ops=6)


def test_polar_coordinates_by_hand():
    """A cosine, a sine and two real products for each number, also into a given tensor and on meta."""

    def definition(sizes, angles):
        def part(function):
            return [a._function(function(a.value)) for a in angles]

        return [[size * c, size * s] for size, c, s in zip(sizes, part(math.cos), part(math.sin), strict=True)]

    work, result = by_hand(definition, x[0], y[0])
    torch.testing.assert_close(torch.view_as_complex(result), torch.polar(x[0].double(), y[0].double()))
    expected = Cost(ops=work.ops, transcendentals=work.transcendentals)
    assert expected == Cost(ops=6, transcendentals=6)
    assert cost_of(torch.polar, x[0], y[0]) == expected
    assert cost_of(lambda: torch.polar(x[0], y[0], out=torch.empty(3, dtype=torch.complex64))) == expected
    assert cost_of(torch.polar, x[0].to("meta"), y[0].to("meta")) == expected
    assert priced(aten.polar.default, x[0], y[0])[0] == cost_with_bytes(torch.polar, x[0], y[0])


@pytest.mark.parametrize(
    ("operator", "values", "addends"),
    [
        (aten._test_optional_intlist, torch.tensor([5, 7], dtype=torch.int32), [1, 2]),
        (aten._test_optional_filled_intlist, torch.tensor([5, 7], dtype=torch.int32), [1, 2]),
        (aten._test_optional_floatlist, torch.rand(2), [1.0, 2.0]),
    ],
)
def test_optional_lists_of_numbers_are_added(operator, values, addends):
    """An addition for each value, or nothing."""
    torch.testing.assert_close(operator(values, addends), values + torch.tensor(addends, dtype=values.dtype))
    assert priced(operator.default, values, addends)[0] == Cost(ops=2, bytes_read=8, bytes_written=8)
    assert priced(operator.default, values, None)[0].ops == 0


@pytest.mark.parametrize(
    ("functional", "args"),
    [
        (aten.diag_embed, (x,)),
        (aten.block_diag, ([x, y],)),
        (aten.rot90, (x,)),
        (aten.select_copy, (x, 0, 1)),
        (aten.unbind_copy, (x,)),
        (aten.unfold_copy, (x, 1, 2, 1)),
        (aten._neg_view_copy, (x,)),
        (aten._conj_copy, (pairs,)),
        (aten._chunk_cat, ([x, y], 0, 2)),
        (aten._stack, ([x, y],)),
        (aten.complex, (x, y)),
        (aten.resize, (x, [4])),
    ],
    ids=operator_name,
)
def test_a_given_result_costs_what_a_new_one_does(functional, args):
    """Arithmetic and bytes do not depend on where the result goes."""
    result = functional(*args)
    empty = [torch.empty_like(one) for one in result] if isinstance(result, list) else torch.empty_like(result)
    overload = next(getattr(functional, name) for name in functional.overloads() if name.endswith("out"))
    assert cost_with_bytes(lambda: overload(*args, out=empty)) == cost_with_bytes(functional, *args)


@pytest.mark.parametrize(
    ("function", "read", "written"),
    [
        (lambda token: aten._functional_assert_async.msg(x[0, 0] >= 0, "no", token), 1 + 4, 4),
        (lambda token: aten._functional_assert_scalar(True, "no", token), 4, 4),
        (lambda token: aten._functional_sym_constrain_range(3, 0, 9, token), 4, 4),
        (lambda token: aten._functional_sym_constrain_range_for_size(3, 2, 9, token), 4, 4),
    ],
)
def test_checks_hand_on_their_token(function, read, written):
    """A condition is read, and the token that orders the checks copied."""
    with OpFlopMode(strict=True) as mode:
        function(torch.zeros(()))
    checks = [row.cost for row in mode.profile.rows if "_functional" in row.op]
    assert checks == [Cost(bytes_read=read, bytes_written=written)]


@pytest.mark.parametrize(
    ("function", "read_in_all"),
    [
        (lambda t: t.zero_(), 0),
        (lambda t: t.fill_(2), 0),
        (lambda t: t.fill_(torch.tensor(2.0)), 4),
        (lambda t: t.copy_(y), 24),
        (lambda t: t.copy_(y[0]), 12),
        (lambda t: t.copy_(y.double()), 24 + 48),  # the conversion, and then the copy
        (lambda t: t.masked_fill_(mask, 0), 24 + 6),
        (lambda t: t.add_(y), 48),
        (lambda t: t.mul_(2), 24),
        (lambda t: t.relu_(), 24),
    ],
)
def test_what_is_overwritten_is_not_read_but_what_changes_is(function, read_in_all):
    """Fills and copies only write their destination; arithmetic in place reads it too."""
    rows = traffic_of(function, x.clone())
    assert sum(read for _, read, _ in rows) == read_in_all
    assert rows[-1][2] == 24


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
    assert bytes_of(function, torch.empty(2, 3)) == (read, written)


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
    assert bytes_of(function) == (read, written)


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
    assert traffic_of(tensor.clone)[0][1] == 4 * elements


def _addresses(tensor):
    offsets = [0] if tensor.numel() else []
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        offsets = [offset + index * stride for offset in offsets for index in range(size)]
    return offsets


def test_a_broadcast_operand_is_read_once():
    """Expanding a row before adding it changes nothing: 24 and 12 bytes."""
    assert traffic_of(lambda: x + row.expand(2, 3))[-1] == ("aten.add", 36, 24)
    assert traffic_of(lambda: x + row)[-1] == ("aten.add", 36, 24)


def test_a_result_in_another_memory_format_is_written_once():
    """Channels-last tensors have as many elements as others."""
    assert traffic_of(image.relu) == [("aten.relu", 480, 480)]
    last = image.to(memory_format=torch.channels_last)
    assert traffic_of(last.relu) == [("aten.relu", 480, 480)]


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
    assert traffic_of(function, "meta") == traffic_of(function, "cpu")


QUESTIONS = [
    (aten.sym_size.default, (x,)),
    (aten.stride.default, (x,)),
    (aten.numel.default, (x,)),
    (aten.is_contiguous.default, (x,)),
    (aten.is_same_size.default, (x, y)),
    (aten.is_set_to.default, (x, y)),
    (aten.is_pinned.default, (x,)),
    (aten._has_same_storage_numel.default, (x, y)),
    (aten._assert_tensor_metadata.default, (x, [2, 3])),
    (aten._fused_sdp_choice.default, (cube[None], cube[None], cube[None])),
    (aten._print.default, ("",)),
]


@pytest.mark.filterwarnings("ignore:The argument 'device' of Tensor.is_pinned")
@pytest.mark.parametrize(("question", "args"), QUESTIONS, ids=operator_name)
def test_metadata_leaves_no_row(question, args):
    """What a tensor is asked about itself, and which kernel suits it, is no work."""
    with OpFlopMode(strict=True) as mode:
        mode.__torch_dispatch__(question, (), args)
        mode.__torch_dispatch__(aten.clone.default, (), (x,))
    assert [row.op for row in mode.profile.rows] == ["aten.clone"]


@pytest.mark.parametrize("name", ["qscheme", "_use_cudnn_ctc_loss", "_use_miopen_ctc_loss"])
def test_questions_to_other_tensors_and_devices_leave_no_row(name):
    """They are declared so in each overload that there is."""
    for overload in overloads_of(getattr(aten, name)) if hasattr(aten, name) else ():
        price = registry.resolve(overload, {"causal": "dense"})
        assert (price.verdict, price.recorded) == ("zero", False)
