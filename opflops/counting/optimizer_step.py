"""The optimizer of a call: copying one that the user made, making one of a class, and counting a step of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from opflops.errors import ArgumentError, OpflopsError
from opflops.records.arguments import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_ScalarState = list[dict[str, tuple[Any, torch.dtype]]]
_ACCEPTED = "an optimizer, a class such as torch.optim.AdamW, or a function of a list of parameters that returns one"
_CPU = torch.device("cpu")


def is_optimizer(optimizer: Any) -> TypeGuard[torch.optim.Optimizer]:
    """Tell an optimizer from a class or function that makes one."""
    return isinstance(optimizer, torch.optim.Optimizer)


def check_optimizer(optimizer: Any, advice: str = "") -> None:
    """Check that ``optimizer`` is an optimizer or can be called to make one.

    Args:
        optimizer: What was given.
        advice: What the error says at its end.

    Raises:
        ArgumentError: It is neither.
    """
    if optimizer is None or is_optimizer(optimizer):
        return
    other_class = isinstance(optimizer, type) and not issubclass(optimizer, torch.optim.Optimizer)
    if not callable(optimizer) or isinstance(optimizer, nn.Module) or other_class:
        known = {name.lower(): name for name, value in vars(torch.optim).items() if isinstance(value, type)}
        name = known.get(optimizer.lower()) if isinstance(optimizer, str) else None
        hint = f" Write optimizer=torch.optim.{name}." if name else ""
        raise ArgumentError(f"optimizer must be {_ACCEPTED}, not {describe(optimizer)}.{hint}{advice}")


def make_optimizer(factory: Callable[[list[nn.Parameter]], Any], modules: Iterable[nn.Module]) -> torch.optim.Optimizer:
    """Make an optimizer of the parameters of modules that require gradients.

    Raises:
        OpflopsError: ``factory`` returns something else.
    """
    parameters = dict.fromkeys(each for module in modules for each in module.parameters() if each.requires_grad)
    optimizer = factory(list(parameters))
    if not is_optimizer(optimizer):
        raise OpflopsError(f"optimizer={factory!r} returned {optimizer!r}. It must be {_ACCEPTED}.")
    return optimizer


def attributes_to_copy(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Return the attributes that a copy of an optimizer needs.

    ``copy.deepcopy`` of the optimizer itself would drop the attributes that its class does not know. ``step`` is left
    out: a learning-rate scheduler replaces it by a method that is bound to the original.
    """
    return {name: value for name, value in vars(optimizer).items() if name != "step"}


def rebuild_optimizer(
    original: torch.optim.Optimizer, attributes: dict[str, Any], scalar_state: _ScalarState
) -> torch.optim.Optimizer:
    """Make the copy of an optimizer from its copied attributes, after a backward.

    Args:
        original: The optimizer.
        attributes: A copy of its :func:`attributes_to_copy`, on tensors without storage.
        scalar_state: Its :func:`read_scalar_state`, before it was copied.

    Raises:
        OpflopsError: None of its parameters has a gradient, so that a step would do nothing.
    """
    optimizer = object.__new__(type(original))
    vars(optimizer).update(attributes)
    parameters = _parameters(optimizer)
    if all(parameter.grad is None for parameter in parameters):
        raise OpflopsError(
            f"No parameter of this {type(original).__name__} has a gradient after backward. Give an optimizer of the "
            "model's parameters, or its class."
        )
    for parameter, values in zip(parameters, scalar_state, strict=True):
        for name, (value, dtype) in values.items():
            optimizer.state[parameter][name] = torch.tensor(value, dtype=dtype)
    return optimizer


def read_scalar_state(optimizer: torch.optim.Optimizer) -> _ScalarState:
    """Read the numbers that an optimizer keeps in tensors on the CPU, such as ``step``, for each parameter.

    A step reads these numbers, and a copy without storage does not have them.
    """
    return [
        {
            name: (value.item(), value.dtype)
            for name, value in optimizer.state.get(parameter, {}).items()
            if isinstance(value, Tensor) and value.dim() == 0 and value.device == _CPU
        }
        for parameter in _parameters(optimizer)
    ]


def run_step(optimizer: torch.optim.Optimizer) -> None:
    """Run a step.

    Raises:
        OpflopsError: The optimizer's step takes an argument, such as a closure.
    """
    try:
        optimizer.step()
    except TypeError as error:
        raise OpflopsError(
            f"{type(optimizer).__name__}.step() needs more than gradients ({error}), so that count() cannot run it; "
            "run one inside OpFlopMode()."
        ) from error


def names_of_state(optimizer: torch.optim.Optimizer) -> set[tuple[int, str]]:
    """Return which tensors, by name and the number of the parameter, an optimizer has as its state."""
    return {
        (number, name)
        for number, parameter in enumerate(_parameters(optimizer))
        for name, value in optimizer.state.get(parameter, {}).items()
        if any(isinstance(leaf, Tensor) for leaf in tree_leaves(value))
    }


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
