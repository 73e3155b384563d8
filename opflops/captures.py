"""What a plain function reaches by name: modules and tensors in its closure and among its globals."""

from __future__ import annotations

import inspect
from types import CellType, FunctionType
from typing import Any

import torch


def captures(function: Any) -> dict[str, Any]:
    """List the modules and tensors, bare or in a list, tuple or dict, that a plain function reaches by name."""
    if not isinstance(function, FunctionType):
        return {}
    variables = inspect.getclosurevars(function)
    return {name: value for name, value in {**variables.globals, **variables.nonlocals}.items() if _holds(value)}


def _holds(value: Any) -> bool:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else [value]
    return any(isinstance(item, (torch.Tensor, torch.nn.Module)) for item in inside)


def reading(function: FunctionType, values: dict[str, Any]) -> FunctionType:
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
