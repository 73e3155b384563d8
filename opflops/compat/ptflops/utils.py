"""Write counts as ptflops writes them: multiply-accumulates and parameters, with a unit."""

from __future__ import annotations

_STEPS = ((10**9, "GMac"), (10**6, "MMac"), (10**3, "KMac"))
_PARAM_STEPS = {"M": 10**6, "K": 10**3, "B": 10**9}


def flops_to_string(flops: float, units: str | None = None, precision: int = 2) -> str:
    """Write multiply-accumulates with a unit, as in ``"4.09 GMac"``.

    >>> flops_to_string(4_089_184_256), flops_to_string(15_000, "MMac", precision=3), flops_to_string(12)
    ('4.09 GMac', '0.015 MMac', '12 Mac')

    Args:
        flops: The multiply-accumulates.
        units: ``"GMac"``, ``"MMac"`` or ``"KMac"``; anything else writes the number itself, in ``Mac``. By default the
            largest that is not above the number.
        precision: How many decimal places there are at most.
    """
    if units is None:
        units = next((unit for size, unit in _STEPS if flops >= size), "Mac")
    for size, unit in _STEPS:
        if units == unit:
            return f"{round(flops / size, precision)} {unit}"
    return f"{flops} Mac"


def params_to_string(params_num: float, units: str | None = None, precision: int = 2) -> str:
    """Write a number of parameters with a unit, as in ``"25.56 M"``.

    >>> params_to_string(25_557_032), params_to_string(9_408), params_to_string(9_408, "K", 1), params_to_string(7)
    ('25.56 M', '9.41 k', '9.4 K', '7')

    Args:
        params_num: The parameters.
        units: ``"M"``, ``"K"`` or ``"B"``; anything else writes the number itself. By default ``M`` or ``k``, or none.
        precision: How many decimal places there are at most.
    """
    if units is None:
        for size, unit in ((10**6, "M"), (10**3, "k")):
            if params_num >= size:
                return f"{round(params_num / size, precision)} {unit}"
        return str(params_num)
    if units in _PARAM_STEPS:
        return f"{round(params_num / _PARAM_STEPS[units], precision)} {units}"
    return str(params_num)
