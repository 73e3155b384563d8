"""thop beside its drop-in on models of torchvision and timm: every difference follows from a mistake of thop."""

import copy
import math

import pytest
import required
import torch
from torch import nn

from opflops.compat.thop import profile

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.external]

# The models and what thop misses in each.
MODELS = {
    ("torchvision", "resnet18", 64): (),
    ("torchvision", "mobilenet_v2", 64): ("pooling by a function",),
    ("torchvision", "squeezenet1_0", 64): (),
    ("torchvision", "efficientnet_b0", 64): (),
    ("torchvision", "shufflenet_v2_x0_5", 64): (),
    ("torchvision", "vgg11", 64): ("windows that do not divide",),
    ("torchvision", "googlenet", 64): ("parameters of modules not called",),
    ("torchvision", "convnext_tiny", 64): ("norms of a subclass", "parameters without a rule"),
    ("timm", "mixer_s32_224", 224): (),
    ("timm", "vit_tiny_patch16_224", 224): ("norms of a subclass", "attention", "parameters without a rule"),
}


def make(library, name):
    if library == "timm":
        return required.models("timm").create_model(name).eval()
    return getattr(required.models("torchvision.models"), name)(weights=None).eval()


def adaptive_pooling(given, out):
    """Return what an adaptive average takes, by its windows, and as thop has it: all of one fraction of the input."""
    axes, kernel = [], 1.0
    for n, o in zip(given.shape[-2:], out.shape[-2:], strict=True):
        axes.append(sum(math.ceil((i + 1) * n / o) - i * n // o for i in range(o)))
        kernel *= n / o
    return out.shape[0] * out.shape[1] * math.prod(axes) + out.numel(), int((kernel + 1) * out.numel())


def missed(module, given, out):
    """Compute what thop misses in a call of a module, and why."""
    kind = type(module).__name__
    if isinstance(module, nn.LayerNorm) and type(module) is not nn.LayerNorm:
        return "norms of a subclass", 4 * given.numel()
    if kind == "Attention":
        # Two products and a softmax of the scores of each head.
        tokens = given.shape[1]
        return "attention", module.num_heads * (2 * tokens**2 * module.head_dim + 3 * tokens**2 - tokens)
    if isinstance(module, nn.AdaptiveAvgPool2d):
        right, theirs = adaptive_pooling(given, out)
        return "windows that do not divide", right - theirs
    if kind == "MobileNetV2":
        image = module.features(given)
        return "pooling by a function", image[0].numel() + image.shape[1]
    return "", 0


def mistakes(model, image, rules):
    """Compute what thop misses, by reason: figures, and parameters."""
    figures, parameters, called = {}, {}, set()

    def look(module, inputs, out):
        called.add(module)
        reason, amount = missed(module, inputs[0], out)
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
def test_each_difference_to_thop_is_one_of_its_mistakes(library, name, size):
    """Figures and parameters; a model in which thop makes no mistake has the very figures."""
    thop = required.models("thop")
    rules = required.models("thop.profile").register_hooks
    model, image = make(library, name), torch.rand(1, 3, size, size)
    theirs = thop.profile(copy.deepcopy(model), (image,), verbose=False)
    ours = profile(model, (image,), verbose=False)
    figures, parameters = mistakes(model, image, rules)
    assert ours == (theirs[0] + sum(figures.values()), theirs[1] + sum(parameters.values()))
    reasons = [reason for reason, amount in {**figures, **parameters}.items() if amount]
    assert sorted(reasons) == sorted(MODELS[library, name, size])
