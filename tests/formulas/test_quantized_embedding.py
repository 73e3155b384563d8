"""Embedding tables of few bits: definitions run on single numbers, each of which says how many operations it took."""

import math

import pytest
import torch

from opflops import OpFlopMode

quantized = torch.ops.quantized

pytestmark = pytest.mark.filterwarnings(
    "ignore:torch.quantize_per_tensor, torch.quantize_per_channel:UserWarning",
    "ignore:.*deprecated:DeprecationWarning",
)

NAMES = {8: "byte", 4: "4bit", 2: "2bit"}
# Eight numbers of so many bits, and scale and shift in singles, or in halves below eight bits.
ROW_BYTES = {8: 8 + 8, 4: 4 + 4, 2: 2 + 4}
INDICES = torch.tensor([0, 4, 2, 2, 1])
INDEX_BYTES = 5 * 8


def row_of(function, op):
    with OpFlopMode(strict=True) as mode:
        function()
    (row,) = [row for row in mode.profile.rows if row.op == f"quantized.{op}"]
    return row


def work(row):
    return row.cost.macs, row.cost.ops, row.cost.transcendentals


def table(bits):
    """Make a packed table of five rows; returns it and the numbers that it holds."""
    packed = getattr(quantized, f"embedding_bag_{NAMES[bits]}_prepack")(torch.randn(5, 8))
    return packed, getattr(quantized, f"embedding_bag_{NAMES[bits]}_unpack")(packed)


def packed_object(bits):
    kind = torch.quint8 if bits == 8 else torch.quint4x2
    tensor = torch.quantize_per_channel(torch.randn(5, 8), torch.full((5,), 0.1), torch.ones(5), 0, kind)
    return quantized.embedding_bag_prepack(tensor), tensor


@pytest.mark.parametrize("bits", [8, 4])
def test_look_up(bits):
    """A product and a sum restore each of five rows of eight numbers; no more of the table is read."""
    packed, tensor = packed_object(bits)
    op = f"embedding_{NAMES[bits]}"
    call = getattr(quantized, op)
    torch.testing.assert_close(call(packed, INDICES), tensor.dequantize()[INDICES], rtol=0, atol=0.01)
    row = row_of(lambda: call(packed, INDICES), op)
    assert (row.dtype, *work(row)) == ("float32", 0, 40 * 2, 0)
    assert (row.cost.bytes_read, row.cost.bytes_written) == (INDEX_BYTES + 5 * ROW_BYTES[bits], 160)


BAGS = [
    # Bags of two, none and three rows: 1 + 2 additions of rows of eight.
    (torch.tensor([0, 2, 2]), False, 3),
    # The same with the end given.
    (torch.tensor([0, 2, 2, 5]), True, 3),
    # One bag.
    (torch.tensor([0]), False, 4),
]


def bags(bits):
    """List the operators that sum rows of so many bits, with tables for them and what those hold."""
    packed, values = table(bits)
    found = [(f"embedding_bag_{NAMES[bits]}_rowwise_offsets", packed, values)]
    if bits > 2:
        packed, tensor = packed_object(bits)
        found.append((f"embedding_bag_{NAMES[bits]}", packed, tensor.dequantize()))
    return found


def summed(values, offsets, weights):
    ends = [*offsets.tolist(), 5][1:]
    parts = [
        (values[INDICES] * weights[:, None])[start:end] for start, end in zip(offsets.tolist(), ends, strict=False)
    ]
    return torch.stack([part.sum(0) for part in parts])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("offsets", "last", "additions"), BAGS)
@pytest.mark.parametrize("bits", NAMES)
def test_bags(bits, offsets, last, additions, weighted):
    """Each of five rows is restored (2), weighted if asked for (1), and all but the first of a bag are added."""
    weights = torch.rand(5) + 0.5 if weighted else None
    for op, packed, values in bags(bits):
        call = getattr(quantized, op)
        args = (packed, INDICES, offsets, False, 0, False, weights, None, last)
        expected = summed(values, offsets, torch.ones(5) if weights is None else weights)
        out = call(*args)
        torch.testing.assert_close(out, expected[: len(out)], rtol=0.02, atol=0.02)
        row = row_of(lambda call=call, args=args: call(*args), op)
        assert (row.dtype, *work(row)) == ("float32", 0, 40 * (2 + weighted) + 8 * additions, 0)
        read = INDEX_BYTES + 8 * len(offsets) + 5 * ROW_BYTES[bits] + 20 * weighted
        assert (row.cost.bytes_read, row.estimate) == (read, "")


def test_bags_of_one_length():
    """A matrix of indices holds a bag in each row: two of two, with one addition each."""
    packed, _ = packed_object(8)
    indices = torch.tensor([[0, 1], [2, 3]])
    row = row_of(lambda: quantized.embedding_bag_byte(packed, indices), "embedding_bag_byte")
    assert work(row) == (0, 32 * 2 + 8 * 2, 0)


def test_pruned_tables():
    """Rows that were pruned away count all the same, and the profile says so."""
    packed, _ = table(8)
    mapping = torch.tensor([0, 1, 2, -1, 3], dtype=torch.int32)
    indices, offsets = INDICES.int(), torch.tensor([0, 2], dtype=torch.int32)
    call = quantized.embedding_bag_byte_rowwise_offsets
    args = (packed, indices, offsets, False, 0, True, None, mapping, False)
    row = row_of(lambda: call(*args), "embedding_bag_byte_rowwise_offsets")
    assert work(row) == (0, 80 + 8 * 3, 0)
    assert "pruned" in row.estimate


@pytest.mark.parametrize("bits", NAMES)
def test_unpacking(bits):
    """A product and a sum for each of forty numbers."""
    packed, _ = table(bits)
    op = f"embedding_bag_{NAMES[bits]}_unpack"
    row = row_of(lambda: getattr(quantized, op)(packed), op)
    assert (row.dtype, *work(row)) == ("float32", 0, 80, 0)


def test_packing_a_quantized_table():
    """Each of five rows gets a shift of ``-zero_point * scale``; back it is movement."""
    packed, tensor = packed_object(8)
    assert work(row_of(lambda: quantized.embedding_bag_prepack(tensor), "embedding_bag_prepack")) == (0, 10, 0)
    row = row_of(lambda: quantized.embedding_bag_unpack(packed), "embedding_bag_unpack")
    assert work(row) == (0, 0, 0)


class Counts:
    """Do arithmetic and count it, roots apart."""

    def __init__(self):
        self.ops = self.roots = 0

    def __call__(self, value):
        self.ops += 1
        return value


def range_of(row, do):
    low = high = row[0]
    for value in row[1:]:
        low, high = do(min(low, value)), do(max(high, value))
    return low, high


def in_bytes(row, low, high, do):
    """Quantize a row to eight bits; returns integers, scale and shift."""
    span = do(high - low)
    scale, inverse = do(span / 255), do(255 / do(span + 1e-8))
    return [do(round(do(do(x - low) * inverse))) for x in row], scale, low


def in_bits(row, low, high, bits, do):
    """Quantize a row to fewer bits."""
    highest = (1 << bits) - 1
    scale = do(do(high - low) / highest)
    inverse = do(1 / scale)
    return [do(min(do(max(do(round(do(do(x - low) * inverse))), 0)), highest)) for x in row], scale, low


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("bits", NAMES)
def test_packing(bits, given):
    """Written out number by number: each row's range, unless it is given, its scale, and its numbers."""
    weight = torch.randn(5, 8)
    do, restored = Counts(), []
    for row, span in zip(weight.tolist(), torch.stack([weight.amin(1), weight.amax(1)], 1).tolist(), strict=True):
        low, high = span if given else range_of(row, do)
        q, scale, shift = in_bytes(row, low, high, do) if bits == 8 else in_bits(row, low, high, bits, do)
        restored.append([number * scale + shift for number in q])
    op = f"embedding_bag_{NAMES[bits]}_prepack" + ("_with_rowwise_min_max" if given else "")
    args = [torch.stack([weight.amin(1), weight.amax(1)], 1)] if given else []
    out = getattr(quantized, f"embedding_bag_{NAMES[bits]}_unpack")(getattr(quantized, op)(weight, *args))
    torch.testing.assert_close(out, torch.tensor(restored), rtol=0.01, atol=0.02)
    row = row_of(lambda: getattr(quantized, op)(weight, *args), op)
    assert (row.dtype, *work(row)) == ("float32", 0, do.ops, 0)
    assert row.estimate == ""


def loss_of(row, low, high, bits, do):
    """Quantize and restore a row; returns the norm of what that changes."""
    q, scale, shift = in_bits(row, low, high, bits, do)
    squares = []
    for x, number in zip(row, q, strict=True):
        difference = do(x - do(do(number * scale) + shift))
        squares.append(do(difference * difference))
    do.ops += len(squares) - 1
    do.roots += 1
    return math.sqrt(sum(squares))


def search(row, bits, nbins, ratio, do):
    """Narrow a range from the side that loses less, as long as enough of it is left."""
    low, high = range_of(row, do)
    best = low, high
    step = do(do(high - low) / nbins)
    least = loss_of(row, low, high, bits, do)
    for _ in range(round(nbins * ratio)):
        left, right = do(low + step), do(high - step)
        of_left, of_right = loss_of(row, left, high, bits, do), loss_of(row, low, right, bits, do)
        do.ops += 2  # which of both is the smaller, and whether it is the smallest so far
        low, high, loss = (left, high, of_left) if of_left < of_right else (low, right, of_right)
        if loss < least:
            best, least = (low, high), loss
    return best


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("bits", [4, 2])
def test_packing_with_a_search(bits, given):
    """Written out step by step: a loss at the start, and two for each of three bins; given ranges are not used."""
    weight, nbins, ratio = torch.randn(5, 8), 12, 0.25
    do = Counts()
    for row in weight.tolist():
        in_bits(row, *search(row, bits, nbins, ratio, do), bits, do)
    op = f"embedding_bag_{NAMES[bits]}_prepack" + ("_with_rowwise_min_max" if given else "")
    args = [torch.zeros(5, 2)] if given else []
    row = row_of(lambda: getattr(quantized, op)(weight, *args, True, nbins, ratio), op)
    assert work(row) == (0, do.ops, do.roots)
    assert "search" in row.estimate
