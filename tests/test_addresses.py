"""Distinct addresses of strided tensors, against the set of all addresses."""

import json
from dataclasses import replace

import pytest
import sympy
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from torch import nn
from torch.export import Dim

from opflops import OpFlopMode, Profile, count
from opflops.errors import TooManyAddressesError
from opflops.records import addresses
from opflops.records.addresses import address_bound, distinct_addresses
from opflops.torch_internals.sympy_inequalities import is_at_least, without_floor

PATTERNS = some.lists(some.tuples(some.integers(0, 6), some.integers(0, 40)), max_size=5)


def listed(sizes, strides):
    """Visit every element."""
    found = {0}
    if 0 in sizes:
        return 0
    for size, stride in zip(sizes, strides, strict=True):
        found = {start + index * stride for start in found for index in range(size)}
    return len(found)


def check(pattern):
    sizes, strides = (tuple(each[index] for each in pattern) for index in (0, 1))
    distinct_addresses.cache_clear()
    assert distinct_addresses(sizes, strides) == listed(sizes, strides)
    assert listed(sizes, strides) <= address_bound(sizes, strides)


@given(PATTERNS)
@settings(max_examples=400, deadline=None)
def test_every_pattern_of_strides_is_counted_exactly(pattern):
    """Against the set of all addresses: overlapping, broadcast, empty and dense tensors."""
    check(pattern)


@given(PATTERNS)
@settings(max_examples=400, deadline=None)
def test_addresses_marked_as_bits_are_those_that_are_listed(pattern):
    """The way for larger tensors, on small ones."""
    few, addresses.FEW_SUMS = addresses.FEW_SUMS, 0
    try:
        check(pattern)
    finally:
        addresses.FEW_SUMS = few


@pytest.mark.parametrize(
    ("sizes", "strides", "expected"),
    [
        ((1000, 1000), (1, 1), 1999),
        ((10**6, 400), (160, 1), 160 * (10**6 - 1) + 400),
        # 3 i + 5 j: of 7 * 4 sums, 3 i + 5 j = 3 (i - 5) + 5 (j + 3) for 2 * 1 pairs.
        ((7, 4), (3, 5), 26),
        ((10**5, 10**5), (10**5 - 1, 10**5), 10**10 - (10**5 - 10**5) * 1),
        # Every third sample of dilated windows, in rows of 1000: two windows' worth in each row.
        ((4, 3, 5), (1000, 6, 3), 4 * (5 + 2 * 2)),
    ],
)
def test_large_patterns_take_a_closed_form(sizes, strides, expected):
    """By hand, without visiting an element."""
    assert distinct_addresses(sizes, strides) == expected


def test_a_pattern_that_is_too_large_says_so():
    """Three dimensions of ten thousand whose sums meet anywhere; the profile has an upper bound, and the reason."""
    sizes, strides = (10**4,) * 3, (10**6 + 3, 10**6 + 1, 10**6 + 7)
    with pytest.raises(TooManyAddressesError, match=r"10000, 10000, 10000 .*1000001, 1000003, 1000007"):
        distinct_addresses(sizes, strides)
    view = torch.zeros(1, device="meta").as_strided(sizes, strides)
    with OpFlopMode() as m:
        view.exp()
        view.exp()
    (row,) = m.profile.rows
    assert row.calls == 2
    assert row.cost.bytes_read == 2 * 4 * (1 + 9999 * (3 * 10**6 + 11))
    assert "bytes are an upper bound" in row.estimate
    assert "Estimated: aten.exp, 2 calls: bytes are an upper bound" in str(m)
    assert distinct_addresses((2, 3), (1, 1)) == 4


def read_by_exp(profile):
    return profile.by("op")["aten.exp"].bytes_read


VIEWS = {
    "windows of a slice": lambda x: x[:, :, :, :10].unfold(3, 3, 1),
    "frames": lambda x: x.unfold(3, 5, 2),
    "frames with gaps": lambda x: x.unfold(3, 3, 5),
    "patches": lambda x: x.unfold(2, 3, 2).unfold(3, 3, 2),
    "patches of a transposed image": lambda x: x.transpose(2, 3).unfold(2, 4, 1).unfold(3, 3, 2),
    "patches across and gaps down": lambda x: x.unfold(2, 2, 3).unfold(3, 5, 1),
    "windows of every other column": lambda x: x[:, :, 1:-1, ::2].unfold(2, 3, 1).unfold(3, 3, 2),
    "expanded windows": lambda x: x.unfold(3, 4, 3)[None].expand(6, -1, -1, -1, -1, -1),
    "dilated windows": lambda x: x.as_strided((x.shape[3] - 6, 3), (1, 3)),
    "strides without a common divisor": lambda x: x.as_strided((x.shape[2], x.shape[3] // 3), (2, 3)),
    "strides that no rule fits": lambda x: x.as_strided((x.shape[2] - 4, 3, 2), (2, 3, 7)),
}


@pytest.mark.parametrize("name", VIEWS)
def test_real_meta_fake_and_symbolic_views_read_the_same(name):
    """By listing the addresses of the real view, at several sizes of the formula."""
    view = VIEWS[name]

    def program(x):
        return view(x).exp()

    sizes = ({0: Dim("n"), 2: Dim("h", min=8), 3: Dim("w", min=16)},)
    formula = count(program, torch.zeros(2, 3, 21, 40), dynamic_shapes=sizes)
    compared = 0
    for n, h, w in ((2, 8, 16), (2, 9, 17), (3, 20, 33), (4, 13, 24)):
        x = torch.zeros(n, 3, h, w)
        expected = 4 * listed(tuple(view(x).shape), view(x).stride())
        with OpFlopMode() as m:
            program(x)
        assert read_by_exp(m.profile) == expected
        assert read_by_exp(count(program, x)) == read_by_exp(count(program, x.to("meta"))) == expected
        if formula.holds({"n": n, "h": h, "w": w}):
            compared += 1
            known = Profile.from_json(formula.to_json()).at(n=n, h=h, w=w)
            assert read_by_exp(known) == expected
            assert formula.where(op="aten.exp").lambdify()(n=n, h=h, w=w).bytes_read == expected
    assert compared >= 2


def test_audio_frames_are_a_polynomial_apart_from_rounding():
    """Frames of 400 samples every 160: 400 and 160 for each further frame."""
    p = count(
        lambda x: x.unfold(1, 400, 160).exp(), torch.zeros(2, 9000), dynamic_shapes=({1: Dim("length", min=400)},)
    )
    length = sympy.Symbol("length")
    frames = 1 + sympy.floor((length - 400) / 160)
    assert sympy.expand(read_by_exp(p) - 2 * 4 * (400 + 160 * (frames - 1))) == 0


def test_an_irregular_pattern_is_a_function_of_its_sizes():
    """It goes through JSON, and is exact once sizes are known."""
    p = count(
        lambda x: x.as_strided((x.shape[0] - 4, 3, 2), (2, 3, 7)).exp(),
        torch.zeros(30, 4),
        dynamic_shapes=({0: Dim("n", min=9)},),
    )
    assert "distinct_addresses(n - 4, 2, 3, 3, 2, 7)" in str(read_by_exp(p))
    assert Profile.from_json(p.to_json()) == p
    assert json.loads(replace(p, execution=None).to_json())["version"] == 2
    assert read_by_exp(p.at(n=20)) == 4 * listed((16, 3, 2), (2, 3, 7))


def test_a_tensor_written_in_place_is_written_once_where_it_overlaps():
    """PyTorch lets windows change in place if no stride is 0."""
    windows = torch.zeros(20).as_strided((3, 3), (2, 2))
    with OpFlopMode() as m:
        windows.mul_(2)
    assert (m.total.bytes_read, m.total.bytes_written) == (4 * 5, 4 * 5)


def test_a_module_that_reads_windows():
    """A linear layer over frames: 240 + 160 * 12 distinct samples, its weight and its bias."""
    with OpFlopMode() as m:
        nn.functional.gelu(torch.zeros(2320).unfold(0, 400, 160))
    assert m.total.bytes_read == 4 * (400 + 160 * 12)


n, m, k = sympy.symbols("n m k", integer=True, positive=True)


@pytest.mark.parametrize(
    ("expression", "least", "holds"),
    [
        (n - 2, 0, True),
        (n - 3, 0, False),
        (n * m - 2 * n, 0, False),
        (n - 2 * sympy.floor(n / 2), 0, True),
        (n - 2 * sympy.floor(n / 2) - 1, 0, False),
        (2 * sympy.floor(n / 2) - n + 1, 0, True),
        (2 * sympy.floor(n / 2) - n, 0, False),
        (m * n - 2 * m * sympy.floor((n - 3) / 2) - 3 * m, 0, True),
        (n - 4 * sympy.floor(sympy.floor(n / 2) / 2), 0, True),
        (n - sympy.floor(n / 2) * sympy.floor(m / 2), 0, False),
        (n - sympy.floor(n / m), 0, False),
    ],
)
def test_inequalities_with_rounding_are_proved_only_where_they_hold(expression, least, holds):
    """For all sizes from 2 up, by trying them; what is not proved may hold."""
    assert is_at_least(expression, least) is holds
    if holds:
        for sizes in ((a, b) for a in range(2, 30) for b in range(2, 9)):
            assert expression.xreplace({n: sympy.Integer(sizes[0]), m: sympy.Integer(sizes[1])}) >= least


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (sympy.floor(n / 3) - 2, [n - 6]),
        (4 * sympy.floor(n / 3) - 2, [n - 3]),
        (5 * m * sympy.floor((n - 3) / 2), [n - 3]),
        (m * sympy.floor(n / 2) - 1, []),
        (-sympy.floor(n / 2), []),
        (sympy.floor(n / 2) + sympy.floor(m / 2), []),
    ],
)
def test_floor_is_dropped_where_that_changes_nothing(expression, expected):
    """``4 * floor(n/3) >= 2`` is ``n/3 >= 1``."""
    assert without_floor(expression) == expected
