"""Reports: pure functions from recorded rows to terminal text (``text``), files (``files``) and a page (``page``).

None of them ever sees a tensor. May import ``records``, ``devices`` and ``units``; ``profile`` and the command line
import it.
"""

from opflops.report.files.codec import document, dump
from opflops.report.files.csv_rows import csv_modules, csv_rows
from opflops.report.files.mermaid import mermaid
from opflops.report.files.reading import load
from opflops.report.files.stacks import folded, speedscope
from opflops.report.notes import Symbolic
from opflops.report.text.bottlenecks_table import format_bottlenecks
from opflops.report.text.communication_table import format_communication
from opflops.report.text.facts_table import format_facts
from opflops.report.text.roofline_table import format_roofline_table
from opflops.report.text.scaling_table import format_scaling_table
from opflops.report.text.tables import overview, table

__all__ = [
    "Symbolic",
    "csv_modules",
    "csv_rows",
    "document",
    "dump",
    "folded",
    "format_bottlenecks",
    "format_communication",
    "format_facts",
    "format_roofline_table",
    "format_scaling_table",
    "load",
    "mermaid",
    "overview",
    "speedscope",
    "table",
]
