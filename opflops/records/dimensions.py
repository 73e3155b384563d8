"""Named dimensions that costs are expressions in: their sizes, what must hold of them, and rows at some of them."""

from __future__ import annotations

from dataclasses import replace
from numbers import Integral
from typing import TYPE_CHECKING, Any, NamedTuple

from opflops.errors import ProfileError
from opflops.records.algebra import substitute
from opflops.records.cost import Cost
from opflops.wording import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from opflops.records.rows import Row

    Sizes = Mapping[str, int]


class Dimension(NamedTuple):
    """Hold a dimension that costs are expressions in.

    Attributes:
        name: As it stands in the expressions.
        example: The size that it had when the program was followed; reports compare and sort by it.
        minimum: Its smallest size.
        maximum: Its largest size; None if there is none.
    """

    name: str
    example: int
    minimum: int = 1
    maximum: int | None = None


class Condition(NamedTuple):
    """Hold what must be true of sizes for costs to be exact.

    Attributes:
        expression: A relation of sympy in the dimensions.
        reason: Where the program decided it.
    """

    expression: Any
    reason: str

    def __str__(self) -> str:
        from opflops.records.expressions import format_condition  # noqa: PLC0415 - importing opflops is not to take longer for it

        return f"{format_condition(self.expression)} ({self.reason})"


def elsewhere(sizes: Iterable[tuple[str, int]]) -> Any:
    """Return the relation that holds wherever not all dimensions have these sizes."""
    import sympy  # noqa: PLC0415 - only for symbolic counts

    return sympy.Or(*(sympy.Ne(sympy.Symbol(name), size) for name, size in sizes))


def check_sizes(dimensions: Sequence[Dimension], sizes: Sizes) -> None:
    """See that there are such dimensions, and that they can have such sizes.

    Raises:
        ProfileError: There is no such dimension, or a size is none.
    """
    known = {each.name: each for each in dimensions}
    for name, size in sizes.items():
        if name not in known:
            near = nearest(name, known, 1)
            there = f"it has {', '.join(known)}" if known else "its counts are numbers"
            hint = f"; did you mean {near[0]!r}?" if near else "."
            raise ProfileError(f"This profile has no dimension {name!r}; {there}{hint}")
        _, _, smallest, largest = known[name]
        whole = isinstance(size, Integral) and not isinstance(size, bool)
        if not whole or size < smallest or (largest is not None and size > largest):
            limits = f"{smallest} or more" if largest is None else f"{smallest} to {largest}"
            raise ProfileError(f"{name}={size!r} is no size of that dimension, which can be a whole number, {limits}.")


def check(dimensions: Sequence[Dimension], conditions: Sequence[Condition], sizes: Sizes) -> tuple[Condition, ...]:
    """See that costs are exact at some sizes; returns the conditions that are left on the dimensions without one.

    Raises:
        ProfileError: There is no such dimension, a size is none, or a condition does not hold.
    """
    check_sizes(dimensions, sizes)
    left = []
    for condition in conditions:
        value = _at(condition.expression, sizes)
        if value == False:  # noqa: E712 - sympy's
            given = ", ".join(f"{name}={size}" for name, size in sizes.items())
            raise ProfileError(
                f"The program is another one at {given}: these costs hold for {condition}. Count it with inputs of "
                "such sizes."
            )
        if value != True:  # noqa: E712 - sympy's
            left.append(Condition(value, condition.reason))
    return tuple(left)


def _at(relation: Any, sizes: Sizes) -> Any:
    """Put sizes in the place of dimensions in a relation; one that divides by zero then does not hold."""
    import sympy  # noqa: PLC0415 - only for symbolic counts

    try:
        return relation.xreplace({sympy.Symbol(name): sympy.Integer(size) for name, size in sizes.items()})
    except (ZeroDivisionError, TypeError):
        # sympy compares no infinity.
        return False


def at(rows: Iterable[Row], sizes: Sizes) -> tuple[Row, ...]:
    """Put sizes in the place of dimensions in rows."""
    return tuple(replace(row, cost=cost_at(row.cost, sizes)) for row in rows)


def cost_at(cost: Cost, sizes: Sizes) -> Cost:
    """Put sizes in the place of dimensions in a cost."""
    return Cost(*(substitute(count, sizes) for count in cost))


def examples(dimensions: Iterable[Dimension]) -> dict[str, int]:
    """Return the sizes that the program was followed with."""
    return {each.name: each.example for each in dimensions}


def united(*several: Sequence[Dimension]) -> tuple[Dimension, ...]:
    """Combine the dimensions of profiles that are put together; those of one name are one, within the limits of all.

    Raises:
        ProfileError: They have no size in common.
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
        found[each.name] = Dimension(each.name, known.example, smallest, largest)
    return tuple(found.values())


def function_of_sizes(
    dimensions: Sequence[Dimension], conditions: Sequence[Condition], cost: Cost
) -> Callable[..., Cost]:
    """Make a quick function of the sizes of all dimensions, by name, that answers with a cost.

    It raises what :func:`check` raises.
    """
    from opflops.records.code_generation import compile_expressions  # noqa: PLC0415 - as above

    names = [each.name for each in dimensions]
    price = compile_expressions(names, cost)
    holds = compile_expressions(names, [condition.expression for condition in conditions])

    def cost_of(**sizes: int) -> Cost:
        try:
            given = [int(sizes[name]) if isinstance(sizes[name], Integral) else sizes[name] for name in names]
        except KeyError as error:
            raise ProfileError(f"The cost needs a size for each of {', '.join(names)}; {error} is missing.") from error
        inside = all(
            isinstance(size, Integral) and size >= each.minimum and (each.maximum is None or size <= each.maximum)
            for size, each in zip(given, dimensions, strict=True)
        )
        if len(sizes) > len(names) or not inside or not _holds(holds, given):
            check(dimensions, conditions, sizes)
        return Cost(*price(*given))

    return cost_of


def _holds(relations: Callable[..., Sequence[bool]], sizes: Sequence[int]) -> bool:
    try:
        return all(relations(*sizes))
    except ZeroDivisionError:
        return False
