"""Whose names are used: parts called before or without their model, the root of a mode, and models of a function."""

import functools
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from opflops import OpFlopMode, OpflopsError, Profile, annotate, count

X = torch.ones(2, 4)
MACS = 2 * 4 * 4  # of one layer


class Encoder(nn.Module):
    def __init__(self, embed):
        super().__init__()
        self.embed = embed
        self.layers = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])

    def forward(self, x):
        for layer in self.layers:
            x = nn.Tanh()(layer(x))
        return self.embed(x) * 2


class Translator(nn.Module):
    """Encode once and decode step by step, as ``generate()`` of an encoder-decoder does."""

    def __init__(self):
        super().__init__()
        self.shared = nn.Linear(4, 4)
        self.body = nn.ModuleDict({"encoder": Encoder(self.shared)})
        self.decoder = nn.Linear(4, 4)

    def encode(self, x):
        return self.body["encoder"](x)

    def generate(self, x):
        encoded = self.encode(x)
        return self(x, encoded) + self(x, encoded)

    def forward(self, x, encoded=None):
        return self.decoder(x + (self.encode(x) if encoded is None else encoded))


ENCODER = {
    "Translator.body.encoder.layers.0": MACS,
    "Translator.body.encoder.layers.1": MACS,
    "Translator.shared": MACS,
}


def counted(*programs, **options):
    """Run programs in one block."""
    with OpFlopMode(**options) as mode:
        for program in programs:
            program()
    return mode.profile


def macs(profile):
    """Return the multiply-accumulates of the modules that have any."""
    return {path: cost.macs for path, cost in profile.by("module").items() if cost.macs}


def contents(profile):
    """Return a profile's rows, call sites and called modules without their order.

    Where a gradient is stored counts for the first call site, and is no arithmetic.
    """
    return set(profile.rows), {row for row in profile.sites if row.cost.flops}, set(profile.called)


@pytest.mark.parametrize("options", [{}, {"root": True}])
def test_a_part_that_runs_before_its_model_stands_below_it(options):
    """Also its modules that have another name there, and those that it makes on the fly."""
    model = Translator()
    profile = counted(lambda: model.generate(X), **dict.fromkeys(options, model))
    assert macs(profile) == {**ENCODER, "Translator.decoder": 2 * MACS}
    assert profile.by("module")["Translator.body.encoder.Tanh()"].transcendentals == 2 * 8
    assert profile.by("module")["Translator.body.encoder"].ops == 8
    assert profile.inclusive()["Translator.body"].macs == 2 * MACS
    assert {path.partition(".")[0] for path in profile.inclusive()} == {"", "Translator"}
    assert profile.called == (
        "Translator.body.encoder",
        "Translator.body.encoder.layers.0",
        "Translator.body.encoder.Tanh()",
        "Translator.body.encoder.layers.1",
        "Translator.shared",
        "Translator",
        "Translator.decoder",
    )
    assert profile.uncalled(model) == []
    assert Profile.from_json(profile.to_json()) == profile
    assert "(encoder): Encoder(" in annotate(model, profile)
    assert "never ran" not in annotate(model, profile)


def step(model, function):
    """Return a function that runs another with gradients, which accumulate in none of earlier steps."""

    def run():
        model.zero_grad()
        function(X).sum().backward()

    return run


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_names_do_not_depend_on_what_is_called_first(use_reentrant):
    """Rows, call sites and called modules are those of calling the model first, also of backward and recomputation."""

    class Checkpointed(Translator):
        def encode(self, x):
            return checkpoint(self.body["encoder"], x.clone().requires_grad_(), use_reentrant=use_reentrant)

    for make in (Translator, Checkpointed):
        model = make()
        parts = [step(model, each) for each in (model, model.encode, model.body["encoder"].layers[0])]
        expected = counted(*parts)
        assert contents(counted(*reversed(parts))) == contents(expected)
        assert contents(counted(parts[1], parts[0], parts[2])) == contents(expected)
        assert contents(counted(*parts, root=model)) == contents(expected)
        name = make.__name__
        assert set(expected.call_sites(f"{name}.body.encoder")) == {"(outside) #1", f"{name} #1"}
        assert not expected.diff(counted(*reversed(parts))).rows


def test_the_profile_of_an_unfinished_block_has_the_names_so_far():
    """A later profile has better ones, and the same sums."""
    model = Translator()
    with OpFlopMode() as mode:
        model.encode(X)
        early = mode.profile
        model(X, X)
    assert set(macs(early)) == {"Encoder.layers.0", "Encoder.layers.1", "Encoder.embed"}
    assert macs(mode.profile) == {**ENCODER, "Translator.decoder": MACS}
    assert early.total.macs == 3 * MACS


def test_a_model_may_be_part_of_another_that_runs_later_still():
    """A layer is part of a stack, which is part of a model."""
    layer = nn.Linear(4, 4)
    stack = nn.Sequential(layer, nn.ReLU())

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.stack = stack

        def forward(self, x):
            return self.stack(x)

    model = Model()
    profile = counted(lambda: layer(X), lambda: stack(X), lambda: model(X), lambda: layer(X))
    assert macs(profile) == {"Model.stack.0": 4 * MACS}
    assert set(profile.call_sites("Model.stack.0")) == {"(outside) #1", "Model.stack #1"}


def test_the_rows_of_a_part_are_merged_with_those_of_its_model():
    """Also if no module has several call sites, as the part does nothing itself."""
    part = nn.Sequential(nn.Linear(4, 4))
    model = nn.Sequential(part)
    profile = counted(lambda: part(X), lambda: model(X))
    assert not profile.sites
    assert [(row.module, row.op, row.calls) for row in profile.rows if row.cost.macs] == [
        ("Sequential#2.0.0", "aten.addmm", 2)
    ]


def test_a_part_recomputes_its_forward_below_the_model_that_ran_since():
    """Also the modules that it makes on the fly."""

    class Part(nn.Module):
        def forward(self, x):
            return checkpoint(lambda y: nn.Tanh()(y), x, use_reentrant=True)

    part = Part()
    model = nn.Sequential(part)

    def run():
        x = X.clone().requires_grad_()
        y = part(x)
        model(x)
        y.sum().backward()

    tanh = [each for each in counted(run).rows if each.op == "aten.tanh"]
    assert [(each.module, each.phase, each.calls) for each in tanh] == [
        ("Sequential.0.Tanh()", "forward", 2),
        ("Sequential.0.Tanh()", "recompute", 1),
    ]


def test_a_part_of_two_models_belongs_to_the_one_that_runs_first():
    """As a discriminator that runs alone, in its own stack and in an adversarial one. Names are given once."""
    part, other = nn.Linear(4, 4), nn.Linear(4, 4)

    class First(nn.Sequential):
        pass

    class Second(nn.Sequential):
        pass

    first, second = First(part), Second(part, nn.ReLU())
    profile = counted(lambda: part(X), lambda: other(X), lambda: first(X), lambda: second(X), lambda: part(X))
    assert macs(profile) == {"First.0": 3 * MACS, "Linear#2": MACS, "Second.0": MACS}


def test_parts_without_their_model_stay_roots():
    """Nothing says that there is a model, unless the mode has it as its root."""
    model = Translator()
    apart = counted(lambda: model.encode(X), lambda: model.decoder(X))
    assert set(macs(apart)) == {"Encoder.layers.0", "Encoder.layers.1", "Encoder.embed", "Linear"}
    together = counted(lambda: model.encode(X), lambda: model.decoder(X), root=model)
    assert macs(together) == {**ENCODER, "Translator.decoder": MACS}
    assert "Translator" not in together.called
    assert together.uncalled(model) == []


def test_a_part_that_is_registered_late_stands_below_its_model():
    """A head that is added after the model ran, and runs first on its own; or that a method makes."""

    class Growing(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Linear(4, 4)

        def encode(self, x):
            self.first = nn.Linear(4, 4)
            x = self.first(x)
            self.second = nn.Linear(4, 4)
            return self.second(x)

        def forward(self, x):
            x = self.body(x)
            return self.head(x) if hasattr(self, "head") else x

    model = Growing()

    def run():
        model(X)
        model.head = nn.Linear(4, 4)
        model.head(X)
        model(X)

    assert macs(counted(run)) == {"Growing.body": 2 * MACS, "Growing.head": 2 * MACS}
    head = nn.Linear(4, 4)

    def run_parts():
        head(X)
        model.head, model.tail = head, nn.Linear(4, 4)
        model.tail(X)

    model = Growing()
    assert macs(counted(run_parts, root=model)) == {"Growing.head": MACS, "Growing.tail": MACS}
    model = Growing()
    assert macs(counted(lambda: model.encode(X), root=model)) == {"Growing.first": MACS, "Growing.second": MACS}
    assert macs(count(model.encode, X)) == {"Growing.first": MACS, "Growing.second": MACS}


def test_parts_that_other_threads_run_stand_below_their_model():
    """The threads of a block share the names."""
    model = Translator()
    with OpFlopMode(threads=True) as mode, ThreadPoolExecutor(1) as pool:
        pool.submit(model.encode, X).result()
        model(X)
    assert macs(mode.profile) == {path: 2 * each for path, each in ENCODER.items()} | {"Translator.decoder": MACS}


def test_a_warning_names_the_module_below_its_model():
    """As the profile does."""

    @torch.library.custom_op("names::unknown", mutates_args=())
    def unknown(x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    class Inner(nn.Module):
        def forward(self, x):
            return unknown(x)

    model = nn.Sequential(Inner())
    with pytest.warns(UserWarning, match=r"in module Sequential\.0 has no formula"):
        counted(lambda: model[0](X), root=model)


class Wrapped(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model
        self.loss = nn.Linear(4, 4)

    def forward(self, x):
        return self.loss(self.model(x))


def test_the_root_of_a_mode_keeps_its_names_inside_a_larger_model():
    """Whoever calls its modules, and whatever is called before: the largest model, a part, or another of its class."""
    model, other = Translator(), Translator()
    wrapped = Wrapped(model)
    expected = {**ENCODER, "Translator.decoder": MACS, "Wrapped.loss": MACS}
    assert macs(counted(lambda: wrapped(X), root=model)) == expected
    assert macs(counted(lambda: wrapped.loss(X), lambda: model(X), root=wrapped)) == {
        path.replace("Translator", "Wrapped.model"): each for path, each in expected.items()
    }
    profile = counted(lambda: other.decoder(X), lambda: other(X), lambda: model.generate(X), root=model)
    assert macs(profile)["Translator.decoder"] == 2 * MACS
    assert macs(profile)["Translator#2.decoder"] == 2 * MACS


def test_the_root_of_a_mode_is_used_in_each_of_its_blocks():
    """With the modules that it has by then. Other modules have the names that they have without it."""
    model = nn.Sequential(nn.Linear(4, 4))
    mode = OpFlopMode(root=model)
    with mode:
        model[0](X), nn.Linear(4, 4)(X)
    assert macs(mode.profile) == {"Sequential.0": MACS, "Linear": MACS}
    model.append(nn.Linear(4, 4))
    with mode:
        model[1](X)
    assert macs(mode.profile) == {"Sequential.1": MACS}


def test_a_root_holds_several_models_together():
    """A container that is never called names what it contains."""
    teacher, student = nn.Linear(4, 4), nn.Linear(4, 4)
    with OpFlopMode(root=nn.ModuleDict({"teacher": teacher, "student": student})) as mode:
        student(X), teacher(X), student(X)
    assert macs(mode.profile) == {"ModuleDict.student": 2 * MACS, "ModuleDict.teacher": MACS}


@pytest.mark.parametrize(
    ("root", "message"),
    [
        (Translator, r"must be an instance of nn.Module, not the class Translator\. Make the model first"),
        (Translator().encode, r"not the method encode\. Pass the method's model: OpFlopMode\(root=model\)"),
        ("encoder", r"root must be an nn.Module, not 'encoder'"),
        ([nn.ReLU()], r"root must be an nn.Module, not \[ReLU\(\)\]"),
    ],
)
def test_a_root_that_is_no_module_is_refused(root, message):
    """The error says what was given and what to pass."""
    with pytest.raises(TypeError, match=message) as raised:
        OpFlopMode(root=root)
    assert isinstance(raised.value, OpflopsError)


MODEL = Translator()


def global_encoder(x):
    """Encode with a global model."""
    return MODEL.encode(x)


@torch.no_grad()
def decorated(x):
    return global_encoder(x)


class Service:
    def __init__(self, model):
        self.model = model

    def run(self, x):
        return self.model.encode(x)


def _closures(model):
    several = [model]
    method, encoder = model.encode, model.body["encoder"]
    return {
        "a method": method,
        "a partial function of a method": functools.partial(method),
        "a partial function": functools.partial(lambda m, x: m.encode(x), model),
        "a closure": lambda x: model.encode(x),
        "a closure over a method": lambda x: method(x),
        "a closure over a part and its model": lambda x: encoder(x) if model else x,
        "a default": lambda x, model=model: model.encode(x),
        "a closure over a list": lambda x: several[0].encode(x),
        "a compiled method": torch.compile(method, backend="eager"),
        "a function of a global": global_encoder,
        "a decorated function that calls another": decorated,
        "a method of another object": Service(model).run,
    }


@pytest.mark.parametrize("form", _closures(MODEL))
def test_count_uses_the_names_of_the_model_whose_parts_a_function_calls(form):
    """As if the mode had it as its root."""
    expected = macs(counted(lambda: MODEL.encode(X), root=MODEL))
    assert expected == ENCODER
    assert macs(count(_closures(MODEL)[form], X)) == expected
    assert MODEL.decoder.weight.grad is None


def test_count_uses_the_names_of_models_among_the_inputs():
    """A function of a model, and the method that it takes from its class."""
    assert macs(count(Translator.encode, MODEL, X)) == ENCODER
    assert macs(count(lambda x, *, translator: translator.encode(x), X, translator=MODEL)) == ENCODER


def test_count_and_a_mode_name_independent_modules_alike():
    """By the order of their calls, not of the closure."""
    a, b = nn.Linear(4, 4), nn.Linear(4, 8, bias=False)

    def function(x):
        return a(b(x)[..., :4])

    assert macs(count(function, X)) == macs(counted(lambda: function(X))) == {"Linear": 2 * MACS, "Linear#2": MACS}


def test_a_method_is_named_in_formulas_and_gradients_too():
    """With sizes as symbols, with gradients and a step of an optimizer; the model stays as it is."""
    batch = torch.export.Dim("batch")
    symbolic = count(MODEL.encode, X, dynamic_shapes=({0: batch},), backward=True)
    assert {path: str(each) for path, each in macs(symbolic).items()} == {
        "Translator.body.encoder.layers.0": "32*batch",
        "Translator.body.encoder.layers.1": "48*batch",
        "Translator.shared": "48*batch",
    }
    method = MODEL.encode
    for function in (method, lambda x: method(x), torch.compile(method, backend="eager")):
        profile = count(function, X, optimizer=torch.optim.SGD)
        assert set(macs(profile)) == set(ENCODER)
        assert profile.by("phase")["optimizer"].ops > 0
    assert all(each.grad is None for each in MODEL.parameters())
