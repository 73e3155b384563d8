"""How costs grow with dimensions: degrees and leading coefficients, and where one part overtakes another."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, NamedTuple

from opflops.errors import ProfileError
from opflops.records.algebra import substitute
from opflops.records.arguments import check_text
from opflops.records.cost import Cost, total_of
from opflops.records.dimensions import example_sizes
from opflops.records.display import Displayed, repr_html, repr_text
from opflops.records.growth import crossover_size, degree, is_polynomial, leading_coefficient
from opflops.records.rows import ancestry, floating_rows
from opflops.report import format_scaling_table
from opflops.units import scaled

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from opflops.records.dimensions import Dimension
    from opflops.records.rows import Row
    from opflops.report.notebook import Limits, Part

MEASURES = ("flops", "macs", "ops", "transcendentals", "bytes", "bytes_read", "bytes_written", "sent")
_ITSELF = "(itself)"


class Growth(NamedTuple):
    """Hold how a count grows with one dimension.

    Attributes:
        degree: The highest power of the dimension; 0 if the count does not depend on it, None if it is not a
            polynomial.
        coefficient: The coefficient of that power: a number, or an expression in the other dimensions.
    """

    degree: int | None
    coefficient: Any

    def _repr_html_(self) -> str:
        return repr_html(self)


class Crossover(NamedTuple):
    """Hold the size of a dimension at which one part begins to cost more than another.

    Attributes:
        overtaking: The part that grows faster: an operator or a module.
        overtaken: The part that costs more at smaller sizes.
        dimension: The name of the dimension.
        size: The smallest size at which ``overtaking`` costs at least as much; other dimensions have example sizes.
    """

    overtaking: str
    overtaken: str
    dimension: str
    size: int

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return repr_text(self, include, exclude)

    def __str__(self) -> str:
        return f"{self.overtaking} overtakes {self.overtaken} at {self.dimension} = {self.size:,}"


@dataclass(frozen=True)
class Scaling(Displayed):
    """Hold how a profile's costs grow with dimensions; printing it shows a table.

    Attributes:
        measure: The count that was examined.
        total: The growth of the total, by dimension.
        modules: The growth of the largest modules with all below them, by path. Modules that differ only by numbers
            (``layers.0``, ``layers.1``) are added up as ``layers.*``.
        ops: The growth of the largest operators, by name.
        crossovers: Where one operator overtakes another, or one module a sibling.
        counts: The counts of the total (""), modules and operators.
    """

    measure: str
    total: dict[str, Growth]
    modules: dict[str, dict[str, Growth]]
    ops: dict[str, dict[str, Growth]]
    crossovers: tuple[Crossover, ...]
    counts: dict[str, Any]

    def __str__(self) -> str:
        return format_scaling_table(self.measure, *self._lines(), [f"{each}." for each in self.crossovers])

    def __repr__(self) -> str:
        whole = scaled(self.counts[""])
        return f"<Scaling of {self.measure} in {', '.join(self.total)}: {whole}. print() shows the table>"

    def _lines(self) -> tuple[dict[str, dict[str, Growth]], dict[str, Any]]:
        """Return the growth and the count of each line of the table."""
        named = {"total": self.total, **self.modules, **self.ops}
        return named, {label: self.counts["" if label == "total" else label] for label in named}

    def _notebook_parts(self, _limits: Limits) -> list[Part]:
        from opflops.report.notebook import Grid, Notes  # noqa: PLC0415 - keeps import opflops fast
        from opflops.report.text.scaling_table import scaling_sheet  # noqa: PLC0415 - as above

        sheet = scaling_sheet(self.measure, *self._lines())
        return [Grid(sheet), Notes([f"{each}." for each in self.crossovers])]


def scaling(rows: Sequence[Row], dimensions: Sequence[Dimension], measure: str, largest: int) -> Scaling:
    """Compute how the costs of rows grow.

    Args:
        rows: The rows of a profile.
        dimensions: Its dimensions.
        measure: A field or property of :class:`opflops.Cost`.
        largest: How many modules, and how many operators, to examine, the largest at the example sizes.

    Raises:
        ProfileError: There are no dimensions, or the measure is unknown.
    """
    if not dimensions:
        raise ProfileError(
            "Scaling needs dimensions, but these counts are numbers. Count with dynamic_shapes, as in "
            "count(model, x, dynamic_shapes=({0: Dim('batch')},))."
        )
    check_text("measure", measure, "scaling('macs')")
    if measure not in MEASURES:
        raise ProfileError(f"measure must be one of {', '.join(MEASURES)}, not {measure!r}.")
    names, sizes = [each.name for each in dimensions], example_sizes(dimensions)
    floating = floating_rows(rows)

    def count(some: Iterable[Row]) -> Any:
        return getattr(total_of([Cost(), *(row.cost for row in some)]), measure)

    def top(parts: Mapping[str, list[Row]]) -> dict[str, Any]:
        counts = {label: count(part) for label, part in parts.items()}
        ranked = sorted(counts, key=lambda label: -substitute(counts[label], sizes))
        return {label: counts[label] for label in ranked[:largest] if counts[label] != 0}

    modules, own, ops = _group_rows(floating)
    top_modules, top_ops, whole = top(modules), top(ops), count(floating)
    siblings = [pair for pair in combinations(top_modules, 2) if _parent(pair[0]) == _parent(pair[1]) != ""]
    itself = {f"{label} {_ITSELF}": count(own[label]) for label in top_modules if label in own}
    pairs = [
        *_with_counts(combinations(top_ops, 2), top_ops),
        *_with_counts(siblings, top_modules),
        *_with_counts(((f"{_parent(label)} {_ITSELF}", label) for label in top_modules), {**top_modules, **itself}),
    ]
    found = [_crossover(first, second, name, sizes) for first, second in pairs for name in names]
    return Scaling(
        measure,
        _growth_by_dimension(whole, names),
        {label: _growth_by_dimension(each, names) for label, each in top_modules.items()},
        {label: _growth_by_dimension(each, names) for label, each in top_ops.items()},
        tuple(each for each in found if each is not None),
        {"": whole, **top_modules, **top_ops},
    )


def _group_rows(rows: Iterable[Row]) -> tuple[dict[str, list[Row]], dict[str, list[Row]], dict[str, list[Row]]]:
    """Group rows by modules with all below them, by modules alone, and by operators.

    Modules that differ only by numbers share a group.
    """
    inclusive: dict[str, list[Row]] = {}
    own: dict[str, list[Row]] = {}
    ops: dict[str, list[Row]] = {}
    for row in rows:
        ops.setdefault(row.op, []).append(row)
        if row.module:
            own.setdefault(_generalize_path(row.module), []).append(row)
        for path in dict.fromkeys(_generalize_path(path) for path in ancestry(row.module)):
            if path:
                inclusive.setdefault(path, []).append(row)
    return inclusive, own, ops


def _generalize_path(path: str) -> str:
    return ".".join("*" if part.isdecimal() else part for part in path.split("."))


def _parent(path: str) -> str:
    return path.rpartition(".")[0]


def _growth_by_dimension(count: Any, names: Iterable[str]) -> dict[str, Growth]:
    return {
        name: Growth(degree(count, name), leading_coefficient(count, name))
        if is_polynomial(count, name)
        else Growth(None, None)
        for name in names
    }


_Part = tuple[str, Any]


def _with_counts(pairs: Iterable[tuple[str, str]], counts: Mapping[str, Any]) -> Iterable[tuple[_Part, _Part]]:
    return [((one, counts[one]), (other, counts[other])) for one, other in pairs if one in counts and other in counts]


def _crossover(first: _Part, second: _Part, name: str, sizes: Mapping[str, int]) -> Crossover | None:
    others = {other: size for other, size in sizes.items() if other != name}
    counts = [substitute(count, others) for _, count in (first, second)]
    for (faster, slower), (one, other) in (((first, second), counts), ((second, first), counts[::-1])):
        size = crossover_size(one, other, name)
        if size is not None:
            return Crossover(faster[0], slower[0], name, size)
    return None
