"""The difference of two profiles: a profile of what changed, which knows what it was before and after."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, NoReturn, cast

from opflops.errors import ProfileArgumentError, ProfileError
from opflops.profile.arithmetic import Arithmetic
from opflops.profile.example_counts import at_example
from opflops.profile.method_advice import advise, check_no_file
from opflops.records.arguments import check_count, check_flag, check_text, explain_methods, is_file_name, keys_of
from opflops.records.display import HtmlText, ReportText

if TYPE_CHECKING:
    from collections.abc import Callable

    from opflops.profile.profile import Difference, Profile
    from opflops.records.display import PageText
    from opflops.report.notebook import Limits, Part
    from opflops.report.text.comparison import ComparisonOptions
    from opflops.report.text.pairing import ComparedProfile


@explain_methods(advise, ProfileArgumentError)
class BothSides:
    """Add both sides to a difference, the subclass that is a profile of the changes too."""

    before: Profile
    after: Profile

    @classmethod
    def between(cls, before: Profile, after: Profile) -> Difference:
        """Make the difference of two profiles. For internal use."""
        from opflops.profile.combination import change_between  # noqa: PLC0415 - keeps import opflops fast

        return cls._of(before, after, change_between(before, after))

    @classmethod
    def _of(cls, before: Profile, after: Profile, change: Profile) -> Difference:
        """Make a difference of the change and what it is the change of."""
        made: Any = object.__new__(cls)
        # The rows of the change may be unread.
        made.__dict__.update(vars(change), before=before, after=after)
        return cast("Difference", made)

    @property
    def change(self) -> Profile:
        """Return the changes as a plain profile, whose tables have a column for each measure."""
        return replace(cast("Profile", self))

    def where(self, *, below: bool | None = None, **conditions: Any) -> Difference:
        """Select rows, before, after and of the change; see :meth:`opflops.Profile.where`.

        Raises:
            ProfileError: A key or a value is unknown, both before and after.
        """
        from opflops.profile.combination import keep  # noqa: PLC0415 - keeps import opflops fast
        from opflops.profile.selection import selection  # noqa: PLC0415 - as above

        selected = selection(self._known(), below, conditions, "where()")
        return self._map(lambda profile: keep(profile, selected, conditions))

    def where_not(self, *, below: bool | None = None, **conditions: Any) -> Difference:
        """Select the rows that :meth:`where` leaves out.

        Raises:
            ProfileError: A key or a value is unknown, both before and after, or none is given.
        """
        from opflops.profile.combination import check_conditions, leave_out  # noqa: PLC0415 - as above
        from opflops.profile.selection import selection  # noqa: PLC0415 - as above

        check_conditions(conditions)
        selected = selection(self._known(), below, conditions, "where_not()")
        return self._map(lambda profile: leave_out(profile, selected, conditions))

    def at(self, /, **sizes: int) -> Difference:
        """Evaluate the costs at sizes of dimensions, before, after and of the change; see :meth:`opflops.Profile.at`.

        Raises:
            ProfileError: A dimension is unknown, a size is not valid, or a model does something else at these sizes.
        """
        change = self.change.at(**sizes)
        before, after = (
            each.at(**{name: sizes[name] for name in sizes if name in {known.name for known in each.dimensions}})
            for each in (self.before, self.after)
        )
        return self._of(before, after, change)

    def __add__(self, other: Profile) -> Profile:
        return self._plus(other) if isinstance(other, Arithmetic) else NotImplemented

    def __radd__(self, other: object) -> Profile:
        # Python asks a subclass on the right first; sum() starts from the integer 0.
        if isinstance(other, Arithmetic):
            return self._plus(cast("Profile", other))
        return cast("Profile", self) if type(other) is int and other == 0 else NotImplemented

    def _plus(self, other: Profile) -> Profile:
        """Add a profile: what was before makes what is after, and parameters are added up as changes."""
        from opflops.profile.combination import add  # noqa: PLC0415 - keeps import opflops fast

        return self.after if other == self.before else add(self.change, other, has_changes=True)

    def __mul__(self, times: int) -> Difference:
        return self._map(lambda profile: profile * times)

    def __truediv__(self, repetitions: int) -> Difference:
        return self._map(lambda profile: profile / repetitions)

    def table(self, by: str | tuple[str, ...] = "module", **options: Any) -> ReportText:
        """Write what it was before, what it is after, and the change, as ``opflops diff`` does.

        Args:
            by: ``"module"`` for the modules below the models, which are paired even if the models' classes differ; else
                a key of rows, or a tuple of keys.
            **options: ``measure``, ``depth``, ``sort``, ``top``, ``tablefmt``, ``numbers``, ``width`` and ``color``,
                which :class:`opflops.report.text.comparison.ComparisonOptions` describes. A table of the changes alone,
                with the other options of :meth:`opflops.Profile.table`, is ``difference.change.table()``.

        Raises:
            ProfileError: A key, a measure, an order or a format is unknown.
        """
        if is_file_name(by):
            check_no_file("table", "key", by, "op")
        return self._format(_options("table", by=by, **options))

    def overview(self, **options: Any) -> ReportText:
        """Write what ``print`` shows, the :meth:`table` of modules, with ``width`` and ``color`` or its other options.

        Raises:
            ProfileError: An option is unknown.
        """
        return self._format(_options("overview", **options))

    def to_html(self, **options: Any) -> PageText:
        """Write a page of the changes, whose title says so; see :meth:`opflops.Profile.to_html`."""
        from opflops.report.page import default_title  # noqa: PLC0415 - keeps import opflops fast

        title = f"Changes of {default_title(self.change.rows)}"
        return self.change.to_html(**{"title": title, **options})

    def to_mermaid(self, diagram: str = "state", *, depth: int | None = None) -> NoReturn:  # noqa: ARG002 - refused
        """Refuse: a diagram shows one profile.

        Raises:
            ProfileError: Always; the message says what to write instead.
        """
        _refuse("to_mermaid", "A Mermaid diagram")

    def _document(self) -> dict[str, Any]:
        """Return the changes for JSON, which says that it is a difference even if nothing is negative."""
        from opflops.report.files.codec import DIFFERENCE_SCHEMA  # noqa: PLC0415 - keeps import opflops fast

        return {**self.change._document(), "schema": DIFFERENCE_SCHEMA}  # noqa: SLF001 - of the same class

    def _notebook_parts(self, _limits: Limits) -> list[Part]:
        from opflops.report.notebook import comparison_parts  # noqa: PLC0415 - keeps import opflops fast
        from opflops.report.text.comparison import difference_tables  # noqa: PLC0415 - as above

        return comparison_parts(difference_tables(_compared(self.before), _compared(self.after)))

    def _format(self, options: ComparisonOptions) -> ReportText:
        from opflops.report.text.comparison import format_difference  # noqa: PLC0415 - keeps import opflops fast

        text = format_difference(_compared(self.before), _compared(self.after), options)
        return HtmlText(text) if options.tablefmt == "html" else ReportText(text)

    def _map(self, function: Callable[[Profile], Profile]) -> Difference:
        return self._of(*map(function, (self.before, self.after, self.change)))

    def _known(self) -> Profile:
        """Return a profile with all names that there are before or after, for looking them up."""
        both = (self.before, self.after)
        return replace(
            self.change,
            rows=tuple(row for each in both for row in each.rows),
            sites=tuple(row for each in both for row in each.sites),
            called=tuple(dict.fromkeys(path for each in both for path in each.called)),
            cases=tuple(case for each in both for case in each.cases),
            modules=tuple(record for each in both for record in each.modules),
            ranks=tuple({record.rank: record for each in both for record in each.ranks}.values()),
        )

    def __eq__(self, other: object) -> bool:
        return self.change == (other.change if isinstance(other, BothSides) else other)

    def __hash__(self) -> int:
        return hash(self.change)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self)._of, (self.before, self.after, self.change)  # noqa: SLF001 - of this class

    def __repr__(self) -> str:
        changed = len(self.change.rows)
        if not changed:
            return "<Difference: no work changed>"
        total, rows = self.change.total, f"{changed} row{'s' if changed > 1 else ''} changed"
        return (
            f"<Difference: {rows}, {_signed(total.macs)} macs, {_signed(total.flops)} flops. print() shows the report>"
        )


def _refuse(method: str, shown: str) -> NoReturn:
    raise ProfileError(
        f"{shown} shows the costs of one profile, and this is a difference. Write both sides: "
        f"difference.before.{method}() and difference.after.{method}(). "
        "difference.table() and difference.to_csv() show the changes."
    )


def _signed(number: Any) -> str:
    from opflops.units import scaled  # noqa: PLC0415 - keeps import opflops fast

    return f"{'+' if isinstance(number, int) and number > 0 else ''}{scaled(number)}"


def _options(method: str, **options: Any) -> ComparisonOptions:
    """Return the options of a difference.

    Raises:
        ProfileArgumentError: It does not have one that is given, or one is of another type.
    """
    from opflops.report.text.comparison import ComparisonOptions  # noqa: PLC0415 - keeps import opflops fast

    names = [each.name for each in fields(ComparisonOptions)]
    for given in options:
        if given not in names:
            raise ProfileArgumentError(
                f"{method}() of a difference has no option {given!r}; there are {', '.join(names)}. "
                f"For a table of the changes alone, write difference.change.{method}({given}=...)."
            )
    found = ComparisonOptions(**options)
    keys_of(found.by, "table()")
    check_text("measure", found.measure, "measure='macs'")
    check_count("depth", found.depth, 0)
    if found.sort is not None:
        check_text("sort", found.sort, "sort='macs'")
    check_count("top", found.top)
    check_text("tablefmt", found.tablefmt, "tablefmt='github'")
    check_count("width", found.width, 0, otherwise=", or None for the terminal's")
    check_flag("color", found.color)
    return found


def _compared(profile: Profile) -> ComparedProfile:
    from opflops.report.text.pairing import ComparedProfile  # noqa: PLC0415 - keeps import opflops fast

    shown = at_example(profile)
    return ComparedProfile(shown.rows, shown.symbolic, modules=shown.modules, memory=shown.memory)
