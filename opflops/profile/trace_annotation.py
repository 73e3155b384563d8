"""Annotate a trace of PyTorch's profiler with the work that a profile counted while it was recorded."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opflops.errors import ProfileArgumentError, ProfileError
from opflops.profile.method_advice import advise
from opflops.records.arguments import explain_methods
from opflops.records.display import repr_text

if TYPE_CHECKING:
    from opflops.records.cost import Cost
    from opflops.records.recordings import Recordings

_NO_RECORDING = (
    "This profile has no calls to annotate a trace with. A profile has them if it is read from a mode after PyTorch's "
    "profiler recorded in its block; profiles that are read from a file, or made of others, do not. Write: "
    "with OpFlopMode() as m, torch.profiler.profile() as prof: ..., then m.profile.annotate_trace(prof, 'out.json')."
)


@dataclass(frozen=True, slots=True)
class AnnotatedTrace:
    """Say what :meth:`TraceAnnotation.annotate_trace` found in a trace; printing it shows a sentence.

    Attributes:
        path: The file that was written.
        operators: How many events of operators have figures.
        kernels: How many kernels and copies of memory have those of their operators.
        calls: How many counted calls the operators stand for.
        cost: What these cost: the sum of the operators' figures.
        left_out: What else the profile counted, outside this recording or in threads that were not recorded.
    """

    path: str
    operators: int
    kernels: int
    calls: int
    cost: Cost
    left_out: Cost

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return repr_text(self, include, exclude)

    def __str__(self) -> str:
        from opflops.units import exact  # noqa: PLC0415 - keeps import opflops fast

        kernels = f" and {self.kernels} kernels" if self.kernels else ""
        text = f"{self.path}: {self.operators} operators{kernels} with {exact(self.cost.flops)} flops."
        if self.left_out:
            text += f" Not in the trace: {exact(self.left_out.flops)} flops, counted outside of what was recorded."
        return text


@explain_methods(advise, ProfileArgumentError)
class TraceAnnotation:
    """Add the annotation of traces to a profile, the subclass that holds the data."""

    # Not a field: a profile that is made of this one does not have it, and the two are equal.
    _recordings = None

    @property
    def total(self) -> Cost:
        """Return the cost of all floating-point work."""
        raise NotImplementedError

    def annotate_trace(self, trace: Any, out: str | os.PathLike[str]) -> AnnotatedTrace:
        """Write a Chrome trace that PyTorch's profiler recorded in the block, with the figures of each operator.

        In Perfetto, each operator and its kernels then show module, phase, flops, bytes, arithmetic intensity and the
        achieved rates; :mod:`opflops.report.files.chrome_trace` lists the arguments. The flops of the operators add up
        to those of the profile, if the profiler recorded the whole block.

        >>> import torch
        >>> from opflops import OpFlopMode
        >>> net, x = torch.nn.Linear(4, 3), torch.ones(2, 4)
        >>> with OpFlopMode() as m, torch.profiler.profile() as prof:  # doctest: +SKIP
        ...     net(x).sum().backward()
        >>> print(m.profile.annotate_trace(prof, "trace.json"))  # doctest: +SKIP
        trace.json: 15 operators with 120 FLOPs.

        The profiler may begin before the block or inside, and record parts of it, as with a schedule.

        Args:
            trace: The file that ``prof.export_chrome_trace`` wrote, which may be compressed by gzip; or its content, as
                ``json.load`` reads it; or the profiler itself, once it has stopped, if it has exported nothing yet.
            out: The file to write; compressed if its name ends in ``.json.gz``.

        Returns:
            What was annotated, and what the profile counted beside.

        Raises:
            ProfileError: The trace is of another block, is not whole, or is no Chrome trace; or the profile has no
                calls of a recording, because it was read from a file, say.
        """
        from opflops.report.files.chrome_trace import annotate  # noqa: PLC0415 - keeps import opflops fast
        from opflops.report.files.trace_events import check_out, read_trace, write_trace  # noqa: PLC0415 - as above

        check_out(out)
        recordings: Recordings | None = self._recordings
        if recordings is None:
            raise ProfileError(_NO_RECORDING)
        recordings.check_concrete()
        document, operators, kernels, calls, cost = annotate(read_trace(trace), recordings)
        write_trace(document, out)
        return AnnotatedTrace(os.fspath(out), operators, kernels, calls, cost, self.total + -1 * cost)


def keep_recordings(profile: TraceAnnotation, recordings: Recordings | None) -> None:
    """Let a new profile keep the calls of recordings."""
    object.__setattr__(profile, "_recordings", recordings)
