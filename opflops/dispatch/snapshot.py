"""A profile of what the modes of a block have recorded so far."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from opflops.attribution.module_context import FORWARD
from opflops.dispatch.module_records import module_records
from opflops.pricing.op_pricing import check_whole
from opflops.profile.profile import Profile
from opflops.records.algebra import as_int
from opflops.records.cost import Cost, total_of
from opflops.records.recordings import RecordedCall, RecordedThread, Recordings
from opflops.records.rows import Row, ancestry, merge, split_sites

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import torch

    from opflops.attribution.module_context import ModuleContext
    from opflops.dispatch.recording_mode import RecordingMode
    from opflops.pricing.accumulators import Accumulator, AccumulatorKey
    from opflops.pricing.call_log import CallLog, LoggedCall
    from opflops.records.modules import ModuleRecord


def snapshot(modes: Sequence[RecordingMode], *, uncounted: Mapping[str, int], cut_short: str = "") -> Profile:
    """Make an immutable profile of the accumulators of a block's modes.

    Args:
        modes: The mode of the block, and those of other threads.
        uncounted: The calls of modules in other threads that no mode counted, by module.
        cut_short: What ended the counting before the block, a key of ``CUT_SHORT_REMARKS``; "" for nothing.

    Raises:
        FormulaError: A count is not a whole number, or is less than 0.
    """
    clock = modes[0].clock
    if clock is not None:
        clock.read(accumulator for mode in modes for accumulator in [*mode.accumulators])
    profile = _snapshot(modes, uncounted, cut_short)
    recorder = modes[0].execution_recorder
    if recorder is not None and len(modes) == 1:
        resolve = modes[0].module_stack.roots.resolve
        profile = replace(profile, execution=recorder.execution(profile.rows, resolve))
    if remarks := {remark: None for mode in modes for remark in mode.module_stack.remarks}:
        profile = replace(profile, remarks=(*profile.remarks, *remarks))
    if clock is None:
        return profile
    timing = clock.timing(_calls_of_models(profile.modules))
    return replace(profile, timing=timing, remarks=(*profile.remarks, *clock.remarks()))


def _calls_of_models(modules: Sequence[ModuleRecord]) -> dict[str, int]:
    """Return how many times each module was called that is in no other module that was called."""
    calls = {record.module: sum(call.calls for call in record.calls) for record in modules}
    called = {path: number for path, number in calls.items() if number}
    return {path: number for path, number in called.items() if not called.keys() & {*ancestry(path)[:-1]}}


def _snapshot(modes: Sequence[RecordingMode], uncounted: Mapping[str, int], cut_short: str) -> Profile:
    # Overloads of one operator have accumulators of their own, but share a row.
    gathered: dict[tuple[ModuleContext, AccumulatorKey], list[Accumulator]] = {}
    for mode in modes:
        for accumulator in list(mode.accumulators):
            if not accumulator.is_concrete() or min(accumulator.counts()) < 0:
                check_whole(accumulator.op, accumulator.counts())
            gathered.setdefault((accumulator.context, accumulator.key), []).append(accumulator)
    resolve = modes[0].module_stack.roots.resolve
    place_of = {context: (resolve(context.path), context.site(resolve)) for context, _ in gathered}
    sites_at: dict[str, set[str]] = {}
    for path, site in place_of.values():
        sites_at.setdefault(path, set()).add(site)

    def row_of(context: ModuleContext, key: AccumulatorKey, parts: list[Accumulator]) -> Row:
        path, site = place_of[context]
        return _row(path, key, parts, site=site if len(sites_at[path]) > 1 else "")

    rows, sites = split_sites(row_of(context, key, parts) for (context, key), parts in gathered.items())
    if len(modes) > 1 or len(sites_at) < len({context.path for context in place_of}):
        # Several threads, or two roots of which one is part of the other, have contexts of the same path.
        rows = merge(rows)
    stacks = [mode.module_stack for mode in modes]
    called = dict.fromkeys(path for stack in stacks for path in stack.called_paths())
    if not called:
        return Profile(rows, sites, remarks=_remarks(uncounted, cut_short))
    if modes[0].active:
        for stack in stacks:
            stack.read_running()
        stacks[0].roots.read_tensors_again()
    modules, remarks = module_records(stacks)
    return Profile(rows, sites, tuple(called), remarks=(*_remarks(uncounted, cut_short), *remarks), modules=modules)


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


def _remarks(uncounted: Mapping[str, int], cut_short: str) -> tuple[str, ...]:
    if not uncounted and not cut_short:
        return ()
    from opflops.report.notes import CUT_SHORT_REMARKS, uncounted_remark  # noqa: PLC0415 - keeps import opflops fast

    return ((CUT_SHORT_REMARKS[cut_short],) if cut_short else ()) + (
        (uncounted_remark(uncounted),) if uncounted else ()
    )


def _row(path: str, key: AccumulatorKey, parts: list[Accumulator], *, site: str) -> Row:
    op, priced, phase, dtype, estimate, group = key
    activations = 0
    if phase is FORWARD:
        first, *others = parts
        activations = first.activations if not others else sum([part.activations for part in parts])
    return Row(
        path,
        parts[0].context.module_type,
        op,
        phase,
        _dtype_name(dtype),
        sum(part.calls for part in parts),
        parts[0].cost() if len(parts) == 1 else total_of(part.cost() for part in parts),
        _seconds(parts),
        estimate,
        priced,
        site,
        activations if type(activations) is int else as_int(activations),
        None,
        group,
    )


def _seconds(parts: list[Accumulator]) -> float | None:
    """Return the time of all calls; None if none was timed."""
    times = [part.times.seconds for part in parts if part.times is not None and part.times.calls]
    # What ran inside others is subtracted, and clocks are not exact.
    return max(sum(times), 0.0) if times else None


def _dtype_name(dtype: torch.dtype | None) -> str:
    return str(dtype).removeprefix("torch.") if dtype is not None else ""
