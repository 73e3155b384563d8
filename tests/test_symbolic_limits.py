"""A symbolic count gives no number for sizes at which the program fails, and the right one for those at which it runs.

What runs is found by running on real tensors of every size, and the first and last size that run are by hand.
"""

import math
from functools import partial

import pytest
import torch
from torch import nn
from torch.export import Dim
from torch.nn import functional

from opflops import DimensionError, Profile, ProfileError, count
from opflops.counting.size_limits import last_running
from opflops.torch_internals import fake_size_checks

N, M = Dim("n"), Dim("m")
TABLE = torch.arange(36.0).reshape(9, 4)


def image(n):
    return torch.rand(2, 4, n, 6)


def sequence(n):
    return torch.rand(2, 4, n)


def matrix(n):
    return torch.rand(n, 6)


def vector(n):
    return torch.rand(n)


def positions(x):
    return functional.embedding(torch.arange(x.shape[0])[None].expand(2, -1), TABLE).exp()


def positions_from_a_mask(x):
    mask = torch.ones(2, x.shape[0], dtype=torch.int64)
    return functional.embedding(mask.cumsum(1) * mask - 1 + 2, TABLE).exp()


def relative_positions(x):
    rows = torch.arange(x.shape[0])
    return functional.embedding(rows[None] - rows[:, None] + 4, TABLE).exp()


def squared_positions(x):
    return functional.embedding(torch.arange(x.shape[0]) ** 2 // 4, TABLE).exp()


ROWS = torch.tensor([1, 5])
# A program, its input, the axis whose size varies, the traced size, and the first and last size that run.
PROGRAMS = {
    "conv1d": (nn.Conv1d(4, 3, 5), sequence, 2, 20, 5, math.inf),
    "dilated conv1d": (nn.Conv1d(4, 3, 3, dilation=3, stride=2), sequence, 2, 20, 7, math.inf),
    "padded conv2d": (nn.Conv2d(4, 3, 7, padding=(1, 3)), image, 2, 20, 5, math.inf),
    "conv2d that keeps the size": (nn.Conv2d(4, 3, 5, padding="same"), image, 2, 20, 1, math.inf),
    "conv3d": (nn.Conv3d(4, 3, (4, 1, 1)), lambda n: torch.rand(1, 4, n, 2, 2), 2, 20, 4, math.inf),
    # The second needs 3 of floor((n - 3)/2) + 1.
    "two convolutions": (
        nn.Sequential(nn.Conv1d(4, 4, 3, 2), nn.ReLU(), nn.Conv1d(4, 4, 3, 2)),
        sequence,
        2,
        20,
        7,
        99,
    ),
    "kernel of a symbolic size": (lambda w: functional.conv1d(torch.ones(1, 4, 9), w), sequence, 2, 7, 1, 9),
    "max_pool2d": (nn.MaxPool2d(3, 2), image, 2, 20, 3, math.inf),
    "avg_pool3d": (nn.AvgPool3d(4), lambda n: torch.rand(1, 4, n, 6, 6), 2, 20, 4, math.inf),
    "windows": (nn.Unfold((5, 3)), image, 2, 20, 5, math.inf),
    "reflection": (nn.ReflectionPad1d(4), sequence, 2, 20, 5, math.inf),
    "negative padding": (nn.ReplicationPad1d((-3, -2)), sequence, 2, 20, 6, math.inf),
    "batch norm": (nn.BatchNorm1d(6), matrix, 0, 20, 2, math.inf),
    "narrow": (lambda x: x.narrow(0, 3, 4) + 1, vector, 0, 20, 7, math.inf),
    "select": (lambda x: x[-6] + 1, matrix, 0, 20, 6, math.inf),
    "split": (lambda x: [part.exp() for part in x.unsafe_split_with_sizes([3, x.shape[0] - 3])], vector, 0, 20, 3, 99),
    "rows": (lambda x: x[ROWS] + 1, matrix, 0, 20, 6, math.inf),
    "rows from the end": (lambda x: x[ROWS - 7] + 1, matrix, 0, 20, 6, math.inf),
    "gather": (lambda x: x.gather(0, ROWS[:, None]) + 1, matrix, 0, 20, 6, math.inf),
    "gather along the other axis": (lambda x: x.gather(1, ROWS.expand(5, 2)) + 1, matrix, 0, 20, 5, math.inf),
    "scatter": (lambda x: x.scatter(0, ROWS[:, None], 1.0) + 1, matrix, 0, 20, 6, math.inf),
    "index_add": (lambda x: x.index_add(0, ROWS, torch.ones(2, 6)), matrix, 0, 20, 6, math.inf),
    "take": (lambda x: torch.take(x, ROWS) + 1, vector, 0, 20, 6, math.inf),
    "classes": (lambda x: functional.cross_entropy(x, ROWS), lambda n: torch.rand(2, n), 1, 20, 6, math.inf),
    "one_hot": (lambda x: functional.one_hot(ROWS, x.shape[0]) + 1, vector, 0, 20, 6, math.inf),
    "one_hot of positions": (lambda x: functional.one_hot(torch.arange(len(x)), 9) + 1, vector, 0, 6, 1, 9),
    "positions": (positions, vector, 0, 6, 1, 9),
    "positions from a mask": (positions_from_a_mask, vector, 0, 4, 1, 7),
    "relative positions": (relative_positions, vector, 0, 3, 1, 5),
    # 5**2 // 4 is 6, 6**2 // 4 is 9.
    "squared positions": (squared_positions, vector, 0, 4, 1, 6),
    "rows of a table": (lambda x: TABLE[torch.arange(x.shape[0])] + 1, vector, 0, 6, 1, 9),
    "as_strided": (lambda x: x.as_strided((4,), (2,)).exp(), vector, 0, 20, 7, math.inf),
    "select_scatter": (lambda x: x.select_scatter(torch.ones(6), 0, 5), matrix, 0, 20, 6, math.inf),
    "slice_scatter": (lambda x: x.slice_scatter(torch.ones(3, 6), 0, 5, 8), matrix, 0, 20, 8, math.inf),
    "multinomial": (lambda x: x.multinomial(5) + 1, vector, 0, 20, 5, math.inf),
    "topk": (lambda x: x.topk(5).values + 1, vector, 0, 20, 5, math.inf),
    "largest of a rest": (lambda x: x[4:].max() + 1, vector, 0, 20, 5, math.inf),
    "resized": (lambda x: functional.interpolate(x, size=x.shape[2] - 4), sequence, 2, 20, 5, math.inf),
    "short-time Fourier transform": (
        lambda x: torch.stft(x, 16, 4, window=torch.ones(16), return_complex=True).abs(),
        vector,
        0,
        40,
        9,
        math.inf,
    ),
}


def runs(program, x):
    """Run a program on real tensors, and tell whether it fails."""
    try:
        program(x)
    except (IndexError, RuntimeError, ValueError):
        return False
    return True


def asks_for_more(program):
    """Tell whether PyTorch's fake kernel asks whether strides divide a size, so that formulas hold for fewer sizes."""
    return "pool" in program and torch.torch_version.TorchVersion(torch.__version__) < (2, 13)


@pytest.mark.parametrize("program", PROGRAMS)
def test_sizes_at_which_a_program_fails_have_no_number(program):
    """For each size up to 14: refused where it fails, and what a count at that size gives where it runs."""
    run, make, axis, example, first, last = PROGRAMS[program]
    profile = count(run, make(example), dynamic_shapes=({axis: N},))
    for size in range(1, 15):
        assert runs(run, make(size)) is (first <= size <= last)
        held = profile.holds({"n": size})
        assert held is (first <= size <= last) or (asks_for_more(program) and not held)
        if held:
            assert profile.at(n=size).total == count(run, make(size)).total
        else:
            with pytest.raises(ProfileError, match="n"):
                profile.at(n=size)


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("conv1d", "aten.convolution in Conv1d"),
        ("two convolutions", "aten.convolution in Sequential.2"),
        ("max_pool2d", "aten.max_pool2d_with_indices in MaxPool2d"),
        ("positions", "aten.embedding"),
        ("positions from a mask", "aten.embedding"),
        ("relative positions", "aten.embedding"),
        ("rows", "aten.index"),
        ("squared positions", "it fails at n = 7 (IndexError: index 9 is out of range for an axis of size 9)"),
    ],
)
def test_a_limit_is_one_inequality_of_the_size(program, reason):
    """Whatever the operators compare, and how many of them: what follows from another condition is left out."""
    run, make, axis, example, first, last = PROGRAMS[program]
    if asks_for_more(program):
        pytest.skip("This version has more conditions.")
    profile = count(run, make(example), dynamic_shapes=({axis: N},))
    assert [str(each.expression) for each in profile.conditions] == [f"n >= {first}" if first > 1 else f"n <= {last}"]
    assert profile.conditions[0].reason.startswith(reason)
    assert Profile.from_json(profile.to_json()) == profile
    with pytest.raises(ProfileError, match=r"hold for n [<>]= \d+ \("):
        profile.lambdify()(n=first - 1 if first > 1 else last + 1)


@pytest.mark.parametrize(
    "program",
    [
        lambda x: x[:, :, 4:].max(),
        lambda x: x[:, :, 4:].mode().values,
        lambda x: functional.grid_sample(
            x[..., None, 4:], torch.zeros(2, 3, 3, 2, device=x.device), align_corners=False
        ),
        lambda x: functional.adaptive_avg_pool2d(x[:, :, 4:], 3),
        lambda x: torch.multinomial(x[0], 5),
        lambda x: functional.one_hot(torch.arange(x.shape[2], device="cpu"), 3),
    ],
)
def test_counts_without_symbols_fail_where_a_run_fails(program):
    """Kernels of fake and meta tensors accept empty axes, and more samples than there are."""
    x = torch.ones(2, 4, 4)
    with pytest.raises((IndexError, RuntimeError)):
        program(x)
    for device in ("cpu", "meta"):
        with pytest.raises((IndexError, RuntimeError)):
            count(program, x.to(device))


def failing(fails):
    """Make a program whose failure no guard shows: it reads the size from a text."""

    def run(x):
        sizes = [*map(str, x.shape)]
        if all(map(str.isdigit, sizes)) and fails(*map(int, sizes)):
            raise ValueError(sizes)
        return x.exp()

    return run


@pytest.mark.parametrize(
    ("fails", "condition"),
    [
        (lambda n: n < 5, "n >= 5"),
        (lambda n: n < 20, "n >= 20"),
        (lambda n: n > 30, "n <= 30"),
        (lambda n: n > 20, "n <= 20"),
        (lambda n: n == 1, "Ne(n, 1)"),
    ],
)
def test_limits_without_guards_are_found_by_running(fails, condition):
    """The smallest and largest size that run, with the error beyond."""
    profile = count(failing(fails), torch.ones(20), dynamic_shapes=({0: N},))
    assert [str(each.expression) for each in profile.conditions] == [condition]
    assert "ValueError" in profile.conditions[0].reason
    for size in range(1, 50):
        assert profile.holds({"n": size}) is not fails(size)


def test_a_limit_of_several_sizes_together():
    """By hand: the program fails where both are less than 4."""
    run = failing(lambda n, m: n < 4 and m < 4)
    profile = count(run, torch.ones(20, 30), dynamic_shapes=({0: N, 1: M},))
    for n in range(1, 8):
        for m in range(1, 8):
            assert profile.holds({"n": n, "m": m}) is (n >= 4 or m >= 4)


def test_failures_of_every_second_size_are_refused():
    """They have no limit."""
    with pytest.raises(DimensionError, match=r"cannot be counted for all sizes: with n = 41 it fails \(ValueError"):
        count(failing(lambda n: n % 2 == 1), torch.ones(20), dynamic_shapes=({0: N},))


@pytest.mark.parametrize("limit", [1, 2, 13, 19])
def test_the_last_size_that_runs_is_found_among_those_that_conditions_allow(limit):
    """By looking at all of them; sizes at which the conditions do not hold are not run."""
    allowed = [size for size in range(1, 60) if size % 3 != 0]
    ran = []

    def runs(size):
        ran.append(size)
        return size > limit

    running, failing_ = last_running(runs, allowed.__contains__, 20, 1)
    assert running == min(size for size in allowed if size > limit)
    assert failing_ == max(size for size in allowed if size <= limit)
    assert set(ran) <= set(allowed)
    assert last_running(lambda size: size % 2 == 0, lambda _: True, 20, 1) is None


INDEXED = {
    "[n - 1]": (lambda x, n: x[n - 1], 1),
    "[:, n - 1]": (lambda x, n: x.t()[:, n - 1], 1),
    "[..., n - 1]": (lambda x, n: x.t()[..., n - 1], 1),
    "[-n]": (lambda x, n: x[-n], 1),
    "[n - 3, 2]": (lambda x, n: x[n - 3, 2], 3),
    "[n // 2, :]": (lambda x, n: x[n // 2, :], 1),
    "[rows, n - 1]": (lambda x, n: x.t()[torch.arange(6), n - 1], 1),
    "[len - 2]": (lambda x, n: x[len(x) - 2], 2),
    "a slice": (lambda x, n: x[2:][n - 3], 3),
}


@pytest.mark.parametrize("index", INDEXED)
def test_symbolic_indices_fix_no_size(index):
    """With the gradient: the operators of a run, and a condition only where a run fails.

    From the end, Python counts too: ``x[n - 3]`` is the last row but two for n = 2, which the formula leaves out.
    """
    program, first = INDEXED[index]

    def run(x):
        program(x, x.shape[0]).sin().sum().backward()

    profile = count(run, torch.rand(20, 6, requires_grad=True), dynamic_shapes=({0: N},))
    for size in (*range(first, 9), 20, 33):
        wanted = count(run, torch.rand(size, 6, requires_grad=True))
        found = profile.at(n=size)
        assert found.total == wanted.total
        assert [(row.op, row.calls) for row in found.rows] == [(row.op, row.calls) for row in wanted.rows]


def in_a_loop(x):
    return sum(each[place] for each, place in (([*range(100)], x.shape[0] - 1), (x.exp(), 3)))


@pytest.mark.parametrize(
    "program",
    [
        lambda x: x * [*range(50)][x.shape[0] - 1],
        lambda x: (x.exp(), [*range(50)][x.shape[0] - 1])[0],
        lambda x: x[[*range(50)][x.shape[0] - 1]],
        in_a_loop,
    ],
)
def test_symbolic_indices_of_lists_fix_the_size(program):
    """What a list holds at another size is another thing, also if a tensor is indexed next; the message says where."""
    with pytest.raises(DimensionError, match=r"the code \(test_symbolic_limits.py:\d+\) fixes it to 20"):
        count(program, torch.rand(20, 6), dynamic_shapes=({0: N},))


def parts(x, size):
    return [part.exp() for part in x.split(size)]


@pytest.mark.parametrize(
    ("size", "example", "runs"),
    [
        (lambda n: n // 2, 20, lambda n: n % 2 == 0 and n > 3),
        (lambda n: n - 3, 20, lambda n: n > 5),
        # Of 5 there are three parts, of more than 5 two.
        (lambda n: n - 3, 5, lambda n: n >= 5),
        (lambda _: 5, 20, lambda n: 16 <= n <= 20),
        # Six parts of 1; of 13, five parts of which the last is 1.
        (lambda n: n // 4, 6, lambda n: n == 6 or (n % 4 == 1 and n > 12)),
    ],
)
def test_a_split_by_a_symbolic_size_holds_for_as_many_parts(size, example, runs):
    """By hand: the sizes with as many parts as the example, or as a larger one if the example is alone with its own."""
    program = lambda x: parts(x, size(x.shape[0]))  # noqa: E731
    profile = count(program, torch.rand(example, 2), dynamic_shapes=({0: N},))
    held = [n for n in range(2, 30) if profile.holds({"n": n})]
    assert set(held) >= {n for n in range(2, 30) if runs(n)}
    for n in held:
        assert profile.at(n=n).total == count(program, torch.rand(n, 2)).total


@pytest.mark.parametrize(
    ("size", "conditions"),
    [
        (lambda _: 5, ["n >= 16", "n <= 20"]),
        (lambda n: n - 3, ["n >= 6"]),
        (lambda n: n // 2, ["Eq(Mod(n, 2), 0)"]),
        (lambda n: n, []),
    ],
)
def test_the_parts_of_a_split_are_inequalities(size, conditions):
    """By hand, of 20 split into parts of that size: not an equation of a rounded quotient."""
    profile = count(lambda x: parts(x, size(x.shape[0])), torch.rand(20, 2), dynamic_shapes=({0: N},))
    assert [str(each.expression) for each in profile.conditions] == conditions


def test_an_example_that_is_alone_is_told_so():
    """The message does not say that the program fails at other sizes, since it runs."""
    alone = lambda x: x.exp() if not (x.shape[0] > 9 or x.shape[0] < 9) or x.shape[0] % 2 else x.view(-1, 7)  # noqa: E731
    found = count(alone, torch.ones(9), dynamic_shapes=({0: N},))
    assert found.at(n=9).total == count(alone, torch.ones(9)).total


def test_checks_come_before_the_choice_of_a_kernel():
    """Without the check of the convolution there is no condition, since PyTorch compares while it chooses a kernel."""
    assert torch.ops.aten.convolution.default in fake_size_checks._CHECKS
    check = partial(fake_size_checks.check_sizes, torch.ops.aten.convolution.default)
    weight = torch.ones(3, 4, 5)
    check((torch.ones(2, 4, 3), weight, None, [1], [1], [1], False, [0], 1), {})
    with pytest.raises(RuntimeError, match="Kernel size can't be greater than actual input size"):
        check((torch.ones(2, 4, 2), weight, None, [1], [1], [1], False, [0], 1), {})
    check((torch.ones(2, 3, 2), weight, None, [1], [1], [1], True, [0], 1), {})
