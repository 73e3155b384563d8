"""Count without running, on fake tensors whose sizes are numbers or symbols; and time a step by running it repeatedly.

May import ``mode`` and everything below it; the command line, the integrations and the package's root import it.
"""
