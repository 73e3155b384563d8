"""Changes of parameters, buffers, inputs and settings of PyTorch; see :mod:`model_changes`, where they are added."""

import torch
from model_changes import Net, change
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.testing._internal.two_tensor import TwoTensor
from torch.utils.checkpoint import checkpoint

# Parameters and buffers.


@change
def parameter_shared(state):
    yield
    state.model.blocks[1].up.weight = state.model.blocks[0].up.weight


@change
def parameter_no_longer_shared(state):
    state.model.head.weight = state.model.embed.weight
    yield
    state.model.embed.weight = nn.Parameter(torch.ones(8, 8))


@change
def parameter_of_another_shape(state):
    yield
    state.model.blocks[1].up.weight, state.model.blocks[1].up.bias = _parameter(24, 8), _parameter(24)
    state.model.blocks[1].down.weight = _parameter(8, 24)


def _parameter(*shape, **options):
    return nn.Parameter(torch.ones(*shape, **options))


@change
def data_of_another_shape(state):
    yield
    state.model.head.weight.data, state.model.head.bias.data = torch.ones(5, 8), torch.ones(5)


@change
def data_of_another_layout(state):
    yield
    state.model.norm.weight.data = torch.ones(16)[::2]


@change
def parameter_of_another_dtype(state):
    yield
    state.model.head.double().register_forward_pre_hook(lambda _, args: (args[0].double(),))


@change
def parameter_without_gradient(state):
    yield
    state.model.blocks[1].up.weight.requires_grad_(False)


@change
def frozen(state):
    yield
    state.model.requires_grad_(False)


@change
def first_layers_frozen(state):
    yield
    state.model.embed.requires_grad_(False)
    state.model.blocks[0].requires_grad_(False)


@change
def no_longer_frozen(state):
    state.model.requires_grad_(False)
    yield
    state.model.requires_grad_(True)


@change
def bias_removed(state):
    yield
    state.model.head.bias = None


@change
def parameter_deleted(state):
    state.model.head.register_parameter("unused", _parameter(100))
    yield
    del state.model.head.unused


@change
def parameter_registered(state):
    yield
    state.model.head.register_parameter("unused", _parameter(100))


@change
def parameter_moved(state):
    state.model.head.register_parameter("unused", _parameter(100))
    yield
    unused = state.model.head._parameters.pop("unused")
    state.model.embed.register_parameter("unused", unused)


@change
def parameter_named_otherwise(state):
    state.model.head.register_parameter("unused", _parameter(100))
    yield
    state.model.head.register_parameter("other", state.model.head._parameters.pop("unused"))


@change
def swapped(state):
    yield
    torch.utils.swap_tensors(state.model.norm.weight, nn.Parameter(torch.ones(16)[::2], requires_grad=False))


@change
def gradient_kept(state):
    yield
    state.model.zero_grad = lambda set_to_none: None


@change
def buffer_of_another_shape(state):
    yield
    state.model.scale = torch.ones(4, 8)


@change
def buffer_of_another_dtype(state):
    yield
    state.model.scale = torch.ones(8, dtype=torch.int32)


@change
def buffer_registered(state):
    yield
    state.model.head.register_buffer("unused", torch.ones(100))


@change
def buffer_made_a_parameter(state):
    yield
    del state.model.scale
    state.model.scale = _parameter(8)


@change
def loaded_by_assignment(state):
    yield
    state.model.load_state_dict({key: _double(each) for key, each in state.model.state_dict().items()}, assign=True)
    _convert_inputs(state, torch.float64)


def _double(tensor):
    return tensor.double() if tensor.is_floating_point() else tensor


def _convert_inputs(state, target):
    state.args = tuple(each.to(target) for each in state.args)


@change
def converted(state):
    yield
    state.model.to(torch.float64)
    _convert_inputs(state, torch.float64)


@change
def half(state):
    yield
    state.model.half()
    _convert_inputs(state, torch.float16)


@change
def on_meta(state):
    yield
    state.model.to("meta")
    _convert_inputs(state, "meta")


@change
def called_with_other_parameters(state):
    model, call = state.model, state.run
    yield

    def run():
        given = {"head.weight": torch.ones(5, 8, requires_grad=True), "head.bias": torch.ones(5)}
        torch.func.functional_call(model, given, state.args).sum().backward()

    state.run = run
    state.stack.callback(lambda: call)


# Inputs.


@change
def larger_batch(state):
    yield
    state.args = (torch.ones(6, 8),)


@change
def more_axes(state):
    state.model.norm = nn.LayerNorm(8)
    yield
    state.args = (torch.ones(3, 4, 8),)


@change
def other_strides(state):
    yield
    state.args = (torch.ones(8, 4).t(),)


@change
def expanded_input(state):
    yield
    state.args = (torch.ones(1, 8).expand(4, 8),)


@change
def input_of_integers(state):
    yield
    state.args = (torch.ones(4, 8, dtype=torch.int64),)


@change
def input_with_gradient(state):
    yield
    state.args = (torch.ones(4, 8, requires_grad=True),)


class Named(torch.Tensor):
    """A tensor with methods of its own."""


@change
def subclass_of_tensors(state):
    yield
    state.args = (torch.ones(4, 8).as_subclass(Named),)


@change
def plain_tensor_after_a_subclass(state):
    state.args = (torch.ones(4, 8).as_subclass(Named),)
    yield
    state.args = (torch.ones(4, 8),)


@change
def wrapper_subclass(state):
    state.model.requires_grad_(False).eval()
    yield
    state.args = (TwoTensor(torch.ones(4, 8), torch.ones(4, 8)),)


# Settings.


def _around(name, context):
    def entered(state):
        yield
        state.around.append(context)

    def left(state):
        state.around.append(context)
        yield
        state.around.remove(context)

    for kind, function in (("on", entered), ("off", left)):
        function.__name__ = f"{name}_{kind}"
        change(function)


_around("autocast", lambda: torch.autocast("cpu", torch.bfloat16))
_around("no_grad", torch.no_grad)
_around("inference_mode", torch.inference_mode)


@change
def default_dtype(state):
    state.model.plain.append(lambda x: x + torch.arange(1, 9, device=x.device) / 2)
    yield
    state.stack.callback(torch.set_default_dtype, torch.get_default_dtype())
    torch.set_default_dtype(torch.float64)
    state.args = (torch.ones(4, 8, dtype=torch.float32),)


@change(moves=True)
def checkpointed(state):
    yield
    block = state.model.blocks[1]
    state.model.blocks[1] = _Checkpointed(block)


class _Checkpointed(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return checkpoint(self.inner, x, use_reentrant=False)


@change
def fused_layer(state):
    state.model, state.args = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (torch.ones(2, 4, 8),)
    yield
    state.model.eval()
    state.around.append(torch.no_grad)


@change
def kernel_of_attention(state):
    state.model, state.args = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (torch.ones(2, 4, 8),)
    yield
    state.around.append(lambda: sdpa_kernel(SDPBackend.MATH))


@change
def backward_twice(state):
    yield
    run = state.run

    def run_twice():
        run()
        run()

    state.run = run_twice


@change
def models_in_turn(state):
    other = Net()
    yield
    first, run = state.model, state.run

    def run_both():
        for state.model in (first, other):
            run()

    state.run = run_both


@change
def optimizer_step(state):
    yield
    run, optimizer = state.run, torch.optim.SGD(state.model.parameters(), lr=0.1, momentum=0.9, foreach=False)

    def train():
        run()
        optimizer.step()

    state.run = train


@change
def parameter_group_added(state):
    optimizer = torch.optim.SGD(state.model.embed.parameters(), lr=0.1, foreach=False)
    run = state.run

    def train():
        run()
        optimizer.step()

    state.run = train
    yield
    optimizer.add_param_group({"params": list(state.model.head.parameters())})
