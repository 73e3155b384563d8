"""What a wrong call answers: an error of opflops that says what was given, and what would be right."""

import abc
import pathlib
import pickle
import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.export import Dim

import opflops
from opflops import (
    ActiveModeError,
    ArgumentError,
    Cost,
    Device,
    ModelError,
    OpFlopMode,
    OpflopsError,
    Profile,
    ProfileError,
    RootError,
    Row,
    UsageWarning,
    annotate,
    count,
    coverage,
    formula,
)
from opflops.profile.gathering import combine_ranks

X = torch.ones(2, 4)
NET = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
PROFILE = count(NET, X)
CHANGE = PROFILE.diff(Profile())
FORMULAS = count(NET, X, dynamic_shapes=({0: Dim("rows")},))
GATHERED = combine_ranks({0: PROFILE, 2: PROFILE})
DEVICE = Device("mine", {"float32": 1e12}, 1e11)
ARRAY = np.ones((2, 4), dtype=np.float32)
CHECKPOINT = pathlib.Path("weights") / "best.pt"


class Named:
    """Something of which only the type is known."""


# Each entry point, with what every argument accepts; everything else of WRONG is wrong.
WRONG = {
    "text": "fla ps",
    "a file": "report.html",
    "a path": pathlib.Path("report.json"),
    "None": None,
    "an int": 3,
    "a number below zero": -1,
    "a float": 1.5,
    "NaN": float("nan"),
    "a bool": True,
    "a list": ["a"],
    "an array": ARRAY,
    "a class": nn.Linear,
    "a model": NET,
    "a tensor": X,
    "a profile": PROFILE,
    "a number as text": "3",
    "a dict": {"a": 1},
    "an object": Named(),
}
NUMBERS = {"an int"}
FLAGS = {"a bool", "an int", "a number below zero"}


def plan(**given):
    return PROFILE.resources(DEVICE, **{"steps": 1, "mfu": 0.4, **given})


TEXTS = {"text", "a file", "a number as text"}
ENTRY_POINTS = {
    "count(?, x)": (lambda value: count(value, X), {"a model"}),
    "count(net, ?)": (lambda value: count(NET, value), {"a tensor"}),
    "count(backward=)": (lambda value: count(NET, X, backward=value), FLAGS),
    "count(optimizer=)": (lambda value: count(NET, X, optimizer=value), {"None"}),
    "count(dynamic_shapes=)": (lambda value: count(NET, X, dynamic_shapes=value), {"None"}),
    "count(causal=)": (lambda value: count(NET, X, causal=value), set()),
    "count(device=)": (lambda value: count(NET, X, device=value), {"None"}),
    "count(time_limit=)": (lambda value: count(NET, X, time_limit=value), {"None", "an int", "a float"}),
    "count(kwargs=)": (lambda value: count(NET, X, kwargs=value), {"None"}),
    "count(misspelt)": (lambda value: count(NET, X, backwards=value), set()),
    "OpFlopMode(?)": (OpFlopMode, set()),
    "OpFlopMode()(?)": (lambda value: OpFlopMode()(value), set()),
    "OpFlopMode(strict=)": (lambda value: OpFlopMode(strict=value), FLAGS),
    "OpFlopMode(causal=)": (lambda value: OpFlopMode(causal=value), set()),
    "OpFlopMode(formulas=)": (lambda value: OpFlopMode(formulas=value), {"None"}),
    "OpFlopMode(timing=)": (lambda value: OpFlopMode(timing=value), FLAGS),
    "OpFlopMode(threads=)": (lambda value: OpFlopMode(threads=value), FLAGS),
    "OpFlopMode(root=)": (lambda value: OpFlopMode(root=value), {"None", "a model"}),
    "OpFlopMode(misspelt)": (lambda value: OpFlopMode(caussal=value), set()),
    "annotate(?, p)": (lambda value: annotate(value, PROFILE), {"a model"}),
    "annotate(net, ?)": (lambda value: annotate(NET, value), {"a profile"}),
    "annotate(root=)": (lambda value: annotate(NET, PROFILE, root=value), {"None"}),
    "annotate(measure=)": (lambda value: annotate(NET, PROFILE, measure=value), set()),
    "annotate(numbers=)": (lambda value: annotate(NET, PROFILE, numbers=value), set()),
    "annotate(a third)": (lambda value: annotate(NET, PROFILE, value), set()),
    "annotate(misspelt)": (lambda value: annotate(NET, PROFILE, mesure=value), set()),
    "coverage": (coverage, set()),
    "formula": (lambda value: formula(value)(lambda: Cost()), set()),
    "formula()(?)": (lambda value: formula("opflops_tests::sentence")(value), {"a model"}),
    "formula(unread=)": (lambda value: formula("tests::unread", unread=value), {"a list", "a dict"}),
    "formula(picked=)": (lambda value: formula("tests::picked", picked=value), {"a list", "a dict"}),
    "formula(override=)": (lambda value: formula("tests::override", override=value), FLAGS),
    "formula(dtype_from=)": (lambda value: formula("tests::dtype", dtype_from=value), {"None", *TEXTS}),
    "by": (lambda value: PROFILE.by(value), set()),
    "call_sites": (lambda value: PROFILE.call_sites(value), set()),
    "uncalled": (lambda value: PROFILE.uncalled(value), {"a model"}),
    "uncalled(root=)": (lambda value: PROFILE.uncalled(NET, value), {"None"}),
    "where(?)": (lambda value: PROFILE.where(value), set()),
    **{
        f"where({key}=)": (lambda value, key=key: PROFILE.where(**{key: value}), set())
        for key in ("module", "op", "phase", "dtype", "modul")
    },
    "where(below=)": (lambda value: PROFILE.where(module="Sequential.0", below=value), FLAGS | {"None"}),
    "where_not(?)": (lambda value: PROFILE.where_not(value), set()),
    "at(?)": (lambda value: FORMULAS.at(value), set()),
    "at(rows=)": (lambda value: FORMULAS.at(rows=value), NUMBERS),
    "at(cols=)": (lambda value: FORMULAS.at(cols=value), set()),
    "holds": (lambda value: FORMULAS.holds(value), {"a dict"}),
    "lambdify(?)": (lambda value: FORMULAS.lambdify(value), set()),
    "lambdify()(?)": (lambda value: FORMULAS.lambdify()(value), set()),
    "scaling": (lambda value: FORMULAS.scaling(value), set()),
    "scaling(largest=)": (lambda value: FORMULAS.scaling(largest=value), NUMBERS),
    "diff": (lambda value: PROFILE.diff(value), {"a profile"}),
    "diff().table(?)": (lambda value: CHANGE.table(value), set()),
    **{
        f"diff().table({name}=)": (lambda value, name=name: CHANGE.table(**{name: value}), accepted)
        for name, accepted in (
            ("measure", set()),
            ("depth", {"None", *NUMBERS}),
            ("sort", {"None"}),
            ("top", {"None", *NUMBERS}),
            ("tablefmt", set()),
            ("numbers", set()),
            ("width", {"None", *NUMBERS}),
            ("color", FLAGS),
            ("columns", set()),
        )
    },
    "diff().overview(?)": (lambda value: CHANGE.overview(value), set()),
    "diff().where(op=)": (lambda value: CHANGE.where(op=value), set()),
    "diff().at(rows=)": (lambda value: (FORMULAS - PROFILE).at(rows=value), NUMBERS),
    "* ?": (lambda value: PROFILE * value, {"an int"}),
    "/ ?": (lambda value: PROFILE * 3 / value, {"an int"}),
    "to_dataframe": (lambda value: PROFILE.to_dataframe(value), {"None"}),
    "to_dataframe(backend=)": (lambda value: PROFILE.to_dataframe(backend=value), set()),
    "load": (Profile.load, set()),
    "from_json": (Profile.from_json, set()),
    "table(?)": (lambda value: PROFILE.table(value), set()),
    "table(op, ?)": (lambda value: PROFILE.table("op", value), set()),
    "table(depth=)": (lambda value: PROFILE.table(depth=value), {"None", *NUMBERS}),
    "table(top=)": (lambda value: PROFILE.table(top=value), {"None", *NUMBERS}),
    "table(width=)": (lambda value: PROFILE.table(width=value), {"None", *NUMBERS}),
    "table(expand=)": (lambda value: PROFILE.table(expand=value), {"a bool"}),
    "table(columns=)": (lambda value: PROFILE.table(columns=value), {"None"}),
    "table(tablefmt=)": (lambda value: PROFILE.table(tablefmt=value), set()),
    "table(sort=)": (lambda value: PROFILE.table(sort=value), {"None"}),
    "table(numbers=)": (lambda value: PROFILE.table(numbers=value), set()),
    "table(color=)": (lambda value: PROFILE.table(color=value), FLAGS),
    "table(bar=)": (lambda value: PROFILE.table(bar=value), FLAGS | {"None"}),
    "table(misspelt)": (lambda value: PROFILE.table(colums=value), set()),
    "overview(?)": (lambda value: PROFILE.overview(value), set()),
    "overview(width=)": (lambda value: PROFILE.overview(width=value), {"None", *NUMBERS}),
    "overview(expand=)": (lambda value: PROFILE.overview(expand=value), {"a bool"}),
    "overview(misspelt)": (lambda value: PROFILE.overview(depth=value), set()),
    **{
        f"{name}(?)": (lambda value, name=name: getattr(PROFILE, name)(value), set())
        for name in ("to_json", "to_csv", "to_folded", "to_speedscope", "to_mermaid", "to_html")
    },
    "to_json(indent=)": (lambda value: PROFILE.to_json(indent=value), set()),
    "to_html(misspelt)": (lambda value: PROFILE.to_html(titel=value), set()),
    "roofline": (lambda value: PROFILE.roofline(value), set()),
    "roofline(by=)": (lambda value: PROFILE.roofline(DEVICE, value), set()),
    "roofline(tf32=)": (lambda value: PROFILE.roofline(DEVICE, tf32=value), FLAGS),
    "roofline.table": (lambda value: PROFILE.roofline(DEVICE).table(value), {"None", *NUMBERS}),
    "bottlenecks": (lambda value: PROFILE.bottlenecks(value), set()),
    "bottlenecks(tf32=)": (lambda value: PROFILE.bottlenecks(DEVICE, tf32=value), FLAGS),
    "bottlenecks.table": (lambda value: PROFILE.bottlenecks(DEVICE).table(value), {"None", *NUMBERS}),
    "resources": (lambda value: PROFILE.resources(value, steps=1, mfu=0.4), set()),
    "resources(?)": (lambda value: PROFILE.resources(DEVICE, value), set()),
    **{
        f"resources({name}=)": (lambda value, name=name: plan(**{name: value}), accepted)
        for name, accepted in (
            ("steps", {"an int"}),
            ("devices", {"None", "an int"}),
            ("mfu", set()),
            ("price", {"None", "an int", "a float"}),
            ("tokens", {"None", "an int"}),
            ("tf32", FLAGS),
        )
    },
    "gather(?)": (PROFILE.gather, set()),
    "gather(timeout=)": (lambda value: PROFILE.gather(timeout=value), set()),
    "imbalance": (GATHERED.imbalance, set()),
    "slowest_rank": (GATHERED.slowest_rank, {"None"}),
    "redundant": (GATHERED.redundant, {"a profile"}),
    "redundant(by ?)": (lambda value: GATHERED.redundant(PROFILE, value), set()),
    "where(rank=)": (lambda value: GATHERED.where(rank=value), set()),
    "Profile(?)": (Profile, {"an array", "a dict"}),
    "Profile(misspelt)": (lambda value: Profile(row=value), set()),
    "Cost(misspelt)": (lambda value: Cost(mac=value), set()),
    "Cost(a seventh)": (lambda value: Cost(1, 2, 3, 4, 5, 6, value), set()),
    "Row(?)": (Row, set()),
    "row.plus": (PROFILE.rows[0].plus, set()),
    "Device(?)": (Device, set()),
    "Device(peaks=)": (lambda value: Device("mine", value, 1e12), {"a dict"}),
    "Device(a peak)": (lambda value: Device("mine", {"float32": value}, 1e12), {"an int", "a float"}),
    "Device(bandwidth=)": (lambda value: Device("mine", {"float32": 1e12}, value), {"an int", "a float"}),
    "peak": (DEVICE.peak, set()),
}


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
def test_a_wrong_argument_is_an_error_of_opflops_in_a_sentence(entry_point):
    """Whatever has another type or value is refused in words, and nothing of it passes silently."""
    call, accepted = ENTRY_POINTS[entry_point]
    for name, value in WRONG.items():
        if name in accepted:
            continue
        with pytest.raises(OpflopsError) as caught:
            call(value)
        message = str(caught.value)
        assert re.fullmatch(r"[^\n]{15,}[.?)]", message), f"{name}: {message}"
        assert " object at 0x" not in message, f"{name}: {message}"


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
def test_a_right_argument_is_accepted(entry_point):
    """The table of entry points says what is right, too; what PyTorch or a model refuses is not in it."""
    call, accepted = ENTRY_POINTS[entry_point]
    for name in accepted:
        call(WRONG[name])


def state_dict():
    return NET.state_dict()


@pytest.mark.parametrize(
    ("call", "cls", "words"),
    [
        (lambda: count("best.pt", X), TypeError, ["'best.pt'", "torch.load('best.pt', weights_only=False)"]),
        (lambda: count(CHECKPOINT, X), TypeError, ["best.pt", "load_state_dict"]),
        (lambda: count(state_dict(), X), TypeError, ["OrderedDict", "state dict", "load_state_dict"]),
        (lambda: count({"net": NET}, X), TypeError, ["dict", "it['net']"]),
        (lambda: count([*NET], X), TypeError, ["list", "torch.nn.Sequential(*modules)"]),
        (lambda: count(X, NET), TypeError, ["model first", "count(model, x)", "(2, 4)"]),
        (lambda: count(None, X), TypeError, ["None", "Make the model"]),
        (lambda: count(nn.Linear, X), TypeError, ["the class", "count(Linear(…), inputs)"]),
        (lambda: count(nn.ModuleList(NET), X), NotImplementedError, ["ModuleList", "Sequential(*modules)"]),
        (lambda: count(OpFlopMode(), X), TypeError, ["OpFlopMode", "with OpFlopMode() as m: model(x)"]),
        (lambda: count(NET), TypeError, ["count(model, x)", "input"]),
        (lambda: count(NET, X, X), TypeError, ["takes input"]),
        (lambda: count(NET, ARRAY), TypeError, ["numpy.ndarray", "torch.from_numpy(input)"]),
        (lambda: count(NET, [1.0, 2.0]), TypeError, ["list", "torch.tensor(input)"]),
        (lambda: count(NET, (2, 4)), TypeError, ["tuple", "torch.empty(2, 4)"]),
        (lambda: count(NET, torch.Size([5, 4])), TypeError, ["torch.empty(5, 4)"]),
        (lambda: count(NET, [X]), TypeError, ["list of tensors", "count(model, *input)"]),
        (lambda: count(NET, {"input": X}), TypeError, ["dict", "count(model, **input)"]),
        (lambda: count(NET, "cat.jpg"), TypeError, ["str", "tensor", "pixels"]),
        (lambda: count(NET, X, optimizer="sgd"), TypeError, ["'sgd'", "torch.optim.SGD"]),
        (lambda: count(NET, X, optimiser=torch.optim.SGD), TypeError, ["optimiser", "did you mean optimizer?"]),
        (lambda: count(NET, X, seed=3), TypeError, ["seed", "takes input"]),
        (lambda: count(), TypeError, ["count()", "model"]),
        (lambda: annotate(PROFILE, NET), TypeError, ["model first", "annotate(model, profile)"]),
        (lambda: annotate(NET, OpFlopMode()), TypeError, ["OpFlopMode", "m.profile"]),
        (lambda: annotate("best.pt", PROFILE), TypeError, ["torch.load('best.pt'"]),
        (lambda: annotate(NET, NET), TypeError, ["Profile", "count(model, x)"]),
        (lambda: PROFILE.diff("before.json"), TypeError, ["Profile.load"]),
        (lambda: PROFILE.to_html("a/b.html"), TypeError, ["Path('a/b.html').write_text(profile.to_html())"]),
        (lambda: PROFILE.to_html(path="b.html"), TypeError, ["'path'", "Path('b.html').write_text"]),
        (lambda: PROFILE.to_json("p.json"), TypeError, ["'p.json'", "write_text(profile.to_json())"]),
        (lambda: PROFILE.to_csv(CHECKPOINT), TypeError, ["write_text(profile.to_csv())"]),
        (lambda: PROFILE.to_folded("p.folded"), ValueError, ["'p.folded'", "write_text(profile.to_folded())"]),
        (lambda: PROFILE.to_mermaid("p.mmd"), ValueError, ["write_text(profile.to_mermaid())"]),
        (lambda: PROFILE.table("p.txt"), ValueError, ["write_text(profile.table())"]),
        (lambda: Profile.from_json("p.json"), ProfileError, ["'p.json'", "Profile.load"]),
        (lambda: PROFILE.table(top="3"), TypeError, ["top", "'3'", "top=3"]),
        (lambda: PROFILE.table(depth="2"), TypeError, ["depth", "'2'", "depth=2"]),
        (lambda: PROFILE.table(by=None), TypeError, ["None", "by='op'"]),
        (lambda: PROFILE.table(dept=2), TypeError, ["'dept'", "did you mean depth?"]),
        (lambda: PROFILE.where("aten.mm"), TypeError, ["'aten.mm'", "where(op='aten.mm')"]),
        (lambda: FORMULAS.at(8), TypeError, ["8", "at(batch=8)"]),
        (lambda: FORMULAS.lambdify()(8), TypeError, ["8", "batch=8"]),
        (lambda: Profile(NET), TypeError, ["Sequential", "count(model, x)"]),
        (lambda: Cost(flops=3), TypeError, ["'flops'", "flops = 2 * macs + ops"]),
        (lambda: coverage("atenn"), ValueError, ["'atenn'"]),
        (lambda: coverage("aten.mm"), ValueError, ["'aten.mm'", "coverage('aten')"]),
        (lambda: formula(count), opflops.FormulaError, ["function count", "@formula(torch.ops.aten.mm)"]),
        (lambda: OpFlopMode(NET), TypeError, ["Sequential", "with OpFlopMode() as m:", "root=model"]),
        (lambda: OpFlopMode(depth=2), TypeError, ["'depth'", "m.table(depth=2)"]),
        (lambda: OpFlopMode(backward=True), TypeError, ["'backward'", "count()"]),
        (lambda: OpFlopMode(cuasal="exact"), TypeError, ["'cuasal'", "did you mean causal?"]),
        (lambda: OpFlopMode(causal=True), ValueError, ["'dense' or 'exact'", "True"]),
        (lambda: OpFlopMode(root="Net"), RootError, ["'Net'"]),
        (lambda: OpFlopMode().__exit__(None, None, None), ActiveModeError, ["with OpFlopMode() as m:"]),
        (lambda: OpFlopMode(lambda: 0), TypeError, ["decorator", "with OpFlopMode() as m:"]),
        (lambda: OpFlopMode()(lambda: 0), TypeError, ["decorator", "with OpFlopMode() as m:"]),
    ],
)
def test_a_common_mistake_names_what_was_given_and_the_cure(call, cls, words):
    """The error has the class that Python's own would have, or one that callers catch already."""
    with pytest.raises(OpflopsError) as caught:
        call()
    assert isinstance(caught.value, cls)
    for word in words:
        assert word in str(caught.value)


def test_a_block_of_the_class_or_of_a_profile_is_refused():
    """``with OpFlopMode as m`` and ``with count(...) as p`` say what to write."""
    with pytest.raises(ArgumentError, match=r"parentheses.*with OpFlopMode\(\) as m"), OpFlopMode:
        pass
    with pytest.raises(ArgumentError, match=r"p = count\(model, x\)"), count(NET, X):
        pass


def test_a_mode_can_have_abstract_subclasses():
    """That the class has a class of its own keeps nobody from deriving another one."""

    class Budgeted(OpFlopMode, abc.ABC):
        @property
        @abc.abstractmethod
        def limit(self): ...

    class Small(Budgeted):
        limit = 24

    with pytest.raises(TypeError):
        Budgeted()
    with Small() as mode:
        NET(X)
    assert mode.total.macs <= mode.limit


def test_a_mode_that_was_never_entered_says_so():
    """Its zeros are not silent: printing says why, reading warns, and the profile has a remark."""
    mode = OpFlopMode()
    NET(X)
    assert "has not been entered" in str(mode)
    assert "with OpFlopMode() as m: model(x)" in str(mode)
    for read in (lambda: mode.total, lambda: mode.profile, mode.table):
        with pytest.warns(UsageWarning, match="has not been entered"):
            read()
    with pytest.warns(UsageWarning):
        profile = mode.profile
    assert "has not been entered" in " ".join(profile.remarks)
    assert Profile.from_json(profile.to_json()) == profile
    with mode:
        NET(X)
    assert mode.profile.remarks == ()
    assert mode.total.macs == 2 * 4 * 3
    assert "entered" not in str(mode)


class Joined(nn.Module):
    """A model whose second layer does not fit the first one."""

    def __init__(self, error=None):
        super().__init__()
        self.first = nn.Linear(4, 3)
        self.inner = nn.ModuleDict({"second": nn.Linear(5, 2)})
        self.error = error

    def forward(self, x, *, scale=1):
        y = self.first(x)
        if self.error is not None:
            raise self.error(y.shape[1])
        return self.inner["second"](y) * scale


class RefusedError(ValueError):
    """An exception of a user's, with an attribute."""

    def __init__(self, width):
        super().__init__(f"refused {width}")
        self.width = width


@pytest.mark.parametrize("options", [{}, {"backward": True}, {"dynamic_shapes": {"x": {0: Dim("rows")}}}])
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_an_error_of_a_model_names_the_module_the_line_and_the_shapes(options, device):
    """It can be caught as PyTorch's own, which it was raised from."""
    model, x = Joined().to(device), torch.ones(2, 4, device=device)
    with pytest.raises(RuntimeError) as caught, torch.device(device):
        count(model, x, **options)
    assert isinstance(caught.value, ModelError)
    assert type(caught.value.__cause__) is RuntimeError
    message = str(caught.value)
    assert str(caught.value.__cause__).partition("\n")[0] in message
    assert "in Joined.inner.second (Linear), at test_sentences.py:" in message
    assert '(return self.inner["second"](y) * scale)' in message
    assert "Joined.inner.second was called with input=2×3 float32." in message
    assert "Joined was called with x=2×4 float32." in message


@pytest.mark.parametrize("cls", [KeyError, IndexError, AttributeError, AssertionError, ZeroDivisionError, Exception])
def test_an_error_of_python_in_a_model_keeps_its_class(cls):
    """So ``except KeyError`` around a count still works; the error can be sent to another process."""
    with pytest.raises(cls) as caught:
        count(Joined(cls), X)
    assert isinstance(caught.value, ModelError)
    assert type(caught.value.__cause__) is cls
    assert "in Joined (Joined), at test_sentences.py:" in str(caught.value)
    again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - our own
    assert isinstance(again, cls)
    assert str(again) == str(caught.value)


@pytest.mark.parametrize("cls", [RefusedError, FileNotFoundError, StopIteration])
def test_an_error_of_the_users_is_raised_itself(cls):
    """It is the same object, with a note that says where."""
    raised = []

    def make(width):
        raised.append(cls(width))
        return raised[-1]

    with pytest.raises(cls) as caught:
        count(Joined(make), X)
    assert caught.value is raised[-1]
    assert "in Joined (Joined), at test_sentences.py:" in caught.value.__notes__[0]


class Doubled(torch.autograd.Function):
    """A function whose backward does not fit its forward."""

    @staticmethod
    def forward(_, x):
        return 2 * x

    @staticmethod
    def backward(_, gradient):
        return gradient @ torch.ones(7, 7)


def test_an_error_of_a_backward_names_the_line():
    """The line is that of the function's backward."""
    with pytest.raises(ModelError, match=r"test_sentences\.py:\d+ \(return gradient @ torch\.ones\(7, 7\)\)"):
        count(lambda x: Doubled.apply(x * 2), torch.ones(2, 4, requires_grad=True), backward=True)


@pytest.mark.filterwarnings("ignore:.*quantized tensor creation functions:UserWarning")
def test_a_model_that_cannot_be_copied_says_so():
    """Fake tensors cannot stand for quantized ones, and the way out is to run the model."""
    model = nn.Linear(4, 3)
    model.table = torch.quantize_per_tensor(X, 0.1, 0, torch.qint8)
    with pytest.raises(RuntimeError) as caught:
        count(model, X)
    said = "\n".join([str(caught.value), *caught.value.__notes__])
    assert re.search(r"Linear cannot be copied.*with OpFlopMode\(\) as m: model\(x\)", said), said


class Options(nn.Module):
    """A model with keywords that ``count`` has too."""

    def forward(self, x, causal=False, device=None, optimizer=None, backward=False, kwargs=None):
        assert optimizer in (None, "adam")
        if device is not None:
            x = x.to(device)
        return x @ x.mT if causal else x + 1


def test_keywords_of_the_model_that_are_options_go_in_kwargs():
    """The model gets those in ``kwargs``, and the options of the same names stay ``count``'s."""
    assert count(Options(), X).total.macs == 0
    assert count(Options(), X, kwargs={"causal": True}).total.macs == 2 * 2 * 4
    given = {"causal": True, "device": "cpu", "optimizer": "adam", "backward": True, "kwargs": {}}
    assert count(Options(), X, causal="exact", kwargs=given).total.macs == 2 * 2 * 4


@pytest.mark.parametrize(
    ("option", "value"),
    [("causal", True), ("optimizer", "adam"), ("device", 1.5), ("device", "nowhere"), ("backward", "yes")],
)
def test_an_option_with_a_value_for_the_model_says_how_to_pass_it(option, value):
    """The model's forward has a parameter of that name."""
    meta = torch.ones(2, 4, device="meta")
    with pytest.raises(OpflopsError) as caught:
        count(Options(), meta, **{option: value})
    assert isinstance(caught.value, UsageWarning) or repr(value) in str(caught.value)
    assert f"Options.forward has a parameter {option} too" in str(caught.value)
    assert f"kwargs={{{option!r}: {value!r}}}" in str(caught.value)


def test_a_valid_option_that_the_model_has_too_warns():
    """``count`` keeps it, and says how the model gets it; with the model's in ``kwargs`` nothing is unclear."""
    x = torch.ones(2, 4, requires_grad=True)
    with pytest.warns(UsageWarning, match=r"Options\.forward has a parameter backward too.*kwargs={'backward': True}"):
        profile = count(Options(), x, backward=True)
    assert "backward" in profile.by("phase")
    assert count(Options(), x, backward=True, kwargs={"backward": False}) == profile
    assert count(Options(), x, causal="exact").total.macs == 0  # only count's option has this value


def test_kwargs_are_checked():
    """They are a dict of names, and no name is given twice."""
    with pytest.raises(ArgumentError, match="Options"):
        count(Options(), X, kwargs=Options())
    with pytest.raises(ArgumentError, match="scale twice"):
        count(Joined(), X, scale=2, kwargs={"scale": 3})

    def takes_all(x, **keywords):
        return x * len(keywords)

    with pytest.raises(ArgumentError, match=r"did you mean backward\?.*kwargs={'backwards': \.\.\.}"):
        count(takes_all, X, backwards=True)
    assert count(takes_all, X, is_causal=True, kwargs={"backwards": True}).total.ops == 2 * 4
