"""Look up targets: the prefix or suffix of a target selects its source."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from opflops.cli.arguments import SUBCOMMANDS
from opflops.cli.collector import importing
from opflops.cli.library_names import suggest_libraries
from opflops.errors import TargetError
from opflops.wording import nearest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opflops.cli.sources import ModelRequest, Target
    from opflops.profile.profile import Profile

SOURCES = {"torchvision": "torchvision_models", "timm": "timm_models", "hf": "huggingface"}
"""The files of ``opflops.cli.sources`` by the prefix before the colon."""

_SOURCES_BY_SUFFIX = {".pt2": "exported", ".json": "saved", ".json.gz": "saved"}
EXAMPLE = "opflops.example:SimpleCNN"
_OTHER_COMMANDS = ("count", "run", "profile", "flops")
_SIZES = re.compile(r"\d[\d,x]*(:\w+)?")
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
        with importing():
            return _import_source(SOURCES[prefix]).find(rest, request)
    for suffix, name in _SOURCES_BY_SUFFIX.items():
        if text.endswith(suffix):
            return _import_source(name).find(text, request)
    if "::" in text:
        raise TargetError(f"The target {text!r} has two colons in a row. Write one: {text.replace('::', ':')}.")
    location = text.rpartition(":")[0] or text
    if location.endswith(_WEIGHT_SUFFIXES) and (location == text or Path(location).is_file()):
        raise TargetError(
            f"{location} looks like weights, which do not contain the model's code. Name the model's class or factory, "
            "or a .pt2 file that torch.export.save wrote."
        )
    if location.endswith(".ipynb"):
        script = f"{Path(location).stem}.py"
        raise TargetError(
            f"{location} is a notebook. Write its code to a file, as by jupyter nbconvert --to script {location}, and "
            f"name the class or function in it: {script}:{text.rpartition(':')[2] if text != location else 'Net'}."
        )
    if ":" not in text and not text.endswith(".py"):
        raise TargetError(
            f"The target {text!r} does not have the form package.module:callable, file.py:callable, torchvision:NAME, "
            f"timm:NAME, hf:NAME, FILE.pt2 or FILE.json.{_hint(text)}"
        )
    return _import_source("python_code").find(text, request)


def check_words(names: Iterable[str]) -> None:
    """Check that no target is a size that was cut off from an option by a space.

    Raises:
        TargetError: One is.
    """
    for name in names:
        if _SIZES.fullmatch(name):
            raise TargetError(
                f"{name!r} is no target. Write all sizes of an input in one word, as in --input 1,3,224,224, and "
                "arguments of a class as in --arg width=4."
            )


def _hint(text: str) -> str:
    """Write what a target without a colon may mean, as a sentence with a space before it; "" if nothing is known."""
    if text in SOURCES:
        return f" Name a model too, as in {text}:NAME. opflops models {text} lists them."
    if text in _OTHER_COMMANDS:
        return " opflops counts without such a word: opflops TARGET."
    if Path(text).is_dir():
        return f" It is a folder; name a file in it, as in {text.rstrip('/')}/model.py:Net."
    module, point, name = text.rpartition(".")
    if point and all(part.isidentifier() for part in text.split(".")):
        return f" Write a colon before the class or function: {module}:{name}."
    near = [] if "/" in text else nearest(text, SUBCOMMANDS, 1)
    return f" Did you mean opflops {near[0]}?" if near else suggest_libraries(text)


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
