"""Renderers: pure functions from recorded rows to text. None of them ever sees a tensor."""

from opflops.report.codec import document, dump, load
from opflops.report.growth import lines_of_growth
from opflops.report.notes import Symbolic
from opflops.report.rooflines import lines_of_roofline
from opflops.report.tables import overview, table

__all__ = ["Symbolic", "document", "dump", "lines_of_growth", "lines_of_roofline", "load", "overview", "table"]
