"""Write numbers as DeepSpeed's flops profiler and calflops do, such as ``"4.09 GMACs"``."""

from __future__ import annotations

from opflops.compat.peer_errors import PeerArgumentError

DEFAULT_PRECISION = 2
"""The decimals of a number that is divided by its unit."""

_MAGNITUDES = {"T": 1e12, "G": 1e9, "M": 1e6, "K": 1e3, "": 1, "m": 1e-3, "u": 1e-6}


def _unit_of(number: float) -> str:
    if number == 0:
        return ""
    return next((unit for unit, magnitude in _MAGNITUDES.items() if number >= magnitude), "u")


def number_to_string(num: float, units: str | None = None, precision: int = DEFAULT_PRECISION) -> str:
    """Write a number and the prefix of its unit, with a space between them also where the prefix is empty.

    >>> number_to_string(4089184256), number_to_string(12), number_to_string(0.25)
    ('4.09 G', '12 ', '250 m')
    >>> number_to_string(4089184256, units="M", precision=1)
    '4089.2 M'

    Args:
        num: The number.
        units: ``"T"``, ``"G"``, ``"M"``, ``"K"``, ``""``, ``"m"`` or ``"u"``; None for the largest that is not larger
            than the number.
        precision: How many decimals are kept. No more than six digits are written.

    Raises:
        PeerArgumentError: The unit is none of these.
    """
    unit = _unit_of(num) if units is None else units
    if unit not in _MAGNITUDES:
        raise PeerArgumentError(
            f"The unit {unit!r} has no known size, so that no number can be written in it. Use 'T', 'G', 'M', 'K', '', "
            "'m' or 'u', without the name of what is counted; parameters can also be in 'B', for billions."
        )
    return f"{round(num / _MAGNITUDES[unit], precision):g} {unit}"


def flops_to_string(flops: float, units: str | None = None, precision: int = DEFAULT_PRECISION) -> str:
    """Write floating-point operations, or such operations a second, as in ``"8.18 GFLOPS"``.

    Raises:
        PeerArgumentError: The unit is unknown; see :func:`number_to_string`.
    """
    return f"{number_to_string(flops, units, precision)}FLOPS"


def macs_to_string(macs: float, units: str | None = None, precision: int = DEFAULT_PRECISION) -> str:
    """Write multiply-accumulates, as in ``"4.09 GMACs"``.

    Raises:
        PeerArgumentError: The unit is unknown; see :func:`number_to_string`.
    """
    return f"{number_to_string(macs, units, precision)}MACs"


def bytes_to_string(b: float, units: str | None = None, precision: int = DEFAULT_PRECISION) -> str:
    """Write bytes, as in ``"1.5 MB"``; an MB is 10**6 bytes.

    Raises:
        PeerArgumentError: The unit is unknown; see :func:`number_to_string`.
    """
    return f"{number_to_string(b, units, precision)}B"


def params_to_string(params_num: float, units: str | None = None, precision: int = DEFAULT_PRECISION) -> str:
    """Write a number of parameters, billions with a B, as in ``"6.74 B"``; without a space at the end.

    Raises:
        PeerArgumentError: The unit is unknown; see :func:`number_to_string`.
    """
    unit = "G" if units == "B" else units
    return number_to_string(params_num, unit, precision).replace("G", "B").strip()


def duration_to_string(duration: float, units: str | None = None, precision: int = DEFAULT_PRECISION) -> str:
    """Write a time given in seconds, as in ``"25.7 ms"``.

    Raises:
        PeerArgumentError: The unit is unknown; see :func:`number_to_string`.
    """
    return f"{number_to_string(duration, units, precision)}s"
