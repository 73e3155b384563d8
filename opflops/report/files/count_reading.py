"""Read counts of a document: whole numbers, or expressions in its dimensions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opflops.records.algebra import as_int
from opflops.records.dimensions import example_sizes
from opflops.records.expression_limits import value_at
from opflops.records.parsing import parse
from opflops.report.files.checks import DamagedError, check_size, quote, shortened
from opflops.report.files.codec import DIFFERENCE_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opflops.records.dimensions import Condition, Dimension


class CountReader:
    """Read counts, which are numbers, or expressions in some dimensions.

    Args:
        dimensions: The dimensions.
        conditions: What must be true of their sizes. Where the examples are outside, values there say nothing.
        may_be_negative: Whether the profile is the difference of two.
    """

    def __init__(
        self, dimensions: Sequence[Dimension], conditions: Sequence[Condition], *, may_be_negative: bool
    ) -> None:
        self._dimensions = dimensions
        self._sizes = example_sizes(dimensions)
        self._is_exact = all(value_at(each.expression, self._sizes) == True for each in conditions)  # noqa: E712 - sympy's
        self._may_be_negative = may_be_negative
        self._expressions: dict[str, tuple[Any, int]] = {}

    def count(self, count: Any, name: str) -> Any:
        """Read a count."""
        found, value = self._evaluated(count, name)
        self.check_sign(value, name)
        return found

    def size(self, size: Any, name: str) -> Any:
        """Read the size of a tensor, which is not negative in a difference either."""
        if not isinstance(size, str) or not self._dimensions:
            return check_size(size, name)
        found, value = self._evaluated(size, name)
        check_size(value, f"{name} {quote(size)}")
        return found

    def whole_number(self, number: Any, name: str) -> int:
        """Read a count that is no expression."""
        if type(number) is not int:
            raise DamagedError(f"counts must be whole numbers, but {shortened(name)} is {quote(number)}")
        self.check_sign(number, name)
        return number

    def check_sign(self, number: float, name: str) -> None:
        """Check that a number is not negative, unless the profile is a difference."""
        if number < 0 and not self._may_be_negative:
            raise DamagedError(
                f"{name} must be 0 or more, not {quote(number)}; only a difference of profiles, which has "
                f'"schema": "{DIFFERENCE_SCHEMA}", has negative numbers,'
            )

    def _evaluated(self, count: Any, name: str) -> tuple[Any, int]:
        """Return a count with its value at the sizes of the example; 0 if it says nothing there."""
        if isinstance(count, str) and self._dimensions:
            if count not in self._expressions:
                self._expressions[count] = self._parse(count, name)
            return self._expressions[count]
        if type(count) is not int:
            raise DamagedError(f"counts must be whole numbers, but {shortened(name)} is {quote(count)}")
        return count, count

    def _parse(self, text: str, name: str) -> tuple[Any, int]:
        expression = as_int(parse_expression(text, self._dimensions))
        if not hasattr(expression, "as_coeff_Mul") and type(expression) is not int:
            raise DamagedError(f"counts must be whole numbers, but {name} is {quote(text)}")
        try:
            value = expression if type(expression) is int else value_at(expression, self._sizes)
        except ValueError as error:
            raise DamagedError(f"{quote(text)} is not a count: {error}") from error
        if getattr(expression, "free_symbols", ()) and not self._is_exact:
            return expression, 0
        if type(value) is not int:
            at = ", ".join(f"{each}={size}" for each, size in self._sizes.items())
            raise DamagedError(
                f"counts must be whole numbers, but {name} is {quote(text)}, which is {quote(value)} at {at}"
            )
        return expression, value


def parse_expression(text: str, dimensions: Sequence[Dimension]) -> Any:
    """Read an expression or a condition in some dimensions."""
    try:
        return parse(text, [each.name for each in dimensions])
    except ValueError as error:
        raise DamagedError(str(error)) from error
