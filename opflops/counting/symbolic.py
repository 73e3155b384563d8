"""Count for all sizes of some dimensions at once: costs are expressions in them, exact wherever they are said to hold.

The program is followed once with symbols for sizes. What it decides about them becomes a condition on the result. Then
it is counted again at other sizes, of 1 too, as it would be without symbols: the two must agree in every row that
costs anything. Where they do not at sizes of 1, the program is followed there by itself. (How often PyTorch looks at a
tensor in another shape, which costs nothing, may depend on sizes of 1.)
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import sympy

from opflops.counting.dynamic_shapes import dimensions_of, parse_dynamic_shapes
from opflops.counting.example_inputs import make_example_inputs
from opflops.counting.fake_call import META
from opflops.counting.source_locations import current_location, location_of
from opflops.counting.verification_sizes import (
    at_least_two,
    distinct_hints,
    growing_sizes,
    halved_hints,
    held_at_one,
    other_sizes,
    shrinking_sizes,
)
from opflops.errors import DimensionError, OpflopsError
from opflops.profile.profile import Case, Condition, Profile
from opflops.records.cost import Cost
from opflops.records.dimensions import example_sizes, unless_sizes
from opflops.torch_internals.fake_tensors import fake_copies
from opflops.torch_internals.symbolic_shapes import SMALLEST, RecordingShapeEnv
from opflops.torch_internals.symint_patches import symint_patches_active

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from opflops.counting.dynamic_shapes import Axis
    from opflops.counting.fake_call import FakeCall
    from opflops.profile.profile import Dimension
    from opflops.records.rows import Row

    Sizes = Mapping[str, Any]


def count_symbolically(call: FakeCall, dynamic_shapes: Any) -> Profile:
    """Count a call for all sizes of the dimensions that ``dynamic_shapes`` names; see :func:`opflops.count`.

    Raises:
        DimensionError: It does not fit the inputs, or the program does not run for all sizes.
    """
    axes = parse_dynamic_shapes(call, dynamic_shapes)
    dimensions = dimensions_of(axes)
    if call.devices == [META]:
        # This finds out whether the program runs there.
        call.counted()
    return _SymbolicTrace(call, axes, dimensions).counted(frozenset())


class _SymbolicTrace:
    """Follow a program with symbols for the sizes of dimensions, and see where what it costs then is true.

    Args:
        call: What runs it.
        axes: Which axes of its inputs are of these dimensions.
        dimensions: The dimensions, with their sizes in the example.
    """

    def __init__(self, call: FakeCall, axes: Sequence[Axis], dimensions: Mapping[str, Dimension]) -> None:
        self._call = call
        self._axes = axes
        self._dimensions = dimensions
        self._known: dict[frozenset[str], Profile] = {}
        self._mode = call.mode()

    def counted(self, dims_at_one: frozenset[str]) -> Profile:
        """Count for all sizes of the dimensions that are not held at 1."""
        if dims_at_one not in self._known:
            self._known[dims_at_one] = self._checked(*self._trace_somehow(dims_at_one), dims_at_one)
        return self._known[dims_at_one]

    def _trace_somehow(self, dims_at_one: frozenset[str]) -> tuple[Profile, list[Condition]]:
        """Follow the program with sizes that are all different, or, where it wants some to be alike, with its own."""
        own = at_least_two(self._dimensions)
        first_error: DimensionError | None = None
        reason: Exception = AssertionError()
        # A size may be fixed because the example has the largest one that some table is made for.
        ways = [distinct_hints(own), own, distinct_hints(halved_hints(own))]
        for hints in (way for place, way in enumerate(ways) if way not in ways[:place]):
            try:
                return self._trace(dims_at_one, hints)
            except DimensionError as error:  # noqa: PERF203 - a few times at most
                first_error = first_error or error
            except OpflopsError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever PyTorch says of symbols in its kernels
                reason = error
        if first_error is not None:
            raise first_error
        # What the program says of the example as it is, it says by itself.
        self._counted_at({name: each.example for name, each in own.items()}, dims_at_one)
        raise DimensionError(
            f"{self._call.name} runs, but PyTorch cannot follow {location_of(reason, self._mode)} with symbols for "
            f"sizes ({_first_line(reason)}). Leave dimensions out of dynamic_shapes, and count for each of their sizes."
        ) from reason

    def _trace(self, dims_at_one: frozenset[str], hints: Mapping[str, Dimension]) -> tuple[Profile, list[Condition]]:
        """Follow the program once, with symbols for sizes.

        Returns:
            What it costs under the conditions that it decided, and those by which only kernels were chosen.
        """
        mode = self._mode = self._call.mode()
        symbols = RecordingShapeEnv(lambda: current_location(mode))
        dimensions = [each for each in hints.values() if each.name not in dims_at_one]

        def make() -> dict[int, Tensor]:
            return self._stand_ins(
                {**{each.name: symbols.size(*each) for each in dimensions}, **dict.fromkeys(dims_at_one, 1)}
            )

        with self._call.translated_errors(mode), symint_patches_active:
            profile = self._call.run(mode, fake_copies(self._call.originals, make, symbols))
        for name, (size, place) in symbols.specialized_dims().items():
            raise DimensionError(
                f"{self._call.name} does not run for all sizes of {name}: {place or 'the program'} takes it to be "
                f"{size}. Leave {name} out of dynamic_shapes, or change what fixes it."
            )
        conditions, kernel_guards = (
            [Condition(condition, str(place)) for condition, place in symbols.conditions(kernel_guards=kernel_guards)]
            for kernel_guards in (False, True)
        )

        def named(rows: Sequence[Row]) -> tuple[Row, ...]:
            return tuple(replace(row, cost=Cost(*map(symbols.expression, row.cost))) for row in rows)

        rows, sites = named(profile.rows), named(profile.sites)
        return Profile(rows, sites, profile.called, tuple(dimensions), tuple(conditions)), kernel_guards

    def _stand_ins(self, sizes: Sizes) -> dict[int, Tensor]:
        return make_example_inputs(self._call, self._axes, sizes)

    def _checked(self, profile: Profile, kernel_guards: list[Condition], dims_at_one: frozenset[str]) -> Profile:
        """Compare with counts at other sizes than decided, and follow the other ways that the program takes at 1."""
        if not profile.dimensions:
            return profile
        for sizes in self._compared_at(profile):
            difference = self._difference(profile, sizes, dims_at_one)
            if difference:
                told = ", ".join(f"{name} = {size}" for name, size in sizes.items())
                raise DimensionError(
                    f"{self._call.name} cannot be counted for all sizes: with {told} {difference}. Fix a dimension, "
                    "and count for each of its sizes."
                )
        profile = self._without_single_sizes(self._with_choices(profile, kernel_guards, dims_at_one), dims_at_one)
        return self._with_cases(profile, dims_at_one)

    def _without_single_sizes(self, profile: Profile, dims_at_one: frozenset[str]) -> Profile:
        """Drop conditions that leave out one size of a dimension, where the costs are the same at that size."""
        for name, size in dict.fromkeys(found for each in profile.conditions if (found := _left_out(each.expression))):
            kept = tuple(each for each in profile.conditions if _left_out(each.expression) != (name, size))
            other = replace(profile, conditions=kept)
            sizes = {**example_sizes(profile.dimensions), name: size}
            if size >= SMALLEST and other.holds(sizes) and not self._difference(other, sizes, dims_at_one):
                profile = other
        return profile

    def _compared_at(self, profile: Profile) -> list[dict[str, int]]:
        """Choose sizes to compare at: of all dimensions together, or, where conditions tie them, one by one."""
        names = [each.name for each in profile.dimensions]
        together = next(filter(profile.holds, other_sizes(profile, names)), None)
        if together is not None:
            return [together]
        found = []
        for name in names:
            alone = next(filter(profile.holds, other_sizes(profile, [name])), None)
            if alone is None:
                told = "; ".join(
                    str(each) for each in profile.conditions if name in map(str, each.expression.free_symbols)
                )
                raise DimensionError(
                    f"{self._call.name} does not run for other sizes of {name}: it takes it that {told}. "
                    f"Leave {name} out of dynamic_shapes, or change what fixes it."
                )
            found.append(alone)
        return found

    def _with_choices(self, profile: Profile, kernel_guards: list[Condition], dims_at_one: frozenset[str]) -> Profile:
        """Make conditions of the choices of kernels, where a count at sizes with other choices is another one."""
        chosen = replace(profile, conditions=tuple(kernel_guards))
        for changed in (growing_sizes(profile), shrinking_sizes(profile)):
            sizes = next((sizes for sizes in changed if profile.holds(sizes) and not chosen.holds(sizes)), None)
            if (
                sizes is not None
                and not self._failure(sizes, dims_at_one)
                and self._difference(profile, sizes, dims_at_one)
            ):
                return replace(profile, conditions=(*profile.conditions, *kernel_guards))
        return profile

    def _with_cases(self, profile: Profile, dims_at_one: frozenset[str]) -> Profile:
        """Try sizes of 1, and add what the program costs there where that is something else."""
        names = [each.name for each in profile.dimensions if each.minimum == 1]
        conditions, cases = list(profile.conditions), []
        refused: list[set[str]] = []
        for some in held_at_one(names):
            sizes = {**example_sizes(profile.dimensions), **dict.fromkeys(some, 1)}
            if any(known <= some for known in refused):
                continue
            held = profile.holds(sizes)
            difference = self._difference(profile, sizes, dims_at_one) if held else self._failure(sizes, dims_at_one)
            if bool(difference) is not held:
                # The costs hold, or the program does not run.
                continue
            refused.append(some)
            these = tuple((name, 1) for name in sorted(some))
            if held:
                conditions.append(Condition(unless_sizes(these), difference))
            try:
                cases.append(Case(these, self.counted(dims_at_one | some)))
            except Exception:  # noqa: BLE001, S112 - the condition says that it fails there, and how
                continue
        return replace(profile, conditions=tuple(conditions), cases=tuple(cases))

    def _counted_at(self, sizes: Mapping[str, int], dims_at_one: frozenset[str]) -> Profile:
        return self._call.counted(lambda: self._stand_ins({**sizes, **dict.fromkeys(dims_at_one, 1)}))

    def _failure(self, sizes: Mapping[str, int], dims_at_one: frozenset[str]) -> str:
        """Tell how the program fails at some sizes; "" if it does not."""
        try:
            self._counted_at(sizes, dims_at_one)
        except Exception as error:  # noqa: BLE001 - as below
            return _first_line(error)
        return ""

    def _difference(self, profile: Profile, sizes: Mapping[str, int], dims_at_one: frozenset[str]) -> str:
        """Tell how a count at some sizes differs from what the expressions say; "" if it does not."""
        try:
            found = self._counted_at(sizes, dims_at_one)
        except Exception as error:  # noqa: BLE001 - whatever the program says of such sizes
            return f"it fails ({_first_line(error)})"
        said = profile.at(**sizes)
        for counted, expected in ((found.rows, said.rows), (found.sites, said.sites)):
            rows, others = _costly(counted), _costly(expected)
            for kind in dict.fromkeys((*rows, *others)):
                if rows.get(kind) != others.get(kind):
                    return _told(kind, rows.get(kind), others.get(kind))
        return ""


def _left_out(relation: Any) -> tuple[str, int] | None:
    """Tell the dimension and the size that a relation leaves out, if it does nothing else."""
    if not isinstance(relation, sympy.Ne):
        return None
    size, name = sorted((relation.lhs, relation.rhs), key=lambda side: side.is_Symbol)
    return (str(name), int(size)) if size.is_Integer and name.is_Symbol else None


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def _told(kind: tuple[str, ...], counted: Row | None, expected: Row | None) -> str:
    calls = [0 if row is None else row.calls for row in (counted, expected)]
    what = f"runs {calls[0]} times in place of {calls[1]}" if calls[0] != calls[1] else "costs something else"
    module, op, _, phase, *_ = kind
    return f"{op} {what} in the {phase} of {module or 'the program'}"


def _costly(rows: Sequence[Row]) -> dict[tuple[str, ...], Row]:
    """Key the rows that cost anything by what tells them apart."""
    return {_kind(row): row for row in rows if row.cost}


def _kind(row: Row) -> tuple[str, ...]:
    return row.module, row.op, row.module_type, row.phase, row.dtype, row.estimate, row.site
