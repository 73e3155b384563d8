"""cuDNN's grid sampler, which runs nowhere here: it costs what PyTorch's own does."""

import torch
from counted import cost_of
from oracle import aten

from opflops import Cost
from opflops.pricing.registry import registry

image, grid, gradient = torch.randn(2, 3, 5, 6), torch.rand(2, 4, 7, 2) * 2 - 1, torch.randn(2, 3, 4, 7)
BILINEAR, ZEROS, ALIGNED = 0, 0, True


def charged(overload, out, *args):
    """Price a call of an operator that has no kernel here."""
    cost = registry.resolve(overload, {}).charge(out, args, {})[0]
    return Cost(cost.macs, cost.ops, cost.transcendentals)


def test_samples_cost_what_they_do_elsewhere():
    """56 points: two positions of 2 + 3 operations, four products of weights, and 7 for each of 3 channels."""
    cost = charged(aten.cudnn_grid_sampler.default, gradient, image, grid)
    assert cost == cost_of(aten.grid_sampler_2d, image, grid, BILINEAR, ZEROS, ALIGNED)
    assert cost == Cost(ops=56 * (2 * (2 + 3) + 4 + 7 * 3))


def test_gradients_cost_what_they_do_elsewhere():
    """Both are computed, of the image and of the grid."""
    cost = charged(aten.cudnn_grid_sampler_backward.default, (image, grid), image, grid, gradient)
    both = (gradient, image, grid, BILINEAR, ZEROS, ALIGNED, [True, True])
    assert cost == cost_of(aten.grid_sampler_2d_backward, *both)
    assert cost.ops > 0
