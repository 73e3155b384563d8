"""The modules and tensors that a function or another callable carries: its closure, globals and attributes."""

from __future__ import annotations

import inspect
from functools import partial
from types import CellType, FunctionType, MethodType
from typing import Any

import torch
from torch.utils._pytree import tree_leaves


def bound_state(model: Any) -> list[torch.nn.Module | torch.Tensor]:
    """List the modules and tensors of a callable: itself, its ``__self__``, partial arguments, or attributes."""
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


def closure_state(function: Any) -> dict[str, Any]:
    """Return the closure variables and globals of a plain function that are or contain modules or tensors, by name.

    Containers are lists, tuples and dicts, one level deep.
    """
    if not isinstance(function, FunctionType):
        return {}
    variables = inspect.getclosurevars(function)
    return {name: value for name, value in {**variables.globals, **variables.nonlocals}.items() if _has_state(value)}


def _has_state(value: Any) -> bool:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else [value]
    return any(isinstance(item, (torch.Tensor, torch.nn.Module)) for item in items)


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
