"""ptflops beside its drop-in on models of torchvision and timm: each difference is work that it adds or misses."""

import copy
from contextlib import contextmanager

import pytest
import required
import torch
from torch import nn
from torch.nn import functional

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
# What ptflops counts beside products for layers of exactly these types, by hooks.
ADDED = {
    **dict.fromkeys((nn.Conv2d, nn.Linear), ("biases", lambda layer, _, out: 0 if layer.bias is None else out.numel())),
    **dict.fromkeys((nn.ReLU, nn.ReLU6, nn.GELU), ("activations", lambda _layer, _, out: out.numel())),
    **dict.fromkeys(
        (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d), ("pools", lambda _layer, given, _: given.numel())
    ),
    nn.LayerNorm: ("norms", lambda _layer, given, _: given.numel()),
    **dict.fromkeys((nn.BatchNorm2d, nn.GroupNorm), ("norms", lambda _layer, given, _: 2 * given.numel())),
}
# The functions that it patches, and counts once more when a layer calls them.
PER_FIRST_ARGUMENT = (
    "relu", "relu6", "gelu", "silu", "softmax", "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d",
)  # fmt: skip


def make(library, name):
    if library == "timm":
        return required.models("timm").create_model(name).eval()
    return getattr(required.models("torchvision.models"), name)(weights=None).eval()


def is_attention(module):
    return type(module).__name__ == "Attention"


def of_layer(module, around, given, out):
    """Compute what the hook of a layer counts beside its products, and why."""
    cls = type(module)
    if any(map(is_attention, around)):
        # The hook of the attention stands for all inside, and leaves out the projections.
        return "attention without its projections", -out.numel() * module.in_features if cls is nn.Linear else 0
    if is_attention(module):
        tokens = given.shape[1]
        scale_and_softmax = tokens * module.head_dim + tokens**2
        return "scale and softmax of attention", len(given) * module.num_heads * scale_and_softmax
    reason, amount = ADDED.get(cls, ("nothing", lambda *_: 0))
    return reason, amount(module, given, out)


@contextmanager
def patched(found):
    """Add the elements of first arguments of functions to what was found."""

    def wrap(function):
        def wrapper(input, *args, **kwargs):
            found["functions"] = found.get("functions", 0) + input.numel()
            return function(input, *args, **kwargs)

        return wrapper

    with pytest.MonkeyPatch.context() as patch:
        for name in PER_FIRST_ARGUMENT:
            patch.setattr(functional, name, wrap(getattr(functional, name)))
        yield


def additions(model, image):
    """Compute what ptflops counts beside multiply-accumulates, by reason; what it misses is negative."""
    found, around, handles = {}, [], []

    def leave(module, inputs, out):
        around.pop()
        reason, amount = of_layer(module, around, inputs[0], out)
        found[reason] = found.get(reason, 0) + amount

    for module in model.modules():
        handles.append(module.register_forward_pre_hook(lambda module, _: around.append(module)))
        handles.append(module.register_forward_hook(leave))
    with patched(found):
        model(image)
    for handle in handles:
        handle.remove()
    return found


@pytest.mark.parametrize(("library", "name", "size"), MODELS)
def test_each_difference_to_ptflops_is_work_that_it_adds_or_misses(library, name, size):
    """The backend pytorch: layers and functions that multiply and accumulate nothing, biases; parameters are equal."""
    ptflops = required.models("ptflops")
    model, image = make(library, name), torch.rand(1, 3, size, size)
    theirs, their_params = ptflops.get_model_complexity_info(copy.deepcopy(model), (3, size, size), False, False)
    ours, params = get_model_complexity_info(model, (3, size, size), False, False)
    found = additions(model, image)
    assert (theirs, their_params) == (ours + sum(found.values()), params)
    assert ours == count(model, image).total.macs


@pytest.mark.parametrize(("library", "name", "size"), [MODELS[0], MODELS[6], MODELS[7]])
def test_each_difference_to_the_backend_aten_is_a_bias_or_a_fused_operator(library, name, size):
    """It adds the biases of addmm and of convolutions, and knows no fused attention."""
    ptflops = required.models("ptflops")
    model = make(library, name)
    options = {"as_strings": False, "print_per_layer_stat": False, "backend": "aten"}
    theirs, their_params = ptflops.get_model_complexity_info(copy.deepcopy(model), (3, size, size), **options)
    ours, params = get_model_complexity_info(model, (3, size, size), **options)
    rows = count(model, torch.rand(1, 3, size, size)).rows
    biases = sum(row.cost.ops for row in rows if row.op in ("aten.addmm", "aten.convolution"))
    fused = sum(row.cost.macs for row in rows if "scaled_dot_product" in row.op)
    assert (theirs, their_params) == (ours + biases - fused, params)
