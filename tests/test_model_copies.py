"""count() runs a copy of any model: of one that cannot be copied, or that makes tensors when it is copied.

Each count is that of a run, by hand: Linear(4, 3) on five rows has 5 * 4 * 3 = 60 products, and twice as many backward
without a gradient for the input 60 more.
"""

import functools
import gc
import threading
import weakref
from collections import OrderedDict, defaultdict, deque
from pathlib import Path

import pytest
import torch
from torch import distributed, nn
from torch.distributed._composable import replicate
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.nn.parallel import DistributedDataParallel

from opflops import OpFlopMode, OpflopsError, count

X = torch.ones(5, 4)
FORWARD = 5 * 4 * 3


class Net(nn.Module):
    """A linear layer, a buffer, and whatever a test adds."""

    def __init__(self, add=None):
        super().__init__()
        self.lin = nn.Linear(4, 3)
        self.register_buffer("scale", torch.ones(4))
        if add is not None:
            add(self)

    def forward(self, x):
        return self.lin(x * self.scale)


def with_class(**members):
    """Make a model of a class with other members."""
    return type("Net", (Net,), members)()


def rows(profile):
    """Return all that is in the rows of a profile."""
    return sorted((row.module, row.op, row.phase, row.dtype, row.calls, repr(row.cost)) for row in profile.rows)


def state_of(model):
    """Return the identity, type and version of everything that a model consists of."""
    return [
        (
            id(module),
            {name: id(value) for name, value in vars(module).items() if name != "_is_full_backward_hook"},
            [
                (id(tensor), type(tensor), tensor.dtype, tensor.device, tensor._version, tensor.grad)
                for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False))
            ],
        )
        for module in model.modules()
    ]


def check(model, forward=FORWARD, x=X, backward=None):
    """Compare counts with runs and with numbers, and check that the counts leave the model as it was."""
    for macs, gradients in ((forward, False), (2 * forward if backward is None else backward, True)):
        before = state_of(model)
        counted = count(model, x, backward=gradients)
        assert state_of(model) == before
        assert counted.total.macs == macs
        with OpFlopMode() as mode:
            out = model(x)
            if gradients:
                out.backward(torch.ones_like(out))
        assert rows(counted) == rows(mode.profile)
        model.zero_grad(set_to_none=True)


def refuse(self, *_):
    raise AssertionError("This class refuses.")


class Refusing:
    """Cannot be copied, as handles of libraries."""

    __deepcopy__ = refuse


class Holder:
    """Holds a module next to something that cannot be copied."""

    __slots__ = ("lock", "module")

    def __init__(self, module):
        self.module, self.lock = module, threading.Lock()


class Record(OrderedDict):
    """A container whose items cannot all be copied."""


ADDITIONS = {
    "a lock": lambda net: setattr(net, "extra", threading.Lock()),
    "a lock in containers": lambda net: setattr(net, "extra", [{"a": (threading.RLock(), torch.ones(2))}, {1, 2}]),
    "a lock in other containers": lambda net: setattr(
        net, "extra", deque([defaultdict(list, a=[threading.Lock()]), Record(a=threading.Lock())], maxlen=3)
    ),
    "a file": lambda net: setattr(net, "extra", Path(__file__).open()),  # noqa: SIM115 - a model may hold one
    "an iterator": lambda net: setattr(net, "extra", (each for each in "abc")),
    "a python module": lambda net: setattr(net, "extra", torch),
    "thread-local data": lambda net: setattr(net, "extra", threading.local()),
    "a generator of random numbers": lambda net: setattr(net, "extra", torch.Generator()),
    "a weak reference": lambda net: setattr(net, "extra", weakref.ref(net.lin)),
    "something that refuses": lambda net: setattr(net, "extra", Refusing()),
    "itself": lambda net: net.__dict__.update(extra=net, lock=threading.Lock()),
    "the parent in a child": lambda net: net.lin.__dict__.update(parent=net, lock=threading.Lock()),
    "an optimizer": lambda net: setattr(net, "extra", (torch.optim.Adam(net.parameters()), threading.Lock())),
}


@pytest.mark.parametrize("name", ADDITIONS)
@pytest.mark.filterwarnings("ignore:unclosed file")
def test_a_model_that_holds_what_cannot_be_copied_is_counted(name):
    """Its rows are those of a run, and the model stays as it is."""
    check(Net(ADDITIONS[name]))


@pytest.mark.parametrize("name", ["__deepcopy__", "__reduce_ex__", "__getstate__", "__setstate__"])
def test_a_class_that_refuses_to_be_copied_is_copied_by_its_attributes(name):
    """As models that are sharded or compiled by a library; on meta too."""
    model = with_class(**{name: refuse})
    check(model)
    assert count(model.to("meta"), X.to("meta"), backward=True).total.macs == 2 * FORWARD


def test_a_module_in_an_object_that_cannot_be_copied_is_that_of_the_model():
    """Work is filed under its name, and gradients go to the copy."""

    class Holding(Net):
        def forward(self, x):
            return self.extra.module(x)

    model = Holding(lambda net: setattr(net, "extra", Holder(net.lin)))
    check(model)
    assert count(model, X).by("module")["Holding.lin"].macs == FORWARD


def test_a_module_that_gives_itself_as_its_copy_does_not_change():
    """Although it changes its parameters when it runs."""

    class Itself(nn.Linear):
        def __deepcopy__(self, memo):
            return self

        def forward(self, x):
            self.double()
            return super().forward(x.double())

    model = nn.Sequential(Itself(4, 3))
    before = state_of(model)
    assert count(model, X, backward=True).total.macs == 2 * FORWARD
    assert state_of(model) == before
    assert model[0].weight.dtype == torch.float32


class Product(nn.Module):
    """A program to trace: 2 products for each row of four numbers."""

    def forward(self, x, y):
        return torch.cat([torch.tensordot(x, y, dims=([1], [0])), x.new_zeros(1, 2)])


def remake_layer(self, state):
    self.__dict__.update(state)
    self.lin = nn.Linear(4, 3)


def trace(self, state):
    self.__dict__.update(state)
    self.traced = torch.fx.symbolic_trace(Product())


def script(self, state):
    self.__dict__.update(state)
    self.lin = torch.jit.trace(nn.Linear(4, 3), torch.ones(2, 4))


def copy_weights(self, memo):
    made = type(self)()
    made.load_state_dict(self.state_dict())
    return made


@pytest.mark.parametrize(
    "members",
    [{"__setstate__": remake_layer}, {"__setstate__": trace}, {"__setstate__": script}, {"__deepcopy__": copy_weights}],
    ids=["a layer", "a graph", "TorchScript", "all"],
)
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning", "ignore:.*torch.jit:FutureWarning")
def test_what_a_model_makes_while_it_is_copied_is_counted_without_running(members):
    """Forward and backward: gradients of new parameters are those of the copy."""
    model = with_class(**members)
    before = state_of(model)
    assert count(model, X).total.macs == FORWARD
    assert count(model, X, backward=True).total.macs == 2 * FORWARD
    assert state_of(model) == before


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning", "ignore:.*torch.jit:FutureWarning")
@pytest.mark.parametrize("make", [torch.jit.script, lambda net: torch.jit.trace(net, X)], ids=["script", "trace"])
def test_gradients_of_torchscript_are_counted(make):
    """They go to the parameters of the copy, which TorchScript holds. How often it detaches tensors differs."""
    model = nn.Sequential(make(nn.Linear(4, 3)), nn.Tanh())
    before = [parameter.grad for parameter in model.parameters()]
    for backward in (False, True):
        counted = count(model, X, backward=backward)
        with OpFlopMode() as mode:
            out = model(X)
            if backward:
                out.backward(torch.ones_like(out))
        assert counted.total == mode.total
        assert counted.total.macs == FORWARD * (1 + backward)
        model.zero_grad(set_to_none=True)
    assert [parameter.grad for parameter in model.parameters()] == before


class Scaled(nn.Parameter):
    """A parameter with a number, a tensor and a method, as those of quantized layers."""

    def __new__(cls, data, scale, table, requires_grad=True):
        made = torch.Tensor._make_subclass(cls, data, requires_grad)
        made.scale, made.table = scale, table
        return made

    def times(self, x):
        return x @ self.T * self.table


class Copied(Scaled):
    """One that says how to copy it."""

    def __deepcopy__(self, memo):
        return type(self).__new__(type(self), self.data.clone(), self.scale, self.table.clone(), self.requires_grad)


class Weighted(nn.Module):
    def __init__(self, cls):
        super().__init__()
        self.weight = cls(torch.ones(3, 4), 2.0, torch.ones(3))

    def forward(self, x):
        assert isinstance(self.weight, Scaled)
        made = type(self.weight)(self.weight.data.double(), 1.0, self.weight.table.double())
        return self.weight.times(x) * self.weight.scale + made.times(x.double())


@pytest.mark.parametrize("cls", [Scaled, Copied])
def test_parameters_of_ones_own_class_keep_what_they_hold(cls):
    """Their class, methods and attributes; two layers of 60 products. The second makes its parameter in the forward."""
    check(Weighted(cls), forward=2 * FORWARD)


def test_tensors_keep_attributes():
    """Parameters, buffers and inputs; a copy of PyTorch's drops those of parameters."""

    class Attributed(Net):
        def forward(self, x):
            return self.lin(x * x.factor + self.scale.shift[0]) * self.lin.weight.gain

    model, x = Attributed(), torch.ones(5, 4)
    model.lin.weight.gain, model.scale.shift, x.factor = 2.0, [torch.ones(4)], 3.0
    check(model, x=x)


def test_views_that_know_their_class_are_counted():
    """``as_subclass`` makes no row, and results are of the class too."""

    class Twice(torch.Tensor):
        def twice(self):
            return self + self

    class Views(Net):
        def forward(self, x):
            return self.lin((x.as_subclass(Twice) * self.scale).twice().as_subclass(torch.Tensor))

    check(Views())


def test_lazy_layers_are_counted_and_stay_lazy():
    """They get their shapes in the copy: 5 * 4 * 3 products, then 5 * 3 * 2."""
    model = nn.Sequential(nn.LazyLinear(3), nn.LazyBatchNorm1d(), nn.LazyLinear(2))
    assert count(model, X).total.macs == FORWARD + 30
    # The gradients of both weights, and one of an input.
    assert count(model, X, backward=True).total.macs == 2 * (FORWARD + 30) + 30
    assert isinstance(model[0].weight, nn.UninitializedParameter)
    assert isinstance(model[1].running_mean, nn.UninitializedBuffer)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_tensor_that_was_computed_before_is_a_leaf(device):
    """As inputs are: the graph that computed it is not part of the call."""

    class Computed(Net):
        def forward(self, x):
            return x @ self.weights[0].T

    model = Computed().to(device)
    model.weights = [model.lin.weight * 2]
    counted = count(model, X.to(device), backward=True)
    assert counted.total.macs == 2 * FORWARD
    assert "aten.mul" not in counted.by("op")


def test_generators_of_random_numbers_do_not_advance():
    """The copy of a model has a copy of its generator."""

    class Noisy(Net):
        def forward(self, x):
            return super().forward(x + torch.rand(x.shape, generator=self.extra.manual_seed(7)))

    model = Noisy(lambda net: setattr(net, "extra", torch.Generator()))
    state = model.extra.get_state()
    assert count(model, X).total.macs == FORWARD
    assert torch.equal(model.extra.get_state(), state)


def test_a_mutable_state_next_to_a_lock_stays_as_it_is():
    """What the copy appends, assigns or counts is its own."""

    class Remembering(Net):
        def forward(self, x):
            with self.lock:
                self.calls += 1
                self.seen.append(x)
                self.nested["x"].add(id(x))
            return super().forward(x)

    model = Remembering()
    model.lock, model.calls, model.seen, model.nested = threading.Lock(), 0, [threading.Lock()], {"x": set()}
    count(model, X)
    assert (model.calls, len(model.seen), model.nested) == (0, 1, {"x": set()})
    assert not model.lock.locked()


def test_functions_and_callables_with_locks_are_counted():
    """Also a lock in the closure, and in an input."""

    class Call:
        def __init__(self):
            self.lin, self.lock = nn.Linear(4, 3), threading.Lock()

        def __call__(self, x):
            with self.lock:
                return self.lin(x["x"] if isinstance(x, dict) else x)

    call = Call()
    state = {"model": call.lin, "lock": threading.Lock()}
    assert count(call, X, backward=True).total.macs == 2 * FORWARD
    assert count(call, {"x": X, "lock": threading.Lock()}).total.macs == FORWARD
    assert count(lambda x: state["model"](x), X, backward=True).total.macs == 2 * FORWARD
    assert call.lin.weight.grad is None


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_weights_of_one_byte_are_counted(dtype):
    """5 * 16 * 3 products in float8, though such numbers cannot be compared."""
    left, right, one = torch.ones(5, 16).to(dtype), torch.ones(3, 16).to(dtype).t(), torch.ones(())
    if dtype == torch.float8_e5m2:
        counted = count(lambda x, y: x.float() @ y.float(), left, right)
        assert counted.total.macs == 5 * 16 * 3
        return
    counted = count(lambda x, y: torch._scaled_mm(x, y, one, one, out_dtype=torch.float32), left, right)
    with OpFlopMode() as mode:
        torch._scaled_mm(left, right, one, one, out_dtype=torch.float32)
    assert rows(counted) == rows(mode.profile)
    assert counted.total.macs == 5 * 16 * 3


@pytest.fixture(name="mesh")
def _mesh():
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    distributed.destroy_process_group()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "distribute"),
    [
        ("fully_shard", lambda net, mesh: fully_shard(net, mesh=mesh)),
        ("fully_shard", lambda net, mesh: nn.Sequential(fully_shard(net, mesh=mesh), nn.ReLU())),
        ("replicate", lambda net, mesh: replicate(net, device_mesh=mesh)),
        ("FullyShardedDataParallel", lambda net, mesh: FullyShardedDataParallel(net, device_id=torch.device("cpu"))),
    ],
    ids=["fully_shard", "a part", "replicate", "FullyShardedDataParallel"],
)
def test_a_sharded_model_gets_a_sentence(name, distribute, mesh):
    """Before anything runs, for functions that call one too."""
    model = distribute(Net(), mesh)
    message = f"cannot be counted without running: {name} changed Net .*Count the model before {name}, or run it inside"
    for call in (model, lambda x: model(x)):
        with pytest.raises(OpflopsError, match=message):
            count(call, X)
    with OpFlopMode() as mode:
        model(X)
    assert mode.total.macs == FORWARD


@pytest.mark.filterwarnings("ignore")
def test_a_data_parallel_model_is_counted_forward_and_gets_a_sentence_backward(mesh):
    """Its C++ code exchanges the gradients of the parameters that it was made for."""
    model = DistributedDataParallel(Net())
    assert count(model, X).total.macs == FORWARD
    with pytest.raises(
        OpflopsError, match=r"The backward of Net cannot .*DistributedDataParallel .*Count model.module"
    ):
        count(model, X, backward=True)
    with pytest.raises(OpflopsError, match="The backward of Net"):
        count(model, X, optimizer=torch.optim.SGD)
    assert count(model.module, X, backward=True).total.macs == 2 * FORWARD


def test_deeply_nested_models_and_classes_are_counted():
    """150 containers around a layer; Python would stop a copy that calls itself for each. No class is kept."""
    model = nn.Linear(4, 3)
    for _ in range(150):
        model = nn.Sequential(model)
    assert count(model, X).total.macs == FORWARD

    classes = [type("Brief", (torch.Tensor,), {})]
    count(lambda x: x.as_subclass(classes[0]) + 1, X)
    reference = weakref.ref(classes.pop())
    gc.collect()
    assert reference() is None


def reads_value(model):
    """Give a model a hook that reads a value, and wraps what is wrong with that in an error of its own."""

    def read(_module, args):
        try:
            return args[0] * args[0].sum().item()
        except RuntimeError as error:
            raise ValueError("not with these") from error

    model.register_forward_pre_hook(read)


class RefusesWithItself(threading.local):
    """Refuse to be copied."""


def holds_what_refuses(model):
    model.extra = [RefusesWithItself()]


@pytest.mark.parametrize(
    ("options", "shape", "add"),
    [
        ({}, (5, 4), None),
        ({}, (5, 4), holds_what_refuses),
        ({"backward": True}, (5, 4), None),
        ({"dynamic_shapes": ({0: torch.export.Dim("rows")},)}, (5, 4), None),
        ({}, (5, 3), None),
        ({}, (5, 4), reads_value),
    ],
    ids=["forward", "what refuses", "backward", "sizes", "an error", "a value"],
)
def test_a_count_keeps_no_model_alive(options, shape, add):
    """Neither the model nor its copy waits for the garbage collector, also if the count fails."""

    def alive():
        model = Net(add)
        references = [weakref.ref(model), weakref.ref(model.lin), *map(weakref.ref, getattr(model, "extra", []))]
        try:
            count(model, torch.ones(shape), **options)
        except OpflopsError:
            failed = True
        else:
            failed = False
        assert failed == (shape != (5, 4) or add is reads_value)
        del model
        return [each() for each in references]

    alive()
    gc.collect()
    gc.disable()
    try:
        assert not any(alive())
    finally:
        gc.enable()


def closure_of_a_layer(model):
    model.call = lambda x: model.lin.half()(x.half())


def patched_forward(model):
    forward = model.lin.forward

    @functools.wraps(forward)
    def halved(x):
        with torch.no_grad():
            model.lin.weight.mul_(0.5)
        return forward(x)

    model.lin.forward = halved
    model.call = model.lin


def replaced_weight(model):
    def call(x, *, layer=model.lin):
        layer.weight = nn.Parameter(layer.weight * 2)
        return layer(x)

    model.call = call


def functions_in_a_list(model):
    model.steps = [lambda x, each=each: each(x) for each in (model.lin,)]
    model.call = lambda x: model.steps[0](x)


def partial_function(model):
    model.call = functools.partial(lambda layer, x: layer(x), model.lin)


def recursive_function(model):
    def call(x, depth=2):
        return call(x, depth - 1) if depth else model.lin(x)

    model.call = call


@pytest.mark.parametrize(
    "add",
    [
        closure_of_a_layer,
        patched_forward,
        replaced_weight,
        functions_in_a_list,
        partial_function,
        recursive_function,
    ],
)
def test_functions_of_a_model_call_its_copy(add):
    """Whatever they refer to by their closures and defaults: the model stays as it is, and names its modules."""
    model = with_class(forward=lambda self, x: self.call(x))
    add(model)
    before, weight = state_of(model), model.lin.weight
    profile = count(model, X, backward=True)
    assert profile.by("module", "phase")["Net.lin", "forward"].macs == FORWARD
    assert profile.by("module", "phase")["Net.lin", "backward"].macs == FORWARD
    assert model.lin.weight is weight
    assert state_of(model) == before


def test_functions_that_refer_to_no_state_are_shared():
    """A copy of a function is another object, which a program may tell apart."""
    model = with_class(forward=lambda self, x: self.lin(x) if self.known is state_of else x)
    model.known = state_of
    assert count(model, X).total.macs == FORWARD


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_count_draws_no_random_numbers(device):
    """Not even if a class initializes a new module to copy itself."""

    class Renewed(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin = nn.Linear(4, 3)

        def __deepcopy__(self, memo):
            made = Renewed()
            made.load_state_dict(self.state_dict())
            return made

        def forward(self, x):
            return self.lin(x)

    model = nn.Sequential(Renewed()).to(device)
    before = torch.get_rng_state()
    for backward in (False, True):
        count(model, X.to(device), backward=backward)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("frozen", [(), ("weight",), ("bias",), ("weight", "bias")])
def test_batch_norm_makes_the_gradients_that_are_asked_for(frozen, training, dtype):
    """None for an input that needs none, nor for frozen parameters: rows are those of a run, with their bytes."""
    model = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 3)).train(training)
    for name in frozen:
        getattr(model[0], name).requires_grad_(False)
    if dtype is torch.float16:
        model[1] = nn.Identity()
    x = torch.randn(6, 4, dtype=dtype)
    for given in (x, x.clone().requires_grad_()):
        if not given.requires_grad and frozen == ("weight", "bias") and dtype is torch.float16:
            continue
        counted = count(model, given, backward=True)
        with OpFlopMode() as mode:
            out = model(given)
            out.backward(torch.ones_like(out))
        assert rows(counted) == rows(mode.profile)
        model.zero_grad(set_to_none=True)
