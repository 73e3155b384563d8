"""``opflops devices``: the devices that ``--roofline`` knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tabulate import tabulate, tabulate_formats

from opflops.cli import output
from opflops.cli.arguments import Parser, general, one_of
from opflops.devices import DEVICES
from opflops.report.text.sheet import Label, Sheet, render

if TYPE_CHECKING:
    from collections.abc import Sequence

_TERA = 1e12


def parser() -> Parser:
    """Make the parser of the subcommand's arguments."""
    made = Parser(
        "opflops devices",
        "List the devices that --roofline knows: peaks in TFLOP/s, dense, a multiply-add\nbeing two, and bandwidths in "
        "TB/s, from their makers' datasheets.",
        "--roofline cpu and --roofline cuda measure the device at hand instead.\n"
        "With :tf32, as in h100-sxm:tf32, float32 is computed in TF32, as CUDA does in\nconvolutions.",
    )
    group = made.add_argument_group("arguments")
    group.add_argument("--format", default="simple", metavar="NAME", type=one_of("format", tabulate_formats),
                       choices=tabulate_formats, help="a table format of tabulate: github, tsv, html …")  # fmt: skip
    general(made)
    return made


def command(argv: Sequence[str]) -> int:
    """List the devices; returns the exit code."""
    given = parser().parse_args(argv)
    # In the order of those devices that have all.
    dtypes = list(max(DEVICES.values(), key=lambda device: len(device.peaks)).peaks)
    lines = [
        [
            name,
            *(f"{device.peaks[dtype] / _TERA:,.4g}" if dtype in device.peaks else "" for dtype in dtypes),
            f"{device.bandwidth / _TERA:.4g}",
            *([] if given.format == "simple" else [device.source]),
        ]
        for name, device in DEVICES.items()
    ]
    if given.format == "simple":
        names, *columns = zip(*lines, strict=True)
        sheet = Sheet("device", list(map(Label, names)), [*dtypes, "TB/s"], columns, has_total=False)
        output.show(render(sheet, "simple", color=False))
        return 0
    headers = ["device", *dtypes, "TB/s", "source"]
    aligned = ("left", *["right"] * (len(dtypes) + 1))
    output.show(tabulate(lines, headers, tablefmt=given.format, colalign=aligned, disable_numparse=True))
    return 0
