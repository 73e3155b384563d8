"""opflops inside other programs, such as the pytest plugin. Importing one of these imports no PyTorch.

May import everything but the command line; nothing in opflops imports it.
"""
