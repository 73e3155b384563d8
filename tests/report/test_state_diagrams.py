"""State diagrams where the order of execution is known: repeated calls, data that leads past states, and folding."""

import re
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from test_execution import Leaf, Program, UNet, instructions
from test_mermaid import names, states
from torch import nn

from opflops import Cost, Profile, Row, count
from opflops.report.files.layers import layers


class Calls(nn.Module):
    """Call linear layers by their names, one after the other."""

    def __init__(self, order, **modules):
        super().__init__()
        self.order = order
        for name in dict.fromkeys(order):
            self.add_module(name, modules.get(name) or nn.Linear(4, 4))

    def forward(self, x):
        for name in self.order:
            x = getattr(self, name)(x)
        return x


def diagram(model, shape=(2, 4), **options):
    return count(model, torch.ones(shape)).to_mermaid(**options)


def data(text):
    """List the arrows of data, by the names of states."""
    found = {state: label.partition(" (")[0] for label, state in re.findall(r'state "(.*)" as (s\d+)', text)}
    return [
        (found.get(source, source), found.get(target, target))
        for source, target in re.findall(r"(\S+) --> (\S+) : data", text)
    ]


def test_a_module_that_runs_again_is_there_again():
    """A, B, A, C: its cost is at its first place."""
    # A product of 2 x 4 x 4 and biases.
    flops = 2 * 32 + 8
    assert states(diagram(Calls("abac"))) == [
        f"a (Linear)<br/>{2 * flops} flops<br/>in 2 calls",
        f"b (Linear)<br/>{flops} flops",
        "a (Linear) again",
        f"c (Linear)<br/>{flops} flops",
    ]


def test_calls_in_turn_are_a_series():
    """Five times A and B; and A alone several times is one state."""
    assert states(diagram(Calls("ababababab"))) == [
        "a (Linear)<br/>360 flops<br/>in 5 calls",
        "b (Linear)<br/>360 flops<br/>in 5 calls",
        "5 times in turn",
    ]
    assert states(diagram(Calls("aaabaac"))) == [
        "a (Linear)<br/>360 flops<br/>in 5 calls<br/>3 times in a row",
        "b (Linear)<br/>72 flops",
        "a (Linear) again<br/>2 times in a row",
        "c (Linear)<br/>72 flops",
    ]


def test_blocks_and_what_is_between_them_are_a_series():
    """A model that adds each block's result itself: the cost of the four sums is that of all."""

    class Sums(nn.Module):
        def __init__(self):
            super().__init__()
            self.items = nn.ModuleList(nn.Linear(4, 4) for _ in range(4))

        def forward(self, x):
            for each in self.items:
                x = x + each(x)
            return x

    text = diagram(Sums())
    assert states(text) == [
        "items.0-3 (Linear)<br/>72 flops",
        "Sums itself<br/>32 flops<br/>in all",
        "4 times in turn: each 72 flops",
    ]
    assert data(text) == [("[*]", "Sums itself<br/>32 flops<br/>in all")]
    assert 'title: "Sums: 320 flops"' in text


def test_a_block_that_runs_again_is_one_state():
    """What is inside it is shown at its first place."""
    text = diagram(Calls("abaa", a=Calls("xy")))
    assert names(text) == ["x (Linear)", "y (Linear)", "a (Calls)", "b (Linear)", "a (Calls) again"]
    assert states(text)[-1] == "a (Calls) again<br/>2 times in a row"


def test_skip_connections_of_a_unet_lead_from_encoders_to_decoders():
    """And no other arrow leads past a state."""
    text = diagram(UNet(), (1, 3, 8, 8))
    assert names(text)[:4] == ["enc.0 (Conv2d)", "pool (MaxPool2d)", "enc.1 (Conv2d)", "pool (MaxPool2d) again"]
    assert data(text) == [("enc.0", "dec.1"), ("enc.1", "dec.0")]
    assert "Dashed ones lead to later states that use the result, too." in text
    transitions = re.findall(r"--> \S+( : data)?$", text, re.MULTILINE)
    dashed = {f"edge{number}" for number, label in enumerate(transitions) if label}
    assert {*re.findall(r"edge\d+", text)} == dashed


class Attention(nn.Module):
    """Attention with an MLP after it; ``parallel`` gives both the same input."""

    def __init__(self, *, parallel=False):
        super().__init__()
        self.q, self.k, self.v, self.mlp = (nn.Linear(4, 4) for _ in range(4))
        self.parallel = parallel

    def forward(self, x):
        attended = torch.softmax(self.q(x) @ self.k(x).mT, -1) @ self.v(x)
        return x + attended + self.mlp(x if self.parallel else attended)


def test_inputs_of_a_block_lead_from_its_beginning():
    """Of an attention: to the keys and values, which run after the queries, and to the sum."""
    text = diagram(Attention(), (1, 3, 4))
    assert names(text) == [
        *("q (Linear)", "k (Linear)", "Attention itself", "v (Linear)", "Attention itself", "mlp (Linear)"),
        "Attention itself again",
    ]
    # Both products of 3 x 3 x 4 are one operator, whose cost is with the softmax of 3 rows: 2 + 3 + 2 + 3 operations.
    scores = f"Attention itself<br/>{2 * 2 * 3 * 3 * 4 + 3 * 10} flops"
    # Both sums are of 3 x 4.
    mixed = f"Attention itself<br/>{2 * 3 * 4} flops<br/>more at its first place"
    assert [label for label in states(text) if "itself" in label] == [scores, mixed, "Attention itself again"]
    inputs = [("[*]", each) for each in ("k", "v", mixed)]
    assert {*data(text)} == {*inputs, ("q", scores), (scores, mixed), (mixed, "Attention itself again")}


def test_blocks_that_data_takes_another_way_through_stay_apart():
    """Equal work, of which one block gives the MLP its input."""
    model = nn.Sequential(Attention(), Attention(), Attention(parallel=True))
    text = diagram(model, (1, 3, 4))
    assert [label.partition(":")[0] for label in states(text) if "Attention)" in label] == [
        "0-1 (2 x Attention)",
        "2 (Attention)",
    ]


def test_too_many_arrows_of_data_are_left_out():
    """Each of many layers uses the results of all before: a note says how many there are."""

    class Dense(nn.Module):
        def __init__(self):
            super().__init__()
            self.items = nn.ModuleDict({name: nn.Linear(4 * (n + 1), 4) for n, name in enumerate("abcdefghijkl")})

        def forward(self, x):
            found = [x]
            for layer in self.items.values():
                found.append(layer(torch.cat(found, 1)))
            return found[-1]

    text = diagram(Dense(), depth=9)
    # Of 12 layers and their input, each uses all before; 12 of these arrows are the order itself.
    number = 13 * 12 // 2 - 12
    assert f"Arrows are the order of execution. {number} more for data would hide them." in text
    assert data(text) == []


def test_the_largest_modules_are_unfolded_where_there_is_room():
    """A branch that is too wide stays folded, and does not keep the others folded; states say how many are inside."""
    wide = [
        Row(f"Net.a.{'abcdef'[n % 6]}{'klmnopqrst'[n // 6]}", "L", "aten.mm", "forward", "float32", 1, Cost(macs=n + 1))
        for n in range(60)
    ]
    others = [
        Row(f"Net.{name}.{x}", "L", "aten.mm", "forward", "float32", 1, Cost(macs=n + 1))
        for name in "bcde"
        for n, x in enumerate("xyz")
    ]
    shown = states(Profile([*wide, *others]).to_mermaid())
    # 2 x (1 + … + 60) and 2 x (1 + 2 + 3).
    assert "a<br/>3.660 k flops<br/>60 layers inside" in shown
    assert [label for label in shown if ":" in label] == [f"{name}: 12 flops" for name in "bcde"]
    assert shown.count("x (L)<br/>2 flops") == 4


def test_of_a_wide_list_the_first_modules_are_shown():
    """And how many more there are."""
    rows = [
        Row(
            f"Net.list.{'abcdefghij'[n // 10]}{'klmnopqrst'[n % 10]}",
            "L",
            "aten.mm",
            "forward",
            "float32",
            1,
            Cost(macs=n + 1),
        )
        for n in range(100)
    ]
    text = Profile(rows).to_mermaid()
    *shown, rest = [label for label in states(text) if not label.startswith("list")]
    assert 10 < len(shown) < 40
    assert rest.partition("<br/>")[0] == f"{100 - len(shown)} more"


@settings(max_examples=100, deadline=None)
@given(instructions(["d", "e", "cat"]), instructions(["a", "b", "d", "inner", "cat"]))
def test_states_come_in_the_order_of_forward_pre_hooks(inner, outer):
    """For random programs of shared modules; a second call of a block is one state."""
    leaves = {name: Leaf() for name in "abde"}
    block = Program([("d", [0]), *inner], {name: leaves[name] for name in "de"})
    model = Program([("inner", [0]), *outer], {"inner": block, **{name: leaves[name] for name in "abd"}})
    hooked, running = [], []

    def before(module, _):
        if not running:
            hooked.append(module)
        if module is block and block in hooked[:-1]:
            running.append(module)

    def after(module, *_):
        if module is block and running:
            running.pop()

    watched = [*leaves.values(), block]
    hooks = [each.register_forward_pre_hook(before) for each in watched]
    hooks += [each.register_forward_hook(after) for each in watched]
    model(torch.ones(2, 3))
    for each in hooks:
        each.remove()
    profile = count(model, torch.ones(2, 3))
    paths = {module: f"Program.{name}" for name, module in reversed([*model.named_modules()])}
    expected = [paths[each] for n, each in enumerate(hooked) if each is not block or block in hooked[:n]]
    top = layers(profile.rows, execution=profile.execution)
    assert [layer.path for _, _, layer in top.leaves()] == expected
    assert top.total.flops == profile.total.flops


def test_order_is_not_known_without_a_recording():
    """A profile from rows alone says so, and has no arrows of data."""
    rows = [Row(f"Net.{name}", "Linear", "aten.mm", "forward", "float32", 1, Cost(macs=4)) for name in "xyz"]
    text = Profile(rows).to_mermaid()
    assert "Arrows lead to the layer that first ran next, and are not the flow of data." in text
    assert "data" not in {label for _, label in re.findall(r"(\S+) : (\w+)$", text, re.MULTILINE)}
    assert all(before != after for before, after in pairwise(names(text)))


@pytest.mark.parametrize("diagram_kind", ["state", "er"])
def test_folded_layers_are_counted(diagram_kind):
    """Eight blocks of three layers, folded."""
    rows = [
        Row(f"Net.b{n}.{name}", "Linear", "aten.mm", "forward", "float32", 1, Cost(macs=n + 1))
        for n in range(8)
        for name in "xyz"
    ]
    text = Profile(rows).to_mermaid(diagram_kind, depth=1)
    if diagram_kind == "state":
        assert text.count("3 layers inside") == 8
    else:
        assert text.count('int folded "3"') == 8
