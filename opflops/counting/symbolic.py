"""Count for all sizes of some dimensions at once: each cost is an expression in the dimensions.

The program is traced once with symbols for sizes. Each guard on a size becomes a condition on the result. Then the
program is counted without symbols at other sizes and at the example's, and each row that costs anything is compared
with the expressions. If they differ at a size of 1 or of the example, the program is traced separately for that size.

Rows without a cost are not compared: how often PyTorch views a tensor in another shape may depend on sizes of 1.

For example, check the usual rule for the FLOPs of one training step, ``6*N + 12*L*H*Q*T`` for each token: N weights in
matrices, L layers with H heads of Q features, and T tokens in a sequence.

>>> import sympy
>>> import torch
>>> from torch.export import Dim
>>> from opflops import count
>>> from opflops.example import GPT
>>> with torch.device("meta"):
...     gpt = GPT(layers=4, width=64, heads=4, vocabulary=1000)
...     ids = torch.zeros(2, 16, dtype=torch.int64)
>>> sizes = {"ids": {0: Dim("batch"), 1: Dim("seq", max=1024)}}
>>> trained = count(gpt, ids, backward=True, dynamic_shapes=sizes, device="cpu")
>>> batch, seq = sympy.symbols("batch seq")
>>> weights = sum(p.numel() for name, p in gpt.named_parameters() if p.dim() == 2 and name != "positions.weight")
>>> rule = (6 * weights + 12 * 4 * 64 * seq) * batch * seq
>>> sympy.expand(2 * trained.total.macs - rule)
512*batch*seq**2
>>> trained.by("phase")["backward"].macs - 2 * trained.by("phase")["forward"].macs
256*batch*seq**2
>>> at = trained.at(batch=8, seq=1024).total
>>> round(at.flops / (2 * at.macs), 3)
1.037

The rule is exact for the weights. For attention it has 6 matmuls, but the fused kernel runs 7, because its backward
recomputes the scores. So the rule is 1/7 too low there. It also leaves out all work that is not a matmul: here 4 % of
2 * macs. So does :meth:`opflops.Profile.mfu`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import sympy

from opflops.counting.count_differences import difference_of_counts
from opflops.counting.dynamic_shapes import dimensions_of, parse_dynamic_shapes
from opflops.counting.excluded_sizes import allow_excluded_sizes
from opflops.counting.fake_call import META
from opflops.counting.frozen_heap import FrozenHeap
from opflops.counting.size_limits import last_running
from opflops.counting.symbolic_trace import SymbolicTrace, first_line, repeat_if_failing
from opflops.counting.verification_sizes import dims_to_hold, growing_sizes, other_sizes, shrinking_sizes
from opflops.errors import DimensionError
from opflops.profile.profile import Case, Condition, Profile
from opflops.records.dimensions import example_sizes, unless_sizes
from opflops.torch_internals.symbolic_shapes import MIN_SYMBOLIC_SIZE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opflops.counting.fake_call import FakeCall
    from opflops.counting.symbolic_trace import Held
    from opflops.records.dimensions import Dimension
    from opflops.records.execution import Execution


def count_symbolically(call: FakeCall, dynamic_shapes: Any) -> Profile:
    """Count a call for all sizes of the dimensions that ``dynamic_shapes`` names; see :func:`opflops.count`.

    Raises:
        DimensionError: ``dynamic_shapes`` does not fit the inputs, or no formula holds for all sizes.
    """
    axes = parse_dynamic_shapes(call, dynamic_shapes)
    dimensions = dimensions_of(axes)
    if call.devices == [META]:
        # If the program does not run on meta, this sets another device.
        call.count()
    with FrozenHeap():
        return _VerifiedCount(SymbolicTrace(call, axes, dimensions)).count(frozenset())


class _WithHeld:
    """Compares and traces with some dimensions held at one size; see :class:`.excluded_sizes.Verification`."""

    def __init__(self, count: _VerifiedCount, trace: SymbolicTrace, held: Held) -> None:
        self._count, self._trace, self._held = count, trace, held
        self.is_of_case = bool(held)

    def difference(self, profile: Profile, sizes: Mapping[str, int]) -> str:
        """Return how a count at some sizes differs from the formulas; "" if it does not."""
        return self._count.difference(profile, sizes, self._held)

    def failure(self, sizes: Mapping[str, int]) -> str:
        """Return how the program fails at some sizes; "" if it runs."""
        return self._count.failure(sizes, self._held)

    def trace(self, dimensions: Sequence[Dimension], held: Mapping[str, int]) -> Profile | None:
        """Trace the program anew; None if that is impossible."""
        return self._trace.trace_at(dimensions, self._held | frozenset(held.items()))


class _NoOtherSizeError(DimensionError):
    """Report that the conditions of a trace allow no other size of a dimension."""


class _VerifiedCount:
    """Trace a program, and verify what it costs at other sizes than the trace's."""

    def __init__(self, trace: SymbolicTrace) -> None:
        self._trace = trace
        self._model = trace.call.name
        self._profiles: dict[Held, Profile] = {}
        self._counted: dict[Held, Profile | Exception] = {}
        self._execution: Execution | None = None

    def count(self, held: Held) -> Profile:
        """Count for all sizes of the dimensions that are not held at one size."""
        if held not in self._profiles:
            try:
                self._profiles[held] = self._verify(*self._trace.trace(held), held)
            except _NoOtherSizeError as error:
                # The example may be small, and larger inputs do something else.
                reason = error.args
                try:
                    self._profiles[held] = self._verify(*self._trace.trace(held, at_larger=True), held)
                except DimensionError:
                    raise DimensionError(*reason) from None
        return self._profiles[held]

    def _verify(self, profile: Profile, kernel_guards: list[Condition], held: Held) -> Profile:
        """Compare with counts at other sizes, correct the conditions, and trace sizes separately if they differ.

        Raises:
            DimensionError: The expressions are wrong at another size, or the program runs at no other size.
        """
        if not profile.dimensions:
            return profile
        profile, compared = self._add_upper_limits(profile, held)
        for sizes in compared:
            self._require_no_difference(profile, sizes, held)
        profile = replace(profile, execution=self._execution)
        profile = self._add_kernel_guards(profile, kernel_guards, held)
        profile, different = allow_excluded_sizes(profile, _WithHeld(self, self._trace, held))
        for sizes, difference in different:
            profile = self._add_case(profile, sizes, difference, held)
        other = compared[0]
        profile = self._add_case_of_example(
            profile, {**other, **self._example_sizes(profile, MIN_SYMBOLIC_SIZE)}, other, held
        )
        profile = self._add_lower_limits(profile, held)
        profile = self._add_cases_at_one(profile, held)
        return self._add_case_of_example(profile, self._example_sizes(profile), other, held)

    def _require_no_difference(self, profile: Profile, sizes: Mapping[str, int], held: Held) -> None:
        difference = self.difference(profile, sizes, held)
        if difference:
            raise DimensionError(
                f"{self._model} cannot be counted for all sizes: with "
                f"{', '.join(f'{name} = {size}' for name, size in sizes.items())} {difference}. "
                "Leave a dimension out of dynamic_shapes, and count for each of its sizes."
            )

    def _sizes_to_compare(self, profile: Profile) -> list[dict[str, int]]:
        """Choose other sizes: of all dimensions together or, if the conditions allow none, of one dimension at a time.

        Raises:
            _NoOtherSizeError: The conditions allow no other size of a dimension.
        """
        names = [each.name for each in profile.dimensions]
        together = next(filter(profile.holds, other_sizes(profile, names)), None)
        if together is not None:
            return [together]
        chosen = []
        for name in names:
            alone = next(filter(profile.holds, other_sizes(profile, [name])), None)
            if alone is None:
                conditions = "; ".join(
                    str(each) for each in profile.conditions if name in map(str, each.expression.free_symbols)
                )
                raise _NoOtherSizeError(
                    f"{self._model} does something else, or fails, for other sizes of {name} than "
                    f"{example_sizes(profile.dimensions)[name]}: it needs {conditions}. Leave {name} out of "
                    f"dynamic_shapes, give an input with another size of {name}, or change that code."
                )
            chosen.append(alone)
        return chosen

    def _add_upper_limits(self, profile: Profile, held: Held) -> tuple[Profile, list[dict[str, int]]]:
        """Add conditions that exclude larger sizes at which the program fails, and choose sizes to compare at."""
        while True:
            compared = self._sizes_to_compare(profile)
            failing = next((sizes for sizes in compared if self.failure(sizes, held)), None)
            conditions = [] if failing is None else self._limits(profile, failing, held)
            if not conditions:
                return profile, compared
            profile = replace(profile, conditions=(*profile.conditions, *conditions))

    def _add_lower_limits(self, profile: Profile, held: Held) -> Profile:
        """Add conditions that exclude smaller sizes at which the program fails, if it fails at the smallest of all."""
        for name, example, minimum, _ in profile.dimensions:
            sizes = example_sizes(profile.dimensions)
            if minimum >= example or not self.failure({**sizes, name: minimum}, held):
                continue
            # Sizes of 1 are looked at on their own.
            smaller = range(max(minimum, MIN_SYMBOLIC_SIZE), example)
            sizes[name] = next((size for size in smaller if profile.holds({**sizes, name: size})), example)
            if sizes[name] < example and self.failure(sizes, held):
                conditions = self._limits(profile, sizes, held)
                if not conditions:
                    reason = f"it fails at {name} = {sizes[name]} ({self.failure(sizes, held)})"
                    conditions = [Condition(sympy.Symbol(name) >= example, reason)]
                profile = replace(profile, conditions=(*profile.conditions, *conditions))
        return profile

    def _limits(self, profile: Profile, failing: Mapping[str, int], held: Held) -> list[Condition]:
        """Return conditions on single dimensions that exclude these sizes, at which the program fails, if any do."""
        example = example_sizes(profile.dimensions)
        conditions: list[Condition] = []
        for name, size in failing.items():
            alone = {**example, name: size}
            if size == example[name] or not self.failure(alone, held) or self.failure(example, held):
                continue
            found = last_running(
                partial(self._runs_with, example, name, held), partial(_holds_with, profile, name), example[name], size
            )
            if found is None:
                return []
            running, first = found
            reason = f"it fails at {name} = {first} ({self.failure({**example, name: first}, held)})"
            symbol = sympy.Symbol(name)
            conditions.append(Condition(symbol <= running if first > running else symbol >= running, reason))
        return conditions

    def _add_kernel_guards(self, profile: Profile, kernel_guards: list[Condition], held: Held) -> Profile:
        """Add the guards that chose kernels as conditions, if the costs differ where other kernels are chosen."""
        same_kernels = replace(profile, conditions=tuple(kernel_guards))
        for candidates in (growing_sizes(profile), shrinking_sizes(profile)):
            sizes = next(
                (sizes for sizes in candidates if profile.holds(sizes) and not same_kernels.holds(sizes)), None
            )
            if sizes is not None and not self.failure(sizes, held) and self.difference(profile, sizes, held):
                return replace(profile, conditions=(*profile.conditions, *kernel_guards))
        return profile

    def _add_cases_at_one(self, profile: Profile, held: Held) -> Profile:
        """Count at sizes of 1, and add a case, with a profile of its own, for each where the costs differ."""
        names = [each.name for each in profile.dimensions if each.minimum == 1]
        handled: list[set[str]] = []
        general = profile
        for at_one in dims_to_hold(names):
            sizes = {**example_sizes(profile.dimensions), **dict.fromkeys(at_one, 1)}
            if any(each <= at_one for each in handled):
                continue
            holds = general.holds(sizes)
            difference = self.difference(general, sizes, held) if holds else self.failure(sizes, held)
            if bool(difference) is not holds:
                # The costs are right, or the program fails where the conditions exclude it.
                continue
            handled.append(at_one)
            if len(at_one) > 1 and (limit := self._common_limit(general, at_one, held)):
                profile = replace(profile, conditions=(*profile.conditions, limit))
                continue
            profile = self._add_case(profile, dict.fromkeys(at_one, 1), difference, held)
        return profile

    def _runs_with(self, sizes: Mapping[str, int], name: str, held: Held, size: int) -> bool:
        return not self.failure({**sizes, name: size}, held)

    def _common_limit(self, profile: Profile, names: set[str], held: Held) -> Condition | None:
        """Return the condition that some of these dimensions is large, if the program fails at 1 and at 2 of all."""
        example = example_sizes(profile.dimensions)

        def fails(size: int) -> str:
            return self.failure({**example, **dict.fromkeys(names, size)}, held)

        smaller = range(1, min(example[name] for name in names))
        if not all(fails(size) for size in (1, MIN_SYMBOLIC_SIZE)):
            return None
        last = max(filter(fails, smaller))
        reason = f"it fails at {', '.join(f'{name} = {last}' for name in sorted(names))} ({fails(last)})"
        return Condition(sympy.Or(*(sympy.Symbol(name) > last for name in names)), reason)

    def _example_sizes(self, profile: Profile, minimum: int = 1) -> dict[str, int]:
        """Return the sizes of dimensions in the example inputs, without smaller ones."""
        sizes = self._trace.example_sizes([each.name for each in profile.dimensions])
        return {name: size for name, size in sizes.items() if size >= minimum}

    def _add_case_of_example(
        self, profile: Profile, example: Mapping[str, int], other: Mapping[str, int], held: Held
    ) -> Profile:
        """Count at the sizes of the example inputs, and add a case if the costs differ.

        The program was traced with symbols, so it may do something else at the very sizes that its symbols stand for.

        Args:
            profile: The costs.
            example: The sizes.
            other: Sizes at which the costs are known to be right.
            held: The dimensions that are held at one size.

        Raises:
            DimensionError: The costs differ at a neighboring size too.
        """
        if not profile.holds(example):
            if dict(example) != self._example_sizes(profile) or self.failure(example, held):
                return profile
            # It was traced with other sizes, for which it does something else.
            return self._add_case(profile, example, "", held)
        if not self.difference(profile, example, held):
            return profile
        for special in dims_to_hold(list(example)):
            at_example = {name: example[name] for name in special}
            sizes = {**other, **at_example}
            if profile.holds(sizes) and (difference := self.difference(profile, sizes, held)):
                # A program that hides a size from the symbols may treat the sizes around it alike.
                for step in (-1, 1):
                    near = {**other, **{name: size + step for name, size in at_example.items()}}
                    if min(near.values()) >= MIN_SYMBOLIC_SIZE and profile.holds(near):
                        self._require_no_difference(profile, near, held)
                # Reports show shares at sizes at which the formulas hold.
                dimensions = tuple(each._replace(example=other[each.name]) for each in profile.dimensions)
                return replace(self._add_case(profile, at_example, difference, held), dimensions=dimensions)
        raise AssertionError(example)

    def _add_case(self, profile: Profile, sizes: Mapping[str, int], difference: str, held: Held) -> Profile:
        """Add a case for sizes of some dimensions, and the condition that the costs hold elsewhere.

        If the program fails there, there is only the condition.
        """
        case = tuple(sorted(sizes.items()))
        if profile.holds({**example_sizes(profile.dimensions), **sizes}):
            profile = replace(profile, conditions=(*profile.conditions, Condition(unless_sizes(case), difference)))
        found = repeat_if_failing(lambda: self.count(held | frozenset(case)))
        if isinstance(found, Exception):
            # The condition says that the program fails there, and how.
            return profile
        return replace(profile, cases=(*profile.cases, Case(case, found)))

    def _count_at(self, sizes: Mapping[str, int], held: Held) -> Profile | Exception:
        """Count at some sizes, once for all that is compared with them; an error is that of the program."""
        all_sizes = held | frozenset(sizes.items())
        if all_sizes not in self._counted:
            # The first count of all gives the order of execution, which has no sizes.
            first = not self._counted
            self._counted[all_sizes] = repeat_if_failing(
                lambda: self._trace.count_at(sizes, held, records_execution=first)
            )
            if first and isinstance(found := self._counted[all_sizes], Profile):
                self._execution = found.execution
        return self._counted[all_sizes]

    def failure(self, sizes: Mapping[str, int], held: Held) -> str:
        """Return how the program fails at some sizes; "" if it runs."""
        counted = self._count_at(sizes, held)
        return first_line(counted) if isinstance(counted, Exception) else ""

    def difference(self, profile: Profile, sizes: Mapping[str, int], held: Held) -> str:
        """Return how a count at some sizes differs from the expressions; "" if it does not."""
        counted = self._count_at(sizes, held)
        if isinstance(counted, Exception):
            return f"it fails ({first_line(counted)})"
        return difference_of_counts(counted, profile.at(**sizes))


def _holds_with(profile: Profile, name: str, size: int) -> bool:
    """Return whether costs hold at a size of one dimension, with the traced sizes of the others."""
    return profile.holds({**example_sizes(profile.dimensions), name: size})
