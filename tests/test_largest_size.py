"""The largest size that fits: equal to counting at every size, by hand where that is known, and said in sentences."""

import pytest
import torch
from torch import nn
from torch.export import Dim
from torch.utils.checkpoint import checkpoint

from opflops import ArgumentError, Device, DimensionError, OpFlopMode, ProfileError, count, largest_size
from opflops.counting import size_counter
from opflops.example import GPT

BATCH = ({0: Dim("batch")},)


@pytest.fixture
def sizes(monkeypatch):
    """List the shapes of the first inputs that are counted."""
    counted = []

    def counting(model, *inputs, **options):
        counted.append(tuple(inputs[0].shape))
        return count(model, *inputs, **options)

    monkeypatch.setattr(size_counter, "count", counting)
    return counted


class Checkpointed(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(32, 128), nn.GELU(), nn.Linear(128, 32)) for _ in range(2))

    def forward(self, x):
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False)
        return x


class Convolutions(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Conv2d(8, 8, 3))


def test_a_linear_layer_by_hand():
    """Weights of 1,010 floats, and for each example 100 floats of input and 10 of result: 4040 + 440 batch."""
    layer, x = nn.Linear(100, 10).requires_grad_(requires_grad=False), torch.zeros(1, 100)
    found = largest_size(layer, x, dynamic_shapes=BATCH, fits=1_000_000)
    assert found.size == (1_000_000 - 4040) // 440 == 2263
    assert (found.fit.needed, found.next_size, found.next_needed) == (4040 + 440 * 2263, 2264, 4040 + 440 * 2264)
    assert found.profile.memory.peak == found.fit.needed
    assert found.profile.total.macs == 2263 * 100 * 10
    assert str(found) == (
        "batch = 2,263 is the largest that fits: 999.8 kB of 1 MB. 2,264 needs 1.00 MB, 200 bytes too many. "
        f"Worst moment: {found.profile.memory.at}."
    )


@pytest.mark.parametrize(
    "model", [Checkpointed(), Convolutions(), nn.LSTM(32, 16)], ids=lambda each: type(each).__name__
)
@pytest.mark.parametrize(
    "options", [{}, {"backward": True}, {"optimizer": torch.optim.AdamW, "allocator": "cuda"}], ids=str
)
def test_it_is_what_counting_at_every_size_finds(model, options, sizes):
    """Backward and optimizer, checkpointing, in-place work, rounded storages; the answer is in the middle of them."""

    def example(batch):
        return torch.zeros((batch, 3, 12, 12) if isinstance(model, Convolutions) else (batch, 4, 32))

    peaks = [count(model, example(batch), memory=True, **options).memory.peak for batch in range(1, 11)]
    for wanted in (2, 7):
        available = peaks[wanted - 1]
        expected = max(batch for batch, peak in enumerate(peaks, 1) if peak <= available)
        sizes.clear()
        found = largest_size(model, example(2), dynamic_shapes=BATCH, fits=available, **options)
        assert (found.size, found.fit.needed, found.is_exact) == (expected, peaks[expected - 1], True)
        assert found.next_needed == peaks[expected]
        assert len(sizes) == found.counts <= 12


def test_it_is_what_a_run_needs():
    """The run at the size that fits stays within, and the run at the next size does not."""
    model, available = Convolutions(), 700_000

    def peak(batch):
        x = torch.zeros(batch, 3, 12, 12)
        with OpFlopMode(memory=True) as m:
            y = model(x)
            y.backward(torch.ones_like(y))
        for each in model.parameters():
            each.grad = None
        return m.profile.memory.peak

    found = largest_size(model, torch.zeros(1, 3, 12, 12), dynamic_shapes=BATCH, fits=available, backward=True)
    assert found.size > 1
    assert peak(found.size) <= available < peak(found.size + 1)


def test_the_model_may_be_the_limit(sizes):
    """GPT has a table of 64 positions; the error is the one of a run, and the sentence says where."""
    gpt = GPT(layers=1, width=16, heads=2, vocabulary=50, longest=64)
    ids = torch.zeros(1, 8, dtype=torch.int64)
    found = largest_size(gpt, ids, dynamic_shapes={"ids": {1: "seq"}}, fits="1 GB")
    assert (found.size, found.next_size, found.next_needed, found.is_exact) == (64, 65, None, True)
    assert "seq = 64 fits: " in str(found)
    assert "At 65 the model fails: IndexError: index 64 is out of range for an axis of size 64" in str(found)
    assert "GPT.positions" in str(found)
    assert sum(shape[1] <= 64 for shape in sizes) <= 12


def test_it_may_be_a_multiple():
    """Where the model takes no other sizes: images of whole patches of 8."""
    patches = nn.Sequential(nn.PixelUnshuffle(8), nn.Conv2d(3 * 64, 4, 1))
    x = torch.zeros(1, 3, 16, 64)
    found = largest_size(patches, x, dynamic_shapes=({2: "height"},), fits=10_000_000, multiple=8)
    peaks = {n: count(patches, torch.zeros(1, 3, n, 64), memory=True).memory.peak for n in (found.size, found.size + 8)}
    assert found.size % 8 == 0
    assert peaks[found.size] <= 10_000_000 < peaks[found.size + 8]
    assert f"height = {found.size:,} is the largest multiple of 8 that fits" in str(found)


def test_limits_of_the_dim_hold():
    """The largest allowed size is tried; none below the smallest is."""
    layer, x = nn.Linear(4, 4), torch.zeros(6, 4)
    found = largest_size(layer, x, dynamic_shapes=({0: Dim("batch", min=5, max=9)},), fits="1 GB")
    assert (found.size, found.next_needed, found.is_exact) == (9, None, True)
    assert "9 is as large as its Dim allows." in str(found)
    found = largest_size(layer, x, dynamic_shapes=({0: Dim("batch", min=5, max=9)},), fits=100)
    assert (found.size, found.counted_size) == (0, 5)
    assert str(found).startswith("batch = 5 does not fit: 240 of 100 bytes, 140 bytes too many.")


def test_nothing_fits():
    """The sentence is of the size 1, and says by how much."""
    found = largest_size(nn.Linear(4, 4), torch.zeros(64, 4), dynamic_shapes=BATCH, fits=100)
    assert (found.size, found.counted_size, bool(found.fit)) == (0, 1, False)
    # 20 floats of parameters, 4 of the input and 4 of the result.
    assert str(found).startswith("batch = 1 does not fit: 112 of 100 bytes, 12 bytes too many. Worst moment: after ")


def test_a_size_that_does_not_matter():
    """Nothing is claimed beyond what was tried."""
    found = largest_size(
        lambda x: x.mean(), torch.zeros(4, 2).expand(4, 2)[:1].expand(5, 2), dynamic_shapes=BATCH, fits=100
    )
    assert (found.is_exact, found.next_size) == (False, None)
    assert "Memory limits it at none of 12 sizes, of which it is the largest." in str(found)


def test_sizes_beyond_what_tensors_can_have():
    """They do not fit, whatever PyTorch says of them."""
    found = largest_size(
        lambda x: x[:1].clone(), torch.zeros(1, 2**20, device="meta"), dynamic_shapes=BATCH, fits=2**62
    )
    assert (found.size, found.is_exact) == (2**62 // 2**22 - 1, True)


def test_inputs_keep_their_values_and_kinds():
    """Positions go on, a mask of ones has ones, and what is shared by two axes has one size."""

    def model(x, positions, mask):
        if bool(mask.all()) and int(positions[-1]) == positions.shape[0] - 1:
            return x @ x.T
        return torch.cat([x] * 100)

    x, positions, mask = torch.zeros(8, 4), torch.arange(8), torch.ones(8, dtype=torch.bool)
    shapes = ({0: Dim("n")}, {0: Dim("n")}, {0: Dim("n")})
    found = largest_size(model, x, positions, mask, dynamic_shapes=shapes, fits=10**6)
    # Of n by n floats, beside n rows of 16 bytes, 8 bytes of position and one of the mask.
    expected = max(n for n in range(1000) if 4 * n * n + 25 * n <= 10**6)
    assert abs(found.size - expected) <= 2


def test_keywords_reach_the_model():
    """By name, and in kwargs where they have the name of an option."""

    class Scaled(nn.Linear):
        def forward(self, x, fits=None, twice=False):
            y = super().forward(x)
            return (y, y + 1) if twice and fits else y

    model, x = Scaled(4, 4), torch.zeros(1, 4)
    plain = largest_size(model, x, dynamic_shapes={"x": {0: "n"}}, fits=10_000)
    more = largest_size(model, x, dynamic_shapes={"x": {0: "n"}}, fits=10_000, twice=True, kwargs={"fits": True})
    assert more.size < plain.size


def test_devices_of_ones_own():
    """By their memory."""
    mine = Device("mine", {"float32": 1.0}, 1.0, memory=4040 + 440)
    layer = nn.Linear(100, 10).requires_grad_(requires_grad=False)
    found = largest_size(layer, torch.zeros(7, 100), dynamic_shapes=BATCH, fits=mine)
    assert (found.size, found.fit.device) == (1, "mine")


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"dynamic_shapes": ({0: "a", 1: "b"},)}, DimensionError, "changes one dimension, .* names a and b"),
        ({"dynamic_shapes": {}}, DimensionError, "names no dimension"),
        ({"fits": "h101"}, ProfileError, "There are no figures for a device 'h101'"),
        ({"fits": "v100-pcie"}, ProfileError, "not known how much memory v100-pcie has"),
        ({"multiple": 0}, ArgumentError, "multiple must be 1 or more"),
        ({"allocator": "gpu"}, ArgumentError, "allocator must be 'cuda'"),
        ({"backwards": True}, ArgumentError, "largest_size\\(\\) has no option 'backwards'; did you mean backward"),
    ],
    ids=str,
)  # fmt: skip
def test_wrong_calls_are_sentences(options, error, words):
    """Before anything is counted, if that is possible."""
    given = {"dynamic_shapes": BATCH, "fits": "t4", **options}
    with pytest.raises(error, match=words):
        largest_size(nn.Linear(4, 4), torch.zeros(2, 4), **given)


def test_what_is_missing_is_named():
    """As for any function here."""
    with pytest.raises(ArgumentError, match="needs the argument fits"):
        largest_size(nn.Linear(4, 4), torch.zeros(2, 4), dynamic_shapes=BATCH)


def test_a_model_that_cannot_be_counted_says_why():
    """At the size of the inputs, with the error of count."""
    with pytest.raises(ValueError, match="no even batch"):
        largest_size(_raising, torch.zeros(2, 4), dynamic_shapes=BATCH, fits="t4")
    found = largest_size(_raising, torch.zeros(3, 4), dynamic_shapes=BATCH, fits="t4")
    assert "the model fails: ValueError: no even batch" in str(found)


def _raising(x):
    if x.shape[0] % 2 == 0:
        raise ValueError("no even batch")
    return x + 1
