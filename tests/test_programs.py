"""Ways in which programs use PyTorch: each operator is counted once, in the module that ran it."""

import copy

import pytest
import torch
from test_backward import LINEAR, Net, X, check, macs
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.utils import parametrizations, prune
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map
from torch.utils.checkpoint import checkpoint

from opflops import OpFlopMode

FORWARD = {("Net.first", "forward"): LINEAR, ("Net.second", "forward"): LINEAR}
TRAINED = FORWARD | {("Net.first", "backward"): LINEAR, ("Net.second", "backward"): 2 * LINEAR}


def counted(function, *args):
    """Count a call."""
    with OpFlopMode(strict=True) as mode:
        function(*args)
    return macs(mode)


# Structure


def test_a_shared_module_works_once_a_call_under_its_first_name():
    """Two names, three calls, forward and backward."""

    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.encode = nn.Linear(4, 4)
            self.decode = self.encode

        def forward(self, x):
            return self.decode(self.encode(self.encode(x)))

    assert counted(lambda: Tied()(X).sum().backward()) == {
        ("Tied.encode", "forward"): 3 * LINEAR,
        ("Tied.encode", "backward"): 5 * LINEAR,
    }


def test_recursion_stays_on_its_module():
    """A module that calls itself."""

    class Deep(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x, depth=2):
            return self.fc(x) if depth == 0 else self(self.fc(x) @ torch.eye(4), depth - 1)

    found = counted(lambda: Deep()(X).sum().backward())
    assert found["Deep.fc", "forward"] == 3 * LINEAR
    assert found["Deep.fc", "backward"] == 5 * LINEAR
    assert found["Deep", "forward"] == found["Deep", "backward"] == 2 * LINEAR


def test_slices_of_containers_keep_the_names_of_their_modules():
    """A slice of a Sequential is a new Sequential of known modules."""

    class Sliced(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
            self.others = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])

        def forward(self, x):
            x = self.layers[:2](x)
            for layer in self.others[1:]:
                x = layer(x)
            return x

    assert counted(Sliced(), X) == {("Sliced.layers.0", "forward"): LINEAR, ("Sliced.others.1", "forward"): LINEAR}


def test_a_replica_is_a_root_of_its_own():
    """Copies of a model are other models."""
    net = Net()
    assert counted(lambda: (net(X), copy.deepcopy(net)(X))) == FORWARD | {
        ("Net#2.first", "forward"): LINEAR,
        ("Net#2.second", "forward"): LINEAR,
    }


def test_hooks_may_call_modules():
    """The work of a forward hook belongs to the module that it is registered on."""
    net, probe = Net(), nn.Linear(4, 4)
    net.first.register_forward_hook(lambda module, inputs, output: probe(output))
    assert counted(net, X) == FORWARD | {("Net.first.Linear()", "forward"): LINEAR}


def test_methods_other_than_forward_may_call_modules():
    """The method's own work belongs to its caller; the work of its modules to them."""

    class Encoder(Net):
        def encode(self, x):
            return self.first(x) @ torch.eye(4)

    encoder = Encoder()
    assert counted(encoder.encode, X) == {("Linear", "forward"): LINEAR, ("", "forward"): LINEAR}
    assert counted(lambda: (encoder(X), encoder.encode(X)))["Encoder.first", "forward"] == 2 * LINEAR


def test_functions_between_modules_work_for_the_caller():
    """Also generators, and a forward that returns early."""

    class Streams(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = Net()

        def pieces(self, x):
            for piece in x.split(1):
                yield self.net.first(piece) @ torch.eye(4)

        def forward(self, x):
            return next(self.pieces(x))

    assert counted(Streams(), X) == {
        ("Streams.net.first", "forward"): LINEAR // 2,
        ("Streams", "forward"): LINEAR // 2,
    }


def test_an_exception_in_a_forward_leaves_its_module():
    """Later work belongs to the module that caught it, forward and backward."""

    class Careful(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = Net()
            self.net.second.register_forward_pre_hook(self.fail)

        @staticmethod
        def fail(module, inputs):
            raise ValueError("no")

        def forward(self, x):
            try:
                return self.net(x)
            except ValueError:
                return x.clone().requires_grad_() @ torch.eye(4)

    found = counted(lambda: Careful()(X).sum().backward())
    assert found == {
        ("Careful.net.first", "forward"): LINEAR,
        ("Careful", "forward"): LINEAR,
        ("Careful", "backward"): LINEAR,
    }


# Modes of running


def test_grad_modes_meta_and_fake_tensors_cost_the_same():
    """no_grad, inference_mode, meta tensors, and fake tensors created outside and inside the block."""
    net = Net()
    with torch.no_grad():
        assert counted(net, X) == FORWARD
    with torch.inference_mode():
        assert counted(net, X) == FORWARD
    meta = Net().to("meta")
    assert counted(lambda: meta(X.to("meta")).sum().backward()) == TRAINED
    with FakeTensorMode():
        fake, x = Net(), torch.ones(2, 4)
        assert counted(lambda: fake(x).sum().backward()) == TRAINED

    def inside():
        with FakeTensorMode():
            Net()(torch.ones(2, 4)).sum().backward()

    assert counted(inside) == TRAINED


def test_the_fast_path_of_a_transformer_costs_what_the_slow_one_does():
    """In eval under no_grad a whole layer is one operator."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True).eval()
    x = torch.ones(2, 3, 8)
    with torch.no_grad():
        fast = counted(layer, x)
    assert sum(fast.values()) == sum(counted(layer, x).values()) == 2 * 3 * (3 * 64 + 64 + 2 * 128) + 2 * 2 * 3 * 3 * 8


def test_autocast_shows_in_the_dtype_of_rows():
    """Under autocast matmuls run in bfloat16."""
    net = Net()
    with OpFlopMode() as mode, torch.autocast("cpu", torch.bfloat16):
        net(X).sum().backward()
    assert {row.dtype for row in check(mode).rows if row.cost.macs} == {"bfloat16"}
    assert macs(mode) == TRAINED


def test_the_default_device_holds_inside_the_block():
    """Tensors created there on meta are counted there."""
    torch.set_default_device("meta")
    try:
        assert counted(lambda: Net()(torch.ones(2, 4)).sum().backward()) == TRAINED
    finally:
        torch.set_default_device(None)


class Passing(TorchDispatchMode):
    """A dispatch mode that does nothing."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


class PassingFunctions(TorchFunctionMode):
    """A function mode that does nothing."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


def test_other_modes_do_not_matter():
    """Dispatch and function modes, inside the block and around it."""
    net = Net()

    def inside():
        with Passing(), PassingFunctions():
            net(X)

    assert counted(inside) == FORWARD
    with Passing(), PassingFunctions():
        assert counted(net, X) == FORWARD


def test_saved_tensor_hooks_work_for_the_module_that_saves():
    """Packing belongs to the module's forward, unpacking to its backward; offloading only moves data."""
    net = Net()

    def packed(pack, unpack):
        with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
            y = net(X)
        y.sum().backward()

    found = counted(packed, lambda tensor: (tensor, tensor @ torch.eye(4))[0], lambda tensor: tensor)
    # Saved are the first layer's input, silu's input, and the second's input and weight; the input is a constant.
    assert found["Net.first", "forward"] == 2 * LINEAR
    assert found["Net", "forward"] == LINEAR
    assert found["Net.second", "forward"] == LINEAR + LINEAR + 4 * 4 * 4
    assert {key: found[key] for key in TRAINED if key[1] == "backward"} == {
        ("Net.first", "backward"): LINEAR,
        ("Net.second", "backward"): 2 * LINEAR,
    }

    def offloaded():
        with torch.autograd.graph.save_on_cpu():
            y = net(X)
        y.sum().backward()

    assert counted(offloaded) == TRAINED


def test_parametrisations_and_pruning_work_where_they_are_registered():
    """A parametrisation is a module of its own; a mask is applied by the module that is pruned."""
    layer = parametrizations.spectral_norm(nn.Linear(4, 4))
    found = counted(layer, X)
    assert found["ParametrizedLinear", "forward"] == LINEAR
    assert found["ParametrizedLinear.parametrizations.weight.0", "forward"] == 2 * 16 + 16 + 4
    pruned = nn.Linear(4, 4)
    prune.l1_unstructured(pruned, "weight", 0.5)
    with OpFlopMode() as mode:
        pruned(X).sum().backward()
    assert check(mode).by("module", "op")["Linear", "aten.mul"].ops == 2 * 16


@pytest.mark.filterwarnings("ignore:.*torch.ao.quantization.*:DeprecationWarning", "ignore:.*quantize.*:UserWarning")
def test_quantized_modules_are_counted():
    """Dynamic quantisation replaces the layers and keeps their names."""
    net = torch.ao.quantization.quantize_dynamic(Net(), {nn.Linear})
    with OpFlopMode(strict=True) as mode:
        net(X)
    assert {row.module: row.cost.macs for row in mode.profile.rows if row.cost.macs} == {
        "Net.first": LINEAR,
        "Net.second": LINEAR,
    }


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning", "ignore:.*torch.jit.*:FutureWarning")
def test_scripted_traced_exported_and_symbolically_traced_programs():
    """The arithmetic is that of the model; fx keeps its modules, the others are one module."""
    net = Net()
    programs = (torch.jit.trace(net, X), torch.jit.script(net), torch.export.export(net, (X,)).module())
    for program in programs:
        with OpFlopMode(strict=True) as mode:
            program(X).sum().backward()
        net.zero_grad()
        assert check(mode).where(phase="forward").total.macs == 2 * LINEAR
        assert mode.profile.where(phase="backward").total.macs == 3 * LINEAR
    graph = torch.fx.symbolic_trace(net)
    assert {name.split(".")[-1]: cost for (name, _), cost in counted(graph, X).items()} == {
        "first": LINEAR,
        "second": LINEAR,
    }


class Wrapper(torch.Tensor):
    """A user's tensor subclass, which unwraps arguments and wraps results."""

    @staticmethod
    def __new__(cls, inner):
        return torch.Tensor._make_wrapper_subclass(
            cls, inner.shape, dtype=inner.dtype, device=inner.device, requires_grad=inner.requires_grad
        )

    def __init__(self, inner):
        self.inner = inner

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        def unwrap(value):
            return value.inner if isinstance(value, Wrapper) else value

        out = func(*tree_map(unwrap, args), **tree_map(unwrap, kwargs or {}))
        return tree_map(lambda value: Wrapper(value) if isinstance(value, torch.Tensor) else value, out)


def test_a_tensor_subclass_is_counted_once():
    """Not both for the wrapper and for the wrapped tensor."""
    assert counted(Net(), Wrapper(X)) == FORWARD


# Compiled programs


def trained(function, net):
    net.zero_grad()
    return counted(lambda: function(X).sum().backward())


def test_a_compiled_model_counts_like_the_model_itself():
    """Compiled before or inside the block, first called there or before, also with fullgraph=True."""
    compiled = []

    def backend(graph, inputs):
        compiled.append(graph)
        return graph.forward

    net = Net()

    def paths(found):
        return {
            (module.replace("OptimizedModule._orig_mod", "Net"), phase): cost for (module, phase), cost in found.items()
        }

    before = torch.compile(net, backend=backend, fullgraph=True)
    assert paths(trained(before, net)) == TRAINED
    assert not compiled
    # After the block it is compiled as if nothing had been.
    expected = net(X)
    assert torch.equal(before(X), expected)
    assert len(compiled) == 1
    assert paths(trained(before, net)) == TRAINED
    assert torch.equal(before(X), expected)
    assert len(compiled) == 1

    made = []

    def inside(x):
        made.append(torch.compile(lambda x: net(x), backend=backend, fullgraph=True))
        return made[0](x)

    assert trained(inside, net) == TRAINED
    assert torch.equal(made[0](X), expected)
    assert len(compiled) == 2


def test_marked_dynamic_dimensions_stay_dynamic():
    """Counting a model does not change how it is compiled later."""
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    net = Net()
    fn = torch.compile(net, backend=backend, fullgraph=True)
    x = X.clone()
    torch._dynamo.mark_dynamic(x, 0)
    with OpFlopMode():
        fn(x)
    assert x._dynamo_dynamic_indices == {0}
    fn(x)
    fn(torch.ones(5, 4))
    assert len(graphs) == 1


def test_the_compiler_is_loaded_only_when_needed():
    """Loading takes seconds. A program that compiles for the first time inside the block is counted too."""
    import subprocess  # noqa: PLC0415 - for this test alone
    import sys  # noqa: PLC0415

    program = """
import sys, torch
from torch import nn
from opflops import OpFlopMode
net, x, graphs = nn.Linear(4, 4), torch.ones(2, 4), []
def backend(graph, inputs):
    graphs.append(graph)
    return graph.forward
original = torch.compile
with OpFlopMode() as mode:
    net(x)
    assert "torch._dynamo" not in sys.modules
    fn = torch.compile(lambda x: net(x), backend=backend, fullgraph=True)
    fn(x)
assert torch.compile is original
assert mode.total.macs == 64, mode.total
assert not graphs
fn(x)
assert len(graphs) == 1
"""
    subprocess.run([sys.executable, "-c", program], check=True)


# What a program can see


def shape_of(node):
    """Write down the graph behind a result, by the names of its nodes."""
    return node.name(), [shape_of(each) for each, _ in node.next_functions if each is not None]


def state_of(net):
    """Write down what a user could see of a model's modules."""
    return [
        (name, list(vars(module)), [len(value) for key, value in vars(module).items() if key.endswith("hooks")])
        for name, module in net.named_modules()
    ]


def test_a_program_cannot_tell_that_it_is_counted():
    """Results, gradients, random numbers, graphs, and attributes and hooks of modules are the same."""

    class Noisy(Net):
        def forward(self, x):
            return nn.functional.dropout(super().forward(x), 0.5) + torch.rand(4)

    net = Noisy()

    def step():
        torch.manual_seed(3)
        net.zero_grad()
        x = X.clone().requires_grad_()
        y = checkpoint(net, x, use_reentrant=False)
        graph = shape_of(y.grad_fn)
        y.sum().backward()
        gradients = [x.grad, *(parameter.grad for parameter in net.parameters())]
        return [y.detach(), *gradients, torch.get_rng_state()], graph

    plain, graph = step()
    before = state_of(net)
    with OpFlopMode():
        counted, same = step()
        assert state_of(net) == before
    assert all(torch.equal(one, other) for one, other in zip(plain, counted, strict=True))
    assert same == graph
    assert state_of(net) == before


def test_replicas_share_their_parameters_and_are_counted_once_each():
    """As data parallelism on several devices creates them."""
    net = Net()
    replica = net._replicate_for_data_parallel()
    found = counted(lambda: (net(X), replica(X)))
    assert sum(found.values()) == 4 * LINEAR
    assert {name.split(".")[0] for name, _ in found} == {"Net", "Net#2"}
