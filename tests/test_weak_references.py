"""count() follows weak references and read-only views to a model's own modules, as a run does.

By hand: Linear(4, 3) on five rows has 60 products, and they belong to the layer, however its owner finds it.
"""

import gc
import logging
import weakref
from collections import OrderedDict, UserDict
from types import MappingProxyType, SimpleNamespace

import pytest
import torch
from test_model_copies import FORWARD, Net, X, rows

from opflops import OpFlopMode, count


class Holder:
    """Hold a reference, in an object that nothing says how to copy."""

    def __init__(self, reference):
        self.reference = reference


class SlottedHolder:
    """The same, without a dict of attributes."""

    __slots__ = ("reference",)

    def __init__(self, reference):
        self.reference = reference


class Listed(weakref.WeakValueDictionary):
    """Be a class derived from one of the containers."""


class Calling(Net):
    """Run what a function finds in ``self.extra``."""

    def __init__(self, add, find):
        super().__init__()
        self.add, self.find = lambda: add, find
        # Not as a module of its own, which a proxy says that it is.
        self.__dict__["extra"] = add(self.lin)

    def forward(self, x):
        return self.find(self.extra)(x * self.scale)


class Key:
    """Be something that weak keys can be."""


def reading(reference):
    """Make a function that reads a reference in its closure."""
    return lambda: reference()


KEY = Key()
WAYS = {
    "ref": (weakref.ref, lambda extra: extra()),
    "ref with a callback": (lambda lin: weakref.ref(lin, lambda _: None), lambda extra: extra()),
    "proxy": (weakref.proxy, lambda extra: extra),
    "method": (lambda lin: weakref.WeakMethod(lin.forward), lambda extra: extra().__self__),
    "values": (lambda lin: weakref.WeakValueDictionary(a=lin), lambda extra: extra["a"]),
    "values of a class": (lambda lin: Listed(a=lin), lambda extra: extra["a"]),
    "keys": (lambda lin: weakref.WeakKeyDictionary({lin: 1}), lambda extra: next(iter(extra))),
    "values of keys": (lambda lin: weakref.WeakKeyDictionary({KEY: lin}), lambda extra: extra[KEY]),
    "set": (lambda lin: weakref.WeakSet([lin]), lambda extra: next(iter(extra))),
    "view": (lambda lin: MappingProxyType({"a": lin}), lambda extra: extra["a"]),
    "view of an ordered dict": (lambda lin: MappingProxyType(OrderedDict(a=[lin])), lambda extra: extra["a"][0]),
    "ref in a list": (lambda lin: [(weakref.ref(lin),)], lambda extra: extra[0][0]()),
    "proxy in a dict": (lambda lin: {"a": weakref.proxy(lin)}, lambda extra: extra["a"]),
    "ref in a view": (lambda lin: MappingProxyType({"a": weakref.ref(lin)}), lambda extra: extra["a"]()),
    "view in a view": (lambda lin: MappingProxyType({"a": MappingProxyType({1: lin})}), lambda extra: extra["a"][1]),
    "closure": (lambda lin: reading(weakref.ref(lin)), lambda extra: extra()),
    "ref in an object": (lambda lin: Holder(weakref.ref(lin)), lambda extra: extra.reference()),
    "ref in a namespace object": (lambda lin: SimpleNamespace(a=[weakref.ref(lin)]), lambda extra: extra.a[0]()),
    "ref in an object with slots": (lambda lin: SlottedHolder([weakref.ref(lin)]), lambda extra: extra.reference[0]()),
    "closure in an object": (lambda lin: Holder(lambda: lin), lambda extra: extra.reference()),
    "view in an object": (lambda lin: Holder(MappingProxyType({"a": lin})), lambda extra: extra.reference["a"]),
    "ref in an object in a view": (
        lambda lin: MappingProxyType({"a": Holder(weakref.ref(lin)), "b": lin}),
        lambda extra: extra["a"].reference(),
    ),
}


# In the closure of a program itself, containers are looked into one level deep, and objects and functions not.
DEEPER = ("closure", "ref in a list")


def runs_as_counted(model, *args):
    """Compare a count with a run, forward and backward; return the count of the forward."""
    for backward in (True, False):
        counted = count(model, *args, backward=backward)
        with OpFlopMode() as mode:
            out = model(*args)
            if backward:
                out.backward(torch.ones_like(out))
        assert rows(counted) == rows(mode.profile)
    return counted


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("name", WAYS)
def test_a_module_that_is_found_through_a_reference_has_its_name(name, device):
    """Its work is its own, and gradients go to the copy."""
    add, find = WAYS[name]
    with torch.device(device):
        model = Calling(add, find)
    found = runs_as_counted(model, X.to(device))
    assert found.by("module")["Calling.lin"].macs == FORWARD
    assert find(model.extra).weight is model.lin.weight


@pytest.mark.parametrize("name", [name for name in WAYS if "object" not in name and name not in DEEPER])
def test_a_function_that_finds_its_model_through_a_reference_is_counted(name):
    """In its closure; the model is the root."""
    add, find = WAYS[name]
    model = Net()
    extra = add(model)

    def program(x):
        return find(extra)(x)

    assert runs_as_counted(program, X).by("module")["Net.lin"].macs == FORWARD


def test_a_tensor_behind_a_weak_reference_is_copied_once():
    """A weight that another layer refers to is the same in the copy, with one gradient."""

    class Tied(Net):
        def forward(self, x):
            assert self.extra() is self.lin.weight
            return super().forward(x) @ self.extra()

    runs_as_counted(Tied(lambda net: setattr(net, "extra", weakref.ref(net.lin.weight))), X)


def test_a_module_that_is_only_referred_to_weakly_is_alive_while_it_is_counted():
    """As in a run, in which something else holds it."""
    other = torch.nn.Linear(4, 3)

    class Borrowing(Net):
        def forward(self, x):
            gc.collect()
            return self.extra()(x)

    assert runs_as_counted(Borrowing(lambda net: setattr(net, "extra", weakref.ref(other))), X).macs == FORWARD


@pytest.mark.parametrize("make", [weakref.ref, weakref.proxy], ids=["ref", "proxy"])
def test_a_reference_to_what_is_gone_stays_so(make):
    """It is read nowhere, or handled."""
    extra = make(Key())
    gc.collect()
    assert runs_as_counted(Net(lambda net: net.__dict__.update(extra=extra)), X).macs == FORWARD


def test_what_is_no_state_is_not_copied():
    """A program may refer weakly to all of itself."""
    logger, space = logging.getLogger("opflops.test"), SimpleNamespace()

    class Same(Net):
        def forward(self, x):
            assert self.extra[0]() is logger
            assert self.extra[1] is view
            return super().forward(x)

    view = vars(UserDict)
    space.refs = [weakref.ref(logger), view]
    runs_as_counted(Same(lambda net: setattr(net, "extra", space.refs)), X)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_proxy_that_is_an_attribute_is_its_module(device):
    """A proxy says that it is a module, so that PyTorch registers it; the layer has one name and its own parameters."""

    class Twice(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.proxied = torch.nn.Linear(4, 3)
            self.again = weakref.proxy(self.proxied)

        def forward(self, x):
            return self.again(x)

    with torch.device(device):
        model = Twice()
    counted = runs_as_counted(model, X.to(device))
    assert counted.by("module")["Twice.proxied"].macs == FORWARD
    assert [(each.module, each.parameters) for each in counted.modules] == [("Twice", 0), ("Twice.proxied", 15)]


def test_a_module_behind_a_reference_in_a_namespace_does_not_change():
    """The count runs its copy: batch norm counts its calls."""
    norm = torch.nn.BatchNorm1d(4)
    model = Net(lambda net: setattr(net, "found", SimpleNamespace(norm=weakref.ref(norm))))
    model.norm = norm
    model.forward = lambda x: model.found.norm()(x)
    count(model, X)
    assert norm.num_batches_tracked == 0
