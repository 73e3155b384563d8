"""``timm:vit_base_patch16_224``: every model that timm registers, without its weights."""

from __future__ import annotations

from typing import Any

import torch

from opflops.cli.call_arguments import CallArguments
from opflops.cli.sources import ModelRequest, Target, import_library
from opflops.errors import TargetError
from opflops.wording import unknown


def names(pattern: str | None = None) -> list[str]:
    """List the models, or those that match a pattern such as ``"vit*"``."""
    models: list[str] = import_library("timm").list_models(pattern or "")
    return models


def find(name: str, request: ModelRequest) -> Target:
    """Find a model by its name, with or without the tag of its weights.

    Raises:
        TargetError: There is no such model; the message suggests similar names.
        MissingExtraError: timm is not installed.
    """
    timm = import_library("timm")
    if not timm.is_model(name):
        raise TargetError(unknown("timm model", name, timm.list_models()))
    arguments = {"pretrained": False, **request.arguments}

    def make() -> Any:
        return timm.create_model(name, **arguments)

    def propose(model: Any, batch: int) -> CallArguments:
        channels, *sizes = _input_size(model, request)
        return CallArguments((torch.zeros(batch, channels, *sizes),), {}, "from the model's configuration")

    return Target(f"timm:{name}", make, propose)


def _input_size(model: Any, request: ModelRequest) -> tuple[int, ...]:
    """Return channels, height and width from ``--arg``, or else from the model's configuration."""
    configuration = getattr(model, "pretrained_cfg", None) or getattr(model, "default_cfg", None) or {}
    channels, *sizes = configuration.get("input_size", (3, 224, 224))
    size = request.arguments.get("img_size")
    if size is not None:
        sizes = list(size) if isinstance(size, (list, tuple)) else [size, size]
    return (request.arguments.get("in_chans", channels), *sizes)
