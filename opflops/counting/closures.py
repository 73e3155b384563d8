"""The modules and tensors that a function or another callable carries: its closure, globals and attributes."""

from __future__ import annotations

import inspect
from functools import partial
from types import CellType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._pytree import tree_leaves

from opflops.torch_internals.modules import modules_below
from opflops.torch_internals.references import is_reference, referents

if TYPE_CHECKING:
    from collections.abc import Iterable


def bound_state(model: Any) -> list[torch.nn.Module | torch.Tensor]:
    """List the modules and tensors of a callable: itself, its ``__self__``, partial arguments, or attributes.

    Those that a weak reference or a read-only mapping refers to are among them.
    """
    if is_reference(model):
        return state_in(referents(model))
    if isinstance(model, (torch.nn.Module, torch.Tensor)):
        return [model]
    if isinstance(model, MethodType):
        return bound_state(model.__self__)
    if isinstance(model, partial):
        return [state for part in (model.func, *model.args, *model.keywords.values()) for state in bound_state(part)]
    if isinstance(model, (FunctionType, type)) or not hasattr(model, "__dict__"):
        return []
    leaves = tree_leaves(list(vars(model).values()))
    return [leaf for leaf in leaves if isinstance(leaf, (torch.nn.Module, torch.Tensor))]


def state_in(values: Any) -> list[torch.nn.Module | torch.Tensor]:
    """List the modules and tensors among nested values, and those of methods and partial functions among them."""
    leaves = tree_leaves(values)
    return [state for leaf in leaves for state in (bound_state(leaf) if _is_stateful(leaf) else ())]


def _is_stateful(value: Any) -> bool:
    return (is_reference(value) or isinstance(value, (torch.Tensor, torch.nn.Module, MethodType, partial))) and bool(
        bound_state(value)
    )


def closure_state(function: Any) -> dict[str, Any]:
    """Return the closure variables and globals of a plain function that are or contain modules or tensors, by name.

    So are methods of modules, and partial functions of them. Containers are lists, tuples and dicts, one level deep.
    """
    if not isinstance(function, FunctionType):
        return {}
    variables = inspect.getclosurevars(function)
    return {name: value for name, value in {**variables.globals, **variables.nonlocals}.items() if _has_state(value)}


def _has_state(value: Any) -> bool:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else [value]
    return any(map(_is_stateful, items))


def outermost(modules: Iterable[torch.nn.Module]) -> list[torch.nn.Module]:
    """Return the modules that no other one of them contains, each once."""
    distinct = list({id(module): module for module in modules}.values())
    if not distinct[1:]:
        return distinct
    inside = {id(each) for module in distinct for each in modules_below(module) if each is not module}
    return [module for module in distinct if id(module) not in inside]


def modules_of_helpers(function: Any) -> list[torch.nn.Module]:
    """List the modules in the closures, globals and defaults of the functions that a function calls by name.

    These are the functions that it wraps, as a decorator does, and those of its own file.
    """
    todo, seen, modules = [function], set(), []
    while todo:
        helper = todo.pop()
        while isinstance(helper, (MethodType, partial)):
            helper = helper.__func__ if isinstance(helper, MethodType) else helper.func
        if not isinstance(helper, FunctionType) or helper in seen:
            continue
        seen.add(helper)
        try:
            variables = inspect.getclosurevars(helper)
        except ValueError:  # a variable of its closure has no value yet
            continue
        defaults = helper.__defaults__ or (), helper.__kwdefaults__ or {}
        values = [*variables.nonlocals.values(), *variables.globals.values(), *defaults]
        modules += [state for state in state_in(values) if isinstance(state, torch.nn.Module)]
        todo += variables.nonlocals.values()
        todo += [each for each in variables.globals.values() if getattr(each, "__module__", None) == helper.__module__]
    return modules


def rebind(function: FunctionType, values: dict[str, Any]) -> FunctionType:
    """Return a copy of a function in which some closure variables and globals have other values."""
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    copy = FunctionType(
        function.__code__,
        {**function.__globals__, **values},
        function.__name__,
        function.__defaults__,
        tuple(CellType(values[name]) if name in values else cell for name, cell in cells),
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy
