"""Recorded work and queries on it: totals, groups, rooflines, scaling, budgets.

Pure functions of recorded rows. May import ``report``, ``devices``, ``units`` and ``records``, and ``pricing`` and
``torch_internals`` to look up names of operators; the dispatch mode and all packages above it import it.
"""
