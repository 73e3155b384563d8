"""The page: a profile as one HTML file that needs no network. It contains plotly, the page's scripts and the data.

Python writes the rows. The scripts beside this file compute sums under filters and draw charts in the browser.
May import the rest of ``report``, and ``devices``; ``profile`` imports it.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Mapping
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING, Any, TypedDict

from opflops.devices import device as find_device
from opflops.errors import ProfileArgumentError, ProfileError
from opflops.extras import optional
from opflops.records.arguments import check_flag, check_text, describe, explain_arguments
from opflops.records.datasheets import split_tf32
from opflops.records.garbage_collection import with_gc_disabled
from opflops.records.rows import floating_rows
from opflops.report.notes import NUMBERS
from opflops.report.page.bottleneck_data import bottleneck_data
from opflops.report.page.data import device_data, profile_data
from opflops.report.page.module_data import call_facts
from opflops.wording import nearest, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opflops.devices import Device
    from opflops.records.bottlenecks import Ranking
    from opflops.records.memory import Memory
    from opflops.records.modules import ModuleRecord
    from opflops.records.rows import Row
    from opflops.report.notes import Symbolic

MEASURES = ("flops", "macs", "transcendentals", "bytes", "seconds", "activations", "sent", "calls")

# They are concatenated in this order; page.js starts the page.
_SCRIPTS = ("numbers.js", "profile.js", "search.js", "facts.js", "colors.js", "tables.js", "cells.js",
            "tree_columns.js", "tree.js", "hierarchy.js", "operators.js", "roofline.js", "bottlenecks.js", "memory.js",
            "timeline.js", "ranks.js", "charts.js", "page.js")  # fmt: skip
_STYLES = ("page.css", "tables.css", "tree.css")


class PageOptions(TypedDict, total=False):
    """List the keyword options of :func:`page`, for functions that pass them on."""

    title: str | None
    device: str | Device | None
    tf32: bool
    measure: str
    about: Mapping[str, str] | None
    fits: str | Device | float | None


@with_gc_disabled
@explain_arguments(error=ProfileArgumentError)
def page(
    rows: Sequence[Row],
    symbolic: Symbolic = NUMBERS,
    *,
    modules: Sequence[ModuleRecord] = (),
    memory: Memory | None = None,
    ranking: Ranking | None = None,
    refusal: str = "",
    title: str | None = None,
    device: str | Device | None = None,
    tf32: bool = False,
    measure: str = "flops",
    about: Mapping[str, str] | None = None,
    fits: str | Device | float | None = None,
) -> str:
    """Write one HTML page that opens from disk: module tree, icicle or treemap, operators, and a roofline.

    Args:
        rows: The rows to show.
        symbolic: The dimensions of costs that are expressions; charts are drawn at their example sizes.
        modules: What is known of the modules; without them there are no parameters and shapes.
        memory: What was kept in memory; without it there is no chart of it.
        ranking: Modules and operators by time; without it there is no list of them.
        refusal: Why there is none, or one by times alone; "" if that is what was asked for.
        title: The heading; by default the names of the outermost modules.
        device: The device of the roofline. Without a device, timed rows are drawn without a roof.
        tf32: Whether float32 matmuls run in TF32 on the device.
        measure: The measure shown first: ``"flops"``, ``"macs"``, ``"transcendentals"``, ``"bytes"``,
            ``"seconds"``, ``"activations"``, ``"sent"`` or ``"calls"``.
        about: Facts to show below the title; by default the inputs of the models and how many parameters they have.
        fits: What the peak of memory is compared with, as for :meth:`opflops.records.memory.Memory.fits`; by default
            ``device``, if it is known how much memory that has.

    Raises:
        MissingExtraError: plotly is not installed; the message says how to install it.
        ProfileError: The measure or the device is unknown, a count is a SymInt, or ``fits`` is given and memory was not
            followed.
    """
    check_text("measure", measure, "measure='macs'")
    check_flag("tf32", tf32)
    if title is not None:
        check_text("title", title, "title='GPT-2'")
    if about is not None and not isinstance(about, Mapping):
        raise ProfileArgumentError(
            f"about must be a dict of facts, as in {{'inputs': '1x1024'}}, not {describe(about)}."
        )
    plotly = optional("plotly.offline", "html", "The HTML page")
    timed = any(row.seconds is not None for row in floating_rows(rows))
    _check_measure(measure, timed=timed)
    plain, with_tf32 = (None, False) if device is None else split_tf32(device)
    found = None if plain is None else find_device(plain)
    roof = None if found is None else device_data(rows, found, tf32=tf32 or with_tf32)
    if fits is not None and memory is None:
        raise ProfileError("fits compares the peak of memory, which was not followed. Count with memory=True.")
    if fits is None and found is not None and found.memory is not None:
        fits = found
    fit = None if memory is None or fits is None else memory.fits(fits)
    heading = printable(title or default_title(rows))
    facts = "".join(
        f"<div><dt>{html.escape(printable(name))}</dt><dd>{html.escape(printable(str(fact)))}</dd></div>"
        for name, fact in (call_facts(modules) if about is None else about).items()
    )
    script = '\n(() => {\n"use strict";\n' + "\n".join(map(_read_part, _SCRIPTS)) + "})();\n"
    library = _normalize_newlines(plotly.get_plotlyjs())
    return Template(_read_part("page.html")).substitute(
        policy=_content_security_policy(script, library),
        title=html.escape(heading),
        facts=facts,
        style="\n".join(map(_read_part, _STYLES)),
        script=script,
        library=library,
        data=embed_json(
            {
                "title": heading,
                "measure": measure,
                "device": roof,
                "bottlenecks": bottleneck_data(ranking, refusal),
                "fit": None if fit is None else [printable(str(fit)), bool(fit)],
                **profile_data(rows, symbolic, modules, memory),
            }
        ),
    )


def embed_json(value: Any) -> str:
    """Write a value as JSON that is safe inside a script element, since ``<``, ``>`` and ``&`` are escaped."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _read_part(name: str) -> str:
    return _normalize_newlines((files(__package__) / name).read_text(encoding="utf-8"))


def _normalize_newlines(text: str) -> str:
    """Normalize line endings as a browser does, so that the script matches its digest in the policy."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _content_security_policy(*scripts: str) -> str:
    """Write a policy that allows only these scripts, and no requests; plotly needs inline styles."""
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _check_measure(measure: str, *, timed: bool) -> None:
    if measure not in MEASURES:
        near = nearest(measure, MEASURES, 1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise ProfileError(f"The page cannot show {measure!r}; it can show {', '.join(MEASURES)}{hint}")
    if measure == "seconds" and not timed:
        raise ProfileError(
            "The page cannot show 'seconds', since nothing was timed. Count with OpFlopMode(timing=True)."
        )


def default_title(rows: Sequence[Row]) -> str:
    """Name the outermost modules, or say how many they are."""
    names = list(dict.fromkeys(row.module.partition(".")[0] for row in rows if row.module))
    if len(names) > 3:  # noqa: PLR2004 - as many as a heading holds
        return f"{', '.join(names[:3])} and {len(names) - 3} more"
    return ", ".join(names) or "Profile"
