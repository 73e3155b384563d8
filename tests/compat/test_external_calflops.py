"""calflops beside the drop-in, on models of torchvision, timm and transformers."""

import inspect
import re

import pytest
import required
import torch
from profiler_models import NAMES, SIZES, charged, make
from torch import nn

from opflops import OpFlopMode
from opflops.compat import calflops as ours

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.external]
# The kernels whose products calflops does not see.
KERNELS = ("aten._scaled_dot_product_flash_attention_for_cpu",)


@pytest.fixture(scope="module")
def theirs():
    return required.models("calflops")


def figures_of(package, model, shape):
    return package.calculate_flops(model, shape, print_results=False, output_as_string=False)


@pytest.mark.parametrize(("library", "name"), NAMES)
def test_a_model_has_the_macs_of_calflops_and_those_of_attention(theirs, library, name):
    """Number for number, with a row for each kernel that calflops counts as nothing; frozen parameters do not count."""
    model, shape = make(library, name), (1, 3, *[SIZES[library][name]] * 2)
    next(model.parameters()).requires_grad_(False)
    (_, their_macs, their_params), (_, macs, params) = (figures_of(each, model, shape) for each in (theirs, ours))
    with OpFlopMode() as mode:
        model(torch.rand(shape))
    in_kernels = sum(row.cost.macs for row in mode.profile.rows if row.op in KERNELS)
    assert macs - their_macs == in_kernels
    assert bool(in_kernels) == (name.startswith("vit"))
    assert params == their_params


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "shufflenet_v2_x1_0", "efficientnet_b0"])
def test_flops_differ_by_what_calflops_charges_for_modules(theirs, name):
    """Theirs are products and a price for an element of some modules; ours are products and each operation."""
    model, image = make("torchvision", name), torch.rand(1, 3, 64, 64)
    their_flops, macs, _ = figures_of(theirs, model, (1, 3, 64, 64))
    flops, _, _ = figures_of(ours, model, (1, 3, 64, 64))
    with OpFlopMode() as mode:
        model(image)
    assert their_flops == 2 * macs + charged(model, image)
    assert flops - their_flops == mode.total.ops - charged(model, image)


def test_alexnet_has_the_macs_and_parameters_of_calflops_readme():
    """714.188 MMACs and 61.1008 M parameters."""
    model = required.models("torchvision.models").alexnet()
    _, macs, params = ours.calculate_flops(model, (1, 3, 224, 224), print_results=False, output_precision=4)
    assert (macs, params) == ("714.188 MMACs", "61.1008 M")


def test_where_calflops_is_right_the_whole_report_is_the_same(theirs, capsys):
    """The printed model letter by letter, and all labels, for a network whose figures agree."""
    model = nn.Sequential(nn.Conv2d(3, 8, 3, groups=1), nn.ReLU(), nn.ModuleDict({"x": nn.Linear(4, 4)}), nn.Flatten())
    model[2].forward = lambda x: x
    reports = []
    for package in theirs, ours:
        figures = package.calculate_flops(model, (2, 3, 8, 8), include_backPropagation=True, output_precision=3)
        text = capsys.readouterr().out
        # Explanations are in other words.
        text = re.sub(r"Notations:\n.*?\n\n", "", text, flags=re.DOTALL)
        text = re.sub(r"(Detailed Calculated FLOPs Results -+\n).*?\n(?=Sequential)", r"\1", text, flags=re.DOTALL)
        reports.append((figures, text))
    assert reports[0] == reports[1]
    assert "(0): Conv2d(224 = 91.803% Params" in reports[0][1]


def test_signatures_are_those_of_calflops(theirs):
    """Names, order and defaults of all that it exports."""
    for name in ours.__all__:
        parameters = [
            [
                (each.name, each.kind, each.default)
                for each in inspect.signature(getattr(package, name)).parameters.values()
            ]
            for package in (theirs, ours)
        ]
        assert parameters[0] == parameters[1], name


def test_a_model_of_transformers_is_counted_from_a_folder(tmp_path):
    """Its configuration and its tokenizer are read, and no weights; the same with a model that has them."""
    transformers = required.models("transformers")
    words = tmp_path / "vocab.txt"
    words.write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na", encoding="utf-8")
    tokenizer = transformers.BertTokenizer(str(words))
    config = transformers.BertConfig(
        vocab_size=6, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16
    )
    tokenizer.save_pretrained(tmp_path)
    config.save_pretrained(tmp_path)
    flops, macs, params = ours.calculate_flops_hf(
        str(tmp_path), input_shape=(2, 12), trust_remote_code=False, print_results=False, output_as_string=False
    )
    model = transformers.AutoModel.from_config(config)
    counted = ours.calculate_flops(model, (2, 12), tokenizer, print_results=False, output_as_string=False)
    # Each layer: four products of the width, two of attention, two of the wider layer; then the pooler's.
    layer = 24 * (4 * 8 * 8 + 2 * 12 * 8 + 2 * 8 * 16)
    assert macs == counted[1] == 2 * layer + 2 * 8 * 8
    assert flops == counted[0] > 2 * macs
    assert params == sum(each.numel() for each in model.parameters())
