"""Factories write what they make, and count nothing; indices made from counts take a running sum."""

import pytest
import torch
from counted import cost_of
from oracle import aten, by_hand, priced, total
from test_movement import bytes_of, cost_with_bytes

from opflops import Cost

x, y = torch.rand(2, 3), torch.rand(4)


@pytest.mark.parametrize(
    ("function", "written"),
    [
        (lambda: torch.zeros(2, 3), 24),
        (lambda: torch.ones(2, 3, dtype=torch.float64), 48),
        (lambda: torch.full((2, 3), 7.0), 24),
        (lambda: torch.arange(6), 48),
        (lambda: torch.linspace(0, 1, 6), 24),
        (lambda: torch.eye(3), 36),
        (lambda: torch.tril_indices(2, 2), 48),
        (lambda: torch.scalar_tensor(1.0), 4),
        (lambda: torch.zeros_like(x), 24),
        (lambda: torch.ones_like(x), 24),
        (lambda: torch.full_like(x, 2), 24),
        (lambda: x.new_zeros(4), 16),
        (lambda: x.new_ones(4), 16),
        (lambda: x.new_full((4,), 2.0), 16),
        (lambda: aten._new_zeros_with_same_feature_meta(x, y, self_num_batch_dims=1), 2 * 4 * 4),
        (lambda: torch.logspace(0, 1, 6), 24),
        (lambda: aten.range(0, 5), 24),
        (lambda: aten.range.step(0, 6, 2), 16),
        (lambda: torch.bartlett_window(5), 20),
        (lambda: torch.bartlett_window(5, False), 20),
        (lambda: torch.blackman_window(5), 20),
        (lambda: torch.blackman_window(5, False), 20),
        (lambda: torch.hann_window(5), 20),
        (lambda: torch.hann_window(5, False), 20),
        (lambda: torch.hamming_window(5), 20),
        (lambda: torch.hamming_window(5, False), 20),
        (lambda: torch.hamming_window(5, True, 0.5), 20),
        (lambda: torch.hamming_window(5, True, 0.5, 0.4), 20),
        (lambda: torch.kaiser_window(5), 20),
        (lambda: torch.kaiser_window(5, False), 20),
        (lambda: torch.kaiser_window(5, False, 9.0), 20),
        (lambda: aten.hann_window.out(5, out=torch.empty(5)), 20),
        (lambda: aten.kaiser_window.beta_out(5, False, 9.0, out=torch.empty(5)), 20),
        (lambda: torch.logspace(0, 1, 6, out=torch.empty(6)), 24),
        (lambda: aten._efficientzerotensor.out([2, 3], out=torch.empty(2, 3)), 24),
    ],
)
def test_factories_only_write(function, written):
    """A tensor that lends its shape or dtype is not read, and there is no arithmetic."""
    assert bytes_of(function) == (0, written)
    assert cost_of(function) == Cost()


def test_ends_that_are_tensors_are_read():
    """Two numbers are read, and six written."""
    start = torch.tensor(0.0)
    assert bytes_of(lambda: torch.logspace(start, start, 6)) == (8, 24)
    assert bytes_of(lambda: torch.logspace(0, start, 6)) == (4, 24)


def test_what_has_no_memory_yet_moves_nothing(tmp_path):
    """Zeros without memory, a token, and a file that is mapped."""
    file = tmp_path / "numbers"
    file.write_bytes(bytes(24))
    for function in (
        lambda: aten._efficientzerotensor([2, 3]),
        lambda: aten._make_dep_token(),
        lambda: torch.from_file(str(file), size=6),
    ):
        assert bytes_of(function) == (0, 0)
        assert cost_of(function) == Cost()


def test_indices_from_counts_take_a_running_sum():
    """The place of the last index is found by adding up the counts: two additions of three, on whole numbers."""
    counts = torch.tensor([2, 0, 3])
    assert torch.repeat_interleave(counts).tolist() == [0, 0, 2, 2, 2]
    work, end = by_hand(total, counts)
    assert end == 5
    expected = Cost(ops=work.ops, bytes_read=24, bytes_written=40)
    assert cost_with_bytes(torch.repeat_interleave, counts) == expected == Cost(0, 2, 0, 24, 40)
    given = torch.empty(5, dtype=torch.int64)
    assert cost_with_bytes(lambda: aten.repeat_interleave.Tensor_out(counts, out=given)) == expected
    assert priced(aten.repeat_interleave.Tensor, counts.to("meta"), device="meta", output_size=5)[0] == expected
    assert cost_with_bytes(torch.repeat_interleave, counts[:0]) == Cost()
