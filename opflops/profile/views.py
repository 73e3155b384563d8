"""The views of a profile: text for people, and files for programs. Each one is implemented in ``report``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from opflops.errors import ProfileArgumentError, ProfileError
from opflops.profile.example_counts import modules_at_example, rows_at_example
from opflops.profile.method_advice import advise, check_no_file, check_options
from opflops.records import dimensions as dimension_rules
from opflops.records.arguments import explain_methods, is_file_name
from opflops.records.display import Displayed, HtmlText, PageText, ReportText

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Unpack

    from opflops.devices import Device
    from opflops.profile.roofline import Roofline
    from opflops.records.bottlenecks import Ranking
    from opflops.records.dimensions import Condition, Dimension
    from opflops.records.execution import Execution
    from opflops.records.memory import Memory
    from opflops.records.modules import ModuleRecord
    from opflops.records.rows import Row
    from opflops.records.timing import Timing
    from opflops.report import Symbolic
    from opflops.report.notebook import Limits, Part
    from opflops.report.page import PageOptions
    from opflops.report.text.tables import OverviewOptions, TableOptions

# Reports are imported when they are written, which keeps import opflops fast.


@explain_methods(advise, ProfileArgumentError)
class Views(Displayed):
    """Add views to a profile, the subclass that holds the data."""

    rows: tuple[Row, ...]
    called: tuple[str, ...]
    dimensions: tuple[Dimension, ...]
    conditions: tuple[Condition, ...]
    cases: Sequence[tuple[Any, Any]]
    remarks: tuple[str, ...]
    modules: tuple[ModuleRecord, ...]
    memory: Memory | None
    timing: Timing | None
    ranks: Sequence[tuple[int, Any]]
    execution: Execution | None

    def table(self, by: str | tuple[str, ...] = "module", **options: Unpack[TableOptions]) -> ReportText:
        """Write the profile as a table.

        Args:
            by: ``"module"`` for the module tree with its operators; else a key of rows, or a tuple of keys, for a list.
            **options: ``depth``, ``expand``, ``top``, ``columns``, ``tablefmt``, ``sort``, ``numbers``, ``width``,
                ``color``, ``bar`` and ``conditions``, which :func:`opflops.report.table` describes.

        Raises:
            ProfileError: A key, an order or a format is unknown; the message lists the known ones.
        """
        if is_file_name(by):
            check_no_file("table", "key", by, "op")
        from opflops.report import table  # noqa: PLC0415 - see above
        from opflops.report.text.tables import TableOptions  # noqa: PLC0415 - see above

        check_options("table", options, TableOptions.__annotations__)
        rows, modules = rows_at_example(self.rows), modules_at_example(self.modules)
        text = table(rows, by, symbolic=self.symbolic, modules=modules, memory=self.memory, **options)
        return HtmlText(text) if options.get("tablefmt") == "html" else ReportText(text)

    def overview(self, **options: Unpack[OverviewOptions]) -> ReportText:
        """Write the report that ``print`` shows: module tree, operators, phases, dtypes, memory, and notes.

        Args:
            **options: ``expand``, ``width``, ``color``, ``bar`` and ``conditions``, as for :meth:`table`;
                ``bottlenecks=False`` leaves out where to optimize, which is shown if there are times.

        Raises:
            ProfileError: A path to expand is unknown.
        """
        from opflops.report import overview  # noqa: PLC0415 - see above
        from opflops.report.text.tables import OverviewOptions  # noqa: PLC0415 - see above

        check_options("overview", options, OverviewOptions.__annotations__)
        rows, modules = rows_at_example(self.rows), modules_at_example(self.modules)
        ranking = self._ranking_to_show()
        return ReportText(
            overview(rows, self.symbolic, modules=modules, memory=self.memory, ranking=ranking, **options)
        )

    def to_json(self) -> str:
        """Write the profile as JSON, without loss, with a versioned schema.

        The document is ``{"schema": "opflops.profile", "version": 1, "rows": [...], "sites": [...], "called": [...]}``.
        Each row has ``module``, ``module_type``, ``op``, ``phase``, ``dtype``, ``calls``, ``cost`` (``macs``, ``ops``,
        ``transcendentals``, ``bytes_read``, ``bytes_written``), ``seconds``, ``estimate``, ``priced`` and ``site``.
        Version 2, for costs that are formulas, adds ``dimensions``, ``conditions`` and ``cases``; version 3, for a
        profile with remarks, adds ``remarks``; version 4 adds ``modules`` (their parameters, buffers and the shapes of
        their calls), ``memory``, and ``activations`` in each row; version 5 ``timing`` and ``spread``; version 6, for a
        profile with collectives or several ranks, ``sent`` in ``cost``, and ``group`` and ``rank`` in each row. A
        reader raises an error for a version that it does not know. :mod:`opflops.report.files.codec` describes every
        key.

        >>> import json
        >>> from opflops import Profile
        >>> document = json.loads(Profile().to_json())
        >>> document["schema"], document["version"]
        ('opflops.profile', 1)

        Counts that are SymInts, as under a ``FakeTensorMode`` with dynamic sizes, are written as the numbers for its
        example, and ``estimate`` says so; expressions of :func:`opflops.count` are written as they are.
        """
        from opflops.report import dump  # noqa: PLC0415 - see above

        return dump(self._document())

    def to_csv(self, of: str = "rows") -> ReportText:
        """Write comma-separated values under a versioned header.

        Args:
            of: ``"rows"`` for a line for each module, operator, phase and dtype; see :func:`opflops.report.csv_rows`.
                ``"modules"`` for a line for each module with its parameters, shapes, work and memory; see
                :func:`opflops.report.csv_modules`.

        Raises:
            ProfileError: ``of`` is unknown.
        """
        check_no_file("to_csv", "kind of line", of, "modules")
        from opflops.report import csv_modules, csv_rows  # noqa: PLC0415 - see above

        writers = {"rows": csv_rows, "modules": csv_modules}
        if of not in writers:
            raise ProfileError(f"to_csv(of=...) must be {' or '.join(map(repr, writers))}, not {of!r}.")
        return ReportText(writers[of](rows_at_example(self.rows), modules_at_example(self.modules), self.memory))

    def to_folded(self, measure: str = "flops") -> ReportText:
        """Write a line with its own count for each module and operator, in the format of flame graph scripts.

        Args:
            measure: ``"flops"``, ``"macs"``, ``"ops"``, ``"transcendentals"``, ``"bytes"``, ``"sent"`` or
                ``"seconds"``.

        Raises:
            ProfileError: The measure is unknown, or a count is an expression.
        """
        check_no_file("to_folded", "measure", measure, "flops")
        from opflops.report import folded  # noqa: PLC0415 - see above

        return ReportText(folded(rows_at_example(self.rows), measure))

    def to_speedscope(self, measure: str = "flops") -> str:
        """Write a file for https://speedscope.app: the same stacks as :meth:`to_folded`, one profile for each phase.

        Raises:
            ProfileError: The measure is unknown, or a count is an expression.
        """
        check_no_file("to_speedscope", "measure", measure, "flops")
        from opflops.report import speedscope  # noqa: PLC0415 - see above

        return speedscope(rows_at_example(self.rows), measure)

    def to_mermaid(self, diagram: str = "state", *, depth: int | None = None) -> ReportText:
        """Write a Mermaid diagram.

        Args:
            diagram: ``"state"`` for the layers with their costs in order of execution, and dashed arrows where a result
                is used again later, as by skip connections; ``"er"`` for the hierarchy of modules as entities with id,
                type, parameters, macs, flops and calls. The order of each call, and the dashed arrows, are known of
                :func:`opflops.count` and of the command line; else a layer is where it first did work.
            depth: How many levels of modules below the root to show; None for as many as can be read at a glance.

        Raises:
            ProfileError: The diagram is unknown, or ``depth`` is not a number of levels.
        """
        check_no_file("to_mermaid", "diagram", diagram, "state")
        from opflops.report import mermaid  # noqa: PLC0415 - see above

        text = mermaid(rows_at_example(self.rows), diagram, self.symbolic, self.modules, depth, self.execution)
        return ReportText(text)

    def to_html(self, **options: Unpack[PageOptions]) -> PageText:
        """Write an HTML page that needs no network: module tree, icicle, operators, and a roofline for a device.

        With times or a device it also shows where to optimize, as :meth:`bottlenecks` does.

        Args:
            **options: The options of :func:`opflops.report.page.page`, which describes them.

        Raises:
            MissingExtraError: The extra ``html`` is not installed; the message says how to install it.
        """
        from opflops.report.page import PageOptions, page  # noqa: PLC0415 - see above

        check_options("to_html", options, PageOptions.__annotations__)
        rows = rows_at_example(self.rows)
        ranking, refusal = self._ranking_on(options.get("device"), tf32=options.get("tf32", False))
        return PageText(
            page(
                rows,
                self.symbolic,
                modules=self.modules,
                memory=self.memory,
                ranking=ranking,
                refusal=refusal,
                **options,
            )
        )

    def roofline(self, device: str | Device, by: str | tuple[str, ...] = "op", *, tf32: bool = False) -> Roofline:
        """Compute a lower bound on the time on a device, from its peak FLOP/s and its memory bandwidth.

        Args:
            device: A name in :data:`opflops.devices.DEVICES`, such as ``"h100-sxm"``, or your own
                :class:`opflops.devices.Device`.
            by: A key of rows, or a tuple of keys; the table has a line for each value.
            tf32: Whether float32 matmuls run in TF32, as convolutions on CUDA do by default.

        Raises:
            ProfileError: The device or a key is unknown, the device has no known peak for a dtype, or a count is an
                expression or negative.
        """
        from opflops.profile.roofline import roofline  # noqa: PLC0415 - see above

        rows = rows_at_example(self.rows)
        known: dict[str, Any] = {"remarks": self.remarks, "timing": self.timing, "ranks": len(self.ranks)}
        return roofline(rows, device, by, tf32=tf32, **known)

    @property
    def symbolic(self) -> Symbolic:
        """Return what reports say beside the rows: dimensions, conditions and cases of expressions, remarks, timing."""
        from opflops.report import Symbolic  # noqa: PLC0415 - see above

        case_of = {dimension_rules.unless_sizes(sizes): sizes for sizes, _ in self.cases}
        reasons = {case_of[each.expression]: each.reason for each in self.conditions if each.expression in case_of}
        conditions = tuple(each for each in self.conditions if each.expression not in case_of)
        cases = tuple((sizes, reasons.get(sizes, "")) for sizes, _ in self.cases)
        return Symbolic(
            self.dimensions, conditions, cases, self.remarks, self.timing, tuple(rank for rank, _ in self.ranks)
        )

    def __enter__(self) -> NoReturn:
        raise ProfileArgumentError(
            "A profile is not entered: count() has counted when it returns, as in p = count(model, x). "
            "To count what runs in a block, write with OpFlopMode() as m: ..."
        )

    def __exit__(self, *_: object) -> None:
        """Do nothing; Python looks for this method before it enters a block."""

    def _ranking_to_show(self) -> Ranking | None:
        if not any(row.seconds for row in self.rows):
            return None
        from opflops.profile.bottlenecks import ranking_to_show  # noqa: PLC0415 - see above

        return ranking_to_show(rows_at_example(self.rows))

    def _ranking_on(self, device: str | Device | None, *, tf32: bool) -> tuple[Ranking | None, str]:
        """Rank for the page; if that cannot be done on the device, by times alone, with the reason."""
        if device is None:
            return self._ranking_to_show(), ""
        from opflops.profile.bottlenecks import bottlenecks  # noqa: PLC0415 - see above

        try:
            rows = rows_at_example(self.rows)
            known: dict[str, Any] = {"remarks": self.remarks, "timing": self.timing, "ranks": len(self.ranks)}
            return bottlenecks(rows, device, tf32=tf32, **known), ""
        except ProfileError as error:
            return self._ranking_to_show(), str(error)

    def _document(self) -> dict[str, Any]:
        raise NotImplementedError

    def _notebook_parts(self, limits: Limits) -> list[Part]:
        from opflops.report.notebook import overview_parts  # noqa: PLC0415 - see above

        rows, modules = rows_at_example(self.rows), modules_at_example(self.modules)
        shown: dict[str, Any] = {"modules": modules, "memory": self.memory, "ranking": self._ranking_to_show()}
        return overview_parts(rows, self.symbolic, limits=limits, **shown)

    def __str__(self) -> str:
        return str(self.overview())
