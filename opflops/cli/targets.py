"""Targets as the command line names them, each looked up where its form says."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

from opflops.cli.arguments import SUBCOMMANDS
from opflops.errors import TargetError
from opflops.wording import nearest

if TYPE_CHECKING:
    from opflops.cli.sources import Asked, Target
    from opflops.profile.profile import Profile

SOURCES = {"torchvision": "torchvision_models", "timm": "timm_models", "hf": "huggingface"}
"""The files of ``opflops.cli.sources`` by what stands before the colon."""

_FILES = {".pt2": "exported", ".json": "saved"}
EXAMPLE = "opflops.example:SimpleCNN"
_WEIGHTS = (".pt", ".pth", ".safetensors", ".bin", ".ckpt")


class _Source(Protocol):
    """Be a file of ``opflops.cli.sources``; not each has all of these."""

    @staticmethod
    def find(text: str, asked: Asked, /) -> Target | Profile: ...

    @staticmethod
    def names(pattern: str | None = None, /) -> list[str]: ...


def find(text: str, asked: Asked) -> Target | Profile:
    """Find what a target names: a model to be made, or a profile that was saved.

    Raises:
        TargetError: It names nothing; the message says what would be right.
        MissingExtraError: The package that it is from is not installed.
    """
    prefix, _, rest = text.partition(":")
    if text == EXAMPLE:
        return _source("builtin").find(text, asked)
    if prefix in SOURCES and rest:
        return _source(SOURCES[prefix]).find(rest, asked)
    for suffix, name in _FILES.items():
        if text.endswith(suffix):
            return _source(name).find(text, asked)
    if text.endswith(_WEIGHTS):
        raise TargetError(
            f"{text} looks like weights, which do not say what is computed with them; name what makes the model, "
            "or a program that torch.export.save wrote to a .pt2 file."
        )
    if ":" not in text and not text.endswith(".py"):
        near = nearest(text, SUBCOMMANDS, 1)
        hint = f" Did you mean opflops {near[0]}?" if near else ""
        raise TargetError(
            f"The target {text!r} is not of the form package.module:callable, file.py:callable, torchvision:NAME, "
            f"timm:NAME, hf:NAME, FILE.pt2 or FILE.json.{hint}"
        )
    return _source("python_code").find(text, asked)


def is_saved(text: str) -> bool:
    """Tell whether a target names a profile that was saved, without looking whether it is there."""
    prefix, _, rest = text.partition(":")
    return text.endswith(".json") and not (prefix in SOURCES and rest)


def names(source: str, pattern: str | None) -> list[str]:
    """List the models that a source has, or those whose names fit a pattern.

    Raises:
        MissingExtraError: The package of the source is not installed.
    """
    return _source(SOURCES[source]).names(pattern)


def _source(name: str) -> _Source:
    """Import what finds one kind of target; each loads packages of its own."""
    return cast("_Source", import_module(f"opflops.cli.sources.{name}"))
