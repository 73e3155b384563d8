"""fvcore beside its drop-in on models of torchvision and timm: equal, given handles for what fvcore counts as 0."""

import logging
from importlib import import_module

import pytest
import required
import torch
from torch import nn

from opflops.compat import fvcore as drop_in

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.external, pytest.mark.no_outer_mode]

# The sizes of images, and what makes models for them.
MODELS = {
    "torchvision": {
        "resnet18": 32,
        "mobilenet_v3_small": 32,
        "densenet121": 32,
        "squeezenet1_1": 32,
        "swin_t": 32,
        "vit_b_16": 32,
        "googlenet": 32,
    },
    "timm": {"mixer_s32_224": 224, "convnext_atto": 32, "xcit_nano_12_p16_224": 32},
}
OPTIONS = {"vit_b_16": {"image_size": 32}, "googlenet": {"init_weights": False}}
NAMES = [(library, name) for library, names in MODELS.items() for name in names]
ATTENTION = "aten::scaled_dot_product_attention"


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    monkeypatch.setattr(logging.root.manager, "disable", logging.CRITICAL)


def attention(inputs, _outputs):
    """Two products of b·h·s·t·d: of queries and keys, and of scores and values."""
    *batch, queries, size = inputs[0].type().sizes()
    keys, values = inputs[1].type().sizes()[-2], inputs[2].type().sizes()[-1]
    heads = torch.Size(batch).numel()
    return heads * queries * keys * (size + values)


def make(library, name):
    if library == "timm":
        return required.models("timm").create_model(name, **OPTIONS.get(name, {})).eval()
    return getattr(required.models("torchvision.models"), name)(**OPTIONS.get(name, {})).eval()


def text(table):
    # With tabulate 0.10, fvcore's tables lose their indentation.
    return table.replace(" ", "").replace("-", "")


@pytest.mark.parametrize(("library", "name"), NAMES)
def test_a_model_has_fvcores_figures(library, name):
    """By module and operator, with handles for what fvcore counts as 0 or roughly; and its warnings and tables."""
    fvcore = required.models("fvcore.nn")
    model, image = make(library, name), torch.rand(1, 3, *[MODELS[library][name]] * 2)
    theirs, ours = (each.FlopCountAnalysis(model, image) for each in (fvcore, drop_in))
    theirs.set_op_handle(ATTENTION, attention)
    for mode in ("owner", "caller") if name in {"resnet18", "swin_t", "mixer_s32_224"} else ("owner",):
        theirs.ancestor_mode(mode)._stats = None
        assert ours.ancestor_mode(mode).by_module_and_operator() == theirs.by_module_and_operator()
        assert list(ours.by_module()) == list(theirs.by_module())
        for module in ("", list(ours.by_module())[-1]):
            assert ours.unsupported_ops(module) == theirs.unsupported_ops(module)
        # Of these, nothing shows fvcore that they were called.
        missed = {type(model.get_submodule(each)) for each in theirs.uncalled_modules() - ours.uncalled_modules()}
        assert ours.uncalled_modules() <= theirs.uncalled_modules()
        assert all(each is nn.Identity or each.__name__ == "StochasticDepth" for each in missed)
    activations = [each.ActivationCountAnalysis(model, image) for each in (fvcore, drop_in)]
    activations[0].set_op_handle(ATTENTION, lambda _, outputs: torch.Size(outputs[0].type().sizes()).numel())
    assert activations[1].by_module_and_operator() == activations[0].by_module_and_operator()
    assert drop_in.parameter_count(model) == fvcore.parameter_count(model)
    assert text(drop_in.parameter_count_table(model)) == text(fvcore.parameter_count_table(model))
    for depth, shapes in ((3, True), (9, False)):
        options = {"max_depth": depth, "show_param_shapes": shapes}
        table = drop_in.flop_count_table(ours, activations=activations[1], **options)
        assert text(table) == text(fvcore.flop_count_table(theirs, activations=activations[0], **options))


def test_handles_of_fvcore_take_the_values_of_the_drop_in():
    """All of its default ones give what they give there."""
    fvcore = required.models("fvcore.nn")
    # In fvcore.nn, the function hides the module of the same name.
    handles = import_module("fvcore.nn.flop_count")._DEFAULT_SUPPORTED_OPS
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Upsample(scale_factor=2, mode="bilinear"), nn.GroupNorm(2, 8),
        nn.ConvTranspose2d(8, 4, 3, stride=2, groups=2), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 5),
        nn.LayerNorm(5),
    )  # fmt: skip
    image = torch.rand(2, 3, 9, 9)
    theirs = fvcore.FlopCountAnalysis(model, image)
    ours = drop_in.JitModelAnalysis(model, image).set_op_handle(**handles)
    assert ours.by_module_and_operator() == theirs.by_module_and_operator()
    assert drop_in.FlopCountAnalysis(model, image).by_module_and_operator() == theirs.by_module_and_operator()
