"""Arguments that cannot be used: say what was given, what is wrong with it, and what would be right."""

from __future__ import annotations

import functools
import inspect
import os
import re
from collections.abc import Callable, Iterable, Mapping
from numbers import Integral
from typing import Any, TypeVar

from opflops.errors import ArgumentError, OpflopsError, ProfileArgumentError
from opflops.wording import nearest, printable

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])
ClassT = TypeVar("ClassT", bound=type)
Advice = Callable[[tuple[Any, ...], Mapping[str, Any]], str]
"""Returns a sentence on the arguments of a wrong call; "" if it has none."""

_MAX_REPR = 60
_SUFFIXES = (
    "csv|dat|folded|htm|html|json|jsonl|log|md|mermaid|mmd|out|parquet|pdf|png|pt|svg|tex|tsv|txt|xlsx|xml|ya?ml"
)
_FILE_NAME = re.compile(rf"[^\n{{<]*(\.({_SUFFIXES})|[/\\][^\n{{<]*)", re.IGNORECASE)
_HIDDEN = ("self", "cls", "rows", "symbolic")


def describe(value: object) -> str:
    """Write a value that was given, in a few words on one line.

    >>> describe("3"), describe(int), describe([1, 2])
    ("'3'", 'the class int', 'the list [1, 2]')
    """
    if value is None or isinstance(value, (str, bytes, bool, int, float, os.PathLike)):
        text = repr(value)
        return text if len(text) <= _MAX_REPR else f"{text[:_MAX_REPR]}…"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    kind = type(value).__name__
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple) and hasattr(value, "dtype"):
        return f"{_article(kind)} of shape {(*shape,)}"
    if isinstance(value, (list, tuple, dict, set, frozenset)):
        text = repr(value)
        return (
            f"the {kind} {text}"
            if len(text) <= _MAX_REPR and text.isprintable()
            else f"{_article(kind)} of {len(value)}"
        )
    if inspect.isroutine(value):
        return f"the function {getattr(value, '__name__', kind)}"
    return printable(_article(kind))


def _article(noun: str) -> str:
    return f"{'an' if noun[:1].lower() in 'aeio' else 'a'} {noun}"


def is_file_name(value: object) -> bool:
    """Tell whether a value looks like the name of a file, or is an open file.

    >>> is_file_name("report.html"), is_file_name("flops"), is_file_name("aten.mm")
    (True, False, False)
    """
    if isinstance(value, str):
        return _FILE_NAME.fullmatch(value) is not None
    return isinstance(value, os.PathLike) or hasattr(value, "write")


def explain_arguments(
    advice: Advice | None = None, error: type[ArgumentError] = ArgumentError, name: str = ""
) -> Callable[[FunctionT], FunctionT]:
    """Make a function raise an error with a sentence if its arguments do not fit its signature.

    A call that fits takes one function call more.

    Args:
        advice: Says more about a wrong call.
        error: What to raise.
        name: What the function is called; by default its own name.
    """

    def decorate(function: FunctionT) -> FunctionT:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                return function(*args, **kwargs)
            except TypeError as raised:
                # An error with a longer traceback was raised inside.
                if isinstance(raised, OpflopsError) or raised.__traceback__ is None or raised.__traceback__.tb_next:
                    raise
                more = advice(args, kwargs) if advice is not None else ""
                sentence = _explain(function, name, args, kwargs) or f"{raised}."
            raise error(f"{sentence} {more}".rstrip())

        return call  # type: ignore[return-value]

    return decorate


def explain_methods(
    advise: Callable[[str, tuple[Any, ...], Mapping[str, Any]], str], error: type[ArgumentError] = ArgumentError
) -> Callable[[ClassT], ClassT]:
    """Do what :func:`explain_arguments` does for the constructor and the public methods of a class.

    Args:
        advise: Says more about a wrong call of a method, whose name and arguments it gets; "" if there is nothing.
        error: What to raise.
    """

    def decorate(owner: ClassT) -> ClassT:
        for name, member in list(vars(owner).items()):
            if name.startswith("_") and name != "__init__":
                continue
            explain = explain_arguments(functools.partial(advise, name), error)
            if inspect.isfunction(member):
                setattr(owner, name, explain(member))
            elif isinstance(member, classmethod):
                setattr(owner, name, classmethod(explain(member.__func__)))
        return owner

    return decorate


def no_advice(_method: str, _args: tuple[Any, ...], _kwargs: Mapping[str, Any]) -> str:
    """Return no sentence, for :func:`explain_methods`."""
    return ""


def _explain(function: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """Say what does not fit; "" if everything seems to."""
    owner, _, own_name = function.__qualname__.rpartition(".")
    name = name or (owner if own_name == "__init__" else own_name)
    parameters = inspect.signature(function).parameters
    by_position = [
        each.name for each in parameters.values() if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)
    ]
    allowed = [
        each.name
        for each in parameters.values()
        if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY) and each.name not in _HIDDEN
    ]
    for given in kwargs:
        if given not in parameters and not any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
            return f"{name}() has no argument {given!r}{_suggest(given, allowed)}"
        if given in by_position[: len(args)]:
            return f"{name}() got {given} twice, by position and by name."
    if len(args) > len(by_position) and not any(each.kind is each.VAR_POSITIONAL for each in parameters.values()):
        first = args[len(by_position)]
        shown = [each for each in by_position if each not in _HIDDEN]
        takes = f"only {' and '.join(shown)} by position" if shown else "no argument by position"
        others = [each for each in allowed if each not in by_position]
        by_name = f" By name it takes {', '.join(others)}." if others else ""
        return f"{name}() takes {takes}, so that it cannot use {describe(first)}.{by_name}"
    missing = [
        each.name
        for position, each in enumerate(parameters.values())
        if each.default is each.empty
        and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
        and each.name not in kwargs
        and (position >= len(args) or each.kind is each.KEYWORD_ONLY)
    ]
    return f"{name}() needs the argument{'s' * (len(missing) > 1)} {' and '.join(missing)}." if missing else ""


def _suggest(given: str, allowed: Iterable[str]) -> str:
    names = list(allowed)
    near = nearest(given, names, 1)
    if near:
        return f"; did you mean {near[0]}?"
    return f". Its arguments are {', '.join(names)}." if names else ". It takes none."


def check_count(name: str, value: object, minimum: int = 1, *, otherwise: str = ", or None for all") -> None:
    """Check that an argument is None or a whole number that is large enough.

    Args:
        name: The argument.
        value: Its value.
        minimum: The least number.
        otherwise: What else is accepted.

    Raises:
        ProfileArgumentError: It is not.
    """
    if value is None and otherwise:
        return
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < minimum:
        hint = " Give a whole number." if not isinstance(value, Integral) or isinstance(value, bool) else ""
        if isinstance(value, str) and value.strip().isdecimal():
            hint = f" Write {name}={value.strip()}."
        raise ProfileArgumentError(f"{name} must be {minimum} or more{otherwise}, not {describe(value)}.{hint}")


def check_text(name: str, value: object, example: str) -> None:
    """Check that an argument is text.

    Raises:
        ProfileArgumentError: It is not.
    """
    if not isinstance(value, str):
        raise ProfileArgumentError(f"{name} must be text, as in {example}, not {describe(value)}.")


def check_flag(name: str, value: object) -> None:
    """Check that an argument is True or False, and not text or something else that has a truth value.

    Raises:
        ProfileArgumentError: It is not.
    """
    if not isinstance(value, (bool, int)) and type(value).__name__ not in ("bool", "bool_"):
        raise ProfileArgumentError(f"{name} must be True or False, not {describe(value)}.")


def keys_of(by: object, caller: str) -> tuple[str, ...]:
    """Return the keys that an argument ``by`` has: one, or a collection of them.

    Raises:
        ProfileArgumentError: It is neither text nor a collection of texts.
    """
    if isinstance(by, str):
        return (by,)
    keys = tuple(by) if isinstance(by, Iterable) else (by,)
    if not all(isinstance(key, str) for key in keys):
        raise ProfileArgumentError(
            f"{caller} needs by='op', or a tuple such as by=('op', 'phase'), not {describe(by)}."
        )
    return keys
