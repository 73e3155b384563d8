"""Stacks of modules and operators with their own counts, for flame graphs: as folded lines and for speedscope."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from opflops.records.rows import ancestry
from opflops.report.files.counts import SECONDS, rows_with_measure
from opflops.report.text.tree import OUTSIDE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opflops.records.rows import Row

SCHEMA = "https://www.speedscope.app/file-format-schema.json"
_MICRO = 1_000_000
_RESERVED = re.compile(r"[;%\s]|[^ -~\u00a1-\uffff\U00010000-\U0010ffff]|[\ud800-\udfff]")


def folded(rows: Sequence[Row], measure: str = "flops") -> str:
    """Write a line for each distinct stack: its frames with ``;`` between, a space, and its own count.

    >>> from opflops.records.cost import Cost
    >>> from opflops.records.rows import Row
    >>> print(folded([Row("Net.fc", "Linear", "aten.addmm", "forward", "float32", 1, Cost(macs=4))]))
    Net;fc;aten.addmm 8

    flamegraph.pl, inferno and speedscope read this. The frames are the modules, outermost first, then the operator;
    where there is work of several phases, the phase is the first frame, so that a graph has a tower for each. The lines
    add up to the total: stacks that count nothing are left out. In names, ``;``, ``%`` and whitespace are written as in
    addresses (``%3B``).

    Args:
        rows: What to show: the floating-point rows for counts, which add up to the totals; all rows for time, since
            integer work takes time too, so that seconds add up to more than those of tables where there is such work.
        measure: ``"flops"``, ``"macs"``, ``"ops"``, ``"transcendentals"``, ``"bytes"`` (or ``"bytes_read"``,
            ``"bytes_written"``), or ``"seconds"``, which is written in whole microseconds.

    Raises:
        ProfileError: There is no such measure, nothing was timed, or a count is an expression or negative.
    """
    pairs = rows_with_measure(rows, measure)
    phases = len({row.phase for row, _ in pairs}) > 1
    counts: dict[str, float] = {}
    for row, count in pairs:
        frames = [*([row.phase] if phases else []), *_names(row)]
        line = ";".join(map(_escaped, frames))
        counts[line] = counts.get(line, 0) + count
    whole = {line: round(count * _MICRO) if measure == SECONDS else count for line, count in counts.items()}
    return "\n".join(f"{line} {count}" for line, count in whole.items() if count)


def speedscope(rows: Sequence[Row], measure: str = "flops") -> str:
    """Write a file for https://www.speedscope.app: a profile of all work and, of several phases, one for each.

    Each is of the kind that speedscope calls sampled: stacks with weights. The frame of a module is its own, so that
    two modules of one name stay apart, and has its path in the place of a file. That of an operator is the same
    everywhere, so that the sandwich view adds it up.

    Args:
        rows: As for :func:`folded`.
        measure: As for :func:`folded`. The unit is bytes, seconds, or none for other counts.

    Raises:
        ProfileError: As for :func:`folded`.
    """
    pairs = rows_with_measure(rows, measure)
    frames: dict[tuple[str, str], int] = {}
    stacks = [[frames.setdefault(frame, len(frames)) for frame in _frames(row)] for row, _ in pairs]
    phases = dict.fromkeys(row.phase for row, _ in pairs)
    several = {"all phases": set(phases)} if len(phases) != 1 else {}
    profiles = []
    for name, wanted in (several | {phase: {phase} for phase in phases}).items():
        samples = [(stack, count) for stack, (row, count) in zip(stacks, pairs, strict=True) if row.phase in wanted]
        profiles.append(_sampled(f"{name}: {measure}", measure, samples))
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


def _sampled(name: str, measure: str, samples: Sequence[tuple[list[int], float]]) -> dict[str, Any]:
    units = {SECONDS: "seconds", "bytes": "bytes", "bytes_read": "bytes", "bytes_written": "bytes"}
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


def _names(row: Row) -> list[str]:
    return [*(row.module.split(".") if row.module else [OUTSIDE]), row.op]


def _frames(row: Row) -> list[tuple[str, str]]:
    """List the frames of a row, each with its name and, for a module, its path."""
    paths = ancestry(row.module) if row.module else []
    modules = [(path.rpartition(".")[2], path) for path in paths] or [(OUTSIDE, "")]
    return [*modules, (row.op, "")]


def _escaped(name: str) -> str:
    """Write what separates frames and lines, and what cannot be printed, as in addresses."""
    return _RESERVED.sub(lambda found: _percent(found.group()), name)


def _percent(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))
