"""Import optional packages when they are needed."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from opflops.errors import MissingExtraError


def optional(module: str, extra: str, purpose: str) -> Any:
    """Import a module of an optional package.

    Args:
        module: Its name, such as ``"plotly.offline"``.
        extra: The extra of opflops that installs it.
        purpose: What needs the module, as the subject of a sentence: ``"The HTML page"``.

    Raises:
        MissingExtraError: The module is not installed or fails to import; the message says how to install it.
    """
    try:
        return import_module(module)
    except (ImportError, RuntimeError) as error:
        # torchvision raises a RuntimeError if it was built for another version of torch.
        reason = " ".join(str(error).split())
        raise MissingExtraError(
            f"{purpose} needs {module.partition('.')[0]}, which cannot be imported ({reason}). "
            f"Install it: pip install 'opflops[{extra}]'"
        ) from error
