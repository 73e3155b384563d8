"""Reports as text for a terminal: tables, module trees, comparisons, rooflines.

May import what is beside it in ``report``, ``devices``, ``units`` and ``records``; the other reports may import it.
"""
