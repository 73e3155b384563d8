"""Figures of devices from the makers' documents, in tables that can be held beside those documents.

May import ``errors``; ``records.datasheets`` imports it.

A table is text. A line ``source:`` names the document of the devices below it, up to the next ``source:``; ``note:``
says what else is to be known of them. The line of a device has its name, its memory in GB, the bandwidth of that memory
in TB/s, and its peaks without sparsity in TFLOP/s (TOP/s for ``i8``, 8-bit integers); a multiply-add is two operations.
A dash is a figure that the document leaves open. After the bar stands the name that PyTorch gives the device; further
names follow on lines of their own. A line with ``#`` is a comment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from opflops.records.device_tables.amd import INSTINCT
from opflops.records.device_tables.nvidia import DATA_CENTER, GEFORCE, WORKSTATION
from opflops.records.device_tables.others import APPLE, GAUDI, TPU

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

TABLES = {
    "NVIDIA data center": DATA_CENTER,
    "NVIDIA workstation": WORKSTATION,
    "NVIDIA GeForce": GEFORCE,
    "AMD Instinct": INSTINCT,
    "Intel Gaudi": GAUDI,
    "Google TPU": TPU,
    "Apple": APPLE,
}
"""The tables by family of devices."""

DTYPES = ("float64", "float32", "tf32", "float16", "bfloat16", "float8", "float4", "int8")
"""The columns of peaks."""

_OPEN = "-"


class Datasheet(NamedTuple):
    """Hold what a document states of a device.

    Attributes:
        name: Our name of the device.
        family: The family that it is listed with.
        memory: In bytes; None if it is sold with several sizes.
        bandwidth: In bytes per second.
        peaks: In FLOP/s by dtype, without those that the document leaves open.
        source: The document.
        note: What else is to be known; "" for nothing.
        torch_names: PyTorch's names of it.
    """

    name: str
    family: str
    memory: float | None
    bandwidth: float
    peaks: Mapping[str, float]
    source: str
    note: str
    torch_names: tuple[str, ...]


def read_tables() -> Iterator[Datasheet]:
    """Read all tables, in their order."""
    for family, table in TABLES.items():
        yield from read_table(family, table)


def read_table(family: str, table: str) -> list[Datasheet]:
    """Read the table of a family of devices."""
    found: list[Datasheet] = []
    source = note = ""
    for line in table.strip().splitlines()[1:]:
        keyword, _, text = line.partition(":")
        figures, bar, torch_name = (part.strip() for part in line.partition("|"))
        if not line or line.startswith("#"):
            continue
        if keyword == "source":
            source, note = text.strip(), ""
        elif keyword == "note":
            note = text.strip()
        elif bar and not figures:
            found[-1] = found[-1]._replace(torch_names=(*found[-1].torch_names, torch_name))
        else:
            name, memory, bandwidth, *peaks = figures.split()
            found.append(
                Datasheet(
                    name,
                    family,
                    None if memory == _OPEN else float(f"{memory}e9"),
                    float(f"{bandwidth}e12"),
                    {dtype: float(f"{peak}e12") for dtype, peak in zip(DTYPES, peaks, strict=True) if peak != _OPEN},
                    source,
                    note,
                    (torch_name,) if torch_name else (),
                )
            )
    return found
