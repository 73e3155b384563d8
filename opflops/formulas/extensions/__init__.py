"""Formulas of operators that exist only once some module is imported, and so are registered by name.

May import the other formulas and what they may import. ``opflops.formulas`` imports it.
"""
