"""Whose work an operator is: the stack of running modules, owners of autograd nodes, and the patches that keep them.

May import ``torch_internals`` only; the dispatch mode and counting without running import it.
"""
