"""Optional packages, imported when they are needed and not before."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from opflops.errors import MissingExtraError


def optional(module: str, extra: str, purpose: str) -> Any:
    """Import a module of an optional package.

    Args:
        module: Its name, such as ``"plotly.offline"``.
        extra: The extra of opflops that installs it.
        purpose: What needs it, as the beginning of a sentence: ``"The HTML page"``.

    Raises:
        MissingExtraError: It is not installed, or fails to import; the message gives the line that installs it.
    """
    try:
        return import_module(module)
    except (ImportError, RuntimeError) as error:
        # torchvision beside a torch that it was not built for fails with a RuntimeError.
        reason = " ".join(str(error).split())
        raise MissingExtraError(
            f"{purpose} needs {module.partition('.')[0]}, which cannot be imported ({reason}); "
            f"install it with: pip install 'opflops[{extra}]'"
        ) from error
