"""Look up targets: the prefix or suffix of a target selects its source."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

from opflops.cli.arguments import SUBCOMMANDS
from opflops.errors import TargetError
from opflops.wording import nearest

if TYPE_CHECKING:
    from opflops.cli.sources import ModelRequest, Target
    from opflops.profile.profile import Profile

SOURCES = {"torchvision": "torchvision_models", "timm": "timm_models", "hf": "huggingface"}
"""The files of ``opflops.cli.sources`` by the prefix before the colon."""

_SOURCES_BY_SUFFIX = {".pt2": "exported", ".json": "saved", ".json.gz": "saved"}
EXAMPLE = "opflops.example:SimpleCNN"
_WEIGHT_SUFFIXES = (".pt", ".pth", ".safetensors", ".bin", ".ckpt")


class _Source(Protocol):
    """Describe a file of ``opflops.cli.sources``; some have no ``names``."""

    @staticmethod
    def find(text: str, request: ModelRequest, /) -> Target | Profile: ...

    @staticmethod
    def names(pattern: str | None = None, /) -> list[str]: ...


def find(text: str, request: ModelRequest) -> Target | Profile:
    """Find what a target names: a model to make, or a saved profile.

    Raises:
        TargetError: The target does not exist or is malformed.
        MissingExtraError: The library of the target is not installed.
    """
    prefix, _, rest = text.partition(":")
    if text == EXAMPLE:
        return _import_source("builtin").find(text, request)
    if prefix in SOURCES and rest:
        return _import_source(SOURCES[prefix]).find(rest, request)
    for suffix, name in _SOURCES_BY_SUFFIX.items():
        if text.endswith(suffix):
            return _import_source(name).find(text, request)
    if text.endswith(_WEIGHT_SUFFIXES):
        raise TargetError(
            f"{text} looks like weights, which do not contain the model's code. Name the model's class or factory, or "
            "a .pt2 file that torch.export.save wrote."
        )
    if ":" not in text and not text.endswith(".py"):
        near = nearest(text, SUBCOMMANDS, 1)
        hint = f" Did you mean opflops {near[0]}?" if near else ""
        raise TargetError(
            f"The target {text!r} does not have the form package.module:callable, file.py:callable, torchvision:NAME, "
            f"timm:NAME, hf:NAME, FILE.pt2 or FILE.json.{hint}"
        )
    return _import_source("python_code").find(text, request)


def is_saved(text: str) -> bool:
    """Tell whether a target names a saved profile, whether or not the file exists."""
    prefix, _, rest = text.partition(":")
    return text.endswith((".json", ".json.gz")) and not (prefix in SOURCES and rest)


def names(source: str, pattern: str | None) -> list[str]:
    """List the models of a source, or those whose names match a pattern.

    Raises:
        MissingExtraError: The library of the source is not installed.
    """
    return _import_source(SOURCES[source]).names(pattern)


def _import_source(name: str) -> _Source:
    """Import a source; each one imports libraries of its own."""
    return cast("_Source", import_module(f"opflops.cli.sources.{name}"))
