"""What a program refers to: the modules and tensors that a function or object reaches, however deep they are."""

from __future__ import annotations

import dis
import gc
from types import CellType, CodeType, FrameType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from torch import Tensor, nn

from opflops.counting.closures import rebind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_ENDS = (type, ModuleType, CodeType, FrameType)
_LIBRARIES = frozenset({"torch", "opflops", "functools", "contextlib", "typing", "collections"})


class ExistingState:
    """Hold which modules and parameters a program has before it makes others."""

    def __init__(self) -> None:
        self._known: WeakValueDictionary[int, Any] = WeakValueDictionary()
        for each in gc.get_objects():
            # Not isinstance(), which asks proxies for what they stand for.
            if issubclass(type(each), (nn.Module, nn.Parameter)):
                self._known[id(each)] = each

    def module_with(self, module: nn.Module) -> nn.Module | None:
        """Return the first module with tensors in another one that existed, or has a parameter that did; else None."""
        for each in module.modules():
            if next(each.parameters(), None) is None and next(each.buffers(), None) is None:
                continue
            if any(id(part) in self._known for part in (each, *each.parameters(recurse=False))):
                return each
        return None

    def add(self, module: nn.Module) -> None:
        """Note a module that was made since, and those in it."""
        for each in module.modules():
            self._known[id(each)] = each


def reached_state(values: Any, *, into_code: bool = True) -> Iterator[nn.Module | Tensor]:
    """Iterate over the modules and tensors that values refer to, each once; not over those inside the modules.

    Args:
        values: A function, or anything else.
        into_code: Whether to follow the globals that the code of functions reads.
    """
    todo, seen = [values], {id(values): values}
    while todo:
        value = todo.pop(0)
        if isinstance(value, (nn.Module, Tensor)):
            yield value
            continue
        for each in _parts(value, into_code=into_code):
            if id(each) not in seen and gc.is_tracked(each) and not issubclass(type(each), _ENDS):
                seen[id(each)] = each
                todo.append(each)


def _parts(value: Any, *, into_code: bool) -> list[Any]:
    if not isinstance(value, FunctionType):
        parts = gc.get_referents(value)
        own = type(value)
        if into_code and _is_of_program(own):
            parts += [part for cls in own.__mro__ if _is_of_program(cls) for part in vars(cls).values()]
        return parts
    if not _is_of_program(value):
        return [*(value.__closure__ or ()), value.__defaults__, value.__kwdefaults__, vars(value)]
    read = value.__globals__
    names = read_globals(value.__code__) if into_code else []
    known = [read[name] for name in names if name in read]
    return [*(value.__closure__ or ()), value.__defaults__, value.__kwdefaults__, vars(value), *known]


def _is_of_program(value: Any) -> bool:
    """Return whether a function or class is no library's, whose globals hold nothing of the program."""
    return f"{value.__module__}".partition(".")[0] not in _LIBRARIES and value.__module__ != "builtins"


def read_globals(code: CodeType) -> list[str]:
    """List the names of the globals that some code reads, and the functions in it."""
    names = [each.argval for each in dis.get_instructions(code) if each.opname in ("LOAD_GLOBAL", "LOAD_NAME")]
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            names += read_globals(inner)
    return [*dict.fromkeys(names)]


def state_to_copy(build: Any) -> Any:
    """Return what has modules and tensors of a function or another callable: its variables by name, or itself; or None.

    A program that changes them would find them changed when it runs again.
    """
    if not isinstance(build, FunctionType):
        return build if _has_state(build) else None
    read = build.__globals__
    variables = {name: read[name] for name in read_globals(build.__code__) if name in read}
    for name, cell in zip(build.__code__.co_freevars, build.__closure__ or (), strict=True):
        if cell != CellType():
            variables[name] = cell.cell_contents
    found = {name: value for name, value in variables.items() if _has_state(value)}
    defaults = build.__defaults__, build.__kwdefaults__
    return (found, *defaults) if found or _has_state(defaults) else None


def with_copies(build: Callable[..., Any], copies: Any) -> Callable[..., Any]:
    """Return a function or other callable with copies of its :func:`state_to_copy`."""
    if not isinstance(build, FunctionType):
        return copies  # type: ignore[no-any-return]
    variables, defaults, keyword_defaults = copies
    made = rebind(build, variables)
    made.__defaults__, made.__kwdefaults__ = defaults, keyword_defaults
    return made


def _has_state(value: Any) -> bool:
    is_end = issubclass(type(value), _ENDS) or (isinstance(value, FunctionType) and not _is_of_program(value))
    return not is_end and next(reached_state(value, into_code=False), None) is not None
