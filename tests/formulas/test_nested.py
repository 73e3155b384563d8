"""Nested tensors: packing and padding move what is no padding; a softmax works on true lengths."""

import pytest
import torch
from counted import cost_of
from oracle import aten
from test_movement import bytes_of, charged

from opflops import Cost, OpFlopMode

pytestmark = pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")

LENGTHS, WIDTH = (2, 5), 4
ROWS = sum(LENGTHS)
KEPT = 4 * ROWS * WIDTH  # bytes
OFFSETS = torch.tensor([0, 2, 7])
padded = torch.rand(2, 5, WIDTH)
values = torch.rand(ROWS, WIDTH)


@pytest.fixture
def nested():
    return torch.nested.nested_tensor([torch.rand(length, WIDTH) for length in LENGTHS])


def moved(function, op):
    """Price the one call of an operator among what a function runs."""
    with OpFlopMode(strict=True) as mode:
        function()
    (row,) = [row for row in mode.profile.rows if row.op == f"aten.{op}"]
    return row.cost


def test_padding_is_not_read(nested):
    """Of two sequences of up to five rows, seven are kept; the sizes are four whole numbers, an example lends its."""
    sizes = aten._nested_tensor_size(nested)
    cost = moved(lambda: aten._nested_from_padded(padded, sizes), "_nested_from_padded")
    assert cost == Cost(bytes_read=KEPT + 32, bytes_written=KEPT)
    name = "_nested_from_padded_and_nested_example"
    cost = moved(lambda: getattr(aten, name)(padded, nested), name)
    assert cost == Cost(bytes_read=KEPT, bytes_written=KEPT)


def test_jagged_rows_out_of_padding_and_back():
    """Three offsets are read with the rows; all of the padded tensor is written."""
    cost = moved(
        lambda: aten._padded_dense_to_jagged_forward(padded, [OFFSETS], ROWS), "_padded_dense_to_jagged_forward"
    )
    assert cost == Cost(bytes_read=KEPT + 24, bytes_written=KEPT)
    for device in ("cpu", "meta"):
        rows, offsets = values.to(device), OFFSETS.to(device)
        cost = moved(
            lambda rows=rows, offsets=offsets: aten._jagged_to_padded_dense_forward(rows, [offsets], [5]),
            "_jagged_to_padded_dense_forward",
        )
        assert cost == Cost(bytes_read=KEPT + 24, bytes_written=2 * 5 * WIDTH * 4)


def test_building_from_a_list_copies():
    """Each part is read and written."""
    parts = [torch.rand(length, WIDTH) for length in LENGTHS]
    assert bytes_of(lambda: aten._nested_tensor_from_tensor_list(parts)) == (KEPT, KEPT)
    assert cost_of(lambda: aten._nested_tensor_from_tensor_list(parts)) == Cost()


def test_gradients_are_spread(nested):
    """What is selected goes into zeros, and what was summed into each element; the forward's tensor lends its sizes."""
    cost = moved(lambda: aten._nested_select_backward(torch.rand(2, WIDTH), nested, 0, 0), "_nested_select_backward")
    assert cost == Cost(bytes_read=4 * 2 * WIDTH, bytes_written=KEPT)
    grad = torch.nested.nested_tensor([torch.rand(length, 1) for length in LENGTHS])
    cost = moved(lambda: aten._nested_sum_backward(grad, nested, [-1], True), "_nested_sum_backward")
    assert cost == Cost(bytes_read=4 * ROWS, bytes_written=KEPT)


def test_views_of_a_buffer_move_nothing_and_copies_what_they_hold(nested):
    """Sizes, strides and offsets are ten whole numbers; of a buffer that is longer, only what is copied is read."""
    buffer = torch.rand(ROWS * WIDTH)
    layout = aten._nested_tensor_size(nested), aten._nested_tensor_strides(nested), torch.tensor([0, 8])
    assert moved(lambda: aten._nested_view_from_buffer(buffer, *layout), "_nested_view_from_buffer") == Cost()
    name = "_nested_view_from_buffer_copy"
    cost = moved(lambda: getattr(aten, name)(buffer, *layout), name)
    assert cost == Cost(bytes_read=KEPT + 80, bytes_written=KEPT)
    assert charged(getattr(aten, name).default, nested, torch.rand(40), *layout) == cost


def test_forms_that_only_jagged_subclasses_run():
    """A mode sees their parts instead; were they to come, views would move nothing, and copies their values."""
    dummy = torch.rand(1000)
    assert charged(aten._nested_get_values.default, values, values) == Cost()
    assert charged(aten._nested_view_from_jagged.default, values, values, OFFSETS, dummy) == Cost()
    copied = Cost(bytes_read=KEPT, bytes_written=KEPT)
    with_offsets = copied + Cost(bytes_read=24)
    assert charged(aten._nested_get_values_copy.default, values, values) == copied
    ends = (dummy, None, 1, dummy, dummy)
    assert charged(aten._nested_view_from_jagged_copy.default, values, values, OFFSETS, *ends) == with_offsets
    args = (padded, OFFSETS, dummy, 1, dummy, dummy, ROWS)
    assert charged(aten._nested_from_padded_tensor.default, values, *args) == with_offsets


def test_questions_leave_no_row(nested):
    """Sizes, strides and offsets are kept beside the numbers; so are the parts of a jagged tensor."""
    sizes = aten._nested_tensor_size(nested)
    jagged = torch.nested.nested_tensor([torch.rand(2, WIDTH)], layout=torch.jagged)
    with OpFlopMode(strict=True) as mode:
        aten._nested_tensor_size(nested)
        aten._nested_tensor_strides(nested)
        aten._nested_tensor_storage_offsets(nested)
        aten._nested_compute_contiguous_strides_offsets(sizes)
        for part in ("offsets", "lengths", "min_seqlen", "max_seqlen", "ragged_idx", "jagged_dummy"):
            overload = getattr(aten, f"_nested_get_{part}").default
            mode.__torch_dispatch__(overload, (), (jagged,))
    assert not mode.profile.rows


def row_softmax(length):
    """Count one row: the largest, differences, exponentials, their sum, quotients."""
    steps = [0, 0]
    for index in range(length):
        steps[0] += (index > 0) + 1 + (index > 0) + 1
        steps[1] += 1
    return steps


@pytest.mark.parametrize("lengths", [(2, 5), (5, 5), (1, 3, 4)])
def test_a_softmax_is_over_true_lengths(lengths):
    """Each head has a row for each position, as long as its sequence, whatever the scores are padded to."""
    heads, longest = 3, 6
    query = torch.nested.nested_tensor([torch.rand(length, WIDTH) for length in lengths])
    scores = torch.rand(len(lengths), heads, longest, longest)
    rows = [row_softmax(length) for length in lengths for _ in range(heads * length)]
    cost = moved(lambda: aten._nested_tensor_softmax_with_shape(scores, query), "_nested_tensor_softmax_with_shape")
    assert (cost.macs, cost.ops, cost.transcendentals) == (0, sum(row[0] for row in rows), sum(row[1] for row in rows))
    assert (cost.bytes_read, cost.bytes_written) == (4 * heads * sum(n * n for n in lengths), 4 * scores.numel())
    apart = [torch.rand(heads, length, length) for length in lengths]
    unfused = cost_of(lambda: [part.softmax(-1) for part in apart])
    assert (unfused.ops, unfused.transcendentals) == (cost.ops, cost.transcendentals)
