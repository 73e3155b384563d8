"""The module and phase that an operator belongs to: module stack, owners of autograd nodes, patches that maintain them.

May import ``torch_internals`` only; the dispatch mode and counting without running import it.
"""
