"""Trace a program with symbols for the sizes of its inputs, and count it at given sizes for comparison."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from opflops.counting.example_inputs import make_example_inputs
from opflops.counting.source_locations import current_location, location_of
from opflops.counting.time_limit import check_time_limits
from opflops.counting.verification_sizes import at_least_two, distinct_hints, halved_hints, larger_hints
from opflops.errors import DimensionError, OpflopsError, raised_by_signal_handler
from opflops.pricing.symbolic_prices import SymbolicPrices
from opflops.profile.profile import Condition, Profile
from opflops.records.cost import Cost
from opflops.records.modules import map_sizes
from opflops.torch_internals.fake_tensors import fake_copies
from opflops.torch_internals.symbolic_shapes import RecordingShapeEnv
from opflops.torch_internals.symint_patches import symint_patches_active

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from torch import Tensor

    from opflops.counting.dynamic_shapes import DynamicAxis
    from opflops.counting.fake_call import FakeCall
    from opflops.profile.profile import Dimension
    from opflops.records.rows import Row

    Held = frozenset[tuple[str, int]]


_Result = TypeVar("_Result")


class SymbolicTrace:
    """Run a call with symbols for the sizes of dimensions, or with given sizes.

    Args:
        call: The call to count.
        axes: The axes of its inputs that are dynamic.
        dimensions: The dimensions by name, with their sizes in the example inputs.
    """

    def __init__(self, call: FakeCall, axes: Sequence[DynamicAxis], dimensions: Mapping[str, Dimension]) -> None:
        self.call = call
        self._axes = axes
        self._dimensions = dimensions
        self._mode = call.make_mode()

    def example_sizes(self, names: Iterable[str]) -> dict[str, int]:
        """Return the sizes of dimensions in the example inputs."""
        return {name: self._dimensions[name].example for name in names}

    def trace(self, held: Held, *, at_larger: bool = False) -> tuple[Profile, list[Condition]]:
        """Trace the program with symbols, except for dimensions that are held at one size.

        The hints of the symbols are all different. If the program needs some sizes to be equal, they are those of the
        example inputs.

        Args:
            held: Those dimensions, with their sizes.
            at_larger: Whether to trace with larger hints only.

        Returns:
            The profile, whose conditions are the guards of the program, and the guards that only chose kernels.

        Raises:
            DimensionError: The program fixes a size, or PyTorch cannot trace it with symbols.
        """
        example = at_least_two(self._dimensions)
        first_error: DimensionError | None = None
        reason: Exception = AssertionError()
        # The program may fix a size because the example has the largest size of a table, so smaller hints are tried.
        attempts = [distinct_hints(example), example, distinct_hints(halved_hints(example))]
        # Or because it does something else for small sizes.
        larger = distinct_hints(larger_hints(example))
        attempts = [larger] if at_larger else [*attempts, larger]
        for hints in (attempt for number, attempt in enumerate(attempts) if attempt not in attempts[:number]):
            try:
                trace = partial(self.call.writes_to_views.repeat, partial(self._trace_with, hints, held))
                traced = repeat_if_failing(trace, OpflopsError)
            except DimensionError as error:
                first_error = first_error or error
                continue
            if not isinstance(traced, Exception):
                return traced
            reason = traced
        if first_error is not None:
            raise first_error
        # If the program fails without symbols too, this raises its own error.
        self.count_at({name: each.example for name, each in example.items()}, held)
        raise DimensionError(
            f"{self.call.name} runs, but PyTorch cannot trace {location_of(reason, self._mode)} with symbols for sizes "
            f"({first_line(reason)}). Leave dimensions out of dynamic_shapes, and count for each of their sizes."
        ) from reason

    def trace_at(self, dimensions: Sequence[Dimension], held: Held) -> Profile | None:
        """Trace the program once, with these sizes as hints; None if it fails or fixes a size."""
        hints = {each.name: each for each in dimensions}
        try:
            traced = repeat_if_failing(partial(self._trace_with, hints, held), OpflopsError)
        except DimensionError:
            return None
        return None if isinstance(traced, Exception) else traced[0]

    def _trace_with(self, hints: Mapping[str, Dimension], held: Held) -> tuple[Profile, list[Condition]]:
        dimensions = [each for each in hints.values() if each.name not in dict(held)]
        # Results of symbols may share storage, by which the flow of data is known.
        mode = self._mode = self.call.make_mode(records_execution=not dimensions)
        mode.symbolic_prices = SymbolicPrices()
        shape_env = RecordingShapeEnv(lambda: current_location(mode))

        def copy_memo() -> dict[int, Tensor]:
            symbols = {each.name: shape_env.size(*each) for each in dimensions}
            return self._example_inputs({**symbols, **dict(held)})

        with self.call.translated_errors(mode), symint_patches_active():
            copies = fake_copies(
                self.call.originals,
                copy_memo,
                shape_env,
                exact_values=False,
                writes=self.call.writes_to_views,
                on_hit=check_time_limits,
            )
            profile = self.call.run(mode, copies)
            shape_env.fix_asked_index()
        for name, (size, location) in shape_env.specialized_dims().items():
            raise DimensionError(
                f"{self.call.name} has no formula for all sizes of {name}: {location or 'the program'} fixes it to "
                f"{size}. Leave {name} out of dynamic_shapes, or change that code."
            )
        guards, kernel_guards = (
            [Condition(guard, str(location)) for guard, location in shape_env.conditions(kernel_guards=kernel_guards)]
            for kernel_guards in (False, True)
        )

        def to_expressions(row: Row) -> Row:
            cost = Cost(*map(shape_env.expression, row.cost))
            # Whether an operator has multiply-accumulates, so that its results count, is known of the expression only.
            return replace(row, cost=cost, activations=shape_env.expression(row.activations) if cost.macs != 0 else 0)

        rows, sites = (tuple(map(to_expressions, several)) for several in (profile.rows, profile.sites))
        counted = replace(
            profile,
            rows=rows,
            sites=sites,
            dimensions=tuple(dimensions),
            conditions=tuple(guards),
            modules=map_sizes(profile.modules, shape_env.expression),
        )
        return counted, kernel_guards

    def count_at(self, sizes: Mapping[str, int], held: Held, *, records_execution: bool = False) -> Profile:
        """Count the program without symbols, at given sizes of dimensions and at those that others are held at."""
        copy_memo = partial(self._example_inputs, {**sizes, **dict(held)})
        return self.call.count(copy_memo, records_execution=records_execution)

    def _example_inputs(self, sizes: Mapping[str, Any]) -> dict[int, Tensor]:
        return make_example_inputs(self.call, self._axes, sizes)


def repeat_if_failing(
    run: Callable[[], _Result], passing: tuple[type[Exception], ...] | type[Exception] = ()
) -> _Result | Exception:
    """Run a program that may raise anything, and return its result or its error.

    An error that is not the program's is raised: one of a signal handler, or one that does not come again when the
    program is repeated, as another thread may raise it at any time.

    Args:
        run: Runs the program.
        passing: Errors to raise at once.
    """
    try:
        return run()
    except passing:
        raise
    except Exception as error:
        if raised_by_signal_handler(error):
            raise
        first = error
    try:
        run()
    except Exception as error:
        if raised_by_signal_handler(error):
            raise
        return first
    raise first


def first_line(error: BaseException) -> str:
    """Return the type and the first line of an error."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
