"""Write numbers for people: exact with thousands separators, or scaled with an SI prefix."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

from opflops.records.algebra import is_expression
from opflops.records.expressions import format_count, format_leading_term

_PREFIXES = ("", " k", " M", " G", " T", " P", " E", " Z", " Y")
_TIMES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"), (1e-12, "ps"))


def exact(value: Any) -> str:
    """Write a count in full, an expression with all its terms.

    >>> exact(4089184256)
    '4,089,184,256'
    """
    if type(value) is int:
        return f"{value:,}"
    if is_expression(value):
        return format_count(value)
    return f"{int(value):,}" if isinstance(value, Integral) else str(value)


def scaled(value: Any) -> str:
    """Write a count with four significant digits and an SI prefix; below a thousand it stays exact.

    Of an expression only the leading term is written.

    >>> scaled(4089184256), scaled(999999), scaled(12)
    ('4.089 G', '1.000 M', '12')
    """
    if is_expression(value):
        return format_leading_term(value)
    if not isinstance(value, Integral):
        return str(value)
    value = int(value)
    if abs(value) < 1000:  # noqa: PLR2004 - the step between SI prefixes
        return str(value)
    # Compute with integers, since floats cannot hold all of them. A value that rounds up to 1000 gets the next prefix.
    unit, power = 1, 0
    while 100 * abs(value) >= 99_995 * unit and power < len(_PREFIXES) - 1:
        unit *= 1000
        power += 1
    whole_digits = len(str(abs(value) // unit))
    if whole_digits > 3:  # noqa: PLR2004 - beyond the largest prefix
        return f"{(2 * value + unit) // (2 * unit):,}{_PREFIXES[power]}"
    return f"{value / unit:.{4 - whole_digits}f}{_PREFIXES[power]}"


def data_size(number: int) -> str:
    """Write a number of bytes with four significant digits and an SI prefix: a GB is 10**9 bytes, as in datasheets.

    >>> data_size(3_950_984), data_size(512), data_size(80 * 10**9)
    ('3.951 MB', '512 B', '80.00 GB')
    """
    text = scaled(number)
    return f"{text}B" if " " in text else f"{text} B"


def share(part: Any, whole: Any) -> str:
    """Write a part of a whole in percent; "" if the whole is 0 or one of them is not a number.

    >>> share(1, 3), share(0.5, 2.0), share(0, 0)
    ('33.3', '25.0', '')
    """
    if not (isinstance(part, Real) and isinstance(whole, Real)) or whole == 0:
        return ""
    return f"{100 * part / whole:.1f}"


def duration(seconds: float) -> str:
    """Write a time with four significant digits.

    >>> duration(0.0012345), duration(75)
    ('1.234 ms', '75.00 s')
    """
    size = abs(seconds)
    # A time just below a unit rounds up to it.
    factor, unit = next((each for each in _TIMES if size >= each[0] * 0.99995), _TIMES[-1])
    value = seconds / factor
    whole_digits = len(str(int(abs(value))))
    return f"{value:,.{max(0, 4 - whole_digits)}f} {unit}" if seconds else "0 s"
