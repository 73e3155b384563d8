"""Whole networks: their parameters and multiply-accumulates are those that papers and model zoos publish."""

import pytest
import torch
import zoo
from torch import nn

from opflops import Cost, OpFlopMode, count

IMAGE = (1, 3, 224, 224)


def on_meta(make):
    with torch.device("meta"):
        return make().eval()


@pytest.mark.parametrize(
    ("make", "parameters", "gmacs"),
    [
        (zoo.AlexNet, 61_100_840, 0.714),
        (zoo.VGG16, 138_357_544, 15.470),
        (zoo.resnet18, 11_689_512, 1.814),
        (zoo.resnet50, 25_557_032, 4.089),
        (zoo.resnext50, 25_028_904, 4.230),
        (zoo.DenseNet, 7_978_856, 2.834),
        (zoo.MobileNetV2, 3_504_872, 0.301),
        (zoo.MobileNetV3, 5_483_032, 0.217),
        (zoo.EfficientNetB0, 5_288_548, 0.386),
        (zoo.ConvNeXt, 28_589_128, 4.456),
        (zoo.ViT, 86_567_656, 17.564),
        (zoo.Swin, 28_288_354, 4.491),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_published_figures_of_vision_models(make, parameters, gmacs):
    """Parameters to the last one show that it is the network; GMACs to the published digits."""
    model = on_meta(make)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    profile = count(model, torch.empty(IMAGE, device="meta"))
    assert round(profile.total.macs / 1e9, 3) == gmacs
    assert profile.unpriced == {}


def test_the_published_figure_of_swin_has_the_attention_products_in_it():
    """Twice 49 places x width for each place and block: 0.140 of 4.491 G, without which it would be 4.350."""
    profile = count(on_meta(zoo.Swin), torch.empty(IMAGE, device="meta"))
    stages = [(2, 56, 96), (2, 28, 192), (6, 14, 384), (2, 7, 768)]  # blocks, patches along a side, width
    attended = sum(blocks * side**2 * 2 * 49 * width for blocks, side, width in stages)
    assert profile.by("op")["aten.bmm"].macs == attended
    assert round((profile.total.macs - attended) / 1e9, 3) == 4.350


def test_the_convolutions_of_resnet_50_and_their_modules():
    """53 convolutions, each at a module of its own; the first costs 112 x 112 positions x 9408 weights."""
    profile = count(on_meta(zoo.resnet50), torch.empty(IMAGE, device="meta"))
    convolutions = profile.where(op="aten.convolution")
    assert len(convolutions.by("module")) == 53
    assert convolutions.by("module")["ResNet.conv1"].macs == 112 * 112 * (3 * 64 * 7 * 7)
    assert profile.inclusive()["ResNet"] == profile.total


@pytest.mark.parametrize(("batch", "sequence"), [(1, 1024), (3, 256)])
def test_gpt_2_costs_two_flops_a_parameter_and_token_plus_attention(batch, sequence):
    """Each token meets every matrix once (85 M in blocks, 38.6 M in the output); attention adds 2·T·width a layer."""
    model = on_meta(zoo.GPT)
    assert sum(parameter.numel() for parameter in model.parameters()) == 124_439_808
    profile = count(model, torch.zeros(batch, sequence, dtype=torch.long, device="meta"))
    tokens = batch * sequence
    matrices = 12 * 12 * 768**2 + 768 * 50257
    attention = 12 * (2 * sequence * 768)
    assert profile.total.macs == tokens * (matrices + attention)
    assert profile.unpriced == {}


def test_training_gpt_2_costs_three_forwards_of_its_matrices():
    """Kaplan et al. (2020): backward is twice forward; the fused attention kernel's backward recomputes the scores."""
    ids = torch.zeros(2, 64, dtype=torch.long, device="meta")
    profile = count(on_meta(lambda: zoo.GPT(vocabulary=100, width=64, heads=4, depth=2)), ids, backward=True)
    macs = {phase: profile.where(phase=phase).by("op") for phase in ("forward", "backward")}
    linear = sum(cost.macs for op, cost in macs["forward"].items() if op in ("aten.addmm", "aten.mm"))
    assert sum(cost.macs for op, cost in macs["backward"].items() if op == "aten.mm") == 2 * linear
    fused = [{op: cost for op, cost in found.items() if "attention" in op or "bmm" in op} for found in macs.values()]
    forward, backward = (sum(cost.macs for cost in found.values()) for found in fused)
    # On meta tensors attention runs as its products, each with two gradients; fused it would be five for two.
    assert backward / forward in (2.0, 2.5)


def test_an_lstm_language_model():
    """LSTM(10, 20) on 5 steps of 3: 36,000 macs, as unrolled by hand; the output layer has its own."""
    model = nn.ModuleDict({"lstm": nn.LSTM(10, 20), "out": nn.Linear(20, 7)})
    with OpFlopMode(strict=True) as m:
        hidden, _ = model["lstm"](torch.ones(5, 3, 10))
        model["out"](hidden)
    assert m.profile.inclusive()["LSTM"].macs == 36_000
    assert m.profile.inclusive()["Linear"].macs == 5 * 3 * 20 * 7


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (zoo.resnet18, (2, 3, 64, 64)),
        (zoo.MobileNetV2, (2, 3, 64, 64)),
        (zoo.MobileNetV3, (2, 3, 64, 64)),
        (zoo.EfficientNetB0, (2, 3, 64, 64)),
        (lambda: zoo.DenseNet(blocks=(2, 3), growth=8), (2, 3, 32, 32)),
        (lambda: zoo.ConvNeXt(blocks=(1, 2), width=16), (2, 3, 32, 32)),
        (lambda: zoo.ViT(width=32, heads=2, depth=2, patch=8, image=32), (2, 3, 32, 32)),
        (lambda: zoo.Swin(blocks=(2, 2), width=16, heads=2, window=4, image=32), (2, 3, 32, 32)),
        (
            lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.SiLU(), nn.AdaptiveAvgPool2d(5)),
            (2, 3, 16, 16),
        ),
    ],
)
def test_a_training_step_of_common_models_is_priced_whole(make, shape):
    """Forward, loss, backward and optimizer under strict: nothing unpriced, on real tensors."""
    torch.manual_seed(1)
    model = make()
    optimizer = torch.optim.AdamW(model.parameters())
    with OpFlopMode(strict=True) as m:
        out = model(torch.rand(shape)).flatten(1)
        nn.functional.cross_entropy(out, torch.zeros(len(out), dtype=torch.long)).backward()
        optimizer.step()
    assert m.profile.unpriced == {}
    assert m.profile.by("phase")["backward"].macs >= m.profile.by("phase")["forward"].macs


@pytest.mark.parametrize(
    "make",
    [zoo.resnet18, zoo.DenseNet, zoo.MobileNetV2, zoo.EfficientNetB0, zoo.ConvNeXt, zoo.ViT, zoo.Swin],
    ids=lambda make: make.__name__,
)
def test_twice_the_batch_costs_twice(make):
    """In evaluation nothing is counted once a batch, except reciprocal deviations of batch norms and positions."""
    model = on_meta(make)
    one, two = (count(model, torch.empty((batch, *IMAGE[1:]), device="meta")).total for batch in (1, 2))
    assert two.macs == 2 * one.macs
    channels = sum(norm.num_features for norm in model.modules() if isinstance(norm, nn.BatchNorm2d))
    constant = Cost(ops=2 * channels, transcendentals=channels)
    assert (two.ops, two.transcendentals) == (
        2 * one.ops - constant.ops,
        2 * one.transcendentals - constant.transcendentals,
    )


def test_windows_are_taken_apart_and_put_together():
    """A window holds neighbours, and the image comes together as it was taken apart."""
    block = zoo.SwinBlock(width=4, heads=2, size=8, window=4, shifted=True)
    image = torch.rand(2, 8, 8, 4)
    windows = block.split(image)
    assert torch.equal(windows[:, 1], image[:, :4, 4:].flatten(1, 2))
    assert torch.equal(block.join(windows), image)
    # Shifted by two, each window at the edge holds two or four parts of the image that are no neighbours.
    strange = block.strangers.flatten(1).double().mean(1).tolist()
    assert strange == [0, 1 / 2, 1 / 2, 3 / 4]
