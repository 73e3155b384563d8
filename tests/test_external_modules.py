"""Parameters, shapes and activations of torchvision's and timm's models, as torchinfo and fvcore count them."""

import logging

import pytest
import required
import torch

from opflops import count
from opflops.records.modules import inclusive_totals

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.external]

# The sizes of images. Of attention, fvcore sees the products only where they are operators of their own.
MODELS = {
    "torchvision": {"resnet18": 64, "densenet121": 64, "mobilenet_v3_small": 64, "efficientnet_b0": 64, "swin_t": 64},
    "timm": {
        "vit_tiny_patch16_224": 224,
        "mixer_s32_224": 224,
        "convnext_atto": 64,
        "resnet10t": 64,
        "mobilenetv4_conv_small": 64,
    },
}
# No modules that torchinfo lists by a shape of its own: it takes the first of several tensors.
NAMES = [(library, name) for library, names in MODELS.items() for name in names]


def make(library, name):
    if library == "timm":
        timm = required.models("timm")
        timm.layers.set_fused_attn(enable=False)
        try:
            return timm.create_model(name).eval()
        finally:
            timm.layers.set_fused_attn()
    return getattr(required.models("torchvision.models"), name)().eval()


@pytest.mark.parametrize(("library", "name"), NAMES)
def test_a_model_has_the_parameters_and_activations_that_others_count(library, name, monkeypatch):
    """Number for number: PyTorch, torchinfo in all and by layer with the shapes, fvcore in all and by module."""
    torchinfo, fvcore = required.models("torchinfo"), required.models("fvcore.nn")
    monkeypatch.setattr(logging.root.manager, "disable", logging.CRITICAL)
    model, image = make(library, name), torch.rand(2, 3, *[MODELS[library][name]] * 2)
    for frozen in [*model.parameters()][:3]:
        frozen.requires_grad_(False)
    profile = count(model, image)
    root = profile.called[0]

    totals, records = inclusive_totals(profile.modules, profile.rows), {each.module: each for each in profile.modules}
    everything = profile.module(root)
    assert everything.total_parameters == sum(each.numel() for each in model.parameters()) == profile.parameters
    trainable = sum(each.numel() for each in model.parameters() if each.requires_grad)
    assert everything.total_trainable == trainable == profile.trainable
    assert everything.total_buffers == sum(each.numel() for each in model.buffers())

    summary = torchinfo.summary(model, input_data=image, verbose=0, cache_forward_pass=False, depth=20)
    assert (summary.total_params, summary.trainable_params) == (profile.parameters, profile.trainable)
    names = {id(module): f"{root}.{path}" if path else root for path, module in model.named_modules()}
    compared = 0
    for layer in summary.summary_list:
        ours = records.get(names[layer.layer_id])
        if layer.is_leaf_layer and ours is not None and ours.calls:
            assert [*ours.calls[0].inputs[0].shape] == layer.input_size, ours.module
            assert [*ours.calls[0].outputs[0].shape] == layer.output_size, ours.module
            assert totals[ours.module].parameters == layer.num_params, ours.module
            compared += 1
    assert compared > 20

    for path, number in fvcore.parameter_count(model).items():
        module = f"{root}.{path}".removesuffix(".")
        if module in totals:
            assert totals[module].parameters == number, path
    with torch.no_grad():
        analysis = fvcore.ActivationCountAnalysis(model, image)
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
        by_module = analysis.by_module()
    assert everything.total_activations == by_module[""]
    for path, number in by_module.items():
        if f"{root}.{path}" in profile.called:
            assert totals[f"{root}.{path}"].activations == number, path
