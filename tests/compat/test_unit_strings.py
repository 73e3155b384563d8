"""The text of numbers that DeepSpeed's profiler and calflops share."""

import pytest

from opflops.compat import calflops, deepspeed
from opflops.errors import OpflopsError


@pytest.mark.parametrize(
    ("number", "text"),
    [
        *(
            (0, "0 "),
            (1, "1 "),
            (999, "999 "),
            (999.999, "1000 "),
            (1000, "1 K"),
            (1234, "1.23 K"),
            (999_999, "1000 K"),
        ),
        *((10**6, "1 M"), (4_089_184_256, "4.09 G"), (10**12, "1 T"), (1.5e18, "1.5e+06 T"), (123_456_789, "123.46 M")),
        *((0.25, "250 m"), (0.001, "1 m"), (0.000123456, "123.46 u"), (1e-9, "0 u"), (-5, "-5e+06 u")),
    ],
)
def test_a_number_has_the_largest_unit_that_is_not_larger(number, text):
    """Two decimals, no zeros at the end, six digits at most, and a space before a unit that is empty."""
    assert deepspeed.number_to_string(number) == calflops.number_to_string(number) == text


def test_each_quantity_has_its_own_letters():
    """Parameters have none, and billions of them are B; bytes are decimal; times are seconds."""
    assert deepspeed.flops_to_string(4.2e9) == "4.2 GFLOPS"
    assert deepspeed.macs_to_string(12) == "12 MACs"
    assert deepspeed.bytes_to_string(1_500_000) == "1.5 MB"
    assert deepspeed.duration_to_string(0.0257) == "25.7 ms"
    assert [deepspeed.params_to_string(each) for each in (12, 25_557_032, 6.74e9)] == ["12", "25.56 M", "6.74 B"]


def test_units_and_decimals_can_be_given():
    """Parameters also in B."""
    assert deepspeed.number_to_string(4_089_184_256, units="M", precision=1) == "4089.2 M"
    assert deepspeed.flops_to_string(1234, "", 3) == "1234 FLOPS"
    assert deepspeed.macs_to_string(1234, "K", 3) == "1.234 KMACs"
    assert deepspeed.params_to_string(6_738_415_616, units="B", precision=3) == "6.738 B"


@pytest.mark.parametrize("unit", ["GFLOPs", "k", "P", "B"])
def test_a_unit_without_a_known_size_is_an_error(unit):
    """The other counters write the number undivided before it, which is another one."""
    with pytest.raises(OpflopsError, match=f"{unit!r}.*'T', 'G', 'M', 'K'"):
        calflops.flops_to_string(1.5e9, units=unit)
