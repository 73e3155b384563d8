"""Interpolation: against loops over the taps of each point that count themselves and give what torch gives."""

import math
from itertools import product

import oracle
import pytest
import torch
from counted import cost_of
from oracle import Number, by_hand, total
from torch.nn import functional

from opflops import Cost
from opflops.formulas.sizes import newer
from opflops.pricing.registry import registry

aten = torch.ops.aten


def number(*shape):
    return torch.randn(shape, dtype=torch.float64)


def priced(overload, *args):
    """Return what a call costs without bytes, and its result."""
    cost, out = oracle.priced(overload, *args)
    return Cost(cost.macs, cost.ops, cost.transcendentals), out


def triangle(x):
    return max(1 - abs(x), 0)


def cubic(x, a):
    x = abs(x)
    if x < 1:
        return ((a + 2) * x - (a + 3)) * x * x + 1
    return (((x - 5) * x + 8) * x - 4) * a if x < 2 else 0


def lines_of(size, results, reach, kernel):
    """List index and weight of each tap along an axis; taps beyond the edge repeat the last element."""
    found = []
    for index in range(results):
        position = (index + 0.5) * size / results - 0.5
        if reach == 1:
            position = max(position, 0)
        first = math.floor(position) - reach + 1
        found.append([(min(max(tap, 0), size - 1), kernel(tap - position)) for tap in range(first, first + 2 * reach)])
    return found


def antialias_lines(size, results, reach, kernel):
    """List index and weight of each tap that a filter, widened as the image shrinks, reaches inside the image."""
    scale = size / results
    wide = max(scale, 1)
    found = []
    for index in range(results):
        center = (index + 0.5) * scale
        taps = [tap for tap in range(size) if abs(tap + 0.5 - center) < reach * wide]
        weights = [kernel((tap + 0.5 - center) / wide) for tap in taps]
        found.append([(tap, weight / sum(weights)) for tap, weight in zip(taps, weights, strict=True)])
    return found


def interpolate(values, taps):
    """Sum over the taps of the first axis of what the other axes interpolate to."""
    if not taps:
        return values
    return total([interpolate(values[index], taps[1:]) * weight for index, weight in taps[0]])


def spread(gradient, taps, image):
    """Multiply by the weights of each axis in turn, and add to the tap."""
    for index, weight in taps[0]:
        if len(taps) == 1:
            image[index] = image[index] + gradient * weight
        else:
            spread(gradient * weight, taps[1:], image[index])


def zeros(shape, counts):
    return [zeros(shape[1:], counts) for _ in range(shape[0])] if shape else Number(0.0, counts)


def cubic_filter(a):
    return lambda x: cubic(x, a)


# Forward, backward, sizes of the image and of the result, and the taps along an axis.
RESIZED = [
    (aten.upsample_linear1d, aten.upsample_linear1d_backward, (4,), (7,), lines_of, 1, triangle),
    (aten.upsample_bilinear2d, aten.upsample_bilinear2d_backward, (3, 4), (5, 6), lines_of, 1, triangle),
    (aten.upsample_bilinear2d, aten.upsample_bilinear2d_backward, (6, 5), (3, 2), lines_of, 1, triangle),
    (aten.upsample_trilinear3d, aten.upsample_trilinear3d_backward, (2, 3, 2), (3, 2, 4), lines_of, 1, triangle),
    (aten.upsample_bicubic2d, aten.upsample_bicubic2d_backward, (4, 5), (3, 7), lines_of, 2, cubic_filter(-0.75)),
    (
        aten._upsample_bilinear2d_aa,
        aten._upsample_bilinear2d_aa_backward,
        (9, 7),
        (4, 3),
        antialias_lines,
        1,
        triangle,
    ),
    (
        aten._upsample_bicubic2d_aa,
        aten._upsample_bicubic2d_aa_backward,
        (9, 4),
        (4, 7),
        antialias_lines,
        2,
        cubic_filter(-0.5),
    ),
]


@pytest.mark.parametrize(("forward", "backward", "sizes", "results", "lines", "reach", "kernel"), RESIZED)
def test_resizing_costs_its_taps_axis_by_axis(forward, backward, sizes, results, lines, reach, kernel):
    """A point is a weighted sum along each axis in turn; backward a gradient goes to the taps by the same weights."""
    taps = [lines(size, result, reach, kernel) for size, result in zip(sizes, results, strict=True)]
    image = number(*sizes)
    work, expected = by_hand(lambda values: [interpolate(values, point) for point in product(*taps)], image)
    cost, out = priced(forward.default, image[None, None], results, False)
    torch.testing.assert_close(out.flatten(), expected)
    assert cost == Cost(ops=work.ops)

    # A sum enters the counts of its left side, which is the image's.
    gradient = number(*results)
    counts = [0, 0]

    def turned_round(gradients):
        found = zeros(sizes, counts)
        for each, point in zip(gradients, product(*taps), strict=True):
            spread(each, point, found)
        return found

    products, expected = by_hand(turned_round, gradient.flatten())
    cost, out = priced(backward.default, gradient[None, None], results, (1, 1, *sizes), False)
    torch.testing.assert_close(out[0, 0], expected)
    assert cost == Cost(ops=products.ops + counts[0])


def operation(number, value):
    """Count one operation on a number that has no sign in Python, such as rounding down."""
    return number._operation(value)


def edges(size, align_corners):
    return (0.0, size - 1.0) if align_corners else (-0.5, size - 0.5)


def folded(distance, low, high):
    """Reflect a distance from the low edge between the two; returns the position, and whether it is turned round."""
    span = high - low
    turns = distance / span
    rest = distance - operation(turns, math.trunc(turns.value)) * span
    flips = distance / span
    flips = operation(flips, math.floor(flips.value))
    there, back = rest + low, (span + low) - rest
    odd = flips.value % 2 == 1
    return (back if odd else there), odd


def brought_inside(position, size, padding_mode, align_corners):
    if padding_mode == 2:
        low, high = edges(size, align_corners)
        position, _ = folded(abs(position - low), low, high)
    if padding_mode:
        position = position.larger(0.0).smaller(size - 1.0)
    return position


def cubic_weights(t, a=-0.75):
    def near(x):
        return (x * (a + 2) - (a + 3)) * x * x + 1

    def far(x):
        return ((x * a - 5 * a) * x + 8 * a) * x - 4 * a

    rest = 1 - t
    return [far(t + 1), near(t), near(rest), far(rest + 1)]


def taps_at(coordinate, size, mode, padding_mode, align_corners):
    """List position and weight of the taps along one axis."""
    half = (size - 1) / 2 if align_corners else size / 2
    position = coordinate * half + (size - 1) / 2
    if mode != 2:
        position = brought_inside(position, size, padding_mode, align_corners)
    if mode == 1:
        return [(operation(position, round(position.value)).value, None)]
    floor = operation(position, math.floor(position.value))
    t = position - floor
    if mode == 0:
        return [(floor.value, 1 - t), (floor.value + 1, t)]
    # The neighbours of a tap are index arithmetic; the steps that bring each inside are not.
    at = [Number(floor.value + offset, t.counts) for offset in (-1, 0, 1, 2)]
    inside = [brought_inside(tap, size, padding_mode, align_corners).value for tap in at]
    return list(zip(inside, cubic_weights(t), strict=True))


def pixel(image, index, counts):
    for each in index:
        if not 0 <= each < len(image):
            return Number(0.0, counts)
        image = image[int(each)]
    return image


def tensor_product(lines):
    """Multiply the weights over the axes, one axis after the other."""
    found = [((position,), weight) for position, weight in lines[0]]
    for line in lines[1:]:
        found = [((*positions, position), left * right) for positions, left in found for position, right in line]
    return found


def sampled(channels, grid, sizes, mode, padding_mode, align_corners):
    results = []
    for point in grid:
        coordinates = list(reversed(point))
        counts = point[0].counts
        lines = [
            taps_at(each, size, mode, padding_mode, align_corners)
            for each, size in zip(coordinates, sizes, strict=True)
        ]
        if mode == 1:
            position = [line[0][0] for line in lines]
            results.append([pixel(image, position, counts) for image in channels])
        elif mode == 0:
            weights = tensor_product(lines)
            results.append([total([pixel(image, at, counts) * w for at, w in weights]) for image in channels])
        else:
            results.append(
                [
                    total([total([pixel(image, (y, x), counts) * v for x, v in lines[1]]) * w for y, w in lines[0]])
                    for image in channels
                ]
            )
    return results


GRIDS = [
    (sizes, mode, padding_mode, align_corners)
    for sizes in ((4, 5), (3, 4, 2))
    for mode in (0, 1, 2)
    for padding_mode in (0, 1, 2)
    for align_corners in (True, False)
    if len(sizes) == 2 or mode != 2
]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("sizes", "mode", "padding_mode", "align_corners"), GRIDS)
def test_grid_sampling_finds_places_once_and_sums_taps_for_each_channel(
    sizes, mode, padding_mode, align_corners, channels
):
    """Coordinates and weights are worked out once for a point, and each channel takes a weighted sum over its taps."""
    rank = len(sizes)
    image, grid = number(channels, *sizes), number(7, rank)
    options = {"sizes": sizes, "mode": mode, "padding_mode": padding_mode, "align_corners": align_corners}
    work, expected = by_hand(sampled, image, grid, **options)
    op = aten.grid_sampler_2d if rank == 2 else aten.grid_sampler_3d
    points = grid.reshape(1, *[1] * (rank - 1), 7, rank)
    cost, out = priced(op.default, image[None], points, mode, padding_mode, align_corners)
    torch.testing.assert_close(out.reshape(channels, 7).T, expected)
    assert cost == Cost(ops=work.ops)


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_nearest_copies_and_adds_gradients(mode, rank):
    """The nearest position is copied for nothing; backward each gradient is one addition."""
    image = number(2, 3, *[2] * rank).requires_grad_()

    def resize():
        return functional.interpolate(image, scale_factor=3, mode=mode)

    assert cost_of(resize) == Cost()
    out = resize()
    assert cost_of(lambda: out.backward(torch.ones_like(out))) == Cost(ops=6 * 6**rank)


@pytest.mark.parametrize(
    ("mode", "shape", "antialias"),
    [("linear", (2, 3, 4), False), ("bilinear", (2, 3, 4, 5), False), ("bilinear", (2, 3, 9, 7), True),
     ("bicubic", (2, 3, 9, 7), True), ("trilinear", (2, 3, 2, 3, 4), False)],
)  # fmt: skip
def test_resizing_a_batch_costs_as_much_as_its_images(mode, shape, antialias):
    """Weights are found once for a size, so twelve planes cost twice as much as six."""
    half = [size // 2 for size in shape[2:]]

    def resize(image):
        return functional.interpolate(image, half, mode=mode, antialias=antialias)

    single, double = number(*shape), number(4, *shape[1:])
    assert cost_of(resize, double) == 2 * cost_of(resize, single) != Cost()
    assert cost_of(resize, double.to("meta")) == cost_of(resize, double)


def test_antialias_follows_scale_factors_and_corners():
    """The taps of eight columns shrunk to four: by hand, with the scale of the sizes, one that is given, or corners."""
    row = number(1, 1, 1, 8)
    op = aten._upsample_bilinear2d_aa.default
    # Scale 2: columns of 3, 4, 4, 3 taps; a single row is one tap. Each of t taps is t products and t - 1 additions,
    # and one product down.
    assert priced(op, row, (1, 4), False)[0] == Cost(ops=5 + 7 + 7 + 5 + 4)
    # Scale 1/0.4 = 2.5, reach 2.5, centres 1.25, 3.75, 6.25, 8.75: taps [0, 4), [1, 6), [4, 8), [6, 8).
    assert priced(op, row, (1, 4), False, None, 0.4)[0] == Cost(ops=7 + 9 + 7 + 3 + 4)
    # Corners: scale 7/3, centres 7/6, 7/2, 35/6, 49/6: taps [0, 4), [1, 6), [4, 8), [6, 8).
    assert priced(op, row, (1, 4), True)[0] == Cost(ops=7 + 9 + 7 + 3 + 4)


@pytest.mark.parametrize(
    ("forward", "sizes", "results"),
    [
        (aten.upsample_linear1d, (4,), (7,)),
        (aten.upsample_bilinear2d, (3, 4), (5, 6)),
        (aten.upsample_trilinear3d, (2, 3, 2), (3, 2, 4)),
        (aten.upsample_bicubic2d, (4, 5), (3, 7)),
        *[
            (found, (9, 7), (4, 3))
            for found in newer(*[f"_upsample_{kind}2d_aa" for kind in ("bilinear", "bicubic", "lanczos")])
        ],
    ],
)
def test_factors_in_one_list_cost_what_a_size_does(forward, sizes, results):
    """The overload that inference mode sends takes optional sizes or factors for all axes at once."""
    image = number(2, 3, *sizes)
    cost, out = priced(forward.vec, image, results, False, None)
    expected, same = priced(forward.default, image, results, False)
    torch.testing.assert_close(out, same)
    assert cost == expected != Cost()


def test_the_fallback_for_large_images_samples_alike():
    """A point and a channel: 14 to find the position, 4 products and 3 additions."""
    image, grid = torch.rand(1, 1, 4, 4), torch.rand(1, 1, 1, 2)
    assert priced(aten._grid_sampler_2d_cpu_fallback.default, image, grid, 0, 0, True)[0] == Cost(ops=14 + 7)


def test_affine_grid_is_a_product_of_matrices():
    """A grid of 4 by 5 points, two images: each of 2 coordinates is 3 multiply-adds; in space 3 coordinates are 4."""
    assert priced(aten.affine_grid_generator.default, number(2, 2, 3), (2, 1, 4, 5), False)[0] == Cost(macs=240)
    assert priced(aten.affine_grid_generator.default, number(1, 3, 4), (1, 1, 2, 3, 4), False)[0] == Cost(macs=288)


def test_lanczos_reaches_three_places_to_each_side():
    """Eight columns shrunk to four: 7, 8, 8, 7 taps; backward a product down, and a product and an addition a tap."""
    for forward in newer("_upsample_lanczos2d_aa"):
        assert priced(forward.default, number(1, 1, 1, 8), (1, 4), False)[0] == Cost(ops=13 + 15 + 15 + 13 + 4)
    for backward in newer("_upsample_lanczos2d_aa_backward"):
        gradient = number(1, 1, 1, 4)
        assert priced(backward.default, gradient, (1, 4), (1, 1, 1, 8), False)[0] == Cost(ops=4 + 2 * 30)


def test_the_affine_grid_of_cudnn_is_the_same_product():
    """A grid of 4 by 5 points, two images: each of 2 coordinates is 3 multiply-adds."""
    price = registry.resolve(aten.cudnn_affine_grid_generator.default, {"causal": "dense"})
    cost = price.charge(number(2, 4, 5, 2), (number(2, 2, 3), 2, 1, 4, 5), {})[0]
    assert (cost.macs, cost.ops, cost.transcendentals) == (240, 0, 0)


def test_the_gradient_of_an_affine_grid_is_the_product_turned_round():
    """A grid of 4 by 5 points, two images: each of 2 coordinates meets 3 columns of the matrix."""
    price = registry.resolve(aten.cudnn_affine_grid_generator_backward.default, {"causal": "dense"})
    cost = price.charge(number(2, 2, 3), (number(2, 4, 5, 2), 2, 1, 4, 5), {})[0]
    assert (cost.macs, cost.ops, cost.transcendentals) == (240, 0, 0)
