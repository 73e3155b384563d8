"""How costs grow with dimensions: degrees and leading coefficients, and where one part overtakes another."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, NamedTuple

from opflops.errors import ProfileError
from opflops.records.algebra import substitute
from opflops.records.cost import Cost, total_of
from opflops.records.dimensions import examples
from opflops.records.growth import degree, is_polynomial, leading_coefficient, overtaken_at
from opflops.records.rows import ancestry
from opflops.report import lines_of_growth

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from opflops.records.dimensions import Dimension
    from opflops.records.rows import Row

MEASURES = ("flops", "macs", "ops", "transcendentals", "bytes", "bytes_read", "bytes_written")
_ITSELF = "(itself)"


class Growth(NamedTuple):
    """Hold how a count grows with one dimension in the end.

    Attributes:
        degree: With which power of it; 0 where it does not depend on it. None where that is no polynomial.
        coefficient: What that power is multiplied by: a number, or an expression in the other dimensions.
    """

    degree: int | None
    coefficient: Any


class Crossover(NamedTuple):
    """Hold the size of a dimension from which on one part costs more than another, which costs more below.

    Attributes:
        overtaking: The part that grows faster: an operator, or a module.
        overtaken: The other.
        dimension: The name of the dimension.
        size: The smallest whole size at which it costs at least as much; other dimensions are as in the example.
    """

    overtaking: str
    overtaken: str
    dimension: str
    size: int

    def __str__(self) -> str:
        return f"{self.overtaking} overtakes {self.overtaken} at {self.dimension} = {self.size:,}"


@dataclass(frozen=True)
class Scaling:
    """Answer how a profile's costs grow; printing it shows a table.

    Attributes:
        measure: Which count of a cost it is about.
        total: The growth of the total, by dimension.
        modules: That of the largest modules with all below them, by path; modules that differ in numbers alone
            (``layers.0``, ``layers.1``) are one, ``layers.*``.
        ops: That of the largest operators, by name.
        crossovers: Where an operator overtakes another, and a module another one beside it.
        counts: The counts themselves, of the total (""), modules and operators.
    """

    measure: str
    total: dict[str, Growth]
    modules: dict[str, dict[str, Growth]]
    ops: dict[str, dict[str, Growth]]
    crossovers: tuple[Crossover, ...]
    counts: dict[str, Any]

    def __str__(self) -> str:
        named = {"total": self.total, **self.modules, **self.ops}
        counts = {label: self.counts["" if label == "total" else label] for label in named}
        overtakings = ["", *(f"{each}." for each in self.crossovers)] if self.crossovers else []
        return "\n".join([lines_of_growth(self.measure, named, counts), *overtakings])


def scaling(rows: Sequence[Row], dimensions: Sequence[Dimension], measure: str, largest: int) -> Scaling:
    """Work out how the costs of rows grow.

    Args:
        rows: Of a profile.
        dimensions: Its dimensions.
        measure: A field or property of a cost.
        largest: How many modules, and how many operators, to look at; by their counts in the example.

    Raises:
        ProfileError: There are no dimensions, or no such measure.
    """
    if not dimensions:
        raise ProfileError(
            "Counts that are numbers do not grow; count() with dynamic_shapes makes expressions of them."
        )
    if measure not in MEASURES:
        raise ProfileError(f"Costs have no {measure!r} to grow; they have {', '.join(MEASURES)}.")
    names, sizes = [each.name for each in dimensions], examples(dimensions)
    floating = [row for row in rows if row.floating]

    def count(some: Iterable[Row]) -> Any:
        return getattr(total_of([Cost(), *(row.cost for row in some)]), measure)

    def top(parts: Mapping[str, list[Row]]) -> dict[str, Any]:
        counts = {label: count(part) for label, part in parts.items()}
        ranked = sorted(counts, key=lambda label: -substitute(counts[label], sizes))
        return {label: counts[label] for label in ranked[:largest] if counts[label] != 0}

    modules, own, ops = _parts(floating)
    top_modules, top_ops, whole = top(modules), top(ops), count(floating)
    beside = [pair for pair in combinations(top_modules, 2) if _parent(pair[0]) == _parent(pair[1]) != ""]
    inside = {f"{label} {_ITSELF}": count(own[label]) for label in top_modules if label in own}
    pairs = [
        *_pairs(combinations(top_ops, 2), top_ops),
        *_pairs(beside, top_modules),
        *_pairs(((f"{_parent(label)} {_ITSELF}", label) for label in top_modules), {**top_modules, **inside}),
    ]
    found = [_crossover(first, second, name, sizes) for first, second in pairs for name in names]
    return Scaling(
        measure,
        _growth(whole, names),
        {label: _growth(each, names) for label, each in top_modules.items()},
        {label: _growth(each, names) for label, each in top_ops.items()},
        tuple(each for each in found if each is not None),
        {"": whole, **top_modules, **top_ops},
    )


def _parts(rows: Iterable[Row]) -> tuple[dict[str, list[Row]], dict[str, list[Row]], dict[str, list[Row]]]:
    """Gather rows by modules with all below them, by modules alone, and by operators; like modules together."""
    whole: dict[str, list[Row]] = {}
    own: dict[str, list[Row]] = {}
    ops: dict[str, list[Row]] = {}
    for row in rows:
        ops.setdefault(row.op, []).append(row)
        if row.module:
            own.setdefault(_alike(row.module), []).append(row)
        for path in dict.fromkeys(_alike(path) for path in ancestry(row.module)):
            if path:
                whole.setdefault(path, []).append(row)
    return whole, own, ops


def _alike(path: str) -> str:
    return ".".join("*" if part.isdecimal() else part for part in path.split("."))


def _parent(path: str) -> str:
    return path.rpartition(".")[0]


def _growth(count: Any, names: Iterable[str]) -> dict[str, Growth]:
    return {
        name: Growth(degree(count, name), leading_coefficient(count, name))
        if is_polynomial(count, name)
        else Growth(None, None)
        for name in names
    }


_Part = tuple[str, Any]


def _pairs(pairs: Iterable[tuple[str, str]], counts: Mapping[str, Any]) -> Iterable[tuple[_Part, _Part]]:
    return [((one, counts[one]), (other, counts[other])) for one, other in pairs if one in counts and other in counts]


def _crossover(first: _Part, second: _Part, name: str, sizes: Mapping[str, int]) -> Crossover | None:
    others = {other: size for other, size in sizes.items() if other != name}
    counts = [substitute(count, others) for _, count in (first, second)]
    for (faster, slower), (one, other) in (((first, second), counts), ((second, first), counts[::-1])):
        size = overtaken_at(one, other, name)
        if size is not None:
            return Crossover(faster[0], slower[0], name, size)
    return None
