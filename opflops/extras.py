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

_PYTORCH_INDEX = "https://download.pytorch.org/whl/"
_BUILD = re.compile(r"\+(cpu|xpu|cu\d+|rocm[\d.]+)$")
"""The end of the version of a PyTorch from its own index, on which the builds of torchvision for it are too."""


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
        reason = " ".join(str(error).split())
        package = module.partition(".")[0]
        message = f"{purpose} needs {package}, which cannot be imported ({reason})."
        if isinstance(error, RuntimeError) and extra == "models":
            # pip takes a torchvision for another build of PyTorch as installed, and would leave it.
            message += " The installed torchvision is not for this PyTorch. Run pip uninstall torchvision first."
        raise MissingExtraError(f"{message} {how_to_install(extra, package)}") from error


def how_to_install(extra: str, package: str = "") -> str:
    """Write the command that installs an extra, or what one package of it needs, and keeps the installed PyTorch.

    torchvision needs one release of torch. Unless the command says which, pip takes the newest torchvision, and
    replaces torch.
    """
    if extra != "models":
        return f"Install it: pip install 'opflops[{extra}]'"
    if package in ("transformers", "huggingface_hub"):
        return "Install it: pip install transformers huggingface_hub"
    torch = _installed_version("torch")
    if not torch:
        return "Install it: pip install 'opflops[models]'"
    build = _BUILD.search(torch)
    index = f" --extra-index-url {_PYTORCH_INDEX}{build[1]}" if build else ""
    return f"Install without replacing PyTorch: pip install 'opflops[models]' torch=={torch}{index}"


def _installed_version(package: str) -> str:
    """Return the version of a package; "" if it is not an installed one, as a PyTorch that was built in place."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


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
