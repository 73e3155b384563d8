"""What tests need that may not be there: without it they are skipped, unless OPFLOPS_REQUIRE names it."""

import os
from importlib import import_module

import pytest


def absent(what, reason):
    """End a test that needs something which is not there; continuous integration requires all of it.

    Args:
        what: ``"browser"``, ``"frames"``, ``"mermaid"``, ``"models"``, ``"notebook"``, ``"plot"`` or ``"speedscope"``.
        reason: What is missing.
    """
    if what in os.environ.get("OPFLOPS_REQUIRE", "").split(","):
        pytest.fail(f"{reason}, and OPFLOPS_REQUIRE names {what}")
    pytest.skip(reason)


def models(name):
    """Import a package of other people's models."""
    try:
        return import_module(name)
    except (ImportError, RuntimeError) as error:
        # torchvision beside a torch that it was not built for fails with a RuntimeError.
        return absent("models", f"{name} does not import ({error})")
