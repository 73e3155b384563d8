"""Write stacks of modules and operators with their own counts, for flame graphs: as folded lines or for speedscope."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from opflops.records.garbage_collection import with_gc_disabled
from opflops.records.rows import ancestry
from opflops.report.files.counts import SECONDS, rows_with_measure
from opflops.report.text.tree import OUTSIDE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opflops.records.rows import Row

SCHEMA = "https://www.speedscope.app/file-format-schema.json"
_MICROSECONDS = 1_000_000
_RESERVED = re.compile(r"[;%\s]|[^ -~\u00a1-\uffff\U00010000-\U0010ffff]|[\ud800-\udfff]")


@with_gc_disabled
def folded(rows: Sequence[Row], measure: str = "flops") -> str:
    """Write a line for each distinct stack: its frames separated by ``;``, a space, and its own count.

    >>> from opflops.records.cost import Cost
    >>> from opflops.records.rows import Row
    >>> print(folded([Row("Net.fc", "Linear", "aten.addmm", "forward", "float32", 1, Cost(macs=4))]))
    Net;fc;aten.addmm 8

    flamegraph.pl, inferno and speedscope read this. The frames are the modules, outermost first, then the operator. If
    there are several phases, the phase is the first frame, so that each phase has its own tower in the graph. The lines
    add up to the total; stacks that count 0 are omitted. In names, ``;``, ``%`` and whitespace are percent-encoded
    (``%3B``).

    Args:
        rows: The rows to show. Counts include floating-point rows only, and add up to the totals. Time includes all
            rows, since integer work takes time too, so seconds may add up to more than those of tables.
        measure: ``"flops"``, ``"macs"``, ``"ops"``, ``"transcendentals"``, ``"bytes"`` (or ``"bytes_read"``,
            ``"bytes_written"``), or ``"seconds"``, which is written in whole microseconds.

    Raises:
        ProfileError: The measure is unknown, nothing was timed, or a count is an expression or negative.
    """
    pairs = rows_with_measure(rows, measure)
    phases = len({row.phase for row, _ in pairs}) > 1
    counts: dict[str, float] = {}
    modules = {path: ";".join(map(_escape, _module_names(path))) for path in {row.module for row, _ in pairs}}
    names = {name: _escape(name) for row, _ in pairs for name in (row.op, row.phase)}
    for row, count in pairs:
        line = f"{modules[row.module]};{names[row.op]}"
        if phases:
            line = f"{names[row.phase]};{line}"
        counts[line] = counts.get(line, 0) + count
    whole = {line: round(count * _MICROSECONDS) if measure == SECONDS else count for line, count in counts.items()}
    return "\n".join(f"{line} {count}" for line, count in whole.items() if count)


@with_gc_disabled
def speedscope(rows: Sequence[Row], measure: str = "flops") -> str:
    """Write a file for https://www.speedscope.app: a profile of all work, and one for each of several phases.

    Each is what speedscope calls a sampled profile: stacks with weights. Each module has its own frame, with its path
    in the ``file`` field, so that two modules of one name stay apart. An operator has one frame in all modules, so that
    the sandwich view adds it up.

    Args:
        rows: As for :func:`folded`.
        measure: As for :func:`folded`. The unit is bytes, seconds, or none for other counts.

    Raises:
        ProfileError: As for :func:`folded`.
    """
    pairs = rows_with_measure(rows, measure)
    frames: dict[tuple[str, str], int] = {}
    of_modules: dict[str, list[int]] = {}
    stacks = []
    for row, _ in pairs:
        stack = of_modules.get(row.module)
        if stack is None:
            stack = of_modules[row.module] = [frames.setdefault(frame, len(frames)) for frame in _frames(row.module)]
        stacks.append([*stack, frames.setdefault((row.op, ""), len(frames))])
    phases = dict.fromkeys(row.phase for row, _ in pairs)
    several = {"all phases": set(phases)} if len(phases) != 1 else {}
    profiles = []
    for name, included in (several | {phase: {phase} for phase in phases}).items():
        samples = [(stack, count) for stack, (row, count) in zip(stacks, pairs, strict=True) if row.phase in included]
        profiles.append(_sampled_profile(f"{name}: {measure}", measure, samples))
    roots = dict.fromkeys(row.module.partition(".")[0] or OUTSIDE for row, _ in pairs)
    written = {
        "$schema": SCHEMA,
        "exporter": "opflops",
        "name": f"{measure} of {', '.join(roots) or 'nothing'}",
        "activeProfileIndex": 0,
        "shared": {"frames": [{"name": name, **({"file": path} if path else {})} for name, path in frames]},
        "profiles": profiles,
    }
    return json.dumps(written)


def _sampled_profile(name: str, measure: str, samples: Sequence[tuple[list[int], float]]) -> dict[str, Any]:
    units = {SECONDS: "seconds", "bytes": "bytes", "bytes_read": "bytes", "bytes_written": "bytes", "sent": "bytes"}
    weights = [weight for _, weight in samples]
    return {
        "type": "sampled",
        "name": name,
        "unit": units.get(measure, "none"),
        "startValue": 0,
        "endValue": sum(weights),
        "samples": [stack for stack, _ in samples],
        "weights": weights,
    }


def _module_names(path: str) -> list[str]:
    return path.split(".") if path else [OUTSIDE]


def _frames(module: str) -> list[tuple[str, str]]:
    """List the frames of a module, outermost first, each with its name and path."""
    paths = ancestry(module) if module else []
    return [(path.rpartition(".")[2], path) for path in paths] or [(OUTSIDE, "")]


def _escape(name: str) -> str:
    """Percent-encode separators of frames and lines, and unprintable characters."""
    escaped = _RESERVED.sub(lambda found: _percent_encode(found.group()), name)
    if escaped.isprintable():
        return escaped
    return "".join(each if each.isprintable() else _percent_encode(each) for each in escaped)


def _percent_encode(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))
