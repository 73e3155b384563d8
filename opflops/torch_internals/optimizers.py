"""Optimizers: the functions whose work is an optimizer's."""

from __future__ import annotations

import sys
from typing import Any

import torch


def optimizer_callables() -> list[tuple[Any, str]]:
    """List what counts as the optimizer's work: steps, gradient scaling and clipping, averaging of parameters."""
    classes = [torch.optim.Optimizer]
    for one in classes:
        classes += one.__subclasses__()
    prepared = [one for one in dict.fromkeys(classes) if "step" in vars(one) and getattr(one.step, "hooked", False)]
    listed: list[tuple[Any, str]] = [(one, "step") for one in prepared]
    listed += [(torch.amp.GradScaler, "_unscale_grads_"), (torch.amp.GradScaler, "update")]
    # The global functions that clip_grad_norm_ calls, wherever it was imported from.
    clipping = sys.modules["torch.nn.utils.clip_grad"]
    listed += [(clipping, "_get_total_norm"), (clipping, "_clip_grads_with_norm_")]
    averaging = sys.modules.get("torch.optim.swa_utils")
    return listed if averaging is None else [*listed, (averaging.AveragedModel, "update_parameters")]


def optimizer_preparation() -> list[tuple[Any, str]]:
    """List what every optimizer calls when it is made, to prepare the ``step`` of its class."""
    return [(torch.optim.Optimizer, "_patch_step_function")]
