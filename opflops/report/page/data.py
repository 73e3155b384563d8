"""What the page is drawn from: the module tree, the rows below it and what they are called, as columns for JSON.

The page adds up rows itself, since its filters choose among them. So each count is sent whole: as a number where every
sum of them is exact in JavaScript, else as coefficients of the terms that it is a sum of.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from math import lcm
from typing import TYPE_CHECKING, Any

from opflops.errors import ProfileError
from opflops.records.algebra import is_expression, substitute
from opflops.records.cost import Cost
from opflops.records.dimensions import example_sizes
from opflops.records.expressions import terms
from opflops.records.rows import ancestry, unpriced
from opflops.report.notes import notes
from opflops.report.text.tree import OUTSIDE
from opflops.units import exact

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from opflops.devices import Device
    from opflops.records.rows import Row
    from opflops.report.notes import Symbolic

_MAX_EXACT = 2**53
_MODULE, _OPERATOR, _UNPRICED = 0, 1, 2


@dataclass
class _Strings:
    """Number strings in order of first use."""

    places: dict[str, int] = field(default_factory=dict)

    def __call__(self, text: str) -> int:
        return self.places.setdefault(text, len(self.places))


@dataclass
class _Nodes:
    """List the modules and, below each, the operators that it ran; a parent stands before what is below it."""

    text: _Strings
    parent: list[int] = field(default_factory=list)
    name: list[int] = field(default_factory=list)
    type: list[int] = field(default_factory=list)
    kind: list[int] = field(default_factory=list)
    estimates: dict[int, list[str]] = field(default_factory=dict)
    places: dict[Any, int] = field(default_factory=dict)

    def _place(self, key: Any, parent: int, name: str, kind: int) -> int:
        place = self.places.get(key)
        if place is None:
            place = self.places[key] = len(self.parent)
            self.parent.append(parent)
            self.name.append(self.text(name))
            self.type.append(self.text(""))
            self.kind.append(kind)
        return place

    def operator_of(self, row: Row) -> int:
        """Return the place of a row's operator in its module."""
        module = self.places.get(row.module)
        if module is None or not self.type[module]:
            above = -1
            for path in ancestry(row.module):
                module = above = self._place(path, above, path.rpartition(".")[2] or OUTSIDE, _MODULE)
            self.type[above] = self.text(row.module_type)
        operator = self._place(
            (row.module, row.op, row.priced), self.places[row.module], row.op, _OPERATOR if row.priced else _UNPRICED
        )
        if row.estimate and row.estimate not in self.estimates.setdefault(operator, []):
            self.estimates[operator].append(row.estimate)
        return operator

    def written(self) -> dict[str, Any]:
        return {
            "parent": self.parent,
            "name": self.name,
            "type": self.type,
            "kind": self.kind,
            "estimates": self.estimates,
        }


def profile_data(rows: Sequence[Row], symbolic: Symbolic) -> dict[str, Any]:
    """Write the floating-point rows as columns, and what there is to say of all rows.

    Returns:
        Values that JSON has: ``strings`` that others refer to by place; ``nodes``, the modules and operators; ``rows``
        with the node that each belongs to; ``counts``, how numbers are written; ``integer``, what else takes time;
        ``notes``, and ``unpriced`` operators.

    Raises:
        ProfileError: A count is symbolic to PyTorch.
    """
    floating = [row for row in rows if row.floating]
    text = _Strings()
    text("")
    nodes = _Nodes(text)
    columns: dict[str, list[Any]] = {
        "node": [nodes.operator_of(row) for row in floating],
        "phase": [text(row.phase) for row in floating],
        "dtype": [text(row.dtype) for row in floating],
        "calls": [row.calls for row in floating],
    }
    if any(row.seconds is not None for row in floating):
        columns["seconds"] = [row.seconds for row in floating]
    counts, written = _encode_counts([row.cost for row in floating], symbolic)
    return {
        "strings": list(text.places),
        "nodes": nodes.written(),
        "rows": columns | counts,
        "counts": written,
        "integer": _integer_parts(rows, symbolic),
        "notes": notes(rows, symbolic),
        "unpriced": [[op, exact(calls)] for op, calls in unpriced(rows).items()],
    }


def _encode_counts(costs: Sequence[Cost], symbolic: Symbolic) -> tuple[dict[str, list[Any]], dict[str, Any]]:
    """Write counts field by field, and how they are written.

    Where they are expressions, or too large for JavaScript to add up, each is a list of terms by place and their
    coefficients, as text and multiplied by a ``denominator`` that makes all of them whole.
    """
    columns = {name: [getattr(cost, name) for cost in costs] for name in Cost._fields}
    everything = [count for column in columns.values() for count in column]
    _check_counts(everything)
    if all(type(count) is int for count in everything) and 3 * sum(map(abs, everything)) < _MAX_EXACT:
        return columns, {}
    split = {name: [_split_terms(count) for count in column] for name, column in columns.items()}
    found = {term for column in split.values() for parts in column for term in parts}
    ordered = _sort_terms(found)
    place = {term: position for position, term in enumerate(ordered)}
    denominator = lcm(
        *(factor.denominator for column in split.values() for parts in column for factor in parts.values())
    )
    sizes = example_sizes(symbolic.dimensions)
    written = {
        name: [[(place[term], str(int(factor * denominator))) for term, factor in parts.items()] for parts in column]
        for name, column in split.items()
    }
    return written, {
        "terms": [[exact(term) if is_expression(term) else "1", float(substitute(term, sizes))] for term in ordered],
        "denominator": denominator,
        "sizes": sizes,
    }


def _check_counts(counts: Iterable[Any]) -> None:
    for count in counts:
        if type(count) is not int and not is_expression(count):
            raise ProfileError(f"A profile with the symbolic count {count} cannot be drawn; evaluate it first.")


def _integer_parts(rows: Iterable[Row], symbolic: Symbolic) -> list[dict[str, Any]]:
    """Add up, phase by phase, what bounds the time of integer and bool rows: their traffic; and the time they took."""
    parts: dict[str, list[Row]] = {}
    for row in rows:
        if not row.floating:
            parts.setdefault(row.phase, []).append(row)
    sizes = example_sizes(symbolic.dimensions)
    found = []
    for phase, part in parts.items():
        _check_counts(count for row in part for count in (row.cost.bytes_read, row.cost.bytes_written))
        traffic = substitute(sum(row.cost.bytes for row in part), sizes)
        timed = [row.seconds for row in part if row.seconds is not None]
        found.append(
            {
                "phase": phase,
                "bytes": traffic if type(traffic) is int else float(traffic),
                "seconds": sum(timed) if timed else None,
                "untimed": any(row.seconds is None and row.cost.bytes != 0 for row in part),
            }
        )
    return found


def _split_terms(count: Any) -> dict[Any, Fraction]:
    """Take an expression apart: what each term is without its coefficient, and the coefficient."""
    if type(count) is int:
        return {1: Fraction(count)} if count else {}
    return {
        term if is_expression(term) else 1: Fraction(int(factor.p), int(factor.q))
        for term, factor in count.as_coefficients_dict().items()
    }


def _sort_terms(found: set[Any]) -> list[Any]:
    """Order terms as expressions are written, with that of plain numbers last."""
    expressions = [term for term in found if is_expression(term)]
    if expressions:
        import sympy  # noqa: PLC0415 - only for symbolic counts

        expressions = terms(sympy.Add(*expressions))
    return [*expressions, *([1] if 1 in found else [])]


def device_data(rows: Iterable[Row], device: Device, *, tf32: bool) -> dict[str, Any]:
    """Write what the roofline needs of a device: its bandwidth, and its peak for each dtype of the floating-point rows.

    Returns:
        ``name``, ``bandwidth``, ``peaks`` by dtype, ``tf32``, and the dtypes that no peak is known for as ``unknown``.
    """
    dtypes = dict.fromkeys(row.dtype for row in rows if row.floating and row.cost.flops != 0)
    peaks = {dtype: _peak_or_none(device, dtype, tf32=tf32) for dtype in dtypes}
    return {
        "name": device.name,
        "bandwidth": device.bandwidth,
        "peaks": {dtype: peak for dtype, peak in peaks.items() if peak is not None},
        "unknown": [dtype for dtype, peak in peaks.items() if peak is None],
        "tf32": tf32,
    }


def _peak_or_none(device: Device, dtype: str, *, tf32: bool) -> float | None:
    try:
        return device.peak(dtype, tf32=tf32)
    except ProfileError:
        return None
