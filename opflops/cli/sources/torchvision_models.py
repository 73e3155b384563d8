"""``torchvision:resnet50``: every model that torchvision registers, without its weights.

Detection models with a head for boxes are counted with as many boxes as they propose, which is a matter of their
weights: without any, they propose as many as they may. The figures that torchvision publishes for Faster R-CNN on
MobileNetV3 are of images in which nothing was proposed.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch

from opflops.cli.arranged import Inputs
from opflops.cli.sources import Asked, Target, library
from opflops.errors import TargetError
from opflops.wording import unknown

_WHENCE = "from the transforms of its weights"
_FRAMES = 16
_FLOW = 512


def names(pattern: str | None = None) -> list[str]:
    """List the models, or those that fit a pattern such as ``"resnet*"``."""
    found: list[str] = library("torchvision.models").list_models(include=pattern)
    return found


def find(name: str, asked: Asked) -> Target:
    """Find a model by the name that torchvision registers it under.

    Raises:
        TargetError: There is none; the message gives the nearest names.
        MissingExtraError: torchvision is not installed.
    """
    models = library("torchvision.models")
    known = models.list_models()
    if name.lower() not in known:
        raise TargetError(unknown("torchvision model", name, known))
    builder = models.get_model_builder(name.lower())
    arguments: dict[str, Any] = {"weights": None}
    if "weights_backbone" in inspect.signature(builder).parameters:
        arguments["weights_backbone"] = None
    arguments |= asked.arguments
    family = builder.__module__.split(".")[2]

    def make() -> Any:
        return builder(**arguments)

    def propose(model: Any, batch: int) -> Inputs:
        return _inputs(model, family, _weights(models, name.lower()), batch)

    return Target(f"torchvision:{name}", make, propose)


def _weights(models: Any, name: str) -> Any:
    try:
        return models.get_model_weights(name).DEFAULT
    except (ValueError, AttributeError):  # a model that somebody registered without weights
        return None


def _inputs(model: Any, family: str, weights: Any, batch: int) -> Inputs:
    """Make what a model of a family takes: images, a list of images, clips, or two images."""
    transforms = weights.transforms() if weights is not None else None
    if family == "detection":
        sizes = _detection_size(model)
        images = [torch.zeros(3, *sizes) for _ in range(batch)]
        targets = [_target(model, sizes) for _ in range(batch)] if model.training else None
        return Inputs((images, targets) if targets else (images,), {}, "from its own transform")
    if family == "optical_flow":
        images = [torch.zeros(batch, 3, _FLOW, _FLOW) for _ in range(2)]
        return Inputs(tuple(images), {}, "the size that its published figure is for")
    # A table of positions fixes the size; the weights may be for another than the model has without them.
    own = getattr(model, "image_size", None)
    size = own or getattr(transforms, "crop_size", None) or getattr(transforms, "resize_size", None) or [224]
    height, width = (size[0], size[-1]) if isinstance(size, (list, tuple)) else (size, size)
    if family == "video":
        frames = max(_FRAMES, (weights.meta if weights is not None else {}).get("min_temporal_size", 1))
        return Inputs((torch.zeros(batch, 3, frames, height, width),), {}, f"{_WHENCE}, {frames} frames")
    return Inputs((torch.zeros(batch, 3, height, width),), {}, _WHENCE)


def _detection_size(model: Any) -> tuple[int, int]:
    """Return the size that a detection model brings every image to."""
    transform = model.transform
    if transform.fixed_size:
        width, height = transform.fixed_size
        return height, width
    least, most = transform.min_size[-1], transform.max_size
    return min(least, most), min(least, most)


def _target(model: Any, sizes: tuple[int, int]) -> dict[str, Any]:
    """Make what a detection model learns from: one box over the middle of the image."""
    height, width = sizes
    target = {
        "boxes": torch.tensor([[width / 4, height / 4, width / 2, height / 2]]),
        "labels": torch.ones(1, dtype=torch.int64),
    }
    heads = getattr(model, "roi_heads", None)
    if getattr(heads, "mask_predictor", None) is not None:
        target["masks"] = torch.zeros(1, height, width, dtype=torch.uint8)
    if getattr(heads, "keypoint_predictor", None) is not None:
        target["keypoints"] = torch.full((1, 17, 3), width / 3)
    return target
