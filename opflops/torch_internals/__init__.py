"""Every private PyTorch interface that opflops relies on, one file for each theme.

Tried on torch 2.6.0, 2.13.0 and 2.14.1; 2.6 runs no higher-order operator under any mode. Each function has a test in
``tests/test_torch_internals.py`` that fails if its meaning changes. May import ``records``; every package that sees
tensors imports it.
"""
