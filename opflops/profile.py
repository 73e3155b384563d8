"""A profile: what was counted, as immutable rows, and every question and view that people have of it."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from opflops import dimensions as sizing
from opflops import report, rows
from opflops.dimensions import Condition, Dimension
from opflops.errors import ProfileError
from opflops.rows import Row
from opflops.scaling import Scaling, scaling
from opflops.torch_internals import callable_module

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import nn
    from typing_extensions import Unpack

    from opflops.cost import Cost
    from opflops.report.tables import TableOptions

__all__ = ["Condition", "Dimension", "Profile", "Row", "Scaling"]


@dataclass(frozen=True)
class Profile:
    """Answer questions about counted work; printing it shows the report.

    Totals and groupings are of floating-point rows; integer and bool rows are kept in :attr:`rows`.

    Attributes:
        rows: The work, one row for each module, operator, phase and dtype, in order of first execution.
        sites: The rows of modules that are called from several places, one for each place: ``row.site`` says which.
        called: The paths of the modules that were called, in order of first call.
        dimensions: What costs are expressions in, where they are not all numbers.
        conditions: What must be true of the dimensions' sizes for the costs to be exact.
    """

    rows: tuple[Row, ...] = ()
    sites: tuple[Row, ...] = ()
    called: tuple[str, ...] = ()
    dimensions: tuple[Dimension, ...] = ()
    conditions: tuple[Condition, ...] = ()

    def __post_init__(self) -> None:
        for each in fields(self):
            object.__setattr__(self, each.name, tuple(getattr(self, each.name)))

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
        return replace(self, rows=rows.select(self.rows, conditions), sites=rows.select(self.sites, conditions))

    def at(self, **sizes: int) -> Profile:
        """Give dimensions sizes, as in ``at(batch=8, seq=4096)``; the costs are numbers once all have one.

        Raises:
            ProfileError: There is no such dimension, a size is none, or the program is another one at these sizes.
        """
        left = sizing.check(self.dimensions, self.conditions, sizes)
        open_dimensions = tuple(each for each in self.dimensions if each.name not in sizes)
        return replace(
            self,
            rows=sizing.at(self.rows, sizes),
            sites=sizing.at(self.sites, sizes),
            dimensions=open_dimensions,
            conditions=left,
        )

    def holds(self, sizes: Mapping[str, int]) -> bool:
        """Tell whether the costs are exact at some sizes."""
        try:
            sizing.check(self.dimensions, self.conditions, sizes)
        except ProfileError:
            return False
        return True

    def lambdify(self) -> Callable[..., Cost]:
        """Make a function of the sizes of all dimensions, by name, that answers with the total, in microseconds.

        Raises:
            ProfileError: From the function, what :meth:`at` raises.
        """
        return sizing.function_of_sizes(self.dimensions, self.conditions, self.total)

    def scaling(self, measure: str = "flops", largest: int = 8) -> Scaling:
        """Work out how the total and the largest modules and operators grow with each dimension.

        Args:
            measure: ``"flops"``, ``"macs"``, ``"ops"``, ``"transcendentals"``, ``"bytes"`` or one of its parts.
            largest: How many modules, and how many operators, to look at.

        Returns:
            Degrees and leading coefficients, and the sizes at which one part overtakes another.

        Raises:
            ProfileError: The counts are numbers, or there is no such measure.
        """
        return scaling(self.rows, self.dimensions, measure, largest)

    def __add__(self, other: Profile) -> Profile:
        if not isinstance(other, Profile):
            return NotImplemented
        return Profile(
            rows.merge((*self.rows, *other.rows)),
            rows.merge((*self.sites, *other.sites)),
            tuple(dict.fromkeys((*self.called, *other.called))),
            sizing.united(self.dimensions, other.dimensions),
            tuple(dict.fromkeys((*self.conditions, *other.conditions))),
        )

    def diff(self, after: Profile) -> Profile:
        """Return what another profile has more than this one, row by row; where it has less, the numbers are negative.

        ``before + before.diff(after)`` has the costs of ``after``.
        """
        return Profile(
            rows.difference(self.rows, after.rows),
            rows.difference(self.sites, after.sites),
            tuple(path for path in after.called if path not in self.called),
            sizing.united(self.dimensions, after.dimensions),
            tuple(dict.fromkeys((*self.conditions, *after.conditions))),
        )

    def to_json(self) -> str:
        """Write the profile as JSON, without loss, under a versioned schema.

        Raises:
            ProfileError: A count is symbolic to PyTorch, as under a mode for fake tensors; those that
                :func:`opflops.count` makes expressions of are written.
        """
        return report.dump(self.rows, self.sites, self.called, self.dimensions, self.conditions)

    @classmethod
    def from_json(cls, text: str) -> Profile:
        """Read a profile that :meth:`to_json` wrote.

        Raises:
            ProfileError: The text is not such a profile, or of a newer schema.
        """
        return cls(**report.load(text))

    def table(self, by: str | tuple[str, ...] = "module", **options: Unpack[TableOptions]) -> str:
        """Write the profile as a table.

        Args:
            by: ``"module"`` for the module tree with its operators; else a key of rows, or a tuple of keys, for a list.
            **options: ``depth``, ``tablefmt``, ``sort``, ``numbers``, ``width``, as for :func:`opflops.report.table`.

        Raises:
            ProfileError: A key, an order or a format is unknown; the message lists what there is.
        """
        return report.table(self.rows, by, dimensions=self.dimensions, conditions=self.conditions, **options)

    def __str__(self) -> str:
        return report.overview(self.rows, self.dimensions, self.conditions)

    def __repr__(self) -> str:
        return f"Profile({len(self.rows)} rows, total={self.total})"
