"""thop beside its drop-in on models of torchvision and timm: each difference is work that it adds or misses."""

import copy
import math

import pytest
import required
import torch
from torch import nn

from opflops import count
from opflops.compat.thop import profile

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.external]

# The models, what thop counts in each beside multiply-accumulates, and what it misses.
MODELS = {
    ("torchvision", "resnet18", 64): ("norms", "average pools"),
    ("torchvision", "mobilenet_v2", 64): ("norms",),
    ("torchvision", "squeezenet1_0", 64): ("average pools",),
    ("torchvision", "efficientnet_b0", 64): ("norms", "average pools"),
    ("torchvision", "shufflenet_v2_x0_5", 64): ("norms",),
    ("torchvision", "vgg11", 64): ("average pools",),
    ("torchvision", "googlenet", 64): ("norms", "average pools", "parameters of modules not called"),
    ("torchvision", "convnext_tiny", 64): ("norms", "average pools", "parameters without a rule"),
    ("timm", "mixer_s32_224", 224): ("norms",),
    ("timm", "vit_tiny_patch16_224", 224): ("attention", "parameters without a rule"),
}
NORMS = (nn.BatchNorm2d, nn.LayerNorm)


def make(library, name):
    if library == "timm":
        return required.models("timm").create_model(name).eval()
    return getattr(required.models("torchvision.models"), name)(weights=None).eval()


def added(module, given, out):
    """Compute what thop counts in a call of a module beside multiply-accumulates, and why; missed ones are negative."""
    if type(module) in NORMS:
        return "norms", 4 * given.numel()
    if type(module) is nn.AdaptiveAvgPool2d:
        # A fraction of a window, where the sizes do not divide.
        window = math.prod(n / o for n, o in zip(given.shape[-2:], out.shape[-2:], strict=True))
        return "average pools", int((window + 1) * out.numel())
    if type(module).__name__ == "Attention":
        # The two products of each head are one function.
        return "attention", -2 * module.num_heads * given.shape[1] ** 2 * module.head_dim
    return "", 0


def differences(model, image, rules):
    """Compute what thop adds, by reason, and the parameters that it misses."""
    figures, parameters, called = {}, {}, set()

    def look(module, inputs, out):
        called.add(module)
        reason, amount = added(module, inputs[0], out)
        figures[reason] = figures.get(reason, 0) + amount

    handles = [each.register_forward_hook(look) for each in model.modules()]
    model(image)
    for handle in handles:
        handle.remove()
    for module in model.modules():
        if type(module) not in rules or module not in called:
            reason = "parameters of modules not called" if type(module) in rules else "parameters without a rule"
            own = sum(each.numel() for each in module.parameters(recurse=False))
            parameters[reason] = parameters.get(reason, 0) + own
    return figures, parameters


@pytest.mark.parametrize(("library", "name", "size"), MODELS)
def test_each_difference_to_thop_is_work_that_it_adds_or_misses(library, name, size):
    """Layers that multiply and accumulate nothing, attention, and parameters."""
    thop = required.models("thop")
    rules = required.models("thop.profile").register_hooks
    model, image = make(library, name), torch.rand(1, 3, size, size)
    theirs = thop.profile(copy.deepcopy(model), (image,), verbose=False)
    ours = profile(model, (image,), verbose=False)
    figures, parameters = differences(model, image, rules)
    assert theirs == (ours[0] + sum(figures.values()), ours[1] - sum(parameters.values()))
    assert ours[0] == count(model, image).total.macs
    reasons = [reason for reason, amount in {**figures, **parameters}.items() if amount]
    assert sorted(reasons) == sorted(MODELS[library, name, size])
