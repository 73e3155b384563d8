"""The order in which modules run and the flow of data between them, as a profile knows them."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from torch import nn
from torch.export import Dim

import opflops.dispatch.execution_recorder
from opflops import OpFlopMode, Profile, count
from opflops.records.execution import Step


def flow(profile):
    """Return the order of modules, by the end of their paths, and the flow between their numbers."""
    order = [step.module.rpartition(".")[2] for step in profile.execution.steps]
    return order, set(profile.execution.flow)


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.enc = nn.ModuleList([nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 8, 3, padding=1)])
        self.pool = nn.MaxPool2d(2)
        self.mid = nn.Conv2d(8, 8, 3, padding=1)
        self.up = nn.ModuleList([nn.ConvTranspose2d(8, 8, 2, 2), nn.ConvTranspose2d(8, 4, 2, 2)])
        self.dec = nn.ModuleList([nn.Conv2d(16, 8, 3, padding=1), nn.Conv2d(8, 4, 3, padding=1)])

    def forward(self, x):
        kept = []
        for enc in self.enc:
            kept.append(enc(x))
            x = self.pool(kept[-1])
        x = self.mid(x)
        for up, dec in zip(self.up, self.dec, strict=True):
            x = dec(torch.cat([up(x), kept.pop()], 1))
        return x


def test_encoders_of_a_unet_lead_to_decoders():
    """By hand: each decoder uses what its up-convolution and the encoder of its level made, through a concatenation."""
    profile = count(UNet(), torch.ones(1, 3, 8, 8))
    paths = [step.module.removeprefix("UNet.") for step in profile.execution.steps]
    assert paths == ["enc.0", "pool", "enc.1", "pool", "mid", "up.0", "dec.0", "up.1", "dec.1"]
    chain = {(step, step + 1) for step in range(-1, 8)}
    assert set(profile.execution.flow) == chain | {(2, 6), (0, 8)}
    assert [step.calls for step in profile.execution.steps if step.module.endswith("pool")] == [(1, 1), (1, 2)]
    assert Profile.from_json(profile.to_json()).execution == profile.execution


class Residual(nn.Module):
    def __init__(self, *, inplace):
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(4, 4, 3, padding=1) for _ in range(2))
        self.norm = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=inplace)
        self.inplace = inplace

    def forward(self, x):
        y = self.conv2(self.relu(self.norm(self.conv1(x))))
        if self.inplace:
            y += x
        else:
            y = y + x
        return self.relu(y)


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_an_identity_path_leads_from_the_input_to_the_sum(inplace, training):
    """In place or not, in both modes of batch norm: the sum uses the input, and the ReLU uses the sum."""
    model = Residual(inplace=inplace).train(training)
    profile = count(model, torch.ones(2, 4, 6, 6), backward=True)
    order = ["conv1", "norm", "relu", "conv2", "Residual", "relu"]
    expected = (order, {(step, step + 1) for step in range(-1, 5)} | {(-1, 4)})
    assert flow(profile) == expected
    mode = OpFlopMode()
    mode.record_execution()
    with mode:
        model(torch.ones(2, 4, 6, 6)).sum().backward()
    order, edges = flow(mode.profile)
    # The sum of the loss is outside.
    assert (order[:-1], {edge for edge in edges if edge[1] < 6}) == expected
    assert order[-1] == ""


def ab(forward):
    """Make a model of three linear layers, and return the flow between them and the model itself."""

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = (nn.Linear(4, 4) for _ in range(3))
            self.register_buffer("kept", torch.zeros(2, 4))

    Model.forward = forward
    return flow(count(Model(), torch.ones(2, 4)))


def test_each_part_of_a_tensor_keeps_what_wrote_it():
    """Two halves are written by two layers, and the third layer uses both."""

    def forward(self, x):
        both = torch.empty(4, 4)
        both[:2] = self.a(x)
        both[2:].copy_(self.b(x))
        return self.c(both)

    assert ab(forward) == (["a", "b", "c"], {(-1, 0), (-1, 1), (0, 2), (1, 2)})


def test_what_is_overwritten_leads_nowhere():
    """By a copy, by a number, and by ``out=``."""

    def forward(self, x):
        y = self.a(x)
        y.copy_(self.b(x))
        return self.c(y)

    assert ab(forward) == (["a", "b", "c"], {(-1, 0), (-1, 1), (1, 2)})

    def forward(self, x):
        y = self.a(x).detach()
        y.fill_(2)
        return self.c(y) + self.b(x)

    assert ab(forward) == (["a", "c", "b", "Model"], {(-1, 0), (-1, 2), (1, 3), (2, 3)})

    def forward(self, x):
        with torch.no_grad():
            y = self.a(x)
            torch.mul(x, 3, out=y)
            return self.c(y)

    assert ab(forward) == (["a", "Model", "c"], {(-1, 0), (-1, 1), (1, 2)})


def test_data_flows_through_views_and_moves():
    """A transposed chunk of a reshaped copy is what its layer made; so is what a buffer holds once it is written."""

    def forward(self, x):
        y = self.a(x).reshape(4, 2).t().chunk(2, 1)[0].contiguous()
        self.kept.copy_(torch.cat([y, y], 1))
        return self.c(self.kept)

    assert ab(forward) == (["a", "c"], {(-1, 0), (0, 1)})


def test_what_is_no_input_comes_from_nowhere():
    """Parameters, buffers, integers, and what a module makes itself."""

    def forward(self, x):
        mask = torch.ones(2, 4) * (x > 0)
        return self.a(torch.zeros(2, 4)) + self.b(self.kept) + self.c(mask)

    order, edges = ab(forward)
    assert order == ["Model", "a", "b", "Model", "c", "Model"]
    assert edges == {(0, 4), (1, 3), (2, 3), (3, 5), (4, 5)} | {edge for edge in edges if edge == (-1, 0)}


def test_models_made_in_the_block_are_no_inputs():
    """Their parameters and buffers are not what they compute on; that is, whatever made it."""
    mode = OpFlopMode()
    mode.record_execution()
    with mode:
        nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 4))(torch.ones(2, 4))
    steps = [step for step in mode.profile.execution.steps if step.module]
    first = mode.profile.execution.steps.index(steps[0])
    assert [step.module for step in steps] == ["Sequential.0", "Sequential.1"]
    assert {edge for edge in mode.profile.execution.flow if edge[1] >= first} == {(-1, first), (first, first + 1)}


def test_only_counts_know_it():
    """And no profile that is made of parts of others; repeated and evaluated ones do, and sums of repetitions."""
    model, x = nn.Sequential(nn.Linear(4, 4), nn.ReLU()), torch.ones(2, 4)
    with OpFlopMode() as mode:
        model(x)
    assert mode.profile.execution is None
    profile = count(model, x, dynamic_shapes=({0: torch.export.Dim("batch")},))
    steps = (Step("Sequential.0", (1, 1), ("aten.addmm",)), Step("Sequential.1", (1, 1), ("aten.relu",)))
    assert profile.execution == ((steps), ((-1, 0), (0, 1)))
    assert (profile.at(batch=3) * 2).execution == profile.execution
    assert (profile + profile).execution == profile.execution
    assert (profile - profile).execution is None
    assert profile.where(op="aten.relu").execution is None
    assert profile == replace(profile, execution=None)


def test_too_long_a_program_is_not_recorded(monkeypatch):
    """Its costs are."""
    monkeypatch.setattr(opflops.dispatch.execution_recorder, "_MAX_OPERATORS", 3)
    model = nn.Sequential(*(nn.ReLU() for _ in range(4)))
    assert count(model[:3], torch.ones(2)).execution is not None
    profile = count(model, torch.ones(2))
    assert (profile.execution, profile.total.ops) == (None, 8)


class Leaf(nn.Module):
    """Add up what it is given."""

    def forward(self, *several):
        total = several[0] * 2
        for each in several[1:]:
            total = total + each
        return total


class Program(nn.Module):
    """Run instructions: call a module on earlier results, or put some together."""

    def __init__(self, instructions, modules):
        super().__init__()
        self.instructions = instructions
        self.inner = nn.ModuleDict(modules)

    def forward(self, x):
        values = [x]
        for name, sources in self.instructions:
            given = [values[source % len(values)] for source in sources]
            if name == "cat":
                values.append(torch.cat(given)[: x.shape[0]].view(-1).view(x.shape))
            elif isinstance(self.inner[name], Leaf):
                values.append(self.inner[name](*given))
            else:
                values.append(self.inner[name](given[0]))
        return values[-1]


def instructions(names):
    return some.lists(
        some.tuples(some.sampled_from(names), some.lists(some.integers(0, 20), min_size=1, max_size=3)),
        min_size=1,
        max_size=8,
    )


def interpret(programs, name, source, order, edges):
    """Run a program on the numbers of the steps that its values come from; note the order of leaves and the flow."""
    values = [source]
    for called, sources in programs[name]:
        given = [values[each % len(values)] for each in sources]
        if called == "cat":
            values.append(set().union(*given))
        elif called in programs:
            values.append(interpret(programs, called, given[0], order, edges))
        else:
            edges.update((each, len(order)) for several in given for each in several)
            values.append({len(order)})
            order.append(called)
    return values[-1]


@settings(max_examples=150, deadline=None)
@given(instructions(["a", "b", "d", "cat"]), instructions(["a", "b", "c", "inner", "cat"]))
def test_order_and_flow_are_those_of_the_program(inner, outer):
    """For random programs of shared modules: the order of forward pre-hooks, and what each leaf was given."""
    # A leaf of its own makes the inner program more than a leaf.
    programs = {"inner": [("d", [0]), *inner], "": [("inner", [0]), *outer]}
    leaves = {name: Leaf() for name in "abcd"}
    model = Program(programs[""], {name: leaves[name] for name in "abc"})
    model.inner["inner"] = Program(programs["inner"], {name: leaves[name] for name in "abd"})
    order, edges, hooked = [], set(), []
    interpret(programs, "", {-1}, order, edges)
    hooks = [leaf.register_forward_pre_hook(lambda *_, name=name: hooked.append(name)) for name, leaf in leaves.items()]
    model(torch.ones(2, 3))
    for each in hooks:
        each.remove()
    profile = count(model, torch.ones(2, 3))
    assert [step.module.rpartition(".")[2] for step in profile.execution.steps] == order == hooked
    assert set(profile.execution.flow) == edges


def test_the_order_of_execution_asks_nothing_of_symbols():
    """Whether a row of a formula has work is told without a condition on sizes."""
    profile = count(lambda x: x[1:].sum(0), torch.zeros(4, 6), dynamic_shapes=({0: Dim("b")},))
    assert profile.execution == ((Step("", (1,), ("aten.sum",)),), ((-1, 0),))
    assert not any("6*" in str(each.expression) for each in profile.conditions)


def test_the_flow_of_a_formula_is_that_of_a_count():
    """Layers of equal shapes, one after the other; the last also takes what the third made."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(6))

        def forward(self, x):
            results = [x]
            for layer in self.layers[:-1]:
                results.append(layer(results[-1]))
            return self.layers[-1](results[3] * results[5])

    model, x = Net(), torch.ones(3, 4)
    flow = ((-1, 0), (0, 1), (1, 2), (2, 3), (3, 4), (2, 5), (4, 5), (5, 6))
    for shapes in (None, ({0: Dim("batch")},)):
        execution = count(model, x, dynamic_shapes=shapes).execution
        assert execution.flow == flow
        assert [step.module for step in execution.steps[-2:]] == ["Net", "Net.layers.5"]
