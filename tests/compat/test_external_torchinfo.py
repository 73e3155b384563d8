"""torchinfo beside the drop-in on models of torchvision and timm: the same rows, and each difference has its reason."""

import re
from math import prod

import pytest
import required
import torch
from torch import nn

from opflops.compat.torchinfo import ColumnSettings, summary

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.external]

MODELS = {
    "torchvision.models": {
        "resnet18": 64,
        "densenet121": 64,
        "mobilenet_v3_small": 64,
        "shufflenet_v2_x0_5": 64,
        "googlenet": 64,
        "convnext_tiny": 64,
        "swin_t": 64,
        "vit_b_32": 224,
    },
    "timm": {"vit_tiny_patch16_224": 224, "mixer_s32_224": 224, "resnet10t": 64},
}
NAMES = [(library, name) for library, names in MODELS.items() for name in names]


def make(library, name):
    module = required.models(library)
    if library == "timm":
        return module.create_model(name)
    return getattr(module, name)(**({"init_weights": False} if name == "googlenet" else {}))


def products(row):
    """Return the multiply-accumulates of a layer from its shapes."""
    if isinstance(row.module, nn.Conv2d):
        return prod(row.output_size) * row.module.weight[0].numel()
    return prod(row.output_size) * row.module.in_features if isinstance(row.module, nn.Linear) else 0


def as_torchinfo_counts(row):
    """Return what torchinfo takes for them: parameters, biases too, times a part of the output's shape."""
    positions = row.output_size[:1] + (row.output_size[2:] if "Conv" in row.class_name else [])
    names = {"weight", "bias"} & dict(row.module.named_parameters()).keys()
    return sum(row.module.get_parameter(name).numel() for name in names) * prod(positions)


def described(row, total):
    """Return all cells of a row but the mult-adds."""
    return (
        *(row.class_name, row.var_name, row.depth, row.depth_index, row.is_recursive, row.is_leaf_layer, row.executed),
        *(row.input_size, row.output_size, row.kernel_size, row.num_params, row.trainable_params, row.param_bytes),
        *(row.trainable, row.num_params_to_str(False), row.num_params_to_str(True), row.inner_layers.keys()),
        row.params_percent(total, False),
    )


def without_numbers(text):
    """Return a table without the numbers that differ: mult-adds and bytes."""
    text = text.replace("Units.MEGABYTES", "M").replace("Units.GIGABYTES", "G")
    return re.sub(r"(?m)^(Total mult-adds|.* size|.* Size) \((M|G|MB)\): .*$", r"\1", text)


@pytest.mark.parametrize(("library", "name"), NAMES)
def test_a_model_has_the_rows_that_torchinfo_shows(library, name):
    """And the mult-adds of its layers as from their shapes; what torchinfo shows follows from its parameters."""
    torchinfo = required.models("torchinfo")
    model, size = make(library, name), MODELS[library][name]
    for frozen in [*model.parameters()][:3]:
        frozen.requires_grad_(False)
    options = {"input_size": (2, 3, size, size), "depth": 20, "verbose": 0}
    theirs = torchinfo.summary(model, **options)
    ours = summary(model, **options)
    assert [described(row, ours.total_params) for row in ours.summary_list] == [
        described(row, ours.total_params) for row in theirs.summary_list
    ]
    assert (ours.total_params, ours.trainable_params) == (theirs.total_params, theirs.trainable_params)
    assert ours.total_param_bytes == sum(each.numel() * 4 for each in model.parameters())
    assert ours.total_input == 2 * 3 * size * size * 4
    assert without_numbers(str(ours)) == without_numbers(str(theirs))

    leaves = [pair for pair in zip(ours.summary_list, theirs.summary_list, strict=True) if pair[0].is_leaf_layer]
    for row, their_row in leaves:
        assert row.macs == products(row), row
        assert their_row.macs == as_torchinfo_counts(row), row
    functional = sum(row.own_macs for row in ours.summary_list if not row.is_leaf_layer)
    difference = sum(products(row) - as_torchinfo_counts(row) for row, _ in leaves)
    assert ours.total_mult_adds - theirs.total_mult_adds == functional + difference
    attends = any(part in name for part in ("swin", "vit"))
    assert bool(functional) is attends
    # Only modules with both parameters and modules return what torchinfo leaves out.
    both = [row for row in ours.summary_list if not row.is_leaf_layer and [*row.module.parameters(recurse=False)]]
    missed = sum(row.counted_output_bytes for row in both)
    assert ours.total_output_bytes - theirs.total_output_bytes == 2 * missed
    assert (missed > 0) is any(part in name for part in ("swin", "vit_b", "convnext"))


def test_the_usage_in_issues_runs():
    """As it is written with torchinfo, the import changed."""
    model = required.models("torchvision.models").resnet18()
    columns = ("input_size", "output_size", "num_params", "mult_adds")
    found = summary(model, input_size=(1, 3, 224, 224), col_names=columns, depth=4, verbose=0)
    # As in the papers: 1.81 G.
    assert found.total_mult_adds == 1_814_073_344
    assert found.formatting.col_names == tuple(map(ColumnSettings, columns))
    with torch.no_grad():
        assert summary(model, (1, 3, 32, 32), verbose=0).profile.total.macs > 0
