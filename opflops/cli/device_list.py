"""``opflops devices``: list the devices of ``--roofline`` and ``--fits``, or show one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tabulate import tabulate_formats

from opflops.cli import output
from opflops.cli.arguments import Parser, add_general_options, choice
from opflops.cli.rendering import get_device
from opflops.devices import DEVICES
from opflops.report.text.device_table import DATA_FORMATS, format_device, format_devices

if TYPE_CHECKING:
    from collections.abc import Sequence

_FORMATS = (*DATA_FORMATS, *tabulate_formats)


def parser() -> Parser:
    """Make the parser of the subcommand's arguments."""
    made = Parser(
        "opflops devices",
        "List the devices of --roofline and --fits by the makers' datasheets: memory in\n"
        "GB, bandwidth in TB/s, and peak TFLOP/s without sparsity (one multiply-add is 2\n"
        "FLOPs). With a name, show one device with its ridge points and its source.",
        "DEVICE can be PyTorch's name too: NVIDIA H100 PCIe. cpu and cuda are those of\n"
        "this machine, measured. The suffix :tf32, as in h100-sxm:tf32, computes float32\nin TF32.",
    )
    group = made.add_argument_group("arguments")
    group.add_argument("name", metavar="DEVICE", nargs="*", help="the device to show")
    group.add_argument("--format", default="simple", metavar="NAME", type=choice("format", _FORMATS),
                       choices=_FORMATS, help="json, csv, or a table of tabulate: simple, github …")  # fmt: skip
    add_general_options(made)
    return made


def command(argv: Sequence[str]) -> int:
    """List the devices, or show one, and return the exit code."""
    given = parser().parse_args(argv)
    if not given.name:
        output.show(format_devices(list(DEVICES.values()), given.format))
        return 0
    device = get_device(" ".join(given.name))
    output.show(format_device(device) if given.format == "simple" else format_devices([device], given.format))
    return 0
