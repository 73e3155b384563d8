"""What a profile looks like: as text for people, and as files for programs. Each view is one file of ``report``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opflops.records import dimensions as sizing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Unpack

    from opflops.devices import Device
    from opflops.profile.roofline import Roofline
    from opflops.records.dimensions import Condition, Dimension
    from opflops.records.rows import Row
    from opflops.report import Symbolic
    from opflops.report.page import PageOptions
    from opflops.report.text.tables import OverviewOptions, TableOptions

# Reports are imported by those who want one, since importing opflops is not to take longer for them.


class Views:
    """Show a profile; the profile itself is a subclass that holds what there is to show."""

    rows: tuple[Row, ...]
    called: tuple[str, ...]
    dimensions: tuple[Dimension, ...]
    conditions: tuple[Condition, ...]
    cases: Sequence[tuple[Any, Any]]

    def table(self, by: str | tuple[str, ...] = "module", **options: Unpack[TableOptions]) -> str:
        """Write the profile as a table.

        Args:
            by: ``"module"`` for the module tree with its operators; else a key of rows, or a tuple of keys, for a list.
            **options: ``depth``, ``expand``, ``top``, ``columns``, ``tablefmt``, ``sort``, ``numbers``, ``width``,
                ``color`` and ``bar``, which :func:`opflops.report.table` describes.

        Raises:
            ProfileError: A key, an order or a format is unknown; the message lists what there is.
        """
        from opflops.report import table  # noqa: PLC0415 - see above

        return table(self.rows, by, symbolic=self.symbolic, **options)

    def overview(self, **options: Unpack[OverviewOptions]) -> str:
        """Write the report that ``print`` shows: module tree, operators, phases and dtypes, and what there is to note.

        Args:
            **options: ``expand``, ``width``, ``color`` and ``bar``, as for :meth:`table`.

        Raises:
            ProfileError: There is no such path to expand.
        """
        from opflops.report import overview  # noqa: PLC0415 - see above

        return overview(self.rows, self.symbolic, **options)

    def to_json(self) -> str:
        """Write the profile as JSON, without loss, under a versioned schema.

        Raises:
            ProfileError: A count is symbolic to PyTorch, as under a mode for fake tensors; those that
                :func:`opflops.count` makes expressions of are written.
        """
        from opflops.report import dump  # noqa: PLC0415 - see above

        return dump(self._document())

    def to_csv(self) -> str:
        """Write the rows as comma-separated values under a versioned header; see :func:`opflops.report.csv_rows`."""
        from opflops.report import csv_rows  # noqa: PLC0415 - see above

        return csv_rows(self.rows)

    def to_folded(self, measure: str = "flops") -> str:
        """Write a line for each module and operator with its own count, as flame graph scripts read them.

        Args:
            measure: ``"flops"``, ``"macs"``, ``"ops"``, ``"transcendentals"``, ``"bytes"`` or ``"seconds"``.

        Raises:
            ProfileError: There is no such measure, or counts are expressions.
        """
        from opflops.report import folded  # noqa: PLC0415 - see above

        return folded(self.rows, measure)

    def to_speedscope(self, measure: str = "flops") -> str:
        """Write a file for https://speedscope.app: the same stacks as :meth:`to_folded`, one profile for each phase.

        Raises:
            ProfileError: There is no such measure, or counts are expressions.
        """
        from opflops.report import speedscope  # noqa: PLC0415 - see above

        return speedscope(self.rows, measure)

    def to_mermaid(self, diagram: str = "state") -> str:
        """Write a Mermaid diagram.

        Args:
            diagram: ``"state"`` for the layers in order of execution with what each costs; ``"er"`` for the model and
                its layers as entities with id, type and flops.

        Raises:
            ProfileError: There is no such diagram.
        """
        from opflops.report import mermaid  # noqa: PLC0415 - see above

        return mermaid(self.rows, diagram, self.symbolic)

    def to_html(self, **options: Unpack[PageOptions]) -> str:
        """Write one page that needs no network: module tree, icicle, operators, and a roofline for a device.

        Args:
            **options: As for :func:`opflops.report.page`, which describes them.

        Raises:
            MissingExtraError: The extra ``html`` is not installed; the message says how to install it.
        """
        from opflops.report.page import page  # noqa: PLC0415 - see above

        return page(self.rows, self.symbolic, **options)

    def roofline(self, device: str | Device, by: str | tuple[str, ...] = "op", *, tf32: bool = False) -> Roofline:
        """Bound the time on a device from below by its arithmetic and its memory traffic.

        Args:
            device: A name that :data:`opflops.devices.DEVICES` has, such as ``"h100-sxm"``, or one's own.
            by: A key of rows, or several: what to show a line for.
            tf32: Whether float32 products run in TF32, as convolutions do on CUDA unless told otherwise.

        Raises:
            ProfileError: There is no such device or key, or counts are expressions.
        """
        from opflops.profile.roofline import roofline  # noqa: PLC0415 - see above

        return roofline(self.rows, device, by, tf32=tf32)

    @property
    def symbolic(self) -> Symbolic:
        """Return what reports say of costs that are expressions: dimensions, conditions, and where others hold."""
        from opflops.report import Symbolic  # noqa: PLC0415 - see above

        apart = {sizing.elsewhere(sizes): sizes for sizes, _ in self.cases}
        reasons = {apart[each.expression]: each.reason for each in self.conditions if each.expression in apart}
        conditions = tuple(each for each in self.conditions if each.expression not in apart)
        return Symbolic(self.dimensions, conditions, tuple((sizes, reasons.get(sizes, "")) for sizes, _ in self.cases))

    def _document(self) -> dict[str, Any]:
        raise NotImplementedError

    def __str__(self) -> str:
        return self.overview()
