"""The command line: ``opflops [TARGET] [--input SPEC]…``."""

from opflops.cli.main import main

__all__ = ["main"]
