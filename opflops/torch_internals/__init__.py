"""All private PyTorch interfaces that opflops relies on, one file for each theme.

Tried on torch 2.12.0, 2.13.0 and 2.14.1. Each function has a test that
fails if PyTorch changes its meaning, in ``tests/test_torch_internals.py``, ``tests/test_symbolic_shapes.py`` or
``tests/test_symbolic_composites.py``.

May import ``records``; every package that sees tensors imports it.
"""
