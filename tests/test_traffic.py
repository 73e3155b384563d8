"""Distinct stored bytes of tensors."""

import pytest
import torch

from opflops.pricing.traffic import stored_bytes


@pytest.mark.parametrize(
    ("tensor", "elements"),
    [
        (torch.zeros(3, 4), 12),
        (torch.zeros(3, 4).t(), 12),
        (torch.zeros(()), 1),
        (torch.zeros(0, 4), 0),
        (torch.zeros(3, 1).expand(3, 4), 3),
        (torch.zeros(()).expand(3, 4), 1),
        (torch.zeros(1, 0).expand(5, 0), 0),
        (torch.zeros(8, 8)[::2, ::2], 16),
        (torch.zeros(10).unfold(0, 3, 1), 10),
        (torch.zeros(10).unfold(0, 3, 3), 9),
        (torch.zeros(5, device="meta"), 5),
    ],
)
def test_each_distinct_element_counts_once(tensor, elements):
    """Broadcast axes and overlapping windows repeat elements, strides and order do not."""
    assert stored_bytes(tensor) == 4 * elements


@pytest.mark.parametrize(
    ("dtype", "size"), [(torch.float64, 8), (torch.bool, 1), (torch.complex64, 8), (torch.bfloat16, 2)]
)
def test_an_element_has_the_size_of_its_dtype(dtype, size):
    """Bytes, not elements."""
    assert stored_bytes(torch.zeros(3, dtype=dtype)) == 3 * size


def test_lists_add_up_and_other_values_are_nothing():
    """Optional tensors, numbers and names of options are no traffic."""
    assert stored_bytes([torch.zeros(2), None, torch.zeros(3)]) == 20
    assert stored_bytes(None) == stored_bytes(3.0) == stored_bytes("mean") == stored_bytes([1, 2]) == 0


@pytest.mark.filterwarnings("ignore:Sparse .* tensor support is in beta")
def test_a_sparse_tensor_is_what_it_stores():
    """Two of nine elements: two float32 values, and their int64 indices."""
    dense = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 2.0], [0.0, 0.0, 0.0]])
    assert stored_bytes(dense.to_sparse()) == 2 * 4 + 2 * 2 * 8
    assert stored_bytes(dense.to_sparse_csr()) == 2 * 4 + (4 + 2) * 8
    assert stored_bytes(dense.to_sparse_csc()) == 2 * 4 + (4 + 2) * 8
