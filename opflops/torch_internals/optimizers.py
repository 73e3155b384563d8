"""Optimizers: the functions that belong to the optimizer phase."""

from __future__ import annotations

import sys
from typing import Any

import torch


def optimizer_callables() -> list[tuple[Any, str]]:
    """Return the functions of the optimizer phase: steps, gradient scaling and clipping, parameter averaging."""
    classes = [torch.optim.Optimizer]
    for cls in classes:
        classes += cls.__subclasses__()
    prepared = [cls for cls in dict.fromkeys(classes) if "step" in vars(cls) and getattr(cls.step, "hooked", False)]
    functions: list[tuple[Any, str]] = [(cls, "step") for cls in prepared]
    functions += [(torch.amp.GradScaler, "_unscale_grads_"), (torch.amp.GradScaler, "update")]
    # The global functions that clip_grad_norm_ calls, wherever it was imported from.
    clipping = sys.modules["torch.nn.utils.clip_grad"]
    functions += [(clipping, "_get_total_norm"), (clipping, "_clip_grads_with_norm_")]
    averaging = sys.modules.get("torch.optim.swa_utils")
    return functions if averaging is None else [*functions, (averaging.AveragedModel, "update_parameters")]


def optimizer_preparation() -> list[tuple[Any, str]]:
    """Return the function that every optimizer's constructor calls to prepare the ``step`` of its class."""
    return [(torch.optim.Optimizer, "_patch_step_function")]
