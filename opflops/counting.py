"""Count a model without running it: no arithmetic is done and no memory is held for tensors."""

from __future__ import annotations

import inspect
from types import CellType, FunctionType
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._pytree import tree_leaves, tree_map_only

from opflops.errors import OpflopsError, ValueNeededError
from opflops.mode import OpFlopMode
from opflops.torch_internals import fake_copies, has_values, value_dependent_errors

if TYPE_CHECKING:
    from collections.abc import Callable

    from opflops.profile import Profile


def count(model: Callable[..., Any], *inputs: Any, backward: bool = False, **kwargs: Any) -> Profile:
    """Count a call of a model, or of any function of tensors, on tensors that have shapes but no storage.

    The model, its parameters and the inputs stay as they are, and so do modules and tensors that a function reaches
    through its closure or as globals.

    >>> import torch
    >>> count(torch.nn.Linear(4, 3), torch.ones(2, 4)).total.macs
    24

    Args:
        model: What to call.
        *inputs: Its positional arguments; tensors among them may be on any device.
        backward: Also count the gradients of every floating-point output, each against ones of its shape.
        **kwargs: Its keyword arguments.

    Raises:
        ValueNeededError: The program asks for the value of a tensor, which only a real run has.
        OpflopsError: ``backward`` is True and no output depends on anything that requires a gradient, or one depends
            on a parameter that is no part of what was given.
    """
    mode = OpFlopMode()
    originals = (model, _captures(model), *tree_map_only(torch.Tensor, _as_leaf, (inputs, kwargs)))
    with fake_copies(originals) as (model_copy, captures, input_copies, kwarg_copies), mode:
        call = _reading(model_copy, captures) if captures else model_copy
        try:
            outputs = call(*input_copies, **kwarg_copies)
            if backward:
                ends = differentiable(outputs)
                _check_parameters(ends)
                differentiate(ends)
        except value_dependent_errors() as error:
            raise ValueNeededError(
                f"{getattr(model, '__name__', type(model).__name__)} asks for the value of a tensor ({error}), which "
                "counting without running does not have; run it on real inputs inside OpFlopMode()."
            ) from error
    return mode.profile


def _as_leaf(tensor: torch.Tensor) -> torch.Tensor:
    """Cut an input off from what computed it, which is no part of the call."""
    return tensor if tensor.is_leaf else tensor.detach().requires_grad_(tensor.requires_grad)


def _captures(function: Any) -> dict[str, Any]:
    """List the modules and tensors, bare or in a list, tuple or dict, that a plain function reaches by name."""
    if not isinstance(function, FunctionType):
        return {}
    variables = inspect.getclosurevars(function)
    return {name: value for name, value in {**variables.globals, **variables.nonlocals}.items() if _holds(value)}


def _holds(value: Any) -> bool:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else [value]
    return any(isinstance(item, (torch.Tensor, torch.nn.Module)) for item in inside)


def _reading(function: FunctionType, values: dict[str, Any]) -> FunctionType:
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


def differentiable(outputs: Any) -> list[torch.Tensor]:
    """List the outputs that have a backward.

    Raises:
        OpflopsError: None has.
    """
    found = [leaf for leaf in tree_leaves(outputs) if isinstance(leaf, torch.Tensor)]
    ends = [tensor for tensor in found if tensor.requires_grad]
    if not ends:
        raise OpflopsError(
            "backward=True needs an output that depends on something that requires a gradient: "
            f"of {len(found)} tensors found in the output (through lists, tuples and dicts) none does."
        )
    return ends


def differentiate(ends: list[torch.Tensor]) -> None:
    """Run the backward of outputs, against gradients of ones."""
    torch.autograd.backward(ends, [torch.ones_like(end) for end in ends])


def _check_parameters(ends: list[torch.Tensor]) -> None:
    """Refuse to run a backward into real parameters, whose gradients would be left without storage."""
    todo = [end.grad_fn for end in ends if end.grad_fn is not None]
    seen = set(todo)
    while todo:
        node = todo.pop()
        if has_values(getattr(node, "variable", ends[0])):
            raise OpflopsError(
                "The outputs depend on a parameter that is no part of the model or the inputs, so its gradient would "
                "change; pass the module that owns it to count(), as the model or as an argument of a function."
            )
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                todo.append(following)
