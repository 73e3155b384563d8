"""Thousands of modules: each one costs the same, however many there are."""

import sys
from functools import partial

import pytest
import torch
from torch import nn

from opflops import OpFlopMode, Profile, count

X = torch.ones(2, 4)


def calls(run):
    """Count the calls of Python functions and of those of C."""
    made = 0

    def tell(_, event, __):
        nonlocal made
        made += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(tell)
    try:
        run()
    finally:
        sys.setprofile(before)
    return made


def layers(number):
    return [nn.Linear(4, 4) for _ in range(number)]


def call_all(x, modules):
    for module in modules:
        x = module(x)
    return x


def count_sequential(number):
    model = nn.Sequential(*layers(number))
    return lambda: count(model, X)


def count_list(number):
    modules = layers(number)
    return lambda: count(call_all, X, modules)


def count_backward(number):
    model = nn.Sequential(*layers(number))
    return lambda: count(model, X, backward=True)


def run_roots(number):
    modules = layers(number)

    def run():
        with OpFlopMode():
            call_all(X, modules)

    return run


def run_roots_backward(number):
    modules = layers(number)

    def run():
        with OpFlopMode():
            for module in modules:
                module(X).sum().backward()

    return run


def run_parts(number):
    model = nn.Sequential(*(nn.Sequential(each) for each in layers(number)))

    def run():
        with OpFlopMode(root=model):
            call_all(X, [each[0] for each in model])

    return run


def run_parts_before_their_roots(number):
    models = [nn.Sequential(each) for each in layers(number)]

    def run():
        with OpFlopMode():
            call_all(X, [each[0] for each in models])
            call_all(X, models)

    return run


PROGRAMS = [
    *(count_sequential, count_list, count_backward, run_roots, run_roots_backward, run_parts),
    run_parts_before_their_roots,
]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_twice_the_modules_take_twice_the_calls(program):
    """Siblings in a container, in a list, each a root of its own, and parts of a model."""
    program(8)()
    one, two = (calls(program(number)) for number in (60, 120))
    assert two < 2.1 * one


@pytest.mark.counts_calls
def test_a_copied_parameter_costs_few_calls():
    """PyTorch takes some 500 calls for a fake copy of each. To find those that share storage takes 20 of ours."""
    count(nn.Linear(4, 4), X)

    class Holder(nn.Module):
        def __init__(self, number):
            super().__init__()
            self.parts = nn.ParameterList([nn.Parameter(torch.ones(4)) for _ in range(number)])

        def forward(self, x):
            return x + self.parts[0]

    few, many = (calls(partial(count, Holder(number), X)) for number in (10, 210))
    assert (many - few) / 200 < 180


def test_the_profile_is_that_of_each_module():
    """By hand, 4 x 4 macs for each of the rows of the input, in modules numbered from the second root on."""
    profile = count(call_all, X, layers(30))
    assert list(profile.by("module")) == ["Linear", *(f"Linear#{number}" for number in range(2, 31))]
    assert {cost.macs for cost in profile.by("module").values()} == {2 * 4 * 4}


def test_copies_of_parameters_are_parameters():
    """Of every dtype and layout, with and without gradients, shared ones too; the originals stay as they are."""

    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.plain = nn.Parameter(torch.ones(4, 4))
            self.frozen = nn.Parameter(torch.ones(4, dtype=torch.bfloat16), requires_grad=False)
            self.turned = nn.Parameter(torch.ones(4, 6).t())
            self.shared = self.plain
            self.register_buffer("buffer", torch.ones(4))

        def forward(self, x):
            assert all(isinstance(each, nn.Parameter) and each.is_leaf for each in self.parameters())
            assert not isinstance(self.buffer, nn.Parameter)
            assert self.shared is self.plain
            seen.update({name: (each.dtype, each.stride(), each.requires_grad, each.device.type)
                         for name, each in self.named_parameters()})  # fmt: skip
            return x @ self.plain + x @ self.turned.t()[:4, :4] + self.frozen + self.buffer

    model, seen = Odd(), {}
    profile = count(model, X, backward=True)
    assert seen == {
        "plain": (torch.float32, (4, 1), True, "cpu"),
        "frozen": (torch.bfloat16, (1,), False, "cpu"),
        "turned": (torch.float32, (1, 6), True, "cpu"),
    }
    with OpFlopMode() as m:
        model(X).sum().backward()
    assert profile.where(phase="forward").by("module")["Odd"] == m.profile.where(phase="forward").by("module")["Odd"]
    model.zero_grad()
    count(model, X, backward=True)
    assert all(each.grad is None for each in model.parameters())


def test_a_parameter_that_is_no_part_of_the_call_is_still_refused():
    """Its gradient would change."""
    other = nn.Parameter(torch.ones(4))
    holder = [[[other]]]
    with pytest.raises(Exception, match="belongs neither to the model nor to the inputs"):
        count(lambda x: x * holder[0][0][0], X, backward=True)


def test_a_parameter_that_is_registered_later_finds_its_module():
    """Also after those of its module were looked up."""
    model, late = nn.Linear(4, 4), nn.Parameter(torch.ones(4))
    with OpFlopMode() as m:
        model(X).sum().backward()
        model.late = late
        (X * late).sum().backward()
    rows = m.profile.where(phase="backward").rows
    assert {row.module for row in rows if row.op == "aten.add_" or "Accumulate" in row.op} <= {"Linear", ""}
    assert Profile.from_json(m.profile.to_json()) == m.profile
