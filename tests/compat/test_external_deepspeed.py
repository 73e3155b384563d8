"""DeepSpeed's flops profiler beside the drop-in, on models of torchvision and timm."""

import inspect
import re

import pytest
import required
import torch
from profiler_models import NAMES, SIZES, charged, make
from torch import nn

from opflops import OpFlopMode
from opflops.compat import deepspeed as ours

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.external]
FLOPS_BY_MODULES = ["resnet18", "mobilenet_v3_small", "shufflenet_v2_x1_0", "efficientnet_b0"]


@pytest.fixture(scope="module")
def theirs():
    return required.models("deepspeed.profiling.flops_profiler")


def profiled(package, model, image):
    profiler = package.FlopsProfiler(model)
    profiler.start_profile()
    model(image)
    profiler.stop_profile()
    names = {name: package.get_module_macs(module) for name, module in model.named_modules()}
    totals = profiler.get_total_flops(), profiler.get_total_macs(), profiler.get_total_params()
    profiler.end_profile()
    return totals, names


@pytest.mark.parametrize(("library", "name"), NAMES)
def test_every_module_has_deepspeeds_macs(theirs, library, name):
    """Number for number, attention in one kernel included; so have the parameters of the model."""
    model, image = make(library, name), torch.rand(1, 3, *[SIZES[library][name]] * 2)
    (_, their_macs, their_params), their_names = profiled(theirs, model, image)
    (_, macs, params), names = profiled(ours, model, image)
    assert (macs, params) == (their_macs, their_params)
    assert names == their_names
    assert len(names) > 40


@pytest.mark.parametrize("name", FLOPS_BY_MODULES)
def test_flops_differ_by_what_deepspeed_charges_for_modules(theirs, name):
    """Theirs are products and a price for an element of some modules; ours are products and each operation."""
    model, image = make("torchvision", name), torch.rand(1, 3, 64, 64)
    (their_flops, macs, _), _ = profiled(theirs, model, image)
    (flops, _, _), _ = profiled(ours, model, image)
    with OpFlopMode() as mode:
        model(image)
    assert their_flops == 2 * macs + charged(model, image)
    assert flops - their_flops == mode.total.ops - charged(model, image)


SAME = [
    (nn.ConvTranspose2d(4, 8, 3, stride=2, groups=2, output_padding=1), (2, 4, 5, 5)),
    (nn.Conv2d(4, 8, 3, groups=2, dilation=2, padding="same"), (2, 4, 9, 9)),
    (nn.Sequential(nn.Linear(4, 3, bias=False), nn.ReLU()), (5, 4)),
]


@pytest.mark.parametrize(("model", "shape"), SAME)
def test_where_deepspeed_is_right_all_figures_are_the_same(theirs, model, shape):
    """As numbers and as text."""
    for as_string in (False, True):
        found = [
            each.get_model_profile(model, shape, print_profile=False, as_string=as_string) for each in (theirs, ours)
        ]
        assert found[0] == found[1]
        assert [type(each) for each in found[0]] == [type(each) for each in found[1]]


def test_signatures_are_deepspeeds(theirs):
    """Names, order and defaults of all functions and methods."""

    def parameters(function):
        return [(each.name, each.kind, each.default) for each in inspect.signature(function).parameters.values()]

    for name in ours.__all__:
        if inspect.isfunction(getattr(ours, name)):
            assert parameters(getattr(ours, name)) == parameters(getattr(theirs, name)), name
    for name, method in vars(theirs.FlopsProfiler).items():
        if inspect.isfunction(method):
            assert parameters(getattr(ours.FlopsProfiler, name)) == parameters(method), name


def test_the_report_has_deepspeeds_labels_in_its_order(theirs, capsys):
    """All lines but the explanations, up to their figures."""
    labels = []
    for package in theirs, ours:
        package.get_model_profile(make("torchvision", "resnet18"), (1, 3, 64, 64), top_modules=2)
        text = re.sub(r"Notations:\n.*?\n\n", "", capsys.readouterr().out, flags=re.DOTALL)
        # What comes before a figure with a time: a label, or the name of a module in the printed model.
        text = re.sub(r"MACs, [\d.]+ .*", "", text)
        starts = [line.partition(" - {" if " - {" in line else ": ")[0] for line in text.splitlines()]
        kept = (" ", "-", "Profile", "Top", "depth", "fwd", "params of")
        labels.append([each for each in starts if each.startswith(kept)])
    assert len(labels[0]) > 80
    assert labels[0] == labels[1]
