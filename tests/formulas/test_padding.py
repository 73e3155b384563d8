"""Padding: a copy forward; backward, against a loop that adds each gradient to the element it was copied from."""

import oracle
import pytest
import torch
from counted import cost_of

from opflops import Cost

aten = torch.ops.aten

# Sizes of the image and pads, the last axis first: one side, both, none, and a side that is cropped.
PADDED = [
    ((4,), (2, 1)),
    ((4,), (0, 0)),
    ((5,), (-1, 2)),
    ((4, 5), (1, 2, 3, 0)),
    ((4, 5), (2, -1, 0, 1)),
    ((3, 4, 2), (1, 1, 0, 3, 2, 1)),
]


def source(index, size, before, kind):
    """Find the element that a padded position copies."""
    position = index - before
    if kind == "replication":
        return min(max(position, 0), size - 1)
    return abs(position) if position < size else 2 * (size - 1) - position


@pytest.mark.parametrize("kind", ["reflection", "replication"])
@pytest.mark.parametrize(("sizes", "pads"), PADDED)
def test_a_pad_costs_nothing_and_its_gradient_what_overlaps(kind, sizes, pads):
    """The first gradient of an element is stored, and each further one is added."""
    rank = len(sizes)
    op = getattr(aten, f"{kind}_pad{rank}d")
    image = torch.randn(2, 3, *sizes, dtype=torch.float64)
    assert cost_of(op, image, pads) == Cost()
    out = op(image, pads)
    gradient = torch.randn_like(out)
    shape = out.shape[2:]
    image_gradient: dict[tuple[int, ...], float] = {}
    additions = 0
    for position in torch.cartesian_prod(*(torch.arange(size) for size in shape)).reshape(-1, rank).tolist():
        key = tuple(
            source(index, size, before, kind)
            for index, size, before in zip(position, sizes, reversed(pads[::2]), strict=True)
        )
        value = gradient[(0, 0, *position)].item()
        if key in image_gradient:
            additions += 1
            value += image_gradient[key]
        image_gradient[key] = value
    backward = getattr(aten, f"{op.__name__}_backward").default
    cost, found = oracle.priced(backward, gradient, image, pads)
    for key, value in image_gradient.items():
        assert found[(0, 0, *key)].item() == pytest.approx(value)
    assert (cost.macs, cost.ops, cost.transcendentals) == (0, 6 * additions, 0)
