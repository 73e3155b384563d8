"""Optimizers: how a step is recognized, and the other functions that belong to the optimizer phase."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.utils._pytree import tree_leaves

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from torch.utils.hooks import RemovableHandle

STEP_RECORDER: type[AbstractContextManager[Any]] = torch.autograd.profiler.record_function
"""The context manager in which the ``step`` of every optimizer runs, with its hooks.

The constructor of :class:`torch.optim.Optimizer` puts it around the ``step`` of its class. Whoever binds or wraps that
``step``, such as a learning rate scheduler, calls it inside.
"""


def is_optimizer_step(recording: Any) -> bool:
    """Return whether a ``record_function`` is that of an optimizer's step."""
    name: str = recording.name
    return name.startswith("Optimizer.step#")


def register_step_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call a hook with every optimizer, before its step: ``hook(optimizer, args, kwargs)``.

    It returns the arguments to use in place of these, or None. The first of ``args`` is the optimizer.
    """
    return register_optimizer_step_pre_hook(hook)


def remove_step_pre_hook(hook: Callable[..., Any]) -> None:
    """Call a hook no longer that was registered by :func:`register_step_pre_hook`, however often."""
    hooks = sys.modules["torch.optim.optimizer"]._global_optimizer_pre_hooks
    for key, each in [*hooks.items()]:
        if each is hook:
            del hooks[key]


def register_step_hooks(hook: Callable[..., Any]) -> None:
    """Call a hook with every optimizer before and after its step: ``hook(optimizer, args, kwargs)``."""
    register_optimizer_step_pre_hook(hook)
    register_optimizer_step_post_hook(hook)


def remove_step_hooks(hook: Callable[..., Any]) -> None:
    """Undo :func:`register_step_hooks`, however often it was done."""
    remove_step_pre_hook(hook)
    hooks = sys.modules["torch.optim.optimizer"]._global_optimizer_post_hooks
    for key, each in [*hooks.items()]:
        if each is hook:
            del hooks[key]


def optimizer_tensors(optimizer: Any) -> tuple[list[Tensor], list[Tensor]]:
    """Return the parameters of an optimizer, and the tensors of its state and its options."""
    groups = optimizer.param_groups
    parameters = [each for group in groups for each in group["params"] if isinstance(each, Tensor)]
    options = [value for group in groups for name, value in group.items() if name != "params"]
    leaves = tree_leaves([*map(dict, optimizer.state.values()), *options])
    return parameters, [each for each in leaves if isinstance(each, Tensor)]


def optimizer_callables() -> list[tuple[Any, str]]:
    """Return the functions of the optimizer phase beside steps: gradient scaling and clipping, parameter averaging."""
    functions = _methods(torch.amp.GradScaler, "step", "unscale_", "update")
    # The global functions that clip_grad_norm_ calls, wherever it was imported from.
    clipping = sys.modules["torch.nn.utils.clip_grad"]
    functions += [(clipping, "_get_total_norm"), (clipping, "_clip_grads_with_norm_")]
    averaging = sys.modules.get("torch.optim.swa_utils")
    if averaging is not None:
        functions += _methods(averaging.AveragedModel, "update_parameters")
    averagers = sys.modules.get("torch.distributed.algorithms.model_averaging.averagers")
    if averagers is not None:
        functions += _methods(averagers.ModelAverager, "average_parameters")
    return functions


def _methods(cls: type[Any], *names: str) -> list[tuple[Any, str]]:
    """List the classes that define methods, of a class and those derived from it."""
    classes = [cls]
    for each in classes:
        classes += each.__subclasses__()
    return [(each, name) for each in classes for name in names if name in each.__dict__]
