"""Models of torchvision and timm for DeepSpeed's profiler and calflops, and what both of them charge for modules."""

import required
from torch import nn

SIZES = {
    "torchvision": {
        "resnet18": 64,
        "densenet121": 64,
        "mobilenet_v3_small": 64,
        "shufflenet_v2_x1_0": 64,
        "efficientnet_b0": 64,
        "swin_t": 64,
        "vit_b_32": 224,
    },
    "timm": {"mixer_s32_224": 224, "convnext_atto": 64, "vit_tiny_patch16_224": 224, "resnet10t": 64},
}
NAMES = [(library, name) for library, names in SIZES.items() for name in names]


def make(library, name):
    if library == "timm":
        return required.models("timm").create_model(name).eval()
    return getattr(required.models("torchvision.models"), name)().eval()


# What they charge for a call in evaluation mode, beside products: for each element of the input, or of a convolution's
# result. What is not here costs nothing: additions of a Linear's bias and of residuals, Hardswish, squeezing gates.
PRICES = {
    nn.BatchNorm2d: 2,
    nn.LayerNorm: 5,
    nn.ReLU: 1,
    nn.SiLU: 1,
    nn.GELU: 1,
    nn.MaxPool2d: 1,
    nn.AdaptiveAvgPool2d: 1,
}


def charged(model, image):
    """Add up what they charge for the modules of a model beside products, with hooks of our own."""
    sums = []

    def add(module, inputs, output):
        if isinstance(module, nn.Conv2d):
            sums.append(output.numel() if module.bias is not None else 0)
        else:
            sums.append(PRICES.get(type(module), 0) * inputs[0].numel() if inputs else 0)

    handles = [each.register_forward_hook(add) for each in model.modules()]
    model(image)
    for handle in handles:
        handle.remove()
    return sum(sums)
