"""What autograd keeps for a backward pass, and for which module."""

import gc
import weakref

import pytest
import torch
from test_memory import MODELS, Checkpointed, Train, check_laws
from torch import nn
from torch.utils.checkpoint import checkpoint

from opflops import OpFlopMode


def saved_by_hooks(model, inputs):
    """Sum, by path of the module that runs, the storages that autograd saves and that are alive after the forward."""
    paths = {module: f"{type(model).__name__}.{name}".rstrip(".") for name, module in model.named_modules()}
    running, owners = [""], {}
    known = {each.untyped_storage()._cdata for each in (*model.parameters(), *model.buffers(), inputs)}
    handles = []
    for module, path in paths.items():
        handles.append(module.register_forward_pre_hook(lambda *_, path=path: running.append(path)))
        handles.append(module.register_forward_hook(lambda *_: running.pop() and None))

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage._cdata not in known and storage._cdata not in owners:
            owners[storage._cdata] = running[-1], storage.nbytes(), weakref.ref(storage)
        return tensor.detach()

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = model(inputs)
    found = {}
    for path, size, reference in owners.values():
        if reference() is not None:
            found[path] = found.get(path, 0) + size
    for handle in handles:
        handle.remove()
    return found, out


@pytest.mark.parametrize(
    "name", ["gpt", "shared weights", "views", "del", "normalization", "attention", "in place", "sparse gradients"]
)
def test_saved_bytes_are_those_that_hooks_are_given(name):
    """Each storage counts for the first module that saved it, unless it is a parameter, a buffer or an input."""
    make_model, make_inputs = MODELS[name]
    model, inputs = make_model(), make_inputs()
    expected, _ = saved_by_hooks(model, inputs)
    with OpFlopMode(memory=True) as m:
        out = model(inputs)
    memory = m.profile.memory
    assert memory.saved_by_module() == expected
    assert [*memory.saved_by_module().values()] == sorted(expected.values(), reverse=True)
    assert sum(expected.values()) <= memory.end_of_forward
    del out


def perceptron():
    return nn.Sequential(nn.Linear(4, 8), nn.Sigmoid(), nn.Linear(8, 2), nn.Softmax(-1))


def test_saved_bytes_by_hand():
    """Sigmoid and softmax keep their results, and a linear layer what it was given."""
    model, x = perceptron(), torch.ones(6, 4)
    with OpFlopMode(memory=True) as m:
        model(x * 2).sum().backward()
    assert m.profile.memory.saved_by_module() == {
        "Sequential.1": 6 * 8 * 4,
        "Sequential.0": 6 * 4 * 4,
        "Sequential.3": 6 * 2 * 4,
    }
    # Parameters, the input, what is kept and the loss; the result of the model is kept anyway.
    kept = 6 * 8 * 4 + 6 * 4 * 4 + 6 * 2 * 4
    parameters = sum(each.nbytes for each in model.parameters())
    # The loss, and the gradient that the backward pass begins with.
    assert m.profile.memory.end_of_forward == parameters + x.nbytes + kept + 4 + 4


@pytest.mark.parametrize("backward", [False, True])
def test_nothing_is_saved_without_gradients(backward):
    """``no_grad`` and ``inference_mode`` keep nothing."""
    model, x = perceptron(), torch.ones(6, 4)
    with torch.no_grad() if backward else torch.inference_mode(), OpFlopMode(memory=True) as m:
        model(x)
    assert m.profile.memory.saved_by_module() == {}
    assert m.profile.memory.activations == 0


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_checkpoint_keeps_what_it_was_given(reentrant):
    """And nothing that is computed inside."""
    model, x = Checkpointed(reentrant), torch.randn(6, 8, requires_grad=True)
    with OpFlopMode(memory=True) as m:
        model(x).sum().backward()
    memory = m.profile.memory
    check_laws(memory)
    # What each of the four blocks is given; the multiplication by a number keeps nothing.
    assert sum(memory.saved_by_module().values()) == 4 * x.nbytes


def test_what_hooks_made_is_kept():
    """A copy in a smaller dtype, in place of the result."""
    model, x = perceptron(), torch.ones(6, 4)
    halves = torch.autograd.graph.saved_tensors_hooks(lambda t: (t.dtype, t.half()), lambda p: p[1].to(p[0]))
    with halves, OpFlopMode(memory=True) as m:
        out = model(x)
    assert m.profile.memory.saved_by_module() == {
        # What the layers are given and their weights, transposed or not, and the results.
        "Sequential.0": 2 * 6 * 4,
        "Sequential.1": 2 * 6 * 8,
        "Sequential.2": 2 * (6 * 8 + 8 * 2),
        "Sequential.3": 2 * 6 * 2,
    }
    assert out.shape == (6, 2)


def test_hooks_are_not_called_for_the_tracker():
    """They are called as often as without it."""
    calls = []

    def run(context):
        calls.clear()
        model, x = perceptron(), torch.ones(6, 4)

        def pack(tensor):
            calls.append("pack")
            return tensor.detach()

        def unpack(tensor):
            calls.append("unpack")
            return tensor

        with context(), torch.autograd.graph.saved_tensors_hooks(pack, unpack):
            model(x).sum().backward()
        return [*calls]

    assert run(OpFlopMode) == run(lambda: OpFlopMode(memory=True))


def test_a_second_checkpoint_is_not_recomputed_early():
    """The function runs once in the forward and once in the backward."""
    calls = []
    layer = nn.Linear(4, 4)

    def function(x):
        calls.append(torch.is_grad_enabled())
        return layer(x).exp()

    with OpFlopMode(memory=True):
        out = checkpoint(function, torch.ones(2, 4, requires_grad=True), use_reentrant=False)
        assert len(calls) == 1
        layer(out).sum().backward()
    assert len(calls) == 2


def test_a_graph_from_before_the_block():
    """What it kept was there from the beginning."""
    model, x = perceptron(), torch.ones(6, 4)
    loss = model(x).sum()
    with OpFlopMode(memory=True) as m:
        loss.backward()
    memory = m.profile.memory
    check_laws(memory)
    kept = 6 * 8 * 4 + 6 * 2 * 4
    # No module was called in the block, so the weight that is needed counts as an input too.
    assert memory.timeline[0].live.inputs == kept + x.nbytes + loss.nbytes + model[2].weight.nbytes
    assert memory.peak >= kept + x.nbytes


def test_the_highest_of_several_forwards():
    """``end_of_forward`` and ``saved`` are those of the larger batch."""
    model = perceptron()
    with OpFlopMode(memory=True) as m:
        for batch in (2, 6, 4):
            model(torch.ones(batch, 4)).sum().backward()
    with OpFlopMode(memory=True) as alone:
        model(torch.ones(6, 4)).sum().backward()
    assert m.profile.memory.saved_by_module() == alone.profile.memory.saved_by_module()


def test_an_error_in_a_backward_pass():
    """Leaves everything as it was."""

    class Fails(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1

        @staticmethod
        def backward(ctx, gradient):
            raise ValueError("no")

    x = torch.ones(3, requires_grad=True)
    engine = torch.autograd._engine_run_backward
    with OpFlopMode(memory=True) as m:
        with pytest.raises(ValueError, match="no"):
            Fails.apply(x).sum().backward()
        x.exp().sum().backward()
    assert torch.autograd._engine_run_backward is engine
    assert m.profile.memory.gradients == 12


def test_names_are_those_of_a_model_that_is_called_later():
    """A part that was called first is part of the model."""
    model, x = perceptron(), torch.ones(6, 4)
    with OpFlopMode(memory=True) as m:
        model[0](x)
        model(x).sum().backward()
    assert {*m.profile.memory.saved_by_module()} <= {f"Sequential.{index}" for index in range(4)}
    assert {*m.profile.memory.module_peaks} == {"Sequential", *(f"Sequential.{index}" for index in range(4))}


def test_training_saves_the_same_in_every_step():
    """The second step of the same training."""
    train = Train(perceptron(), torch.ones(6, 4), torch.optim.AdamW)
    with OpFlopMode(memory=True) as m:
        train()
    first = m.profile.memory.saved_by_module()
    with OpFlopMode(memory=True) as m:
        for _ in range(3):
            train()
    assert m.profile.memory.saved_by_module() == first


def test_numbers_that_are_saved_do_not_count():
    """Each product saves its number: 8 bytes that no operator sees, whenever garbage is collected."""
    x = torch.ones(4, requires_grad=True)

    def scale(x):
        for _ in range(5):
            x = x * 0.5
            collect()
        return x

    def memory():
        with OpFlopMode(memory=True) as m:
            scale(x).sum().backward()
        x.grad = None
        return m.profile.memory

    collect = int
    usual = memory()
    collect = gc.collect
    assert usual == memory()
    assert usual.saved == {}
    assert usual.activations == 0
