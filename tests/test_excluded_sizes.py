"""Sizes at which a size inside a program is 0 or 1 are allowed exactly where the formulas are right there.

By brute force: each program is counted at each size on its own. Sizes at which it runs, and at which that is what the
formulas say, have to be allowed, and no others but those that are cases of their own.
"""

from dataclasses import replace
from itertools import product

import pytest
import sympy
import torch
from torch import nn
from torch.export import Dim
from torch.nn import functional

from opflops import count
from opflops.counting import excluded_sizes
from opflops.profile.profile import Condition
from opflops.torch_internals.excluded_regions import excluded_region, failing_sizes, holds_at

B, M, N = Dim("b"), Dim("m"), Dim("n")


def leaf(*shape):
    return torch.ones(*shape, requires_grad=True)


def sequence(n):
    return leaf(2, 4, n)


def rows(n):
    return leaf(n, 3)


def square(n):
    return leaf(2, 4, n, n)


class Classifier(nn.Module):
    """Two strided convolutions, a normalization that fails for one value, and a mean."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 4, 3, 2), nn.BatchNorm2d(4)
        self.second, self.head = nn.Conv2d(4, 4, 3, 2, 1), nn.Linear(4, 5)

    def forward(self, x):
        x = self.second(functional.relu(self.norm(self.first(x))))
        return self.head(x.mean((2, 3)))


class UNet(nn.Module):
    """Halve an image twice, and double it twice, with skip connections."""

    def __init__(self):
        super().__init__()
        self.down = nn.ModuleList([nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 8, 3, padding=1)])
        self.middle = nn.Conv2d(8, 8, 3, padding=1)
        self.up = nn.ModuleList([nn.ConvTranspose2d(8, 8, 2, 2), nn.ConvTranspose2d(16, 4, 2, 2)])

    def forward(self, x):
        first = functional.relu(self.down[0](x))
        second = functional.relu(self.down[1](functional.max_pool2d(first, 2)))
        third = functional.relu(self.middle(functional.max_pool2d(second, 2)))
        return torch.cat([first, self.up[1](torch.cat([second, self.up[0](third)], 1))], 1)


class Patches(nn.Module):
    """Cut an image into patches for a transformer."""

    def __init__(self):
        super().__init__()
        self.cut = nn.Conv2d(3, 8, 4, 4)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    def forward(self, x):
        return self.layer(self.cut(x).flatten(2).transpose(1, 2))


def small_batches_fail(x):
    """A program with a part of size ``n // 2`` whose layout is another one if that and the batch are 1."""
    return x[:, : x.shape[1] // 2].permute(2, 1, 0).contiguous() + 1


# A program, its input, its dynamic shapes, and the sizes that are traced.
PROGRAMS = {
    "convolutions": (
        nn.Sequential(nn.Conv1d(4, 4, 4, 2), nn.ReLU(), nn.ConvTranspose1d(4, 4, 4, 2)),
        sequence,
        {2: N},
        (12,),
    ),
    "all but the first": (lambda x: x[:, 1:] @ x[:, 1:].mT, lambda n: leaf(2, n, 3), {1: N}, (9,)),
    "half": (lambda x: x[: x.shape[0] // 2].exp() + 1, rows, {0: N}, (9,)),
    "two chunks": (lambda x: [part.exp() for part in x.chunk(2)], rows, {0: N}, (9,)),
    "pairs": (lambda x: x.view(x.shape[0] // 2, 2, 3).sum(1), rows, {0: N}, (10,)),
    "largest half": (lambda x: x.topk(x.shape[0] // 2, 0).values * 2, rows, {0: N}, (9,)),
    "shifted": (
        lambda x: functional.cross_entropy(
            x[:, :-1].reshape(-1, 3), torch.zeros(2 * x.shape[1] - 2, dtype=torch.int64)
        ),
        lambda n: leaf(2, n, 3),
        {1: N},
        (9,),
    ),
    "pooling": (nn.MaxPool1d(3, 2), sequence, {2: N}, (10,)),
    "pooling of images": (nn.MaxPool2d(3, 2), square, {2: N, 3: N}, (10,)),
    "resampling": (
        lambda x: functional.interpolate(x, scale_factor=0.5, mode="bilinear"),
        square,
        {2: N, 3: N},
        (10,),
    ),
    "windows": (nn.Unfold(3), square, {2: N, 3: N}, (9,)),
    "fewer pixels": (nn.PixelUnshuffle(2), lambda n: leaf(2, 3, n, 12), {2: N}, (12,)),
    "patches of a row": (
        lambda x: x.view(x.shape[0], x.shape[1] // 4, 4, 2).mean(2),
        lambda b, n: leaf(b, n, 2),
        {0: B, 1: N},
        (2, 16),
    ),
    "classifier": (Classifier(), lambda b, n: leaf(b, 3, n, n), {0: B, 2: N, 3: N}, (2, 16)),
    "UNet": (UNet(), lambda n, m: leaf(2, 3, n, m), {2: N, 3: M}, (16, 24)),
    "patches": (Patches(), lambda n, m: leaf(2, 3, n, m), {2: N, 3: M}, (16, 20)),
    "rest": (lambda x: x[x.shape[1] :].exp() + 1, lambda n, m: leaf(n, m), {0: N, 1: M}, (12, 4)),
    "layout": (small_batches_fail, lambda b, n: leaf(b, n, 3), {0: B, 1: N}, (4, 8)),
}
# Excluded by a condition on both sizes together.
ALLOWED_LESS = {"rest": {(2, 1)}}
SIZES = {1: 12, 2: 8}


def work(profile):
    return {(row.module, row.op, row.phase, row.dtype): (row.calls, row.cost) for row in profile.rows if row.cost}


def counted(program, x):
    try:
        return count(program, x, backward=x.requires_grad)
    except (IndexError, RuntimeError, ValueError):
        return None


SLOW = ("patches", "UNet", "classifier", "rest", "shifted", "windows", "resampling", "pooling of images")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.exhaustive if name in SLOW else ()) for name in PROGRAMS]
)
def test_sizes_are_allowed_where_the_formulas_are_right(name):
    """None at which a count differs or the program fails; all at which the formulas without conditions are right."""
    program, make, spec, example = PROGRAMS[name]
    x = make(*example)
    profile = count(program, x, backward=x.requires_grad, dynamic_shapes=(spec,))
    unconditional = replace(profile, conditions=(), cases=())
    names = [str(dim.__name__) for dim in dict.fromkeys(spec.values())]
    for sizes in product(range(1, SIZES[len(names)]), repeat=len(names)):
        at = dict(zip(names, sizes, strict=True))
        real = counted(program, make(*sizes))
        if profile.holds(at):
            assert real is not None, at
            assert work(profile.at(**at)) == work(real), at
        elif real is not None and sizes not in ALLOWED_LESS.get(name, ()):
            assert work(unconditional.at(**at)) != work(real), at


@pytest.mark.parametrize(
    ("name", "conditions"),
    [
        ("convolutions", ["n >= 4"]),
        ("all but the first", []),
        ("pairs", ["Eq(Mod(n, 2), 0)", "Ne(n, 2)"]),
        ("fewer pixels", ["Eq(Mod(n, 2), 0)"]),
        ("patches of a row", ["Eq(Mod(n, 4), 0)"]),
        ("layout", ["Ne(b, 1) | Ne(floor(n/2), 1)"]),
        ("rest", ["-m + n >= 0", "Ne(-m**2 + m*n, 1)"]),
    ],
)
def test_conditions_are_few(name, conditions):
    """By hand: what the program needs, once, in the terms of its inputs."""
    program, make, spec, example = PROGRAMS[name]
    x = make(*example)
    profile = count(program, x, backward=x.requires_grad, dynamic_shapes=(spec,))
    assert sorted(str(each.expression) for each in profile.conditions) == conditions


def test_a_program_that_differs_where_a_derived_size_is_1_has_cases_there():
    """By hand: at 2 and 3 it exponentiates half of 3 columns, and adds elsewhere, which symbols do not show."""

    def hides(x):
        half = x[: x.shape[0] // 2]
        return half.exp() if str(half.shape[0]) == "1" else half + 1

    profile = count(hides, torch.ones(9, 3), dynamic_shapes=({0: N},))
    assert [dict(case.sizes) for case in profile.cases] == [{"n": 3}, {"n": 2}]
    assert [profile.at(n=n).total.transcendentals for n in (2, 3, 4, 9)] == [3, 3, 0, 0]
    assert [profile.at(n=n).total.ops for n in (1, 2, 3, 4, 9)] == [0, 0, 0, 6, 12]


def test_cases_are_of_a_few_sizes_only():
    """A program that branches at 4 holds beyond: what it does below is not counted size by size."""
    profile = count(lambda x: x.exp() if x.shape[0] > 4 else x, torch.ones(9, 3), dynamic_shapes=({0: N},))
    assert [size for size in range(2, 12) if not profile.holds({"n": size})] == [2, 3, 4]


def test_a_program_that_differs_there_for_other_sizes_of_another_axis_stays_excluded():
    """The count at the example's other size agrees; the trace with it left open does not."""

    def hides(x):
        half = x[: x.shape[0] // 2]
        return half.exp() if half.shape[0] == 1 and half.shape[1] > 5 else half + 1

    profile = count(hides, torch.ones(9, 4), dynamic_shapes=({0: N, 1: M},))
    for n, m in product(range(1, 8), range(1, 9)):
        if profile.holds({"n": n, "m": m}):
            assert profile.at(n=n, m=m).total == count(hides, torch.ones(n, m)).total


def test_a_weaker_condition_excludes_what_is_left():
    """By hand, of 2 and 3: a limit if the smallest are left and 1 is excluded too, else the sizes one by one."""
    n = sympy.Symbol("n")
    for relation, right, left in (
        (n >= 4, {3}, [n >= 3]),
        (n >= 4, {2}, [sympy.Ne(n, 3)]),
        (n >= 4, {2, 3}, []),
        (n >= 4, {5}, [n >= 4]),
        (sympy.Ne(sympy.floor(n / 2), 1), {3}, [sympy.Ne(n, 2)]),
    ):
        weaker = excluded_sizes._weakened(Condition(relation, "code"), "n", [2, 3], right)
        assert [each.expression for each in weaker] == left


def test_excluded_sizes_are_listed():
    """By looking at all sizes up to 200."""
    n, m = sympy.symbols("n m")
    for relation in (n >= 70, sympy.Ne(n, 100), sympy.Ne(sympy.floor(n / 16), 1), sympy.Ne(n**2 / 2 - n / 2, 6)):
        assert failing_sizes(relation) == [size for size in range(2, 200) if not relation.subs(n, size)]
    assert failing_sizes(n <= 70) is failing_sizes(sympy.Ne(n, m)) is failing_sizes(sympy.Eq(n % 2, 0)) is None


@pytest.mark.parametrize(
    "relation",
    [
        lambda n, m: sympy.Ne(sympy.floor(n / 2) * sympy.floor(m / 3), 1),
        lambda n, m: sympy.Ne(n - m, 1),
        lambda n, m: n - m >= 2,
        lambda n, m: sympy.Ne(m * sympy.floor(n / 4), 1),
    ],
)
def test_a_region_is_what_a_condition_excludes(relation):
    """By brute force: all sizes listed are excluded; for a bound, those that the weaker one allows."""
    n, m = sympy.symbols("n m")
    condition = relation(n, m)
    region = excluded_region(condition)
    for sizes in region.sizes:
        assert not holds_at(condition, sizes)
        assert region.weaker is None or holds_at(region.weaker, sizes)
    if region.is_finite:
        excluded = [
            {"m": second, "n": first}
            for second, first in product(range(1, 9), repeat=2)
            if not holds_at(condition, {"n": first, "m": second})
        ]
        assert sorted(region.sizes, key=str) == sorted(excluded, key=str)
