"""Make a target's model and its inputs: on meta if possible, otherwise with storage."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn

from opflops.cli.call_arguments import CallArguments, merge_arguments
from opflops.cli.user_code import guard_user_code
from opflops.errors import TargetError
from opflops.torch_internals.fake_tensors import exceeds_size_limit, lacks_memory
from opflops.wording import format_error

if TYPE_CHECKING:
    from opflops.cli.run_options import RunOptions
    from opflops.cli.sources import Target


_NOT_OF_META = (AttributeError, ImportError, KeyError, StopIteration)
"""Errors that storage would not mend: a constructor raises them for what a configuration or an installation lacks."""


class PreparedModel(NamedTuple):
    """Hold a model, the arguments to call it with, and the device that both are on."""

    model: Any
    arguments: CallArguments
    device: str


def prepare_without_storage(target: Target, options: RunOptions) -> PreparedModel:
    """Make the model on meta or, if it cannot be made there, with storage."""
    if target.exists:
        return prepare(target, options, "meta")
    try:
        return prepare(target, options, "meta")
    except TargetError as error:
        if (
            options.device == "meta"
            or not isinstance(error.__cause__, Exception)
            or isinstance(error.__cause__, _NOT_OF_META)
            or exceeds_size_limit(error.__cause__)
        ):
            raise
        reason = format_error(error.__cause__)[:160]
        try:
            prepared = prepare(target, options, "cpu")
        except TargetError as later:
            if not lacks_memory(later.__cause__):
                raise
            sentence = str(later).rstrip(".")
            raise TargetError(f"{sentence}. It needs memory because it cannot be made on meta ({reason}).") from later
        options.note(f"{target.name} cannot be made on meta ({reason}), so its weights take memory.")
        return prepared


def prepare(target: Target, options: RunOptions, device: str) -> PreparedModel:
    """Make a model and its inputs on a device.

    Raises:
        TargetError: The device is not available, or making them fails.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise TargetError("--device cuda needs a GPU that PyTorch can use, and there is none here.")
    with options.progress.stage(f"making {target.name}"), guard_user_code(f"{target.name} fails to make its model"):
        with torch.device(device):
            model = target.make()
        if isinstance(model, nn.Module):
            _configure(model, target, options, device)

    def propose() -> CallArguments | None:
        proposed = target.propose_inputs(model, target.batch if options.batch is None else options.batch)
        return None if proposed is None else proposed.to(options.dtype, device)

    with guard_user_code(f"{target.name} fails to make its inputs"), torch.device(device):
        dtype = options.dtype or _first_floating_dtype(model)
        arguments = merge_arguments(model, options.input_specs, propose, dtype, target.find_keywords)
    return PreparedModel(model, arguments, device)


def _configure(model: nn.Module, target: Target, options: RunOptions, device: str) -> None:
    if target.has_training_mode:
        model.train(options.is_training)
    if options.dtype is not None:
        model.to(options.dtype)
    if device != "meta":
        # A model that existed before may be on another device.
        model.to(device)


def _first_floating_dtype(model: Any) -> torch.dtype:
    """Return the dtype of a model's first floating-point parameter; float32 if it has none."""
    parameters = model.parameters() if isinstance(model, nn.Module) else ()
    return next((each.dtype for each in parameters if each.is_floating_point()), torch.float32)


def check_memory(model: Any) -> None:
    """Check that the parameters of a model on meta fit into the memory of this machine.

    Raises:
        TargetError: They do not.
    """
    if not isinstance(model, nn.Module) or not hasattr(os, "sysconf"):
        return
    needed = sum(each.numel() * each.element_size() for each in model.parameters())
    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > available:
        raise TargetError(
            f"The model needs the values of tensors, so it must run for real. Its parameters take "
            f"{needed / 2**30:,.0f} GiB, and this machine has {available / 2**30:,.0f} GiB of memory."
        )
