"""Encode the data of the page as JSON columns: the module tree, the rows of its operators, and all names.

The page adds up rows itself, since its filters select them. So each count is written without loss: as a number if every
sum of them is exact in JavaScript, else as the coefficients of its terms.
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
from opflops.records.rows import ancestry, floating_rows, unpriced
from opflops.report.notes import notes
from opflops.report.page.memory_data import MemoryEncoder
from opflops.report.page.module_data import module_data
from opflops.report.page.rank_data import rank_data
from opflops.report.text.collapse import Expansion
from opflops.report.text.tree import OUTSIDE, build_tree, operator_of, preorder
from opflops.units import exact
from opflops.wording import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from opflops.devices import Device
    from opflops.records.memory import Memory
    from opflops.records.modules import ModuleRecord
    from opflops.records.rows import Row
    from opflops.report.notes import Symbolic

_MAX_EXACT = 2**53
_MODULE, _OPERATOR, _UNPRICED = 0, 1, 2


@dataclass
class _Strings:
    """Number strings in order of first use."""

    indices: dict[str, int] = field(default_factory=dict)

    def __call__(self, text: str) -> int:
        return self.indices.setdefault(printable(text), len(self.indices))


@dataclass
class _Nodes:
    """List the modules and, below each, the operators that it ran; parents come before their children."""

    text: _Strings
    parent: list[int] = field(default_factory=list)
    name: list[int] = field(default_factory=list)
    type: list[int] = field(default_factory=list)
    kind: list[int] = field(default_factory=list)
    estimates: dict[int, list[str]] = field(default_factory=dict)
    indices: dict[Any, int] = field(default_factory=dict)

    def _add(self, key: Any, parent: int, name: str, kind: int) -> int:
        index = self.indices.get(key)
        if index is None:
            index = self.indices[key] = len(self.parent)
            self.parent.append(parent)
            self.name.append(self.text(name))
            self.type.append(self.text(""))
            self.kind.append(kind)
        return index

    def operator_of(self, row: Row) -> int:
        """Return the index of a row's operator in its module; adds the operator and the modules above if needed."""
        module = self._module_of(row.module, row.module_type)
        operator = self._add((row.module, row.op, row.priced), module, row.op, _OPERATOR if row.priced else _UNPRICED)
        if row.estimate and row.estimate not in self.estimates.setdefault(operator, []):
            self.estimates[operator].append(row.estimate)
        return operator

    def _module_of(self, module: str, module_type: str) -> int:
        """Return the index of a module; adds it and the modules above if needed."""
        index = self.indices.get(module)
        if index is None or not self.type[index]:
            index = -1
            for path in ancestry(module):
                index = self._add(path, index, path.rpartition(".")[2] or OUTSIDE, _MODULE)
            self.type[index] = self.text(module_type)
        return index

    def add_modules(self, modules: Iterable[ModuleRecord]) -> None:
        """Complete the types of modules, and add modules without work that have parameters, so that these add up."""
        for each in modules:
            if each.parameters or each.shared or each.module in self.indices:
                self._module_of(each.module, each.module_type)

    def to_columns(self) -> dict[str, Any]:
        return {
            "parent": self.parent,
            "name": self.name,
            "type": self.type,
            "kind": self.kind,
            "estimates": self.estimates,
            "outside": self.indices.get("", -1),
        }


def profile_data(
    rows: Sequence[Row],
    symbolic: Symbolic,
    modules: Sequence[ModuleRecord] = (),
    memory: Memory | None = None,
) -> dict[str, Any]:
    """Encode the floating-point rows as columns, and add notes on all rows.

    Returns:
        JSON values: ``strings``, to which others refer by index; ``nodes``, the modules and operators; ``rows`` with
        the index of their node; ``repeats``, the names and nodes of equal modules side by side; ``counts``, how numbers
        are encoded; ``integer``, times and bytes of integer work;
        ``modules`` and ``memory``, what is known of the modules and of memory; ``ranks``, the work of each rank of
        several; ``notes``; and ``unpriced`` operators.

    Raises:
        ProfileError: A count is a SymInt.
    """
    floating = floating_rows(rows)
    text = _Strings()
    text("")
    nodes = _Nodes(text)
    columns: dict[str, list[Any]] = {
        "node": [nodes.operator_of(row) for row in floating],
        "phase": [text(row.phase) for row in floating],
        "dtype": [text(row.dtype) for row in floating],
        "calls": [row.calls for row in floating],
    }
    if len(symbolic.ranks) > 1:
        columns["rank"] = [text("" if row.rank is None else str(row.rank)) for row in floating]
    if any(row.seconds is not None for row in floating):
        columns["seconds"] = [row.seconds for row in floating]
        columns["spread"] = [row.spread for row in floating]
        columns["timed"] = [int(row.seconds is not None) for row in floating]
        columns["repeated"] = [int(row.seconds is not None and row.spread is not None) for row in floating]
        columns["once"] = [int(row.timed_once) for row in floating]
    values = {name: [getattr(row.cost, name) for row in floating] for name in Cost._fields}
    counts, written = _encode_counts(values | {"activations": [row.activations for row in floating]}, symbolic)
    if floating:
        nodes.add_modules(modules)
    repeats = _repeated_modules(floating, nodes)
    known = module_data(modules, nodes.indices, text)
    devices = MemoryEncoder(nodes.indices, text).devices(memory)
    return {
        "strings": list(text.indices),
        "nodes": nodes.to_columns(),
        "repeats": repeats,
        "rows": columns | counts,
        "counts": written,
        "modules": known,
        "memory": devices,
        "ranks": rank_data(rows, symbolic.ranks, example_sizes(symbolic.dimensions)),
        "integer": _integer_parts(rows, symbolic),
        "notes": list(map(printable, notes(rows, symbolic._replace(lists_conditions=True)))),
        "unpriced": [[printable(op), exact(calls)] for op, calls in unpriced(rows).items()],
    }


def _repeated_modules(rows: Iterable[Row], nodes: _Nodes) -> list[tuple[int, list[int]]]:
    """List the modules that the text reports show as one line: their common name, and the index of each."""
    tree = build_tree((row.module, operator_of(row), row) for row in rows)
    folded = Expansion(expand=False)
    return [
        (nodes.text(each.name), [nodes.indices[path] for path in each.paths])
        for parent in preorder(tree)
        for each in parent.collapsed_children(folded)
        if each.repeats > 1
    ]


def _encode_counts(columns: Mapping[str, list[Any]], symbolic: Symbolic) -> tuple[dict[str, list[Any]], dict[str, Any]]:
    """Encode counts field by field, and return how they are encoded.

    If they are expressions, or too large for JavaScript to add up, each is a list of pairs: the index of a term and its
    coefficient. Coefficients are strings, multiplied by a ``denominator`` that makes all of them whole.
    """
    everything = [count for column in columns.values() for count in column]
    _check_counts(everything)
    if all(type(count) is int for count in everything) and 3 * sum(map(abs, everything)) < _MAX_EXACT:
        return dict(columns), {}
    split = {name: [_split_terms(count) for count in column] for name, column in columns.items()}
    distinct = {term for column in split.values() for parts in column for term in parts}
    ordered = _sort_terms(distinct)
    index = {term: position for position, term in enumerate(ordered)}
    denominator = lcm(
        *(factor.denominator for column in split.values() for parts in column for factor in parts.values())
    )
    sizes = example_sizes(symbolic.dimensions)
    written = {
        name: [[(index[term], str(int(factor * denominator))) for term, factor in parts.items()] for parts in column]
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
    """Add up the memory traffic and the time of integer and bool rows, by phase."""
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
    """Split an expression into terms without coefficients, each with its coefficient."""
    if type(count) is int:
        return {1: Fraction(count)} if count else {}
    return {
        term if is_expression(term) else 1: Fraction(int(factor.p), int(factor.q))
        for term, factor in count.as_coefficients_dict().items()
    }


def _sort_terms(distinct: set[Any]) -> list[Any]:
    """Sort terms as in written expressions, with the constant term last."""
    expressions = [term for term in distinct if is_expression(term)]
    if expressions:
        import sympy  # noqa: PLC0415 - only for symbolic counts

        expressions = terms(sympy.Add(*expressions))
    return [*expressions, *([1] if 1 in distinct else [])]


def device_data(rows: Iterable[Row], device: Device, *, tf32: bool) -> dict[str, Any]:
    """Encode what the roofline needs of a device: its bandwidth, and its peak for each floating-point dtype in rows.

    Returns:
        ``name``, ``bandwidth``, ``peaks`` by dtype, ``tf32``, and ``unknown``, the dtypes without a known peak.
    """
    dtypes = dict.fromkeys(row.dtype for row in rows if row.floating and row.cost.flops != 0)
    peaks = {dtype: _peak_or_none(device, dtype, tf32=tf32) for dtype in dtypes}
    return {
        "name": device.name,
        "bandwidth": device.bandwidth,
        "peaks": {printable(dtype): peak for dtype, peak in peaks.items() if peak is not None},
        "unknown": [printable(dtype) for dtype, peak in peaks.items() if peak is None],
        "tf32": tf32,
    }


def _peak_or_none(device: Device, dtype: str, *, tf32: bool) -> float | None:
    try:
        return device.peak(dtype, tf32=tf32)
    except ProfileError:
        return None
