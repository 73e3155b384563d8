"""Torchvision's own operators: against loops over single numbers, which count themselves and give what its kernels do.

They are priced by name; where torchvision does not import there is nothing to price, and the tests are skipped.
"""

import math
from itertools import combinations, pairwise, product

import pytest
import required
import torch
from counted import cost_of
from oracle import Number, by_hand, total
from test_resampling import operation
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional

from opflops import Cost, OpFlopMode, coverage
from opflops.pricing.registry import registry

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.external]

ours, pictures = torch.ops.torchvision, torch.ops.image


@pytest.fixture(autouse=True)
def vision():
    """Have torchvision's operators defined."""
    return required.models("torchvision")


def number(*shape):
    return torch.randn(shape, dtype=torch.float64)


def rows_of(function, *args):
    with OpFlopMode(strict=True) as mode:
        function(*args)
    return {row.op: row for row in mode.profile.rows}


def charged(operator, out, *args):
    """Price a call without running it."""
    cost, _, reason = registry.resolve(operator.default, {"causal": "dense"}).charge(out, args, {})
    return Cost(cost.macs, cost.ops, cost.transcendentals), reason


def test_names_are_spelled_right_and_nothing_is_left():
    """Each name that is priced is an operator's, and each operator has a price."""
    spaces = {"torchvision": ours, "image": pictures}
    named = [name.split("::") for name in registry.named if name.startswith(("torchvision::", "image::"))]
    assert [name for space, name in named if not hasattr(spaces[space], name)] == []
    assert {"torchvision.nms", "torchvision.deform_conv2d", "image.decode_jpeg"} <= set(coverage())
    assert "unpriced" not in coverage("torchvision", "image").values()


# Boxes.


def shared(one, other):
    """Find the ratio of what two boxes share to what they cover, and compare it with a threshold."""
    corners = [one[0].larger(other[0]), one[1].larger(other[1]), one[2].smaller(other[2]), one[3].smaller(other[3])]
    area = (corners[2] - corners[0]).larger(0.0) * (corners[3] - corners[1]).larger(0.0)
    return (area / (one[4] + other[4] - area)).is_below(0.5)


def suppressed(boxes):
    """Compare every two boxes that do not overlap; nothing is left out."""
    for box in boxes:
        box.append((box[2] - box[0]) * (box[3] - box[1]))
    return [Number(float(shared(one, other)), one[0].counts) for one, other in combinations(boxes, 2)]


@pytest.mark.parametrize("boxes", [1, 2, 5, 9])
def test_boxes_cost_what_a_loop_over_pairs_does(boxes):
    """Disjoint boxes are all compared on every device, after a sort of n·ceil(log2 n)."""
    left = torch.arange(boxes, dtype=torch.float64)[:, None]
    dets, scores = torch.cat([left, left, left + 0.5, left + 1.5], 1), torch.rand(boxes, dtype=torch.float64)
    work, below = by_hand(suppressed, dets)
    assert below.all()
    assert len(ours.nms(dets, scores, 0.5)) == boxes
    sort = boxes * math.ceil(math.log2(boxes))
    assert cost_of(ours.nms, dets, scores, 0.5) == Cost(ops=work.ops + sort)


def test_boxes_that_are_suppressed_count_as_well():
    """As CUDA has it; the CPU leaves some out, so the row says that it is an estimate, and of which dtype it is."""
    dets, scores = torch.tensor([[0.0, 0, 2, 2]]).repeat(6, 1), torch.rand(6)
    row = rows_of(ours.nms, dets, scores, 0.5)["torchvision.nms"]
    # Four corners, two widths at least 0, an area, a sum and a difference, a division, a comparison.
    assert row.cost.ops == 6 * 3 + 6 * 3 + 15 * (4 + 4 + 1 + 2 + 1 + 1)
    assert "pair" in row.estimate
    assert (row.dtype, row.cost.bytes_read, row.cost.bytes_written) == ("float32", 6 * 5 * 4, 8)


def test_integer_boxes_cost_what_others_do():
    """The same comparisons, in a row of their own dtype."""
    dets, scores = torch.tensor([[0, 0, 2, 2], [5, 5, 7, 7], [0, 0, 2, 3]], dtype=torch.uint8), torch.rand(3)
    row = charged(ours.qnms, torch.zeros(2, dtype=torch.int64), dets, scores, 0.5)
    assert row == charged(ours.nms, torch.zeros(2, dtype=torch.int64), dets.float(), scores, 0.5)


def cross(one, other):
    return one[0] * other[1] - other[0] * one[1]


def minus(one, other):
    return [one[0] - other[0], one[1] - other[1]]


def corners_of(x, y, width, height, angle):
    angle = angle * (math.pi / 180)
    sine, cosine = angle._function(math.sin(angle.value)) * 0.5, angle._function(math.cos(angle.value)) * 0.5
    first = [x + sine * height + cosine * width, y + cosine * height - sine * width]
    second = [x - sine * height + cosine * width, y - cosine * height - sine * width]
    return [first, second, *([x * 2 - corner[0], y * 2 - corner[1]] for corner in (first, second))]


def crossings(corners, edges, others, other_edges):
    """Find the points where the edges of two boxes meet."""
    found = []
    for (corner, edge), (other, other_edge) in product(
        zip(corners, edges, strict=True), zip(others, other_edges, strict=True)
    ):
        slope = cross(other_edge, edge)
        assert not abs(slope).is_below(1e-14)
        between = minus(other, corner)
        here, there = cross(other_edge, between) / slope, cross(edge, between) / slope
        bounds = [here.is_below(0.0), here.is_below(1.0), there.is_below(0.0), there.is_below(1.0)]
        if bounds == [False, True, False, True]:
            found.append([corner[0] + edge[0] * here, corner[1] + edge[1] * here])
    return found


def inside(corners, others, edges):
    """Tell which corners of one box lie in another, by their projections on two of its edges."""
    along, back = edges[0], edges[3]
    ends = [edge[0] * edge[0] + edge[1] * edge[1] + 1e-5 for edge in (along, back)]
    found = []
    for corner in corners:
        seen = minus(corner, others[0])
        projections = [
            seen[0] * along[0] + seen[1] * along[1],
            -(seen[0] * back[0] + seen[1] * back[1]),
        ]
        below = [each.is_below(-1e-5) for each in projections]
        within = [each.is_below(end.value) for each, end in zip(projections, ends, strict=True)]
        if not any(below) and all(within):
            found.append(corner)
    return found


def turned_overlap(one, other):
    """Find what two boxes share that meet in eight points; a sort is counted by hand."""
    counts = one[0].counts
    middle = [(one[axis] + other[axis]) / 2 for axis in (0, 1)]
    corners, others = (
        corners_of(box[0] - middle[0], box[1] - middle[1], box[2], box[3], box[4]) for box in (one, other)
    )
    edges, other_edges = ([minus(box[(i + 1) % 4], box[i]) for i in range(4)] for box in (corners, others))
    points = crossings(corners, edges, others, other_edges)
    assert inside(corners, others, other_edges) + inside(others, corners, edges) == []
    assert len(points) == 8
    lowest = points[0]
    for point in points[1:]:
        if point[1].is_below(lowest[1].value):
            lowest = point
    seen = [minus(point, lowest) for point in points]
    # Eight points take 8 * 3 steps, a cross product and a comparison each.
    counts[0] += 8 * 3 * 4
    order = sorted((point for point in seen if (point[0].value, point[1].value) != (0, 0)),
                   key=lambda point: math.atan2(point[1].value, point[0].value))  # fmt: skip
    area = total([cross(before, after) for before, after in pairwise(order)]) / 2
    union = one[2] * one[3] + other[2] * other[3] - area
    return (area / union).larger(0.0).smaller(1.0)


def test_turned_boxes_cost_what_their_geometry_does():
    """A square over one that is turned by 50 degrees meets it in eight points; each pair counts as such a one."""
    ones, others = torch.tensor([[0.0, 0, 2, 2, 0]]).double(), torch.tensor([[0.1, 0, 2, 2, 50]]).double()
    work, share = by_hand(turned_overlap, ones[0], others[0])
    torch.testing.assert_close(ours.box_iou_rotated(ones, others).double(), share.reshape(1, 1), rtol=1e-5, atol=1e-5)
    ones, others = ones.repeat(3, 1), others.repeat(2, 1)
    (row,) = rows_of(ours.box_iou_rotated, ones, others).values()
    assert row.cost[:3] == (0, 6 * work.ops, 6 * work.transcendentals)
    assert "eight points" in row.estimate


# Regions of interest.

HEIGHT, WIDTH, ROWS, COLUMNS, SCALE = 7, 9, 2, 3, 0.5
# Image and corners: inside, wide, partly outside, smaller than an element, and (the last) turned over.
REGIONS = [
    [0, 2.2, 1.4, 9.0, 10.6],
    [1, 0.4, 5.0, 17.0, 6.6],
    [1, 8.6, 5.2, 25.0, 19.4],
    [0, 3.0, 3.0, 3.8, 3.2],
    [0, 9.0, 9.0, 4.0, 2.0],
]


def regions():
    return torch.tensor(REGIONS, dtype=torch.float64)


def taps(position, size):
    """Bring a position inside; find the elements on both sides of it, and their weights."""
    lost = not -1 <= position.value <= size
    position = position.larger(0.0).smaller(size - 1.0)
    low = position - (position.value - math.floor(position.value))
    t = position - low
    first = int(low.value)
    return [(first, 1 - t), (min(first + 1, size - 1), t)], lost


def scaled(region, aligned):
    """Scale the corners of a region; returns where it starts and the sizes of its bins, along y and x."""
    corners = [corner * SCALE for corner in region[1:]]
    if aligned:
        corners = [corner - 0.5 for corner in corners]
    sizes = [corners[3] - corners[1], corners[2] - corners[0]]
    if not aligned:
        sizes = [size.larger(1.0) for size in sizes]
    return [corners[1], corners[0]], [sizes[0] / ROWS, sizes[1] / COLUMNS]


def weights_of(region, ratio, aligned):
    """Find for each bin of a region the weighted taps of its points; one that lies outside has none."""
    starts, bins = scaled(region, aligned)
    grids = [ratio, ratio]
    if ratio <= 0:
        grids = [int(operation(each, math.ceil(each.value)).value) for each in bins]
    found = {}
    for bin_at in product(range(ROWS), range(COLUMNS)):
        points = found[bin_at] = []
        for at in product(*(range(grid) for grid in grids)):
            along = []
            for axis, size in enumerate((HEIGHT, WIDTH)):
                position = starts[axis] + bins[axis] * (bin_at[axis] + (at[axis] + 0.5) / grids[axis])
                along.append(taps(position, size))
            (rows, row_lost), (columns, column_lost) = along
            weights = [((y, x), w * v) for (y, w), (x, v) in product(rows, columns)]
            if row_lost or column_lost:
                weights = [(position, Number(0.0, weight.counts)) for position, weight in weights]
            points.append(weights)
    return found


def channel_of(channel, bin_at, apart):
    """Say which channel of the image a bin of a channel of the result looks at."""
    return (channel * ROWS + bin_at[0]) * COLUMNS + bin_at[1] if apart else channel


def sampled(image, rois, channels, ratio, aligned, apart):
    """Take the mean over the points of each bin, region by region."""
    result = []
    for region in rois:
        weights = weights_of(region, ratio, aligned)
        pooled = []
        for channel in range(channels):
            values = []
            for bin_at, points in weights.items():
                plane = image[int(region[0].value)][channel_of(channel, bin_at, apart)]
                means = [total([plane[y][x] * weight for (y, x), weight in point]) for point in points]
                values.append(total(means) / len(means) if means else Number(0.0, region[0].counts))
            pooled.append(values)
        result.append(pooled)
    return result


def sampled_back(gradient, rois, zeros, ratio, aligned, apart):
    """Divide each gradient, multiply it by the weights of each point, and add it to the taps."""
    for region, gradients in zip(rois, gradient, strict=True):
        weights = weights_of(region, ratio, aligned)
        for channel, planes in enumerate(gradients):
            for bin_at, points in weights.items():
                plane = zeros[int(region[0].value)][channel_of(channel, bin_at, apart)]
                share = planes[bin_at[0]][bin_at[1]] / max(len(points), 1)
                for point in points:
                    for (y, x), weight in point:
                        plane[y][x] = plane[y][x] + share * weight
    return zeros


def whole_costs(forward, image, *args):
    """Run an operator and its backward; returns the results, what each cost, and the gradients."""
    image = image.clone().requires_grad_()
    with OpFlopMode(strict=True) as mode:
        out = forward(image, *args)
        pooled = out[0] if isinstance(out, tuple) else out
        gradient = torch.randn_like(pooled)
        pooled.backward(gradient)
    costs = {op: Cost(*cost[:3]) for op, cost in mode.profile.by("op").items() if op.startswith("torchvision.")}
    return pooled.detach(), gradient, image.grad, *costs.values()


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("ratio", [1, 2, 0, -1])
def test_means_over_points_cost_what_a_loop_does(ratio, aligned):
    """Points are given, or follow from the sizes of regions; their positions are found once for all channels."""
    image, channels = number(2, 3, HEIGHT, WIDTH), 3
    call = (regions(), SCALE, ROWS, COLUMNS, ratio, aligned)
    out, gradient, image_gradient, forward, backward = whole_costs(ours.roi_align, image, *call)
    work, expected = by_hand(sampled, image, regions(), channels=channels, ratio=ratio, aligned=aligned, apart=False)
    torch.testing.assert_close(out, expected.reshape(out.shape))
    assert forward == Cost(ops=work.ops)
    options = {"ratio": ratio, "aligned": aligned, "apart": False}
    work, expected = by_hand(sampled_back, gradient, regions(), torch.zeros_like(image), **options)
    torch.testing.assert_close(image_gradient, expected)
    assert backward == Cost(ops=work.ops)


@pytest.mark.parametrize("ratio", [2, 0])
def test_bins_with_channels_of_their_own_cost_what_a_loop_does(ratio):
    """Position-sensitive: twelve channels make two; the last region, which is turned over, has points if told to."""
    image, channels = number(2, 2 * ROWS * COLUMNS, HEIGHT, WIDTH), 2
    given = regions()[: 5 if ratio else 4]  # without points, the kernel divides nothing by none
    out, gradient, image_gradient, forward, backward = whole_costs(
        ours.ps_roi_align, image, given, SCALE, ROWS, COLUMNS, ratio
    )
    options = {"ratio": ratio, "aligned": True, "apart": True}
    work, expected = by_hand(sampled, image, given, channels=channels, **options)
    torch.testing.assert_close(out, expected.reshape(out.shape))
    assert forward == Cost(ops=work.ops)
    work, expected = by_hand(sampled_back, gradient, given, torch.zeros_like(image), **options)
    torch.testing.assert_close(image_gradient, expected)
    assert backward == Cost(ops=work.ops)


def test_a_point_costs_what_one_of_a_grid_sampler_does():
    """One region as large as the image, a point a bin: beyond the grid sampler, 12 operations and a mean over one."""
    image, box = number(1, 4, HEIGHT, WIDTH), torch.tensor([[0.0, 0, 0, WIDTH, HEIGHT]]).double()
    grid = functional.affine_grid(torch.eye(2, 3)[None].double(), [1, 1, ROWS, COLUMNS], align_corners=False)
    sampler = (image, grid, 0, 1, False)
    torch.testing.assert_close(
        ours.roi_align(image, box, 1.0, ROWS, COLUMNS, 1, True), torch.ops.aten.grid_sampler_2d(*sampler)
    )
    cost = cost_of(ours.roi_align, image, box, 1.0, ROWS, COLUMNS, 1, True)
    points = ROWS * COLUMNS
    assert cost == cost_of(torch.ops.aten.grid_sampler_2d, *sampler) + Cost(ops=12 + 4 * points)


@pytest.mark.parametrize("ratio", [2, 0])
def test_integers_by_hand(ratio):
    """One region of 2 x 3 bins of four points, two channels.

    The corners take two operations each to restore. Ten operations for the region, or twelve where bins of 2 x 4/3
    elements tell that they have 2 x 2 points, and 18 for each of 24 points; for each channel four products, three
    additions and one more, or a division. Three additions of weights and one more, or the product with the zero point,
    for each point. A difference and a product restore each of twelve results, and five operations make them integers.
    """
    image = torch.randint(0, 100, (1, 2, HEIGHT, WIDTH), dtype=torch.uint8)
    box = torch.tensor([[3, 7, 7, 23, 23]], dtype=torch.uint8)  # (q - 3) * 0.5 is 0, 2, 2, 10, 10
    call = (0.5, 10, 0.5, 3, SCALE, ROWS, COLUMNS, ratio, False)
    row = rows_of(ours.qroi_align, image, box, *call)["torchvision.qroi_align"]
    region = 4 * 2 + (10 if ratio else 12)
    assert row.cost[:3] == (0, region + 24 * 18 + 2 * 24 * 8 + 24 * 4 + 12 * (2 + 5), 0)
    assert (row.dtype, row.estimate) == ("uint8", "")
    on_meta = (image.to("meta"), box.to("meta"), *call)
    _, reason = charged(ours.qroi_align, ours.qroi_align(*on_meta), *on_meta)
    assert bool(reason) == (ratio == 0)


def windows(region, closed, edge):
    """Round the corners of a region, and list the elements of each of its bins."""
    corners = []
    for corner in region[1:]:
        rounded = corner * SCALE
        corners.append(int((rounded + 0.5).value // 1))  # the rounding
        assert rounded.value > 0
    left, top, right, bottom = corners
    found = {}
    for row, column in product(range(ROWS), range(COLUMNS)):
        spans = []
        for low, high, index, bins, size in (
            (top, bottom, row, ROWS, HEIGHT - edge),
            (left, right, column, COLUMNS, WIDTH - edge),
        ):
            extent = max(high - low + closed, 1)
            first, last = math.floor(index * extent / bins), math.ceil((index + 1) * extent / bins)
            spans.append([each for each in range(low + first, low + last) if 0 <= each < size])
        found[row, column] = list(product(*spans))
    return found


def largest(image, rois, channels):
    result = []
    for region in rois:
        bins = windows(region, closed=True, edge=0)
        for channel, bin_at in product(range(channels), bins):
            plane = image[int(region[0].value)][channel]
            values = [plane[y][x] for y, x in bins[bin_at]] or [Number(0.0, region[0].counts)]
            found = values[0]
            for value in values[1:]:
                found = found.larger(value)
            result.append(found)
    return result


def average(image, rois, channels):
    result = []
    for region in rois:
        bins = windows(region, closed=False, edge=1)
        for channel, bin_at in product(range(channels), bins):
            plane = image[int(region[0].value)][channel_of(channel, bin_at, apart=True)]
            values = [plane[y][x] for y, x in bins[bin_at]]
            result.append(total(values) / len(values) if values else Number(0.0, region[0].counts))
    return result


def average_back(gradient, rois, zeros):
    for region, gradients in zip(rois, gradient, strict=True):
        bins = windows(region, closed=False, edge=0)
        for channel, planes in enumerate(gradients):
            for bin_at, elements in bins.items():
                if elements:
                    share = planes[bin_at[0]][bin_at[1]] / len(elements)
                plane = zeros[int(region[0].value)][channel_of(channel, bin_at, apart=True)]
                for y, x in elements:
                    plane[y][x] = plane[y][x] + share
    return zeros


# One more that lies outside the image, whose bins are empty.
POOLED = [*REGIONS, [1, 30.2, 3.0, 40.2, 9.0]]


def test_largest_elements_cost_what_a_loop_does():
    """Corners are scaled and rounded, k elements compared k - 1 times; the gradient goes where the largest was."""
    image, given = number(2, 3, HEIGHT, WIDTH), torch.tensor(POOLED, dtype=torch.float64)
    out, gradient, image_gradient, forward, backward = whole_costs(ours.roi_pool, image, given, SCALE, ROWS, COLUMNS)
    work, expected = by_hand(largest, image, given, channels=3)
    torch.testing.assert_close(out, expected.reshape(out.shape))
    assert forward == Cost(ops=work.ops)
    filled = out != 0
    assert 0 < filled.sum() < out.numel()
    assert backward == Cost(ops=int(filled.sum()))
    assert image_gradient.sum() == pytest.approx(float(gradient[filled].sum()))


def test_averages_cost_what_a_loop_does():
    """Bins with channels of their own; the forward leaves out the last row and column, the backward does not."""
    image, given = number(2, 2 * ROWS * COLUMNS, HEIGHT, WIDTH), torch.tensor(POOLED, dtype=torch.float64)
    out, gradient, image_gradient, forward, backward = whole_costs(ours.ps_roi_pool, image, given, SCALE, ROWS, COLUMNS)
    work, expected = by_hand(average, image, given, channels=2)
    torch.testing.assert_close(out, expected.reshape(out.shape))
    assert forward == Cost(ops=work.ops)
    work, expected = by_hand(average_back, gradient, given, torch.zeros_like(image))
    torch.testing.assert_close(image_gradient, expected)
    assert backward == Cost(ops=work.ops)


CALLS = [
    (ours, "roi_align", (SCALE, ROWS, COLUMNS, 0, False), 3),
    (ours, "ps_roi_align", (SCALE, ROWS, COLUMNS, 0), 2 * ROWS * COLUMNS),
    (ours, "roi_pool", (SCALE, ROWS, COLUMNS), 3),
    (ours, "ps_roi_pool", (SCALE, ROWS, COLUMNS), 2 * ROWS * COLUMNS),
]


def backward_of(name, out, rois, image):
    """Return a call of an operator's backward."""
    (_, _, options, _) = next(call for call in CALLS if call[1] == name)
    scale, rows, columns, *sampling = options
    pooled, *mapping = out if isinstance(out, tuple) else (out,)
    sizes = [*image.shape]
    arguments = {
        "roi_align": (scale, rows, columns, *sizes, *sampling),
        "ps_roi_align": (scale, rows, columns, *sampling, *sizes),
    }.get(name, (scale, rows, columns, *sizes))
    return getattr(ours, f"_{name}_backward"), (pooled, rois, *mapping, *arguments)


@pytest.mark.parametrize(("space", "name", "options", "channels"), CALLS, ids=[call[1] for call in CALLS])
def test_regions_without_values_are_the_whole_image(space, name, options, channels):
    """On meta, ten regions count as ten do that are as large as the image, forward and backward; both rows say so."""
    corner = torch.tensor([[0.0, 0.5, 0.5, (WIDTH - 0.5) / SCALE, (HEIGHT - 0.5) / SCALE]] * 10)
    if name == "roi_pool":  # the last element belongs to the region
        corner[:, 3:] -= 1 / SCALE
    if name == "ps_roi_align":  # aligned, a region begins half an element earlier
        corner = torch.tensor([[0.0, 1, 1, 1 + WIDTH / SCALE, 1 + HEIGHT / SCALE]] * 10)
    costs = {}
    for device in ("cpu", "meta"):
        image, rois = torch.rand(1, channels, HEIGHT, WIDTH, device=device), corner.to(device)
        row = rows_of(getattr(space, name), image, rois, *options)[f"torchvision.{name}"]
        backward, call = backward_of(name, getattr(space, name)(image, rois, *options), rois, image)
        back = rows_of(backward, *call)[f"torchvision._{name}_backward"]
        assert [bool(row.estimate), bool(back.estimate)] == [device == "meta"] * 2
        costs[device] = (row.cost, back.cost)
    forwards, backwards = zip(*costs.values(), strict=True)
    assert backwards[0] == backwards[1]
    if name == "ps_roi_pool":  # without the last row and column, which a meta count does not know of
        assert forwards[0].ops < forwards[1].ops
    else:
        assert forwards[0] == forwards[1]


@pytest.mark.parametrize("regions_of", [0, 1])
def test_twice_the_regions_or_channels_cost_twice(regions_of):
    """Each region costs the same; channels share the positions, and nothing else."""
    image, box = number(1, 4, HEIGHT, WIDTH), regions()[:1]
    call = (SCALE, ROWS, COLUMNS, 2, True)
    once = cost_of(ours.roi_align, image, box, *call)
    if regions_of:
        assert cost_of(ours.roi_align, image, box.repeat(2, 1), *call) == 2 * once
    else:
        twice = cost_of(ours.roi_align, image.repeat(1, 2, 1, 1), box, *call)
        assert twice - once == Cost(ops=4 * 8 * 4 * ROWS * COLUMNS)


# Deformable convolutions.

SHAPES = [
    # Input, weight, options, groups of the weight, groups of offsets, and whether there is a mask.
    ((1, 2, 4, 5), (3, 2, 2, 3), {}, 1, 1, False),
    ((2, 4, 4, 3), (2, 2, 2, 2), {"padding": 1}, 2, 2, True),
    ((1, 4, 6, 5), (4, 4, 3, 2), {"stride": 2, "dilation": (1, 2), "padding": (0, 1)}, 1, 4, True),
]


def operands(shape, weight_shape, options, groups, offset_groups, masked):
    x, weight = number(*shape), number(*weight_shape)
    out = functional.conv2d(x, weight, groups=groups, **options)
    taps_of = offset_groups * weight.shape[2] * weight.shape[3]
    offset = number(shape[0], 2 * taps_of, *out.shape[2:])
    mask = torch.rand(shape[0], taps_of if masked else 0, *out.shape[2:]).double()
    pairs = [
        pair if isinstance(pair, tuple) else (pair, pair)
        for pair in (options.get("stride", 1), options.get("padding", 0), options.get("dilation", 1))
    ]
    flags = (*pairs[0], *pairs[1], *pairs[2], groups, offset_groups, masked)
    return (x, weight, offset, mask if masked else number(shape[0], 1), number(weight.shape[0])), flags


def around(y, x):
    """Find the four taps around a position, with the weights along both axes and their product."""
    along = []
    for position in (y, x):
        low = operation(position, math.floor(position.value))
        t = position - low
        along.append([(int(low.value), 1 - t, -1.0), (int(low.value) + 1, t, 1.0)])
    return [
        ((row, column), w * v, (w, v), (down, across))
        for (row, w, down), (column, v, across) in product(*along)
    ]  # fmt: skip


def element(plane, position):
    """Return an element of an image, or nothing outside."""
    y, x = position
    inside_it = 0 <= y < len(plane) and 0 <= x < len(plane[0])
    return plane[y][x] if inside_it else Number(0.0, plane[0][0].counts)


def looks(x, weight_shape, offset, flags):
    """Yield for each position that is read the image, the channels, where its result goes, and the taps around it."""
    stride_y, stride_x, pad_y, pad_x, dilation_y, dilation_x, _, offset_groups, _ = flags
    channels, kernel = len(x[0]), weight_shape[2:]
    positions = range(len(offset[0][0])), range(len(offset[0][0][0]))
    for batch, group, i, j, row, column in product(
        range(len(x)), range(offset_groups), range(kernel[0]), range(kernel[1]), *positions
    ):
        index = (group * kernel[0] + i) * kernel[1] + j
        y = offset[batch][2 * index][row][column] + (row * stride_y - pad_y + i * dilation_y)
        z = offset[batch][2 * index + 1][row][column] + (column * stride_x - pad_x + j * dilation_x)
        share = channels // offset_groups
        yield batch, range(group * share, group * share + share), (i, j, row, column), index, around(y, z)


def deformed(x, offset, mask, bias, weight, flags):
    """Sample, multiply by the mask, and convolve; products with the weight are not counted here."""
    out_channels, per_group = weight.shape[:2]
    groups, masked = flags[6], flags[8]
    rows, columns = len(offset[0][0]), len(offset[0][0][0])
    result = torch.zeros(len(x), out_channels, rows, columns, dtype=torch.float64)
    for batch, channels, (i, j, row, column), index, taps_found in looks(x, weight.shape, offset, flags):
        for channel in channels:
            sample = total([element(x[batch][channel], position) * w for position, w, _, _ in taps_found])
            if masked:
                sample = sample * mask[batch][index][row][column]
            group = channel // per_group
            chosen = slice(group * out_channels // groups, (group + 1) * out_channels // groups)
            result[batch, chosen, row, column] += weight[chosen, channel % per_group, i, j] * sample.value
    counts = x[0][0][0][0].counts
    return [
        [
            [[Number(value, counts) + bias[channel] for value in line] for line in plane]
            for channel, plane in enumerate(one)
        ]
        for one in result.tolist()
    ]


@pytest.mark.parametrize("case", SHAPES)
def test_deformable_convolutions_cost_what_a_loop_does(case):
    """Samples are found position by position, for all channels of a group; the products are a convolution's."""
    (x, weight, offset, mask, bias), flags = operands(*case)
    out = ours.deform_conv2d(x, weight, offset, mask, bias, *flags)
    given_mask = mask if flags[-1] else None
    work, expected = by_hand(deformed, x, offset, given_mask, bias, weight=weight, flags=flags)
    torch.testing.assert_close(out, expected)
    macs = out.shape[0] * out[0, 0].numel() * weight.numel()
    assert cost_of(ours.deform_conv2d, x, weight, offset, mask, bias, *flags) == Cost(macs, work.ops)


def deformed_back(x, offset, mask, columns_gradient, gradient, shapes, flags):
    """Find all gradients but the weight's, whose products are not counted, from those of the samples."""
    weight_shape, masked = shapes, flags[8]
    counts = x[0][0][0][0].counts
    of_input = [[[[0.0 for _ in line] for line in plane] for plane in one] for one in x]
    of_offset = [[[[0.0 for _ in line] for line in plane] for plane in one] for one in offset]
    of_mask = [[[[0.0 for _ in line] for line in plane] for plane in one] for one in (mask or [])]
    for batch, channels, (i, j, row, column), index, taps_found in looks(x, weight_shape, offset, flags):
        slopes, products = ([], []), []
        for channel in channels:
            plane = x[batch][channel]
            sample = total([element(plane, position) * w for position, w, _, _ in taps_found])
            each = columns_gradient[batch][channel][i][j][row][column]
            if masked:
                products.append(each * sample)
                sample, each = sample * mask[batch][index][row][column], each * mask[batch][index][row][column]
            for position, w, weights, signs in taps_found:
                term = each * w
                y, z = position
                if 0 <= y < len(plane) and 0 <= z < len(plane[0]):
                    of_input[batch][channel][y][z] += term.value
                counts[0] += 1  # added to the tap
                for axis in (0, 1):
                    slope = element(plane, position) * each * weights[1 - axis]
                    slopes[axis].append(Number(slope.value * signs[axis], counts))
        for axis in (0, 1):
            of_offset[batch][2 * index + axis][row][column] = total(slopes[axis]).value
        if masked:
            of_mask[batch][index][row][column] = total(products).value
    of_bias = [
        total([value for one in gradient for line in one[channel] for value in line]).value
        for channel in range(len(gradient[0]))
    ]
    parts = [torch.tensor(part, dtype=torch.float64).flatten() for part in (of_input, of_offset, of_mask, of_bias)]
    return [Number(value, counts) for value in torch.cat(parts).tolist()]


@pytest.mark.parametrize("case", SHAPES)
def test_gradients_of_deformable_convolutions_cost_what_a_loop_does(case):
    """Two products, and for each sample its own arithmetic turned round."""
    (x, weight, offset, mask, bias), flags = operands(*case)
    gradient = torch.randn_like(ours.deform_conv2d(x, weight, offset, mask, bias, *flags))
    groups = flags[6]
    columns = torch.einsum(
        "bgorq,gocij->bgcijrq",
        gradient.unflatten(1, (groups, -1)),
        weight.unflatten(0, (groups, -1)),
    ).flatten(1, 2)
    call = (gradient, x, weight, offset, mask, bias, *flags)
    of_input, of_weight, of_offset, of_mask, of_bias = ours._deform_conv2d_backward(*call)
    given_mask = mask if flags[-1] else None
    work, expected = by_hand(
        deformed_back, x, offset, given_mask, columns, gradient, shapes=weight.shape, flags=flags
    )  # fmt: skip
    found = [of_input, of_offset, *([of_mask] if flags[-1] else []), of_bias]
    torch.testing.assert_close(torch.cat([part.flatten() for part in found]), expected)
    macs = gradient.shape[0] * gradient[0, 0].numel() * weight.numel()
    assert cost_of(ours._deform_conv2d_backward, *call) == Cost(2 * macs, work.ops)
    row = rows_of(ours._deform_conv2d_backward, *call)["torchvision._deform_conv2d_backward"]
    assert row.cost.bytes_read == 8 * sum(each.numel() for each in (gradient, x, weight, offset, mask))
    assert row.cost.bytes_written == 8 * sum(each.numel() for each in (x, weight, offset, mask, bias))
    assert of_weight.shape == weight.shape


def test_without_offsets_it_is_a_convolution(vision):
    """The same result and the same products, forward and backward, by the public function."""
    x, weight, bias = number(2, 4, 6, 5).requires_grad_(), number(6, 2, 3, 3).requires_grad_(), number(6)
    offset = torch.zeros(2, 2 * 9, 6, 5, dtype=torch.float64, requires_grad=True)

    def run(convolution, *args, **options):
        with OpFlopMode(strict=True) as mode:
            out = convolution(*args, bias=bias, padding=1, **options)
            out.sum().backward()
        return out, mode.profile

    plain, expected = run(functional.conv2d, x, weight, groups=2)
    out, counted = run(vision.ops.deform_conv2d, x, offset, weight)
    torch.testing.assert_close(out, plain)
    for phase in ("forward", "backward"):
        assert counted.where(phase=phase).total.macs == expected.where(phase=phase).total.macs > 0
    assert counted.where(phase="backward").total.macs == 2 * counted.where(phase="forward").total.macs


@pytest.mark.parametrize("masked", [False, True])
def test_a_batch_twice_as_large_costs_twice(masked):
    """Forward; and backward, but for one addition to the bias gradient of each channel."""
    costs = []
    for batch in (2, 4):
        arguments, flags = operands((batch, 4, 5, 5), (6, 2, 3, 3), {}, 2, 2, masked)
        out = ours.deform_conv2d(*arguments, *flags)
        costs.append(
            (
                cost_of(ours.deform_conv2d, *arguments, *flags),
                cost_of(ours._deform_conv2d_backward, out, *arguments, *flags),
            )
        )
    (once, once_back), (twice, twice_back) = costs
    assert twice == 2 * once
    assert twice_back == 2 * once_back + Cost(ops=6)


def test_groups_divide_the_products():
    """Two groups of the weight halve them; two groups of offsets double the positions, and nothing else."""
    whole = cost_of(ours.deform_conv2d, *sum(operands((1, 4, 5, 5), (6, 4, 3, 3), {}, 1, 1, masked=False), ()))
    halved = cost_of(ours.deform_conv2d, *sum(operands((1, 4, 5, 5), (6, 2, 3, 3), {}, 2, 1, masked=False), ()))
    apart = cost_of(ours.deform_conv2d, *sum(operands((1, 4, 5, 5), (6, 4, 3, 3), {}, 1, 2, masked=False), ()))
    assert (2 * halved.macs, halved.ops) == (whole.macs, whole.ops)
    # A position: one addition, a floor and two differences along each axis, and four products of weights.
    assert apart - whole == Cost(ops=9 * 9 * (2 * 4 + 4))


def test_fake_tensors_cost_what_real_ones_do():
    """A deformable convolution follows from shapes alone."""
    arguments, flags = operands(*SHAPES[1])
    expected = cost_of(ours.deform_conv2d, *arguments, *flags)
    with FakeTensorMode() as fake:
        copies = [fake.from_tensor(each) for each in arguments]
        row = rows_of(ours.deform_conv2d, *copies, *flags)["torchvision.deform_conv2d"]
    assert (row.cost.macs, row.cost.ops, row.estimate) == (expected.macs, expected.ops, "")


# Files, pictures and models.


def test_files_move_bytes_and_codecs_are_not_seen(tmp_path):
    """A file is read and written; what turns it into a picture and back says that its work is not seen."""
    picture = torch.randint(0, 255, (3, 8, 8), dtype=torch.uint8)
    with OpFlopMode(strict=True) as mode:
        data = pictures.encode_png(picture, 6)
        pictures.write_file(str(tmp_path / "picture.png"), data)
        again = pictures.decode_image(pictures.read_file(str(tmp_path / "picture.png")), 0)
        pictures._jpeg_version()
    assert torch.equal(again, picture)
    rows = {row.op: row for row in mode.profile.rows}
    assert [row.cost[:3] for row in mode.profile.rows] == [(0, 0, 0)] * len(rows)
    assert "image._jpeg_version" not in rows
    assert "codec" in rows["image.encode_png"].estimate
    assert "codec" in rows["image.decode_image"].estimate
    assert rows["image.read_file"].estimate == ""
    assert rows["image.read_file"].cost.bytes_written == rows["image.write_file"].cost.bytes_read == data.numel()


def test_a_detector_is_priced(vision):
    """Proposals, regions and losses, forward, backward and evaluated: strict counting finds a price for all."""
    torch.manual_seed(0)
    detection = vision.models.detection
    model = detection.fasterrcnn_mobilenet_v3_large_320_fpn(weights=None, weights_backbone=None, num_classes=3)
    target = {"boxes": torch.tensor([[10.0, 10, 90, 80]]), "labels": torch.tensor([1])}
    with OpFlopMode(strict=True) as mode:
        sum(model([torch.rand(3, 96, 128)], [target]).values()).backward()
        model.eval()([torch.rand(3, 96, 128)])
    ops = mode.profile.by("op")
    assert {"torchvision.nms", "torchvision.roi_align", "torchvision._roi_align_backward"} <= set(ops)
    assert mode.profile.unpriced == {}
