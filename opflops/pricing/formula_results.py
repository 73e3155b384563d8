"""Check the counts that formulas return.

One wrong count makes no profile unreadable: what a formula of somebody else returns is checked at each call, where the
error names it. The formulas of opflops are tested, so that only the first call of each is checked, and the sums.
"""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING, Any

from opflops.errors import FormulaError
from opflops.pricing.schema_binding import describe
from opflops.records.algebra import as_int, is_expression
from opflops.records.cost import Cost, Estimate, is_whole
from opflops.torch_internals.tracing import SYMBOLIC_TYPES, count_at_example

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def name_formula(op: str, formula: Callable[..., Any] | None = None) -> str:
    """Name the formula of an operator, as the subject of an error; with its own name if that is known."""
    return f"The formula of {op}" if formula is None else f"The formula {describe(formula)} of {op}"


def estimated_cost(op: str, answer: Any, reason: str, formula: Callable[..., Any] | None = None) -> tuple[Cost, str]:
    """Return the cost of an estimate, and why it is one.

    Args:
        op: The operator.
        answer: What its formula returned, if that is no cost.
        reason: Why the cost is an estimate anyway, or "".
        formula: The formula, for the error; None if it is not known.

    Raises:
        FormulaError: The formula returned something else.
    """
    if type(answer) is not Estimate or type(answer.cost) is not Cost:
        raise FormulaError(f"{name_formula(op, formula)} returned {answer!r}. It must return an opflops.Cost.")
    if type(answer.reason) is not str or not answer.reason:
        raise FormulaError(
            f"{name_formula(op, formula)} returned an Estimate with the reason {answer.reason!r}. It must be text that "
            "says why the cost is not exact."
        )
    return answer.cost, f"{answer.reason}; {reason}" if reason else answer.reason


def check_whole(op: str, counts: Sequence[Any], formula: Callable[..., Any] | None = None, *, shapes: str = "") -> None:
    """Refuse counts that are not whole numbers, which a formula gets by dividing with ``/``, and negative ones.

    Args:
        op: The operator.
        counts: What its formula returned, in the order of a cost's fields.
        formula: The formula, for the error; None if it is not known.
        shapes: What it was called on, for the error; "" if that is not known.

    Raises:
        FormulaError: A count is not a whole number, or is less than 0.
    """
    for name, value in zip(Cost._fields, counts, strict=False):
        if type(value) is int and value >= 0:
            continue
        number, wrong = value, ""
        if not is_whole(value):
            wrong = "Costs are whole numbers; divide with //."
        elif type(value) in SYMBOLIC_TYPES:
            number = count_at_example(value)[0]
        # An expression says that of itself if it is so at all sizes.
        if not wrong and (number < 0 if isinstance(number, Integral) else getattr(number, "is_negative", False)):
            wrong = "Work costs 0 or more."
        if wrong:
            given = f"{value!r}" if number is value else f"{value} ({number} for the example)"
            on = f" on {shapes}" if shapes else ""
            raise FormulaError(f"{name_formula(op, formula)} returned {given} as {name}{on}. {wrong}")


def whole_counts(
    op: str, counts: Sequence[Any], formula: Callable[..., Any] | None = None, *, shapes: str = ""
) -> Sequence[Any]:
    """Check counts as :func:`check_whole` does; return them as Python's integers, whatever integers they are."""
    for name, value in zip(Cost._fields, counts, strict=True):
        if is_expression(value):
            raise FormulaError(
                f"{name_formula(op, formula)} returned the expression {value} as {name}. A formula gets sizes, and "
                "computes whole numbers from them."
            )
    check_whole(op, counts, formula, shapes=shapes)
    # NumPy's integers wrap around.
    return [*map(as_int, counts)]
