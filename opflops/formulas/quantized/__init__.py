"""Formulas of operators on quantized tensors and in low precision.

May import the formulas beside it and what those may import; the package of formulas imports it.
"""
