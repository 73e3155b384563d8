"""Tensor subclasses made inside a block, of every kind of constructor: they are made as without a mode."""

import copy
import pickle
import threading

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional
from torch.nn.attention.bias import CausalBias, causal_lower_right, causal_upper_left

from opflops import Cost, OpFlopMode, count

GRAD_MODES = [torch.enable_grad, torch.no_grad, torch.inference_mode]
ORIGINAL = torch.Tensor.__new__


class Plain(torch.Tensor):
    """A subclass without a constructor of its own."""


class Tagged(torch.Tensor):
    """A subclass that names the constructor of tensors."""

    def __new__(cls, data, tag):
        made = torch.Tensor.__new__(cls, data)
        made.tag = tag
        return made

    def __init__(self, data, tag):
        pass


class Inheriting(torch.Tensor):
    """A subclass that calls the constructor that it inherits."""

    def __new__(cls, *sizes):
        return super().__new__(cls, *sizes)


class Casting(torch.Tensor):
    def __new__(cls, data):
        return torch.as_tensor(data).as_subclass(cls)


class Parameter(nn.Parameter):
    pass


SOURCE = torch.arange(6.0).view(2, 3)
CONSTRUCTORS = {
    "sizes": lambda: Plain(2, 3).zero_(),
    "a size": lambda: Plain(torch.Size([2, 3])).zero_(),
    "nothing": lambda: Plain(),
    "numbers": lambda: Plain([[1.0, 2.0], [3.0, 4.0]]),
    "a tensor": lambda: Plain(SOURCE),
    "named": lambda: Tagged([1.0, 2.0], "a tag"),
    "inherited": lambda: Inheriting(2, 3).zero_(),
    "cast": lambda: Casting([1.0, 2.0]),
    "parameter": lambda: Parameter(SOURCE.clone()),
    "device": lambda: Plain(2, 3, device="cpu").zero_(),
    "tensor": lambda: torch.Tensor(2, 3).zero_(),
    "upper left": lambda: causal_upper_left(2, 3).zero_(),
    "unpickled": lambda: pickle.loads(pickle.dumps(SOURCE.as_subclass(Plain))),  # noqa: S301 - made here
    "copied": lambda: copy.copy(SOURCE.as_subclass(Plain)),
}


@pytest.mark.parametrize("grad_mode", GRAD_MODES)
@pytest.mark.parametrize("name", CONSTRUCTORS)
def test_subclasses_are_made_as_without_a_mode(name, grad_mode):
    """The class, the values, the attributes, and what autograd knows."""
    make = CONSTRUCTORS[name]
    with grad_mode():
        without = make()
        with OpFlopMode(strict=True) as mode, OpFlopMode():
            made = make()
    assert type(made) is type(without)
    assert torch.equal(made, without)
    assert vars(made) == vars(without)
    for attribute in ("requires_grad", "is_leaf", "grad_fn", "dtype", "device"):
        assert getattr(made, attribute) == getattr(without, attribute)
    assert made._is_view() == without._is_view()
    assert not mode.total.flops


def test_gradients_flow_through_a_subclass_made_in_the_block():
    """It shares the tensor that it was made of, as without a mode."""
    leaf = torch.ones(2, 3, requires_grad=True)
    with OpFlopMode() as mode:
        (Plain(leaf) @ torch.ones(3, 4)).sum().backward()
    assert torch.equal(leaf.grad, torch.full((2, 3), 4.0))
    assert {phase: cost.macs for phase, cost in mode.profile.by("phase").items()} == {"forward": 24, "backward": 24}


def test_errors_of_constructors_are_those_without_a_mode():
    """The same type and message."""

    class Refusing(torch.Tensor):
        def __new__(cls):
            raise RuntimeError("not today")

    for make in (lambda: Plain(-1), lambda: Plain("text"), lambda: Plain(2, 3, device="meta"), Refusing):
        with pytest.raises((RuntimeError, TypeError)) as without:
            make()
        with pytest.raises(without.type) as counted, OpFlopMode():
            make()
        assert str(counted.value) == str(without.value)


def test_nothing_of_the_constructor_stays_behind():
    """After the block, after nested ones, after an error; and PyTorch's own modules never see another one."""
    with pytest.raises(TypeError), OpFlopMode(), OpFlopMode():
        Plain(2).matmul("text")
    assert "__new__" not in vars(torch.Tensor)
    assert torch.Tensor.__new__ is ORIGINAL
    # The compiler, which a program may import inside the block, refuses a constructor that it does not know.
    module = {"__name__": "torch._dynamo.polyfills.tensor", "torch": torch}
    with OpFlopMode():
        assert eval("torch.Tensor.__new__", module) is ORIGINAL  # noqa: S307 - in that module's name
        assert torch.Tensor.__new__ is not ORIGINAL
    assert type(Plain(2)) is Plain


def test_somebody_elses_constructor_is_left_alone():
    """One that was set before the block stays, and one that is set inside it."""

    def new(cls, *args):
        return ORIGINAL(cls, *args)

    theirs = staticmethod(new)
    try:
        torch.Tensor.__new__ = theirs
        with OpFlopMode():
            assert vars(torch.Tensor)["__new__"] is theirs
        assert vars(torch.Tensor)["__new__"] is theirs
        del torch.Tensor.__new__
        with OpFlopMode():
            torch.Tensor.__new__ = theirs
        assert vars(torch.Tensor)["__new__"] is theirs
    finally:
        del torch.Tensor.__new__


def test_other_threads_make_subclasses_meanwhile():
    """They have no mode, and the constructor works as ever."""
    made = []
    thread = threading.Thread(target=lambda: made.append(Plain([1.0, 2.0])))
    with OpFlopMode() as mode:
        thread.start()
        thread.join()
    assert type(made[0]) is Plain
    assert not mode.profile.rows


class Attention(nn.Module):
    def __init__(self, bias):
        super().__init__()
        self.bias = bias

    def forward(self, query, key, value):
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=self.bias())


# Queries and keys, a bias, and how many pairs of a head it lets through.
BIASES = {
    "lower right": (3, 8, lambda: causal_lower_right(3, 8), 6 + 7 + 8),
    "upper left": (3, 8, lambda: causal_upper_left(3, 8), 1 + 2 + 3),
    "square": (4, 4, lambda: causal_lower_right(4, 4), 1 + 2 + 3 + 4),
    "more queries": (5, 2, lambda: causal_upper_left(5, 2), 1 + 2 + 2 + 2 + 2),
}


def tensors(queries, keys, *, requires_grad=False):
    """Make queries, keys and values: two heads of 8."""
    return [torch.randn(1, 2, length, 8, requires_grad=requires_grad) for length in (queries, keys, keys)]


@pytest.mark.parametrize("causal", ["dense", "exact"])
@pytest.mark.parametrize("name", BIASES)
@pytest.mark.parametrize("inside", [True, False])
def test_a_causal_bias_made_in_the_block_counts_as_one_made_before(name, causal, inside):
    """By hand: two products of 8 for each pair of two heads, in each grad mode and in a count; 768 for 3 by 8."""
    queries, keys, bias, attending = BIASES[name]
    pairs = attending if causal == "exact" else queries * keys
    if not inside:
        made = bias()
        bias = lambda: made  # noqa: E731 - as short as those above
    model = Attention(bias)
    for grad_mode in GRAD_MODES:
        with grad_mode():
            given = tensors(queries, keys)
            without = model(*given)
            with OpFlopMode(causal=causal) as mode:
                out = model(*given)
        assert torch.equal(out, without)
        assert mode.total.macs == 2 * 8 * 2 * pairs
        assert not any(row.estimate for row in mode.profile.rows)
    assert count(model, *tensors(queries, keys), causal=causal).total.macs == 2 * 8 * 2 * pairs
    if name == "lower right":
        assert mode.total.macs == {"dense": 768, "exact": 672}[causal]


@pytest.mark.parametrize("name", BIASES)
def test_the_backward_under_a_causal_bias_made_in_the_block(name):
    """The fused kernel recomputes the scores, so it takes five products for the two of the forward."""
    queries, keys, bias, _ = BIASES[name]
    given = tensors(queries, keys, requires_grad=True)
    with OpFlopMode() as mode:
        Attention(bias)(*given).sum().backward()
    forward = 2 * 8 * 2 * queries * keys
    macs = {phase: cost.macs for phase, cost in mode.profile.by("phase").items()}
    assert macs == {"forward": forward, "backward": forward * 5 // 2}
    counted = count(Attention(bias), *given, backward=True)
    assert {phase: cost.macs for phase, cost in counted.by("phase").items()} == macs


def test_a_causal_bias_made_among_fake_tensors():
    """With the mode inside or outside, in dense pairs, as the materialized bias has no values there."""
    with FakeTensorMode() as fake, OpFlopMode() as mode:
        Attention(lambda: causal_lower_right(3, 8))(*tensors(3, 8))
    assert mode.total.macs == 768
    with OpFlopMode() as mode, fake:
        made = causal_upper_left(3, 8)
    assert type(made) is CausalBias
    assert mode.total == Cost()
