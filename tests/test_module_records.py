"""What a profile knows of modules: parameters and buffers, whoever shares or deletes them, and the shapes of calls."""

import gc
import threading
import weakref
from contextlib import nullcontext
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch._dynamo.source import ConstantSource
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.export import Dim
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.overrides import TorchFunctionMode
from torch.utils.checkpoint import checkpoint

from opflops import OpFlopMode, Profile, ProfileError, count
from opflops.records.modules import CallShapes, SharedParameter, TensorShape

X = torch.ones(2, 4)


def counted(program, **options):
    with OpFlopMode(**options) as mode:
        program()
    return mode.profile


def parameters(profile):
    return {each.module: each.parameters for each in profile.modules}


def f32(*shape):
    return TensorShape(shape, "float32")


def calls(profile, path):
    return {(each.inputs, each.outputs): each.calls for each in profile.module(path).calls}


class Everything(nn.Module):
    """Register parameters and buffers in every way, some below modules that never run."""

    def __init__(self):
        super().__init__()
        self.own = nn.Parameter(torch.ones(7))
        self.listed = nn.ParameterList([nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(4))])
        self.named = nn.ParameterDict({"a": nn.Parameter(torch.ones(5), requires_grad=False)})
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.normed = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))
        self.norm = nn.BatchNorm1d(4)
        self.idle = nn.Sequential(nn.Linear(4, 9), nn.ReLU())
        self.short = nn.Parameter(torch.ones(6, dtype=torch.float16))
        self.register_buffer("table", torch.ones(3, dtype=torch.float64), persistent=False)
        self.register_buffer("absent", None)
        self.register_parameter("missing", None)

    def forward(self, x):
        return self.norm(self.normed(self.attention(x[None], x[None], x[None])[0][0])) * self.listed[1]


def totals_of(model):
    return (
        sum(each.numel() for each in model.parameters()),
        sum(each.numel() for each in model.parameters() if each.requires_grad),
        sum(each.nbytes for each in model.parameters()),
        sum(each.numel() for each in model.buffers()),
        sum(each.nbytes for each in model.buffers()),
    )


@pytest.mark.parametrize(
    "count_it", [lambda model: counted(lambda: model(X)), lambda model: count(model, X)], ids=["run", "count"]
)
def test_a_model_has_the_parameters_that_it_lists(count_it):
    """Also those of modules that never ran, are no layers, or have None in place of some."""
    model = Everything()
    profile = count_it(model)
    assert profile.module("Everything").total[:5] == totals_of(model)
    assert (profile.parameters, profile.trainable) == totals_of(model)[:2]
    own = {path: number for path, number in parameters(profile).items() if number}
    assert own == {
        "Everything": 7 + 6,
        "Everything.listed": 3 + 4,
        "Everything.named": 5,
        "Everything.attention": 12 * 4 + 12,
        "Everything.attention.out_proj": 4 * 4 + 4,
        "Everything.normed": 4,
        "Everything.normed.parametrizations.weight": 4 + 16,
        "Everything.norm": 8,
        "Everything.idle.0": 4 * 9 + 9,
    }
    assert profile.module("Everything.norm").buffer_bytes == 4 * 4 + 4 * 4 + 8
    assert profile.module("Everything").parameter_bytes == 7 * 4 + 6 * 2


def test_nothing_is_recorded_where_no_module_is_called():
    """Operators alone have no parameters; a model that is only named has none either."""
    assert counted(lambda: torch.ones(3) + 1).modules == ()
    assert counted(lambda: None, root=nn.Linear(4, 4)).modules == ()


def test_a_shared_parameter_counts_for_its_first_owner():
    """The others list it; views of one memory are parameters of their own."""
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4, bias=False))
    model[1].weight = model[0].weight
    model[2].weight = nn.Parameter(model[0].weight.detach())
    profile = counted(lambda: model(X))
    assert parameters(profile) == {"Sequential": 0, "Sequential.0": 20, "Sequential.1": 4, "Sequential.2": 16}
    assert profile.module("Sequential.1").shared == (SharedParameter("weight", "Sequential.0", 16),)
    assert profile.parameters == totals_of(model)[0] == 40


def test_models_that_share_a_parameter_count_it_once():
    """For the model that is called first, whatever the order of their definition."""
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    second.weight = first.weight

    def program():
        second(X)
        first(X)

    profile = counted(program)
    assert parameters(profile) == {"Linear": 20, "Linear#2": 4}
    assert profile.module("Linear#2").shared == (SharedParameter("weight", "Linear", 16),)


def test_a_layer_of_a_deleted_model_belongs_to_it():
    """Another model with the same layer shares it; models with new layers at the same addresses share nothing."""

    def program():
        layer = nn.Linear(4, 4)
        nn.Sequential(layer)(X)
        gc.collect()
        nn.Sequential(layer, nn.ReLU())(X)
        del layer
        for _ in range(5):
            nn.Sequential(nn.Linear(4, 2))(X)

    profile = counted(program)
    assert [profile.module(f"Sequential{name}").total_parameters for name in ("", "#2", "#3", "#7")] == [20, 0, 10, 10]
    assert [each.module for each in profile.modules if each.shared] == ["Sequential#2.0"]


def test_a_part_that_was_called_first_is_counted_in_its_model():
    """Once, with the calls of both."""
    model = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 2)))

    def program():
        model[0](X)
        model[1](X)
        model(X)

    profile = counted(program)
    root = profile.called[-1].partition(".")[0]
    assert profile.parameters == profile.module(root).total_parameters == 30
    assert calls(profile, f"{root}.1.0") == {((f32(2, 4),), (f32(2, 2),)): 2}


def test_parameters_are_those_of_the_end_of_the_block():
    """Layers that were initialized, replaced, removed, added, frozen or cast in the block, after a call."""
    model = nn.Sequential(nn.LazyLinear(3), nn.Linear(3, 3), nn.Linear(3, 3))
    removed = model[2]

    def program():
        model(X)
        model[1] = nn.Linear(3, 8)
        del model[2]
        model(X)
        model[0].weight.requires_grad_(False)
        model.half()
        model.append(nn.Linear(5, 5))

    profile = counted(program)
    assert removed.weight.numel() == 9
    assert profile.module("Sequential").total[:5] == totals_of(model)
    # The calls stay.
    assert calls(profile, "Sequential.2") == {((f32(2, 3),), (f32(2, 3),)): 1}


def test_a_lazy_layer_that_stays_uninitialized_has_no_parameters():
    """It has no shape yet."""

    class Partly(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.Linear(4, 4), nn.LazyLinear(3)

        def forward(self, x):
            return self.used(x)

    profile = counted(lambda: Partly()(X))
    assert profile.parameters == 20

    def initialized_and_deleted():
        model = Partly()
        model(X)
        model.unused(X)

    assert counted(initialized_and_deleted).parameters == 20 + 15


def test_a_module_made_in_each_forward_counts_once():
    """It is not registered, so the model has fewer parameters of its own."""

    class Maker(nn.Module):
        def forward(self, x):
            return nn.Linear(4, 4)(nn.ReLU()(x))

    model = Maker()
    profile = counted(lambda: (model(X), model(X)))
    assert parameters(profile) == {"Maker": 0, "Maker.ReLU()": 0, "Maker.Linear()": 20}
    assert calls(profile, "Maker.Linear()") == {((f32(2, 4),), (f32(2, 4),)): 2}


def test_modules_made_one_after_another_share_no_parameters():
    """Parameters of the second may have the addresses of those of the first, which are deleted by then."""

    class Maker(nn.Module):
        def forward(self, x):
            for make in (nn.Linear, nn.Bilinear):
                layer = make(*[4] * (2 + (make is nn.Bilinear)))
                keys = {id(each) for each in layer.parameters()}
                again.append(keys & seen)
                seen.update(keys)
                x = layer(*[x] * (1 + (make is nn.Bilinear)))
                del layer
            return x.detach()

    model, seen, again = Maker(), set(), []
    with torch.no_grad():
        profile = counted(lambda: [model(X) for _ in range(5)])
    if not any(again):
        pytest.skip("The address of a parameter that was deleted is not used again.")
    assert parameters(profile) == {"Maker": 0, "Maker.Linear()": 20, "Maker.Bilinear()": 64 + 4}


def test_a_module_made_in_a_forward_counts_no_parameter_of_the_model():
    """It shares the weight, and has a bias of its own."""

    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x):
            made = nn.Linear(4, 4)
            made.weight = self.layer.weight
            return self.layer(made(x))

    model = Tied()
    assert parameters(counted(lambda: model(X))) == {"Tied": 0, "Tied.Linear()": 4, "Tied.layer": 20}


def test_a_module_that_is_registered_after_its_first_call_counts_once():
    """Its parameters are read as it is called, and again as the model returns."""

    class Late(nn.Module):
        def forward(self, x):
            made = nn.Linear(4, 4)
            x = made(x)
            self.late = made
            return x

    model = Late()
    assert parameters(counted(lambda: model(X))) == {"Late": 0, "Late.Linear()": 20}


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("first", [False, True])
def test_a_module_that_is_registered_after_its_root_ran_and_called_alone_is_in_it(first, again):
    """Whether it was called before its root too, and whether the root is called again."""

    class Growing(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Linear(4, 5, bias=False)

        def forward(self, x):
            return self.body(x)

    model, late = Growing(), nn.Linear(4, 2, bias=False)

    def program():
        if first:
            late(X)
        model(X)
        model.late = late
        late(X)
        if again:
            model(X)

    profile = counted(program)
    assert parameters(profile) == {"Growing": 0, "Growing.body": 20, "Growing.late": 8}
    macs = {row.module: row.cost.macs for row in profile.rows if row.cost.macs}
    assert macs == {"Growing.body": 40 * (1 + again), "Growing.late": 16 * (1 + first)}


def test_a_module_of_the_given_root_counts_once_in_another_root():
    """Both contain it, and it has the name that it has in the given one."""
    shared = nn.Linear(4, 4, bias=False)
    model = nn.Sequential(shared, nn.Linear(4, 2, bias=False))
    other = nn.Sequential(nn.Linear(4, 4, bias=False), shared)

    def program():
        model(X)
        other(X)

    profile = counted(program, root=model)
    assert parameters(profile)["Sequential.0"] == 16
    assert profile.parameters == 16 + 8 + 16


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "wrap",
    [torch.compile, nn.DataParallel, checkpoint_wrapper, lambda model: checkpoint_wrapper(nn.DataParallel(model))],
    ids=["compile", "DataParallel", "checkpoint", "both"],
)
def test_a_wrapper_doubles_neither_parameters_nor_calls(wrap):
    """It has the path of what it wraps."""
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    profile = counted(lambda: wrap(model)(X))
    assert parameters(profile) == {"Sequential": 0, "Sequential.0": 20, "Sequential.1": 0}
    for path in profile.called:
        assert calls(profile, path) == {((f32(2, 4),), (f32(2, 4),)): 1}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_scripted_quantized_sparse_and_meta_models():
    """As many as they list as parameters: packed weights are none; a sparse one has the elements of its shape."""
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).eval()
    assert counted(lambda: torch.jit.script(model)(X)).parameters == 28
    quantized = torch.ao.quantization.quantize_dynamic(model, {nn.Linear})
    assert counted(lambda: quantized(X)).parameters == 8
    assert count(nn.Linear(4, 4, device="meta"), X.to("meta")).parameters == 20

    class Sparse(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.eye(4).to_sparse())

        def forward(self, x):
            return torch.sparse.mm(self.weight, x.T)

    own = counted(lambda: Sparse()(X)).module("Sparse")
    assert (own.parameters, own.parameter_bytes) == (16, 4 * 4 + 2 * 4 * 8)


def test_a_call_that_raises_is_read_too():
    """The parameters are known, the call has inputs and no outputs."""

    def program():
        with pytest.raises(RuntimeError):
            nn.Linear(4, 4)(torch.ones(2, 5))

    profile = counted(program)
    assert profile.parameters == 20
    assert calls(profile, "Linear") == {((f32(2, 5),), ()): 1}


def test_nothing_is_kept_alive_or_referred_to():
    """Tensors can be swapped, which is refused if there are weak references; a model is deleted with its last name."""
    with OpFlopMode() as mode:
        model = nn.Linear(4, 4)
        model(X)
        torch.utils.swap_tensors(model.weight, nn.Parameter(torch.zeros(4, 4)))
        weight, module = weakref.ref(model.bias), weakref.ref(model)
        del model
        gc.collect()
        assert weight() is None
        assert module() is None
    assert mode.profile.parameters == 20


def test_a_profile_made_inside_the_block_knows_the_models():
    """Of the calls so far, and of the one that is running."""
    inside = []

    class Asks(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x):
            out = self.layer(x)
            inside.append(mode.profile)
            return out

    with OpFlopMode() as mode:
        Asks()(X)
        inside.append(mode.profile)
    assert [each.parameters for each in inside] == [20, 20]
    with OpFlopMode(root=(model := Asks())) as mode:
        model.layer(X)
        assert mode.profile.parameters == 20


@dataclass
class Result:
    first: torch.Tensor
    rest: dict


class Mixed(nn.Module):
    def forward(self, number, *, named, pair=()):
        return Result(named, {"a": [pair[0], None], "b": number})


def test_shapes_of_tensors_in_any_structure():
    """Positional, by keyword, in tuples, lists, dicts and dataclasses; what is no tensor is left out."""
    index = torch.ones(3, dtype=torch.int64)
    profile = counted(lambda: Mixed()(1, named=X, pair=(index, "text")))
    both = (f32(2, 4), TensorShape((3,), "int64"))
    assert profile.module("Mixed").calls == (CallShapes(both, both, 1),)


def test_different_shapes_are_listed_in_order_of_first_appearance():
    """With dtypes, which autocast changes; the fastest way and the others have one entry for equal shapes."""
    layer = nn.Linear(4, 3)

    def program():
        for rows in (2, 5, 2, 2):
            layer(torch.ones(rows, 4))
        layer(input=torch.ones(5, 4))
        layer(nn.Parameter(torch.ones(5, 4)))
        with torch.autocast("cpu", torch.bfloat16):
            layer(torch.ones(2, 4))

    assert counted(program).module("Linear").calls == (
        CallShapes((f32(2, 4),), (f32(2, 3),), 3),
        CallShapes((f32(5, 4),), (f32(5, 3),), 3),
        CallShapes((f32(2, 4),), (TensorShape((2, 3), "bfloat16"),), 1),
    )


def test_more_shapes_than_are_kept_are_counted_and_said():
    """64 are kept; a later call with one of them is added to it."""
    layer = nn.ReLU()
    profile = counted(lambda: [layer(torch.ones(size)) for size in (*range(1, 101), 1, 64, 65, 100)])
    *kept, others = profile.module("ReLU").calls
    assert [each.inputs[0].shape[0] for each in kept] == [*range(1, 65)]
    assert [each.calls for each in kept] == [2, *[1] * 62, 2]
    assert others == CallShapes((), (), 36 + 2)
    assert "ReLU was called with more than 64 different shapes" in profile.remarks[0]


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_recomputed_calls_are_no_calls(use_reentrant):
    """Under checkpointing, the forward runs again in the backward."""
    model = nn.Sequential(nn.Linear(4, 4), nn.Sigmoid(), nn.Linear(4, 4))
    x = torch.ones(2, 4, requires_grad=True)
    profile = counted(lambda: checkpoint(model, x, use_reentrant=use_reentrant).sum().backward())
    assert {row.phase for row in profile.rows if row.op == "aten.addmm"} == {"forward", "recompute"}
    for path in profile.called:
        assert calls(profile, path) == {((f32(2, 4),), (f32(2, 4),)): 1}
    assert profile.module("Sequential").total_activations == 2 * 8


def test_calls_of_other_threads_are_added():
    """Each has a module stack of its own."""
    model = nn.Sequential(nn.Linear(4, 4))

    def program():
        threads = [threading.Thread(target=model, args=(X,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        model(X)

    profile = counted(program, threads=True)
    assert parameters(profile) == {"Sequential": 0, "Sequential.0": 20}
    assert calls(profile, "Sequential.0") == {((f32(2, 4),), (f32(2, 4),)): 4}


def test_symbols_stay_symbols():
    """The shapes at some sizes are those of a count there; they are read without a guard."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.Flatten(2))
    spec = ({0: Dim("batch"), 2: Dim("height")},)
    profile = count(model, torch.ones(2, 3, 16, 9), dynamic_shapes=spec)
    assert str(profile.module("Sequential").calls[0].inputs[0].shape[0]) == "batch"
    assert not [each for each in profile.conditions if "batch" in str(each)]
    for sizes in ({"batch": 3, "height": 21}, {"batch": 7, "height": 30}):
        there = count(model, torch.ones(sizes["batch"], 3, sizes["height"], 9))
        at = profile.at(**sizes)
        assert at.modules == there.modules
        assert at.module("Sequential").total_activations == there.module("Sequential").total_activations
    assert Profile.from_json(profile.to_json()) == profile


def test_sizes_on_meta_are_compared_without_a_guard():
    """Concrete ones are counted; a program's own symbol, which comes later, is neither compared nor fixed by that."""
    environment = ShapeEnv()
    symbol = environment.create_symbol(5, ConstantSource("rows"))
    rows = environment.create_symintnode(symbol, hint=5)
    model, linear = nn.Sequential(nn.Identity(), nn.Identity()), nn.Linear(4, 3, bias=False, device="meta")
    concrete, symbolic = torch.ones(2, 4, device="meta"), torch.empty(rows, 4, device="meta")
    before = len(environment.guards)
    with OpFlopMode() as mode:
        for given in (concrete, concrete, symbolic, concrete, torch.ones(3, 4, device="meta"), symbolic):
            linear(model(given))
    assert len(environment.guards) == before
    assert mode.profile.by("module")["Linear"].macs == 12 * (3 * 2 + 2 * rows + 3)
    for path in ("Sequential", "Sequential.0", "Sequential.1"):
        recorded = [(each.inputs[0].shape, each.calls) for each in mode.profile.module(path).calls]
        assert recorded == [((2, 4), 3), ((5, 4), 2), ((3, 4), 1)]
        assert all(each.inputs == each.outputs for each in mode.profile.module(path).calls)


def test_modules_are_listed_in_the_order_of_their_first_calls():
    """Whatever the order in which they are registered, and whether they are called at all."""

    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.last, self.middle, self.never, self.first = nn.ReLU(), nn.Sigmoid(), nn.Tanh(), nn.GELU()

        def forward(self, x):
            return self.last(self.middle(self.first(x)))

    profile = counted(lambda: Backwards()(X))
    names = ["Backwards", "Backwards.first", "Backwards.middle", "Backwards.last"]
    assert [each.module for each in profile.modules] == names
    assert [row.module for row in profile.rows] == names[1:]
    assert list(profile.called) == names


class _Seen(TorchFunctionMode):
    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.names.append(func.__name__)
        return func(*args, **(kwargs or {}))


class _Logged(torch.Tensor):
    names = []  # noqa: RUF012 - of the test

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        cls.names.append(func.__name__)
        return super().__torch_function__(func, types, args, kwargs or {})


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_reading_sizes_is_not_seen_by_others():
    """Neither a mode for PyTorch's functions, nor a tensor subclass, nor ``torch.jit.trace``."""
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    with OpFlopMode() as mode, _Seen() as seen:
        model(X)
    assert seen.names == ["linear", "relu"]
    assert calls(mode.profile, "Sequential.0") == {((f32(2, 4),), (f32(2, 4),)): 1}
    logged = X.as_subclass(_Logged)
    _Logged.names.clear()
    assert calls(counted(lambda: model(logged)), "Sequential") == {((f32(2, 4),), (f32(2, 4),)): 1}
    assert _Logged.names == ["linear", "relu"]
    plain = torch.jit.trace(model, X).inlined_graph
    with OpFlopMode() as mode:
        traced = torch.jit.trace(model, X).inlined_graph
    assert [node.kind() for node in traced.nodes()] == [node.kind() for node in plain.nodes()]
    assert {shapes for shapes, _ in mode.profile.module("Sequential.0").calls[0].inputs} == {(2, 4)}


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_nested_tensors_have_sizes_that_are_not_known():
    """-1 stands for what differs between their parts."""
    parts = [torch.ones(2, 4), torch.ones(3, 4)]
    layer = nn.Linear(4, 3)
    jagged = torch.nested.nested_tensor(parts, layout=torch.jagged)
    profile = counted(lambda: layer(jagged))
    assert calls(profile, "Linear") == {((f32(2, -1, 4),), (f32(2, -1, 3),)): 1}
    assert profile.module("Linear").activations == 5 * 3
    strided = counted(lambda: layer(torch.nested.nested_tensor(parts)))
    assert strided.module("Linear").calls[0].inputs == (f32(2, -1, -1),)


def activations(program, **options):
    return sum(row.activations for row in counted(program, **options).rows)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(4, 6, batch_first=True)

    def forward(self, x):
        return self.lstm(x)[0]


ACTIVATIONS = {
    "linear": (lambda: nn.Linear(4, 3)(X), 2 * 3),
    "linear without bias": (lambda: nn.Linear(4, 3, bias=False)(X), 2 * 3),
    "convolution": (lambda: nn.Conv2d(3, 5, 3)(torch.ones(2, 3, 8, 8)), 2 * 5 * 6 * 6),
    "transposed": (lambda: nn.ConvTranspose1d(3, 5, 2, stride=2)(torch.ones(2, 3, 8)), 2 * 5 * 16),
    "bmm": (lambda: torch.bmm(torch.ones(3, 2, 4), torch.ones(3, 4, 5)), 3 * 2 * 5),
    "einsum": (lambda: torch.einsum("bik,bkj->bij", torch.ones(3, 2, 4), torch.ones(3, 4, 5)), 3 * 2 * 5),
    "pointwise": (lambda: torch.relu(X + X).softmax(-1), 0),
    "complex": (lambda: torch.ones(2, 4, dtype=torch.complex64) @ torch.ones(4, 3, dtype=torch.complex64), 6),
    "sparse": (lambda: torch.sparse.mm(torch.eye(4).to_sparse(), X.T), 8),
    "half": (lambda: torch.ones(2, 4, dtype=torch.bfloat16) @ torch.ones(4, 3, dtype=torch.bfloat16), 6),
    "strided": (lambda: torch.mm(X, torch.ones(3, 4).t()).t().contiguous(), 6),
}


@pytest.mark.parametrize("timing", [False, True])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_the_elements_of_results_of_multiply_accumulates(name, timing):
    """By hand, on the fast path and beside it, twice what it is once."""
    program, elements = ACTIVATIONS[name]
    assert activations(program, timing=timing) == elements
    assert activations(lambda: (program(), program(), program()), timing=timing) == 3 * elements


def test_activations_are_those_of_the_forward():
    """In inference mode, where operators come undecomposed, as with a backward; not what a gradient makes."""
    model = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(5 * 36, 7))
    x = torch.ones(2, 3, 8, 8)
    elements = 2 * 5 * 36 + 2 * 7
    assert activations(lambda: model(x).sum().backward()) == elements
    with torch.inference_mode():
        assert activations(lambda: model(x)) == elements
    for options in ({}, {"backward": True}, {"optimizer": torch.optim.SGD}):
        profile = count(model, x, **options)
        assert profile.module("Sequential").total_activations == elements
        assert profile.module("Sequential.3").activations == 14
    assert {row.activations for row in count(model, x, backward=True).rows if row.phase != "forward"} == {0}


def test_attention_and_recurrence_have_the_elements_of_their_results():
    """Of a fused kernel the first result: the output, without states and what it keeps for the backward."""
    q = torch.ones(2, 3, 5, 8)
    assert activations(lambda: nn.functional.scaled_dot_product_attention(q, q, q)) == q.numel()
    with torch.no_grad():
        assert activations(lambda: Recurrent()(torch.ones(2, 5, 4))) == 2 * 5 * 6


def test_activations_of_control_flow_count_as_often_as_it_runs():
    """A loop of three steps, counted when it runs."""
    weight = torch.ones(4, 4)

    def loop():
        return torch._higher_order_ops.while_loop(
            lambda step, x: step < 3, lambda step, x: (step + 1, x @ weight), (torch.tensor(0), X)
        )

    assert activations(loop) == 3 * 8


def test_a_module_is_found_by_its_path():
    """An unknown one is an error that names the nearest; the sums below it are those of its records and rows."""
    model = nn.Sequential(nn.Linear(4, 3), nn.Sequential(nn.Linear(3, 2), nn.ReLU()))
    profile = counted(lambda: model(X))
    below = profile.module("Sequential.1")
    assert (below.parameters, below.total_parameters, below.total_trainable) == (0, 8, 8)
    assert (below.activations, below.total_activations, below.module_type) == (0, 4, "Sequential")
    assert profile.module("Sequential").total_activations == 2 * 3 + 2 * 2
    with pytest.raises(ProfileError, match=r"there are Sequential, .*Sequential\.1\.0"):
        profile.module("Sequential.2")
    with pytest.raises(ProfileError, match="No module was called"):
        counted(lambda: None).module("Sequential")


def test_calls_that_return_something_else_than_before_are_counted():
    """After two calls of equal shapes: a tuple, an error, other sizes, and what it was first."""

    class Moody(nn.Module):
        def forward(self, x):
            self.turn = getattr(self, "turn", -1) + 1
            if self.turn == 3:
                raise ArithmeticError
            return {2: (x, x), 4: x[:1]}.get(self.turn, x * 2)

    moody, x = Moody(), torch.ones(2, 4)
    with OpFlopMode() as mode:
        for turn in range(6):
            with pytest.raises(ArithmeticError) if turn == 3 else nullcontext():
                moody(x)
    (record,) = mode.profile.modules
    shape = ((2, 4), "float32")
    assert [(call.outputs, call.calls) for call in record.calls] == [
        ((shape,), 3),
        ((shape, shape), 1),
        ((), 1),
        ((((1, 4), "float32"),), 1),
    ]
    assert {call.inputs for call in record.calls} == {(shape,)}
