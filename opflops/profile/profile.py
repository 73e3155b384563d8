"""A profile: what was counted, as immutable rows, and every question and view that people have of it."""

from __future__ import annotations

import operator
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from opflops.errors import ProfileError
from opflops.profile.views import Views
from opflops.records import dimensions as sizing
from opflops.records import rows
from opflops.records.dimensions import Condition, Dimension
from opflops.records.rows import Row
from opflops.torch_internals.modules import has_forward

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from torch import nn

    from opflops.profile.scaling import Scaling
    from opflops.records.cost import Cost

__all__ = ["Case", "Condition", "Dimension", "Profile", "Row"]


class Case(NamedTuple):
    """Hold what a program costs where some dimensions have sizes at which it takes another course.

    Attributes:
        sizes: Those sizes, by dimension.
        profile: The costs there, for all sizes of the other dimensions.
    """

    sizes: tuple[tuple[str, int], ...]
    profile: Profile

    def covers(self, sizes: Mapping[str, int]) -> bool:
        """Tell whether it is about some sizes."""
        return all(sizes.get(name) == size for name, size in self.sizes)

    def rest(self, sizes: Mapping[str, int]) -> dict[str, int]:
        """Leave out of some sizes those of the case."""
        own = dict(self.sizes)
        return {name: size for name, size in sizes.items() if name not in own}


@dataclass(frozen=True)
class Profile(Views):
    """Answer questions about counted work; printing it shows the report.

    Totals and groupings are of floating-point rows; integer and bool rows are kept in :attr:`rows`.

    Attributes:
        rows: The work, one row for each module, operator, phase and dtype, in order of first execution.
        sites: The rows of modules that are called from several places, one for each place: ``row.site`` says which.
        called: The paths of the modules that were called, in order of first call.
        dimensions: What costs are expressions in, where they are not all numbers.
        conditions: What must be true of the dimensions' sizes for the costs to be exact.
        cases: The costs at sizes of 1 at which they are others; :meth:`at` looks there first.
    """

    rows: tuple[Row, ...] = ()
    sites: tuple[Row, ...] = ()
    called: tuple[str, ...] = ()
    dimensions: tuple[Dimension, ...] = ()
    conditions: tuple[Condition, ...] = ()
    cases: tuple[Case, ...] = ()

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
        return rows.group_costs(self.rows, *keys)

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
        return [path for module, path in paths.items() if path not in ran and has_forward(module)]

    def where(self, **conditions: Any) -> Profile:
        """Select rows, as in ``where(phase="backward", dtype=("float16", "bfloat16"))``.

        Args:
            **conditions: A value, or a collection of accepted values, for each of some keys.

        Raises:
            ProfileError: There is no such key.
        """
        return replace(
            self,
            rows=rows.select(self.rows, conditions),
            sites=rows.select(self.sites, conditions),
            cases=tuple(case._replace(profile=case.profile.where(**conditions)) for case in self.cases),
        )

    def at(self, /, **sizes: int) -> Profile:
        """Give dimensions sizes, as in ``at(batch=8, seq=4096)``; the costs are numbers once all have one.

        Raises:
            ProfileError: There is no such dimension, a size is none, or the program is another one at these sizes.
        """
        sizing.check_sizes(self.dimensions, sizes)
        for case in self.cases:
            if case.covers(sizes):
                return case.profile.at(**case.rest(sizes))
        left = sizing.check(self.dimensions, self.conditions, sizes)
        return replace(
            self,
            rows=sizing.at(self.rows, sizes),
            sites=sizing.at(self.sites, sizes),
            dimensions=tuple(each for each in self.dimensions if each.name not in sizes),
            conditions=left,
            cases=tuple(self._cases_at(sizes)),
        )

    def _cases_at(self, sizes: Mapping[str, int]) -> Iterator[Case]:
        """Give sizes to the dimensions of those cases that are still possible then."""
        for case in self.cases:
            left = tuple((name, size) for name, size in case.sizes if name not in sizes)
            known = {name: size for name, size in case.sizes if name in sizes}
            rest = case.rest(sizes)
            if known.items() <= sizes.items() and case.profile.holds(rest):
                yield Case(left, case.profile.at(**rest))

    def holds(self, sizes: Mapping[str, int]) -> bool:
        """Tell whether the costs are exact at some sizes."""
        for case in self.cases:
            if case.covers(sizes):
                return case.profile.holds(case.rest(sizes))
        try:
            sizing.check(self.dimensions, self.conditions, sizes)
        except ProfileError:
            return False
        return True

    def lambdify(self) -> Callable[..., Cost]:
        """Make a function of the sizes of all dimensions, by name, that answers with the total and takes microseconds.

        Raises:
            ProfileError: From the function, what :meth:`at` raises.
        """
        usual = sizing.function_of_sizes(self.dimensions, self.conditions, self.total)
        others = [(case, case.profile.lambdify()) for case in self.cases]

        def cost_of(**sizes: int) -> Cost:
            sizing.check_sizes(self.dimensions, sizes)
            for case, function in others:
                if case.covers(sizes):
                    return function(**case.rest(sizes))
            return usual(**sizes)

        return cost_of if others else usual

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
        from opflops.profile.scaling import scaling  # noqa: PLC0415 - importing opflops is not to take longer for it

        return scaling(self.rows, self.dimensions, measure, largest)

    def __add__(self, other: Profile) -> Profile:
        if not isinstance(other, Profile):
            return NotImplemented
        return self._combined(other, rows.merge((*self.rows, *other.rows)), rows.merge((*self.sites, *other.sites)))

    def diff(self, after: Profile) -> Profile:
        """Return what another profile has more than this one, row by row; where it has less, the numbers are negative.

        ``before + before.diff(after)`` has the costs of ``after``.
        """
        found = self._combined(
            after, rows.difference(self.rows, after.rows), rows.difference(self.sites, after.sites), Profile.diff
        )
        return replace(found, called=tuple(path for path in after.called if path not in self.called))

    def _combined(
        self,
        other: Profile,
        combined_rows: tuple[Row, ...],
        combined_sites: tuple[Row, ...],
        combine: Callable[[Profile, Profile], Profile] = operator.add,
    ) -> Profile:
        """Put rows that were made of two profiles into one that holds where both do."""
        places = dict.fromkeys(case.sizes for case in (*self.cases, *other.cases))
        both = [sizes for sizes in places if self.holds(self._own(sizes)) and other.holds(other._own(sizes))]
        return Profile(
            combined_rows,
            combined_sites,
            tuple(dict.fromkeys((*self.called, *other.called))),
            sizing.united(self.dimensions, other.dimensions),
            tuple(dict.fromkeys((*self.conditions, *other.conditions))),
            tuple(Case(sizes, combine(self.at(**self._own(sizes)), other.at(**other._own(sizes)))) for sizes in both),
        )

    def _own(self, sizes: tuple[tuple[str, int], ...]) -> dict[str, int]:
        """Keep of some sizes those of dimensions that this profile has."""
        names = {each.name for each in self.dimensions}
        return {name: size for name, size in sizes if name in names}

    def _document(self) -> dict[str, Any]:
        cases = [(sizes, profile._document()) for sizes, profile in self.cases]  # noqa: SLF001 - of this class
        from opflops.report import document  # noqa: PLC0415 - importing opflops is not to take longer for it

        return document(self.rows, self.sites, self.called, self.dimensions, self.conditions, cases)

    @classmethod
    def from_json(cls, text: str) -> Profile:
        """Read a profile that :meth:`to_json` wrote.

        Raises:
            ProfileError: The text is not such a profile, or of a newer schema.
        """
        from opflops.report import load  # noqa: PLC0415 - as in scaling()

        return cls._of(**load(text))

    @classmethod
    def _of(cls, cases: tuple[Any, ...], **read: Any) -> Profile:
        return cls(**read, cases=tuple(Case(sizes, cls._of(**inner)) for sizes, inner in cases))

    def __repr__(self) -> str:
        return f"Profile({len(self.rows)} rows, total={self.total})"
