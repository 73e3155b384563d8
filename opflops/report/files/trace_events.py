"""Read and write Chrome traces of torch.profiler, and find which event is inside which."""

from __future__ import annotations

import gzip
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opflops.errors import ProfileArgumentError, ProfileError
from opflops.records.arguments import describe

if TYPE_CHECKING:
    from collections.abc import Iterator

_GZIP = b"\x1f\x8b"
_HOW_TO_EXPORT = "Give the file that torch.profiler wrote: prof.export_chrome_trace('trace.json')."
# Categories of events of the host that enclose one another, and of what it launched.
_OPERATORS = ("cpu_op", "user_annotation")
_LAUNCHES = ("_runtime", "_driver")
_LAUNCHED = ("kernel", "gpu_memcpy", "gpu_memset")


class Span:
    """Hold a complete event of the host, with those inside it.

    Attributes:
        index: The place of the event in the trace.
        event: The event.
        start: When it began, in nanoseconds.
        end: When it ended.
        parent: The innermost one around it, of the same thread; None if there is none.
        children: Those inside it, and inside no other one that is, in order.
    """

    __slots__ = ("children", "end", "event", "index", "parent", "start")

    def __init__(self, index: int, event: dict[str, Any]) -> None:
        # The profiler writes microseconds with three decimals.
        self.index, self.event, self.start = index, event, round(event["ts"] * 1000)
        self.end = self.start + round(event["dur"] * 1000)
        self.parent: Span | None = None
        self.children: list[Span] = []

    @property
    def name(self) -> str:
        """Return the event's name."""
        return str(self.event.get("name", ""))

    @property
    def is_operator(self) -> bool:
        """Return whether the event is an operator, or a range that is recorded like one."""
        return bool(self.event["cat"] == "cpu_op")

    def ancestors(self) -> Iterator[Span]:
        """Return the spans around this one, innermost first."""
        above = self.parent
        while above is not None:
            yield above
            above = above.parent


class Trace:
    """Hold the events of a trace, and the spans of its host.

    Args:
        document: The trace, as JSON is read: an object with ``traceEvents``, or the list of these.

    Attributes:
        document: The object, without its events.
        events: The events.
        spans: The spans of operators, ranges and launches, in order of their beginnings, thread by thread.
        launched: The places of kernels and copies of memory among the events.

    Raises:
        ProfileError: It is no trace of torch.profiler.
    """

    def __init__(self, document: Any) -> None:
        events = document.get("traceEvents") if isinstance(document, dict) else document
        if not isinstance(events, list):
            raise ProfileError(f"This is no Chrome trace: it has no list of traceEvents. {_HOW_TO_EXPORT}")
        self.document: dict[str, Any] = {**document} if isinstance(document, dict) else {}
        self.events: list[dict[str, Any]] = events
        threads: dict[Any, list[Span]] = {}
        self.launched: list[int] = []
        for index, event in enumerate(events):
            if not isinstance(event, dict) or not isinstance(event.get("ph"), str):
                raise ProfileError(
                    f"This is no Chrome trace: event {index} is {describe(event)}, and not an object with a phase "
                    f"'ph'. {_HOW_TO_EXPORT}"
                )
            category = str(event.get("cat", "")) if event["ph"] == "X" else ""
            if category in _LAUNCHED:
                self.launched.append(index)
            elif category in _OPERATORS or category.endswith(_LAUNCHES):
                _check_times(index, event)
                threads.setdefault((str(event.get("pid")), str(event.get("tid"))), []).append(Span(index, event))
        self.spans = [span for spans in threads.values() for span in _nest(spans)]

    def launchers(self) -> tuple[dict[Any, Span], dict[Any, Span]]:
        """Return the launches of kernels by their correlation, and the operators by their external id."""
        launches, operators = {}, {}
        for span in self.spans:
            args = arguments(span.event)
            if span.event["cat"] in _OPERATORS:
                operators[args.get("External id")] = span
            elif "correlation" in args:
                launches[args["correlation"]] = span
        return launches, operators


def arguments(event: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of an event."""
    args = event.get("args")
    return args if isinstance(args, dict) else {}


def _check_times(index: int, event: dict[str, Any]) -> None:
    for name in ("ts", "dur"):
        value = event.get(name)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < float("inf"):
            raise ProfileError(
                f"Event {index} of the trace, {event.get('name')!r}, has no number as {name!r}, but {describe(value)}. "
                f"{_HOW_TO_EXPORT}"
            )


def _nest(spans: list[Span]) -> list[Span]:
    """Put each span of a thread into the innermost one around it; return them in order of their beginnings."""
    spans.sort(key=lambda span: (span.start, -span.end, span.index))
    around: list[Span] = []
    for span in spans:
        while around and around[-1].end <= span.start:
            around.pop()
        if around:
            span.parent = around[-1]
            around[-1].children.append(span)
        around.append(span)
    return spans


def read_trace(trace: Any) -> Any:
    """Read a trace, unless it is read already.

    Args:
        trace: The name of a JSON file, which may be compressed by gzip; or what such a file has, as JSON is read; or
            the profiler, which exports it then.

    Raises:
        ProfileError: The file cannot be read, is no JSON, or the profiler has no trace to export.
    """
    if isinstance(trace, (dict, list)):
        return trace
    if callable(export := getattr(trace, "export_chrome_trace", None)):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "trace.json"
            try:
                export(str(path))
            except Exception as error:
                reason = str(error).rstrip(".")
                raise ProfileError(
                    f"The profiler cannot export its trace: {reason}. It exports a trace once, after it has stopped; "
                    "give the file if it wrote one before."
                ) from error
            return read_trace(path)
    if not isinstance(trace, (str, os.PathLike)):
        raise ProfileArgumentError(
            f"annotate_trace() needs a trace: the name of a file, its content, or the profiler, not {describe(trace)}. "
            f"{_HOW_TO_EXPORT}"
        )
    try:
        content = Path(trace).read_bytes()
        content = gzip.decompress(content) if content.startswith(_GZIP) else content
        # The profiler writes what is no number, such as an occupancy of nothing, as NaN, which JSON does not have.
        return json.loads(content.decode("utf-8", errors="replace"), parse_constant=lambda _: None, strict=False)
    except (OSError, EOFError) as error:
        reason = str(getattr(error, "strerror", None) or error)
        raise ProfileError(f"Cannot read the trace {str(trace)!r}: {reason}. {_HOW_TO_EXPORT}") from error
    except ValueError as error:
        raise ProfileError(
            f"{str(trace)!r} is no Chrome trace, since it is no JSON: {error}. {_HOW_TO_EXPORT}"
        ) from error


def check_out(out: object) -> None:
    """Check that a trace can be written to a file of this name.

    Raises:
        ProfileError: It is no name of a file, or ends neither in ``.json`` nor in ``.json.gz``.
    """
    if not isinstance(out, (str, os.PathLike)):
        raise ProfileArgumentError(f"out must be the name of a file, as in out='trace.json', not {describe(out)}.")
    if not str(out).endswith((".json", ".json.gz")):
        raise ProfileError(
            f"out must end in .json, or in .json.gz for a compressed file, not {str(out)!r}: Perfetto and Chrome tell "
            "traces by these names."
        )


def write_trace(document: Any, out: str | os.PathLike[str]) -> None:
    """Write a trace to a file, compressed if its name ends in ``.gz``.

    Raises:
        ProfileError: The file cannot be written, or the trace has what JSON has not.
    """
    try:
        content = json.dumps(document, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError) as error:
        raise ProfileError(f"The trace cannot be written as JSON: {error}.") from error
    try:
        Path(out).write_bytes(gzip.compress(content) if str(out).endswith(".gz") else content)
    except OSError as error:
        raise ProfileError(f"Cannot write {str(out)!r}: {error.strerror or error}.") from error
