"""Time a step in repeated runs: with the mode, operator by operator, and without it, in turn."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable
from dataclasses import replace
from numbers import Real
from time import perf_counter
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from opflops.dispatch.timing import synchronized_time
from opflops.errors import ArgumentError
from opflops.mode import OpFlopMode
from opflops.records.arguments import check_count, describe, explain_arguments
from opflops.records.rows import Row, merge_key
from opflops.records.timing import Timing, median_and_spread

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opflops.mode import Causal
    from opflops.pricing.registry import Op
    from opflops.profile.profile import Profile
    from opflops.records.cost import Cost, Estimate

WARMUP, MAX_SPREAD, MAX_SECONDS = 3, 0.1, 2.0
MIN_RUNS = 5
"""Of fewer runs, the spread says little."""

_DIFFERENT_RUNS = (
    "The runs did not all do the same work. Counts are those of the last run; the time of each row is the median over "
    "the runs that had it."
)


class TimedRuns:
    """Run a step again and again, in turn with a mode and without it, so that both see the same machine.

    Args:
        step: What to run.
        mode: A mode that times operators.
        before: Called before each run, outside its time.
    """

    def __init__(
        self, step: Callable[[], object], mode: OpFlopMode, before: Callable[[], object] | None = None
    ) -> None:
        self._step = step
        self._mode = mode
        self._before = before
        self._warmup = 0
        self._plain: list[float] = []
        self._counted: list[float] = []
        self._times: tuple[dict[Any, list[float]], dict[Any, list[float]]] = ({}, {})
        self._work: Any = None
        self._differs = False

    def warm_up(self, runs: int = WARMUP) -> None:
        """Run the step without taking times, but counted, so that the mode is warm too."""
        for _ in range(runs):
            self._run(counted=True)
        self._warmup += runs

    def measure(self, max_spread: float = MAX_SPREAD, max_seconds: float = MAX_SECONDS) -> Profile:
        """Run the step until its times are steady, or until time is up; with collectives, :data:`MIN_RUNS` times.

        Args:
            max_spread: The inter-quartile range at which the times are steady, as a part of the median.
            max_seconds: How long to go on. The first run of each kind is made in any case.

        Returns:
            The counts of one run, with medians of the times.
        """
        started = perf_counter()
        while True:
            # Each comes first as often as the other.
            order = (True, False) if len(self._plain) % 2 else (False, True)
            for counted in order:
                seconds = self._run(counted=counted)
                (self._counted if counted else self._plain).append(seconds)
                if counted:
                    profile = self._mode.profile
                    self._take_times(profile)
            steady = all(_is_steady(times, max_spread) for times in (self._plain, self._counted))
            is_over = steady or perf_counter() - started >= max_seconds
            if any(row.group for row in profile.rows):
                # Other ranks, with times of their own, must run the step as often as this one.
                is_over = len(self._plain) == MIN_RUNS
            if is_over:
                return self._result(profile)

    def _run(self, *, counted: bool) -> float:
        """Run the step once and return its time, without garbage collections inside, as of Python's ``timeit``."""
        if self._before is not None:
            self._before()
        collects = gc.isenabled()
        gc.disable()
        try:
            started = synchronized_time()
            if counted:
                with self._mode:
                    self._step()
            else:
                self._step()
            return synchronized_time() - started
        finally:
            if collects:
                gc.enable()

    def _take_times(self, profile: Profile) -> None:
        """Keep the times of the rows of a counted run."""
        for rows, times in zip((profile.rows, profile.sites), self._times, strict=True):
            for row in rows:
                if row.seconds is not None:
                    times.setdefault(merge_key(row), []).append(row.seconds)
        work = [(merge_key(row), row.calls, row.cost) for row in profile.rows]
        self._differs = self._differs or (self._work is not None and work != self._work)
        self._work = work

    def _result(self, profile: Profile) -> Profile:
        """Return the counts of the last run, with the medians over all."""
        median, spread = median_and_spread(self._counted)
        wall, wall_spread = median_and_spread(self._plain)
        overhead, _ = median_and_spread([a - b for a, b in zip(self._counted, self._plain, strict=True)])
        calls = {} if profile.timing is None else profile.timing.calls
        rows, sites = (
            tuple(_with_median(row, times) for row in part)
            for part, times in zip((profile.rows, profile.sites), self._times, strict=True)
        )
        return replace(
            profile,
            rows=rows,
            sites=sites,
            timing=Timing(len(self._plain), self._warmup, median, spread, wall, wall_spread, overhead, calls),
            remarks=(*profile.remarks, *([_DIFFERENT_RUNS] if self._differs else [])),
        )


def _is_steady(times: Sequence[float], max_spread: float) -> bool:
    if len(times) < MIN_RUNS:
        return False
    median, spread = median_and_spread(times)
    return spread is not None and spread <= max_spread * median


def _with_median(row: Row, times: Mapping[Any, Sequence[float]]) -> Row:
    found = times.get(merge_key(row))
    if not found:
        return row
    seconds, spread = median_and_spread(found)
    return replace(row, seconds=seconds, spread=spread)


def _advise(args: tuple[Any, ...], _kwargs: Mapping[str, Any]) -> str:
    """Say how to time a model, for a call that passes it with its inputs."""
    if args and isinstance(args[0], nn.Module):
        return "A step is a function without arguments: time_step(lambda: model(x))."
    return ""


@explain_arguments(_advise)
def time_step(
    step: Callable[[], object],
    *,
    before: Callable[[], object] | None = None,
    warmup: int = WARMUP,
    max_spread: float = MAX_SPREAD,
    max_seconds: float = MAX_SECONDS,
    strict: bool = False,
    causal: Causal = "dense",
    formulas: Mapping[Op, Callable[..., Cost | Estimate]] | None = None,
    threads: bool = False,
    root: nn.Module | None = None,
    memory: bool = False,
    allocator: str | None = None,
) -> Profile:
    """Time a step that is warmed up, in repeated runs, and count one of them.

    Runs without the mode and counted runs take turns, until the inter-quartile range of either is at most a tenth of
    the median, or two seconds have passed. The result has the counts of one run. The ``seconds`` of each row are the
    median over the counted runs, ``spread`` the inter-quartile range, and :attr:`opflops.Profile.timing` says how many
    runs there were, how long the step takes without the mode, and what the mode itself costs. A step with collectives
    runs five times of each kind, however long that takes, so that all ranks run it equally often.

    >>> import torch
    >>> from opflops import time_step
    >>> model, x = torch.nn.Linear(256, 256), torch.ones(64, 256)
    >>> p = time_step(lambda: model(x).sum().backward(), before=model.zero_grad)
    >>> p.total.macs, p.timing.calls
    (8388608, {'Linear': 1})
    >>> row = p.where(phase="forward", op="addmm").rows[0]
    >>> p.timing.runs >= 1, 0 < row.seconds < p.timing.median
    (True, True)

    On the CPU, the time of a row is that of its operator alone, without Python's work between operators; on CUDA, it is
    the time between two events on its stream, with the launch where the device waits for the program. If the step is
    much longer than all rows together, look between the operators.

    Args:
        step: A function without arguments. It runs many times, so it must do the same work each time.
        before: A function without arguments that is called before each run, outside its time: to set gradients to None,
            or to make inputs.
        warmup: How many runs come first, and are not timed.
        max_spread: The inter-quartile range at which the times are steady, as a part of their median.
        max_seconds: How long to go on if they are not. A step that takes longer runs once with the mode and once
            without, after the warm-up.
        strict: As for :class:`opflops.OpFlopMode`, like all options below.
        causal: See there.
        formulas: See there.
        threads: See there.
        root: See there.
        memory: See there. The memory is followed in a run of its own, whose time does not count.
        allocator: See there.

    Raises:
        ArgumentError: The step is no function, or an option is unknown or of the wrong type.
        UnpricedOpError: With ``strict``, an operator has no formula.
    """
    _check_function("step", step)
    if before is not None:
        _check_function("before", before)
    check_count("warmup", warmup, 0, otherwise="")
    for name, value in (("max_spread", max_spread), ("max_seconds", max_seconds)):
        if not isinstance(value, Real) or isinstance(value, bool) or math.isnan(value) or value < 0:
            raise ArgumentError(f"{name} must be a number, 0 or more, not {describe(value)}.")

    def make_mode(**more: Any) -> OpFlopMode:
        return OpFlopMode(strict=strict, causal=causal, formulas=formulas, threads=threads, root=root, **more)

    memory_mode = make_mode(memory=memory, allocator=allocator)
    runs = TimedRuns(step, make_mode(timing=True), before)
    runs.warm_up(int(warmup))
    profile = runs.measure(max_spread, max_seconds)
    return with_memory(profile, step, memory_mode, before) if memory else profile


def with_memory(
    profile: Profile, step: Callable[[], object], mode: OpFlopMode, before: Callable[[], object] | None = None
) -> Profile:
    """Follow the memory of a step in a run of its own, and return the profile with it."""
    if before is not None:
        before()
    with mode:
        step()
    return replace(profile, memory=mode.profile.memory)


def _check_function(name: str, value: object) -> None:
    """Check that an argument can be called without arguments.

    Raises:
        ArgumentError: It cannot.
    """
    if isinstance(value, nn.Module):
        raise ArgumentError(
            f"{name} must be a function without arguments, not {describe(value)}, which needs inputs: "
            f"{name}=lambda: model(x)."
        )
    if not isinstance(value, Callable) or isinstance(value, (type, Tensor)):  # type: ignore[arg-type]
        advice = " Call it in a function: lambda: model(x)." if isinstance(value, Tensor) else ""
        raise ArgumentError(f"{name} must be a function without arguments, not {describe(value)}.{advice}")
