"""Pipeline schedules as functions: each rank gives a schedule what its stages need."""

from __future__ import annotations

import inspect
from types import FunctionType
from typing import TYPE_CHECKING, Any

from torch.utils._pytree import tree_leaves

from opflops.torch_internals.modules import forward_of
from opflops.torch_internals.pipelines import is_schedule, stages_of

if TYPE_CHECKING:
    from torch import nn


def modules_of_pipelines(value: Any) -> list[nn.Module]:
    """Return the modules of a pipeline schedule or stage, or of those that a function or method refers to."""
    value = getattr(value, "__self__", value)
    referred = [value]
    if isinstance(value, FunctionType):
        variables = inspect.getclosurevars(value)
        referred = [*variables.nonlocals.values(), *variables.globals.values()]
    leaves = tree_leaves(referred)
    return [stage.submod for each in leaves for stage in stages_of(getattr(each, "__self__", each))]


def as_step(model: Any) -> Any:
    """Return a function of the inputs that runs a step of a pipeline schedule; any other value as it is.

    The first stage gets the inputs, positional or by keyword, and the last one ``target``, if there is one.
    """
    if not is_schedule(model):
        return model

    def step(*args: Any, target: Any = None, **kwargs: Any) -> Any:
        stages = stages_of(model)
        is_first, is_last = any(each.is_first for each in stages), any(each.is_last for each in stages)
        given = {"target": target} if is_last and target is not None else {}
        if not is_first:
            return model.step(**given)
        # What is given by keyword goes to all stages.
        first = next(each.submod for each in stages if each.is_first)
        bound = inspect.signature(forward_of(first)).bind(*args, **kwargs)
        return model.step(*bound.args, **given, **bound.kwargs)

    return step
