"""Import optional packages when they are needed, and tell the version of opflops."""

from __future__ import annotations

import re
from importlib import import_module, metadata
from pathlib import Path
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


def version_of_opflops() -> str:
    """Return the version that is installed or, in a checkout that is not, the one that its ``pyproject.toml`` states.

    Raises:
        MissingExtraError: The package was copied without either, so nothing states its version.
    """
    try:
        return metadata.version("opflops")
    except metadata.PackageNotFoundError:
        project = Path(__file__).parent.parent / "pyproject.toml"
        text = project.read_text(encoding="utf-8") if project.exists() else ""
        if stated := re.search(r'^name = "opflops"\nversion = "(.+)"$', text, re.MULTILINE):
            return stated[1]
        raise MissingExtraError(
            "opflops is not installed, and no pyproject.toml beside it states its version. "
            "Install it: pip install opflops"
        ) from None
