"""Rates of devices: what is no rate is refused where it is given, not where it is used."""

from math import inf, nan

import pytest

from opflops import ProfileError
from opflops.devices import Device


@pytest.mark.parametrize("rate", [inf, -inf, nan, 0, -1.0])
def test_a_rate_is_above_zero_and_finite(rate):
    """Of arithmetic as of memory; the message names the device, the rate and what it is for."""
    with pytest.raises(
        ProfileError, match=rf"The rate of device 'odd' for float32 must be above zero and finite, not {rate}\."
    ):
        Device("odd", {"float32": rate}, 1.0)
    with pytest.raises(ProfileError, match=rf"The rate of device 'odd' for bandwidth must be .*, not {rate}\."):
        Device("odd", {"float32": 1.0}, rate)


def test_any_size_of_rate_is_taken():
    """Whole numbers too, beyond what a double holds."""
    assert Device("fast", {"float32": 10**400}, 5e-324).peak("float32") == 10**400
