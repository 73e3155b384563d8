"""``torchvision:resnet50``: every model that torchvision registers, without its weights.

The cost of a detection model with a box head depends on how many boxes it proposes, and so on its weights. Without
weights it proposes as many as it may. The figures that torchvision publishes for Faster R-CNN on MobileNetV3 are for
images without any proposals.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch

from opflops.cli.call_arguments import CallArguments
from opflops.cli.sources import ModelRequest, Target, import_library
from opflops.errors import TargetError
from opflops.wording import unknown

_ORIGIN = "from the transforms of its weights"
_FRAMES = 16
_FLOW = 512


def names(pattern: str | None = None) -> list[str]:
    """List the models, or those that match a pattern such as ``"resnet*"``."""
    models: list[str] = import_library("torchvision.models").list_models(include=pattern)
    return models


def find(name: str, request: ModelRequest) -> Target:
    """Find a model by the name that torchvision registers it under.

    Raises:
        TargetError: There is no such model; the message suggests similar names.
        MissingExtraError: torchvision is not installed.
    """
    models = import_library("torchvision.models")
    known = models.list_models()
    if name.lower() not in known:
        raise TargetError(unknown("torchvision model", name, known))
    builder = models.get_model_builder(name.lower())
    arguments: dict[str, Any] = {"weights": None}
    if "weights_backbone" in inspect.signature(builder).parameters:
        arguments["weights_backbone"] = None
    arguments |= request.arguments
    family = builder.__module__.split(".")[2]

    def make() -> Any:
        return builder(**arguments)

    def propose(model: Any, batch: int) -> CallArguments:
        return _inputs(model, family, _weights(models, name.lower()), batch)

    return Target(f"torchvision:{name}", make, propose)


def _weights(models: Any, name: str) -> Any:
    try:
        return models.get_model_weights(name).DEFAULT
    except (ValueError, AttributeError):  # a model that was registered without weights
        return None


def _inputs(model: Any, family: str, weights: Any, batch: int) -> CallArguments:
    """Make the inputs of a family of models: images, a list of images, clips, or two images."""
    transforms = weights.transforms() if weights is not None else None
    if family == "detection":
        sizes = _detection_size(model)
        images = [torch.zeros(3, *sizes) for _ in range(batch)]
        targets = [_target(model, sizes) for _ in range(batch)] if model.training else None
        return CallArguments((images, targets) if targets else (images,), {}, "from the model's transform")
    if family == "optical_flow":
        images = [torch.zeros(batch, 3, _FLOW, _FLOW) for _ in range(2)]
        return CallArguments(tuple(images), {}, "the size of its published figure")
    # A position embedding fixes the size. The weights may be for another size than that of the model without weights.
    fixed_size = getattr(model, "image_size", None)
    size = fixed_size or getattr(transforms, "crop_size", None) or getattr(transforms, "resize_size", None) or [224]
    height, width = (size[0], size[-1]) if isinstance(size, (list, tuple)) else (size, size)
    if family == "video":
        frames = max(_FRAMES, (weights.meta if weights is not None else {}).get("min_temporal_size", 1))
        return CallArguments((torch.zeros(batch, 3, frames, height, width),), {}, f"{_ORIGIN}, {frames} frames")
    return CallArguments((torch.zeros(batch, 3, height, width),), {}, _ORIGIN)


def _detection_size(model: Any) -> tuple[int, int]:
    """Return the size that a detection model resizes images to."""
    transform = model.transform
    if transform.fixed_size:
        width, height = transform.fixed_size
        return height, width
    side = min(transform.min_size[-1], transform.max_size)
    return side, side


def _target(model: Any, sizes: tuple[int, int]) -> dict[str, Any]:
    """Make the training target of a detection model: one box in the middle of the image."""
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
