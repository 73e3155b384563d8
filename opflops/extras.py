"""Import optional packages when they are needed, and tell the version of opflops."""

from __future__ import annotations

import re
import sys
import warnings
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from opflops.errors import MissingExtraError

KEEPS_TORCH = (
    "pip install transformers huggingface_hub for hf:NAME; for others install first the torchvision of your PyTorch's "
    "release, from where your PyTorch is from"
)
"""How to install the extra ``models`` beside the installed PyTorch."""


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
            f"Install it: {install_line(extra)}"
        ) from error


def install_line(extra: str) -> str:
    """Write the command that installs an extra; for models also the one that keeps the installed PyTorch.

    torchvision needs one release of torch, so pip replaces torch with the one that the newest torchvision needs. A
    torchvision of PyPI does not work with a torch that was built for the CPU alone.
    """
    line = f"pip install 'opflops[{extra}]'"
    return line if extra != "models" else f"{line}. That may replace your PyTorch; to keep it: {KEEPS_TORCH}"


def import_torch() -> None:
    """Import PyTorch without its warning that NumPy is missing, which opflops does not need.

    Warnings of other kinds, and filters that PyTorch or the caller sets, stay.
    """
    if "torch" in sys.modules or find_spec("numpy") is not None:
        return
    before = list(warnings.filters)
    warnings.filterwarnings("ignore", "Failed to initialize NumPy: No module named 'numpy", UserWarning)
    added = warnings.filters[0]
    try:
        import_module("torch")
    finally:
        if added not in before and isinstance(warnings.filters, list):
            warnings.filters.remove(added)


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
