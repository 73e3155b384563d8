"""The built-in examples cost what is published, or what the hand counts."""

import pytest
import torch

from opflops import count
from opflops.example import GPT, INPUT_SHAPE, SimpleCNN


def test_gpt_costs_what_is_published_of_gpt2():
    """124.4 million parameters; 291.65 GFLOPs in the products of a forward over 1,024 tokens.

    The figure is that of nanoGPT's notebook on transformer sizes.
    """
    with torch.device("meta"):
        model, ids = GPT(), torch.zeros(1, 1024, dtype=torch.int64)
    assert sum(each.numel() for each in model.parameters()) == 124_439_808
    assert 2 * count(model, ids).total.macs / 1e9 == pytest.approx(291.65, abs=0.005)


def test_simple_cnn_costs_what_the_hand_counts():
    """Convolutions 16·27·30² and 32·144·13², and three linear layers."""
    macs = 16 * 27 * 30**2 + 32 * 144 * 13**2 + 1152 * 120 + 120 * 84 + 84 * 10
    assert count(SimpleCNN(), torch.zeros(INPUT_SHAPE)).total.macs == macs
