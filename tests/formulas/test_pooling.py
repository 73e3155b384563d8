"""Pooling: against loops over the numbers of each window, and the laws that join one pooling to another."""

import math
from itertools import product

import pytest
import torch
from counted import cost_of
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext
from torch.nn import functional

from opflops import Cost
from opflops.pricing.registry import registry

aten = torch.ops.aten

MAXIMUM = [functional.max_pool1d, functional.max_pool2d, functional.max_pool3d]
AVERAGE = [functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d]
ADAPTIVE_MAXIMUM = [functional.adaptive_max_pool1d, functional.adaptive_max_pool2d, functional.adaptive_max_pool3d]
ADAPTIVE_AVERAGE = [functional.adaptive_avg_pool1d, functional.adaptive_avg_pool2d, functional.adaptive_avg_pool3d]

# Rank, input and options. Windows lie close together, overlap, leave gaps, reach into the padding or over the edge.
WINDOWS = [
    (1, (2, 3, 9), {"kernel_size": 3}),
    (1, (2, 3, 9), {"kernel_size": 3, "stride": 2, "padding": 1}),
    (2, (2, 3, 5, 6), {"kernel_size": 2}),
    (2, (1, 2, 7, 6), {"kernel_size": (3, 2), "stride": (2, 1)}),
    (2, (1, 2, 7, 6), {"kernel_size": 2, "stride": 3}),
    (2, (1, 2, 4, 5), {"kernel_size": 3, "stride": 1, "padding": 1}),
    (2, (3, 4, 5), {"kernel_size": 2}),
    (2, (1, 2, 4, 4), {"kernel_size": 1}),
    (3, (1, 2, 4, 5, 3), {"kernel_size": 2}),
    (3, (1, 2, 4, 5, 3), {"kernel_size": (1, 3, 2), "stride": (2, 1, 1), "padding": (0, 1, 1)}),
]
MAXIMUM_WINDOWS = [
    *WINDOWS,
    (2, (1, 2, 7, 8), {"kernel_size": 2, "dilation": 3, "stride": 1}),
    (2, (1, 2, 5, 6), {"kernel_size": (2, 3), "stride": 2, "ceil_mode": True}),
]
# Rank, input and size of the result, which divides the input, does not, or exceeds it.
ADAPTIVE = [
    (1, (2, 3, 7), 3),
    (1, (2, 3, 8), 4),
    (2, (1, 2, 7, 5), (3, 2)),
    (2, (2, 3, 6, 6), (4, 6)),
    (2, (1, 2, 3, 4), (5, 7)),
    (2, (2, 7, 5), 3),
    (3, (1, 2, 5, 4, 3), (2, 3, 2)),
    (3, (2, 1, 4, 4, 4), 2),
]


def number(*shape, device="cpu"):
    return torch.randn(shape, dtype=torch.float64, device=device)


def per_axis(value, rank):
    return (value,) * rank if isinstance(value, int) else value


def windows(rank, results, kernel_size, stride=None, padding=0, dilation=1, *, ceil_mode=False):
    """List the positions in the window of each result; positions outside the input belong to it too."""
    del ceil_mode  # it is seen in how many results there are
    stride = kernel_size if stride is None else stride
    kernel, stride, padding, dilation = (per_axis(each, rank) for each in (kernel_size, stride, padding, dilation))
    along = [
        [[index * s - p + tap * d for tap in range(k)] for index in range(size)]
        for size, k, s, p, d in zip(results, kernel, stride, padding, dilation, strict=True)
    ]
    return [list(product(*ranges)) for ranges in product(*along)]


def adaptive_windows(sizes, results):
    """List the positions in the window of each result; each axis is cut at fractions, rounded outwards."""
    along = [
        [range(math.floor(index * size / count), math.ceil((index + 1) * size / count)) for index in range(count)]
        for size, count in zip(sizes, results, strict=True)
    ]
    return [list(product(*ranges)) for ranges in product(*along)]


def planes(tensor, rank):
    """Split a tensor into the planes that are pooled, as dictionaries from position to number."""
    return [
        {position: plane[position].item() for position in product(*map(range, plane.shape))}
        for plane in tensor.reshape(-1, *tensor.shape[-rank:])
    ]


def pooled(x, rank, positions, kind):
    """Pool one number at a time; returns the results and how many comparisons, additions and divisions it took."""
    results, steps = [], 0
    for plane in planes(x, rank):
        for window in positions:
            numbers = [plane.get(position, 0.0 if kind == "average" else -math.inf) for position in window]
            result = numbers[0]
            for each in numbers[1:]:
                result = result + each if kind == "average" else max(result, each)
                steps += 1
            if kind == "average":
                result /= len(numbers)
                steps += 1
            results.append(result)
    return torch.tensor(results, dtype=torch.float64), steps


def gradient_of(x, rank, positions, kind, gradient):
    """Give each gradient back to its window, one number at a time; returns the sums and the steps it took."""
    given = iter(gradient.flatten().tolist())
    sums, steps = [], 0
    for plane in planes(x, rank):
        sum_at = dict.fromkeys(plane, 0.0)
        for window in positions:
            share = next(given)
            if kind == "average":
                share /= len(window)
                steps += 1
            largest = max((position for position in window if position in plane), key=plane.get)
            for position in window if kind == "average" else [largest]:
                sum_at[position] = sum_at.get(position, 0.0) + share
                steps += 1
        sums += [sum_at[position] for position in plane]
    return torch.tensor(sums, dtype=torch.float64), steps


def assert_costs_what_a_loop_does(function, x, rank, positions, kind):
    """Compare a pooling and its gradient with the loops: results and counts."""
    expected, steps = pooled(x, rank, positions, kind)
    out = function(x.requires_grad_())
    torch.testing.assert_close(out.flatten(), expected)
    assert cost_of(function, x) == Cost(ops=steps)
    gradient = torch.randn_like(out)
    expected, steps = gradient_of(x.detach(), rank, positions, kind, gradient)
    (found,) = torch.autograd.grad(out, x, gradient, retain_graph=True)
    torch.testing.assert_close(found.flatten(), expected)
    assert cost_of(torch.autograd.grad, out, x, gradient) == Cost(ops=steps)


@pytest.mark.parametrize(("rank", "shape", "options"), MAXIMUM_WINDOWS)
def test_maxima_cost_what_a_loop_does(rank, shape, options):
    """A window of k numbers takes k - 1 comparisons, padding included, and its gradient one addition."""
    x = number(*shape)
    results = MAXIMUM[rank - 1](x, **options).shape[-rank:]
    positions = windows(rank, results, **options)
    assert_costs_what_a_loop_does(lambda x: MAXIMUM[rank - 1](x, **options), x, rank, positions, "maximum")


@pytest.mark.parametrize(("rank", "shape", "options"), WINDOWS)
def test_averages_cost_what_a_loop_does(rank, shape, options):
    """A window of k numbers takes k - 1 additions and a division, its gradient a division and k additions."""
    x = number(*shape)
    results = AVERAGE[rank - 1](x, **options).shape[-rank:]
    positions = windows(rank, results, **options)
    assert_costs_what_a_loop_does(lambda x: AVERAGE[rank - 1](x, **options), x, rank, positions, "average")


@pytest.mark.parametrize(("rank", "shape", "results"), ADAPTIVE)
@pytest.mark.parametrize(("functions", "kind"), [(ADAPTIVE_MAXIMUM, "maximum"), (ADAPTIVE_AVERAGE, "average")])
def test_adaptive_pooling_costs_what_a_loop_does(functions, kind, rank, shape, results):
    """Windows of different sizes count each as many numbers as it has, forward and backward."""
    positions = adaptive_windows(shape[-rank:], per_axis(results, rank))
    assert_costs_what_a_loop_does(lambda x: functions[rank - 1](x, results), number(*shape), rank, positions, kind)


sizes = st.integers(1, 300)


@settings(deadline=None)
@given(n=sizes, o=st.integers(2, 300), m=sizes, p=sizes)
def test_adaptive_windows_add_up(n, o, m, p):
    """Along an axis all windows together hold n + o - gcd(n, o) numbers: neighbours share one unless a cut is whole."""
    total = (n + o - math.gcd(n, o)) * (m + p - math.gcd(m, p))
    x = torch.empty(3, n, m, device="meta")
    assert cost_of(functional.adaptive_avg_pool2d, x, (o, p)) == Cost(ops=3 * total)
    assert cost_of(functional.adaptive_max_pool2d, x, (o, p)) == Cost(ops=3 * (total - o * p))


def adaptive_gradient(x, results):
    backward = aten._adaptive_avg_pool2d_backward if len(results) == 2 else aten._adaptive_avg_pool3d_backward
    return backward(x.new_empty(*x.shape[:2], *results), x)


@pytest.mark.parametrize(
    ("function", "plane", "results", "each"),
    [
        (functional.adaptive_avg_pool2d, (7, 5), (3, 2), 54),  # 9 x 6 numbers in 6 windows
        (functional.adaptive_max_pool2d, (7, 5), (3, 2), 48),
        (functional.adaptive_avg_pool3d, (7, 5, 4), (3, 2, 2), 216),  # 9 x 6 x 4 numbers in 12 windows
        (functional.adaptive_max_pool3d, (7, 5, 4), (3, 2, 2), 204),
        (adaptive_gradient, (7, 5), (3, 2), 60),
        (adaptive_gradient, (7, 5, 4), (3, 2, 2), 228),
    ],
)
def test_symbolic_batches_stay_symbolic(function, plane, results, each):
    """Counting the windows of a plane asks nothing of the number of planes."""
    shapes = ShapeEnv()
    sizes = StatelessSymbolicContext([DimDynamic.DYNAMIC] * 2 + [DimDynamic.STATIC] * len(plane))
    mode = FakeTensorMode(shape_env=shapes)
    x = mode.from_tensor(torch.empty(4, 6, *plane), symbolic_context=sizes)
    with mode:
        ops = cost_of(function, x, results).ops
    batch, channels = (size.node.expr for size in x.shape[:2])
    assert ops.node.expr == each * batch * channels
    assert not shapes.guards


@pytest.mark.parametrize(
    "options", [{"count_include_pad": False}, {"divisor_override": 7}, {"ceil_mode": True}, {"stride": 1}]
)
def test_average_divides_once_by_whatever_number(options):
    """Each window of 2 x 3 takes 5 additions and a division, whatever the divisor is and whichever edge it is at."""
    options = {"kernel_size": (2, 3), "stride": (2, 2), "padding": 1} | options
    x = number(2, 3, 5, 6)
    results = functional.avg_pool2d(x, **options).numel()
    assert cost_of(lambda: functional.avg_pool2d(x, **options)) == Cost(ops=6 * results)


def test_one_size_stands_for_all_axes():
    """A kernel given as one number to the operator itself is a square, or a cube."""
    plane, volume = number(1, 4, 4), number(1, 4, 4, 4)
    assert cost_of(aten.max_pool2d_with_indices, plane, [2]) == Cost(ops=4 * 3)
    assert cost_of(aten.avg_pool2d, plane, [2]) == Cost(ops=4 * 4)
    assert cost_of(aten.max_pool3d_with_indices, volume, [2]) == Cost(ops=8 * 7)
    assert cost_of(aten.avg_pool3d, volume, [2]) == Cost(ops=8 * 8)
    options = ([2], [], [0], False, True, None)
    assert cost_of(aten.avg_pool2d_backward, number(1, 2, 2), plane, *options) == Cost(ops=4 * 5)
    assert cost_of(aten.avg_pool3d_backward, number(1, 2, 2, 2), volume, *options) == Cost(ops=8 * 9)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_pooling_to_one_is_a_reduction(rank):
    """One window over everything costs what the mean or the maximum of everything does."""
    x = number(2, 3, *(4, 5, 6)[:rank])
    axes = list(range(2, 2 + rank))
    mean = cost_of(torch.mean, x, axes)
    assert mean == Cost(ops=6 * (4, 20, 120)[rank - 1])
    assert cost_of(ADAPTIVE_AVERAGE[rank - 1], x, 1) == mean
    assert cost_of(AVERAGE[rank - 1], x, x.shape[2:]) == mean
    largest = cost_of(torch.amax, x, axes)
    assert cost_of(ADAPTIVE_MAXIMUM[rank - 1], x, 1) == largest
    assert cost_of(MAXIMUM[rank - 1], x, x.shape[2:]) == largest


@pytest.mark.parametrize("functions", [MAXIMUM, AVERAGE])
def test_an_axis_of_one_adds_nothing(functions):
    """A row pooled as a plane or as a volume costs what it costs as a row."""
    x = number(2, 3, 9)
    row = cost_of(functions[0], x, 3, 2)
    assert row.ops > 0
    assert cost_of(functions[1], x[:, :, None], (1, 3), (1, 2)) == row
    assert cost_of(functions[2], x[:, :, None, None], (1, 1, 3), (1, 1, 2)) == row


CALLS = [
    *((functions[rank - 1], shape, options) for functions in (MAXIMUM, AVERAGE) for rank, shape, options in WINDOWS),
    *(
        (functions[rank - 1], shape, {"output_size": results})
        for functions in (ADAPTIVE_MAXIMUM, ADAPTIVE_AVERAGE)
        for rank, shape, results in ADAPTIVE
    ),
]


@pytest.mark.parametrize(("function", "shape", "options"), CALLS)
def test_devices_gradient_modes_and_batches_agree(function, shape, options):
    """A pooling costs the same on meta tensors and in inference mode, and twice as much for twice the batch."""

    def costs(x):
        forward = cost_of(lambda: function(x, **options))
        with torch.inference_mode():
            assert cost_of(lambda: function(x, **options)) == forward
        out = function(x.requires_grad_(), **options)
        assert cost_of(lambda: function(x, **options)) == forward
        return forward, cost_of(torch.autograd.grad, out, x, torch.ones_like(out))

    forward, backward = costs(number(*shape))
    assert costs(number(*shape, device="meta")) == (forward, backward)
    assert costs(number(2 * shape[0], *shape[1:])) == (2 * forward, 2 * backward)


@pytest.mark.parametrize(
    ("operator", "shape", "arguments", "results"),
    [
        (aten.max_pool2d_with_indices, (2, 4, 6), ([2, 3],), 2),
        (aten.max_pool3d_with_indices, (2, 4, 4, 6), ([2, 2, 3],), 2),
        (aten.avg_pool2d, (2, 4, 6), ([2, 3],), 1),
        (aten.avg_pool3d, (2, 4, 4, 6), ([2, 2, 3],), 1),
        (aten.adaptive_max_pool2d, (2, 5, 6), ([2, 3],), 2),
        (aten.adaptive_max_pool3d, (2, 5, 4, 6), ([2, 2, 3],), 2),
        (aten.adaptive_avg_pool2d, (2, 5, 6), ([2, 3],), 1),
        (aten.adaptive_avg_pool3d, (2, 5, 4, 6), ([2, 2, 3],), 1),
    ],
)
def test_out_costs_what_the_functional_form_does(operator, shape, arguments, results):
    """Writing into given tensors changes nothing in the count."""
    x = number(*shape)
    made = operator(x, *arguments)
    names = ("out",) if results == 1 else ("out", "indices")
    given = dict(zip(names, (made,) if results == 1 else made, strict=True))
    cost = cost_of(operator, x, *arguments)
    assert cost.ops > 0
    assert cost_of(lambda: operator(x, *arguments, **given)) == cost


def charged(overload, out, *arguments):
    """Price a call of an operator that has no kernel here."""
    cost = registry.resolve(overload, {}).charge(out, arguments, {})[0]
    return Cost(cost.macs, cost.ops, cost.transcendentals)


@pytest.mark.parametrize(("rank", "operator"), [(2, aten.fractional_max_pool2d), (3, aten.fractional_max_pool3d)])
def test_windows_at_random_places_cost_what_others_do(rank, operator):
    """Twice 3 results along each axis; k - 1 comparisons a window, and an addition each in the gradient."""
    x, samples = number(1, 2, *[6] * rank), torch.rand(1, 2, rank, dtype=torch.float64)
    call = ([2] * rank, [3] * rank)
    out, positions = operator(x, *call, samples)
    results, comparisons = (18, 3) if rank == 2 else (54, 7)
    assert cost_of(operator, x, *call, samples) == Cost(ops=results * comparisons)
    backward = aten.fractional_max_pool2d_backward if rank == 2 else aten.fractional_max_pool3d_backward
    assert cost_of(backward, out, x, *call, positions) == Cost(ops=results)


@pytest.mark.filterwarnings("ignore:.*quantized tensor creation functions")
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_maxima_of_quantized_numbers_cost_what_others_do(rank):
    """Comparisons of integers, filed under their dtype."""
    x = torch.quantize_per_tensor(torch.rand(1, 2, *[6] * rank), 0.1, 3, torch.quint8)
    operator = (aten.quantized_max_pool1d, aten.quantized_max_pool2d, aten.quantized_max_pool3d)[rank - 1]
    call = (x, [2] * rank, [2] * rank)
    out = operator(*call) if rank < 3 else torch.empty_quantized([1, 2, 3, 3, 3], x)  # which CPU lacks
    cost, dtype, _ = registry.resolve(operator.default, {}).charge(out, call, {})
    results, comparisons = ((6, 1), (18, 3), (54, 7))[rank - 1]
    assert (cost.macs, cost.ops, cost.transcendentals, dtype) == (0, results * comparisons, 0, torch.quint8)


@pytest.mark.parametrize(("rank", "comparisons"), [(2, 18 * 3), (3, 54 * 7)])
def test_maxima_in_onednn_layout_cost_what_others_do(rank, comparisons):
    """A window of 2 in each axis, 18 or 54 of them; the gradient adds to the positions that the forward found."""
    x = torch.rand(1, 2, *[6] * rank)
    operator = aten.mkldnn_max_pool2d if rank == 2 else aten.mkldnn_max_pool3d
    backward = aten.mkldnn_max_pool2d_backward if rank == 2 else aten.mkldnn_max_pool3d_backward
    call = ([2] * rank, [2] * rank)
    dense = MAXIMUM[rank - 1](x, 2)
    assert cost_of(operator, x.to_mkldnn(), *call) == Cost(ops=comparisons)
    assert charged(operator.default, dense, x, *call) == cost_of(MAXIMUM[rank - 1], x, 2)
    assert charged(backward.default, x, dense, dense, x, *call) == Cost(ops=dense.numel())


def test_averages_in_onednn_layout_cost_what_others_do():
    """9 x 6 numbers of 7 x 5 in 3 x 2 windows, and one division more for each gradient."""
    x, gradient = torch.rand(1, 2, 7, 5), torch.rand(1, 2, 3, 2)
    operator, backward = aten.mkldnn_adaptive_avg_pool2d.default, aten.mkldnn_adaptive_avg_pool2d_backward.default
    assert charged(operator, gradient, x, [3, 2]) == Cost(ops=2 * 54)
    assert charged(backward, x, gradient, x) == Cost(ops=2 * 60)
    image, small = torch.rand(1, 2, 6, 6).to_mkldnn(), torch.rand(1, 2, 3, 3).to_mkldnn()
    assert cost_of(operator, image, [3, 3]) == Cost(ops=72)
    assert cost_of(backward, small, image) == Cost(ops=90)


def test_a_gradient_without_places_looks_for_them():
    """18 windows of 4: three comparisons and one addition each."""
    x, gradient = torch.rand(1, 2, 6, 6), torch.rand(1, 2, 3, 3)
    assert charged(aten.max_pool2d_backward.default, x, gradient, x, [2, 2], [2, 2]) == Cost(ops=18 * 4)


def test_rows_pooled_into_given_tensors_cost_what_they_do_elsewhere():
    """Without ``out=`` these decompose."""
    x = number(2, 3, 9)
    for operator, size, results in [(aten.avg_pool1d, [3], 3), (aten.adaptive_avg_pool1d, [4], 4)]:
        out = number(2, 3, results)
        cost = cost_of(lambda operator=operator, size=size, out=out: operator.out(x, size, out=out))
        assert cost == cost_of(operator, x, size)
    # Three windows of 3; and 9 + 4 - 1 numbers in four windows.
    assert cost_of(lambda: aten.avg_pool1d.out(x, [3], out=number(2, 3, 3))) == Cost(ops=6 * 9)
    assert cost_of(lambda: aten.adaptive_avg_pool1d.out(x, [4], out=number(2, 3, 4))) == Cost(ops=6 * 12)


def test_a_gradient_into_a_given_tensor_costs_what_it_does_elsewhere():
    """The operator with an underscore, and the one that writes to ``grad_input``."""
    x, gradient = number(1, 2, 4, 4, 4), number(1, 2, 2, 2, 2)
    cost = cost_of(lambda: aten.adaptive_avg_pool3d_backward.grad_input(gradient, x, grad_input=torch.empty_like(x)))
    assert cost == cost_of(aten._adaptive_avg_pool3d_backward, gradient, x) == Cost(ops=16 + 16 * 8)
