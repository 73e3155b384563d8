"""Profiles for notebooks: what a user may have in the last line of a cell."""

import pytest
import torch
from torch.export import Dim

from opflops import OpFlopMode, count
from opflops.example import INPUT_SHAPE, SimpleCNN


@pytest.fixture(scope="session")
def mode():
    """The example, forward and backward, with memory and times."""
    model, x = SimpleCNN(), torch.zeros(INPUT_SHAPE)
    with OpFlopMode(memory=True, timing=True) as mode:
        model(x).sum().backward()
    return mode


@pytest.fixture(scope="session")
def symbolic():
    """A layer whose counts are formulas."""
    layer = torch.nn.TransformerEncoderLayer(64, 4, 256, dropout=0, batch_first=True)
    return count(layer, torch.zeros(2, 16, 64), dynamic_shapes=({0: Dim("batch"), 1: Dim("seq")},))
