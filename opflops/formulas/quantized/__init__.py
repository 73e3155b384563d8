"""Formulas of operators on quantized tensors and in low precision.

May import the other formulas and what they may import. ``opflops.formulas`` imports it.
"""
