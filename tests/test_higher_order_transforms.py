"""Higher-order operators inside ``vmap``, which calls their subgraphs itself."""

import pytest
import torch
from torch import nn
from torch._higher_order_ops.scan import scan

from opflops import OpFlopMode

BATCH, ROWS, WIDTH = 3, 2, 4


class Branching(nn.Module):
    """Apply one of two layers."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        """Return the result of the first layer for a positive sum."""
        return torch.cond(x.sum() > 0, lambda x: self.a(x), lambda x: self.b(x).sin(), (x,))


@pytest.mark.parametrize("mode", [OpFlopMode, lambda: OpFlopMode(strict=True)], ids=["default", "strict"])
def test_both_branches_under_vmap_count_in_their_modules(mode):
    """For a batch of conditions PyTorch runs both branches and selects: each layer multiplies all rows."""
    model, x = Branching(), torch.randn(BATCH, ROWS, WIDTH)
    expected = torch.vmap(model)(x)
    with mode() as m:
        result = torch.vmap(model)(x)
    assert torch.equal(result, expected)
    product = BATCH * ROWS * WIDTH * WIDTH
    macs = {path: m.profile.by("module")[path].macs for path in ("Branching.a", "Branching.b")}
    assert macs == {"Branching.a": product, "Branching.b": product}
    assert m.total.macs == 2 * product
    assert m.total.transcendentals == BATCH * ROWS * WIDTH


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_a_scan_under_vmap_counts_each_step_of_each_example():
    """The compiler accepts its function inside the transform: two steps of a product for each of three examples."""

    def scanned(init, x):
        def add_product(carry, row):
            return carry + row @ row.t(), carry.sum()

        return scan(add_product, init, x, dim=0)[0]

    init, x = torch.zeros(BATCH, ROWS, ROWS), torch.randn(BATCH, 2, ROWS, WIDTH)
    expected = torch.vmap(scanned)(init, x)
    with OpFlopMode() as m:
        result = torch.vmap(scanned)(init, x)
    assert torch.allclose(result, expected)
    assert m.total.macs == BATCH * 2 * ROWS * ROWS * WIDTH
