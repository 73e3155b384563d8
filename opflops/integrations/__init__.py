"""Integrations into other programs, such as the pytest plugin. Importing them does not import PyTorch.

May import everything but the command line; nothing in opflops imports it.
"""
