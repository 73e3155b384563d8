"""Annotate a Chrome trace of torch.profiler with what the calls of operators cost that it recorded.

While the profiler records, the mode runs each operator inside a range of its own, whose names :class:`RecordedThread`
has. The n-th range of a name is the n-th of its thread, whatever the operators inside are called, and however often the
dispatcher listed them. Of the events inside, the operator is the one that no mode is left to see.

Arguments of an operator's event are:

- ``module``, ``phase``, ``dtype``: as in rows;
- ``flops``, ``macs``, ``ops``, ``transcendentals``, ``bytes``, ``bytes_read``, ``bytes_written``: its cost. These are
  on one event for each call, so that they add up to the profile's total. Integer and bool work, which is not in the
  total, has ``integer_ops`` and ``integer_bytes`` instead;
- ``group``, ``sent``: of a collective, its process group and the bytes that this rank puts on the wire;
- ``intensity``: flops per byte, if there are bytes;
- ``flops_per_s``, ``bytes_per_s``: if there are flops or bytes, over the durations of its kernels added up, if it has
  some; else, of an operator that ran on the CPU, over its own duration;
- ``kernels``: how many there are;
- ``estimate``: why the cost is not exact; ``unpriced``: true if the operator has no formula;
- ``calls``: how many calls the event stands for, if it is not one.

A call that the profiler has no event of, such as a Triton kernel, has its range, which takes the operator's name. All
other ranges of the block are left out.

A kernel, or a copy of memory, belongs to the innermost counted operator that launched it. It has ``operator``,
``operator_id`` (the "External id" of that event), and its ``module``, ``phase``, ``dtype``, ``intensity``,
``flops_per_s`` and ``bytes_per_s``, as well as ``operator_flops``, ``operator_bytes`` and ``operator_kernels``, which
are those of the whole operator. They do not add up.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from opflops.errors import ProfileError
from opflops.records.cost import ZERO, Cost
from opflops.records.rows import join_reasons
from opflops.records.rows import total as total_cost
from opflops.report.files.trace_events import Span, Trace, arguments

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from opflops.records.recordings import RecordedCall, RecordedThread, Recordings

_PREFIX = "opflops "
_REDISPATCH = "PythonDispatchMode"
_MICRO = 1e-6
_UNCHANGED = "Annotate the file that the profiler exported, unchanged."


class Annotated(NamedTuple):
    """Hold an annotated trace.

    Attributes:
        document: The trace, as it is written.
        operators: How many events of operators were annotated.
        kernels: How many kernels and copies of memory.
        calls: How many counted calls these stand for.
        cost: What they cost, integer and bool work not included.
    """

    document: dict[str, Any]
    operators: int
    kernels: int
    calls: int
    cost: Cost


class _Operator:
    """Hold the event of an operator, with the counted calls that it stands for, and what it launched."""

    def __init__(self, calls: list[RecordedCall]) -> None:
        self.calls = calls
        self.kernels: list[int] = []


def annotate(document: Any, recordings: Recordings) -> Annotated:
    """Annotate a trace.

    Args:
        document: The trace, as JSON is read; it stays as it is.
        recordings: The calls that were counted while it was recorded.

    Raises:
        ProfileError: It is no trace, or one of another block, or not all of it.
    """
    trace = Trace(document)
    if "opflops" in trace.document:
        raise ProfileError("The trace is annotated already. Annotate the file that the profiler exported.")
    ranges: dict[str, list[Span]] = {}
    for span in trace.spans:
        if span.is_operator and span.name.startswith(f"{recordings.name}."):
            ranges.setdefault(span.name, []).append(span)
    if not ranges:
        raise ProfileError(_why_nothing(trace))
    operators: dict[int, _Operator] = {}
    unused = {span.index for spans in ranges.values() for span in spans}
    for thread in _recorded_threads(ranges, recordings):
        spans = ranges[thread.name]
        calls_of: dict[int, list[RecordedCall]] = {}
        for call in thread.calls:
            if call.marker >= 0:
                calls_of.setdefault(call.marker, []).append(call)
        counted = {spans[marker].index for marker in calls_of}
        for marker, calls in calls_of.items():
            span = _find_operator(spans[marker], calls, counted, operators)
            operators[span.index] = _Operator(calls)
            unused.discard(span.index)
    _find_kernels(trace, operators)
    return _write_figures(trace, operators, unused)


def _recorded_threads(ranges: dict[str, list[Span]], recordings: Recordings) -> Iterator[RecordedThread]:
    """Return the threads that the trace has.

    Raises:
        ProfileError: It does not have all ranges of one, or more.
    """
    known = {thread.name: thread for threads in recordings.threads for thread in threads}
    for name, spans in ranges.items():
        thread = known.get(name)
        if thread is None or len(spans) > thread.markers:
            raise ProfileError(
                "The trace has calls that this profile does not have, since the profile was read before the profiler "
                "had stopped. Read the mode's profile again after that."
            )
        if len(spans) < thread.markers:
            raise ProfileError(_what_is_missing(spans, thread))
        yield thread


def _why_nothing(trace: Trace) -> str:
    if any(span.name.startswith(_PREFIX) for span in trace.spans):
        return (
            "The trace has no call that this profile counted: it was recorded in another block, or in another run of "
            "the program. Take the profile of the mode that counted while the profiler recorded."
        )
    return (
        "The trace has no counted calls: no OpFlopMode counted in the threads that were recorded, or the profiler did "
        "not record the CPU. Record both: with OpFlopMode() as m, torch.profiler.profile() as prof: ..."
    )


def _what_is_missing(spans: list[Span], thread: RecordedThread) -> str:
    counted = Counter[str]()
    for call in thread.calls:
        counted[call.row.op] += 1
    found = Counter(_op_name(child.name) for span in spans for child in span.children if child.is_operator)
    missing = counted - found
    what = f"it has {len(spans)} of {thread.markers} operators"
    if missing:
        op, number = missing.most_common(1)[0]
        what = f"it has {counted[op] - number} of the {counted[op]} calls of {op} that were counted"
    return f"The trace is not whole: {what} while it was recorded. {_UNCHANGED}"


def _event_name(op: str) -> str:
    return op.replace(".", "::", 1)


def _op_name(event: str) -> str:
    return event.replace("::", ".", 1)


def _find_operator(marker: Span, calls: Sequence[RecordedCall], counted: set[int], taken: dict[int, _Operator]) -> Span:
    """Return the event of the operator that ran inside a range; the range itself if it has none of its own.

    The operator is inside. If a mode ran it that is below this one, it is listed again inside that, where no mode is
    left. One that PyTorch decomposes before the mode sees it is around the range, with nothing between.
    """
    names = {_event_name(call.row.op) for call in calls}
    if len(names) > 1:
        return marker
    (name,) = names
    found = next(_named(marker.children, name, counted), None)
    while found is not None:
        modes = [child for child in found.children if child.name == _REDISPATCH]
        again = next(_named([child for mode in modes for child in mode.children], name, counted), None)
        if again is None:
            return found
        found = again
    for around in marker.ancestors():
        if around.name == name and around.index not in taken:
            return around
        if around.name != _REDISPATCH and (around.index in counted or not around.name.startswith(_PREFIX)):
            break
    return marker


def _named(spans: Iterable[Span], name: str, counted: set[int]) -> Iterator[Span]:
    """Return the operators of a name, outermost first, that are inside no other counted range."""
    for span in spans:
        if span.index in counted:
            continue
        if span.name == name and span.is_operator:
            yield span
        else:
            yield from _named(span.children, name, counted)


def _find_kernels(trace: Trace, operators: dict[int, _Operator]) -> None:
    launches, by_id = trace.launchers() if trace.launched else ({}, {})
    for index in trace.launched:
        args = arguments(trace.events[index])
        # Some devices have no launches, or launches of threads with other numbers.
        around = (launches.get(args.get("correlation")), by_id.get(args.get("External id")))
        found = (each for span in around if span is not None for each in (span, *span.ancestors()))
        launcher = next((span for span in found if span.index in operators), None)
        if launcher is not None:
            operators[launcher.index].kernels.append(index)


def _write_figures(trace: Trace, operators: dict[int, _Operator], unused: set[int]) -> Annotated:
    changed: dict[int, dict[str, Any]] = {}
    cost, calls, kernels = ZERO, 0, 0
    for index, operator in operators.items():
        event = trace.events[index]
        names = {_event_name(call.row.op) for call in operator.calls}
        name = f"{len(names)} operators" if len(names) > 1 else next(iter(names))
        durations = [_duration(trace.events[kernel]) for kernel in operator.kernels]
        seconds = sum(durations) * _MICRO
        if not durations and {call.device for call in operator.calls} == {"cpu"}:
            seconds = _duration(event) * _MICRO
        figures = _figures(operator.calls, seconds)
        more = {"kernels": len(durations)} if durations else {}
        changed[index] = {**event, "name": name, "args": {**arguments(event), **figures, **more}}
        about = {"operator": name, "operator_id": arguments(event).get("External id"), **_of_kernel(figures)}
        for kernel in operator.kernels:
            known = trace.events[kernel]
            changed[kernel] = {
                **known,
                "args": {**arguments(known), **about, "operator_kernels": len(durations)},
            }
        cost += total_cost(call.row for call in operator.calls)
        calls += sum(call.row.calls for call in operator.calls)
        kernels += len(durations)
    events = [changed.get(index, event) for index, event in enumerate(trace.events) if index not in unused]
    summary = {"flops": cost.flops, "bytes": cost.bytes, "calls": calls, "operators": len(operators)}
    document = {**trace.document, "traceEvents": events, "opflops": summary}
    return Annotated(document, len(operators), kernels, calls, cost)


def _duration(event: dict[str, Any]) -> float:
    duration = event.get("dur")
    return duration if isinstance(duration, (int, float)) and 0 < duration < float("inf") else 0.0


def _figures(calls: list[RecordedCall], seconds: float) -> dict[str, Any]:
    rows = [call.row for call in calls]
    figures: dict[str, Any] = {
        key: ", ".join(dict.fromkeys(str(getattr(row, key)) for row in rows)) for key in ("module", "phase", "dtype")
    }
    number = sum(row.calls for row in rows)
    if number != 1:
        figures["calls"] = number
    if any(row.floating for row in rows):
        cost = total_cost(rows)
        figures |= {"flops": cost.flops, **cost._asdict(), "bytes": cost.bytes}
        del figures["sent"]
        if cost.bytes:
            figures["intensity"] = cost.flops / cost.bytes
        if seconds and cost.flops:
            figures["flops_per_s"] = cost.flops / seconds
        if seconds and cost.bytes:
            figures["bytes_per_s"] = cost.bytes / seconds
    if others := [row.cost for row in rows if not row.floating]:
        figures |= {
            "integer_ops": sum(cost.flops for cost in others),
            "integer_bytes": sum(cost.bytes for cost in others),
        }
    if groups := list(dict.fromkeys(row.group for row in rows if row.group)):
        figures |= {"group": ", ".join(groups), "sent": sum(row.cost.sent for row in rows)}
    if not all(row.priced for row in rows):
        figures["unpriced"] = True
    if reason := join_reasons(*(row.estimate for row in rows)):
        figures["estimate"] = reason
    return figures


def _of_kernel(figures: dict[str, Any]) -> dict[str, Any]:
    """Return what a kernel says of its operator, without what adds up."""
    same = ("module", "phase", "dtype", "intensity", "flops_per_s", "bytes_per_s")
    found = {name: figures[name] for name in same if name in figures}
    return found | {f"operator_{name}": figures[name] for name in ("flops", "bytes") if name in figures}
