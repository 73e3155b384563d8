r"""Write profiles as JSON, without loss; :mod:`.reading` reads them, and refuses a version that it does not know.

A profile is one JSON object:

- ``schema``: the string ``"opflops.profile"``; ``"opflops.difference"`` of a difference of two profiles, and wherever
  there are negative numbers, which only a difference has.
- ``version``: 1, or 2 if costs are expressions in dimensions, or 3 if there are remarks, or 4 if modules, memory or
  activations are known, or 5 if it is known how times were measured, or 6 if something was sent to other ranks, or 7 if
  the order of execution is known. A newer opflops reads all older versions. A version has exactly the keys that are
  listed here; any more key makes a new version.
- ``rows``: a list of objects, one for each module, operator, phase and dtype, in order of first execution:

  - ``module``: the module's path, such as ``"ResNet.layer1.0.conv1"``, beginning with the root's class name; ``""`` for
    work outside any module. ``module_type``: its class name, or ``""``.
  - ``op``: namespace and packet of the operator, such as ``"aten.mm"``.
  - ``phase``: ``"forward"``, ``"backward"``, ``"recompute"`` or ``"optimizer"``; of ``--generate``, ``"prefill"`` or
    ``"decode"``.
  - ``dtype``: the dtype of the arithmetic, such as ``"float32"``. Totals include the dtypes that begin with ``float``,
    ``bfloat`` or ``complex``.
  - ``calls``: how many times it ran, a whole number.
  - ``cost``: an object with the sum of the costs of these calls: ``macs``, ``ops`` and ``transcendentals``, and
    ``bytes_read`` and ``bytes_written`` in bytes. They are whole numbers of any length (also beyond 2**53, which a
    reader with double precision would round) up to 4000 digits. Floating-point operations are ``2 * macs + ops`` and
    are not stored.
  - ``seconds``: their total time in seconds; null if they were not timed.
  - ``estimate``: why the cost is not exact, or ``""``. ``priced``: false if the operator has no formula.
  - ``site``: ``""`` here; rows in ``sites`` use it.

- ``sites``: objects like rows, for modules with several call sites, one for each call site, which ``site`` names
  (``"Net.decoder #2"``). Their work is in ``rows`` already.
- ``called``: the paths of the modules that were called, in order of first call.

Version 2 adds:

- a count in ``cost`` may be a string: an expression in the dimensions, in Python's notation with the functions that
  :mod:`opflops.records.parsing` reads, such as ``"98304*batch*seq + 256*batch*seq**2"``.
- ``dimensions``: a list of objects with ``name``, ``example`` (the size when counted), ``minimum``, and ``maximum``
  (null for no limit).
- ``conditions``: what must be true of sizes for the costs to be exact: objects with ``expression`` (a string, such as
  ``"Ne(batch, 1)"``) and ``reason``.
- ``cases``: objects with ``sizes``, an object of sizes by dimension at which the model does something else, and
  ``profile``, an object like the whole document with the costs there.

Version 3 has the keys of version 1, those of version 2 if costs are expressions, and:

- ``remarks``: a list of sentences on what the counts leave out, such as modules that other threads called.

Version 4 has the keys of version 1, those of version 2 if costs are expressions, ``remarks`` if there are any, and:

- ``activations`` in each row: the elements of the operator's results, as in :class:`opflops.Row`; a count as in
  ``cost``.
- ``modules``: objects, one for each module of the models that were called, each path once:

  - ``module``: its path. ``module_type``: its class name.
  - ``parameters``, ``trainable``, ``buffers``: how many elements it registers itself. A parameter that several modules
    share counts for the first. ``parameter_bytes``, ``buffer_bytes``: their bytes. In a difference they may be
    negative.
  - ``shared``: objects with ``name`` and ``elements`` of the parameters that count for another module, ``owner``.
  - ``calls``: objects with ``inputs`` and ``outputs``, and ``calls``, how many calls had these. They are lists of
    objects with ``shape``, a list of sizes, and ``dtype``. A size is a whole number, or an expression as in ``cost``,
    or null if it is not known, as that of a nested tensor.

- ``memory``: null, or an object with what was kept in memory on one device, in bytes:

  - ``device``: such as ``"cpu"``. ``allocator``: ``"cuda"`` if storages are rounded up as by PyTorch's allocator for
    CUDA, else ``""``. ``remarks``: sentences on what is not seen.
  - ``peak``: the most bytes that were live. ``at``: the operator after which they were, an object with ``module``,
    ``op``, ``phase``, ``source`` (a line of the program, or ``""``) and ``number`` (of operators before it); or null.
    ``at_peak``: what was live then, an object with ``parameters``, ``gradients``, ``optimizer``, ``buffers``,
    ``inputs``, ``activations`` and ``temporaries``, which add up to ``peak``.
  - ``end_of_forward``: the bytes that were live when the backward pass began, or the outermost module returned.
  - ``phase_peaks``, ``module_peaks``: objects with the peak by phase, and by module path. ``saved``: an object with the
    bytes that are kept for the backward pass by module path.
  - ``timeline``: an object with ``names``, a list of texts, and ``samples``, a list of lists of 12 numbers, in order of
    execution: the operator's ``number``, the places in ``names`` of its ``module``, ``op``, ``phase`` and ``source``,
    and the bytes that were live after it, in the seven categories of ``at_peak``.
  - ``others``: a list of such objects for other devices. Their ``others`` are empty.

Version 5 has the keys of version 4, and:

- ``spread`` in each row: the inter-quartile range of ``seconds`` over repeated runs; null if there was a single run.
- ``timing``: null, or an object that says how ``seconds`` was measured:

  - ``runs``, ``warmup``: how many runs were timed, and how many before them were not.
  - ``median``, ``spread``: of the times of runs that were counted; ``spread`` is the inter-quartile range, or null for
    a single run. ``wall``, ``wall_spread``: the same of runs without the mode; null if that was not measured.
  - ``overhead``: the median difference between a counted run and one that was not; or null.
  - ``calls``: an object with the number of calls of each model in a run, by path.

Version 6 has the keys of version 5, and in each row:

- ``sent`` in ``cost``: the bytes that a collective puts on the wire on this rank, a count like the others.
- ``group``: the process group of a collective, such as ``"tp (8)"``; ``""`` for other operators.
- ``rank``: the rank that did the work, in a profile of several ranks; else null.

and of a profile that was gathered from several ranks:

- ``ranks``: objects, each rank once, with ``rank`` and ``profile``, an object like the whole document with what is
  known of that rank beside rows: its modules, memory, timing and remarks.

Version 7 has the keys of version 6, and:

- ``execution``: an object with what modules did in the forward phase, in order:

  - ``modules``, ``ops``: lists of names. ``steps``: a list of lists of a place in ``modules``; a list that says of that
    module and of each one above it, outermost first, which of its calls this is, from 1, or 0 for one that does not
    run; and a list of places in ``ops``.
  - ``flow``: a list of pairs of steps, by number from 0, of which the second used a result of the first; the first is
    -1 for an input. Null if that is not known.

All keys of an object must be there, once each; of those of a document, only ``rows``. A string may have any character:
JSON writes a lone surrogate as ``\ud800``. A pair of surrogates is read as the character that it stands for.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from opflops.records.dimensions import example_sizes
from opflops.records.expressions import serialize
from opflops.records.module_arithmetic import numbers_of
from opflops.report.files.execution_codec import encode_execution
from opflops.report.files.memory_codec import encode_memory
from opflops.report.files.module_codec import encode_module
from opflops.report.files.row_codec import Entries, have_negative, is_distributed, rows_as_entries, to_json
from opflops.report.files.timing_codec import encode_timing, has_negative_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from opflops.records.dimensions import Condition, Dimension
    from opflops.records.execution import Execution
    from opflops.records.memory import Memory
    from opflops.records.modules import ModuleRecord
    from opflops.records.rows import Row
    from opflops.records.timing import Timing

    Sizes = tuple[tuple[str, int], ...]

SCHEMA = "opflops.profile"
DIFFERENCE_SCHEMA = "opflops.difference"
VERSIONS = (1, 2, 3, 4, 5, 6, 7)
KEYS = ("schema", "version", "rows", "sites", "called")
MORE_KEYS = {2: ("dimensions", "conditions", "cases"), 3: ("remarks",), 4: ("modules", "memory"), 5: ("timing",)}
MORE_KEYS |= {6: ("ranks",), 7: ("execution",)}
_MAX_PENDING = 2**22


def document(
    rows: Iterable[Row],
    sites: Iterable[Row] = (),
    called: Iterable[str] = (),
    dimensions: Sequence[Dimension] = (),
    conditions: Iterable[Condition] = (),
    cases: Iterable[tuple[Sizes, dict[str, Any]]] = (),
    remarks: Sequence[str] = (),
    modules: Sequence[ModuleRecord] = (),
    memory: Memory | None = None,
    timing: Timing | None = None,
    ranks: Sequence[tuple[int, dict[str, Any]]] = (),
    execution: Execution | None = None,
) -> dict[str, Any]:
    """Make the JSON object of a profile; the module docstring describes its schema.

    Args:
        rows: The rows.
        sites: The rows of modules with several call sites.
        called: The paths of the modules that were called.
        dimensions: The dimensions of costs that are expressions. With any, the object has version 2, else version 1.
        conditions: What must be true of their sizes.
        cases: Sizes at which the costs differ, and the object of the profile for them.
        remarks: Sentences on what the counts leave out. With any, the object has version 3.
        modules: What is known of modules.
        memory: What was kept in memory. With it, with modules or with activations, the object has version 4.
        timing: How times were measured. With it, or with spreads of times, the object has version 5; with rows of
            collectives or of several ranks, version 6.
        ranks: The ranks of a gathered profile, with the object of what each knows beside its rows.
        execution: The order of execution. With it, the object has version 7.
    """
    rows, sites = tuple(rows), tuple(sites)
    every = (*rows, *sites)
    is_difference = have_negative(every, example_sizes(dimensions)) or any(map(_is_decrease, modules))
    is_difference = is_difference or (timing is not None and has_negative_time(timing))
    is_ordered = execution is not None
    is_gathered = is_ordered or bool(ranks) or any(map(is_distributed, every))
    is_timed = is_gathered or timing is not None or any(row.spread is not None for row in every)
    is_new = is_timed or bool(modules) or memory is not None or any(row.activations != 0 for row in every)
    version = (
        7
        if is_ordered
        else 6
        if is_gathered
        else 5
        if is_timed
        else 4
        if is_new
        else 3
        if remarks
        else 2
        if dimensions
        else 1
    )
    written: dict[str, Any] = {
        "schema": DIFFERENCE_SCHEMA if is_difference else SCHEMA,
        "version": version,
        "rows": rows_as_entries(rows, version),
        "sites": rows_as_entries(sites, version),
        "called": list(called),
    }
    if dimensions:
        written |= {
            "dimensions": [each._asdict() for each in dimensions],
            "conditions": [{"expression": serialize(each.expression), "reason": each.reason} for each in conditions],
            "cases": [{"sizes": dict(sizes), "profile": profile} for sizes, profile in cases],
        }
    if remarks:
        written |= {"remarks": list(remarks)}
    if is_new:
        written |= {
            "modules": Entries(modules, encode_module),
            "memory": None if memory is None else encode_memory(memory),
        }
    if is_timed:
        written |= {"timing": None if timing is None else encode_timing(timing)}
    if ranks:
        written |= {"ranks": [{"rank": rank, "profile": profile} for rank, profile in ranks]}
    if execution is not None:
        written |= {"execution": encode_execution(execution)}
    return written


def dump(written: dict[str, Any]) -> str:
    """Write a document as JSON.

    Raises:
        ProfileError: A count is a SymInt.
    """
    text = ""
    for part in _joined(pieces(written)):
        # Python appends to a text in place, which takes half the memory of joining all pieces.
        text += part
    return text


def _joined(some: Iterable[str]) -> Iterator[str]:
    """Join pieces into longer ones."""
    pending, length = list[str](), 0
    for piece in some:
        pending.append(piece)
        length += len(piece)
        if length > _MAX_PENDING:
            yield "".join(pending)
            pending, length = [], 0
    yield "".join(pending)


def pieces(written: dict[str, Any]) -> Iterator[str]:
    """Write a document as JSON, in pieces, so that a large one is never in memory as a whole.

    Raises:
        ProfileError: A count is a SymInt.
    """
    separator = "{"
    for key, value in written.items():
        yield f"{separator}{json.dumps(key)}: "
        separator = ", "
        if isinstance(value, Entries):
            yield from value.pieces()
        else:
            yield to_json(value)
    yield "}"


def _is_decrease(record: ModuleRecord) -> bool:
    """Tell whether a module has a negative number, as in the difference of two profiles."""
    return min((*numbers_of(record), *(call.calls for call in record.calls))) < 0
