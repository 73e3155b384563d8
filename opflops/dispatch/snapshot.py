"""A profile of what the modes of a block have recorded so far."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from opflops.attribution.module_context import FORWARD
from opflops.dispatch.module_records import module_records
from opflops.pricing.accumulators import concrete_counts
from opflops.pricing.dtypes import FLOATING
from opflops.pricing.formula_results import check_whole
from opflops.profile.profile import Profile
from opflops.profile.unread import unread_profile
from opflops.records.algebra import as_int
from opflops.records.cost import Cost, total_of
from opflops.records.garbage_collection import with_gc_disabled
from opflops.records.recordings import RecordedCall, RecordedThread, Recordings
from opflops.records.rows import Row, ancestry, merge, new_row, split_sites

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch

    from opflops.attribution.module_context import ModuleContext
    from opflops.attribution.module_stack import ModuleStack
    from opflops.attribution.threads import Uncounted
    from opflops.dispatch.recording_mode import RecordingMode
    from opflops.pricing.accumulators import Accumulator
    from opflops.pricing.call_log import CallLog, LoggedCall
    from opflops.records.modules import ModuleRecord

# From so many accumulators on, the garbage collector would take as long as the rows.
_MANY = 10_000
_key_of = attrgetter("context", "op", "priced", "phase", "dtype", "estimate", "group")
_counts_of = attrgetter(*Cost._fields)
# A cost's own constructor explains wrong arguments.
_as_cost = partial(tuple.__new__, Cost)


class _UnreadRows:
    """Hold what an ended block has recorded, of which rows are made when they are read.

    Args:
        mode: The only mode of the block. Neither it nor its model is kept alive.
        total: The total of its accumulators.
        remarks: What its counts leave out.
    """

    def __init__(self, mode: RecordingMode, total: Cost, remarks: tuple[str, ...]) -> None:
        self.total = total
        self._accumulators, self._stack, self._remarks = mode.accumulators, mode.module_stack, remarks
        self._recorder = mode.execution_recorder

    def make_fields(self) -> dict[str, Any]:
        """Make the fields of a profile that hold rows, modules, remarks, and the order of execution."""
        make = _fields if len(self._accumulators) < _MANY else with_gc_disabled(_fields)
        made = make([self._accumulators], [self._stack], self._remarks)
        recorder = self._recorder
        execution = None if recorder is None else recorder.execution(made["rows"], self._stack.roots.resolve)
        return {**made, "execution": execution}


def _unread_snapshot(mode: RecordingMode, remarks: tuple[str, ...]) -> Profile | None:
    """Make the profile of an ended block with rows that are made when they are read.

    Args:
        mode: The only mode of the block.
        remarks: What its counts leave out.

    Returns:
        None if the rows are to be made now: there is more than accumulators, or counts that are symbolic or wrong.
    """
    if mode.clock is not None or mode.memory_tracker is not None:
        return None
    if mode.module_stack.roots.keeps_models or mode.module_stack.remarks:
        return None
    floating = concrete_counts([each for each in mode.accumulators if each.dtype in FLOATING])
    others = concrete_counts([each for each in mode.accumulators if each.dtype not in FLOATING])
    if floating is None or others is None:
        return None
    *total, _ = map(sum, zip(*floating, strict=True)) if floating else [0] * 7
    return unread_profile(Profile, _UnreadRows(mode, Cost(*total), remarks))


def snapshot(
    modes: Sequence[RecordingMode], *, uncounted: Uncounted, cut_short: str = "", ended: bool = False
) -> Profile:
    """Make an immutable profile of the accumulators of a block's modes.

    Args:
        modes: The mode of the block, and those of other threads.
        uncounted: What other threads did that no mode counted.
        cut_short: What ended the counting before the block, a key of ``CUT_SHORT_REMARKS``; "" for nothing.
        ended: Whether the block has ended, so that nothing is recorded any more.

    Raises:
        FormulaError: A count is not a whole number, or is less than 0.
    """
    remarks = _remarks(uncounted, cut_short)
    many = sum([len(mode.accumulators) for mode in modes]) >= _MANY
    take = with_gc_disabled(_unread_snapshot) if many else _unread_snapshot
    if ended and len(modes) == 1 and (unread := take(modes[0], remarks)) is not None:
        return unread
    clock = modes[0].clock
    if clock is not None:
        clock.read(accumulator for mode in modes for accumulator in [*mode.accumulators])
    profile = (with_gc_disabled(_snapshot) if many else _snapshot)(modes, remarks)
    recorder = modes[0].execution_recorder
    if recorder is not None and len(modes) == 1:
        resolve = modes[0].module_stack.roots.resolve
        profile = replace(profile, execution=recorder.execution(profile.rows, resolve))
    if more := {remark: None for mode in modes for remark in mode.module_stack.remarks}:
        profile = replace(profile, remarks=(*profile.remarks, *more))
    tracker = modes[0].memory_tracker
    if tracker is not None:
        from opflops.memory.result import memory_of  # noqa: PLC0415 - few programs ask for it

        resolve = modes[0].module_stack.roots.resolve
        profile = replace(profile, memory=memory_of(tracker, resolve, several_threads=len(modes) > 1))
    if clock is None:
        return profile
    timing = clock.timing(_calls_of_models(profile.modules))
    return replace(profile, timing=timing, remarks=(*profile.remarks, *clock.remarks()))


def _calls_of_models(modules: Sequence[ModuleRecord]) -> dict[str, int]:
    """Return how many times each module was called that is in no other module that was called."""
    calls = {record.module: sum(call.calls for call in record.calls) for record in modules}
    called = {path: number for path, number in calls.items() if number}
    return {path: number for path, number in called.items() if not called.keys() & {*ancestry(path)[:-1]}}


def _snapshot(modes: Sequence[RecordingMode], remarks: tuple[str, ...]) -> Profile:
    accumulators = [list(mode.accumulators) for mode in modes]
    stacks = [mode.module_stack for mode in modes]
    if modes[0].active:
        for stack in stacks:
            stack.read_running()
        stacks[0].roots.read_tensors_again()
    return Profile(**_fields(accumulators, stacks, remarks))


def _fields(
    accumulators: Sequence[Sequence[Accumulator]], stacks: Sequence[ModuleStack], remarks: tuple[str, ...]
) -> dict[str, Any]:
    """Return the fields of a profile that are made of what was recorded.

    Args:
        accumulators: Those of each thread.
        stacks: The module stacks of the threads, which share their root modules.
        remarks: What the counts leave out.
    """
    every = [*chain.from_iterable(accumulators)]
    rows, sites = _rows(every, stacks[0].roots.resolve, several=len(stacks) > 1)
    called = dict.fromkeys(path for stack in stacks for path in stack.called_paths())
    modules, on_modules = module_records(stacks) if called else ((), ())
    made = {"rows": rows, "sites": sites, "called": tuple(called), "modules": modules}
    return {**made, "remarks": (*remarks, *on_modules)}


def _rows(
    accumulators: Sequence[Accumulator], resolve: Callable[[str], str], *, several: bool
) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    """Make the rows of accumulators, and those of modules with several call sites by site.

    Args:
        accumulators: The accumulators, in order of first execution.
        resolve: Returns the present path of a module.
        several: Whether they are of several threads.
    """
    costs = _costs(accumulators)
    order, parts = _shared_rows(accumulators)
    contexts = dict.fromkeys(map(attrgetter("context"), accumulators))
    place_of = {context: (resolve(context.path), context.site(resolve)) for context in contexts}
    # Of each path, the sites and the number of the call in their names.
    sites_at: dict[str, dict[str, int]] = {}
    for context, (path, site) in place_of.items():
        sites_here = sites_at.setdefault(path, {})
        if site:
            sites_here[site] = context.call
    # What a thread does for a module that it has not called, such as to accumulate a gradient, is at the first call.
    facts_of = {
        context: (path, context.module_type, (site or _first(sites_at[path])) if len(sites_at[path]) > 1 else "")
        for context, (path, site) in place_of.items()
    }
    dtypes = {dtype: _dtype_name(dtype) for dtype in set(map(attrgetter("dtype"), accumulators))}
    made = []
    for index in order:
        each, cost = accumulators[index], costs[index]
        path, module_type, site = facts_of[each.context]
        phase, calls, activations, seconds = each.phase, each.calls, each.activations, None
        if each.times is not None or index in parts:
            which = parts.get(index, [index])
            every = [accumulators[part] for part in which]
            cost = total_of([costs[part] for part in which])
            calls, seconds = sum([part.calls for part in every]), _seconds(every)
            activations = sum([part.activations for part in every])
        if phase is not FORWARD:
            activations = 0
        elif type(activations) is not int:
            activations = as_int(activations)
        made.append(
            new_row(
                path,
                module_type,
                each.op,
                phase,
                dtypes[each.dtype],
                calls,
                cost,
                seconds,
                each.estimate,
                each.priced,
                site,
                activations,
                None,
                each.group,
                None,
            )
        )
    rows, sites = split_sites(made)
    if several or len(sites_at) < len({context.path for context in contexts}):
        # Several threads, or two roots of which one is part of the other, have contexts of the same path.
        rows = merge(rows)
    return rows, sites


def _first(sites: dict[str, int]) -> str:
    return min(sites, key=sites.__getitem__)


def _shared_rows(accumulators: Sequence[Accumulator]) -> tuple[Sequence[int], dict[int, list[int]]]:
    """Return the positions of the accumulators that begin a row, in order, and of those that share one by its first.

    Overloads of one operator have accumulators of their own, but share a row.
    """
    keys = [*map(_key_of, accumulators)]
    if len(dict.fromkeys(keys)) == len(keys):
        return range(len(keys)), {}
    first: dict[Any, int] = {}
    parts: dict[int, list[int]] = {}
    for index, key in enumerate(keys):
        known = first.setdefault(key, index)
        if known != index:
            parts.setdefault(known, [known]).append(index)
    return [*first.values()], parts


def _costs(accumulators: Sequence[Accumulator]) -> list[Cost]:
    """Return the cost of each accumulator.

    Raises:
        FormulaError: A count is not a whole number, or is less than 0.
    """
    costs: list[Cost] = [*map(_as_cost, map(_counts_of, accumulators))]
    if set(map(type, chain.from_iterable(costs))) <= {int} and min(chain.from_iterable(costs), default=0) >= 0:
        # Repeated modules have equal costs, of which one object is enough.
        distinct: dict[Cost, Cost] = {}
        return [*map(distinct.setdefault, costs, costs)]
    for accumulator, cost in zip(accumulators, costs, strict=True):
        check_whole(accumulator.op, cost)
    return [Cost(*map(as_int, cost)) for cost in costs]


def recordings_of(logs: Sequence[CallLog], resolve: Callable[[str], str]) -> Recordings | None:
    """Return the calls of a block that PyTorch's profiler recorded, as plain data; None if it recorded nothing.

    Args:
        logs: The logs of its recordings.
        resolve: Returns the present path of a module.
    """
    if not logs:
        return None
    paths: dict[ModuleContext, str] = {}

    def recorded(call: LoggedCall) -> RecordedCall:
        marker, context, (op, priced, phase, dtype, estimate, group), (calls, *counts), device = call
        path = paths.get(context)
        if path is None:
            path = paths[context] = resolve(context.path)
        cost = Cost(*map(as_int, counts))
        named = (path, context.module_type, op, phase, _dtype_name(dtype), as_int(calls), cost, None, estimate, priced)
        return RecordedCall(marker, Row(*named, group=group), device)

    return Recordings(
        logs[0].name,
        tuple(
            tuple(RecordedThread(each.name, each.markers, tuple(map(recorded, each.calls))) for each in log.threads())
            for log in logs
        ),
    )


def _remarks(uncounted: Uncounted, cut_short: str) -> tuple[str, ...]:
    if not any(uncounted) and not cut_short:
        return ()
    from opflops.report.notes import CUT_SHORT_REMARKS, uncounted_remark  # noqa: PLC0415 - keeps import opflops fast

    return ((CUT_SHORT_REMARKS[cut_short],) if cut_short else ()) + (
        (uncounted_remark(*uncounted),) if any(uncounted) else ()
    )


def _seconds(parts: list[Accumulator]) -> float | None:
    """Return the time of all calls; None if none was timed."""
    times = [part.times.seconds for part in parts if part.times is not None and part.times.calls]
    # What ran inside others is subtracted, and clocks are not exact.
    return max(sum(times), 0.0) if times else None


def _dtype_name(dtype: torch.dtype | None) -> str:
    return str(dtype).removeprefix("torch.") if dtype is not None else ""
