"""PyTorch's ``FlopCounterMode`` beside the drop-in, on models of torchvision and timm."""

import pytest
import required
import torch
from torch.utils.flop_counter import FlopCounterMode as TorchMode

from opflops import export_formulas
from opflops.compat import FlopCounterMode

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.external]

aten = torch.ops.aten
# What PyTorch has no formula for, and the weight gradient of grouped convolutions, which it counts once per group.
WITHOUT_FORMULA = {
    aten._scaled_dot_product_flash_attention_for_cpu,
    aten._scaled_dot_product_flash_attention_for_cpu_backward,
    aten._transformer_encoder_layer_fwd,
}
MODELS = {
    "torchvision": {
        "resnet18": 64,
        "densenet121": 64,
        "mobilenet_v3_small": 64,
        "swin_t": 64,
        "shufflenet_v2_x0_5": 64,
    },
    "timm": {
        "vit_tiny_patch16_224": 224,
        "mixer_s32_224": 224,
        "convnext_atto": 64,
        "resnet10t": 64,
        "regnetx_002": 64,
    },
}
NAMES = [(library, name) for library, names in MODELS.items() for name in names]


def make(library, name):
    if library == "timm":
        return required.models("timm").create_model(name)
    return getattr(required.models("torchvision.models"), name)()


def trained(mode_class, model, image):
    with mode_class(display=False, depth=None) as mode:
        model(image).sum().backward()
    return mode


def extra_weight_gradients(model, image):
    """Count what PyTorch adds for grouped convolutions: a weight gradient for each group but one."""
    extra = 0

    def add(module, _, out):
        nonlocal extra
        positions = out.numel() // module.out_channels
        extra += 2 * (module.groups - 1) * positions * module.weight.numel()

    hooks = [each.register_forward_hook(add) for each in model.modules() if isinstance(each, torch.nn.Conv2d)]
    model(image)
    for hook in hooks:
        hook.remove()
    return extra


def without(counts, ops):
    """Leave out operators, and modules with no others."""
    kept = {module: {op: n for op, n in by_op.items() if op not in ops} for module, by_op in counts.items()}
    return {module: by_op for module, by_op in kept.items() if by_op}


@pytest.mark.parametrize(("library", "name"), NAMES)
def test_a_model_has_pytorchs_figures_where_it_is_right(library, name):
    """Forward by module and operator, and trained by operator, in all but what PyTorch has wrong, worked out here.

    Which modules have which part of the backward pass is one of these things.
    """
    model = make(library, name)
    image = torch.rand(1, 3, *[MODELS[library][name]] * 2, requires_grad=True)
    with torch.no_grad(), TorchMode(display=False) as theirs, FlopCounterMode(display=False) as ours:
        model(image)
    assert without(ours.get_flop_counts(), WITHOUT_FORMULA) == theirs.get_flop_counts()

    with TorchMode(display=False) as theirs, FlopCounterMode(display=False) as ours:
        model(image).sum().backward()
    their_counts, our_counts = theirs.get_flop_counts()["Global"], ours.get_flop_counts()["Global"]
    if aten.convolution_backward in their_counts:
        their_counts[aten.convolution_backward] -= extra_weight_gradients(model, image)
    assert without({"Global": our_counts}, WITHOUT_FORMULA) == {"Global": their_counts}


@pytest.mark.parametrize(("library", "name"), [("timm", "convnext_atto"), ("timm", "vit_tiny_patch16_224")])
def test_pytorchs_class_has_the_same_figures_by_exported_formulas(library, name):
    """Operator by operator."""
    model = make(library, name)
    image = torch.rand(1, 3, *[MODELS[library][name]] * 2)
    ours = trained(FlopCounterMode, model, image)
    with export_formulas():
        assert trained(TorchMode, model, image).get_flop_counts()["Global"] == ours.get_flop_counts()["Global"]
