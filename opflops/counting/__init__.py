"""Count without running: the program is called on fake tensors, whose sizes are numbers or symbols.

May import ``mode`` and everything below it; the command line, the integrations and the package's root import it.
"""
