"""ptflops beside its drop-in on models of torchvision and timm: every difference follows from a mistake of ptflops."""

import copy

import pytest
import required
import torch
from torch import nn

from opflops import count
from opflops.compat.ptflops import get_model_complexity_info

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.external]

MODELS = [
    ("torchvision", "resnet18", 64),
    ("torchvision", "mobilenet_v2", 64),
    ("torchvision", "densenet121", 64),
    ("torchvision", "squeezenet1_0", 64),
    ("torchvision", "efficientnet_b0", 64),
    ("torchvision", "googlenet", 64),
    ("torchvision", "convnext_tiny", 64),
    ("timm", "vit_tiny_patch16_224", 224),
    ("timm", "mixer_s32_224", 224),
    ("timm", "resnet10t", 64),
]
# Layers whose function ptflops patches too, so that it counts them by their hook and by the function.
ACTIVATIONS = (nn.ReLU, nn.GELU)
POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)


def make(library, name):
    if library == "timm":
        return required.models("timm").create_model(name).eval()
    return getattr(required.models("torchvision.models"), name)(weights=None).eval()


def calls_of(model, image):
    """List the calls of modules: module, the module around it, first input, output."""
    calls, around = [], []

    def enter(module, _):
        around.append(module)

    def leave(module, inputs, out):
        around.pop()
        calls.append((module, tuple(around), inputs[0], out))

    handles = []
    for module in model.modules():
        handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
    model(image)
    for handle in handles:
        handle.remove()
    return calls


def windows(pool, given, out):
    """Count the elements of the windows of a pooling."""
    if isinstance(pool, nn.AdaptiveAvgPool2d):
        assert given.shape[-1] % out.shape[-1] == 0 or out.shape[-1] == 1
        return given.numel()
    return (
        out.numel()
        * torch.Size(pool.kernel_size if isinstance(pool.kernel_size, tuple) else [pool.kernel_size] * 2).numel()
    )


def mistakes(model, image):
    """Compute what ptflops counts too much, by reason; too little is negative."""
    found = dict.fromkeys(
        ("activations twice", "pools twice, without overlaps", "norms without a scale, or unknown", "operators unseen",
         "attention without its projections"), 0,
    )  # fmt: skip
    for module, around, given, out in calls_of(model, image):
        cls = type(module)
        in_attention = any(type(each).__name__ == "Attention" for each in around)
        if cls in ACTIVATIONS:
            found["activations twice"] += out.numel()
        elif cls in POOLS:
            found["pools twice, without overlaps"] += 2 * given.numel() - windows(module, given, out)
        elif isinstance(module, nn.LayerNorm):
            found["norms without a scale, or unknown"] -= given.numel() * (1 if cls is nn.LayerNorm else 2)
        elif cls is nn.Linear and in_attention:
            found["attention without its projections"] -= out.numel() * (module.in_features + 1)
    # Some linear layers add their bias by an operator; it counts in theirs too.
    for row in count(model, image).rows:
        if row.op in ("aten.add", "aten.add_", "aten.mul", "aten.mul_") and row.module_type != "Linear":
            found["operators unseen"] -= row.cost.ops
    return found


@pytest.mark.parametrize(("library", "name", "size"), MODELS)
def test_each_difference_to_ptflops_is_one_of_its_mistakes(library, name, size):
    """The backend pytorch; without a mistake, the figures are equal."""
    ptflops = required.models("ptflops")
    model = make(library, name)
    theirs, their_params = ptflops.get_model_complexity_info(copy.deepcopy(model), (3, size, size), False, False)
    ours, params = get_model_complexity_info(model, (3, size, size), False, False)
    found = mistakes(model, torch.rand(1, 3, size, size))
    assert (theirs, their_params) == (ours + sum(found.values()), params)
