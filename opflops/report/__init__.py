"""Renderers: pure functions from recorded rows to text. None of them ever sees a tensor."""

from opflops.report.codec import document, dump, load
from opflops.report.csv_rows import csv_rows
from opflops.report.growth import lines_of_growth
from opflops.report.mermaid import mermaid
from opflops.report.notes import Symbolic
from opflops.report.rooflines import lines_of_roofline
from opflops.report.stacks import folded, speedscope
from opflops.report.tables import overview, table

__all__ = [
    "Symbolic",
    "csv_rows",
    "document",
    "dump",
    "folded",
    "lines_of_growth",
    "lines_of_roofline",
    "load",
    "mermaid",
    "overview",
    "speedscope",
    "table",
]
