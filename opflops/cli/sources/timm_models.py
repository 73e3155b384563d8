"""``timm:vit_base_patch16_224``: every model that timm registers, without its weights."""

from __future__ import annotations

from typing import Any

import torch

from opflops.cli.arranged import Inputs
from opflops.cli.sources import Asked, Target, library
from opflops.errors import TargetError
from opflops.wording import unknown


def names(pattern: str | None = None) -> list[str]:
    """List the models, or those that fit a pattern such as ``"vit*"``."""
    found: list[str] = library("timm").list_models(pattern or "")
    return found


def find(name: str, asked: Asked) -> Target:
    """Find a model by its name, with or without the tag of its weights.

    Raises:
        TargetError: There is none; the message gives the nearest names.
        MissingExtraError: timm is not installed.
    """
    timm = library("timm")
    if not timm.is_model(name):
        raise TargetError(unknown("timm model", name, timm.list_models()))
    arguments = {"pretrained": False, **asked.arguments}

    def make() -> Any:
        return timm.create_model(name, **arguments)

    def propose(model: Any, batch: int) -> Inputs:
        channels, *sizes = _input_size(model, asked)
        return Inputs((torch.zeros(batch, channels, *sizes),), {}, "from the model's configuration")

    return Target(f"timm:{name}", make, propose)


def _input_size(model: Any, asked: Asked) -> tuple[int, ...]:
    """Read the size off the model's configuration, unless an argument set another."""
    configuration = getattr(model, "pretrained_cfg", None) or getattr(model, "default_cfg", None) or {}
    channels, *sizes = configuration.get("input_size", (3, 224, 224))
    size = asked.arguments.get("img_size")
    if size is not None:
        sizes = list(size) if isinstance(size, (list, tuple)) else [size, size]
    return (asked.arguments.get("in_chans", channels), *sizes)
