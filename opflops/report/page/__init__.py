"""The page: a profile as one HTML file that needs no network, with plotly's script, the page's own and the data in it.

Python writes the rows. The scripts beside this file compute the sums under the chosen filters, and every chart, in the
browser. May import what is beside it in ``report`` and ``devices``; ``profile`` imports it.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING, Any, TypedDict

from opflops.devices import datasheets as devices
from opflops.errors import ProfileError
from opflops.extras import optional
from opflops.report.notes import NUMBERS
from opflops.report.page.data import device_data, profile_data
from opflops.wording import nearest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opflops.devices import Device
    from opflops.records.rows import Row
    from opflops.report.notes import Symbolic

MEASURES = ("flops", "macs", "transcendentals", "bytes", "seconds", "calls")

# In this order they are one script; page.js starts it.
_SCRIPTS = ("numbers.js", "profile.js", "search.js", "colors.js", "cells.js", "tree.js", "hierarchy.js",
            "operators.js", "roofline.js", "charts.js", "page.js")  # fmt: skip


class PageOptions(TypedDict, total=False):
    """Name the keyword options of :func:`page`, for those who pass them on."""

    title: str | None
    device: str | Device | None
    tf32: bool
    measure: str
    about: Mapping[str, str] | None


def page(
    rows: Sequence[Row],
    symbolic: Symbolic = NUMBERS,
    *,
    title: str | None = None,
    device: str | Device | None = None,
    tf32: bool = False,
    measure: str = "flops",
    about: Mapping[str, str] | None = None,
) -> str:
    """Write one HTML page that opens from disk: module tree, icicle or treemap, operators, and a roofline.

    Args:
        rows: What to show.
        symbolic: What there is to say of costs that are expressions; charts are drawn at the dimensions' examples.
        title: By default the names of the outermost modules.
        device: To draw the roofline of; without one it is drawn, without a roof, where rows were timed.
        tf32: Whether float32 products run in TF32 on the device.
        measure: What is shown first: ``"flops"``, ``"macs"``, ``"transcendentals"``, ``"bytes"``, ``"seconds"`` or
            ``"calls"``.
        about: Facts to show below the title, such as the inputs.

    Raises:
        MissingExtraError: plotly is not installed; the message says how to install it.
        ProfileError: There is no such measure or device, or a count is symbolic to PyTorch.
    """
    plotly = optional("plotly.offline", "html", "The HTML page")
    timed = any(row.seconds is not None for row in rows if row.floating)
    _check_measure(measure, timed=timed)
    known = None if device is None else device_data(rows, devices.device(device), tf32=tf32)
    heading = title or _default_title(rows)
    facts = "".join(
        f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(str(fact))}</dd></div>"
        for name, fact in (about or {}).items()
    )
    script = '\n(() => {\n"use strict";\n' + "\n".join(map(_read_part, _SCRIPTS)) + "})();\n"
    library = _normalize_newlines(plotly.get_plotlyjs())
    return Template(_read_part("page.html")).substitute(
        policy=_content_security_policy(script, library),
        title=html.escape(heading),
        facts=facts,
        style=_read_part("page.css"),
        script=script,
        library=library,
        data=embed_json({"title": heading, "measure": measure, "device": known, **profile_data(rows, symbolic)}),
    )


def embed_json(value: Any) -> str:
    """Write a value as JSON that neither ends the script element that it stands in nor begins anything in it."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _read_part(name: str) -> str:
    return _normalize_newlines((files(__package__) / name).read_text(encoding="utf-8"))


def _normalize_newlines(text: str) -> str:
    """End lines as a browser reads them; what it runs is to have the digest that the policy names."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _content_security_policy(*scripts: str) -> str:
    """Write a policy that lets these scripts run, in a page that loads and sends nothing; plotly needs the styles."""
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


def _default_title(rows: Sequence[Row]) -> str:
    names = list(dict.fromkeys(row.module.partition(".")[0] for row in rows if row.module))
    if len(names) > 3:  # noqa: PLR2004 - as many as a heading holds
        return f"{', '.join(names[:3])} and {len(names) - 3} more"
    return ", ".join(names) or "Profile"
