"""A profile: immutable rows of counted work, and queries on them."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from opflops.errors import ProfileArgumentError, ProfileError
from opflops.profile.argument_checks import check_fields, check_module_instance, check_profile
from opflops.profile.arithmetic import Arithmetic
from opflops.profile.cases import Case
from opflops.profile.communication import CommunicationQueries
from opflops.profile.difference import BothSides
from opflops.profile.example_counts import modules_at_example, rows_at_example
from opflops.profile.exchange import Exchange
from opflops.profile.method_advice import advise
from opflops.profile.module_queries import ModuleQueries
from opflops.profile.pictures import Pictures
from opflops.profile.planning import Planning
from opflops.profile.rank_queries import RankQueries
from opflops.profile.rank_records import RankRecord, ranks_at
from opflops.profile.scaling_queries import ScalingQueries
from opflops.profile.trace_annotation import TraceAnnotation
from opflops.profile.unread import MadeWhenRead, make_fields, unread_of
from opflops.profile.utilization_queries import UtilizationQueries
from opflops.profile.views import Views
from opflops.records import dimensions as dimension_rules
from opflops.records import rows
from opflops.records.arguments import explain_methods
from opflops.records.dimensions import Condition, Dimension
from opflops.records.display import Costs
from opflops.records.modules import records_at
from opflops.records.rows import Row
from opflops.torch_internals.modules import class_name, has_forward, named_paths

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from torch import nn

    from opflops.records.cost import Cost
    from opflops.records.execution import Execution
    from opflops.records.memory import Memory
    from opflops.records.modules import ModuleRecord
    from opflops.records.timing import Timing

__all__ = ["Case", "Condition", "Dimension", "Profile", "RankRecord", "Row"]


@explain_methods(advise, ProfileArgumentError)
@dataclass(frozen=True)
class Profile(
    Arithmetic,
    CommunicationQueries,
    Exchange,
    ModuleQueries,
    Pictures,
    Planning,
    RankQueries,
    ScalingQueries,
    TraceAnnotation,
    UtilizationQueries,
    Views,
):
    """Hold counted work and answer queries on it; printing it shows the report.

    Totals and groups include floating-point rows only; integer and bool rows are kept in :attr:`rows`.

    Attributes:
        rows: One row for each module, operator, phase and dtype, in order of first execution.
        sites: The rows of modules with several call sites, one for each call site, which ``row.site`` names.
        called: The paths of the modules that were called, in order of first call.
        dimensions: The dimensions of costs that are expressions.
        conditions: What must be true of the dimensions' sizes for the costs to be exact.
        cases: The costs at sizes, mostly of 1, at which they differ; :meth:`at` looks there first.
        remarks: Sentences on what the counts leave out, such as modules that other threads called; reports show them.
        modules: Parameters, buffers and shapes of the modules of the models that were called.
        memory: What was kept in memory; None if that was not asked for, as by ``OpFlopMode(memory=True)``.
        timing: How times were measured: runs, median, spread, overhead; None if nothing was timed.
        ranks: What each rank knows beside its rows, if the profile is one of :meth:`gather`; else there are none.
        execution: The order in which modules ran, and which results later ones used; None if that is not known, or is
            not that of all rows. Profiles are equal whatever it is.
    """

    rows: tuple[Row, ...] = MadeWhenRead()  # type: ignore[assignment] # empty by default, as the others
    sites: tuple[Row, ...] = MadeWhenRead()  # type: ignore[assignment]
    called: tuple[str, ...] = MadeWhenRead()  # type: ignore[assignment]
    dimensions: tuple[Dimension, ...] = ()
    conditions: tuple[Condition, ...] = ()
    cases: tuple[Case, ...] = ()
    remarks: tuple[str, ...] = MadeWhenRead()  # type: ignore[assignment]
    modules: tuple[ModuleRecord, ...] = MadeWhenRead()  # type: ignore[assignment]
    memory: Memory | None = None
    timing: Timing | None = None
    ranks: tuple[RankRecord, ...] = ()
    execution: Execution | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        check_fields(self)
        for each in fields(self):
            if each.name not in ("memory", "timing", "execution"):
                object.__setattr__(self, each.name, tuple(getattr(self, each.name)))

    @property
    def total(self) -> Cost:
        """Return the cost of all floating-point work."""
        unread = unread_of(self)
        return rows.total(self.rows) if unread is None else unread.total

    def __getstate__(self) -> dict[str, Any]:
        make_fields(self)
        return self.__dict__

    @property
    def unpriced(self) -> dict[str, int]:
        """Return the calls of operators without a formula, by operator; totals do not include their arithmetic."""
        return rows.unpriced(self.rows)

    def by(self, *keys: str) -> dict[Any, Cost]:
        """Group the work by keys of rows.

        Args:
            *keys: ``module``, ``module_type``, ``op``, ``phase``, ``dtype``, ``group`` or ``rank``; several for tuples
                of values.

        Returns:
            The cost of each group, in order of first execution; they sum to :attr:`total`. A module's group does not
            include the modules below it.

        Raises:
            ProfileError: A key is unknown, or none is given.
        """
        return rows.group_costs(self.rows, *keys)

    def inclusive(self) -> dict[str, Cost]:
        """Return, by module path, the cost of the module and all modules below it; "" is work outside any module."""
        return rows.inclusive(self.rows)

    def call_sites(self, module: str) -> dict[str, Cost]:
        """Split a module's own work, forward and backward, by call site.

        Args:
            module: The module's path.

        Returns:
            Costs by call site: ``"Net.decoder #2"`` is the second call within one run of ``Net.decoder``,
            ``"(outside) #1"`` a call outside any module. The only call site of a module is "". There are none if the
            module did nothing itself.

        Raises:
            ProfileError: No module of that path was called.
        """
        from opflops.profile.selection import check_module  # noqa: PLC0415 - keeps import opflops fast

        check_module(self, module, "call_sites()")
        found = [row for row in self.sites if row.module == module] or [
            row for row in self.rows if row.module == module
        ]
        sites = dict.fromkeys(row.site for row in found)
        return Costs(((site, rows.total(row for row in found if row.site == site)) for site in sites), "call site")

    def uncalled(self, model: nn.Module, root: str | None = None) -> list[str]:
        """List the modules of a model that never ran, and in which no module below ran.

        Containers that cannot be called, such as ``nn.ModuleList``, are left out.

        Args:
            model: A model that was called in the block.
            root: Its path in the profile; by default its class name. The second model of a class is ``"Net#2"``.

        Raises:
            ProfileError: No module of that path was called.
        """
        check_module_instance(model, "uncalled()", root)
        root = root or class_name(model)
        ran = {above for path in self.called for above in rows.ancestry(path)}
        if root not in ran:
            raise ProfileError(f"No {root!r} was called; called were {', '.join(self.called) or 'no modules'}.")
        paths = named_paths(model, root).values()
        # A wrapper has the path of the module inside.
        return list(dict.fromkeys(path for module, path in paths if path not in ran and has_forward(module)))

    def where(self, *, below: bool | None = None, **conditions: Any) -> Profile:
        """Select rows, as in ``where(phase="backward", dtype=("float16", "bfloat16"))``.

        A value that exists, but that no row has, selects nothing: ``phase="backward"`` of a forward pass, or an
        operator of PyTorch that did not run. A value that does not exist is an error that names the nearest ones.
        :attr:`modules` are selected by ``module`` and ``module_type``; other keys keep them all. :attr:`memory` is
        None, since it is not known of a part, but of ranks of a gathered profile it is.

        >>> import torch
        >>> from opflops import count
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
        >>> p = count(net, torch.ones(2, 4))
        >>> p.where(op="addmm", module="Sequential.0").total.macs  # aten.addmm
        24
        >>> p.where(module="Sequential", below=True) == p.where(module="Sequential.*") == p
        True
        >>> p.where_not(op="aten.addmm").total.flops
        6

        Args:
            below: Whether ``module`` selects all modules below it too, as does ``module="Net.blocks.*"``. By default it
                does not, and a module that leaves all work to those below it is an error; ``below=False`` selects its
                own work alone, even if that is none.
            **conditions: For ``module``, ``module_type``, ``op``, ``phase``, ``dtype``, ``group`` or ``rank`` a value,
                a collection of accepted values, or a function that tells whether one is accepted. An operator may be
                given without ``aten``, or as ``torch.ops.aten.mm``; a dtype or a module type as the class itself; a
                group by the name of its mesh dimension or its number of ranks.

        Raises:
            ProfileError: A key or a value is unknown.
        """
        from opflops.profile.combination import where  # noqa: PLC0415 - keeps import opflops fast

        return where(self, below, conditions)

    def where_not(self, *, below: bool | None = None, **conditions: Any) -> Profile:
        """Select the rows that :meth:`where` leaves out; both together have all rows.

        :attr:`modules` are left out if there are conditions on ``module`` and ``module_type`` alone, and :attr:`ranks`
        if there is one on ``rank`` alone.

        Raises:
            ProfileError: A key or a value is unknown, or none is given.
        """
        from opflops.profile.combination import where_not  # noqa: PLC0415 - keeps import opflops fast

        return where_not(self, below, conditions)

    def at(self, /, **sizes: int) -> Profile:
        """Evaluate the costs at sizes of dimensions, as in ``at(batch=8, seq=4096)``.

        Costs are numbers once all dimensions have sizes. ``at(batch=8)`` keeps the other dimensions as symbols. Rounded
        sizes stay rounded, as in ``floor(height/2 - 1/2)``, and the elements of views that overlap irregularly are
        ``distinct_addresses(size, stride, …)``. Formulas are exact wherever ``at`` returns them:

        - If the model branches on a size, as in ``if x.shape[0] > 8``, the formula holds for the branch that was
          traced. :attr:`conditions` lists the condition and its source line, and reports show it. Outside the
          condition ``at`` raises an error.
        - If a size of 1, the very size of the example input, or a size at which one inside the model is 1 changes what
          the model does, that case is traced separately, and ``at`` uses it.
        - If the model fixes a size, :func:`opflops.count` raises an error with the operator, module and line. It also
          does so if PyTorch has no symbolic form: a recurrent network without a fused kernel, for example, runs the
          steps of its sequence one by one.
        - :func:`opflops.count` compares each formula, row by row, with counts at the example's
          sizes and at others before it returns it.

        >>> import torch
        >>> from opflops import count
        >>> def model(x):
        ...     return x @ x.T if x.shape[0] > 8 else x
        >>> p = count(model, torch.zeros(16, 4), dynamic_shapes=({0: torch.export.Dim("n")},))
        >>> p.total.macs, p.conditions[0].expression
        (4*n**2, n > 8)
        >>> p.at(n=10).total.macs
        400
        >>> p.at(n=5)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        opflops.errors.ProfileError: ...

        Raises:
            ProfileError: A dimension is unknown, a size is not valid, or the model does something else at these sizes.
        """
        dimension_rules.check_sizes(self.dimensions, sizes)
        for case in self.cases:
            if case.covers(sizes):
                return case.profile.at(**case.rest(sizes))
        left = dimension_rules.remaining_conditions(self.dimensions, self.conditions, sizes)
        return replace(
            self,
            rows=dimension_rules.rows_at(self.rows, sizes),
            sites=dimension_rules.rows_at(self.sites, sizes),
            dimensions=tuple(each for each in self.dimensions if each.name not in sizes),
            conditions=left,
            cases=tuple(self._cases_at(sizes)),
            modules=records_at(self.modules, sizes),
            memory=None,
            timing=None if sizes else self.timing,
            ranks=ranks_at(self.ranks, sizes),
        )

    def _cases_at(self, sizes: Mapping[str, int]) -> Iterator[Case]:
        """Evaluate the cases that the sizes leave possible."""
        for case in self.cases:
            left = tuple((name, size) for name, size in case.sizes if name not in sizes)
            known = {name: size for name, size in case.sizes if name in sizes}
            rest = case.rest(sizes)
            if known.items() <= sizes.items() and case.profile.holds(rest):
                yield Case(left, case.profile.at(**rest))

    def holds(self, sizes: Mapping[str, int]) -> bool:
        """Tell whether the costs are exact at some sizes, a dict by name of the dimension."""
        dimension_rules.check_mapping(sizes, "holds()")
        for case in self.cases:
            if case.covers(sizes):
                return case.profile.holds(case.rest(sizes))
        try:
            dimension_rules.remaining_conditions(self.dimensions, self.conditions, sizes)
        except ProfileError:
            return False
        return True

    def lambdify(self) -> Callable[..., Cost]:
        """Compile the total to a function of the sizes of all dimensions, by keyword, that takes microseconds.

        The function raises the errors of :meth:`at`.
        """
        general = dimension_rules.compile_cost(self.dimensions, self.conditions, self.total)
        special = [(case, case.profile.lambdify()) for case in self.cases]

        def cost_of(*unnamed: Any, **sizes: int) -> Cost:
            dimension_rules.check_named(unnamed)
            dimension_rules.check_sizes(self.dimensions, sizes)
            for case, function in special:
                if case.covers(sizes):
                    return function(**case.rest(sizes))
            return general(**sizes)

        return cost_of if special else general

    def diff(self, after: Profile) -> Difference:
        """Return the difference to another profile, ``after - self``; printing it shows both, and what changed.

        It is a profile of the changes, row by row and module by module, where decreases are negative:
        ``before + before.diff(after)`` has the costs of ``after``. Its :attr:`modules` lists the modules whose
        parameters, buffers or calls differ, with how many more they are. It is empty if one of the profiles was read
        from a file that is older than these.
        """
        check_profile(after, "diff()")
        return Difference.between(self, after)

    def _document(self) -> dict[str, Any]:
        cases = [(sizes, profile._document()) for sizes, profile in self.cases]  # noqa: SLF001 - of this class
        from opflops.report import document  # noqa: PLC0415 - keeps import opflops fast

        shown, sites = rows_at_example(self.rows), rows_at_example(self.sites)
        return document(
            *(shown, sites, self.called, self.dimensions, self.conditions, cases, self.remarks),
            *(modules_at_example(self.modules), self.memory, self.timing),
            ranks=[(rank, profile._document()) for rank, profile in self.ranks],  # noqa: SLF001 - as above
            execution=self.execution,
        )

    @classmethod
    def from_json(cls, text: str) -> Profile:
        """Read a profile that :meth:`to_json` wrote.

        Args:
            text: The JSON itself, not the name of its file; read that with ``Path("profile.json").read_text()``.

        Raises:
            ProfileError: The text is not a profile, or has a newer schema version.
        """
        from opflops.report import load  # noqa: PLC0415 - as above

        return cls._from_document(**load(text))

    @classmethod
    def _from_document(cls, cases: tuple[Any, ...], ranks: tuple[Any, ...], **read: Any) -> Profile:
        return cls(
            **read,
            cases=tuple(Case(sizes, cls._from_document(**inner)) for sizes, inner in cases),
            ranks=tuple(RankRecord(rank, cls._from_document(**inner)) for rank, inner in ranks),
        )

    def __repr__(self) -> str:
        from opflops.profile.summary import profile_repr  # noqa: PLC0415 - keeps import opflops fast

        return profile_repr(self, "Profile")


# A dataclass takes no such object from a call of field().
Profile.execution = MadeWhenRead(None, "execution")  # type: ignore[assignment]


class Difference(BothSides, Profile):
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

    def __new__(cls, *args: Any, **kwargs: Any) -> Profile:  # type: ignore[misc]
        """Make a plain profile: what dataclasses.replace() changes has nothing before and after."""
        return Profile(*args, **kwargs)
