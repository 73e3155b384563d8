"""Columns and windows: laid out for nothing, folded back with an addition for each element."""

import pytest
import torch
from counted import cost_of
from torch.nn import functional

from opflops import Cost

aten = torch.ops.aten


def test_unfolding_copies_and_folding_adds_each_element():
    """Two images of three channels, 4 by 5, under windows of 2 by 3: 3·3 windows of 18 elements are 324 additions."""
    image = torch.randn(2, 3, 4, 5)
    columns = functional.unfold(image, (2, 3))
    assert cost_of(functional.unfold, image, (2, 3)) == Cost()
    assert cost_of(functional.fold, columns, (4, 5), (2, 3)) == Cost(ops=324)


def test_the_gradient_of_one_is_the_other():
    """Unfolding's gradient folds, and folding's gradient unfolds."""
    image = torch.randn(2, 3, 4, 5, requires_grad=True)
    columns = functional.unfold(image, (2, 3))
    assert cost_of(columns.backward, torch.ones_like(columns)) == Cost(ops=324)
    leaf = columns.detach().requires_grad_()
    folded = functional.fold(leaf, (4, 5), (2, 3))
    assert cost_of(folded.backward, torch.ones_like(folded)) == Cost()


def test_the_gradient_of_windows_along_an_axis_adds_each_element():
    """Seven elements have three windows of three, two apart; nine gradients are added."""
    windows = torch.randn(3, 3)
    assert cost_of(aten.unfold_backward, windows, [7], 0, 3, 2) == Cost(ops=9)


@pytest.mark.parametrize(("rank", "shape"), [(1, (2, 6)), (2, (2, 4, 6)), (3, (2, 4, 4, 2))])
def test_unpooling_only_moves(rank, shape):
    """Each maximum is put back where it was found."""
    pool = getattr(functional, f"max_pool{rank}d")
    unpool = getattr(functional, f"max_unpool{rank}d")
    values, indices = pool(torch.randn(shape), 2, return_indices=True)
    assert cost_of(unpool, values, indices, 2) == Cost()


def test_shuffling_channels_only_moves():
    """Channels change places."""
    assert cost_of(torch.channel_shuffle, torch.randn(1, 4, 2, 2), 2) == Cost()
