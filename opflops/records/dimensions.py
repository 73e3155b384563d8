"""Named dimensions in expressions of costs: their sizes, conditions on them, and rows at given sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from numbers import Integral
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from opflops.errors import ProfileArgumentError, ProfileError
from opflops.records.algebra import Substitution
from opflops.records.arguments import describe
from opflops.records.cost import Cost
from opflops.records.display import repr_html, repr_text
from opflops.wording import nearest, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from opflops.records.rows import Row

    Sizes = Mapping[str, int]


class Dimension(NamedTuple):
    """Hold a dimension in which costs are expressions.

    Attributes:
        name: Its name in the expressions.
        example: Its size while the model was traced; reports compare and sort at this size.
        minimum: Its smallest size.
        maximum: Its largest size; None if there is no limit.
    """

    name: str
    example: int
    minimum: int = 1
    maximum: int | None = None

    def _repr_html_(self) -> str:
        return repr_html(self)


class Condition(NamedTuple):
    """Hold a condition on sizes under which costs are exact.

    Attributes:
        expression: A relation of sympy in the dimensions.
        reason: The source location or operator that depends on it.
    """

    expression: Any
    reason: str

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return repr_text(self, include, exclude)

    def __str__(self) -> str:
        from opflops.records.expressions import format_condition  # noqa: PLC0415 - keeps import opflops fast

        return f"{format_condition(self.expression)} ({printable(self.reason)})"


def unless_sizes(sizes: Iterable[tuple[str, int]]) -> Any:
    """Return the relation that holds unless all dimensions have these sizes."""
    import sympy  # noqa: PLC0415 - only for symbolic counts

    return sympy.Or(*(sympy.Ne(sympy.Symbol(name), size) for name, size in sizes))


def check_named(unnamed: tuple[Any, ...]) -> None:
    """Check that no size was given without the name of its dimension.

    Raises:
        ProfileArgumentError: One was.
    """
    if unnamed:
        raise ProfileArgumentError(
            f"Sizes need the names of their dimensions, as in batch=8; {describe(unnamed[0])} has none."
        )


def check_mapping(sizes: object, caller: str) -> None:
    """Check that sizes are a mapping from dimensions.

    Raises:
        ProfileArgumentError: They are not.
    """
    if not isinstance(sizes, Mapping):
        raise ProfileArgumentError(
            f"{caller} needs a dict of sizes by dimension, as in {{'batch': 8}}, not {describe(sizes)}."
        )


def check_sizes(dimensions: Sequence[Dimension], sizes: Sizes) -> None:
    """Check that the dimensions exist, and that the sizes are in their ranges.

    Raises:
        ProfileError: A dimension is unknown, or a size is not valid.
    """
    known = {each.name: each for each in dimensions}
    for name, size in sizes.items():
        if name not in known:
            near = nearest(name, known, 1)
            existing = f"it has {', '.join(known)}" if known else "its counts are numbers"
            hint = f"; did you mean {near[0]!r}?" if near else "."
            raise ProfileError(f"This profile has no dimension {name!r}; {existing}{hint}")
        _, _, smallest, largest = known[name]
        whole = isinstance(size, Integral) and not isinstance(size, bool)
        if not whole or size < smallest or (largest is not None and size > largest):
            limits = f"{smallest} or more" if largest is None else f"{smallest} to {largest}"
            raise ProfileArgumentError(f"{name} must be a whole number, {limits}, not {describe(size)}.")


def remaining_conditions(
    dimensions: Sequence[Dimension], conditions: Sequence[Condition], sizes: Sizes
) -> tuple[Condition, ...]:
    """Check that costs are exact at some sizes, and return the conditions left on the other dimensions.

    Raises:
        ProfileError: A dimension is unknown, a size is not valid, or a condition does not hold.
    """
    check_sizes(dimensions, sizes)
    left = []
    for condition in conditions:
        value = _relation_at(condition.expression, sizes)
        if value == False:  # noqa: E712 - sympy's
            given = ", ".join(f"{name}={size}" for name, size in sizes.items())
            raise ProfileError(
                f"The formulas hold for {condition}, and {given} is outside: the model may fail there, or do something "
                "else. Count again with inputs of that size."
            )
        if value != True:  # noqa: E712 - sympy's
            left.append(Condition(value, condition.reason))
    return tuple(left)


def _relation_at(relation: Any, sizes: Sizes) -> Any:
    """Substitute sizes in a relation; False if that divides by zero."""
    import sympy  # noqa: PLC0415 - only for symbolic counts

    try:
        return relation.xreplace({sympy.Symbol(name): sympy.Integer(size) for name, size in sizes.items()})
    except (ZeroDivisionError, TypeError):
        # sympy cannot compare complex infinity, the result of a division by zero.
        return False


def rows_at(rows: Iterable[Row], sizes: Sizes) -> tuple[Row, ...]:
    """Substitute sizes for dimensions in rows. Times are of the sizes that they were measured at, and are left out."""
    if not sizes:
        return tuple(rows)
    from opflops.records.rows import Row, new_row  # noqa: PLC0415 - rows need this file

    at = Substitution(sizes)
    names = [each.name for each in fields(Row)]
    values_of = attrgetter(*names)
    cost, activations, seconds, spread = map(names.index, ("cost", "activations", "seconds", "spread"))
    found = []
    for row in rows:
        values = [*values_of(row)]
        values[cost] = Cost._make(map(at, values[cost]))
        values[activations], values[seconds], values[spread] = at(values[activations]), None, None
        found.append(new_row(*values))
    return tuple(found)


def example_sizes(dimensions: Iterable[Dimension]) -> dict[str, int]:
    """Return the sizes that the model was traced with."""
    return {each.name: each.example for each in dimensions}


def merge_dimensions(*several: Sequence[Dimension]) -> tuple[Dimension, ...]:
    """Merge the dimensions of several profiles by name, each with the range that all of them allow.

    Raises:
        ProfileError: The ranges of a dimension do not overlap.
    """
    found: dict[str, Dimension] = {}
    for each in (dimension for dimensions in several for dimension in dimensions):
        known = found.get(each.name)
        if known is None:
            found[each.name] = each
            continue
        smallest = max(known.minimum, each.minimum)
        largest = min((limit for limit in (known.maximum, each.maximum) if limit is not None), default=None)
        if largest is not None and smallest > largest:
            raise ProfileError(f"The profiles have no size of {each.name} in common.")
        example = max(known.example, smallest)
        found[each.name] = Dimension(
            each.name, example if largest is None else min(example, largest), smallest, largest
        )
    return tuple(found.values())


def compile_cost(dimensions: Sequence[Dimension], conditions: Sequence[Condition], cost: Cost) -> Callable[..., Cost]:
    """Compile a cost to a fast function of the sizes of all dimensions, by keyword.

    The function raises the errors of :func:`remaining_conditions`.
    """
    from opflops.records.code_generation import compile_expressions  # noqa: PLC0415 - as above

    names = [each.name for each in dimensions]
    evaluate = compile_expressions(names, cost)
    holds = compile_expressions(names, [condition.expression for condition in conditions])

    def cost_of(*unnamed: Any, **sizes: int) -> Cost:
        check_named(unnamed)
        try:
            given = [int(sizes[name]) if isinstance(sizes[name], Integral) else sizes[name] for name in names]
        except KeyError as error:
            raise ProfileError(f"The cost needs a size for each of {', '.join(names)}; {error} is missing.") from error
        inside = all(
            isinstance(size, Integral) and size >= each.minimum and (each.maximum is None or size <= each.maximum)
            for size, each in zip(given, dimensions, strict=True)
        )
        if len(sizes) > len(names) or not inside or not _all_hold(holds, given):
            remaining_conditions(dimensions, conditions, sizes)
        return Cost(*evaluate(*given))

    return cost_of


def _all_hold(relations: Callable[..., Sequence[bool]], sizes: Sequence[int]) -> bool:
    try:
        return all(relations(*sizes))
    except ZeroDivisionError:
        return False
