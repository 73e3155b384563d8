"""The difference of two profiles: a profile of what changed, which knows what it was before and after."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from opflops.errors import ProfileArgumentError
from opflops.profile.example_counts import at_example
from opflops.profile.method_advice import advise, check_no_file
from opflops.profile.profile import Profile
from opflops.records.arguments import explain_methods, is_file_name
from opflops.records.display import HtmlText, ReportText

if TYPE_CHECKING:
    from collections.abc import Callable

    from opflops.report.notebook import Limits, Part
    from opflops.report.text.comparison import ComparisonOptions
    from opflops.report.text.pairing import ComparedProfile


@explain_methods(advise, ProfileArgumentError)
class Difference(Profile):
    """Hold what must be added to a profile to get another, as made by ``after - before``; printing it shows both.

    It is a profile whose counts are changes: its rows, its :attr:`total`, :meth:`by` and all else of a profile are what
    was added, and negative where there is less. :meth:`table` and ``print`` show what it was before, what it is
    after, and the change, as a number and in percent. It equals a profile with the same changes, as which its JSON is
    read; save :attr:`before` and :attr:`after` to keep those.

    >>> import torch
    >>> from opflops import count
    >>> small, large = (count(torch.nn.Linear(4, n), torch.ones(2, 4)) for n in (3, 5))
    >>> change = large - small
    >>> change.total.macs, change.before.total.macs, change.after.total.macs
    (16, 24, 40)

    Attributes:
        before: The profile that was subtracted.
        after: The profile that it was subtracted from.
    """

    before: Profile
    after: Profile

    def __new__(cls, *args: Any, **kwargs: Any) -> Profile:  # type: ignore[misc]
        """Make a plain profile: what dataclasses.replace() changes has nothing before and after."""
        return Profile(*args, **kwargs)

    @classmethod
    def between(cls, before: Profile, after: Profile, change: Profile) -> Difference:
        """Make a difference of the change and what it is the change of. For internal use."""
        made: Difference = object.__new__(cls)
        own = {each.name: getattr(change, each.name) for each in fields(Profile)}
        made.__dict__.update(own, before=before, after=after)
        return made

    @property
    def change(self) -> Profile:
        """Return the changes as a plain profile, whose tables have a column for each measure."""
        return replace(self)

    def where(self, *, below: bool | None = None, **conditions: Any) -> Difference:
        """Select rows, before, after and of the change; see :meth:`opflops.Profile.where`.

        Raises:
            ProfileError: A key or a value is unknown, both before and after.
        """
        from opflops.profile.combination import keep, selection  # noqa: PLC0415 - keeps import opflops fast

        selected = selection(self._known(), below, conditions, "where()")
        return self._map(lambda profile: keep(profile, selected, conditions))

    def where_not(self, *, below: bool | None = None, **conditions: Any) -> Difference:
        """Select the rows that :meth:`where` leaves out.

        Raises:
            ProfileError: A key or a value is unknown, both before and after, or none is given.
        """
        from opflops.profile.combination import check_conditions, leave_out, selection  # noqa: PLC0415 - as above

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
        return self.between(before, after, change)

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

    def _notebook_parts(self, _limits: Limits) -> list[Part]:
        from opflops.report.notebook import comparison_parts  # noqa: PLC0415 - keeps import opflops fast
        from opflops.report.text.comparison import difference_tables  # noqa: PLC0415 - as above

        return comparison_parts(difference_tables(_compared(self.before), _compared(self.after)))

    def _format(self, options: ComparisonOptions) -> ReportText:
        from opflops.report.text.comparison import format_difference  # noqa: PLC0415 - keeps import opflops fast

        text = format_difference(_compared(self.before), _compared(self.after), options)
        return HtmlText(text) if options.tablefmt == "html" else ReportText(text)

    def _map(self, function: Callable[[Profile], Profile]) -> Difference:
        return self.between(*map(function, (self.before, self.after, self.change)))

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
            ranks=tuple({rank: (rank, profile) for each in both for rank, profile in each.ranks}.values()),
        )

    def __eq__(self, other: object) -> bool:
        return self.change == getattr(other, "change", other) if isinstance(other, Profile) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.change)

    def __reduce__(self) -> tuple[Any, ...]:
        return _between, (self.before, self.after, self.change)

    def __repr__(self) -> str:
        return f"Difference({len(self.rows)} rows changed, total={self.total})"


def _between(before: Profile, after: Profile, change: Profile) -> Difference:
    """Make a difference; pickle finds this function by its name."""
    return Difference.between(before, after, change)


def _options(method: str, **options: Any) -> ComparisonOptions:
    """Return the options of a difference.

    Raises:
        ProfileArgumentError: It does not have one that is given.
    """
    from opflops.report.text.comparison import ComparisonOptions  # noqa: PLC0415 - keeps import opflops fast

    names = [each.name for each in fields(ComparisonOptions)]
    for given in options:
        if given not in names:
            raise ProfileArgumentError(
                f"{method}() of a difference has no option {given!r}; there are {', '.join(names)}. "
                f"For a table of the changes alone, write difference.change.{method}({given}=...)."
            )
    return ComparisonOptions(**options)


def _compared(profile: Profile) -> ComparedProfile:
    from opflops.report.text.pairing import ComparedProfile  # noqa: PLC0415 - keeps import opflops fast

    shown = at_example(profile)
    return ComparedProfile(shown.rows, shown.symbolic, modules=shown.modules, memory=shown.memory)
