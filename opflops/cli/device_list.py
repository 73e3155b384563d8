"""``opflops devices``: list the devices of ``--roofline`` and ``--fits``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tabulate import tabulate, tabulate_formats

from opflops.cli import output
from opflops.cli.arguments import Parser, add_general_options, choice
from opflops.devices import DEVICES
from opflops.report.text.sheet import Label, Sheet, render

if TYPE_CHECKING:
    from collections.abc import Sequence

_GIGA, _TERA = 1e9, 1e12


def parser() -> Parser:
    """Make the parser of the subcommand's arguments."""
    made = Parser(
        "opflops devices",
        "List the devices of --roofline and --fits: peak TFLOP/s without sparsity (one\n"
        "multiply-add is 2 FLOPs), bandwidth in TB/s and memory in GB, from the makers'\ndatasheets.",
        "--roofline and --fits take cpu and cuda too, which are those of this machine.\n"
        "A suffix :tf32, as in h100-sxm:tf32, computes float32 in TF32, as CUDA does in\nconvolutions.",
    )
    group = made.add_argument_group("arguments")
    group.add_argument("--format", default="simple", metavar="NAME", type=choice("format", tabulate_formats),
                       choices=tabulate_formats, help="table format of tabulate: simple, github, tsv …")  # fmt: skip
    add_general_options(made)
    return made


def command(argv: Sequence[str]) -> int:
    """List the devices, and return the exit code."""
    given = parser().parse_args(argv)
    # In the order of the device that has the most dtypes.
    dtypes = list(max(DEVICES.values(), key=lambda device: len(device.peaks)).peaks)
    rows = [
        [
            name,
            *(f"{device.peaks[dtype] / _TERA:,.4g}" if dtype in device.peaks else "" for dtype in dtypes),
            f"{device.bandwidth / _TERA:.4g}",
            "" if device.memory is None else f"{device.memory / _GIGA:.4g}",
            *([] if given.format == "simple" else [device.source]),
        ]
        for name, device in DEVICES.items()
    ]
    if given.format == "simple":
        names, *columns = zip(*rows, strict=True)
        sheet = Sheet("device", list(map(Label, names)), [*dtypes, "TB/s", "GB"], columns, has_total=False)
        output.show(render(sheet, "simple", color=False))
        return 0
    headers = ["device", *dtypes, "TB/s", "GB", "source"]
    aligned = ("left", *["right"] * (len(dtypes) + 2))
    output.show(tabulate(rows, headers, tablefmt=given.format, colalign=aligned, disable_numparse=True))
    return 0
