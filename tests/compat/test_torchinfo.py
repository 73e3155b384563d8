"""The drop-in for torchinfo: what a summary holds and prints, and what it leaves as it was."""

import sys
import warnings
from collections import OrderedDict, defaultdict
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from threading import Barrier, Thread
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune
from torch.nn.utils.rnn import pack_sequence

import opflops.compat.torchinfo as package
from opflops import OpflopsError, count
from opflops.compat.torchinfo import (
    ColumnSettings,
    Mode,
    ModelStatistics,
    RowSettings,
    SummaryError,
    Units,
    clear_cached_forward_pass,
    enums,
    formatting,
    layer_info,
    model_statistics,
    summary,
    torchinfo,
)
from opflops.compat.torchinfo.formatting import HEADER_TITLES


class Point(NamedTuple):
    x: object
    y: object


def quiet(model, *args, **options):
    return summary(model, *args, **{"verbose": 0, "depth": 20, **options})


TITLES = ("Kernel Shape", "Input Shape", "Output Shape", "Param #", "Mult-Adds", "Trainable")


def rows(statistics):
    lines = str(statistics).splitlines()
    dividers = [number for number, line in enumerate(lines) if set(line) == {"="}]
    return lines[dividers[1] + 1 : dividers[2]]


def column(statistics, title):
    """Return the numbers of a column, as they are printed."""
    start = str(statistics).splitlines()[1].index(HEADER_TITLES[title])
    found = [line[start : start + statistics.formatting.col_width].strip() for line in rows(statistics)]
    return [int(cell.strip("()").replace(",", "")) for cell in found if cell[:1].isdigit() or cell[1:2].isdigit()]


class Attention(nn.Module):
    """Compute with the weights of modules that it does not call, and in functions."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.qkv = nn.Linear(8, 24, bias=False)
        self.out = nn.Linear(8, 8)

    def forward(self, x):
        q, k, v = nn.functional.linear(self.norm(x), self.qkv.weight).chunk(3, -1)
        return self.out(torch.softmax(q @ k.mT, -1) @ v)


class Net(nn.Module):
    """Nest containers that are never called, a shared module, and an unused one."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(8))
        self.blocks = nn.ModuleList([nn.Sequential(Attention(), nn.ReLU()) for _ in range(2)])
        self.head = nn.Linear(8, 3)
        self.unused = nn.Linear(8, 50)

    def forward(self, x):
        for block in self.blocks:
            x = block(x) * self.scale
        return self.head(x), self.head(x[:1])


NET_MACS = 2 * (10 * 8 * 24 + 2 * 2 * 5 * 5 * 8 + 10 * 8 * 8) + 10 * 8 * 3 + 5 * 8 * 3
"""Two blocks on two sentences of five tokens: q, k and v, the scores and their sums, the output; then the heads."""


def test_the_table_is_drawn_as_torchinfo_draws_it():
    """Columns, tree, totals and units, with figures by hand."""
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Sequential(nn.ReLU(), nn.Flatten()), nn.Linear(512, 10))
    columns = ("kernel_size", "input_size", "output_size", "num_params", "mult_adds", "trainable")
    found = summary(net, (2, 3, 10, 10), col_names=columns, col_width=18, verbose=0)
    divider = "=" * (40 + 6 * 18)

    def line(name, *row):
        return " ".join([f"{name:40}", *(f"{cell:18}" for cell in row)]).rstrip()

    pixels, maps = "[2, 3, 10, 10]", "[2, 8, 8, 8]"
    assert str(found).splitlines() == [
        divider,
        line("Layer (type:depth-idx)", *TITLES),
        divider,
        line("Sequential", "--", pixels, "[2, 10]", "--", "--", "True"),
        line("├─Conv2d: 1-1", "[3, 3]", pixels, maps, "224", "27,648", "True"),
        line("├─Sequential: 1-2", "--", maps, "[2, 512]", "--", "--", "--"),
        line("│    └─ReLU: 2-1", "--", maps, maps, "--", "--", "--"),
        line("│    └─Flatten: 2-2", "--", maps, "[2, 512]", "--", "--", "--"),
        line("├─Linear: 1-3", "--", "[2, 512]", "[2, 10]", "5,130", "10,240", "True"),
        divider,
        "Total params: 5,354",
        "Trainable params: 5,354",
        "Non-trainable params: 0",
        "Total mult-adds (M): 0.04",
        divider,
        "Input size (MB): 0.00",
        "Forward/backward pass size (MB): 0.01",
        "Params size (MB): 0.02",
        "Estimated Total Size (MB): 0.03",
        divider,
    ]
    assert found.total_mult_adds == 2 * 8 * 8 * 8 * 27 + 2 * 512 * 10
    assert (found.total_input, found.total_param_bytes) == (4 * 600, 4 * 5354)
    assert found.total_output_bytes == 2 * 4 * (2 * 512 + 2 * 10)


@pytest.mark.parametrize("depth", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("title", [ColumnSettings.MULT_ADDS, ColumnSettings.NUM_PARAMS])
def test_a_column_adds_up_to_its_total_at_every_depth(depth, title):
    """Functional calls are in the row of their module, and the last rows have all below them."""
    found = quiet(Net(), (2, 5, 8), col_names=[*ColumnSettings], depth=depth)
    total = found.total_mult_adds if title == ColumnSettings.MULT_ADDS else found.total_params
    assert sum(column(found, title)) == total
    assert found.total_mult_adds == NET_MACS == count(Net(), torch.ones(2, 5, 8)).total.macs
    assert found.total_params == sum(each.numel() for each in Net().parameters())


def test_rows_are_calls_in_their_order():
    """A container that is not called precedes what it contains; a later call of a module is marked."""
    found = quiet(Net(), (2, 5, 8), col_names=("output_size", "num_params", "mult_adds"))
    attention = ["Attention", "LayerNorm", "Linear"]
    names = ["Net", "ModuleList", *(["Sequential", *attention, "ReLU"] * 2), "Linear", "Linear"]
    assert [row.class_name for row in found.summary_list] == names
    assert [row.depth for row in found.summary_list] == [0, 1, *([2, 3, 4, 4, 3] * 2), 1, 1]
    first, again = found.summary_list[-2:]
    assert (first.macs, again.macs) == (240, 120)
    assert (first.num_params_to_str(False), again.num_params_to_str(False)) == ("27", "(recursive)")
    assert (str(first), first.depth_index, again.depth_index) == ("Linear: 1", 2, 3)
    container = found.summary_list[1]
    assert (container.executed, container.output_size, container.macs) == (False, [], NET_MACS - 360)
    assert found.summary_list[0].macs == NET_MACS
    assert found.summary_list[0].num_params_to_str(False) == f"{8 + 8 * 50 + 50:,}"


@pytest.mark.parametrize(
    ("model", "inputs", "macs"),
    [
        (nn.Linear(4, 6), [torch.ones(2, 3, 5, 4)], 30 * 4 * 6),
        (nn.Conv2d(4, 8, 3, groups=2, dilation=2), [torch.ones(2, 4, 9, 9)], 2 * 25 * 8 * 2 * 9),
        (nn.ConvTranspose1d(3, 8, 4, stride=2), [torch.ones(2, 3, 7)], 2 * 7 * 3 * 8 * 4),
        (nn.LSTM(10, 20), [torch.ones(5, 3, 10)], 36_000),
        (nn.GRU(6, 4, bidirectional=True), [torch.ones(5, 3, 6)], 2 * 15 * 12 * (6 + 4)),
        (nn.RNN(3, 4), [pack_sequence([torch.ones(5, 3), torch.ones(2, 3)])], 7 * 4 * (3 + 4)),
        (nn.BatchNorm2d(3), [torch.ones(2, 3, 4, 4)], 0),
        (nn.Embedding(9, 4), [torch.zeros(2, 3, dtype=torch.long)], 0),
        (nn.MultiheadAttention(32, 4, batch_first=True), [torch.ones(2, 5, 32)] * 3, 10 * 32 * 128 + 3200),
        (nn.TransformerEncoderLayer(8, 2, 16), [torch.ones(5, 3, 8)], 15 * 8 * (32 + 32) + 2 * 3 * 5 * 5 * 8),
        (nn.Linear(4, 4, dtype=torch.float16), [torch.ones(3, 4, dtype=torch.float16)], 48),
        (nn.Linear(4, 4, dtype=torch.complex64), [torch.ones(3, 4, dtype=torch.complex64)], 4 * 48),
        (nn.Identity(), [torch.ones(3)], 0),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_mult_adds_are_the_products_that_run(model, inputs, macs):
    """Not the parameters times a part of the output's shape."""
    found = quiet(model, input_data=inputs)
    assert found.total_mult_adds == macs
    assert found.total_mult_adds == sum(row.own_macs for row in found.summary_list) == found.summary_list[0].macs


def test_quantized_products_are_mult_adds():
    """They are no floating-point work, and products all the same."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(4, 6)))
    assert quiet(model, (3, 4)).total_mult_adds == 72


def test_parameters_are_counted_once():
    """Those of two modules, of a module in two places, and of a container."""

    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(10, 4)
            self.head = nn.Linear(4, 10)
            self.head.weight = self.embedding.weight

        def forward(self, index):
            return self.head(self.embedding(index))

    found = quiet(Tied(), input_data=torch.zeros(2, 3, dtype=torch.long), col_names=("num_params", "params_percent"))
    assert (found.total_params, found.total_param_bytes) == (50, 200)
    assert [row.num_params for row in found.summary_list] == [50, 40, 50]
    assert column(found, ColumnSettings.NUM_PARAMS) == [40, 10]
    assert [row.params_percent(50, False) for row in found.summary_list] == ["     --", " 80.00%", " 20.00%"]
    found = quiet(nn.Sequential(act := nn.ReLU(), nn.Linear(2, 2), act), (1, 2))
    assert [row.params_percent(6, False) for row in found.summary_list[1:]] == ["     --", "100.00%", "(recursive)"]
    assert found.summary_list[3].num_params_to_str(False) == "--"
    shared = nn.Linear(4, 4)
    twice = nn.Sequential(shared, nn.Sequential(nn.ReLU(), shared))
    for found in (quiet(twice, (1, 4)), quiet(twice)):
        assert (found.total_params, [row.is_recursive for row in found.summary_list]) == (20, [False] * 4 + [True])


class Interrupted(nn.Module):
    """Call a shared module between those of a container, and tie a weight across containers."""

    def __init__(self):
        super().__init__()
        act = nn.PReLU(4)
        self.layers = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
        self.act = act
        self.deep = nn.Sequential(nn.Sequential(nn.Linear(4, 4), act), nn.Linear(4, 4))
        self.deep[1].weight = self.layers[0].weight
        self.own = nn.Parameter(torch.ones(4))

    def forward(self, x):
        for layer in self.layers:
            x = self.act(layer(x))
        return self.layers[0](self.deep(x)) * self.own


@pytest.mark.parametrize("depth", [0, 1, 2, 3])
@pytest.mark.parametrize("given", [True, False])
def test_each_parameter_is_in_one_row(depth, given):
    """Whichever rows are shown, and wherever a module comes again."""
    found = quiet(Interrupted(), *([(2, 4)] if given else []), depth=depth, col_names=("num_params",))
    assert sum(column(found, ColumnSettings.NUM_PARAMS)) == found.total_params == 4 + 3 * 16 + 4 * 4 + 4
    if given and depth == 3:
        cells = [row.num_params_to_str(row.depth == depth) for row in found.summary_list]
        again = "(recursive)"
        assert cells == ["4", "--", "20", "4", again, "20", again, "--", "--", "20", again, "4", again, again]


def test_parameters_of_a_container_that_comes_again_are_in_its_first_row():
    """Although the later one is deeper."""

    class Container(nn.Sequential):
        def __init__(self):
            super().__init__(nn.Linear(2, 2))
            self.own = nn.Parameter(torch.ones(5))

    again = Container()
    for depth in range(4):
        found = quiet(nn.Sequential(again, nn.Sequential(again)), (1, 2), depth=depth, col_names=("num_params",))
        assert sum(column(found, ColumnSettings.NUM_PARAMS)) == 11


def test_frozen_parameters_are_in_parentheses():
    """And a module with some of each is partly trainable."""
    net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 3), nn.ReLU())
    net[0].requires_grad_(False)
    net[1].bias.requires_grad = False
    found = quiet(net, (1, 2), col_names=("num_params", "trainable"))
    assert [row.trainable for row in found.summary_list] == ["Partial", "False", "Partial", "--"]
    assert [row.num_params_to_str(False) for row in found.summary_list] == ["--", "(9)", "12", "--"]
    assert (found.total_params, found.trainable_params) == (21, 9)
    assert "Non-trainable params: 12" in str(found)


def test_pruned_weights_are_no_parameters():
    """The mask leaves them out; the products stay."""
    net = nn.Sequential(nn.Linear(4, 6))
    prune.l1_unstructured(net[0], "weight", 0.25)
    found = quiet(net, (2, 4))
    assert (found.total_params, found.total_param_bytes, found.total_mult_adds) == (18 + 6, 96, 48)


def test_lazy_parameters_are_counted_once_they_have_a_size():
    """Before the call there are none."""
    net = nn.Sequential(nn.LazyConv2d(4, 3), nn.Flatten(), nn.LazyLinear(5))
    found = quiet(net)
    assert (found.total_params, found.summary_list[1].contains_lazy_param) == (0, True)
    found = quiet(net, (2, 3, 6, 6))
    assert found.total_params == 4 * 27 + 4 + 64 * 5 + 5
    assert [row.class_name for row in found.summary_list[1::2]] == ["Conv2d", "Linear"]


def test_without_inputs_the_table_lists_modules():
    """All of them, and nothing of a call."""
    net = Net()
    found = quiet(net)
    assert [row.module for row in found.summary_list] == [*net.modules()]
    assert not any(row.executed for row in found.summary_list)
    assert (found.total_mult_adds, found.total_input, found.total_output_bytes, found.profile) == (0, 0, 0, None)
    assert "mult-adds" not in str(found)
    assert found.formatting.col_names == (ColumnSettings.NUM_PARAMS,)
    assert found.total_params == sum(each.numel() for each in net.parameters())
    assert quiet(nn.ModuleList()).total_params == 0


class Keywords(nn.Module):
    def forward(self, x, *, y=None, scale=1):
        return {"first": x, "sum": scale * (x + (0 if y is None else y["deep"][0]))}


@pytest.mark.parametrize(
    ("options", "sizes", "total"),
    [
        ({"input_size": (2, 3)}, [(2, 3)], 24),
        ({"input_size": [2, 3]}, [(2, 3)], 24),
        ({"input_size": [(2, 3)]}, [(2, 3)], 24),
        ({"input_size": ((2, 3),)}, [(2, 3)], 24),
        ({"input_size": torch.Size([2, 3])}, [(2, 3)], 24),
        ({"input_size": (3,), "batch_dim": 0}, [(3,)], 12),
        ({"input_size": (np.int64(2), np.prod((3, 1)))}, [(2, 3)], 24),
        ({"input_size": [np.uint8(2), torch.tensor(3)]}, [(2, 3)], 24),
        ({"input_size": [[np.int32(2), 3]]}, [[2, 3]], 24),
        ({"input_size": [[(2, np.int64(3))]]}, [[(2, 3)]], 24),
        ({"input_size": [torch.Size([2, 3])]}, [torch.Size([2, 3])], 24),
        ({"input_size": (2, 3), "dtypes": [torch.float64]}, [(2, 3)], 48),
        ({"input_size": (2, 3), "dtypes": [torch.LongTensor]}, [(2, 3)], 48),
        ({"input_data": torch.ones(2, 3)}, torch.Size([2, 3]), 24),
        ({"input_data": [torch.ones(2, 3)]}, [torch.Size([2, 3])], 24),
        ({"input_data": (torch.ones(4, 3)[:2],)}, (torch.Size([2, 3]),), 24),
        ({"input_data": {"x": torch.ones(2, 3), "scale": 5}}, {"x": torch.Size([2, 3]), "scale": 5}, 24),
        ({"input_data": torch.ones(2, 3), "y": {"deep": [torch.ones(3)]}}, torch.Size([2, 3]), 36),
        ({"input_data": torch.ones(2, 3, dtype=torch.half), "scale": 2}, torch.Size([2, 3]), 12),
    ],
)
def test_inputs_are_given_as_to_torchinfo(options, sizes, total):
    """By size or as data, alone, in lists and in dictionaries; the sizes keep the structure."""
    found = quiet(Keywords(), **options)
    assert found.input_size == sizes
    assert found.total_input == total
    assert found.summary_list[0].output_size == [1 if "batch_dim" in options else 2, 3]


def test_several_inputs_have_several_dtypes():
    """In the order of the sizes."""

    class Two(nn.Module):
        def forward(self, x, index):
            assert (x.dtype, index.dtype) == (torch.float32, torch.int64)
            return x[index]

    found = quiet(Two(), [(4, 3), (2,)], dtypes=[torch.float, torch.long])
    assert found.input_size == [(4, 3), (2,)]
    assert found.summary_list[0].input_size == [4, 3]
    with pytest.raises(ValueError, match="a dtype for each of the 2 inputs of input_size, and has 1"):
        quiet(Two(), [(4, 3), (2,)], dtypes=[torch.float])


def test_arrays_and_named_tuples_are_passed_as_they_are():
    """The model sees the class that it was given."""

    class Model(nn.Module):
        def forward(self, array, point):
            assert (type(array), type(point)) == (np.ndarray, Point)
            return array, point

    array = np.ones((2, 3), dtype=np.float32)
    found = quiet(Model(), input_data=[array, Point(torch.ones(4), 1)], device="cpu")
    assert found.input_size == [torch.Size([2, 3]), Point(torch.Size([4]), 1)]
    assert (found.total_input, found.summary_list[0].output_size) == (24 + 16, [2, 3])


def test_mappings_keep_their_class():
    """When their tensors are moved."""

    class Model(nn.Module):
        def forward(self, found, order, sizes):
            assert found.default_factory is list
            assert (type(found), type(order), type(sizes)) == (defaultdict, OrderedDict, torch.Size)
            return {}

    ones = torch.ones(2)
    given = [defaultdict(list, a=[ones]), OrderedDict(b=ones), torch.Size([3])]
    assert quiet(Model(), input_data=given, device="cpu").input_size == [
        {"a": [torch.Size([2])]},
        {"b": torch.Size([2])},
        torch.Size([3]),
    ]


def test_outputs_of_several_tensors():
    """The shape is that of the first tensor, or of a dictionary's last item; the bytes are those of all."""

    class Many(nn.Linear):
        def forward(self, x):
            y = super().forward(x)
            return None, [y, {"more": (y, x.sum(0))}]

    class Named(nn.Linear):
        def forward(self, x):
            return {"in": x, "out": super().forward(x)}

    class Cached(nn.Linear):
        def forward(self, x):
            return {"out": super().forward(x), "cache": object()}

    assert quiet(Cached(3, 5), (2, 3)).summary_list[0].output_size == [2, 5]
    found = quiet(Many(3, 5), (2, 3))
    assert (found.summary_list[0].output_size, found.total_output_bytes) == ([2, 5], 2 * 4 * (10 + 3))
    found = quiet(Named(3, 5), (2, 3))
    assert (found.summary_list[0].output_size, found.total_output_bytes) == ([2, 5], 2 * 4 * (10 + 6))
    found = quiet(nn.LSTM(3, 5, 2), (7, 2, 3))
    assert (found.summary_list[0].output_size, found.total_output_bytes) == ([7, 2, 5], 2 * 4 * (70 + 20 + 20))


class Own(nn.Module):
    """Multiply by a parameter, and call what it is given."""

    def __init__(self, parameter, after=None, *, used=True):
        super().__init__()
        self.scale = parameter
        self.after = after or nn.ReLU()
        self.used = used

    def forward(self, x):
        scale = self.scale if isinstance(self.scale, torch.Tensor) else self.scale[0]
        return self.after(x * scale if self.used else x + 1)


class Beside(nn.Module):
    """Compute beside a module with parameters, or with those of a module."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return x @ self.inner.weight.T if isinstance(self.inner, nn.Linear) else x @ x.T


class Returns(nn.Module):
    """Return what a module returns, in a list, with a tensor of its own."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 5)
        self.own = nn.Parameter(torch.ones(5))

    def forward(self, x):
        y = self.inner(x)
        return [y, y * self.own, y]


def scripted(module):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(module)


@pytest.mark.parametrize(
    ("model", "size", "elements"),
    [
        (nn.MultiheadAttention(8, 2), None, 3 * 8 + 3 * 3),
        (nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 6, bias=False))), (2, 4), 12),
        (Beside(nn.LayerNorm(4)), (2, 4), 0),
        (Beside(nn.Linear(4, 3)), (2, 4), 0),
        (Own(nn.Parameter(torch.ones(3))), (2, 3), 6),
        (Own(nn.Parameter(torch.ones(3)), used=False), (2, 3), 6),
        (Own(nn.ParameterList([torch.ones(3)])), (2, 3), 6),
        (Own(nn.Parameter(torch.ones(0)), used=False), (2, 3), 0),
        (Own(torch.ones(3)), (2, 3), 0),
        (Own(nn.Parameter(torch.ones(4)), nn.Linear(4, 7)), (2, 4), 14),
        (Own(nn.Parameter(torch.ones(4)), nn.Sequential(nn.Linear(4, 7), nn.Identity())), (2, 4), 14),
        (Own(nn.Parameter(torch.ones(4)), nn.Sequential(nn.Linear(4, 7), nn.Tanh())), (2, 4), 14 + 14),
        (Returns(), (2, 4), 10 + 10),
        (scripted(nn.Sequential(nn.Linear(4, 6), nn.ReLU())), (2, 4), 12),
        (nn.Sequential(nn.Linear(4, 6), nn.ReLU()), (2, 4), 12),
    ],
)
def test_outputs_of_modules_with_parameters_of_their_own_are_counted(model, size, elements):
    """Whether they use them or not; a tensor that several return, once; none for parameters of modules inside."""
    inputs = {"input_data": [torch.ones(3, 8)] * 3} if size is None else {"input_size": size}
    assert quiet(model, **inputs).total_output_bytes == 2 * 4 * elements


def test_arguments_by_keyword_have_a_shape():
    """Also of modules that are called by keyword alone."""

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(4, 2)

        def forward(self, x):
            return self.inner(input=x)

    assert quiet(Outer(), (3, 4)).summary_list[1].input_size == [3, 4]


def test_a_module_in_several_places_is_where_it_is_called():
    """With the depth and the name that it has there."""

    class Places(nn.Module):
        def __init__(self):
            super().__init__()
            self.act = nn.PReLU()
            self.deep = nn.ModuleDict({"one": nn.Sequential(nn.Linear(3, 3), self.act)})
            self.flat = nn.Sequential(self.act)

        def forward(self, x):
            return self.flat(self.deep["one"](self.act(x)))

    found = quiet(Places(), (2, 3), row_settings=("var_names", "depth"))
    assert [(row.var_name, row.depth) for row in found.summary_list if row.class_name == "PReLU"] == [
        ("act", 1),
        ("1", 3),
        ("0", 2),
    ]
    assert found.total_params == 12 + 1


def test_a_call_that_fails_and_is_caught_ends_there():
    """What follows belongs to the module that caught it."""

    class Fails(nn.Module):
        def forward(self, x):
            x @ x.T
            raise KeyError

    class Catches(nn.Module):
        def __init__(self):
            super().__init__()
            self.fails = Fails()

        def forward(self, x):
            try:
                return self.fails(x)
            except KeyError:
                return x.T @ x

    found = quiet(Catches(), (2, 5))
    assert [(row.own_macs, row.executed) for row in found.summary_list] == [(2 * 5 * 5, True), (2 * 2 * 5, False)]


def test_a_call_that_returns_nothing_while_an_error_is_handled():
    """The error is not its own."""

    class Nothing(nn.Module):
        def forward(self, x):
            return None

    try:
        raise KeyError  # noqa: TRY301 - to be inside its handler
    except KeyError:
        found = quiet(nn.Sequential(Nothing()), (1, 2))
    assert [(row.executed, row.input_size, row.output_size) for row in found.summary_list] == [(True, [1, 2], [])] * 2


def test_hooks_are_removed_if_a_module_refuses_one():
    """From the modules that have them already."""

    class Refuses(nn.Module):
        def register_forward_hook(self, *_, **__):
            raise OSError

    net = nn.Sequential(nn.ReLU(), Refuses())
    with pytest.raises(SummaryError):
        quiet(net, (1, 2))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


def test_scripted_modules_stand_in_their_place():
    """With their shapes and products; the modules inside without."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inner = torch.jit.script(nn.Sequential(nn.Linear(4, 6), nn.ReLU()))
    found = quiet(nn.Sequential(nn.Linear(4, 4), inner), (3, 4))
    assert [(row.class_name, row.depth, row.output_size, row.macs) for row in found.summary_list] == [
        ("Sequential", 0, [3, 6], 48 + 72),
        ("Linear", 1, [3, 4], 48),
        ("Sequential", 1, [3, 6], 72),
        ("Linear", 2, [], 0),
        ("ReLU", 2, [], 0),
    ]
    found = quiet(inner, (3, 4))
    assert (found.total_mult_adds, found.total_params, len(found.summary_list)) == (72, 30, 3)


def test_a_copy_of_a_module_is_none_of_the_model():
    """Its work is that of the module that made it."""

    class Copies(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(4, 4)

        def forward(self, x):
            return deepcopy(self.inner)(self.inner(x))

    found = quiet(Copies(), (2, 4))
    assert [row.own_macs for row in found.summary_list] == [32, 32]


class Makes(nn.Module):
    """Make a module in the call, and call it or the one that was there."""

    def __init__(self, before, make, after=None):
        super().__init__()
        self.inner = before
        self.make = make
        self.after = after

    def forward(self, x):
        output = self.inner(x) if self.after else None
        self.inner = self.make()
        return output if self.after else self.inner(x)


@pytest.mark.parametrize(
    ("model", "rows", "macs", "params", "elements"),
    [
        (lambda: nn.LazyLinear(3), ["Linear"], 24, 15, 6),
        (lambda: Makes(None, lambda: nn.Linear(4, 3)), ["Makes", "Linear"], 24, 15, 6),
        (lambda: Makes(nn.Linear(4, 9), lambda: nn.Linear(4, 3)), ["Makes", "Linear"], 24, 15, 6),
        (lambda: Makes(nn.Linear(4, 3), lambda: nn.Linear(4, 2), "after"), ["Makes", "Linear"], 24, 15 + 10, 6),
        (
            lambda: Makes(nn.ReLU(), lambda: nn.Sequential(nn.Tanh(), nn.LazyLinear(3))),
            ["Makes", "Sequential", "Tanh", "Linear"],
            *(24, 15, 6),
        ),
    ],
)
def test_modules_that_the_call_makes_have_rows(model, rows, macs, params, elements):
    """In their places, with their products, parameters and outputs."""
    found = quiet(model(), (2, 4))
    assert [row.class_name for row in found.summary_list] == rows
    assert (found.total_mult_adds, found.total_params, found.total_output_bytes) == (macs, params, 8 * elements)
    assert found.summary_list[-1].own_macs == macs


def test_a_root_whose_class_changes_in_the_call_is_one_row():
    """As it does for a parametrization that the call registers."""
    calls = []

    class Symmetric(nn.Module):
        def forward(self, weight):
            calls.append(1)
            return weight @ weight.T

    class Changes(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4, 4))

        def forward(self, x):
            nn.utils.parametrize.register_parametrization(self, "weight", Symmetric())
            return x @ self.weight

    found = quiet(Changes(), (3, 4))
    assert [row.class_name for row in found.summary_list] == [
        "ParametrizedChanges",
        "ModuleDict",
        "ParametrizationList",
        "Symmetric",
    ]
    assert [row.depth for row in found.summary_list] == [0, 1, 2, 3]
    # The parametrization has a row once it is a module of the model; it runs before, too.
    assert [row.own_macs for row in found.summary_list] == [48 + 64 * (len(calls) - 1), 0, 0, 64]
    assert (found.total_mult_adds, found.total_params) == (48 + 64 * len(calls), 16)
    assert found.total_output_bytes == 2 * 4 * 12


class Threads(nn.Module):
    """Call modules in threads, one after another or at once, while the main thread is in another module."""

    def __init__(self):
        super().__init__()
        self.act = nn.ReLU()
        self.one = nn.Sequential(nn.Linear(4, 4), self.act, nn.Linear(4, 2))
        self.two = nn.Sequential(nn.Linear(4, 3), self.act, nn.Linear(3, 2))
        self.starts = nn.ModuleList([Starts()])

    def forward(self, x):
        barrier = Barrier(2)

        def wait(*_):
            barrier.wait(9)

        hook = self.one[2].register_forward_pre_hook(wait)

        def run(module):
            if module is self.two:
                barrier.wait(9)
            return module(x)

        with ThreadPoolExecutor(2) as pool:
            waiting = [pool.submit(run, each) for each in (self.one, self.two)]
            found = [each.result() for each in waiting]
        hook.remove()
        with ThreadPoolExecutor(1) as pool:
            found += [pool.submit(self.one, x).result(), pool.submit(self.one, x).result()]
        return self.starts[0](x, lambda: found.append(self.two(x))), found[-1]


class Starts(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.last = nn.Linear(4, 4)

    def forward(self, x, target):
        x = self.first(x)
        thread = Thread(target=target)
        thread.start()
        thread.join()
        return self.last(x)


def test_modules_that_other_threads_call_are_counted():
    """Each call has its rows below it, whatever runs at the same time."""
    found = quiet(Threads(), (2, 4), row_settings=("var_names",))
    one, two = 2 * (16 + 8), 2 * (12 + 6)
    assert found.total_mult_adds == 3 * one + 2 * two + 2 * 2 * 16
    assert found.total_params == 20 + 10 + 15 + 8 + 2 * 20
    rows = [(row.depth, row.var_name, row.own_macs) for row in found.summary_list]
    in_one = [(1, "one", 0), (2, "0", 32), (2, "1", 0), (2, "2", 16)]
    in_two = [(1, "two", 0), (2, "0", 24), (2, "1", 0), (2, "2", 12)]
    starts = [(1, "starts", 0), (2, "0", 0), (3, "first", 32), (3, "last", 32)]
    # The last thread begins inside the module that waits for it, and is beside it.
    assert rows == [(0, "Threads", 0), *in_one, *in_two, *in_one, *in_one, *in_two, *starts]
    assert found.total_output_bytes == 8 * 2 * (3 * (4 + 2) + 2 * (3 + 2) + 2 * 4)


def test_a_thread_calls_a_module_in_the_place_of_the_module_that_waits():
    """Of several places, that below what runs in the main thread."""

    class Waits(nn.Module):
        def __init__(self, act):
            super().__init__()
            self.before = nn.ReLU()
            self.act = act

        def forward(self, x):
            with ThreadPoolExecutor(1) as pool:
                return pool.submit(self.act, self.before(x)).result()

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.act = nn.PReLU()
            self.first = nn.Sequential(self.act)
            self.waits = Waits(self.act)

        def forward(self, x):
            return self.waits(x)

    found = quiet(Outer(), (2, 4))
    assert [(row.depth, row.class_name) for row in found.summary_list] == [
        (0, "Outer"),
        (1, "Waits"),
        (2, "ReLU"),
        (2, "PReLU"),
    ]


def test_an_error_in_a_thread_ends_the_calls_there():
    """What the thread runs next is beside them."""

    class Fails(nn.Module):
        def __init__(self):
            super().__init__()
            self.bad = nn.Sequential(nn.Linear(4, 4), nn.Linear(5, 5))
            self.good = nn.Linear(4, 3)

        def forward(self, x):
            with ThreadPoolExecutor(1) as pool:
                assert isinstance(pool.submit(self.bad, x).exception(), RuntimeError)
                return pool.submit(self.good, x).result()

    found = quiet(Fails(), (2, 4))
    assert [(row.depth, row.own_macs, row.executed) for row in found.summary_list] == [
        (0, 0, True),
        (1, 0, False),
        (2, 32, True),
        (2, 0, False),
        (1, 24, True),
    ]


def test_a_scripted_module_that_fails_keeps_its_error():
    """Hooks that run after it hide nothing."""
    net = nn.Sequential(nn.ReLU(), scripted(nn.Linear(4, 6)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(SummaryError, match="RuntimeError, shown above"):
            quiet(net, (1, 5))


def test_a_class_with_a_call_of_its_own_has_a_row():
    """Although it runs no hooks."""

    class Direct(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(4, 4)

        def __call__(self, x):
            return self.inner(x) @ x.T

    found = quiet(Direct(), (2, 4))
    assert [(row.class_name, row.own_macs) for row in found.summary_list] == [("Direct", 16), ("Linear", 32)]

    class Alone(nn.Module):
        def __call__(self, x):
            return x @ x.T

    assert [(row.class_name, row.own_macs) for row in quiet(Alone(), (2, 4)).summary_list] == [("Alone", 16)]


class Modes(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.drop = nn.Dropout().eval()
        self.seen = []

    def forward(self, x):
        self.seen.append((self.training, self.norm.training, self.drop.training, torch.is_grad_enabled()))
        return self.drop(self.norm(x))


@pytest.mark.parametrize(
    ("mode", "seen"),
    [
        (None, (False, False, False, False)),
        ("eval", (False, False, False, False)),
        (Mode.TRAIN, (True, True, True, False)),
        ("same", (True, True, False, False)),
    ],
)
def test_the_model_runs_in_a_mode_and_is_left_in_its_own(mode, seen):
    """Each of its modules, after an error too; nothing else of it changes."""
    model = Modes()
    before = [(name, dict(vars(module))) for name, module in model.named_modules()]
    quiet(model, (4, 3), mode=mode)
    assert model.seen == [seen]
    assert [(name, dict(vars(module))) for name, module in model.named_modules()] == before
    assert (int(model.norm.num_batches_tracked), torch.is_grad_enabled()) == (int(seen[1]), True)
    with pytest.raises(RuntimeError):
        quiet(model, (4, 2), mode=mode)
    assert [module.training for module in model.modules()] == [True, True, False]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_hooks_of_others_run():
    """As in any call."""
    ran = []
    net = nn.Sequential(nn.Linear(2, 2))
    net[0].register_forward_pre_hook(lambda *_: ran.append("before"))
    net[0].register_forward_hook(lambda *_: ran.append("after"))
    quiet(net, (1, 2))
    assert ran == ["before", "after"]
    net[0].register_forward_pre_hook(lambda _, args: (args[0] @ torch.ones(2, 2),))
    net[0].register_forward_hook(lambda *args: args[2] @ torch.ones(2, 2))
    assert [row.own_macs for row in quiet(net, (1, 2)).summary_list] == [0, 12]
    assert (len(net[0]._forward_hooks), len(net[0]._forward_pre_hooks)) == (2, 2)


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"verbose": 4}, ValueError, "verbose must be 0"),
        ({"col_width": 0}, ValueError, "col_width must be greater than 0, not 0"),
        ({"col_names": ("output_size", "wrong")}, ValueError, "'kernel_size', .*, not 'wrong'"),
        ({"row_settings": ("wrong",)}, ValueError, "row_settings may be 'depth', .*, not 'wrong'"),
        ({"mode": "wrong"}, ValueError, "mode may be 'train', 'eval', 'same', not 'wrong'"),
        ({"input_size": None, "col_names": ("num_params", "mult_adds")}, ValueError, "the columns 'mult_adds'. Add"),
        ({"input_data": torch.ones(1, 2)}, RuntimeError, "was given both"),
        ({"input_size": [(3, 0)]}, ValueError, "0 is not"),
        ({"input_size": ()}, ValueError, "there is none"),
        ({"input_size": (1, 2.0)}, ValueError, "and 2.0 is not"),
        ({"input_size": (1, np.float64(2))}, ValueError, "greater than 0"),
        ({"input_size": (np.int64(1), np.int64(-2))}, ValueError, "greater than 0"),
        ({"input_size": [(1, 2), 2]}, ValueError, "and 2 is not one of these"),
        ({"input_size": (1, (2, 3))}, ValueError, "is not one of these"),
        ({"input_size": {0: 1}}, TypeError, "not the dict"),
        ({"input_size": "hello"}, TypeError, "not 'hello'"),
        ({"input_size": None, "input_data": 5}, TypeError, "input_data must be a tensor"),
        ({"input_size": (1, 3)}, RuntimeError, r"Executed layers up to: \[ReLU: 1\]"),
        ({"unknown": 1}, RuntimeError, "TypeError, shown above"),
    ],
)
def test_errors_have_the_types_of_torchinfo(options, error, sentence):
    """And say what would be right."""
    net = nn.Sequential(nn.ReLU(), nn.Linear(2, 2))
    with pytest.raises(error, match=sentence) as caught:
        quiet(net, **{"input_size": (1, 2), **options})
    assert isinstance(caught.value, OpflopsError)


def test_a_failing_call_keeps_its_cause():
    """The model's own error is shown above; so is a value without a shape."""

    class Text(nn.Module):
        def forward(self, x):
            return "text"

    with pytest.raises(SummaryError) as caught:
        quiet(nn.Sequential(Text()), (1, 2))
    assert "not 'text'" in str(caught.value.__cause__)
    with pytest.raises(TypeError, match=r"an nn\.Module, not the class Linear"):
        quiet(nn.Linear, (1, 2))
    with pytest.raises(RuntimeError, match="lol"):
        quiet(Text(), device="lol")


def test_a_forward_pass_is_kept_if_asked_for():
    """By the name of the class, until it is forgotten."""
    calls = []

    class Kept(nn.Linear):
        def forward(self, x):
            calls.append(1)
            return super().forward(x)

    try:
        first = quiet(Kept(2, 3), (1, 2), cache_forward_pass=True)
        again = quiet(Kept(5, 6), (1, 5), cache_forward_pass=True, depth=1)
        assert (len(calls), again.total_mult_adds, again.profile) == (1, 6, first.profile)
        assert quiet(Kept(5, 6), (1, 5)).total_mult_adds == 30
    finally:
        clear_cached_forward_pass()
    quiet(Kept(2, 3), (1, 2))
    quiet(Kept(5, 6), (1, 5), cache_forward_pass=True)
    assert len(calls) == 4
    clear_cached_forward_pass()


def test_a_kept_forward_pass_is_shown_without_inputs():
    """With its rows and totals; torchinfo shows them too."""

    class Shown(nn.Sequential):
        pass

    try:
        fresh = quiet(Shown(nn.Linear(2, 3)), cache_forward_pass=True)
        assert (fresh.total_mult_adds, fresh.profile) == (0, None)
        first = quiet(Shown(nn.Linear(2, 3)), (5, 2), cache_forward_pass=True)
        again = quiet(Shown(nn.Linear(7, 9)), cache_forward_pass=True)
        assert again.summary_list is first.summary_list
        assert (again.profile, again.input_size, again.total_input) == (first.profile, [], 0)
        assert (again.total_mult_adds, again.total_params, again.total_output_bytes) == (30, 9, 2 * 4 * 15)
        assert column(again, ColumnSettings.NUM_PARAMS) == [9]
        assert quiet(Shown(nn.Linear(7, 9))).total_params == 72
    finally:
        clear_cached_forward_pass()


@pytest.mark.parametrize("error", [TypeError, RuntimeError, OpflopsError])
def test_an_argument_is_given_once(error):
    """In the data or by keyword; neither wins."""
    ones = torch.ones(2)
    with pytest.raises(error, match=r"argument 'y' is given twice: in input_data, and to summary\(\) by keyword"):
        quiet(Keywords(), input_data={"x": ones, "y": {"deep": [ones]}}, y=None)
    with pytest.raises(RuntimeError, match="TypeError, shown above"):
        quiet(Keywords(), input_data=[ones], x=ones)
    assert quiet(Keywords(), input_data={"x": ones}, scale=2).total_input == 8


def test_verbosity(capsys, monkeypatch):
    """Nothing, the table, or the parameters too; by default nothing in an interactive session."""
    net = nn.Sequential(nn.Conv1d(2, 4, 3), nn.ReLU())
    summary(net, (1, 2, 5), verbose=0)
    assert capsys.readouterr().out == ""
    found = summary(net, (1, 2, 5))
    assert capsys.readouterr().out == f"{found}\n"
    assert "weight" not in str(found)
    summary(net, (1, 2, 5), verbose=2, col_names=("kernel_size", "num_params"), col_width=12)
    lines = capsys.readouterr().out.splitlines()[4:8]
    assert [line.split() for line in lines] == [
        ["├─Conv1d:", "1-1", "[3]", "28"],
        ["│", "└─weight", "[2,", "4,", "3]", "├─24"],
        ["│", "└─bias", "[4]", "└─4"],
        ["├─ReLU:", "1-2", "--", "--"],
    ]
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    summary(net, (1, 2, 5))
    assert capsys.readouterr().out == ""


def test_rows_show_what_is_asked_for():
    """Names, depths, ASCII, and no later calls."""
    net = nn.Sequential(nn.Sequential(nn.ReLU()))
    net.append(net[0])

    def shown(*settings):
        return [line.split("  ")[0] for line in rows(quiet(net, (1, 2), row_settings=settings))]

    assert shown() == ["Sequential", "├─Sequential", "│", "├─Sequential", "│"]
    assert shown("depth", "hide_recursive_layers")[:2] == ["Sequential", "├─Sequential: 1-1"]
    assert len(shown("hide_recursive_layers")) == 3
    named = quiet(net, (1, 2), row_settings=[RowSettings.VAR_NAMES, RowSettings.ASCII_ONLY])
    assert [line.rpartition("[1")[0].strip() or line for line in rows(named)][:3] == [
        "Sequential (Sequential)                  [1, 2]                    --".rpartition("[1")[0].strip(),
        "+ Sequential (0)",
        "|    + ReLU (0)",
    ]
    assert str(named).isascii()
    assert "Layer (type (var_name))" in str(named)


def test_totals_are_written_in_units():
    """Of themselves, or those that are set."""
    assert ModelStatistics.format_output_num(1_500_000, Units.AUTO) == " (M): 1.50"
    assert ModelStatistics.format_output_num(2_000_000_000, Units.AUTO) == " (G): 2"
    assert ModelStatistics.format_output_num(5 * 10**12, Units.AUTO) == " (T): 5"
    assert ModelStatistics.format_output_num(1_234, Units.NONE) == ": 1,234"
    assert ModelStatistics.to_readable(1_500, Units.KILOBYTES) == (Units.KILOBYTES, 1.5)
    assert (ModelStatistics.to_megabytes(2_500_000), ModelStatistics.float_to_megabytes(250_000)) == (2.5, 1.0)
    found = quiet(nn.Linear(10, 10), (4, 10))
    found.formatting.macs_units = Units.NONE
    found.formatting.params_units = Units.MEGABYTES
    assert "\nTotal params (M): 0.00\n" in str(found)
    assert "\nTotal mult-adds: 400\n" in str(found)


def test_long_names_widen_the_first_column():
    """In steps of five, over all rows, shown or not."""
    long = type("N" * 52, (nn.ReLU,), {})
    found = quiet(nn.Sequential(nn.Sequential(long())), (1,), depth=1)
    assert found.formatting.layer_name_width == 70
    assert found.formatting.get_total_width() == 70 + 50


def test_a_model_on_meta_stays_there():
    """Where nothing is computed."""
    found = quiet(nn.Linear(4, 5, device="meta"), (3, 4))
    assert (found.total_mult_adds, found.summary_list[0].output_size) == (60, [3, 5])


@pytest.mark.parametrize("dtype", [torch.half, torch.bfloat16, torch.double, torch.complex64, torch.complex128])
def test_inputs_of_a_size_have_the_dtype_that_is_given(dtype):
    """A model of another dtype fails with advice on it; bytes are those of the dtype."""
    model = nn.Sequential(nn.Conv1d(2, 4, 3, dtype=dtype))
    found = quiet(model, (2, 2, 5), dtypes=[dtype])
    products = 2 * 3 * 4 * 2 * 3
    # PyTorch convolves complex numbers by three convolutions of real ones.
    assert found.total_mult_adds == products * (3 if dtype.is_complex else 1)
    assert (found.total_params, found.total_param_bytes) == (28, 28 * dtype.itemsize)
    assert (found.total_input, found.total_output_bytes) == (20 * dtype.itemsize, 2 * 24 * dtype.itemsize)
    with pytest.raises(RuntimeError, match=rf"inputs are of torch.float32 and the parameters of {dtype}; dtypes=\["):
        quiet(model, (2, 2, 5))


def test_a_model_partly_on_meta_keeps_its_values():
    """The part with values is not moved unless that is asked for; buffers tell the device too."""
    model = nn.Sequential(nn.Linear(4, 4, device="meta"), nn.Linear(4, 4))
    with pytest.raises(RuntimeError, match='Give device="meta" to move all there, which drops the values'):
        quiet(model, (2, 4))
    assert model[1].weight.device.type == "cpu"
    assert quiet(model, (2, 4), device="meta").total_mult_adds == 2 * 2 * 16
    assert quiet(nn.BatchNorm1d(4, affine=False, device="meta"), (2, 4)).summary_list[0].output_size == [2, 4]
    assert quiet(nn.LazyLinear(3, device="meta"), (2, 4)).total_mult_adds == 24


def test_the_parts_of_a_summary_can_be_called():
    """What programs import from torchinfo's modules."""
    ones = torch.ones(2, 3)
    x, sizes = torchinfo.process_input(ones, None, None, None)
    assert (type(x), x[0] is ones, sizes) == (list, True, (2, 3))
    x, sizes = torchinfo.process_input({"x": ones}, None, None, torch.device("cpu"))
    assert (x["x"].shape, sizes) == ((2, 3), {"x": (2, 3)})
    x, sizes = torchinfo.process_input(None, [(3,), (2,)], 0, torch.device("cpu"), [torch.float, torch.long])
    assert ([(*each.shape, each.dtype) for each in x], sizes) == (
        [(1, 3, torch.float), (1, 2, torch.long)],
        [(3,), (2,)],
    )
    assert torchinfo.process_input(None, None, None, None) == (None, [])

    model = nn.Sequential(nn.Linear(3, 4))
    found = torchinfo.forward_pass(model, [ones], None, False, None, Mode.EVAL)
    assert [(row.class_name, row.macs) for row in found] == [("Sequential", 24), ("Linear", 24)]
    assert [row.macs for row in torchinfo.forward_pass(model, {"input": ones}, None, False, None, Mode.TRAIN)] == [
        24
    ] * 2
    assert [row.num_params for row in torchinfo.forward_pass(model, None, None, False, None, Mode.EVAL)] == [16, 16]
    found = torchinfo.forward_pass(Keywords(), {"x": ones}, None, False, torch.device("cpu"), Mode.EVAL, scale=3)
    assert found[0].output_size == [2, 3]
    with pytest.raises(TypeError, match="process_input"):
        torchinfo.forward_pass(model, ones, None, False, None, Mode.EVAL)
    with pytest.raises(TypeError, match="given twice"):
        torchinfo.forward_pass(model, {"input": ones}, None, False, None, Mode.EVAL, input=ones)

    assert layer_info.rgetattr(model, "0.weight") is model[0].weight
    assert layer_info.rgetattr(model, "0.nothing") is None
    with pytest.raises(TypeError, match="'0' must be the name of a tensor in the Sequential, not of a Linear"):
        layer_info.rgetattr(model, "0")


def test_the_modules_have_the_names_of_torchinfo():
    """So that other imports can be changed alike."""
    assert package.__version__ == "1.8.0"
    assert enums.Verbosity.VERBOSE == 2
    assert formatting.FormattingOptions.str_(None) == "--"
    assert layer_info.LayerInfo.calculate_size((torch.ones(2, 3, dtype=torch.half),), None) == ([2, 3], 2)
    assert layer_info.nested_list_size([[torch.ones(2, 3)]]) == ([2, 3], 4)
    assert layer_info.prod([2, [3, 4]]) == 24
    assert (model_statistics.ModelStatistics, torchinfo.summary) == (ModelStatistics, summary)
    assert [f"{each}" for each in ColumnSettings][:2] == ["kernel_size", "input_size"]
