"""Errors that are also what the other counter raises, so that a program that catches that one works as before."""

from __future__ import annotations

from opflops.errors import ArgumentError, OpflopsError


class PeerArgumentError(ArgumentError, AssertionError):
    """Report an argument that cannot be used; also an ``AssertionError``, which the other counters raise."""


class NotProfiledError(OpflopsError, AttributeError):
    """Report a question about a module that no profiler counts; also an ``AttributeError``.

    The other counters keep their figures in attributes of the modules, which are missing then.
    """
