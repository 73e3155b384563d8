"""Data frames of rows, groups and modules, for pandas or polars."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from opflops.errors import ProfileError
from opflops.extras import optional
from opflops.records.algebra import add_up, as_int
from opflops.records.arguments import check_text
from opflops.records.garbage_collection import with_gc_disabled
from opflops.records.rows import KEYS, group_rows, total
from opflops.records.timing import add_spreads
from opflops.report.files.csv_rows import MODULE_COLUMNS, module_lines
from opflops.wording import unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from opflops.records.cost import Cost
    from opflops.records.memory import Memory
    from opflops.records.modules import ModuleRecord
    from opflops.records.rows import Row

    Kind = Literal["text", "count", "count or none", "time", "flag"]

_COSTS = ("macs", "ops", "flops", "transcendentals", "bytes_read", "bytes_written", "bytes", "sent")
_KINDS: dict[str, Kind] = {
    **dict.fromkeys(("module", "module_type", "op", "phase", "dtype", "group", "estimate"), "text"),
    **dict.fromkeys(("input", "output", "shared"), "text"),
    **dict.fromkeys(("seconds", "spread"), "time"),
    **dict.fromkeys(("rank", "saved", "peak"), "count or none"),
    # Of a module that only has work, they are not known.
    **dict.fromkeys(("params", "trainable", "param_bytes", "buffers", "buffer_bytes"), "count or none"),
    "priced": "flag",
}
_MOST_INT64 = 2**63 - 1


class Column(NamedTuple):
    """Hold a column: its name, its values, and what they are."""

    name: str
    values: list[Any]
    kind: Kind

    @property
    def fits_int64(self) -> bool:
        """Tell whether all values are integers, or missing, and 64 bits are enough for them and for any of their sums.

        A sum of int64 that is too large would wrap around in silence.
        """
        known = [each for each in self.values if each is not None]
        return set(map(type, known)) <= {int} and sum(map(abs, known)) <= _MOST_INT64


def rows_frame(rows: Sequence[Row], keys: Sequence[str] | None = None) -> Iterable[Column]:
    """Make the columns of a line for each row, or with keys for each group of the floating-point rows.

    Those of rows are made one by one, as they are read, since a million values take as much memory as a whole frame.

    Raises:
        ProfileError: A key is unknown, or there is none.
    """
    sums = ("calls", *_COSTS, "seconds", "spread", "activations")
    if keys is None:
        names = (*(key for key in KEYS if key not in ("group", "rank")), *sums, "estimate", "priced", "group", "rank")
        return (_column(name, _values_of(rows, name), _KINDS.get(name, "count")) for name in names)
    groups = group_rows(rows, *keys, caller="to_dataframe()")
    names = (*dict.fromkeys(keys), *sums)
    lines = (
        dict(zip(keys, value if len(keys) > 1 else (value,), strict=True)) | _sums(part)
        for value, part in groups.items()
    )
    return _columns(names, lines)


@with_gc_disabled
def modules_frame(rows: Sequence[Row], modules: Sequence[ModuleRecord], memory: Memory | None) -> list[Column]:
    """Make the columns of a line for each module, as :func:`opflops.report.files.csv_rows.csv_modules` has them."""
    place = MODULE_COLUMNS.index("bytes_written") + 1
    names = (*MODULE_COLUMNS[:place], "bytes", *MODULE_COLUMNS[place:])
    lines = [
        {**line, "bytes": line["bytes_read"] + line["bytes_written"]} for line in module_lines(rows, modules, memory)
    ]
    # A module that only has work was not called, as far as is known.
    return _columns(names, lines, {**_KINDS, "calls": "count or none"})


@with_gc_disabled
def make_frame(columns: Iterable[Column], backend: str) -> Any:
    """Make a data frame.

    Raises:
        MissingExtraError: The package is not installed.
        ProfileError: The backend is unknown.
    """
    makers: dict[str, Callable[[Iterable[Column]], Any]] = {"pandas": _make_pandas, "polars": _make_polars}
    check_text("backend", backend, "to_dataframe(backend='polars')")
    if backend not in makers:
        raise ProfileError(unknown("backend", backend, makers))
    return makers[backend](columns)


def _values_of(rows: Sequence[Row], name: str) -> list[Any]:
    return [*map(attrgetter(f"cost.{name}" if name in _COSTS else name), rows)]


def _sums(rows: Sequence[Row]) -> dict[str, Any]:
    cost: Cost = total(rows)
    times = [row.seconds for row in rows if row.seconds is not None]
    return {
        "calls": add_up([row.calls for row in rows]),
        **{name: getattr(cost, name) for name in _COSTS},
        "seconds": sum(times) if times else None,
        "spread": add_spreads(*((row.seconds, row.spread) for row in rows)),
        "activations": add_up([row.activations for row in rows]),
    }


def _columns(
    names: Iterable[str], lines: Iterable[Mapping[str, Any]], kinds: Mapping[str, Kind] = _KINDS
) -> list[Column]:
    listed = list(lines)
    return [_column(name, [line.get(name) for line in listed], kinds.get(name, "count")) for name in names]


def _column(name: str, values: list[Any], kind: Kind) -> Column:
    if kind == "text":
        texts = {value: _encodable(value or "") for value in set(values)}
        return Column(name, [texts[value] for value in values], kind)
    is_known = not kind.startswith("count") or set(map(type, values)) == {int}
    return Column(name, values if is_known else list(map(as_int, values)), kind)


def _encodable(text: str) -> str:
    """Escape lone surrogates, as in the name of a module that is no text; Arrow's strings have none."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def _make_pandas(columns: Iterable[Column]) -> Any:
    pandas = optional("pandas", "pandas", "to_dataframe()")
    dtypes = {"text": "str", "count": "int64", "count or none": "Int64", "time": "float64", "flag": "bool"}

    def series(column: Column) -> Any:
        is_object = column.kind.startswith("count") and not column.fits_int64
        return pandas.Series(column.values, dtype="object" if is_object else dtypes[column.kind], name=column.name)

    # The series are this frame's own, so none of them needs to be copied.
    return pandas.DataFrame({column.name: series(column) for column in columns}, copy=False)


def _make_polars(columns: Iterable[Column]) -> Any:
    polars = optional("polars", "polars", 'to_dataframe(backend="polars")')
    dtypes = {
        "text": polars.String,
        "count": polars.Int64,
        "count or none": polars.Int64,
        "time": polars.Float64,
        "flag": polars.Boolean,
    }

    def series(column: Column) -> Any:
        is_object = column.kind.startswith("count") and not column.fits_int64
        return polars.Series(column.name, column.values, dtype=polars.Object if is_object else dtypes[column.kind])

    return polars.DataFrame([series(column) for column in columns])
