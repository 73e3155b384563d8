"""The gradients of grid sampling: against the scalar loops of aten's kernels, which count themselves."""

import math
from itertools import product

import pytest
import torch
from oracle import Number, by_hand, total
from test_resampling import GRIDS, edges, folded, number, operation, pixel, priced, taps_at, tensor_product, zeros

from opflops import Cost

aten = torch.ops.aten


def sloping(coordinate, size, padding_mode, align_corners):
    """Find the taps and their weights along an axis, and the slope of the position that they are found from."""
    half = (size - 1) / 2 if align_corners else size / 2
    position = coordinate * half + (size - 1) / 2
    slope = Number(half, position.counts)
    if padding_mode == 2:
        low, high = edges(size, align_corners)
        distance = position - low
        below, mirrored = distance.is_below(0.0), -distance
        sign = Number(-1.0 if below else 1.0, position.counts)
        turned = -sign
        position, odd = folded(mirrored if below else distance, low, high)
        slope = slope * (turned if odd else sign)
    if padding_mode:
        # The comparisons that bring a position inside tell as well whether it was there.
        slope = slope * float(0 < position.value < size - 1)
        position = position.larger(0.0).smaller(size - 1.0)
    floor = operation(position, math.floor(position.value))
    t = position - floor
    return [(floor.value, 1 - t), (floor.value + 1, t)], slope


def cubic_sloping(coordinate, size, padding_mode, align_corners, a=-0.75):
    """Do the same for cubic weights; returns taps, the slopes of the weights, and that of the position.

    The slopes of the weights have the kernel's sign, which is that of the position less what it is found from.
    """
    taps = taps_at(coordinate, size, 2, padding_mode, align_corners)
    half = (size - 1) / 2 if align_corners else size / 2
    position = coordinate.value * half + (size - 1) / 2
    t = Number(position - math.floor(position), coordinate.counts)  # counted where the weights were found
    before, here, after, beyond = -1 - t, 0 - t, 1 - t, 2 - t
    slopes = [
        (before * (-3 * a) - 10 * a) * before - 8 * a,
        (here * (-3 * (a + 2)) - 2 * (a + 3)) * here,
        (after * (3 * (a + 2)) - 2 * (a + 3)) * after,
        (beyond * (3 * a) - 10 * a) * beyond + 8 * a,
    ]
    return taps, slopes, Number(-half, coordinate.counts)


def add_to(image, index, term):
    """Add to an element of an image; what lies outside is added to nothing, as every tap is counted."""
    position = [int(each) for each in index]
    for each in position[:-1]:
        image = image[each] if 0 <= each < len(image) else []
    if 0 <= position[-1] < len(image):
        image[position[-1]] = image[position[-1]] + term
    else:
        term + 0.0


def signed_total(terms):
    """Add numbers up by their signs, a positive one first."""
    (found, _), *others = sorted(terms, key=lambda term: -term[1])
    for term, sign in others:
        found = found + term if sign > 0 else found - term
    return found


def nearest(gradients, images, lines):
    for gradient, image in zip(gradients, images, strict=True):
        add_to(image, [line[0][0] for line in lines], gradient)


def linear_to_image(gradients, images, weights):
    for gradient, image in zip(gradients, images, strict=True):
        for at, weight in weights:
            add_to(image, at, weight * gradient)


def linear_to_grid(gradients, channels, lines, axis):
    """Sum over channels and taps: the value, the weights along the other axes, the gradient."""
    terms = []
    for gradient, image in zip(gradients, channels, strict=True):
        for ends in product(*[range(2)] * len(lines)):
            taps = [line[end] for line, end in zip(lines, ends, strict=True)]
            term = pixel(image, [position for position, _ in taps], gradient.counts)
            for _, weight in taps[:axis] + taps[axis + 1 :]:
                term = term * weight
            terms.append((term * gradient, 1 if ends[axis] else -1))
    return signed_total(terms)


def cubic_to_image(gradients, images, rows, columns):
    for gradient, image in zip(gradients, images, strict=True):
        for x, across in columns:
            spread = gradient * across
            for y, down in rows:
                add_to(image, (y, x), spread * down)


def cubic_to_grid(gradients, channels, rows, columns, slopes, axis):
    terms = []
    for gradient, image in zip(gradients, channels, strict=True):
        for j, i in product(range(4), range(4)):
            value = pixel(image, (rows[j][0], columns[i][0]), gradient.counts)
            slope, weight = (slopes[j], columns[i][1]) if axis == 0 else (slopes[i], rows[j][1])
            terms.append(value * slope * weight * gradient)
    return total(terms)


def flat(nested):
    return [each for part in nested for each in flat(part)] if isinstance(nested, list) else [nested]


def gradients_by_loops(channels, grid, gradients, sizes, mode, padding_mode, align_corners, wanted):
    """List the gradients that are wanted, of the image and then of the grid, point after point."""
    counts = grid[0][0].counts
    images, of_grid = [zeros(sizes, counts) for _ in channels], []
    for point, *each in zip(grid, *gradients, strict=True):
        axes = [(*axis, padding_mode, align_corners) for axis in zip(reversed(point), sizes, strict=True)]
        if mode == 1:
            # Wherever the nearest position is, a small step of the grid changes nothing.
            if wanted[0]:
                nearest(each, images, [taps_at(at, size, 1, *how) for at, size, *how in axes])
            of_grid += [Number(0.0, counts) for _ in axes]
        elif mode == 0 and not wanted[1]:
            lines = [taps_at(at, size, 0, *how) for at, size, *how in axes]
            linear_to_image(each, images, tensor_product(lines))
        elif mode == 0:
            lines, slopes = zip(*[sloping(*axis) for axis in axes], strict=True)
            weights = tensor_product(lines)
            if wanted[0]:
                linear_to_image(each, images, weights)
            found = [linear_to_grid(each, channels, lines, axis) * slope for axis, slope in enumerate(slopes)]
            of_grid += reversed(found)
        else:
            if wanted[1]:
                (rows, down, slope_y), (columns, across, slope_x) = (cubic_sloping(*axis) for axis in axes)
                y = cubic_to_grid(each, channels, rows, columns, down, 0) * slope_y
                of_grid += [cubic_to_grid(each, channels, rows, columns, across, 1) * slope_x, y]
            else:
                rows, columns = (taps_at(at, size, 2, *how) for at, size, *how in axes)
            if wanted[0]:
                cubic_to_image(each, images, rows, columns)
    return (flat(images) if wanted[0] else []) + (of_grid if wanted[1] else [])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("wanted", [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize(("sizes", "mode", "padding_mode", "align_corners"), GRIDS)
def test_gradients_cost_what_the_loops_of_the_kernel_do(sizes, mode, padding_mode, align_corners, wanted, channels):
    """Places are found again, with their slopes if the grid is asked for; each gradient adds its own terms."""
    rank, points = len(sizes), 7
    image, grid, gradient = number(channels, *sizes), 1.5 * number(points, rank), number(channels, points)
    options = {"sizes": sizes, "mode": mode, "padding_mode": padding_mode, "align_corners": align_corners}
    work, expected = by_hand(gradients_by_loops, image, grid, gradient, wanted=wanted, **options)
    op = aten.grid_sampler_2d_backward if rank == 2 else aten.grid_sampler_3d_backward
    line = [1] * (rank - 1)
    cost, out = priced(
        op.default,
        gradient.reshape(1, channels, *line, points),
        image[None],
        grid.reshape(1, *line, points, rank),
        mode,
        padding_mode,
        align_corners,
        wanted,
    )
    found = [part.flatten() for part, asked in zip(out, wanted, strict=True) if asked]
    torch.testing.assert_close(torch.cat(found), expected)
    assert cost == Cost(ops=work.ops)


@pytest.mark.parametrize(("mode", "ops"), [(0, 14 + 8 + 24), (1, 6 + 1), (2, 58 + 36 + 164)])
def test_the_fallback_for_large_images_computes_both_gradients(mode, ops):
    """A point and a channel: the positions, the gradient of the image, that of the grid, which nearest does without."""
    tensors = torch.rand(1, 1, 1, 1), torch.rand(1, 1, 4, 4), torch.rand(1, 1, 1, 2)
    assert priced(aten._grid_sampler_2d_cpu_fallback_backward.default, *tensors, mode, 0, True)[0] == Cost(ops=ops)
