"""Write rows as comma-separated values, for spreadsheets and data frames."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from opflops.records.algebra import add_up
from opflops.records.cost import Cost, total_of
from opflops.records.garbage_collection import with_gc_disabled
from opflops.records.modules import UNKNOWN_SIZE
from opflops.records.rows import floating_rows
from opflops.records.timing import add_spreads
from opflops.report.files.counts import encode_count
from opflops.report.text.spreadsheet import spreadsheet_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from opflops.records.memory import Memory
    from opflops.records.modules import ModuleRecord, TensorShape
    from opflops.records.rows import Row

VERSION = 4
"""The version of the columns. Later versions only append columns, so a reader that selects by name can read them."""

_FACTS = ("params", "trainable", "input", "output", "saved", "peak")
_NO_FACTS: dict[str, Any] = {}
_INTEGERS = {int}
COLUMNS = (
    "module",
    "module_type",
    "op",
    "phase",
    "dtype",
    "calls",
    "macs",
    "ops",
    "flops",
    "transcendentals",
    "bytes_read",
    "bytes_written",
    "seconds",
    "estimate",
    "priced",
    "activations",
    *_FACTS,
    "spread",
    *("sent", "group", "rank"),
)
MODULE_COLUMNS = (
    *("module", "module_type", "calls", "params", "trainable", "param_bytes", "buffers", "buffer_bytes", "shared"),
    *("input", "output", "activations", "macs", "ops", "flops", "transcendentals", "bytes_read", "bytes_written"),
    *("seconds", "saved", "peak", "spread", "sent"),
)


@with_gc_disabled
def csv_rows(rows: Iterable[Row], modules: Sequence[ModuleRecord] = (), memory: Memory | None = None) -> str:
    """Write rows as comma-separated values (RFC 4180, so lines end in CR LF), after a header line.

    All rows are written, including integer ones, in order of first execution. The totals of a profile include only rows
    with a floating-point ``dtype``. The columns of version 1, in order:

    - ``module``, ``module_type``, ``op``, ``phase``, ``dtype``: as in :class:`opflops.Row`; work outside any module has
      the module "".
    - ``calls``, ``macs``, ``ops``, ``flops``, ``transcendentals``: whole numbers.
    - ``bytes_read``, ``bytes_written``: in bytes.
    - ``seconds``: in seconds; empty if the row was not timed.
    - ``estimate``: why the row is not exact; empty if it is.
    - ``priced``: ``true``, or ``false`` if the operator has no formula and its arithmetic is missing.

    Those that version 2 has more:

    - ``activations``: as in :class:`opflops.Row`.
    - ``params``, ``trainable``, ``input``, ``output``, ``saved``, ``peak``: of the module, as in :func:`csv_modules`.
      They stand on the first line of each module, so that columns of numbers add up to their totals, and are empty on
      its other lines, or if they are not known. A module that has parameters and did no work has a line too, without an
      operator and with 0 calls.

    The one that version 3 has more:

    - ``spread``: as in :class:`opflops.Row`, in seconds; empty if the row was not timed in repeated runs.

    Those that version 4, :data:`VERSION`, has more:

    - ``sent``: the bytes that a collective puts on the wire on this rank. ``group``: its process group, as in
      :class:`opflops.Row`; empty for other operators. ``rank``: the rank, in a profile of several; else empty.

    The header identifies the version: later versions append columns, and never rename, move or drop one. A count that
    is an expression is written as text, such as ``12*batch`` or ``(-12*batch)``.

    Texts are written for spreadsheets: one that begins with ``=``, ``+``, ``-`` or ``@`` has an apostrophe before it,
    so that it is not a formula, and control characters are escaped as in Python's strings. Numbers are not changed. Use
    :meth:`opflops.Profile.to_json` to keep all names as they are.

    Raises:
        ProfileError: A count is a SymInt.
    """
    facts = {path: _cells(known) for path, known in _module_facts(modules, memory).items()}
    return _write(COLUMNS, _row_lines(rows, facts))


def _row_lines(rows: Iterable[Row], facts: dict[str, dict[str, Any]]) -> Iterator[list[Any]]:
    """List the cells of each row, with the facts of its module if it is the first one, then of idle modules."""
    texts = _Texts()
    for row in rows:
        cost, known = row.cost, facts.pop(row.module, _NO_FACTS)
        if set(map(type, (*cost, row.calls, row.activations))) != _INTEGERS:
            cells = known | _row_cells(row)
            yield [cells.get(column) for column in COLUMNS]
            continue
        yield [
            *(texts[row.module], texts[row.module_type], texts[row.op], texts[row.phase], texts[row.dtype]),
            *(row.calls, cost.macs, cost.ops, cost.flops, cost.transcendentals, cost.bytes_read, cost.bytes_written),
            *(_cell(row.seconds), texts[row.estimate], _cell(row.priced), row.activations),
            *((None,) * len(_FACTS) if known is _NO_FACTS else map(known.get, _FACTS)),
            *(_cell(row.spread), cost.sent, texts[row.group], _cell(row.rank)),
        ]
    nothing = dict.fromkeys((*Cost._fields, "flops", "calls", "activations"), 0)
    for known in facts.values():
        if any(known.get(name) for name in ("params", "trainable", "saved")):
            cells = {**known, "priced": _cell(value=True), **nothing}
            yield [cells.get(column) for column in COLUMNS]


class _Texts(dict[str, str]):
    """Map texts to what is written for them; names of modules and operators are in many rows."""

    def __missing__(self, text: str) -> str:
        written: str = _cell(text)
        self[text] = written
        return written


@with_gc_disabled
def csv_modules(rows: Iterable[Row], modules: Sequence[ModuleRecord] = (), memory: Memory | None = None) -> str:
    """Write a line for each module as comma-separated values, as :func:`csv_rows` does, with these columns.

    - ``module``, ``module_type``: as in :class:`opflops.ModuleRecord`. Work outside any module has the module "".
    - ``calls``: how many times the module was called.
    - ``params``, ``trainable``, ``param_bytes``, ``buffers``, ``buffer_bytes``: of the module itself.
    - ``shared``: the parameters that count for another module, as in ``weight of Net.embedding``.
    - ``input``, ``output``: the shapes and dtypes of its calls, as in ``8x3x32x32 float32``; commas separate tensors,
      and semicolons those of calls with other shapes; ``?`` is a size that is not known.
    - ``activations``, ``macs``, ``ops``, ``flops``, ``transcendentals``, ``bytes_read``, ``bytes_written`` and
      ``seconds``: of its own floating-point work, so that each column adds up to the total of the profile.
    - ``saved``: the bytes that its own operators keep for the backward pass. ``peak``: the highest number of live bytes
      while it or a module below it ran. Empty if memory was not followed.
    - ``spread``: the sum of the spreads of its rows, in seconds; empty if they were not timed in repeated runs.
    - ``sent``: the bytes that its floating-point collectives put on the wire on this rank.

    Modules that a model registers come first, in its order, then those that only have work.

    Raises:
        ProfileError: A count is a SymInt.
    """
    lines = map(_cells, module_lines(rows, modules, memory))
    return _write(MODULE_COLUMNS, ([line.get(column) for column in MODULE_COLUMNS] for line in lines))


def module_lines(
    rows: Iterable[Row], modules: Iterable[ModuleRecord], memory: Memory | None
) -> Iterator[dict[str, Any]]:
    """List the values of the columns that :func:`csv_modules` writes, for each module; what is not known is missing."""
    facts = _module_facts(modules, memory)
    work: dict[str, list[Row]] = {path: [] for path in facts}
    for row in rows:
        work.setdefault(row.module, []).append(row)
    return (_work_of(path, own) | facts.get(path, {}) for path, own in work.items())


def _row_cells(row: Row) -> dict[str, Any]:
    fields = {column: getattr(row, column) for column in COLUMNS if hasattr(row, column)}
    # A count that cannot be written is refused before anything is calculated with it.
    return _cells(fields | row.cost._asdict()) | _cells({"flops": row.cost.flops})


def _work_of(path: str, rows: Sequence[Row]) -> dict[str, Any]:
    """Return the floating-point work of a module."""
    floating = floating_rows(rows)
    cost = total_of(row.cost for row in floating) if floating else Cost()
    times = [row.seconds for row in floating if row.seconds is not None]
    return {
        "module": path,
        "module_type": rows[0].module_type if rows else "",
        "activations": add_up([row.activations for row in floating]),
        **cost._asdict(),
        "flops": cost.flops,
        "seconds": sum(times) if times else None,
        "spread": add_spreads(*((row.seconds, row.spread) for row in floating)),
    }


def _module_facts(modules: Iterable[ModuleRecord], memory: Memory | None) -> dict[str, dict[str, Any]]:
    """Return what is known of modules beside their work, by path."""
    found: dict[str, dict[str, Any]] = {
        record.module: {
            "module": record.module,
            "module_type": record.module_type,
            "calls": sum(call.calls for call in record.calls),
            "params": record.parameters,
            "trainable": record.trainable,
            "param_bytes": record.parameter_bytes,
            "buffers": record.buffers,
            "buffer_bytes": record.buffer_bytes,
            "shared": ", ".join(f"{each.name} of {each.owner}" for each in record.shared),
            "input": _format_shapes(call.inputs for call in record.calls),
            "output": _format_shapes(call.outputs for call in record.calls),
        }
        for record in modules
    }
    if memory is not None:
        for path in dict.fromkeys((*found, *memory.saved, *memory.module_peaks)):
            known = found.setdefault(path, {})
            known |= {"module": path, "saved": memory.saved.get(path, 0), "peak": memory.module_peaks.get(path)}
    return found


def _format_shapes(calls: Iterable[Sequence[TensorShape]]) -> str:
    """Write the shapes of calls, each once."""
    texts = (", ".join(map(_format_shape, tensors)) or "none" for tensors in calls)
    return "; ".join(dict.fromkeys(texts))


def _format_shape(tensor: TensorShape) -> str:
    return f"{'x'.join(map(_format_size, tensor.shape)) or 'scalar'} {tensor.dtype}"


def _format_size(size: Any) -> str:
    if type(size) is int:
        return "?" if size == UNKNOWN_SIZE else str(size)
    return str(size) if str(size).isidentifier() else f"({size})"


def _write(columns: Sequence[str], lines: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows(lines)
    return text.getvalue()


def _cells(values: Mapping[str, Any]) -> dict[str, Any]:
    return {column: _cell(value) for column, value in values.items()}


def _cell(value: Any) -> Any:
    if value is None or isinstance(value, float):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return spreadsheet_text(value) if isinstance(value, str) else _count(encode_count(value))


def _count(count: int | str) -> int | str:
    """Put an expression with a sign into parentheses, since it would be a formula of a spreadsheet."""
    return f"({count})" if isinstance(count, str) and count.startswith("-") else count
