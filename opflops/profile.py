"""A profile: what was counted, as immutable rows, and every question and view that people have of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opflops import report, rows
from opflops.errors import ProfileError
from opflops.rows import Row
from opflops.torch_internals import callable_module

if TYPE_CHECKING:
    from torch import nn
    from typing_extensions import Unpack

    from opflops.cost import Cost
    from opflops.report.tables import TableOptions

__all__ = ["Profile", "Row"]


@dataclass(frozen=True)
class Profile:
    """Answer questions about counted work; printing it shows the report.

    Totals and groupings are of floating-point rows; integer and bool rows are kept in :attr:`rows`.

    Attributes:
        rows: The work, one row for each module, operator, phase and dtype, in order of first execution.
        sites: The rows of modules that are called from several places, one for each place: ``row.site`` says which.
        called: The paths of the modules that were called, in order of first call.
    """

    rows: tuple[Row, ...] = ()
    sites: tuple[Row, ...] = ()
    called: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("rows", "sites", "called"):
            object.__setattr__(self, name, tuple(getattr(self, name)))

    @property
    def total(self) -> Cost:
        """Return the cost of all floating-point work."""
        return rows.total(self.rows)

    @property
    def unpriced(self) -> dict[str, int]:
        """Return the calls of operators that nothing prices, by operator; their arithmetic is in no total."""
        return rows.unpriced(self.rows)

    def by(self, *keys: str) -> dict[Any, Cost]:
        """Group the work by what rows have: ``module``, ``module_type``, ``op``, ``phase``, ``dtype``.

        Args:
            *keys: One key, or several for tuples of values.

        Returns:
            Costs, each of a group's own work, in order of first execution; they sum to :attr:`total`.

        Raises:
            ProfileError: There is no such key.
        """
        return rows.group(self.rows, *keys)

    def inclusive(self) -> dict[str, Cost]:
        """Return, for each module path, the cost of the module and of all below it; "" is work outside any module."""
        return rows.inclusive(self.rows)

    def call_sites(self, module: str) -> dict[str, Cost]:
        """Split a module's own work by the places that it is called from, and the work that it caused in a backward.

        Args:
            module: The module's path.

        Returns:
            Costs by place, such as ``"Net.decoder #2"``: the second call by one run of ``Net.decoder``, or
            ``"(outside) #1"``. A module that is called from one place has that one, called "".
        """
        found = [row for row in self.sites if row.module == module] or [
            row for row in self.rows if row.module == module
        ]
        places = dict.fromkeys(row.site for row in found)
        return {place: rows.total(row for row in found if row.site == place) for place in places}

    def uncalled(self, model: nn.Module, root: str | None = None) -> list[str]:
        """List the modules of a model that never ran, nor anything below them.

        Containers that cannot be called, such as ``nn.ModuleList``, are left out.

        Args:
            model: A model that was called in the block.
            root: Its path in the profile, where that is not its class name (the second model of a class is
                ``"Net#2"``).

        Raises:
            ProfileError: Nothing of that path was called.
        """
        root = root or type(model).__name__
        ran = {above for path in self.called for above in rows.ancestry(path)}
        if root not in ran:
            raise ProfileError(f"No {root!r} was called; called were {', '.join(self.called) or 'no modules'}.")
        paths = {module: f"{root}.{name}" if name else root for name, module in model.named_modules()}
        return [path for module, path in paths.items() if path not in ran and callable_module(module)]

    def where(self, **conditions: Any) -> Profile:
        """Select rows, as in ``where(phase="backward", dtype=("float16", "bfloat16"))``.

        Args:
            **conditions: A value, or a collection of accepted values, for each of some keys.

        Raises:
            ProfileError: There is no such key.
        """
        return Profile(rows.select(self.rows, conditions), rows.select(self.sites, conditions), self.called)

    def __add__(self, other: Profile) -> Profile:
        if not isinstance(other, Profile):
            return NotImplemented
        return Profile(
            rows.merge((*self.rows, *other.rows)),
            rows.merge((*self.sites, *other.sites)),
            tuple(dict.fromkeys((*self.called, *other.called))),
        )

    def diff(self, after: Profile) -> Profile:
        """Return what another profile has more than this one, row by row; where it has less, the numbers are negative.

        ``before + before.diff(after)`` has the costs of ``after``.
        """
        return Profile(
            rows.difference(self.rows, after.rows),
            rows.difference(self.sites, after.sites),
            tuple(path for path in after.called if path not in self.called),
        )

    def to_json(self) -> str:
        """Write the profile as JSON, without loss, under a versioned schema.

        Raises:
            ProfileError: A count is symbolic.
        """
        return report.dump(self.rows, self.sites, self.called)

    @classmethod
    def from_json(cls, text: str) -> Profile:
        """Read a profile that :meth:`to_json` wrote.

        Raises:
            ProfileError: The text is not such a profile, or of a newer schema.
        """
        return cls(*report.load(text))

    def table(self, by: str | tuple[str, ...] = "module", **options: Unpack[TableOptions]) -> str:
        """Write the profile as a table.

        Args:
            by: ``"module"`` for the module tree with its operators; else a key of rows, or a tuple of keys, for a list.
            **options: ``depth``, ``tablefmt``, ``sort``, ``numbers``, ``width``, as for :func:`opflops.report.table`.

        Raises:
            ProfileError: A key, an order or a format is unknown; the message lists what there is.
        """
        return report.table(self.rows, by, **options)

    def __str__(self) -> str:
        return report.overview(self.rows)

    def __repr__(self) -> str:
        return f"Profile({len(self.rows)} rows, total={self.total})"
