"""``opflops.compat.fvcore``: figures by hand, names, settings and handles as fvcore documents them."""

import logging
import warnings
from collections import Counter, UserString

import pytest
import torch
from do_nothing_mode import DoNothingMode
from torch import nn
from torch.nn import functional

import opflops
from opflops import OpFlopMode
from opflops.compat.fvcore import (
    ActivationCountAnalysis,
    FlopCountAnalysis,
    JitModelAnalysis,
    activation_count,
    flop_count,
)
from opflops.compat.fvcore.jit_handles import elementwise_flop_counter, get_shape, linear_flop_jit
from opflops.errors import OpflopsError

# Under another dispatch mode, PyTorch's tracer records no convolutions.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
    pytest.mark.no_outer_mode,
]
X = torch.ones(2, 5, 8)


@pytest.fixture(autouse=True)
def _quiet(caplog):
    caplog.set_level(logging.CRITICAL, "fvcore.nn.jit_analysis")


class Calls(nn.Module):
    """Call a function on the module itself and its inputs."""

    def __init__(self, function, **modules):
        super().__init__()
        self.function = function
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, *args):
        return self.function(self, *args)


def by_operator(function, *inputs, **modules):
    return dict(FlopCountAnalysis(Calls(function, **modules), inputs).by_operator())


class Net(nn.Module):
    """A convolution, normalization and a linear layer, in a container."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=True), nn.BatchNorm2d(4), nn.ReLU())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(4, 10)

    def forward(self, x):
        return self.fc(self.pool(self.stem(x)).flatten(1))


def test_figures_follow_fvcores_conventions():
    """By hand: 2·3·4·9·36 for the convolution, 2 an element for batch norm in eval, 1 for pooling, no bias."""
    flops = FlopCountAnalysis(Net().eval(), torch.rand(2, 3, 6, 6))
    conv, norm, pool, linear = 2 * 3 * 4 * 9 * 36, 2 * (2 * 4 * 36), 2 * 4 * 36, 2 * 4 * 10
    assert flops.by_operator() == Counter(conv=conv, batch_norm=norm, adaptive_avg_pool2d=pool, linear=linear)
    assert flops.by_module_and_operator() == {
        "": Counter(conv=conv, batch_norm=norm, adaptive_avg_pool2d=pool, linear=linear),
        "stem": Counter(conv=conv, batch_norm=norm),
        "stem.0": Counter(conv=conv),
        "stem.1": Counter(batch_norm=norm),
        "stem.2": Counter(),
        "pool": Counter(adaptive_avg_pool2d=pool),
        "fc": Counter(linear=linear),
    }
    assert list(flops.by_module()) == ["", "stem", "stem.0", "stem.1", "stem.2", "pool", "fc"]
    assert (flops.total(), flops.total("stem")) == (conv + norm + pool + linear, conv + norm)
    assert flops.unsupported_ops() == Counter()
    assert flops.profile.total.macs == conv + linear


@pytest.mark.parametrize(
    ("layer", "shape", "flops"),
    [
        (nn.BatchNorm1d(5), (2, 5, 8), {"batch_norm": 5 * 80}),
        (nn.BatchNorm1d(5, affine=False), (2, 5, 8), {"batch_norm": 4 * 80}),
        (nn.BatchNorm1d(5).eval(), (2, 5, 8), {"batch_norm": 2 * 80}),
        (nn.BatchNorm1d(5, affine=False).eval(), (2, 5, 8), {"batch_norm": 80}),
        (nn.LayerNorm(8), (8,), {"layer_norm": 5 * 8}),
        (nn.LayerNorm(8, elementwise_affine=False), (1, 1, 1, 1, 2, 8), {"layer_norm": 4 * 16}),
        (nn.GroupNorm(5, 5), (2, 5, 8), {"group_norm": 5 * 80}),
        (nn.InstanceNorm1d(5), (2, 5, 8), {"instance_norm": 4 * 80}),
        (nn.Upsample(scale_factor=2), (1, 2, 3, 3), {"upsample_nearest2d": 2 * 36}),
        (nn.Upsample(scale_factor=2, mode="bilinear"), (1, 2, 3, 3), {"upsample_bilinear2d": 4 * 2 * 36}),
        (nn.AdaptiveAvgPool2d(2), (1, 2, 4, 4), {"adaptive_avg_pool2d": 32}),
        (nn.ReLU(), (4,), {}),
        (nn.Conv2d(4, 6, 3, groups=2, dilation=2), (2, 4, 7, 7), {"conv": 2 * 9 * 6 * 2 * 9}),
        (nn.Conv2d(4, 6, 3, groups=2, padding="same"), (2, 4, 5, 5), {"conv": 2 * 25 * 6 * 2 * 9}),
        (nn.Conv2d(4, 6, 3), (4, 5, 5), {"conv": 9 * 6 * 4 * 9}),
        (nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2), (2, 4, 5, 5), {"conv": 2 * 25 * 4 * 3 * 9}),
        (nn.Conv1d(5, 3, 1).half(), (2, 5, 8), {"conv": 2 * 5 * 3 * 8}),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else None,
)
def test_layers_count_by_convention(layer, shape, flops):
    """Elements times fvcore's factor; multiply-accumulates of convolutions, of groups and transposed ones too."""
    dtype = next((each.dtype for each in layer.parameters()), torch.float32)
    assert FlopCountAnalysis(layer, torch.rand(shape, dtype=dtype)).by_operator() == flops


@pytest.mark.parametrize(
    ("function", "inputs", "flops"),
    [
        (lambda _, a, b: a @ b, (torch.ones(2, 1, 4, 8), torch.ones(3, 8, 5)), {"matmul": 2 * 3 * 4 * 8 * 5}),
        (lambda _, a, b: a @ b, (torch.ones(4, 8), torch.ones(8)), {"matmul": 32}),
        (lambda _, a, b: a.dot(b), (torch.ones(8), torch.ones(8)), {"dot": 8}),
        (lambda _, a: torch.baddbmm(a, a, a), (torch.ones(2, 3, 3),), {"baddbmm": 54}),
        (lambda _, a: torch.linalg.matmul(a, a), (torch.ones(3, 3),), {"matmul": 27}),
        (lambda _, a, b: torch.mm(a, b), (torch.ones(3, 4), torch.ones(4, 5)), {"mm": 60}),
        (lambda _, a: torch.addmm(a, a, a), (torch.ones(3, 3),), {"addmm": 27}),
        (lambda _, a: a @ a, (torch.ones(3, 3, dtype=torch.complex64),), {"matmul": 4 * 27}),
        (lambda _, a: a @ a, (torch.ones(3, 3, dtype=torch.int64),), {"matmul": 27}),
        (lambda _, a, b: torch.einsum("ij,jk->ik", a, b), (torch.ones(6, 4), torch.ones(4, 5)), {"einsum": 120}),
        (lambda _, a, b: torch.einsum("i,j->ij", a, b), (torch.ones(4), torch.ones(3)), {"einsum": 12}),
        (lambda _, a, b: torch.tensordot(a, b, 1), (torch.ones(2, 3, 4), torch.ones(4, 5)), {"tensordot": 120}),
        (
            lambda _, a: functional.scaled_dot_product_attention(a, a, a),
            (torch.ones(1, 2, 5, 8),),
            {"scaled_dot_product_attention": 2 * 5 * 5 * 8 * 2},
        ),
    ],
)  # fmt: skip
def test_functions_count_their_products(function, inputs, flops):
    """Of all operands, under the operator's own name; by hand."""
    assert by_operator(function, *inputs) == flops


def test_recurrent_layers_and_attention_count():
    """By hand: 10 steps of 4 gates of (8 + 4)·4; four projections, and two products of 5·5·8 for each example."""
    assert FlopCountAnalysis(nn.LSTM(8, 4, batch_first=True), X).by_operator() == {"lstm": 10 * 4 * 12 * 4}
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    assert by_operator(lambda m, x: m.a(x, x, x, need_weights=False)[0], X, a=attention) == {
        "linear": 10 * 8 * 8 * 4,
        "scaled_dot_product_attention": 2 * 2 * 25 * 8,
    }


def test_fused_encoder_layers_count_as_with_gradients():
    """Each of their modules runs, and has its own figures; the switch for fused layers is as before."""
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2).eval()
    expected = FlopCountAnalysis(encoder, X).by_module_and_operator()
    with torch.no_grad():
        assert FlopCountAnalysis(encoder, X).by_module_and_operator() == expected
    assert expected["layers.1.linear1"] == {"linear": 10 * 8 * 16}
    assert torch.backends.mha.get_fastpath_enabled()


def test_no_grad_and_inference_mode_count_the_same():
    """Operators that decompose are the ones that the program asks for."""

    def run(module, x):
        with torch.inference_mode():
            return module.fc(module.conv(x.clone()))

    modules = {"conv": nn.Conv1d(5, 5, 3, padding=1), "fc": nn.Linear(8, 2)}
    expected = {"conv": 2 * 5 * 5 * 3 * 8, "linear": 10 * 8 * 2}
    assert by_operator(run, X, **modules) == expected
    with torch.no_grad():
        assert by_operator(lambda module, x: module.fc(module.conv(x)), X, **modules) == expected


def test_inputs_may_be_dicts_and_lists_and_results_anything():
    """A tuple is the arguments, anything else the only one."""
    layer = nn.Linear(8, 3)
    assert by_operator(lambda m, d, n: {"y": m.fc(d["x"]), "n": n}, {"x": X}, 3, fc=layer) == {"linear": 240}
    model = Calls(lambda m, given: m.fc(given[0]), fc=layer)
    assert FlopCountAnalysis(model, [X, None]).total() == FlopCountAnalysis(model, ({0: X},)).total() == 240
    assert by_operator(lambda m, x: UserString(str(m.fc(x).shape)), X, fc=layer) == {"linear": 240}
    assert by_operator(lambda _: torch.ones(2, 3) @ torch.ones(3, 4)) == {"matmul": 24}


def test_a_tensor_that_is_no_parameter_may_require_gradients():
    """As an attribute of a module."""
    model = Calls(lambda m, x: x @ m.weight)
    model.weight = torch.ones(8, 2, requires_grad=True)
    assert FlopCountAnalysis(model, X).total() == 160


class Shared(nn.Module):
    """Two modules that share a third one."""

    def __init__(self):
        super().__init__()
        inner = nn.Linear(8, 8)
        self.first, self.second = (Calls(lambda m, x: m.inner(x), inner=inner) for _ in range(2))

    def forward(self, x):
        return self.second(self.first(x))


@pytest.mark.parametrize(("mode", "first", "second"), [("owner", 1280, 0), ("caller", 640, 640)])
def test_a_shared_module_has_its_first_name(mode, first, second):
    """Its owners are those of that name; its callers are those that ran it. By hand: 10·8·8 for each call."""
    flops = FlopCountAnalysis(Shared(), X).ancestor_mode(mode)
    assert flops.by_module() == {"": 1280, "first": first, "first.inner": 1280, "second": second}
    assert flops.canonical_module_name("second.inner") == "first.inner"
    assert flops.total("second.inner") == 1280
    assert flops.uncalled_modules() == set()


def test_a_new_ancestor_mode_changes_results_that_were_there():
    """They are not those of the mode before."""
    flops = FlopCountAnalysis(Shared(), X)
    assert flops.total("second") == 0
    assert flops.ancestor_mode("caller").total("second") == 640


def test_modules_that_were_not_called():
    """A call of ``forward`` is no call; a module without operators is called; so are owners, as owners."""
    inside = Calls(lambda m, x: m.fc(x), fc=nn.Linear(8, 2))
    model = Calls(lambda m, x: m.inside.forward(m.same(x)), inside=inside, same=nn.Identity(), unused=nn.ReLU())
    flops = FlopCountAnalysis(model, X)
    assert flops.uncalled_modules() == {"unused"}
    assert flops.ancestor_mode("caller").uncalled_modules() == {"inside", "unused"}
    assert flops.by_module() == {"": 160, "inside": 0, "inside.fc": 160, "same": 0, "unused": 0}


def test_results_that_nobody_uses_count():
    """The layer ran: 10·8·3 beside 10·8·2."""
    flops = FlopCountAnalysis(Calls(lambda m, x: (m.a(x), m.b(x))[1], a=nn.Linear(8, 3), b=nn.Linear(8, 2)), X)
    assert flops.by_module() == {"": 400, "a": 240, "b": 160}
    assert flops.uncalled_modules() == set()


def test_hooks_work_for_their_module():
    """Before and after its forward: 10·8·8 each, as for the layer."""
    layer, weight = nn.Linear(8, 8), torch.ones(8, 8)
    layer.register_forward_pre_hook(lambda _, args: (args[0] @ weight,))
    layer.register_forward_hook(lambda _module, _args, out: out @ weight)
    assert FlopCountAnalysis(Calls(lambda m, x: m.fc(x) + x, fc=layer), X).by_module() == {"": 1920, "fc": 1920}


def test_lazy_modules_are_initialized_by_the_run():
    """Their names are those of the modules that they become."""
    assert FlopCountAnalysis(nn.Sequential(nn.LazyLinear(3)), X).by_module() == {"": 240, "0": 240}


def test_names_of_modules_may_be_those_of_methods_and_have_slashes():
    """Each name is one module."""
    model = Calls(
        lambda m, x: m._modules["total"](m._modules["a/b"](x)), **{"total": nn.Linear(8, 2), "a/b": nn.ReLU()}
    )
    assert FlopCountAnalysis(model, X).by_module() == {"": 160, "total": 160, "a/b": 0}


def test_unsupported_operators_are_logged_as_fvcore_does(caplog):
    """Those without a handle that are not ignored, for each module; uncalled modules too, unless silenced."""
    caplog.set_level(logging.WARNING, "fvcore.nn.jit_analysis")
    model = Calls(lambda m, x: m.act(m.fc(x)).sigmoid() + x.relu().sum(), fc=nn.Linear(8, 2), act=nn.GELU())
    model.idle, model.container, model.same = nn.ReLU(), nn.ModuleList(), nn.Identity()
    flops = FlopCountAnalysis(model, X)
    with pytest.raises(RuntimeError, match="has not run yet") as raised:
        flops.unsupported_ops()
    assert isinstance(raised.value, OpflopsError)
    assert flops.total() == 160
    assert flops.unsupported_ops() == {"aten::gelu": 1, "aten::sigmoid": 1, "aten::sum": 1, "aten::add": 1}
    assert flops.unsupported_ops("act") == {"aten::gelu": 1}
    assert flops.unsupported_ops("fc") == Counter()
    assert "Unsupported operator aten::gelu encountered 1 time(s)" in caplog.messages
    (uncalled,) = (text for text in caplog.messages if "never called" in text)
    assert uncalled.endswith("\nidle")
    caplog.clear()
    flops.unsupported_ops_warnings(False).uncalled_modules_warnings(False).set_op_handle().total()
    assert caplog.messages == []


def test_the_level_of_fvcores_logger_silences_the_drop_in(caplog):
    """Programs set it; the drop-in's own logger has another name."""
    flops = FlopCountAnalysis(nn.GELU(), X)
    flops.total()
    assert caplog.messages == []
    caplog.set_level(logging.WARNING, "fvcore.nn.jit_analysis")
    flops.set_op_handle().total()
    assert caplog.messages == ["Unsupported operator aten::gelu encountered 1 time(s)"]


def test_arithmetic_on_sizes_that_nothing_uses_is_no_operator():
    """As in assertions about shapes, which fvcore's graph does not have; what counts batches is one."""

    def run(module, x):
        assert x.shape[0] * 3 != x.shape[1]
        return module.norm(x)

    flops = FlopCountAnalysis(Calls(run, norm=nn.BatchNorm1d(5)), X)
    flops.total()
    assert flops.unsupported_ops() == {"aten::add_": 1}


def test_handles_take_values_of_the_tracer():
    """Shapes, constants and lists, as fvcore's handles read them."""

    def pool(inputs, outputs):
        assert get_shape(inputs[0]) == inputs[0].type().sizes() == [1, 2, 4, 4]
        assert [value.toIValue() for value in inputs[1].node().inputs()] == [2, 2]
        return Counter(windows=outputs[0].type().sizes()[-1], elements=outputs[0].isCompleteTensor())

    flops = FlopCountAnalysis(nn.AvgPool2d(2), torch.ones(1, 2, 4, 4)).set_op_handle("aten::avg_pool2d", pool)
    assert flops.by_operator() == {"windows": 2, "elements": 1}
    counts = {"aten::gelu": elementwise_flop_counter(2, 0.5), "aten::linear": lambda i, o: len(i) * len(o)}
    flops = FlopCountAnalysis(nn.Sequential(nn.Linear(8, 2), nn.GELU()), X).set_op_handle(**counts)
    assert flops.by_operator() == {"linear": 3, "gelu": 2 * 20 + 10}


def test_handles_replace_default_ones_and_may_be_ignored_or_cleared():
    """None ignores, also what has a default handle or counts without any."""
    model = Calls(lambda m, x: functional.scaled_dot_product_attention(*[m.norm(m.fc(x))] * 3))
    model.fc, model.norm = nn.Linear(8, 8), nn.LayerNorm(8)
    flops = FlopCountAnalysis(model, X)
    attention = "aten::scaled_dot_product_attention"
    assert set(flops.by_operator()) == {"linear", "layer_norm", "scaled_dot_product_attention"}
    flops.set_op_handle("aten::layer_norm", None, attention, None)
    assert flops.by_operator() == {"linear": 640}
    assert flops.unsupported_ops() == Counter()
    flops.set_op_handle(attention, lambda _i, o: Counter({"sdpa": get_shape(o[0])[0]}))
    assert flops.by_operator() == {"linear": 640, "sdpa": 2}
    assert flops.clear_op_handles().by_operator() == Counter()
    assert flops.unsupported_ops() == {"aten::linear": 1, "aten::layer_norm": 1, attention: 1}
    own = JitModelAnalysis(model, X).set_op_handle("aten::linear", linear_flop_jit)
    assert own.by_operator() == {"linear": 640}
    with pytest.raises(IndexError):
        own.set_op_handle(attention, lambda i, _o: i[9]).total()


def test_results_of_handles_are_numbers():
    """Integers, floats, or a Counter of them; else the error names the operator."""
    flops = FlopCountAnalysis(nn.ReLU(), X)
    assert flops.set_op_handle("aten::relu", lambda *_: 2.5).total() == 2.5
    for wrong in (lambda *_: "2", lambda *_: None, lambda *_: Counter(a=torch.ones(1)), lambda *_: [3]):
        with pytest.raises(ValueError, match="The handle of aten::relu must") as raised:
            flops.set_op_handle("aten::relu", wrong).total()
        assert isinstance(raised.value, OpflopsError)


class Projection(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight):
        return functional.layer_norm(x @ weight, (8,)).sigmoid()

    @staticmethod
    def backward(ctx, grad):
        return grad, None


def test_functions_with_their_own_derivative_count_what_they_run():
    """Or what their handle says, without what they run; either way they are named."""
    model = Calls(lambda m, x: m.fc(Projection.apply(x, m.weight)).sigmoid(), fc=nn.Linear(8, 2))
    model.weight = nn.Parameter(torch.ones(8, 8))
    flops, name = FlopCountAnalysis(model, X), "prim::PythonOp.Projection"
    assert flops.by_operator() == {"matmul": 640, "layer_norm": 320, "linear": 160}
    assert flops.unsupported_ops() == {name: 1, "aten::sigmoid": 1}
    assert flops.set_op_handle(name, lambda i, _o: get_shape(i[1])[0]).by_operator() == {
        "PythonOp.Projection": 8,
        "linear": 160,
    }
    assert flops.set_op_handle(name, None).by_operator() == {"linear": 160}
    assert flops.unsupported_ops() == {"aten::sigmoid": 1}


def _product(x):
    return x @ x


def test_scripted_functions_count_their_products():
    """Under the name of the tracer's node, for which a handle can be set."""
    model = Calls(lambda _, x: torch.jit.script(_product)(x * 2))
    flops = FlopCountAnalysis(model, torch.ones(3, 3))
    assert flops.by_operator() == {"CallFunction": 27}
    assert flops.unsupported_ops() == {"aten::mul": 1, "prim::CallFunction": 1}
    assert flops.set_op_handle("prim::CallFunction", lambda *_: 5).by_operator() == {"CallFunction": 5}


def test_copies_keep_all_settings():
    """The class, handles, what is ignored, the modes; and are independent."""
    flops = FlopCountAnalysis(Shared(), X).set_op_handle("aten::linear", lambda *_: 1, "aten::add", None)
    flops.ancestor_mode("caller").tracer_warnings("all").unsupported_ops_warnings(False)
    other = flops.copy(new_inputs=torch.ones(1, 8))
    assert type(other) is FlopCountAnalysis
    assert other.by_module() == flops.by_module() == {"": 2, "first": 1, "first.inner": 2, "second": 1}
    other.clear_op_handles()
    assert flops.copy(new_model=nn.Linear(8, 2)).total() == 1
    assert flops.total() == 2


def test_results_are_copies():
    """A change of one changes no other."""
    flops = FlopCountAnalysis(nn.Linear(8, 2), X)
    flops.by_operator()["linear"] = 0
    flops.by_module_and_operator()[""].clear()
    flops.uncalled_modules().add("x")
    assert flops.total() == 160
    assert flops.uncalled_modules() == set()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda flops: flops.total("fcc"), KeyError, "no module 'fcc'; there are stem, .*, fc. The model itself is ''"),
        (lambda flops: flops.by_operator(3), AssertionError, "a string, not by int"),
        (lambda flops: flops.ancestor_mode("both"), ValueError, "'owner' or 'caller', not 'both'"),
        (lambda flops: flops.tracer_warnings("some"), ValueError, "not 'some'"),
        (lambda flops: flops.set_op_handle("aten::relu"), TypeError, "pairs of a name and a handle"),
        (lambda flops: flops.set_op_handle("aten::relu", 3), TypeError, "must be a function .*, not 3"),
    ],
)  # fmt: skip
def test_errors_say_what_would_be_right(call, error, message):
    """As opflops' errors, and as those that fvcore raises."""
    with pytest.raises(error, match=message) as raised:
        call(FlopCountAnalysis(Net(), torch.ones(1, 3, 4, 4)))
    assert isinstance(raised.value, OpflopsError)


def test_a_function_is_no_model():
    """The error says what to do."""
    with pytest.raises(TypeError, match=r"ActivationCountAnalysis takes a model, an nn\.Module, not builtin_function"):
        ActivationCountAnalysis(torch.relu, X)


def test_warnings_of_the_tracer_are_chosen():
    """All, all but the tracer's, or none."""

    def run(_, x):
        warnings.warn("of the model", RuntimeWarning, stacklevel=1)
        return x + float(x.sum())

    shown = {}
    for mode in ("all", "no_tracer_warning", "none"):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            FlopCountAnalysis(Calls(run), X).tracer_warnings(mode).total()
        shown[mode] = {each.category.__name__ for each in caught} - {"DeprecationWarning", "FutureWarning"}
    assert shown == {"all": {"TracerWarning", "RuntimeWarning"}, "no_tracer_warning": {"RuntimeWarning"}, "none": set()}


def test_a_model_is_left_as_a_call_leaves_it():
    """No hooks, attributes or buffers are added, nothing stays patched, also after an error of the model."""
    model, call = Net(), nn.Module.__call__
    before = {name: {key: dict(value) if isinstance(value, dict) else value for key, value in vars(module).items()}
              for name, module in model.named_modules()}  # fmt: skip
    FlopCountAnalysis(model, torch.ones(2, 3, 4, 4)).total()
    for name, module in model.named_modules():
        assert vars(module).keys() == before[name].keys()
        assert module.training
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    assert model.stem[1].num_batches_tracked == 1
    with pytest.raises(ZeroDivisionError):
        FlopCountAnalysis(Calls(lambda *_: 1 / 0), X).total()
    assert nn.Module.__call__ is call
    assert torch.ones(2, 3).shape[0] * 2 == 4
    assert not torch.jit.is_tracing()


def test_wrappers_of_data_parallel_models_have_the_names_of_their_modules():
    """The wrapper and the model have the same figures."""
    flops = FlopCountAnalysis(nn.DataParallel(nn.Sequential(nn.Linear(8, 3))).cpu(), X)
    for mode in ("owner", "caller"):
        assert flops.ancestor_mode(mode).by_module() == {"": 240, "module": 240, "module.0": 240}


class Replicating(nn.DataParallel):
    def forward(self, *_):
        raise AssertionError("the wrapper ran")


def test_the_model_in_a_wrapper_runs_itself():
    """No replica does, whose modules have no names; nor does anything that a wrapper adds."""
    assert FlopCountAnalysis(Replicating(nn.Linear(8, 3)).cpu(), X).by_module() == {"": 240, "module": 240}


def test_operators_of_ones_own_count_by_their_formula():
    """Without a handle, which would need to be set for each analysis."""

    @torch.library.custom_op("fvcore_test::outer_product", mutates_args=())
    def outer_product(x: torch.Tensor) -> torch.Tensor:
        return x.outer(x)

    @opflops.formula(torch.ops.fvcore_test.outer_product, override=True)
    def price(x):
        return opflops.Cost(macs=x.numel() ** 2)

    assert by_operator(lambda _, x: outer_product(x), torch.ones(3)) == {"outer_product": 9}


def test_a_mode_around_an_analysis_sees_the_run():
    """And the analysis does not count it twice."""
    with OpFlopMode() as outer:
        assert FlopCountAnalysis(nn.Linear(8, 3), X).total() == 240
    assert outer.total.macs == 240


def test_convolutions_count_under_another_mode():
    """PyTorch's tracer does not record them there, so that a handle of one's own has no values."""
    model = nn.Conv1d(5, 3, 1, bias=False)
    flops = FlopCountAnalysis(model, X)
    with DoNothingMode():
        assert flops.by_operator() == {"conv": 2 * 5 * 3 * 8}
        with pytest.raises(OpflopsError, match=r"aten::_convolution ran where .* Leave other dispatch modes"):
            flops.set_op_handle("aten::_convolution", lambda i, _o: len(i)).total()


def test_activations_are_the_results_of_products():
    """By hand: 2·4·36 of the convolution and 2·10 of the linear layer; attention's result, once."""
    acts = ActivationCountAnalysis(Net(), torch.rand(2, 3, 6, 6))
    assert acts.by_operator() == {"conv": 288, "linear": 20}
    assert acts.by_module()["stem"] == 288
    attend = Calls(lambda _, x: functional.scaled_dot_product_attention(x, x, x) + x.mm(x.t()).sum())
    assert ActivationCountAnalysis(attend, torch.ones(5, 8)).by_operator() == {
        "scaled_dot_product_attention": 40,
        "mm": 25,
    }


def test_functions_give_billions_and_millions():
    """By operator, with what is not supported; a missing operator has 0."""
    model = nn.Sequential(nn.Linear(8, 2), nn.Sigmoid())
    flops, unsupported = flop_count(model, (X,))
    assert (dict(flops), flops["conv"], unsupported) == ({"linear": 160 / 1e9}, 0.0, {"aten::sigmoid": 1})
    flops, unsupported = flop_count(model, (X,), {"aten::sigmoid": lambda *_: Counter(sigmoid=20)})
    assert (dict(flops), unsupported) == ({"linear": 160 / 1e9, "sigmoid": 20 / 1e9}, Counter())
    acts, _ = activation_count(model, (X,), supported_ops={"aten::linear": lambda *_: 7})
    assert dict(acts) == {"linear": 7 / 1e6}


def test_what_fvcore_has_beside_counters_is_named():
    """The error says where to find it."""
    import opflops.compat.fvcore as drop_in  # noqa: PLC0415 - as a program would after the change

    with pytest.raises(AttributeError, match=r"giou_loss.*fvcore.nn itself"):
        drop_in.giou_loss  # noqa: B018 - the look-up is what is tested
