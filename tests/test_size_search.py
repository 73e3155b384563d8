"""The search for the largest size that fits: exact on functions whose answer is known, in few measurements."""

import random

import pytest

from opflops.counting.size_search import Needs, SizeSearch

AVAILABLE = 80 * 10**9


def search(needed, start=1, *, runs=lambda _: True, constant=0, **options):
    """Search with a function from a size to bytes, or to bytes by phase."""

    def measure(size):
        found = needed(size)
        return Needs(found if isinstance(found, dict) else {"all": found}, constant) if runs(size) else None

    made = SizeSearch(measure, AVAILABLE, **options)
    made.run(start)
    return made


@pytest.mark.parametrize("start", [1, 7, 1000, 10**7])
def test_a_straight_line_takes_few_measurements(start):
    """Two for the line, one where it crosses and one above: 3 GB and 7,001 bytes for each."""
    found = search(lambda size: 3 * 10**9 + 7001 * size, start)
    assert (found.low, found.is_exact) == (77 * 10**9 // 7001, True)
    assert len(found.measured) <= 5


def test_the_first_guess_uses_what_does_not_grow():
    """With the constant part known, one measurement says where the line crosses."""
    found = search(lambda size: 3 * 10**9 + 7001 * size, constant=3 * 10**9)
    assert len(found.measured) == 3


def test_squares_are_followed():
    """As of attention without a fused kernel."""
    found = search(lambda size: 10**9 + 5 * 10**5 * size + 1600 * size * size, 64)
    needs = found.measured
    assert found.is_exact
    assert needs[found.low].peak <= AVAILABLE < needs[found.low + 1].peak
    assert len(needs) <= 8


def test_a_phase_that_is_small_at_first_may_limit():
    """The step of the optimizer needs most at small sizes, and is the same for all."""
    found = search(lambda size: {"backward": 10**6 * size, "optimizer": 60 * 10**9}, constant=60 * 10**9)
    assert (found.low, found.is_exact) == (80_000, True)
    assert len(found.measured) <= 8


def test_nothing_fits():
    """The size 1 is measured, and is the one that does not fit."""
    found = search(lambda size: AVAILABLE + size, 32)
    assert (found.low, found.high, found.is_exact) == (0, 1, True)


def test_nothing_limits():
    """The sizes grow until there were enough, and nothing is claimed."""
    found = search(lambda _: 5)
    assert (found.high, found.is_exact, len(found.measured)) == (None, False, 12)
    assert found.low > 10**6


@pytest.mark.parametrize("limit", [1024, 512, 1000, 77, 1])
def test_a_model_may_have_a_limit_of_its_own(limit):
    """It does not run above it; powers of two are found at once."""
    found = search(lambda size: 10**6 * size, runs=lambda size: size <= limit)
    assert (found.low, found.high, found.is_exact) == (limit, limit + 1, True)
    fitting = [size for size in found.measured if size <= limit]
    assert len(fitting) <= 12
    assert len(found.measured) <= (8 if limit in (1024, 512) else 24)


def test_a_maximum_is_not_passed():
    """It is tried itself."""
    found = search(lambda size: 10**6 * size, maximum=100)
    assert (found.low, found.is_exact, max(found.measured)) == (100, True, 100)


def test_a_minimum_is_not_passed():
    """Smaller sizes are not tried."""
    found = search(lambda size: AVAILABLE + size, 32, low=15)
    assert (found.low, found.high, min(found.measured)) == (15, 16, 16)


def test_random_functions_have_exact_answers():
    """Maxima of straight lines, squares and steps, as sums of rounded sizes are, compared with a bisection."""
    numbers = random.Random(17)  # noqa: S311 - no secret
    exact = 0
    for _ in range(300):
        lines = [
            (numbers.randrange(50 * 10**9), numbers.randrange(1, 10 ** numbers.randrange(3, 10))) for _ in range(3)
        ]
        square, step = numbers.choice([0, 0, numbers.randrange(1, 10**4)]), numbers.choice([1, 512])

        def needed(size, lines=lines, square=square, step=step):
            parts = (-(-(a + b * size + square * size * size) // step) * step for a, b in lines)
            return dict(enumerate(parts))

        found = search(needed, numbers.choice([1, 2, 16]))
        fits = lambda size, needed=needed: max(needed(size).values()) <= AVAILABLE  # noqa: E731
        assert found.low == 0 or fits(found.low)
        assert found.high is None or not fits(found.high)
        assert len(found.measured) <= 12
        exact += found.is_exact
    assert exact == 300
