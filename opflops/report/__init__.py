"""Renderers: pure functions from recorded rows to text. None of them ever sees a tensor."""

from opflops.report.codec import dump, load
from opflops.report.growth import lines_of_growth
from opflops.report.tables import overview, table

__all__ = ["dump", "lines_of_growth", "load", "overview", "table"]
