"""The drop-in for thop: its interface, multiply-accumulates as its figures, and what it prints."""

import inspect
import threading

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_sequence

from opflops import count
from opflops.compat.thop import __version__, clever_format, profile, profile_origin
from opflops.compat.thop.profile import register_hooks
from opflops.compat.thop.rnn_hooks import count_lstm
from opflops.compat.thop.utils import prGreen, prRed, prYellow
from opflops.compat.thop.vision import calc_func
from opflops.compat.thop.vision.basic_hooks import count_convNd, count_parameters, multiply_adds, zero_ops
from opflops.errors import ArgumentError, OpflopsError


class Call(nn.Module):
    """Calls a function, and holds modules for it."""

    def __init__(self, function, **modules):
        super().__init__()
        self.function = function
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, *args):
        return self.function(self, *args)


def macs_of(model, *shapes, **options):
    return profile(model, tuple(torch.rand(shape) for shape in shapes), verbose=False, **options)[0]


def state_of(model):
    return {
        name: (module.training, sorted(vars(module)), sorted(module._buffers), dict(module._forward_hooks))
        for name, module in model.named_modules()
    }


def test_the_signatures_are_those_of_thop():
    """Names, order and default values of release 0.1.1."""
    nothing = inspect.Parameter.empty
    shared = [("model", nothing), ("inputs", nothing), ("custom_ops", None), ("verbose", True)]
    found = [(each.name, each.default) for each in inspect.signature(profile).parameters.values()]
    assert found == [*shared, ("ret_layer_info", False), ("report_missing", False)]
    found = [(each.name, each.default) for each in inspect.signature(profile_origin).parameters.values()]
    assert found == [*shared, ("report_missing", False)]
    assert [*inspect.signature(clever_format).parameters] == ["nums", "format"]


def test_the_usual_lines_run(capsys):
    """By hand: 4 x 6 x 6 results of 27 products, no bias; 144 features times 10. The rules are printed."""
    model, x = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 10)), torch.rand(1, 3, 8, 8)
    flops, params = profile(model, inputs=(x,))
    assert (flops, params) == (4 * 36 * 27 + 1440, 4 * 27 + 4 + 1450)
    assert type(flops) is type(params) is float
    assert clever_format([flops, params], "%.3f") == ("5.328K", "1.562K")
    assert capsys.readouterr().out == (
        "[INFO] Register count_convNd() for <class 'torch.nn.modules.conv.Conv2d'>.\n"
        "[INFO] Register count_linear() for <class 'torch.nn.modules.linear.Linear'>.\n"
        "[INFO] Register zero_ops() for <class 'torch.nn.modules.container.Sequential'>.\n"
    )


N = 2 * 6 * 6


class Subclass(nn.Linear):
    pass


@pytest.mark.parametrize(
    ("module", "function", "macs"),
    [
        (Subclass(6, 5), lambda x: functional.linear(x, torch.ones(5, 6), torch.ones(5)), 5 * N),
        (
            nn.Conv2d(2, 4, 3, groups=2, dilation=2),
            lambda x: functional.conv2d(x, torch.ones(4, 1, 3, 3), None, 1, 0, 2, 2),
            144,
        ),
        (
            nn.ConvTranspose2d(2, 3, 2, 2),
            lambda x: functional.conv_transpose2d(x, torch.ones(2, 3, 2, 2), stride=2),
            36 * 24,
        ),
        (Call(lambda _, x: x @ x), lambda x: torch.einsum("bcij,bcjk->bcik", x, x), 6 * N),
        (nn.Bilinear(6, 6, 3), lambda x: functional.bilinear(x, x, torch.ones(3, 6, 6)), 12 * 3 * (36 + 6)),
    ],
)
def test_a_layer_and_its_function_count_the_same(module, function, macs):
    """Contractions, without biases."""
    layer = Call(
        lambda self, x: self.layer(x, x) if isinstance(self.layer, nn.Bilinear) else self.layer(x), layer=module
    )
    assert macs_of(layer, (1, 2, 6, 6)) == macs_of(Call(lambda _, x: function(x)), (1, 2, 6, 6)) == macs


@pytest.mark.parametrize(
    ("module", "function"),
    [
        (nn.BatchNorm2d(2), lambda x: functional.batch_norm(x, torch.ones(2), torch.ones(2), torch.ones(2))),
        (nn.LayerNorm(6, bias=False), lambda x: functional.layer_norm(x, (6,), torch.ones(6))),
        (nn.RMSNorm(6), lambda x: functional.rms_norm(x, (6,), torch.ones(6))),
        (nn.GroupNorm(1, 2), lambda x: functional.group_norm(x, 1, torch.ones(2), torch.ones(2))),
        (nn.InstanceNorm2d(2), functional.instance_norm),
        (nn.Softmax(-1), lambda x: x.softmax(-1)),
        (nn.PReLU(), lambda x: functional.prelu(x, torch.ones(1))),
        (nn.ReLU(), functional.relu),
        (nn.MaxPool2d(2), lambda x: functional.max_pool2d(x, 2)),
        (nn.AvgPool2d(2), lambda x: functional.avg_pool2d(x, 2)),
        (nn.AdaptiveAvgPool2d((4, 6)), lambda x: functional.adaptive_avg_pool2d(x, (4, 6))),
        (nn.Upsample(scale_factor=2), lambda x: functional.interpolate(x, scale_factor=2)),
        (nn.UpsamplingBilinear2d(3), lambda x: functional.interpolate(x, 3, mode="bilinear")),
        (nn.Upsample(3, mode="bicubic"), lambda x: functional.interpolate(x, 3, mode="bicubic")),
        (nn.GELU(), lambda x: x + x * 2),
    ],
)
def test_work_without_products_counts_nothing(module, function):
    """By module and by function, and beside a layer that multiplies."""
    assert macs_of(module, (1, 2, 6, 6)) == macs_of(Call(lambda _, x: function(x)), (1, 2, 6, 6)) == 0
    assert macs_of(nn.Sequential(nn.Linear(6, 6), module), (1, 2, 6, 6)) == 12 * 36


@pytest.mark.filterwarnings("ignore:LSTM with projections")
def test_recurrent_layers_count_their_matrices():
    """By hand, for 3 steps of 2 sequences: the weights of the gates, no biases, sums or products of the cells."""
    for layer, gates in ((nn.RNN, 1), (nn.GRU, 3), (nn.LSTM, 4)):
        assert macs_of(layer(5, 4), (3, 2, 5)) == macs_of(layer(5, 4, bias=False), (3, 2, 5)) == 6 * gates * 4 * 9
    packed = pack_sequence([torch.rand(3, 5), torch.rand(1, 5)])
    assert profile(nn.LSTM(5, 4), (packed,), verbose=False)[0] == 4 * 16 * 9
    assert macs_of(nn.LSTM(5, 4, proj_size=3, bias=False), (2, 5)) == 2 * (16 * (5 + 3) + 4 * 3)
    assert macs_of(nn.GRUCell(5, 4), (2, 5)) == 2 * 12 * 9


def test_attention_counts_on_the_fast_path_and_off():
    """By hand: four projections and two products of 5 x 5 scores for each of 2 heads; an encoder layer has two more."""
    attention = 5 * 4 * 64 + 2 * 25 * (4 + 4)
    layer = nn.MultiheadAttention(8, 2, batch_first=True)
    assert macs_of(Call(lambda self, x: self.layer(x, x, x)[0], layer=layer), (1, 5, 8)) == attention
    encoder = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)
    assert macs_of(encoder, (1, 5, 8)) == attention + 2 * 5 * 96
    hooked = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)
    hooked.linear1.register_forward_hook(lambda *_: None)  # takes it off the fast path
    assert macs_of(hooked, (1, 5, 8)) == macs_of(encoder, (1, 5, 8))


def test_layers_are_listed_with_what_is_inside():
    """By name: figure, parameters, and a dict of the same kind, which ends at a class that has a rule."""
    shared = nn.Linear(4, 4)
    model = nn.Sequential(shared, nn.Sequential(nn.Linear(4, 3, bias=False), nn.Tanh()))
    model.add_module("block", Call(lambda self, x: self.linear(x) @ torch.ones(2, 5), linear=nn.Linear(3, 2)))
    macs, params, layers = profile(model, (torch.rand(1, 4),), None, False, True)
    assert (macs, params) == (16 + 12 + 6 + 10, 20 + 12 + 8)
    assert layers == {
        "0": (16.0, 20.0, {}),
        "1": (12.0, 12.0, {"0": (12.0, 12.0, {}), "1": (0.0, 0.0, {})}),
        "block": (16.0, 8.0, {"linear": (6.0, 8.0, {})}),
    }


@pytest.mark.filterwarnings("ignore")
def test_products_of_integers_and_of_quantized_numbers_count():
    """Those of other integer work do not."""
    assert macs_of(Call(lambda _, x: x.long() @ torch.ones(4, 3, dtype=torch.int64)), (2, 4)) == 2 * 4 * 3
    right = torch.ones(16, 8, dtype=torch.int8)
    assert macs_of(Call(lambda _, x: torch._int_mm(x.to(torch.int8) + 1, right)), (32, 16)) == 32 * 16 * 8
    assert macs_of(torch.ao.nn.quantized.dynamic.Linear(4, 3), (2, 4)) == 2 * 4 * 3


def test_the_figure_is_that_of_count():
    """A model of convolutions, norms, activations, pools and a head with biases has the macs of opflops.count()."""
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(3, 2, 1),
        nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10),
        nn.Softmax(-1),
    ).eval()  # fmt: skip
    expected = 2 * (8 * 15 * 15 * 27 + 8 * 8 * 8 * 9 + 80)
    assert macs_of(model, (2, 3, 32, 32)) == count(model, torch.rand(2, 3, 32, 32)).total.macs == expected


def test_a_shared_layer_counts_once_per_call():
    """Held by two modules and called twice; its parameters count once."""
    shared = nn.Linear(4, 4, bias=False)
    assert profile(nn.Sequential(shared, nn.Sequential(shared)), (torch.rand(2, 4),), verbose=False) == (64, 16)


def test_parameters_are_all_of_the_model():
    """Frozen ones, those of the model itself, and those of layers that were not called."""
    model = Call(lambda self, x: self.used(x) * self.scale, used=nn.Linear(4, 3), unused=nn.Embedding(5, 2))
    model.scale = nn.Parameter(torch.ones(3))
    model.used.weight.requires_grad_(False)
    assert profile(model, (torch.rand(2, 4),), verbose=False) == (24, 15 + 10 + 3)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x):
        return self.linear(x) @ torch.ones(3, 4)


def block_hook(m, x, y):
    """Count as users of thop do, with a tensor of doubles."""
    assert isinstance(x, tuple)
    m.total_ops += torch.DoubleTensor([int(y.numel()) * 100])


def test_a_hook_replaces_the_figure_of_its_modules(capsys):
    """What runs inside no longer counts, other modules do, and each call adds; it is the same for the model itself."""
    block = Block()
    model = nn.Sequential(block, block, nn.Linear(4, 2))
    before = state_of(model)
    macs, params, layers = profile(model, (torch.rand(1, 4),), {Block: block_hook}, ret_layer_info=True)
    assert (macs, params) == (800 + 8, 15 + 10)
    assert layers["0"] == (800.0, 15.0, {})
    assert f"[INFO] Customize rule block_hook() {Block}.\n" in capsys.readouterr().out
    assert state_of(model) == before
    assert macs_of(Block(), (1, 4), custom_ops={Block: block_hook}) == 400
    assert macs_of(model, (1, 4), custom_ops={Block: zero_ops}) == 8


def test_a_hook_of_a_container_adds_to_what_is_inside():
    """As in thop, for Sequential alone."""
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    assert macs_of(model, (1, 4), custom_ops={nn.Sequential: block_hook}) == 18 + 200


def test_hooks_of_the_first_profiler_are_for_modules_without_others():
    """profile_origin applies custom_ops to leaves only."""
    model = nn.Sequential(Block(), nn.Linear(4, 2))
    hooks = {Block: block_hook, nn.Linear: zero_ops}
    assert profile_origin(model, (torch.rand(1, 4),), hooks, False) == (12, 25)
    assert profile_origin(model, (torch.rand(1, 4),), verbose=False) == (12 + 12 + 8, 25)


def test_rules_can_be_added_and_named(monkeypatch):
    """A hook in register_hooks is used; thop's own rules, by name, mean our count; they cannot be called."""
    monkeypatch.setitem(register_hooks, Block, block_hook)
    assert macs_of(Block(), (1, 4)) == 400

    class Padded(nn.Conv1d):
        pass

    assert macs_of(Padded(2, 3, 2), (1, 2, 5), custom_ops={Padded: count_convNd}) == 3 * 4 * 4
    with pytest.raises(OpflopsError, match="of opflops cannot be called by another hook"):
        macs_of(nn.LSTM(2, 3), (1, 2), custom_ops={nn.LSTM: lambda m, x, y: count_lstm(m, x, y)})


@pytest.mark.filterwarnings("ignore:.*compat_thop.odd.*has no formula")
def test_types_without_a_formula_are_reported(capsys):
    """In red, if no hook states their figure; work without multiply-accumulates is not among them."""
    library = torch.library.Library("compat_thop", "DEF")
    library.define("odd(Tensor x) -> Tensor")
    library.impl("odd", torch.clone, "CompositeExplicitAutograd")

    class Odd(nn.Module):
        def forward(self, x):
            return torch.ops.compat_thop.odd(x)

    class Hidden(nn.Module):
        def forward(self, x):
            return Odd()(x)

    class Hooked(nn.Sequential):
        pass

    model = nn.Sequential(Odd(), nn.Linear(4, 4), nn.Tanh(), Hidden(), Hooked(Block()), nn.ReLU())
    warning = "\033[91m[WARN] Cannot find rule for {}. Treat it as zero Macs and zero Params.\n\033[00m"
    try:
        profile(model, (torch.rand(1, 4),), verbose=False, report_missing=True)
        assert capsys.readouterr().out == (
            warning.format(Odd)
            + f"[INFO] Register count_linear() for {nn.Linear}.\n"
            + warning.format(Hidden)
            + f"[INFO] Register zero_ops() for {nn.ReLU}.\n[INFO] Register zero_ops() for {nn.Sequential}.\n"
        )
        hooks = {Odd: zero_ops, Hidden: zero_ops}
        profile(model, (torch.rand(1, 4),), hooks, report_missing=True)
        assert "[WARN]" not in capsys.readouterr().out
    finally:
        library._destroy()


def test_modules_that_other_threads_call_count():
    """As those of the model's own thread, by layer as well."""

    def forward(self, x):
        results = []
        thread = threading.Thread(target=lambda: results.append(self.linear(x)))
        thread.start()
        thread.join()
        return self.last(results[0])

    net = Call(forward, linear=nn.Linear(4, 5), last=nn.Linear(5, 2))
    macs, _, layers = profile(net, (torch.rand(1, 4),), verbose=False, ret_layer_info=True)
    assert (macs, layers["linear"][0], layers["last"][0]) == (20 + 10, 20, 10)


def figures_of(model, *shapes, **options):
    """Return what layers count as, by place."""
    inputs = tuple(torch.rand(shape) for shape in shapes)
    macs, _, layers = profile(model, inputs, verbose=False, ret_layer_info=True, **options)
    found = {"": macs}

    def visit(layers, above):
        for name, (figure, _, inside) in layers.items():
            found[above + name] = figure
            visit(inside, f"{above}{name}.")

    visit(layers, "")
    return found


def test_a_shared_layer_is_listed_at_each_place_with_the_calls_from_there():
    """Called once or twice by a holder, in a block that is shared itself, and by a module that does not hold it."""
    layer = nn.Linear(3, 3)
    twice = Call(lambda self, x: self.layer(self.layer(x)), layer=layer)
    assert figures_of(nn.Sequential(nn.Sequential(layer), twice, layer), (1, 3)) == {
        "": 36, "0": 9, "0.0": 9, "1": 18, "1.layer": 18, "2": 9,
    }  # fmt: skip
    block = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 3))
    inside = {"": 30, ".0": 15, ".1": 0, ".2": 15}
    shared = {f"1.0{name}": figure for name, figure in inside.items()}
    assert figures_of(nn.Sequential(block, nn.Sequential(block)), (1, 3)) == {
        "": 60, **{f"0{name}": figure for name, figure in inside.items()}, "1": 30, **shared,
    }  # fmt: skip
    outside = Call(lambda self, x: self.held.layer(self.held(x)), held=Call(lambda self, x: self.layer(x), layer=layer))
    assert figures_of(outside, (1, 3)) == {"": 18, "held": 18, "held.layer": 18}
    assert figures_of(nn.Sequential(layer, layer), (1, 3)) == {"": 18, "0": 18}
    wrapped = nn.DataParallel(nn.Sequential(layer, nn.Sequential(layer)))
    assert figures_of(wrapped, (1, 3)) == {"": 18, "module": 18, "module.0": 9, "module.1": 9, "module.1.0": 9}


def test_hooks_find_total_params_as_in_thop():
    """Nothing in the first call, then the parameters; all of them in profile_origin, which calls other hooks."""
    found = []

    def hook(m, x, y):
        found.append(m.total_params.item())
        m.total_ops += 5

    layer = nn.Linear(4, 4)
    assert macs_of(nn.Sequential(layer, layer), (1, 4), custom_ops={nn.Linear: hook}) == 10
    assert profile_origin(nn.Sequential(layer), (torch.ones(1, 4),), {nn.Linear: hook}, False) == (5, 20)
    assert found == [0, 20, 20]


@pytest.mark.parametrize("counter", [profile, profile_origin])
def test_hooks_may_write_to_buffers_and_replace_them(counter):
    """As they can in thop, where total_ops is a buffer; none is left over."""

    def add(m, x, y):
        m._buffers["total_ops"] += 7

    def put(m, x, y):
        m.total_ops = torch.tensor([7.0])

    def element(m, x, y):
        m.total_ops[0] = 7

    for hook in (add, put, element):
        model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Conv1d(1, 1, 2))
        assert counter(model, (torch.ones(1, 4),), {nn.Linear: hook}, False)[0] == 7 + 3 * 2
        assert not list(model.buffers())


class Changing(nn.Module):
    """Puts another layer in the place of one, or becomes another class, while it runs."""

    def __init__(self, replacement):
        super().__init__()
        self.linear, self.replacement = nn.Linear(4, 4), replacement

    def forward(self, x):
        x = self.linear(x)
        if isinstance(self.replacement, type):
            self.__class__ = self.replacement
        else:
            self.linear = self.replacement
        return self.linear(x)


class Changed(Changing):
    pass


def test_models_that_change_while_they_run():
    """Both layers count, or a hook for one is an error; figures of layers follow a changed class, also a lazy one."""
    assert macs_of(Changing(nn.Linear(4, 4)), (1, 4)) == 32
    with pytest.raises(OpflopsError, match=r"The module Changing.linear, for whose class Linear there is a hook, was"):
        macs_of(Changing(nn.Linear(4, 4)), (1, 4), custom_ops={nn.Linear: block_hook})
    assert figures_of(Changing(Changed), (1, 4)) == {"": 32, "linear": 32}
    assert figures_of(nn.LazyLinear(3), (1, 4)) == {"": 12}
    assert figures_of(nn.Sequential(nn.LazyLinear(3)), (1, 4)) == {"": 12, "0": 12}
    assert profile(nn.LazyLinear(3), (torch.ones(1, 4),), {nn.Linear: block_hook}, False) == (300, 15)


def test_the_model_is_left_as_it_was():
    """Each module's mode, hooks, buffers and attributes, also after an error, which is the model's own."""
    grads = []
    model = nn.Sequential(Block(), nn.Dropout(), Call(lambda _, x: grads.append((x.requires_grad, _.training)) or x))
    model[1].eval()
    model[0].register_buffer("total_ops", torch.ones(3))
    before = state_of(model)
    assert macs_of(model, (1, 4), custom_ops={Block: block_hook}) == 400
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        macs_of(model, (1, 5), custom_ops={Block: block_hook})
    assert state_of(model) == before
    assert model[0].total_ops.tolist() == [1, 1, 1]
    assert (grads, torch.is_grad_enabled()) == ([(False, False)], True)


def test_several_inputs_and_half_precision():
    """Positional arguments in order, of any type."""
    model = Call(lambda self, x, scale, y: self.linear(x * scale) @ y, linear=nn.Linear(4, 3, dtype=torch.bfloat16))
    inputs = torch.ones(2, 4, dtype=torch.bfloat16), 2, torch.ones(3, 5, dtype=torch.bfloat16)
    assert profile(model, inputs, verbose=False) == (24 + 30, 15)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": torch.relu}, "model must be a torch.nn.Module"),
        ({"inputs": {"x": torch.ones(2, 4)}}, "inputs must be a tuple of positional arguments"),
        ({"custom_ops": [nn.Linear]}, "custom_ops must be a dict of hooks by class"),
        ({"custom_ops": {nn.Linear: 3}}, "functions as values"),
        ({"custom_ops": {"Linear": zero_ops}}, "classes of modules as keys"),
    ],
)
def test_arguments_that_cannot_be_used_are_errors(options, message):
    """A sentence says what was given."""
    with pytest.raises(ArgumentError, match=message):
        profile(**{"model": nn.Linear(4, 3), "inputs": (torch.ones(2, 4),), **options})


def test_numbers_are_written_as_thop_writes_them():
    """A unit above each power of 1000, B below; one number is a text, several are a tuple."""
    assert clever_format([1000, 1001, 1e6, 2e6, 3.5e9, 4e12]) == (
        "1000.00B", "1.00K", "1000.00K", "2.00M", "3.50G", "4.00T",
    )  # fmt: skip
    assert clever_format(4_133_742_592.0, "%.3f") == clever_format([4_133_742_592.0], "%.3f") == "4.134G"
    assert clever_format([]) == ()


def test_names_that_programs_import_work(capsys):
    """By hand: arithmetic of contractions, and 0 for the rest, in tensors that hooks can add; colors; the release."""
    assert (calc_func.l_prod([2, 3, 4]), calc_func.l_sum([2, 3, 4]), multiply_adds, __version__) == (24, 9, 1, "0.1.1")
    assert calc_func.calculate_conv2d_flops([2, 4, 9, 9], [2, 6, 7, 7], [6, 2, 3, 3], 2, True) == 2 * 6 * 49 * 2 * 9
    assert calc_func.calculate_conv(1, 9, 2 * 6 * 49, 4, 2).tolist() == [2 * 6 * 49 * 2 * 9]
    assert calc_func.calculate_linear(4, 6).tolist() == [24]
    assert calc_func.counter_matmul((2, 3), (2, 5)) == 30
    zeros = (
        calc_func.calculate_norm(9), calc_func.calculate_relu(9), calc_func.calculate_softmax(2, 3),
        calc_func.calculate_avgpool(9), calc_func.calculate_adaptive_avg(torch.ones(1), 3),
        calc_func.calculate_upsample("bicubic", 9), calc_func.calculate_zero_ops(),
    )  # fmt: skip
    assert [each.tolist() for each in zeros] == [[0.0]] * len(zeros)
    assert {each.dtype for each in zeros} == {torch.float64}
    elements = (calc_func.counter_mul, calc_func.counter_pow, calc_func.counter_sqrt, calc_func.counter_div)
    assert [each(9) for each in (*elements, calc_func.calculate_relu_flops)] == [0] * 5

    def hook(m, x, y):
        m.total_ops += calc_func.calculate_linear(m.in_features, y.numel()) + calc_func.calculate_norm(y.numel())
        count_parameters(m, x, y)
        assert m.total_params.item() == calc_func.calculate_parameters(m.parameters()).item() == 15

    assert macs_of(nn.Linear(4, 3), (2, 4), custom_ops={nn.Linear: hook}) == 24
    prRed("a", 1)
    prGreen("b")
    prYellow("c")
    assert capsys.readouterr().out == "\033[91ma 1\n\033[00m\033[92mb\n\033[00m\033[93mc\n\033[00m"
