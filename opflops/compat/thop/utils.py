"""Write counts as thop writes them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_STEPS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "K"))


def clever_format(nums: Any, format: str = "%.2f") -> Any:
    """Write numbers with a unit each: ``T``, ``G``, ``M``, ``K``, or ``B`` for those up to 1000.

    >>> clever_format([4089184256.0, 25557032.0], "%.3f"), clever_format(1000)
    (('4.089G', '25.557M'), '1000.00B')

    Args:
        nums: A number, or several.
        format: How to write a number, as for the operator ``%``.

    Returns:
        A text for one number, also if it is in a list, and a tuple of texts for several.
    """
    numbers = list(nums) if isinstance(nums, Iterable) else [nums]
    texts = [_write(number, format) for number in numbers]
    return texts[0] if len(texts) == 1 else tuple(texts)


def _write(number: float, format: str) -> str:
    size, unit = next((step for step in _STEPS if number > step[0]), (1, "B"))
    return format % (number / size) + unit


COLOR_RED, COLOR_GREEN, COLOR_YELLOW = "91m", "92m", "93m"


def colorful_print(fn_print: Callable[..., Any], color: str = COLOR_RED) -> Callable[..., None]:
    """Make a function that prints in a color, as another one does without."""

    def actual_call(*args: Any, **kwargs: Any) -> None:
        print(f"\033[{color}", end="")  # noqa: T201 - as thop
        fn_print(*args, **kwargs)
        print("\033[00m", end="")  # noqa: T201

    return actual_call


prRed = colorful_print(print, COLOR_RED)  # noqa: N816 - the names of thop
prGreen = colorful_print(print, COLOR_GREEN)  # noqa: N816
prYellow = colorful_print(print, COLOR_YELLOW)  # noqa: N816
