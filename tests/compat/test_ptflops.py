"""The drop-in for ptflops: its interface, multiply-accumulates as its figures, and what it prints."""

import inspect
import io
import threading

import pytest
import torch
from torch import nn
from torch.nn import functional

from opflops import count
from opflops.compat.ptflops import FLOPS_BACKEND, flops_to_string, get_model_complexity_info, params_to_string
from opflops.errors import ArgumentError, OpflopsError, UnpricedOpWarning


class Call(nn.Module):
    """Calls a function, and holds modules for it."""

    def __init__(self, function, **modules):
        super().__init__()
        self.function = function
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, *args, **kwargs):
        return self.function(self, *args, **kwargs)


def macs_of(model, shape, **options):
    return get_model_complexity_info(model, shape, as_strings=False, print_per_layer_stat=False, **options)[0]


def state_of(model):
    return {
        name: (module.training, sorted(vars(module)), sorted(module._buffers), dict(module._forward_hooks))
        for name, module in model.named_modules()
    }


def test_the_signature_is_that_of_ptflops():
    """Names, order and default values of release 0.7.5."""
    parameters = inspect.signature(get_model_complexity_info).parameters.values()
    defaults = {each.name: each.default for each in parameters}
    del defaults["ost"]
    nothing = inspect.Parameter.empty
    assert [*defaults.items()] == [
        ("model", nothing), ("input_res", nothing), ("print_per_layer_stat", True), ("as_strings", True),
        ("input_constructor", None), ("verbose", False), ("ignore_modules", []), ("custom_modules_hooks", {}),
        ("backend", FLOPS_BACKEND.PYTORCH), ("flops_units", None), ("param_units", None), ("output_precision", 2),
        ("backend_specific_config", {}),
    ]  # fmt: skip
    assert [*inspect.signature(get_model_complexity_info).parameters][5] == "ost"
    assert [each.value for each in FLOPS_BACKEND] == ["pytorch", "aten"]


def test_a_convolution_counts_its_products():
    """By hand: 4 x 6 x 6 results of 3 x 3 x 3 products, no bias; as text with a unit."""
    net = nn.Sequential(nn.Conv2d(3, 4, 3))
    macs, params = get_model_complexity_info(net, (3, 8, 8), as_strings=False, print_per_layer_stat=False)
    assert (macs, params) == (4 * 36 * 27, 4 * 27 + 4)
    assert type(macs) is int
    assert get_model_complexity_info(net, (3, 8, 8), False) == ("3.89 KMac", "112")


@pytest.mark.parametrize("backend", ["aten", FLOPS_BACKEND.ATEN, "pytorch"])
@pytest.mark.parametrize(
    ("model", "shape", "macs"),
    [
        (nn.Conv2d(4, 6, 3, groups=2, dilation=2, stride=2), (4, 9, 9), 6 * 9 * 2 * 9),
        (nn.ConvTranspose2d(4, 6, 3, groups=2, stride=2), (4, 5, 5), 4 * 25 * 3 * 9),
        (nn.Linear(7, 5, bias=False), (3, 7), 3 * 35),
        (Call(lambda _, x: x @ x.transpose(1, 2)), (3, 7), 3 * 7 * 3),
        (Call(lambda _, x: torch.einsum("bij,kj->bik", x, torch.ones(5, 7))), (3, 7), 3 * 5 * 7),
        (Call(lambda _, x: functional.linear(x, torch.ones(5, 7), torch.ones(5))), (7,), 35),
        (Call(lambda _, x: functional.conv1d(x, torch.ones(4, 2, 3))), (2, 6), 4 * 4 * 6),
        (Call(lambda _, x: torch.matmul(x[:, None], torch.ones(1, 3, 8, 5))), (4, 8), 3 * 4 * 8 * 5),
    ],
)
def test_contractions_count_in_any_form(model, shape, macs, backend):
    """Each multiply-accumulate is one and a bias nothing, by layer, function or Python operator."""
    assert macs_of(model, shape, backend=backend) == macs


class Subclass(nn.ReLU):
    pass


@pytest.mark.parametrize("backend", ["pytorch", "aten"])
@pytest.mark.parametrize(
    ("module", "function"),
    [
        (nn.ReLU(), functional.relu),
        (nn.ReLU(inplace=True), functional.relu_),
        (Subclass(), torch.relu),
        (nn.LeakyReLU(), functional.leaky_relu),
        (nn.PReLU(), lambda x: functional.prelu(x, torch.ones(1))),
        (nn.GELU(), functional.gelu),
        (nn.SiLU(), functional.silu),
        (nn.Sigmoid(), torch.sigmoid),
        (nn.Softmax(-1), lambda x: x.softmax(-1)),
        (nn.MaxPool2d(3, 2, 1), lambda x: functional.max_pool2d(x, 3, 2, 1)),
        (nn.AvgPool2d(3), lambda x: functional.avg_pool2d(x, 3)),
        (nn.AdaptiveAvgPool2d(1), lambda x: functional.adaptive_avg_pool2d(x, 1)),
        (nn.AdaptiveMaxPool2d(3), lambda x: functional.adaptive_max_pool2d(x, 3)),
        (nn.Upsample(scale_factor=2), lambda x: functional.interpolate(x, scale_factor=2)),
        (nn.Upsample(size=(3, 5), mode="bicubic"), lambda x: functional.interpolate(x, (3, 5), mode="bilinear")),
        (nn.BatchNorm2d(2), lambda x: functional.batch_norm(x, torch.ones(2), torch.ones(2), torch.ones(2))),
        (nn.LayerNorm(6), lambda x: functional.layer_norm(x, (6,), torch.ones(6))),
        (nn.RMSNorm(6), lambda x: functional.rms_norm(x, (6,), torch.ones(6))),
        (nn.GroupNorm(2, 2), lambda x: functional.group_norm(x, 2)),
        (nn.InstanceNorm2d(2, affine=True), functional.instance_norm),
        (Call(lambda _, x: x + x), lambda x: torch.add(x, 1)),
        (Call(lambda _, x: x * 2), lambda x: x.mul_(x)),
    ],
)
def test_work_without_products_counts_nothing(module, function, backend):
    """By module and by function, also beside a layer that multiplies: then only its products count."""
    for context in (torch.enable_grad, torch.no_grad, torch.inference_mode):
        with context():
            assert macs_of(module, (2, 6, 6), backend=backend) == 0
            net = Call(lambda self, x: function(self.linear(x)), linear=nn.Linear(6, 6))
            assert macs_of(net, (2, 6, 6), backend=backend) == 2 * 6 * 36


@pytest.mark.parametrize("backend", ["pytorch", "aten"])
@pytest.mark.filterwarnings("ignore:LSTM with projections")
def test_recurrent_layers_count_their_matrices(backend):
    """By hand, for 3 steps: the weights of the gates, with biases or without, fused or as single operators."""
    for layer, gates in ((nn.RNN, 1), (nn.GRU, 3), (nn.LSTM, 4)):
        for context in (torch.enable_grad, torch.inference_mode):
            with context():
                steps = 3 * gates * 4 * (5 + 4)
                assert macs_of(layer(5, 4, batch_first=True), (3, 5), backend=backend) == steps
                both = layer(5, 4, num_layers=2, bidirectional=True, bias=False, batch_first=True)
                assert macs_of(both, (3, 5), backend=backend) == 2 * steps + 2 * 3 * gates * 4 * (8 + 4)
    assert macs_of(nn.LSTMCell(5, 4), (5,), backend=backend) == 16 * (5 + 4)
    projected = nn.LSTM(5, 4, proj_size=3, batch_first=True)
    assert macs_of(projected, (2, 5), backend=backend) == 2 * (16 * (5 + 3) + 4 * 3)


@pytest.mark.parametrize("backend", ["pytorch", "aten"])
def test_attention_counts_the_same_in_fused_and_other_forms(backend):
    """By hand: four projections and two products for the 5 x 5 scores of 2 heads of 4; no scale, softmax or bias."""
    layer = nn.MultiheadAttention(8, 2, batch_first=True)
    expected = 5 * 4 * 8 * 8 + 2 * 25 * (4 + 4)
    for needs in (True, False):
        model = Call(lambda self, x, needs=needs: self.layer(x, x, x, need_weights=needs)[0], layer=layer)
        for context in (torch.enable_grad, torch.no_grad):
            with context():
                assert macs_of(model, (5, 8), backend=backend) == expected, (needs, context)
    heads = Call(lambda _, x: functional.scaled_dot_product_attention(x, x, x))
    assert macs_of(heads, (2, 5, 4), backend=backend) == 2 * 25 * (4 + 4)


@pytest.mark.parametrize("config", [{}, {"count_functional": False}])
def test_an_encoder_layer_counts_the_same_on_its_fast_path(config):
    """By hand: attention and two linear layers; the one operator of the fast path is the layer's work."""
    layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)
    expected = 5 * 4 * 8 * 8 + 2 * 25 * (4 + 4) + 5 * (8 * 12 + 12 * 8)
    for context in (torch.enable_grad, torch.no_grad, torch.inference_mode):
        with context():
            # With gradients the layers inside run, without them one operator of the layer itself.
            assert macs_of(layer, (5, 8), backend_specific_config=config) == expected


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("backend", ["pytorch", "aten"])
def test_products_of_integers_and_of_quantized_numbers_count(backend):
    """And arithmetic on indices does not, nor of integers in other operators."""
    net = Call(lambda _, x: (x.long() + 1) @ torch.ones(4, 3, dtype=torch.int64))
    assert macs_of(net, (2, 4), backend=backend) == 2 * 4 * 3
    quantized = torch.ao.nn.quantized.dynamic.Linear(4, 3)
    assert macs_of(quantized, (2, 4), backend=backend) == 2 * 4 * 3
    assert macs_of(quantized, (2, 4), backend_specific_config={"count_functional": False}) == 2 * 4 * 3


@pytest.mark.parametrize("backend", ["pytorch", "aten"])
def test_the_figure_is_that_of_count(backend):
    """A model of convolutions, norms, activations, pools and a head with biases has the macs of opflops.count()."""
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(3, 2, 1),
        nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10),
        nn.Softmax(-1),
    ).eval()  # fmt: skip
    expected = 8 * 15 * 15 * 27 + 8 * 8 * 8 * 9 + 80
    assert macs_of(net, (3, 32, 32), backend=backend) == count(net, torch.rand(1, 3, 32, 32)).total.macs == expected


def test_a_shared_layer_counts_once_per_call():
    """Two calls of one layer, held by two modules; its parameters count once."""
    shared = nn.Linear(4, 4, bias=False)
    net = nn.Sequential(shared, nn.Sequential(shared), nn.Linear(4, 4, bias=False))
    assert get_model_complexity_info(net, (4,), False, False) == (3 * 16, 2 * 16)


def test_parameters_are_those_that_require_a_gradient():
    """Frozen ones are left out, and those of modules without a layer count; the text has ptflops' units."""
    net = nn.Sequential(nn.Linear(40, 30), nn.Linear(30, 10, bias=False))
    net.extra = nn.Parameter(torch.ones(7))
    net[1].weight.requires_grad_(False)
    assert get_model_complexity_info(net, (40,), False, True)[1] == "1.24 k"
    assert get_model_complexity_info(net, (40,), False, False)[1] == 40 * 30 + 30 + 7


def test_a_model_without_parameters_counts():
    """Its input is of the default dtype."""
    net = nn.Sequential(nn.ReLU(), Call(lambda _, x: x @ x.mT))
    assert get_model_complexity_info(net, (3, 5), False) == ("45 Mac", "0")


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_input_has_the_dtype_of_the_parameters(dtype):
    """So that a model in another precision runs, also one whose first parameter holds integers."""
    net = Call(lambda self, x: self.linear(x), linear=nn.Linear(4, 3, dtype=dtype))
    assert macs_of(net, (4,)) == 12
    net.index = nn.Parameter(torch.ones(2, dtype=torch.int64), requires_grad=False)
    assert macs_of(net, (4,)) == 12


def test_inputs_come_from_a_function():
    """A dict is keyword arguments, else it is the only argument; figures are of one sample of a tensor."""
    net = Call(lambda self, x, y=None: self.linear(x if y is None else x + y), linear=nn.Linear(4, 3))

    def named(shape):
        return {"x": torch.ones(2, *shape), "y": torch.ones(2, *shape)}

    assert macs_of(net, (4,), input_constructor=named) == 2 * 12
    assert macs_of(net, (4,), input_constructor=lambda shape: torch.ones(6, *shape)) == 12
    assert macs_of(net, (4,), input_constructor=lambda shape: torch.ones(6, *shape), backend="aten") == 6 * 12
    pair = Call(lambda _, pair: pair[0] @ pair[1])
    assert macs_of(pair, (4,), input_constructor=lambda _: (torch.ones(3, 4), torch.ones(4, 5))) == 20
    images = Call(lambda _, images: [image @ image for image in images])
    assert macs_of(images, (4,), input_constructor=lambda _: [torch.ones(4), torch.ones(8)]) == 6


def test_a_hook_replaces_the_figure_of_its_modules():
    """A user's hook writes __flops__; functions and layers inside its module no longer count, other modules do."""

    def hook(module, inputs, output):
        module.__flops__ += int(torch.tensor(output.shape).prod()) * 1000
        assert isinstance(inputs, tuple)
        assert module.__params__ == 12

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 3, bias=False)

        def forward(self, x):
            return self.linear(x) + 1

    net = nn.Sequential(Block(), nn.Linear(3, 2, bias=False))
    before = state_of(net)
    text = io.StringIO()
    macs, _ = get_model_complexity_info(net, (4,), as_strings=False, ost=text, custom_modules_hooks={Block: hook})
    assert macs == 3000 + 6
    assert "(0): Block(\n    12, 66.667% Params, 3.0 KMac, 99.800% MACs, " in text.getvalue()
    assert state_of(net) == before
    assert macs_of(Block(), (4,), custom_modules_hooks={Block: hook}) == 3000
    both = {Block: hook, nn.Linear: lambda m, *_: setattr(m, "__flops__", 5)}
    assert macs_of(net, (4,), custom_modules_hooks=both) == 3005


def test_modules_and_operators_can_be_ignored():
    """A type with all inside its modules; an operator also where PyTorch runs it as others."""
    block = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    net = Call(lambda self, x: self.block(x) @ torch.ones(4, 3), block=block)
    assert macs_of(net, (4,)) == 16 + 12
    assert macs_of(net, (4,), ignore_modules=[nn.Linear]) == 12
    assert macs_of(net, (4,), ignore_modules=[nn.Sequential]) == 12
    called = []
    hooks = {nn.Linear: lambda *_: called.append(1)}
    assert macs_of(net, (4,), ignore_modules=[nn.Linear], custom_modules_hooks=hooks) == 12
    assert not called
    assert macs_of(net, (4,), ignore_modules=[torch.ops.aten.addmm]) == 12
    text = io.StringIO()
    ignored = [torch.ops.aten.matmul]
    assert get_model_complexity_info(net, (4,), True, False, None, text, False, ignored, backend="aten")[0] == 16
    assert text.getvalue().startswith("Warning: aten.matmul operation is ignored\nTotal:16 Mac\n")
    text = io.StringIO()
    clipped = Call(lambda _, x: torch.zeros(3, 3).addmm_(x, x.mT) + torch.addmm(torch.zeros(3, 3), x, x.mT))
    for packet, name in ((torch.ops.aten.addmm, "addmm"), (torch.ops.aten.addmm_, "addmm_")):
        text = io.StringIO()
        options = {"input_constructor": lambda _: torch.ones(3, 4), "ignore_modules": [packet], "backend": "aten"}
        assert get_model_complexity_info(clipped, (4,), ost=text, **options)[0] == "36 Mac"
        assert text.getvalue().startswith(f"Warning: aten.{name} operation is ignored\nTotal:36 Mac\n")


def test_a_hook_of_an_operator_states_its_figure():
    """It is given the positional arguments that PyTorch passes, and a tuple of results."""
    seen = []

    def hook(inputs, outputs):
        seen.append(([each.shape for each in inputs], [each.shape for each in outputs]))
        return 42

    net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    for backend in ("aten", "pytorch"):
        hooks = {torch.ops.aten.addmm: hook, torch.ops.aten.relu: lambda *_: 5}
        assert macs_of(net, (4,), backend=backend, custom_modules_hooks=hooks) == 2 * 42 + 5
    assert seen[0] == ([(3,), (1, 4), (4, 3)], [(1, 3)])
    slopes = Call(lambda _, x: functional.leaky_relu(functional.leaky_relu(x), 0.2))
    lengths = []
    hooks = {torch.ops.aten.leaky_relu: lambda inputs, _: lengths.append(len(inputs)) or 10}
    assert macs_of(slopes, (4,), custom_modules_hooks=hooks) == 20
    assert lengths == [1, 2]
    bits = Call(lambda _, x: (x > 0) & (x < 1))
    assert macs_of(bits, (4,), backend="aten", custom_modules_hooks={torch.ops.aten.bitwise_and: hook}) == 42


def test_ignored_modules_are_printed_without_parameters():
    """Nor are these among the parameters of the modules around them; the total has them."""
    net, text = nn.Sequential(nn.Linear(4, 3), nn.Sequential(nn.Conv1d(1, 1, 1))), io.StringIO()
    result = get_model_complexity_info(net, (1, 4), ost=text, ignore_modules=[nn.Linear])
    assert result == ("3 Mac", "17")
    assert text.getvalue().splitlines()[1].startswith("  2, 11.765% Params, 3.0 Mac, 100.000% MACs")
    assert (
        text.getvalue()
        .splitlines()[2]
        .startswith("  (0): Linear(0, 0.000% Params, 0.0 Mac, 0.000% MACs, in_features=4")
    )


def test_modules_that_the_model_does_not_register_count_for_the_model():
    """As those in a list; the printed root has all of the figures."""
    hidden, text = [nn.Linear(4, 3)], io.StringIO()
    net = Call(lambda self, x: self.last(hidden[0](x)), last=nn.Linear(3, 2))
    assert get_model_complexity_info(net, (4,), ost=text) == ("18 Mac", "8")
    assert text.getvalue().startswith("Call(\n  8, 100.000% Params, 18.0 Mac, 100.000% MACs, \n")


def test_functional_work_can_be_left_out():
    """With count_functional off only what runs inside PyTorch's layers counts."""
    layers = {"linear": nn.Linear(4, 3), "inside": nn.Sequential(nn.Bilinear(3, 3, 2))}

    def forward(self, x):
        x = self.linear(x) @ torch.ones(3, 3)
        return functional.linear(self.inside[0](x, x), torch.ones(5, 2))

    net = Call(forward, **layers)
    assert macs_of(net, (4,)) == 12 + 9 + (18 + 6) + 10
    assert macs_of(net, (4,), backend_specific_config={"count_functional": False}) == 12 + (18 + 6)


def test_the_printed_model_has_shares_that_add_up():
    """Beside each module its parameters and figures with their shares, functions included, before its own text."""
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3, bias=False),
        nn.Sequential(nn.BatchNorm2d(2), nn.Linear(2, 3, bias=False)),
        Call(lambda _, x: x @ torch.ones(3, 1)),
    )
    text = io.StringIO()
    get_model_complexity_info(net, (1, 4, 4), ost=text, flops_units="KMac", output_precision=3)
    assert text.getvalue() == (
        "Sequential(\n"
        "  28, 100.000% Params, 0.108 KMac, 100.000% MACs, \n"
        "  (0): Conv2d(18, 64.286% Params, 0.072 KMac, 66.667% MACs, 1, 2, kernel_size=(3, 3), stride=(1, 1), "
        "bias=False)\n"
        "  (1): Sequential(\n"
        "    10, 35.714% Params, 0.024 KMac, 22.222% MACs, \n"
        f"    (0): BatchNorm2d(4, 14.286% Params, 0.0 KMac, 0.000% MACs, {nn.BatchNorm2d(2).extra_repr()})\n"
        "    (1): Linear(6, 21.429% Params, 0.024 KMac, 22.222% MACs, in_features=2, out_features=3, bias=False)\n"
        "  )\n"
        "  (2): Call(0, 0.000% Params, 0.012 KMac, 11.111% MACs, )\n"
        ")\n"
    )


def test_the_backend_aten_prints_operators_by_child(capsys):
    """The total, the whole model, and each child that did something, to the standard output of the moment."""
    net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2, bias=False)))
    get_model_complexity_info(net, (4,), backend="aten")
    assert capsys.readouterr().out == (
        "Total:22 Mac\n"
        "Module:  Global\naten.addmm: 18 Mac\naten.mm: 4 Mac\n\n"
        "Module:  0\naten.addmm: 12 Mac\n\n"
        "Module:  2\naten.addmm: 6 Mac\naten.mm: 4 Mac\n\n"
    )


def test_the_backend_aten_prints_hooked_and_leaves_out_ignored_modules():
    """The lines add up to the total, which is what is returned; a child may be called Global."""
    text = io.StringIO()
    net = nn.Sequential()
    net.add_module("Global", nn.Sequential(nn.Linear(4, 3), nn.ReLU()))
    net.add_module("last", nn.Sequential(nn.Linear(3, 3), Call(lambda _, x: x @ torch.ones(3, 2))))
    hooks = {Call: lambda module, *_: setattr(module, "__flops__", 42)}
    options = {"ost": text, "custom_modules_hooks": hooks, "ignore_modules": [nn.Linear], "backend": "aten"}
    assert get_model_complexity_info(net, (4,), **options)[0] == "42 Mac"
    assert text.getvalue() == "Total:42 Mac\nModule:  Global\nCall: 42 Mac\n\nModule:  last\nCall: 42 Mac\n\n"
    del options["ignore_modules"]
    get_model_complexity_info(net, (4,), **options)
    assert text.getvalue().endswith(
        "Total:63 Mac\nModule:  Global\naten.addmm: 21 Mac\nCall: 42 Mac\n\n"
        "Module:  Global\naten.addmm: 12 Mac\n\nModule:  last\naten.addmm: 9 Mac\nCall: 42 Mac\n\n"
    )


@pytest.mark.filterwarnings("ignore:.*compat_ptflops.odd.*has no formula")
def test_what_has_no_formula_is_named(capsys):
    """With verbose: such operators, and modules that do nothing else; not work without multiply-accumulates."""
    library = torch.library.Library("compat_ptflops", "DEF")
    library.define("odd(Tensor x) -> Tensor")
    library.impl("odd", torch.clone, "CompositeExplicitAutograd")

    class Odd(nn.Module):
        def forward(self, x):
            return torch.ops.compat_ptflops.odd(x)

    class Hooked(Odd):
        pass

    operator = "compat_ptflops.odd operation is treated as a zero-op"
    net = nn.Sequential(Odd(), nn.Linear(4, 4), nn.Sigmoid(), Call(lambda _, x: torch.ops.compat_ptflops.odd(x) @ x.mT))
    try:
        assert macs_of(net, (2, 4), verbose=True) == 2 * 16 + 2 * 4 * 2
        assert capsys.readouterr().out.splitlines() == [
            "Warning: module Odd is treated as a zero-op.", f"Warning: {operator}",
        ]  # fmt: skip
        macs_of(net, (2, 4), verbose=True, backend="aten")
        assert capsys.readouterr().out.splitlines() == [f"Warning: {operator}"]
        macs_of(nn.Sequential(Hooked()), (2, 4), verbose=True, custom_modules_hooks={Hooked: lambda *_: None})
        macs_of(nn.Sequential(Hooked()), (2, 4), custom_modules_hooks={torch.ops.compat_ptflops.odd: lambda *_: 3})
        macs_of(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), (4,), verbose=True)
        assert capsys.readouterr().out == ""
    finally:
        library._destroy()


@pytest.mark.parametrize("backend", ["pytorch", "aten"])
def test_modules_that_other_threads_call_count(backend):
    """With the hooks of operators; what a hook raises there is not lost."""

    def forward(self, x):
        results = []
        thread = threading.Thread(target=lambda: results.append(self.linear(x)))
        thread.start()
        thread.join()
        return results[0] @ torch.ones(4, 3)

    net = Call(forward, linear=nn.Linear(4, 4))
    assert macs_of(net, (4,), backend=backend) == 16 + 12
    hooks = {torch.ops.aten.addmm: lambda *_: 100}
    assert macs_of(net, (4,), backend=backend, custom_modules_hooks=hooks) == 100 + 12
    with pytest.warns(UnpricedOpWarning, match="addmm"):
        assert macs_of(net, (4,), custom_modules_hooks={torch.ops.aten.addmm: lambda *values: values[9]}) is None


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("backend", ["pytorch", "aten"])
@pytest.mark.parametrize(
    ("hook", "error"),
    [
        (lambda inputs, _: inputs[9], "<class 'IndexError'>"),
        (lambda *_: None, "<class 'TypeError'>"),
        (lambda *_: "7", "<class 'TypeError'>"),
    ],
)
def test_what_a_hook_of_an_operator_raises_is_printed(hook, error, backend, capsys):
    """As what the model raises; also if the hook returns no number, and if it runs on nested tensors."""
    net = nn.Sequential(nn.Linear(4, 3), nn.Tanh())
    hooks = {torch.ops.aten.tanh: hook}
    assert get_model_complexity_info(net, (4,), custom_modules_hooks=hooks, backend=backend) == (None, None)
    assert capsys.readouterr().out.split("\n")[1].startswith(error)
    nested = Call(lambda _, x: torch.nested.nested_tensor([x, x]).tanh())
    assert macs_of(nested, (4,), custom_modules_hooks=hooks, backend=backend) is None
    assert capsys.readouterr().out.split("\n")[1].startswith(error)


@pytest.mark.parametrize("backend", ["pytorch", "aten"])
@pytest.mark.parametrize("name", ["sigmoid", "sub", "div", "copy", "zero", "clamp_min"])
def test_an_operator_and_the_one_in_place_have_each_their_own_hook(name, backend):
    """One call of the former is 1, two of the latter are 10 each; either alone is its own figure."""
    arguments = {"sub": (3.0,), "div": (2.0,), "copy": (torch.ones(4),), "clamp_min": (0.5,)}.get(name, ())

    def forward(_, x):
        y = getattr(torch.ops.aten, name)(x, *arguments)
        for _ in range(2):
            getattr(torch.ops.aten, f"{name}_")(y, *arguments)
        return y

    outer, inner = getattr(torch.ops.aten, name), getattr(torch.ops.aten, f"{name}_")
    net = Call(forward)
    assert macs_of(net, (4,), backend=backend, custom_modules_hooks={outer: lambda *_: 1, inner: lambda *_: 10}) == 21
    assert macs_of(net, (4,), backend=backend, custom_modules_hooks={outer: lambda *_: 1}) == 1
    assert macs_of(net, (4,), backend=backend, custom_modules_hooks={inner: lambda *_: 10}) == 20


def test_hooks_of_operators_may_return_parts_of_one():
    """Or less than 0. Their sum is exact with the backend aten, whose result it is; the other one cuts off parts."""
    net = Call(lambda _, x: (x * 2 * 3 * 4) @ torch.ones(4, 2))
    text = io.StringIO()
    options = {"custom_modules_hooks": {torch.ops.aten.mul: lambda *_: 0.75}, "ost": text}
    assert macs_of(net, (4,), backend="aten", **options) == 8 + 2.25
    assert macs_of(net, (4,), **options) == 10
    assert get_model_complexity_info(net, (4,), backend="aten", **options)[0] == "10.25 Mac"
    assert "aten.mul: 2.25 Mac\n" in text.getvalue()
    corrected = {torch.ops.aten.mul: lambda inputs, _: -0.5 if inputs[1] == 2 else 0.25}
    assert macs_of(net, (4,), backend="aten", custom_modules_hooks=corrected) == 8
    assert macs_of(net, (4,), backend="aten", custom_modules_hooks={torch.ops.aten.mul: lambda *_: -2}) == 2
    values = Call(lambda _, x: x.to(torch.complex64) * 2)
    hooks = {torch.ops.aten.mul: lambda *_: torch.tensor(5)}
    assert macs_of(values, (4,), backend="aten", custom_modules_hooks=hooks) == 5


def test_a_packed_sequence_and_nested_inputs_have_their_samples():
    """By hand: an LSTM has 4 x 3 x (5 + 3) for each of 2 + 1 + 4 steps of 3 sequences; a tuple those of its tensor."""

    def packed(_):
        return nn.utils.rnn.pack_sequence([torch.ones(2, 5), torch.ones(1, 5), torch.ones(4, 5)], enforce_sorted=False)

    assert macs_of(nn.LSTM(5, 3), (5,), input_constructor=packed) == 7 * 12 * 8 // 3
    inside = Call(lambda self, pair: self.layer(pair[0])[0], layer=nn.LSTM(5, 3))
    assert macs_of(inside, (5,), input_constructor=lambda _: (packed(_), 2)) == 7 * 12 * 8 // 3
    net = Call(lambda self, batch: self.linear(batch[1]["x"][0]), linear=nn.Linear(4, 3))
    assert macs_of(net, (4,), input_constructor=lambda shape: (7, {"x": (torch.ones(5, *shape),)})) == 12


@pytest.mark.parametrize("backend", ["pytorch", "aten"])
def test_named_inputs_count_in_full_with_a_warning_of_ptflops(backend, capsys):
    """The backend pytorch says so on standard output, whatever ost is."""
    net = Call(lambda self, *, x: self.linear(x), linear=nn.Linear(4, 3))
    assert macs_of(net, (4,), input_constructor=lambda shape: {"x": torch.ones(5, *shape)}, backend=backend) == 60
    warning = "Warning! No positional inputs found for a module, assuming batch size is 1.\n"
    assert capsys.readouterr().out == (warning if backend == "pytorch" else "")


def test_a_model_of_complex_numbers_counts():
    """Its input is complex, too; a complex multiply-accumulate is four real ones, as in opflops.count()."""
    net = nn.Sequential(nn.Linear(4, 3, dtype=torch.complex64), nn.Linear(3, 5, dtype=torch.complex64))
    assert macs_of(net, (4,)) == count(net, torch.ones(1, 4, dtype=torch.complex64)).total.macs == 4 * (12 + 15)


class Changing(nn.Module):
    """Puts another layer in the place of one, or removes it, while it runs."""

    def __init__(self, replacement):
        super().__init__()
        self.linear, self.replacement = nn.Linear(4, 4), replacement

    def forward(self, x):
        x = self.linear(x)
        if self.replacement is None:
            del self.linear
            return x
        self.linear = self.replacement
        return self.linear(x)


def linear_hook(module, inputs, output):
    module.__flops__ += 1000 * len(output)


def test_a_hooked_module_that_is_replaced_is_an_error_and_one_that_is_removed_counts(capsys):
    """The error says which it is; without a hook both layers count."""
    assert macs_of(Changing(nn.Linear(4, 4)), (4,)) == 32
    assert macs_of(Changing(nn.Linear(4, 4)), (4,), custom_modules_hooks={nn.Linear: linear_hook}) is None
    assert "The module Changing.linear, for whose class Linear there is a hook, was" in capsys.readouterr().out
    assert macs_of(Changing(None), (4,), custom_modules_hooks={nn.Linear: linear_hook}) == 1000


class After(nn.Module):
    pass


class Before(nn.Module):
    """Becomes another class in its first call."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x):
        self.__class__ = type("Later", (After,), {"forward": Before.forward})
        return self.linear(x) @ torch.ones(3, 2)


@pytest.mark.parametrize("backend", ["pytorch", "aten"])
def test_models_that_change_their_class_count(backend):
    """Lazy layers and others, alone and in a model, in the printed model, too; lazy ones have hooks of their class."""
    for model, macs in ((nn.LazyLinear(3), 12), (nn.Sequential(nn.LazyLinear(3)), 12), (Before(), 18)):
        text = io.StringIO()
        assert get_model_complexity_info(model, (4,), ost=text, backend=backend)[0] == f"{macs} Mac"
        assert (f"{macs}.0 Mac, 100.000% MACs" if backend == "pytorch" else f"Total:{macs} Mac\n") in text.getvalue()
    hooks = {nn.Linear: linear_hook, Before: linear_hook}
    for model in (nn.LazyLinear(3), nn.Sequential(nn.LazyLinear(3)), Before()):
        text = io.StringIO()
        options = {"ost": text, "custom_modules_hooks": hooks, "backend": backend}
        assert get_model_complexity_info(model, (4,), **options)[0] == "1.0 KMac"


@pytest.mark.parametrize(
    ("layer", "macs"),
    [
        (nn.SiLU(), 0), (nn.Softmax(-1), 0), (nn.SyncBatchNorm(4), 0), (nn.RMSNorm(4), 0), (nn.Hardtanh(), 0),
        (nn.LSTM(4, 3), 12 * 7), (nn.Conv1d(1, 2, 3), 2 * 2 * 3), (nn.LazyLinear(3), 12),
    ],
)  # fmt: skip
def test_layers_count_the_same_without_functional_work(layer, macs):
    """Those of PyTorch, alone and in a model, whatever ptflops has a rule for."""
    config = {"count_functional": False}
    assert macs_of(layer, (4,)) == macs_of(layer, (4,), backend_specific_config=config) == macs
    net = nn.Sequential(layer, Call(lambda _, x: x[0] @ torch.ones(x[0].shape[-1], 2)))
    assert macs_of(net, (4,), backend_specific_config=config) == macs


def test_keys_of_both_kinds_count_with_both_backends():
    """A class with aten, an operator with pytorch, and an operator that PyTorch runs as another one."""
    net = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
    for backend in ("pytorch", "aten"):
        assert macs_of(net, (4,), backend=backend, custom_modules_hooks={nn.Linear: linear_hook}) == 1000
        for operator in (torch.ops.aten.addmm, torch.ops.aten.linear):
            assert macs_of(net, (4,), backend=backend, custom_modules_hooks={operator: lambda *_: 5}) == 5
            assert macs_of(net, (4,), backend=backend, ignore_modules=[operator]) == 0


def test_the_model_is_left_as_it_was(capsys):
    """Modes of each module, hooks, attributes and its text, also after an error; grad mode is the caller's."""
    net = nn.Sequential(nn.Linear(4, 3), nn.Dropout(), Call(lambda _, x: grads.append(torch.is_grad_enabled()) or x))
    net[1].eval()
    net[0].__flops__ = 7
    grads, before, text = [], state_of(net), repr(net)
    get_model_complexity_info(net, (4,), custom_modules_hooks={nn.Linear: lambda m, *_: setattr(m, "__flops__", 1)})
    with torch.no_grad():
        assert macs_of(net, (5,)) is None
        macs_of(net, (4,))
    assert (state_of(net), repr(net), net[0].__flops__, grads) == (before, text, 7, [True, False])
    capsys.readouterr()


def test_an_error_of_the_model_is_printed(capsys):
    """Two times None with texts or without, and a traceback, as ptflops does."""
    assert get_model_complexity_info(nn.Linear(4, 3), (5,)) == (None, None)
    out, err = capsys.readouterr()
    assert out.startswith(
        "Flops estimation was not finished successfully because of the following exception: \n"
        "<class 'RuntimeError'>: mat1 and mat2"
    )
    assert "Traceback" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": torch.relu}, "model must be a torch.nn.Module"),
        ({"input_res": [4]}, "input_res must be the shape of one sample as a tuple"),
        ({"input_res": ()}, "input_res must be the shape"),
        ({"backend": "fx"}, "backend must be 'pytorch' or 'aten', not 'fx'"),
        ({"ignore_modules": ["Linear"]}, "ignore_modules needs classes of modules"),
        ({"custom_modules_hooks": {torch.relu: print}}, "custom_modules_hooks needs classes"),
        ({"custom_modules_hooks": {nn.ReLU: 3}}, "must be a function, not"),
        ({"backend_specific_config": {"functional": True}}, "the only setting is 'count_functional'"),
        ({"backend_specific_config": {"count_functional": False}, "backend": "aten"}, "of the backend 'pytorch'"),
        ({"backend_specific_config": True}, "must be a dict"),
    ],
)
def test_arguments_that_cannot_be_used_are_errors(options, message):
    """Nothing is ignored silently, and who caught ptflops' own errors still does."""
    with pytest.raises(ArgumentError, match=message) as caught:
        get_model_complexity_info(**{"model": nn.Linear(4, 3), "input_res": (4,), **options})
    assert isinstance(caught.value, OpflopsError)
    assert isinstance(caught.value, AssertionError) == (not {"model", "input_res"}.isdisjoint(options))


def test_counts_are_written_as_ptflops_writes_them():
    """Units by size or by choice; an unknown unit writes the number itself."""
    assert [flops_to_string(each) for each in (0, 999, 1000, 1_234_567, 5 * 10**9)] == [
        "0 Mac", "999 Mac", "1.0 KMac", "1.23 MMac", "5.0 GMac",
    ]  # fmt: skip
    assert flops_to_string(1_234_567, "GMac", 4) == "0.0012 GMac"
    assert flops_to_string(1_234_567, units="TMac") == "1234567 Mac"
    assert [params_to_string(each) for each in (0, 999, 1500, 2 * 10**6)] == ["0", "999", "1.5 k", "2.0 M"]
    written = [params_to_string(1_234_567, unit, 3) for unit in ("M", "K", "B", "T")]
    assert written == ["1.235 M", "1234.567 K", "0.001 B", "1234567"]
