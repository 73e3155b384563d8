"""Convolutions and their gradients: against loops over single numbers, published layers, and laws that join them."""

import itertools

import numpy as np
import pytest
import torch
from counted import cost_of
from torch.nn import functional

from opflops import Cost
from opflops.pricing.registry import registry

aten = torch.ops.aten

DIRECT = [functional.conv1d, functional.conv2d, functional.conv3d]
TRANSPOSED = [functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d]

# Input, weight (whose first axis is the output's, or the input's when transposed) and the layer's options.
CASES = [
    ((2, 2, 9), (3, 2, 3), {}),
    ((1, 2, 9), (3, 2, 3), {"stride": 2, "padding": 1, "dilation": 2}),
    ((2, 2, 5, 6), (3, 2, 2, 3), {}),
    ((1, 2, 5, 6), (3, 2, 2, 3), {"stride": (2, 3)}),
    ((1, 2, 4, 3), (3, 2, 2, 3), {"padding": (1, 2)}),
    ((1, 2, 7, 6), (3, 2, 2, 3), {"dilation": (3, 2)}),
    ((2, 4, 4, 3), (6, 2, 2, 3), {"groups": 2, "padding": 1}),
    ((1, 3, 4, 4), (6, 1, 3, 3), {"groups": 3, "padding": 1}),
    ((1, 2, 3, 2, 4), (2, 2, 2, 1, 3), {"stride": (1, 1, 2), "padding": (0, 1, 1)}),
]
TRANSPOSED_CASES = [
    ((2, 3, 4), (3, 2, 3), {"stride": 2}),
    ((2, 3, 3, 4), (3, 2, 2, 3), {}),
    ((1, 3, 3, 2), (3, 2, 3, 3), {"stride": 2, "padding": 1, "output_padding": 1}),
    ((1, 3, 3, 2), (3, 2, 2, 3), {"stride": (2, 3), "dilation": (1, 2), "output_padding": (0, 1)}),
    ((2, 4, 2, 3), (4, 3, 2, 2), {"groups": 2, "padding": (1, 0)}),
    ((1, 2, 2, 1, 2), (2, 2, 2, 1, 2), {"stride": 2, "output_padding": 1}),
]
ALL_CASES = [
    *((DIRECT[len(case[0]) - 3], *case) for case in CASES),
    *((TRANSPOSED[len(case[0]) - 3], *case) for case in TRANSPOSED_CASES),
]


def tensors(*shapes, device="cpu"):
    return [torch.randn(shape, dtype=torch.float64, device=device) for shape in shapes]


def per_axis(value, rank):
    return (value,) * rank if isinstance(value, int) else value


def padded(array, padding):
    return np.pad(array, [(0, 0), (0, 0), *((size, size) for size in padding)])


def cropped(array, padding):
    return array[(..., *(slice(size, array.shape[axis + 2] - size) for axis, size in enumerate(padding)))]


def meetings(batch, grid, weight_shape, stride, dilation, groups):
    """List the products of a convolution, as positions on the side of the grid, in the weight, and on the other side.

    The kernel is laid on each position of the grid: of the output, or of the input when transposed. The other side
    is the padded input, or the output before its borders are cut off.
    """
    channels, per_group, *kernel = weight_shape
    for sample, channel, inner in np.ndindex(batch, channels, per_group):
        other_channel = channel // (channels // groups) * per_group + inner
        for position in np.ndindex(*grid):
            for tap in np.ndindex(*kernel):
                reached = (p * s + t * d for p, s, t, d in zip(position, stride, tap, dilation, strict=True))
                yield (sample, channel, *position), (channel, inner, *tap), (sample, other_channel, *reached)


def geometry(x, weight, transposed, stride, padding, dilation, output_padding):
    """Tell the size of the grid, and of the side that the kernel reaches from it."""
    reach = [d * (k - 1) + 1 for k, d in zip(weight.shape[2:], dilation, strict=True)]
    if transposed:
        grid = x.shape[2:]
        return grid, [(g - 1) * s + r + e for g, s, r, e in zip(grid, stride, reach, output_padding, strict=True)]
    sizes = [n + 2 * p for n, p in zip(x.shape[2:], padding, strict=True)]
    return [(n - r) // s + 1 for n, r, s in zip(sizes, reach, stride, strict=True)], sizes


def by_hand(function, x, weight, *, gradient=None, stride=1, padding=0, dilation=1, groups=1, output_padding=0):
    """Convolve one product at a time; returns the result and the number of products.

    With the gradient of the result, returns instead those of input and weight, and the number of products in each.
    """
    transposed = function in TRANSPOSED
    x, weight = x.numpy(), weight.numpy()
    stride, padding, dilation, output_padding = (
        per_axis(each, weight.ndim - 2) for each in (stride, padding, dilation, output_padding)
    )
    grid, sizes = geometry(x, weight, transposed, stride, padding, dilation, output_padding)
    positions = list(meetings(x.shape[0], grid, weight.shape, stride, dilation, groups))
    on_grid, reached = (x.shape[0], weight.shape[0], *grid), (x.shape[0], weight.shape[1] * groups, *sizes)
    if gradient is None and transposed:
        result = np.zeros(reached)
        for near, tap, far in positions:
            result[far] += x[near] * weight[tap]
        return torch.from_numpy(cropped(result, padding)), len(positions)
    if gradient is None:
        x, result = padded(x, padding), np.zeros(on_grid)
        for near, tap, far in positions:
            result[near] += x[far] * weight[tap]
        return torch.from_numpy(result), len(positions)
    of_x, of_weight, gradient = np.zeros(on_grid if transposed else reached), np.zeros(weight.shape), gradient.numpy()
    x, gradient = (x, padded(gradient, padding)) if transposed else (padded(x, padding), gradient)
    macs_of_x = macs_of_weight = 0
    for near, tap, far in positions:
        in_x, in_result = (near, far) if transposed else (far, near)
        of_x[in_x] += gradient[in_result] * weight[tap]
        macs_of_x += 1
        of_weight[tap] += gradient[in_result] * x[in_x]
        macs_of_weight += 1
    of_x = of_x if transposed else cropped(of_x, padding)
    return torch.from_numpy(of_x), macs_of_x, torch.from_numpy(of_weight), macs_of_weight


@pytest.mark.parametrize(("function", "shape", "weight_shape", "options"), ALL_CASES)
def test_convolutions_cost_what_a_loop_does(function, shape, weight_shape, options):
    """One multiply-accumulate for each weight at each position that its kernel is laid on, padding included."""
    x, weight = tensors(shape, weight_shape)
    expected, macs = by_hand(function, x, weight, **options)
    torch.testing.assert_close(function(x, weight, **options), expected)
    assert cost_of(lambda: function(x, weight, **options)) == Cost(macs=macs)


@pytest.mark.parametrize(("function", "shape", "weight_shape", "options"), ALL_CASES)
def test_bias_is_added_to_every_result(function, shape, weight_shape, options):
    """A bias costs one addition for each element of the result, and no product."""
    x, weight = tensors(shape, weight_shape)
    expected, macs = by_hand(function, x, weight, **options)
    bias = torch.randn(expected.shape[1], dtype=torch.float64)
    additions = 0
    for position in np.ndindex(*expected.shape):
        expected[position] += bias[position[1]]
        additions += 1
    torch.testing.assert_close(function(x, weight, bias, **options), expected)
    assert cost_of(lambda: function(x, weight, bias, **options)) == Cost(macs=macs, ops=additions)


@pytest.mark.parametrize(("function", "shape", "weight_shape", "options"), ALL_CASES)
def test_gradients_cost_what_a_loop_does(function, shape, weight_shape, options):
    """Each product meets the gradient for the input and for the weight; the bias takes the additions of a sum."""
    x, weight = (tensor.requires_grad_() for tensor in tensors(shape, weight_shape))
    channels = function(x, weight, **options).shape[1]
    bias = torch.randn(channels, dtype=torch.float64, requires_grad=True)
    out = function(x, weight, bias, **options)
    gradient = torch.randn_like(out)
    of_x, macs_of_x, of_weight, macs_of_weight = by_hand(
        function, x.detach(), weight.detach(), gradient=gradient, **options
    )
    found = torch.autograd.grad(out, (x, weight, bias), gradient, retain_graph=True)
    torch.testing.assert_close(found[:2], (of_x, of_weight))
    additions = sum(gradient[:, channel].numel() - 1 for channel in range(channels))

    def cost(*wanted):
        return cost_of(lambda: torch.autograd.grad(out, wanted, gradient, retain_graph=True))

    assert cost(x) == Cost(macs=macs_of_x)
    assert cost(weight) == Cost(macs=macs_of_weight)
    assert cost(x, weight) == Cost(macs=macs_of_x + macs_of_weight)
    assert cost(x, weight, bias) == Cost(macs=macs_of_x + macs_of_weight, ops=additions)


@pytest.mark.parametrize("mask", list(itertools.product([False, True], repeat=3)))
def test_gradients_cost_only_where_they_are_wanted(mask):
    """A mask asks for the gradients of input, weight (54 products each) and bias (3 sums of 9 numbers) one by one."""
    gradient, x, weight = tensors((1, 3, 3, 3), (1, 1, 3, 3), (3, 1, 1, 2))
    x = functional.pad(x, (0, 1))
    options = ([3], [1, 1], [0, 0], [1, 1], False, [0, 0], 1, list(mask))
    cost = cost_of(aten.convolution_backward, gradient, x, weight, *options)
    assert cost == Cost(macs=54 * (mask[0] + mask[1]), ops=3 * 8 * mask[2])


# The convolutions of AlexNet with their published counts, which add up to 666 million.
ALEXNET = [
    ((1, 3, 227, 227), (96, 3, 11, 11), {"stride": 4}, 105_415_200),
    ((1, 96, 27, 27), (256, 48, 5, 5), {"padding": 2, "groups": 2}, 223_948_800),
    ((1, 256, 13, 13), (384, 256, 3, 3), {"padding": 1}, 149_520_384),
    ((1, 384, 13, 13), (384, 192, 3, 3), {"padding": 1, "groups": 2}, 112_140_288),
    ((1, 384, 13, 13), (256, 192, 3, 3), {"padding": 1, "groups": 2}, 74_760_192),
]


@pytest.mark.parametrize(("shape", "weight_shape", "options", "macs"), ALEXNET)
def test_published_layers(shape, weight_shape, options, macs):
    """The convolutions of AlexNet, two of its groups on a device of their own, cost what the literature says."""
    x, weight = tensors(shape, weight_shape, device="meta")
    assert cost_of(lambda: functional.conv2d(x, weight, **options)) == Cost(macs=macs)


def test_upsampling_layer_and_its_gradients():
    """A transposed convolution counts on its input grid, 10,192,158,720 flops each time, and twice that backward."""
    x, weight = tensors((6, 192, 30, 96), (192, 384, 2, 2), device="meta")
    x.requires_grad_()
    weight.requires_grad_()
    layer = functional.conv_transpose2d
    forward = cost_of(lambda: layer(x, weight, stride=2))
    assert forward == Cost(macs=5_096_079_360)
    assert forward.flops == 10_192_158_720
    assert cost_of(lambda: [layer(x, weight, stride=2) for _ in range(250)]) == 250 * forward
    out = layer(x, weight, stride=2)
    assert cost_of(torch.autograd.grad, out, (x, weight), torch.empty_like(out)) == 2 * forward


@pytest.mark.parametrize("groups", [1, 2, 4, 8])
@pytest.mark.parametrize(("function", "forward"), [(functional.conv2d, 27_648), (functional.conv_transpose2d, 27_648)])
def test_groups_divide_the_work(function, forward, groups):
    """In g groups each channel meets a g-th of the others, forward and backward, where both gradients cost double."""
    x, weight = tensors((3, 8, 4, 4), (8, 8 // groups, 3, 3))
    x.requires_grad_()
    weight.requires_grad_()
    assert cost_of(lambda: function(x, weight, padding=1, groups=groups)) == Cost(macs=forward // groups)
    out = function(x, weight, padding=1, groups=groups)
    gradients = cost_of(torch.autograd.grad, out, (x, weight), torch.ones_like(out))
    assert gradients == Cost(macs=2 * forward // groups)


@pytest.mark.parametrize(("function", "shape", "weight_shape", "options"), ALL_CASES)
def test_twice_the_batch_is_twice_the_cost(function, shape, weight_shape, options):
    """Samples are convolved one by one, and one without a batch axis costs what a batch of one does."""
    x, weight = tensors(shape, weight_shape)
    bias = torch.randn(function(x, weight, **options).shape[1], dtype=torch.float64)
    cost = cost_of(lambda: function(x, weight, bias, **options))
    assert cost_of(lambda: function(torch.cat([x, x]), weight, bias, **options)) == 2 * cost
    assert shape[0] * cost_of(lambda: function(x[0], weight, bias, **options)) == cost


@pytest.mark.parametrize(("function", "shape", "weight_shape", "options"), ALL_CASES)
def test_devices_and_gradient_modes_agree(function, shape, weight_shape, options):
    """A convolution costs the same on meta tensors, with gradients, and in inference mode; so does its gradient."""

    def costs(device):
        x, weight = tensors(shape, weight_shape, device=device)
        forward = cost_of(lambda: function(x, weight, **options))
        with torch.inference_mode():
            assert cost_of(lambda: function(x, weight, **options)) == forward
        x.requires_grad_()
        assert cost_of(lambda: function(x, weight, **options)) == forward
        out = function(x, weight, **options)
        return forward, cost_of(torch.autograd.grad, out, x, torch.ones_like(out))

    assert costs("cpu") == costs("meta")


def test_pointwise_convolution_is_a_matrix_product():
    """A kernel of 1 costs what a linear layer does at each position."""
    x, weight, bias = tensors((2, 5, 3, 4), (7, 5), (7,))
    kernel = weight[:, :, None, None]
    rows = x.movedim(1, -1)
    torch.testing.assert_close(functional.conv2d(x, kernel, bias), functional.linear(rows, weight, bias).movedim(-1, 1))
    linear = cost_of(functional.linear, rows, weight, bias)
    assert linear == Cost(macs=840, ops=168)
    assert cost_of(functional.conv2d, x, kernel, bias) == linear
    transposed = weight.T[:, :, None, None]
    assert cost_of(functional.conv_transpose2d, x, transposed, bias) == linear


def test_padding_by_name():
    """Padding that keeps the size costs the same by name as in numbers."""
    x, odd, even = tensors((2, 3, 7), (4, 3, 3), (4, 3, 2))
    same = cost_of(lambda: functional.conv1d(x, odd, padding="same"))
    assert same == cost_of(lambda: functional.conv1d(x, odd, padding=1)) == Cost(macs=504)
    assert cost_of(lambda: functional.conv1d(x, even, padding="same", dilation=2)) == Cost(macs=336)
    assert cost_of(lambda: functional.conv1d(x, odd, padding="valid")) == Cost(macs=360)


def test_memory_format_does_not_matter():
    """Channels that lie last are counted as channels."""
    x, weight = tensors((2, 3, 5, 6), (4, 3, 2, 2))
    assert cost_of(functional.conv2d, x, weight) == Cost(macs=1920)
    last = (tensor.to(memory_format=torch.channels_last) for tensor in (x, weight))
    assert cost_of(functional.conv2d, *last) == Cost(macs=1920)


def test_out_costs_what_the_functional_form_does():
    """Writing into a given tensor changes nothing in the count."""
    x, weight, bias = tensors((2, 3, 5, 6), (4, 3, 2, 2), (4,))
    options = ([1, 1], [0, 0], [1, 1], False, [0, 0], 1)
    out = torch.empty(2, 4, 4, 5, dtype=torch.float64)
    cost = cost_of(aten.convolution, x, weight, bias, *options)
    assert cost == Cost(macs=1920, ops=160)
    assert cost_of(lambda: aten.convolution(x, weight, bias, *options, out=out)) == cost


def charged(overload, out, *arguments):
    """Price a call of an operator that has no kernel here."""
    cost = registry.resolve(overload, {}).charge(out, arguments, {})[0]
    return Cost(cost.macs, cost.ops, cost.transcendentals)


# What the same layers (1920 products, a bias of 160 elements) are called in the libraries below ``convolution``.
UNIFORM = ([0, 0], [1, 1], [1, 1], 1)  # padding, stride, dilation, groups
LIBRARIES = [
    (aten.mkldnn_convolution.default, False, True, UNIFORM),
    (aten.cudnn_convolution.default, False, False, (*UNIFORM, False, False, False)),
    (aten.miopen_convolution.default, False, True, (*UNIFORM, False, False)),
    (aten.cudnn_convolution_transpose.default, True, False, ([0, 0], *UNIFORM, False, False, False)),
    (aten.miopen_convolution_transpose.default, True, True, ([0, 0], *UNIFORM, False, False)),
    (aten.miopen_depthwise_convolution.default, False, True, (*UNIFORM, False, False)),
    (aten._mps_convolution.default, False, True, UNIFORM),
    (aten._mps_convolution_transpose.default, True, False, ([0, 0], *UNIFORM)),
    (aten._nnpack_spatial_convolution.default, False, True, ([0, 0],)),
    (aten.convolution_overrideable.default, False, True, ([1, 1], [0, 0], [1, 1], False, [0, 0], 1)),
    (aten.convolution_overrideable.default, True, True, ([1, 1], [0, 0], [1, 1], True, [0, 0], 1)),
    (aten._convolution.default, True, True, ([1, 1], [0, 0], [1, 1], True, [0, 0], 1, *(False,) * 4)),
]


@pytest.mark.parametrize(("overload", "transposed", "takes_bias", "options"), LIBRARIES)
def test_libraries_cost_what_the_convolution_does(overload, transposed, takes_bias, options):
    """The kernels of oneDNN, cuDNN and MIOpen, and of other devices, do the work that the layer states."""
    x, weight, bias = tensors((2, 3, 4, 5), (3, 4, 2, 2), (4,), device="meta")
    if not transposed:
        x, weight = tensors((2, 3, 5, 6), (4, 3, 2, 2), device="meta")
    out = (functional.conv_transpose2d if transposed else functional.conv2d)(x, weight)

    if takes_bias:
        assert charged(overload, out, x, weight, bias, *options) == Cost(macs=1920, ops=out.numel())
        assert charged(overload, out, x, weight, None, *options) == Cost(macs=1920)
    else:
        assert charged(overload, out, x, weight, *options) == Cost(macs=1920)


def test_gradients_of_other_devices():
    """The backward of devices outside PyTorch costs what PyTorch's own does."""
    x, weight = tensors((2, 3, 5, 6), (4, 3, 2, 2), device="meta")
    gradient = torch.empty_like(functional.conv2d(x, weight))
    arguments = (gradient, x, weight, [1, 1], [0, 0], [1, 1], False, [0, 0], 1, [True, True, True])
    out = (x, weight, weight.new_empty(4))
    cost = registry.resolve(aten.convolution_backward_overrideable.default, {}).charge(out, arguments, {})[0]
    assert cost[:3] == (2 * 1920, 160 - 4, 0)


@pytest.mark.parametrize("transposed", [False, True])
def test_kernels_that_take_no_batch_axis(transposed):
    """Where a kernel is given a single sample, that is a batch of one."""
    x, weight = tensors((3, 4, 5), (3, 4, 2, 2), device="meta")
    if not transposed:
        x, weight = tensors((3, 5, 6), (4, 3, 2, 2), device="meta")
    out = (functional.conv_transpose2d if transposed else functional.conv2d)(x, weight)
    arguments = (x, weight, None, [1, 1], [0, 0], [1, 1], transposed, [0, 0], 1)
    cost = registry.resolve(aten.convolution.default, {}).charge(out, arguments, {})[0]
    assert (cost.macs, cost.ops) == (960, 0)


# What PyTorch's own kernels do below ``convolution``: which function, sizes, and the options behind the bias.
KERNELS = [
    (aten._slow_conv2d_forward, functional.conv2d, (2, 3, 5, 6), (4, 3, 2, 2), ([1, 1], [0, 0]), {}),
    (aten.slow_conv3d_forward, functional.conv3d, (1, 2, 3, 4, 3), (3, 2, 2, 2, 1), ([1, 1, 1], [0, 0, 0]), {}),
    (
        aten.slow_conv_dilated2d,
        functional.conv2d,
        (2, 3, 5, 6),
        (4, 3, 2, 2),
        ([1, 1], [0, 0], [2, 2]),
        {"dilation": 2},
    ),
    (aten.slow_conv_dilated3d, functional.conv3d, (1, 2, 3, 4, 3), (3, 2, 2, 2, 1), (), {}),
    (aten.slow_conv_transpose2d, functional.conv_transpose2d, (2, 3, 4, 5), (3, 4, 2, 2), ([2, 2],), {"stride": 2}),
    (aten.slow_conv_transpose3d, functional.conv_transpose3d, (1, 2, 2, 3, 2), (2, 3, 2, 2, 1), (), {}),
]


@pytest.mark.parametrize(("operator", "function", "shape", "weight_shape", "options", "named"), KERNELS)
def test_kernels_cost_what_a_loop_does(operator, function, shape, weight_shape, options, named):
    """They are called with a kernel size and a bias, which is added to every result."""
    x, weight = tensors(shape, weight_shape)
    expected, macs = by_hand(function, x, weight, **named)
    bias = tensors((expected.shape[1],))[0]
    kernel = list(weight_shape[2:])
    torch.testing.assert_close(operator(x, weight, kernel, None, *options), expected)
    assert cost_of(operator, x, weight, kernel, None, *options) == Cost(macs=macs)
    assert cost_of(operator, x, weight, kernel, bias, *options) == Cost(macs=macs, ops=expected.numel())


@pytest.mark.parametrize(("operator", "rank"), [(aten._conv_depthwise2d, 2), (aten.conv_depthwise3d, 3)])
def test_depthwise_kernels_cost_what_a_loop_does(operator, rank):
    """Each channel has a weight of its own."""
    x, weight, bias = tensors((2, 3, 4, 3, 3)[: rank + 2], (3, 1, 2, 2, 2)[: rank + 2], (3,))
    expected, macs = by_hand(DIRECT[rank - 1], x, weight, groups=3)
    ones, kernel = [1] * rank, list(weight.shape[2:])
    arguments = (kernel, bias, ones, [0] * rank, ones)
    assert charged(operator.default, expected, x, weight, *arguments) == Cost(macs=macs, ops=expected.numel())


@pytest.mark.parametrize("library", ["cudnn", "miopen"])
def test_fused_activations_cost_what_they_do_alone(library):
    """1920 products; for each of 160 results a bias, a comparison, what is added, and its factor."""
    x, weight, bias = tensors((2, 3, 5, 6), (4, 3, 2, 2), (4,))
    out = functional.conv2d(x, weight)
    options = ([1, 1], [0, 0], [1, 1], 1)
    relu, add_relu = (getattr(aten, f"{library}_convolution_{name}").default for name in ("relu", "add_relu"))
    assert charged(relu, out, x, weight, bias, *options) == Cost(macs=1920, ops=320)
    assert charged(relu, out, x, weight, None, *options) == Cost(macs=1920, ops=160)
    for alpha, ops in [(None, 480), (1, 480), (2.5, 640)]:
        assert charged(add_relu, out, x, weight, out, alpha, bias, *options) == Cost(macs=1920, ops=ops)
    assert charged(add_relu, out, x, weight, out, None, None, *options) == Cost(macs=1920, ops=320)
    assert charged(relu, out, x, weight, bias, *options) == cost_of(
        lambda: torch.relu(functional.conv2d(x, weight, bias))
    )


def test_convolution_along_time_costs_what_the_other_layout_does():
    """The axes stand in another order, and padding counts."""
    x, weight, bias = tensors((5, 2, 3), (3, 3, 4), (4,))
    other = functional.conv1d(x.permute(1, 2, 0), weight.permute(2, 1, 0), bias, padding=1)
    torch.testing.assert_close(aten.conv_tbc(x, weight, bias, 1), other.permute(2, 0, 1))
    # 5 times, 2 samples, 3 x 3 x 4 weights; 5 x 2 x 4 biases.
    assert cost_of(aten.conv_tbc, x, weight, bias, 1) == Cost(macs=360, ops=40)
    rest = (x.permute(1, 2, 0), weight.permute(2, 1, 0), bias, 1, 1)
    assert cost_of(functional.conv1d, *rest) == Cost(macs=360, ops=40)


@pytest.mark.parametrize("mask", list(itertools.product([False, True], repeat=3)))
def test_gradients_of_libraries_cost_only_where_they_are_wanted(mask):
    """1920 products each for input and weight; 156 additions for the bias, which Metal's transposed layer has not."""
    x, weight = tensors((2, 3, 5, 6), (4, 3, 2, 2))
    gradient = functional.conv2d(x, weight)
    out, options = (x, weight, None), ([0, 0], [1, 1], [1, 1], 1)
    macs, ops = 1920 * (mask[0] + mask[1]), 156 * mask[2]
    slow = (gradient, x, weight, [2, 2], [1, 1], [0, 0], list(mask))
    assert cost_of(aten._slow_conv2d_backward.output_mask, *slow) == Cost(macs=macs, ops=ops)
    metal = charged(aten.mps_convolution_backward.default, out, x, gradient, weight, *options, list(mask))
    assert metal == Cost(macs=macs, ops=ops)
    small, turned = tensors((2, 3, 4, 5), (3, 4, 2, 2))
    large = functional.conv_transpose2d(small, turned)
    transposed = (small, large, turned, [0, 0], *options, list(mask[:2]))
    assert charged(aten.mps_convolution_transpose_backward.default, out[:2], *transposed) == Cost(macs=macs)


def test_gradients_into_given_tensors_are_all_computed():
    """That overload has no mask."""
    x, weight = tensors((2, 3, 5, 6), (4, 3, 2, 2))
    gradient = functional.conv2d(x, weight)
    given = {"grad_input": x.clone(), "grad_weight": torch.zeros_like(weight), "grad_bias": gradient.new_zeros(4)}
    call = (gradient, x, weight, [2, 2], [1, 1], [0, 0])
    cost = cost_of(lambda: aten._slow_conv2d_backward.grad_input(*call, **given))
    assert cost == Cost(macs=2 * 1920, ops=156)
