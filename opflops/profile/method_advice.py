"""Sentences for wrong calls of a profile's methods: a file's name in place of an option, and what has to be named."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from opflops.errors import ProfileArgumentError
from opflops.records.arguments import check_text, describe, is_file_name
from opflops.wording import nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_NAMES_OF_FILES = {"path", "file", "filename", "fname", "output", "out", "f", "fp", "path_or_buf"}
_WRITERS = {
    ".speedscope.json": "profile.to_speedscope()",
    ".html": "profile.to_html()",
    ".htm": "profile.to_html()",
    ".csv": "profile.to_csv()",
    ".tsv": "profile.table(tablefmt='tsv')",
    ".tex": "profile.table(tablefmt='latex')",
    ".md": "profile.table(tablefmt='github')",
    ".txt": "str(profile)",
    ".folded": "profile.to_folded()",
    ".mmd": "profile.to_mermaid()",
    ".mermaid": "profile.to_mermaid()",
}
"""What writes the formats of the command line's -o, and others that are called the same, by suffix."""
_TEXTS = ("table", "overview")


def advise(method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """Say how a method of a profile is called, after a call that does not fit.

    Args:
        method: The name of the method.
        args: The arguments by position, with the profile.
        kwargs: The arguments by name.
    """
    given = args[1:]
    if method.startswith("to_") or method in _TEXTS:
        named = [value for name, value in kwargs.items() if name in _NAMES_OF_FILES]
        file = next(filter(is_file_name, (*given, *named)), None)
        return "" if file is None else _how_to_write(method, file)
    if method in ("where", "where_not") and given:
        return f"Name what you select, as in {method}(op='aten.mm') or {method}(phase='backward')."
    if method in ("at", "lambdify") and given:
        return "Name the dimensions, as in at(batch=8) or lambdify()(batch=8)."
    if method == "resources":
        return "Write it as in resources('h100-sxm', steps=1000, mfu=0.4); mfu is assumed, or p.mfu(seconds, device)."
    if method == "__init__":
        return "Profiles are made by count(model, x), and by a block: with OpFlopMode() as m: ... m.profile."
    return ""


def check_no_file(method: str, argument: str, value: object, example: str) -> None:
    """Check that an argument is text that is no file name.

    Raises:
        ProfileArgumentError: It is a file name, or no text.
    """
    if is_file_name(value):
        raise ProfileArgumentError(
            f"{method}() takes a {argument}, not {describe(value)}. {_how_to_write(method, value)}"
        )
    check_text(argument, value, f"{method}({example!r})")


def check_options(method: str, options: Mapping[str, Any], allowed: Iterable[str]) -> None:
    """Check that a method knows its options by name.

    Raises:
        ProfileArgumentError: It does not know one.
    """
    names = list(allowed)
    for given in options:
        if given not in names:
            near = nearest(given, names, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}."
            advice = advise(method, (None,), options)
            raise ProfileArgumentError(f"{method}() has no option {given!r}; {hint} {advice}".rstrip())


def check_json_name(path: object) -> None:
    """Check that the name of a file to save a profile in is not that of another format.

    Raises:
        ProfileArgumentError: It is.
    """
    if not isinstance(path, (str, os.PathLike)):
        return
    name = os.fsdecode(path).lower().removesuffix(".gz")
    suffix = next((each for each in _WRITERS if name.endswith(each)), "")
    if suffix:
        raise ProfileArgumentError(
            f"save() writes JSON, for names such as 'profile.json' or 'profile.json.gz', not {describe(path)}. "
            f"Write a {suffix} file with pathlib.Path({f'profile{suffix}'!r}).write_text({_WRITERS[suffix]}, "
            "encoding='utf-8')."
        )


def _how_to_write(method: str, file: object) -> str:
    name = repr(str(file)) if isinstance(file, (str, os.PathLike)) else "name"
    return f"{method}() returns text. Write it with pathlib.Path({name}).write_text(profile.{method}())."
