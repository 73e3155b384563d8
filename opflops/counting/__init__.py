"""Count without running: a program is called on fake tensors, with sizes that are numbers or symbols.

May import ``mode`` and everything below it; the command line, the integrations and the package's root import it.
"""
