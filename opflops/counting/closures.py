"""What a plain function reaches by name: modules and tensors in its closure and among its globals."""

from __future__ import annotations

import inspect
from functools import partial
from types import CellType, FunctionType, MethodType
from typing import Any

import torch
from torch.utils._pytree import tree_leaves


def bound_state(model: Any) -> list[torch.nn.Module | torch.Tensor]:
    """List the modules and tensors that something to call is, belongs to, was given, or has among its attributes."""
    if isinstance(model, (torch.nn.Module, torch.Tensor)):
        return [model]
    if isinstance(model, MethodType):
        return bound_state(model.__self__)
    if isinstance(model, partial):
        return [held for part in (model.func, *model.args, *model.keywords.values()) for held in bound_state(part)]
    if isinstance(model, (FunctionType, type)) or not hasattr(model, "__dict__"):
        return []
    inside = tree_leaves(list(vars(model).values()))
    return [leaf for leaf in inside if isinstance(leaf, (torch.nn.Module, torch.Tensor))]


def closure_state(function: Any) -> dict[str, Any]:
    """List the modules and tensors, bare or in a list, tuple or dict, that a plain function reaches by name."""
    if not isinstance(function, FunctionType):
        return {}
    variables = inspect.getclosurevars(function)
    return {name: value for name, value in {**variables.globals, **variables.nonlocals}.items() if _holds(value)}


def _holds(value: Any) -> bool:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else [value]
    return any(isinstance(item, (torch.Tensor, torch.nn.Module)) for item in inside)


def rebind(function: FunctionType, values: dict[str, Any]) -> FunctionType:
    """Make a function read other values for some of the names that it captures."""
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
