"""A backward starts from all outputs that require gradients, whatever they are in."""

from collections import OrderedDict, UserDict
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn

from opflops import OpflopsError, count


@dataclass
class Output:
    """What a model may return; PyTorch does not know it."""

    logits: Any
    loss: Any = None


@dataclass(slots=True)
class Slotted:
    """The same without a dict of attributes."""

    logits: Any


class Mapped(dict):
    """A dict, which PyTorch takes for a leaf as it is not exactly one."""


class Named(NamedTuple):
    """A named tuple."""

    logits: Any
    aux: Any


def _cycle(y):
    found = SimpleNamespace(y=y)
    found.itself = found
    return found


CONTAINERS = {
    "a tuple with None": lambda y: (y, None, 3, "text"),
    "an ordered dict": lambda y: OrderedDict(out=y, aux=None),
    "a named tuple": lambda y: Named(y, None),
    "a dataclass": lambda y: Output(y),
    "a dataclass with slots": Slotted,
    "a subclass of dict": lambda y: Mapped(y=y),
    "a mapping": lambda y: UserDict(y=y),
    "a namespace": lambda y: SimpleNamespace(y=y),
    "an object that refers to itself": _cycle,
    "a distribution": lambda y: torch.distributions.Normal(y, 1.0, validate_args=False),
    "all of these": lambda y: {"a": [Output(None, Mapped(b=(SimpleNamespace(y=y),)))]},
}


class Net(nn.Linear):
    """Returns its result in something."""

    def __init__(self, wrap):
        super().__init__(4, 3)
        self.wrap = wrap

    def forward(self, x):
        return self.wrap(super().forward(x))


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_backward_starts_from_what_an_output_holds(name):
    """By hand: the gradient of the weight takes 2 x 4 x 3 macs, as the forward does."""
    profile = count(Net(CONTAINERS[name]), torch.ones(2, 4), backward=True)
    assert profile.by("phase")["backward"].macs == 24


def test_modules_and_classes_hold_no_outputs():
    """The parameters of a module that is returned are no outputs, nor is a class."""
    beside = count(Net(lambda y: Output(y, nn.Linear(5, 5))), torch.ones(2, 4), backward=True)
    assert beside.by("phase")["backward"].macs == 24
    with pytest.raises(OpflopsError, match="The model returned 0 tensors"):
        count(Net(lambda y: Output(nn.Linear(5, 5), Output)), torch.ones(2, 4), backward=True)
