"""Sentences about names that are not known, and about errors of other people's code."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_FEW, _ALL = 6, 24


def unknown(kind: str, given: str, known: Iterable[str]) -> str:
    """Say that there is no such name, with all where they are few, or with the nearest ones.

    >>> unknown("device", "gpu", ["cpu", "cuda"])
    "There is no device 'gpu'; there are cpu, cuda."
    """
    names = list(dict.fromkeys(known))
    near = nearest(given, names)
    if near and len(names) > _FEW:
        return f"There is no {kind} {given!r}; did you mean {' or '.join(near)}?"
    if not names or len(names) > _ALL:
        return f"There is no {kind} {given!r}."
    return f"There is no {kind} {given!r}; there {'is' if len(names) == 1 else 'are'} {', '.join(names)}."


def nearest(given: str, known: Iterable[str], most: int = 3) -> list[str]:
    """List the known names that look most like one, upper and lower case being the same."""
    lowered = {name.lower(): name for name in known}
    return [lowered[name] for name in difflib.get_close_matches(given.lower(), lowered, n=most)]


def format_error(error: BaseException) -> str:
    """Write an error in one line, without the frames in C++ that PyTorch may add to it."""
    message = " ".join(str(error).partition("Exception raised from ")[0].split()) or "no message"
    return printable(f"{type(error).__name__}: {message}".rstrip("."))


def printable(text: str) -> str:
    r"""Write what a terminal would act upon, or not show, as escapes; files and models may call anything anyhow.

    >>> print(printable("layer\x1b[2J\u202e"))
    layer\x1b[2J\u202e
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
