"""Gradients of products: against autograd's own products, and loops that list what meets."""

from itertools import product

import pytest
import torch
from counted import cost_of
from oracle import aten, priced
from torch.nn import functional

from opflops import Cost, OpFlopMode
from opflops.pricing.registry import registry

masks = pytest.mark.parametrize("mask", list(product([True, False], repeat=3)))
pytestmark = pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
x, gradient, weight = torch.randn(2, 3, 4), torch.randn(2, 3, 5), torch.randn(5, 4)


def charged(overload, out, *args):
    """Price a call of an operator that has no kernel here."""
    cost = registry.resolve(overload, {}).charge(out, args, {})[0]
    return Cost(cost.macs, cost.ops, cost.transcendentals)


def looped(mask):
    """Sum one product at a time: each gradient of six rows with each weight, and with each input; rows of the bias."""
    macs = ops = 0
    by_input, by_weight, by_bias = torch.zeros(6, 4), torch.zeros(5, 4), torch.zeros(5)
    rows, inputs = gradient.reshape(6, 5), x.reshape(6, 4)
    for row, feature in product(range(6), range(5)):
        for inner in range(4):
            by_input[row, inner] += rows[row, feature] * weight[feature, inner]
            by_weight[feature, inner] += rows[row, feature] * inputs[row, inner]
            macs += mask[0] + mask[1]
        by_bias[feature] += rows[row, feature]
        ops += mask[2] and row > 0
    return (by_input, by_weight, by_bias), Cost(macs=macs, ops=ops)


@masks
def test_linear_gradients_cost_what_a_loop_does(mask):
    """A term of products for each gradient that is wanted, and the sums of the bias."""
    on_meta = [tensor.to("meta") for tensor in (x, gradient, weight)]
    for overload in (aten.linear_backward.default, aten.mkldnn_linear_backward.default):
        assert charged(overload, (x, weight, weight[:, 0]), *on_meta, list(mask)) == looped(mask)[1]
    assert cost_of(aten.linear_backward, *on_meta, list(mask)) == looped(mask)[1]


def test_the_loop_computes_gradients():
    """What it counts is what autograd computes."""
    leaves = [x.clone().requires_grad_(), weight.clone().requires_grad_(), torch.zeros(5, requires_grad=True)]
    expected = torch.autograd.grad(functional.linear(*leaves), leaves, gradient)
    found, _ = looped((True, True, True))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other.reshape(one.shape), rtol=1e-4, atol=1e-5)


def test_parts_of_linear_gradients():
    """Operators of oneDNN for the input, and for weight and bias: 6 rows of 5 meet 4; 5 sums of 6."""
    alone = charged(aten.mkldnn_linear_backward_input.default, x, [2, 3, 4], gradient, weight)
    assert alone == Cost(macs=120) == looped((True, False, False))[1]
    for biased in (True, False):
        rest = charged(aten.mkldnn_linear_backward_weights.default, (weight, None), gradient, x, weight, biased)
        assert rest == Cost(macs=120, ops=25 * biased) == looped((False, True, biased))[1]


def test_training_in_onednn_layout_costs_what_it_does_in_others():
    """The gradient of a dense linear layer is two products and the bias."""
    leaf = torch.randn(6, 4).to_mkldnn().requires_grad_()
    parameters = weight.clone().requires_grad_(), torch.randn(5, requires_grad=True)
    out = functional.linear(leaf, *parameters)
    with OpFlopMode() as mode:
        out.backward(torch.randn(6, 5).to_mkldnn())
    cost = mode.profile.by("op")["aten.mkldnn_linear_backward"]
    assert (cost.macs, cost.ops, cost.transcendentals) == (240, 25, 0)


def nested(*shapes):
    return torch.nested.nested_tensor([torch.randn(shape) for shape in shapes])


def test_linear_gradients_of_nested_tensors_count_true_lengths():
    """3 + 2 rows of 4 and of 5 features: 100 products for each gradient, and 5 sums of 5."""
    leaf = nested((3, 4), (2, 4)).requires_grad_()
    parameters = weight.clone().requires_grad_(), torch.randn(5, requires_grad=True)
    out = torch.nested.to_padded_tensor(functional.linear(leaf, *parameters), 0.0)
    with OpFlopMode() as mode:
        out.sum().backward()
    cost = mode.profile.by("op")["aten.linear_backward"]
    assert (cost.macs, cost.ops, cost.transcendentals) == (200, 20, 0)


@pytest.mark.parametrize("mask", [[True, True], [True, False], [False, True], [False, False]])
def test_gradients_of_products_cost_what_the_products_did(mask):
    """Matrices of 3 x 4 x 2 and 5 x 4 x 6; each gradient is as many products again."""
    left, right = nested((3, 4), (5, 4)), nested((4, 2), (4, 6))
    out = torch.matmul(left, right)
    one = 3 * 4 * 2 + 5 * 4 * 6
    assert charged(aten.matmul_backward.default, (left, right), out, left, right, mask) == Cost(macs=one * sum(mask))
    a, b = torch.randn(2, 3, 4), torch.randn(2, 4, 5)
    forward = cost_of(torch.bmm, a, b)
    dense = charged(aten.matmul_backward.default, (a, b), torch.bmm(a, b), a, b, mask)
    assert dense == forward * sum(mask)


def test_bilinear_layers_by_hand():
    """3 samples, 4 and 5 inputs, 6 results: 3·6·4·5 products with the weight, then 3·6·5; and 18 biases."""
    one, other, weights = torch.randn(3, 4), torch.randn(3, 5), torch.randn(6, 4, 5)
    cost = cost_of(functional.bilinear, one, other, weights, torch.randn(6))
    assert cost == Cost(macs=360 + 90, ops=18)


# Sizes of four axes; which of them each of three tensors lacks, which are summed over, and along which to unroll.
TRILINEAR = [
    ([1, 3], [0], [1, 2], [2, 3], 1),  # a bilinear layer
    ([], [0], [1, 2], [3], 0),
    ([0], [], [2], [0, 2], 2),
    ([2], [1], [], [1, 2, 3], 3),
    ([1, 2], [3], [0], [0], 1),
    ([], [], [], [0, 1], 0),
]
SIZES = [2, 3, 4, 5]


@pytest.mark.parametrize(("lacks1", "lacks2", "lacks3", "summed", "unrolled"), TRILINEAR)
def test_products_of_three_cost_what_a_loop_does(lacks1, lacks2, lacks3, summed, unrolled):
    """Two products at each step: the first sums over what the third tensor lacks, except along what is unrolled."""
    lacking = (lacks1, lacks2, lacks3)
    tensors = [torch.randn([s for axis, s in enumerate(SIZES) if axis not in lacks]) for lacks in lacking]
    arguments = (*tensors, *map(list, lacking), summed, unrolled)
    result = aten._trilinear(*arguments)
    spread = [tensor.clone() for tensor in tensors]
    for index, lacks in enumerate(lacking):
        for axis in sorted(lacks):
            spread[index] = spread[index].unsqueeze(axis)
    expected = (spread[0] * spread[1] * spread[2]).sum(summed)
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-4)
    first, second = set(), set()
    early = {axis for axis in summed if axis in lacks3 and axis != unrolled}
    for index in product(*map(range, SIZES)):
        # Along an axis that both lack there is one index, and so there is along one that is summed already.
        met = tuple(0 if axis in lacks1 and axis in lacks2 else at for axis, at in enumerate(index))
        first.add(met)
        second.add(tuple(0 if axis in early else met[axis] if axis in lacks3 else at for axis, at in enumerate(index)))
    assert cost_of(aten._trilinear, *arguments) == Cost(macs=len(first) + len(second))


def test_meta_tensors_cost_what_real_ones_do():
    """Only sizes decide; and the axis to unroll along has a default."""
    one, other, weights = torch.randn(3, 4), torch.randn(3, 5), torch.randn(6, 4, 5)
    call = (one, weights, other, [1, 3], [0], [1, 2], [2, 3])
    real, _ = priced(aten._trilinear.default, *call)
    assert priced(aten._trilinear.default, *call, device="meta")[0] == real
    assert real.macs == 450
