"""Indices out of range: where their values are known, counting without running raises an error, as a run does."""

import pytest
import torch
from torch import nn
from torch.export import Dim

from opflops import ModelError, ProfileError, count
from opflops.example import GPT

TABLE = torch.arange(15.0).reshape(5, 3)
LOOKUPS = {
    "embedding": lambda index: nn.functional.embedding(index, TABLE),
    "index": lambda index: TABLE[index],
    "second axis": lambda index: TABLE[:, index % 3 + (index > 4)],
    "two axes": lambda index: TABLE[index, torch.zeros_like(index)],
    "index_select": lambda index: TABLE.index_select(0, index),
    "gather": lambda index: TABLE.gather(0, index[:, None]),
    "mask": lambda index: TABLE[:, torch.tensor([True, False, True])][index],
}


@pytest.mark.parametrize("indices", [[0, 4], [], [-1, 2], [-5], [5], [-6, 0], [1, 10**9]], ids=str)
@pytest.mark.parametrize("lookup", LOOKUPS)
def test_it_fails_where_a_run_fails(lookup, indices):
    """Rows by number: those of Python's count from the end too; a mask is no index."""
    index = torch.tensor(indices, dtype=torch.int64)
    try:
        LOOKUPS[lookup](index)
    except (IndexError, RuntimeError):
        with pytest.raises(IndexError, match="is out of range for an axis of size"):
            count(LOOKUPS[lookup], index)
    else:
        count(LOOKUPS[lookup], index)


def test_a_model_has_a_longest_input():
    """GPT looks up the number of each position; the message names the table, on meta with the CPU's operators too."""
    for device in ("cpu", "meta"):
        with torch.device(device):
            gpt = GPT(layers=1, width=8, heads=2, vocabulary=20, longest=16)
            short, long = torch.zeros(1, 16, dtype=torch.int64), torch.zeros(1, 17, dtype=torch.int64)
        assert count(gpt, short, device="cpu").total.macs
        with pytest.raises(ModelError, match=r"index 16 is out of range for an axis of size 16.*GPT\.positions"):
            count(gpt, long, device="cpu")


def test_indices_of_unknown_values_are_not_checked():
    """Such as tokens on meta, or what a floating-point input decides."""
    table = nn.Embedding(5, 3)
    count(nn.Embedding(5, 3, device="meta"), torch.full((4,), 9, dtype=torch.int64, device="meta"), device="cpu")
    count(lambda x: table((100 * x).to(torch.int64)), torch.ones(4))


def test_formulas_hold_up_to_the_length_of_the_table():
    """As long as a model runs; beyond, ``at`` names the table."""
    gpt = GPT(layers=1, width=8, heads=2, vocabulary=20, longest=16)
    found = count(gpt, torch.zeros(1, 8, dtype=torch.int64), dynamic_shapes={"ids": {1: Dim("seq")}})
    assert found.at(seq=16).total == count(gpt, torch.zeros(1, 16, dtype=torch.int64)).total
    with pytest.raises(ProfileError, match=r"hold for seq <= 16 \(aten\.embedding in GPT\.positions"):
        found.at(seq=17)


def test_what_is_known_does_not_depend_on_how_large_the_model_is():
    """Weights on meta take none of the memory for known values: here 300 MB of them, and a branch on a mask."""

    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(2500, 2500) for _ in range(12))

        def forward(self, x):
            mask = torch.arange(x.shape[0], device=x.device) < 3
            return self.layers[0](x) if bool(mask.all()) else x

    with torch.device("meta"):
        model, x = Branches(), torch.zeros(3, 2500)
    assert count(model, x, device="cpu").total.macs == 3 * 2500 * 2500
