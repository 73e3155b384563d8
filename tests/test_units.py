"""Numbers as people read them."""

import pytest

from opflops.units import duration, exact, scaled, share


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.000 k"),
        (1234, "1.234 k"),
        (12_345, "12.35 k"),
        (999_949, "999.9 k"),
        (999_950, "1.000 M"),
        (4_089_184_256, "4.089 G"),
        (306_669_254_868_992, "306.7 T"),
        (-1500, "-1.500 k"),
        (10**27, "1,000 Y"),
        (-(15 * 10**26 + 6 * 10**23), "-1,501 Y"),
        (10**400, f"{10**376:,} Y"),
    ],
)
def test_scaled_numbers_have_four_digits_and_a_prefix(value, text):
    """Rounding never prints 1000 of a unit that has a next one."""
    assert scaled(value) == text


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (388_800, "388,800"), (-1000, "-1,000")])
def test_exact_numbers_are_grouped_by_thousands(value, text):
    """No digit is lost."""
    assert exact(value) == text


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [(1, 3, "33.3"), (0, 5, "0.0"), (5, 5, "100.0"), (1, 0, ""), (0.5, 2.0, "25.0"), (10**400, 2 * 10**400, "50.0")],
)
def test_shares_are_percentages_with_one_decimal(part, whole, text):
    """A share of nothing is left out."""
    assert share(part, whole) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (75, "75.00 s"),
        (0.9999, "999.9 ms"),
        (0.99996, "1.000 s"),
        (1.5e-9, "1.500 ns"),
        (5e-12, "5.000 ps"),
        (5e-14, "0.050 ps"),
        (-2e-6, "-2.000 µs"),
    ],
)
def test_times_have_four_digits_and_a_unit(seconds, text):
    """A device of the fastest does an operation in less than a nanosecond."""
    assert duration(seconds) == text


def test_symbolic_counts_are_written_as_they_print():
    """A polynomial has no digits to group or scale."""

    class Symbol:
        def __str__(self):
            return "8*s"

    assert exact(Symbol()) == scaled(Symbol()) == "8*s"
    assert share(Symbol(), 3) == ""
