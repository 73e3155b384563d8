"""Results without storage lie in memory as those of the CPU's kernels do, whatever the layout of the arguments."""

import itertools

import pytest
import torch
from test_memory_count import check_equal
from torch import nn
from torch.nn import functional
from torch.utils._pytree import tree_leaves

from opflops import OpFlopMode, count
from opflops.torch_internals.fake_layouts import LAYOUTS
from opflops.torch_internals.fake_tensors import fake_copies

aten = torch.ops.aten


def turned(x, *axes):
    """Copy a tensor so that these axes, outermost first, are its order in memory."""
    return x.permute(axes).contiguous().permute([axes.index(axis) for axis in range(x.dim())])


def channels_last(x):
    return turned(x, 0, *range(2, x.dim()), 1)


WAYS_TO_LIE = [
    lambda x: x,
    channels_last,
    lambda x: turned(x, *reversed(range(x.dim()))),
    lambda x: turned(x, *range(x.dim() - 2), x.dim() - 1, x.dim() - 2),
    lambda x: torch.stack([x, x], -1)[..., 0],
    lambda x: x[:1].expand_as(x),
]


def numbers(*shape):
    return torch.rand(shape) + 0.1


FOUR, FIVE, SIX = (2, 4, 6, 5), (2, 4, 3, 4, 5), (2, 4, 30)
ONES = torch.ones(4)
STATISTICS = torch.ones(2, 2)
HALF = torch.ones(2, 2), torch.ones(2, 2)


# Of each operator: the shapes of the tensors that lie in several ways, and a function that runs it on them.
CALLS = {
    aten._log_softmax_backward_data.default: [(FOUR, FOUR, lambda f, g, y: f(g, y, 1, torch.float32))],
    aten.glu_backward.default: [((2, 2, 6, 5), FOUR, lambda f, g, x: f(g, x, 1))],
    aten.huber_loss_backward.default: [(FOUR, FOUR, lambda f, g, x: f(g, x, numbers(*FOUR), 0, 1.0))],
    aten.log_sigmoid_forward.default: [(FOUR, lambda f, x: f(x)), (SIX, lambda f, x: f(x))],
    aten.mse_loss_backward.default: [(FOUR, FOUR, lambda f, g, x: f(g, x, numbers(*FOUR), 1))],
    aten.normal.Tensor_Tensor: [(FOUR, FOUR, lambda f, x, y: f(x, y))],
    aten.poisson.default: [(FOUR, lambda f, x: f(x))],
    aten.pow.Scalar: [(FOUR, lambda f, x: f(2.0, x)), (FIVE, lambda f, x: f(2.0, x))],
    aten.rrelu_with_noise.default: [
        (FOUR, lambda f, x: f(x, numbers(*FOUR), 0.1, 0.3, True)),
        (FOUR, lambda f, x: f(x, numbers(*FOUR), 0.1, 0.3, False)),
    ],
    aten.smooth_l1_loss_backward.default: [(FOUR, FOUR, lambda f, g, x: f(g, x, numbers(*FOUR), 0, 1.0))],
    aten.channel_shuffle.default: [(FOUR, lambda f, x: f(x, 2)), (FIVE, lambda f, x: f(x, 2))],
    aten.native_channel_shuffle.default: [(FOUR, lambda f, x: f(x, 2))],
    aten.max_unpool2d.default: [(FOUR, lambda f, x: f(x, torch.zeros(FOUR, dtype=torch.int64), [9, 9]))],
    aten.reflection_pad3d.default: [(FIVE, lambda f, x: f(x, [1] * 6))],
    aten.replication_pad3d.default: [(FIVE, lambda f, x: f(x, [1] * 6))],
    aten.native_group_norm.default: [(FOUR, lambda f, x: f(x, ONES, ONES, 2, 4, 30, 2, 1e-5))],
    aten._native_batch_norm_legit.default: [
        (FOUR, lambda f, x: f(x, ONES, ONES, ONES.clone(), ONES.clone(), True, 0.1, 1e-5)),
        (SIX, lambda f, x: f(x, ONES, ONES, ONES.clone(), ONES.clone(), False, 0.1, 1e-5)),
    ],
    aten._native_batch_norm_legit.no_stats: [(FOUR, lambda f, x: f(x, ONES, ONES, True, 0.1, 1e-5))],
    aten._batch_norm_with_update.default: [
        (FOUR, lambda f, x: f(x, ONES, ONES, ONES.clone(), ONES.clone(), 0.1, 1e-5)),
        (SIX, lambda f, x: f(x, ONES, ONES, ONES.clone(), ONES.clone(), 0.1, 1e-5)),
    ],
    aten.reflection_pad2d_backward.default: [((2, 4, 8, 7), FOUR, lambda f, g, x: f(g, x, [1] * 4))],
    aten.replication_pad2d_backward.default: [((2, 4, 8, 7), FOUR, lambda f, g, x: f(g, x, [1] * 4))],
    aten.reflection_pad3d_backward.default: [((2, 4, 5, 6, 7), FIVE, lambda f, g, x: f(g, x, [1] * 6))],
    aten.replication_pad3d_backward.default: [((2, 4, 5, 6, 7), FIVE, lambda f, g, x: f(g, x, [1] * 6))],
    aten.native_group_norm_backward.default: [
        (FOUR, FOUR, lambda f, g, x: f(g, x, STATISTICS, STATISTICS, ONES, 2, 4, 30, 2, [True] * 3)),
        (FOUR, FOUR, lambda f, g, x: f(g, x, STATISTICS, STATISTICS, None, 2, 4, 30, 2, [True, False, False])),
        (FOUR, FOUR, lambda f, g, x: f(g.half(), x.half(), *HALF, ONES, 2, 4, 30, 2, [True] * 3)),
    ],
    aten.elu_backward.default: [(FOUR, FOUR, lambda f, g, x: f(g, 1.0, 1.0, 1.0, False, x))],
    aten.hardtanh_backward.default: [(FOUR, FOUR, lambda f, g, x: f(g, x, -1.0, 1.0))],
    aten.hardswish_backward.default: [(FOUR, FOUR, lambda f, g, x: f(g, x))],
    aten.hardsigmoid_backward.default: [(FOUR, FOUR, lambda f, g, x: f(g, x))],
    aten.softplus_backward.default: [(FOUR, FOUR, lambda f, g, x: f(g, x, 1.0, 20.0))],
    aten.native_dropout_backward.default: [(FOUR, FOUR, lambda f, g, x: f(g, x > 0.5, 2.0))],
    aten.copysign.Tensor: [
        (FOUR, FOUR, lambda f, x, y: f(x, y)),
        (FOUR, lambda f, x: f(x, torch.tensor(2.0))),
        (FOUR, (4, 1, 1), lambda f, x, y: f(x, y)),
    ],
    aten.div.Tensor_mode: [
        (FOUR, FOUR, lambda f, x, y: f(x, y, rounding_mode="floor")),
        (FOUR, lambda f, x: f(x, torch.tensor(2.0), rounding_mode="trunc")),
    ],
    aten.floor_divide.default: [(FOUR, FOUR, lambda f, x, y: f(x, y)), (FOUR, lambda f, x: f(x, torch.tensor(2.0)))],
    aten.binary_cross_entropy.default: [
        (FOUR, FOUR, lambda f, x, y: f(x / 2, y / 2, None, 0)),
        (FOUR, FOUR, lambda f, x, y: f(x / 2, y / 2)),
    ],
    aten.binary_cross_entropy_backward.default: [
        (FOUR, FOUR, lambda f, g, x: f(g, x / 2, numbers(*FOUR) / 2, None, 0))
    ],
    aten.roll.default: [
        (FOUR, lambda f, x: f(x, [1], [1])),
        (FIVE, lambda f, x: f(x, [1, 2], [0, 3])),
        (SIX, lambda f, x: f(x, [1], [2])),
        (FOUR, lambda f, x: f(x, [3])),
    ],
    aten.rrelu_with_noise_backward.default: [
        (FOUR, FOUR, lambda f, g, x: f(g, x, numbers(*FOUR), 0.1, 0.3, False, False)),
        (FOUR, FOUR, lambda f, g, x: f(g, numbers(*FOUR), x, 0.1, 0.3, True, False)),
        (FOUR, FOUR, lambda f, g, x: f(g, x, numbers(*FOUR), 0.2, 0.2, True, False)),
    ],
}


def results(function, func, tensors):
    """Return the shape, strides and dtype of each result, or the class of the error that a kernel raises."""
    try:
        out = function(func, *tensors)
    except (RuntimeError, ValueError):
        return "refused"
    made = [each for each in tree_leaves(out) if isinstance(each, torch.Tensor)]
    return [(each.shape, each.stride(), each.dtype) for each in made]


@pytest.mark.parametrize("func", CALLS, ids=str)
def test_results_lie_as_those_of_the_cpus_kernel(func):
    """For arguments that are contiguous, channels last, transposed, reversed, strided and expanded, in all pairs."""
    compared = 0
    for *shapes, function in CALLS[func]:
        made = [numbers(*shape) for shape in shapes]
        for ways in itertools.product(WAYS_TO_LIE, repeat=len(shapes)):
            tensors = [
                way(each) if each.dim() > 3 or way is not channels_last else each
                for way, each in zip(ways, made, strict=True)
            ]
            real = results(function, func, tensors)
            if real == "refused":
                continue
            if func is aten.native_channel_shuffle.default and ways[0] not in WAYS_TO_LIE[:2]:
                continue  # PyTorch's fake kernel refuses some of these
            with fake_copies(tensors) as copies:
                assert results(function, func, copies) == real, [each.stride() for each in tensors]
            compared += 1
    assert compared >= 2


def test_every_correction_is_tested():
    """Each operator whose results are laid out anew is called."""
    assert set(CALLS) == {*LAYOUTS, aten.native_group_norm_backward.default}


def swin_like():
    """Windows that are shifted: a roll, and a reshape that copies or does not."""

    class Shifted(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Conv2d(3, 8, 3, padding=1)

        def forward(self, x):
            y = functional.channel_shuffle(self.body(x), 2).roll((1, 2), (2, 3))
            return y.permute(0, 2, 3, 1).reshape(-1, 8)

    return Shifted()


def normalized():
    norm = nn.GroupNorm(2, 8)
    return nn.Sequential(nn.Conv2d(3, 8, 3), norm, nn.Hardswish(), nn.ReflectionPad2d(1), nn.RReLU(), nn.Flatten(2))


@pytest.mark.parametrize("make", [swin_like, normalized])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_count_of_a_network_is_its_run(make, layout):
    """Copies among the bytes, and the peak of memory, in both memory formats."""
    torch.manual_seed(0)
    model, x = make().to(memory_format=layout), torch.randn(2, 3, 8, 8).to(memory_format=layout)
    with OpFlopMode() as m:
        out = model(x)
        out.backward(torch.ones_like(out))
    counted = count(model, x, backward=True)
    assert {(r.op, r.phase): (r.calls, r.cost) for r in counted.rows} == {
        (r.op, r.phase): (r.calls, r.cost) for r in m.profile.rows
    }
    model.zero_grad()
    check_equal(model, [x])


@pytest.mark.parametrize("groups", [1, 2, 3, 6])
def test_shuffled_channels_are_a_copy(groups):
    """Also where one group, or one channel in each, stays in place: three tensors of 768 bytes at the peak."""
    profile = count(lambda x: functional.channel_shuffle(x, groups) + 1, torch.rand(2, 6, 4, 4), memory=True)
    assert profile.memory.peak == 3 * 768
