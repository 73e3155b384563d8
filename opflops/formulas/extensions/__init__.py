"""Formulas of operators that exist only once some module is imported, and so are registered by name.

May import the formulas beside it and what those may import; the package of formulas imports it.
"""
