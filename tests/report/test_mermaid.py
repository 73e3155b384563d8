"""Mermaid diagrams, as text; tests/browser has Mermaid itself read and draw them."""

import re
import time
from dataclasses import replace

import pytest
import sympy
import torch
from hypothesis import given
from test_rows import profiles
from torch import nn

from opflops import Cost, Profile, ProfileError, Row, count
from opflops.example import INPUT_SHAPE, SimpleCNN
from opflops.profile.profile import Case
from opflops.records.dimensions import Condition
from opflops.report.files.layer_folding import merge_repeats
from opflops.report.files.layers import layers


@pytest.fixture(scope="module")
def simple():
    return count(SimpleCNN(), torch.ones(INPUT_SHAPE), backward=True)


def states(text):
    """List the labels of states, by the order in which their transitions come."""
    labels = {name: label for label, name in re.findall(r'state "(.*)" as (s\d+)', text.replace("\\", ""))}
    return [labels[name] for name in re.findall(r"--> (s\d+)$", text, re.MULTILINE)]


FIRST_USE = "Arrows lead to the layer that first ran next, and are not the flow of data."


def row(module, macs=4, *, module_type="Linear", op="aten.mm", phase="forward", **fields):
    return Row(module, module_type, op, phase, "float32", 1, Cost(macs=macs), **fields)


def test_states_are_the_layers_in_order_of_execution():
    """The example's layers, its ReLUs and its own pooling among them; flops worked out by hand."""
    profile = count(SimpleCNN(), torch.ones(INPUT_SHAPE))
    assert states(profile.to_mermaid()) == [
        # 16 x 30 x 30 outputs of 27 products and a bias.
        f"conv1 (Conv2d)<br/>{16 * 30 * 30 * (2 * 27 + 1) / 1000:.1f} k flops",
        # One operation for each of the activations.
        f"ReLU()<br/>{(16 * 900 + 32 * 169 + 120 + 84) / 1000:.2f} k flops<br/>in 4 calls",
        # Three comparisons for each window of four.
        f"SimpleCNN itself<br/>{3 * (16 * 15 * 15 + 32 * 6 * 6) / 1000:.2f} k flops",
        f"conv2 (Conv2d)<br/>{32 * 13 * 13 * (2 * 144 + 1) / 1e6:.3f} M flops",
        "ReLU() again",
        "SimpleCNN itself again",
        f"fc1 (Linear)<br/>{120 * (2 * 1152 + 1) / 1000:.1f} k flops",
        "ReLU() again",
        f"fc2 (Linear)<br/>{84 * (2 * 120 + 1) / 1000:.2f} k flops",
        "ReLU() again",
        f"fc3 (Linear)<br/>{10 * (2 * 84 + 1) / 1000:.3f} k flops",
    ]


def test_each_phase_has_a_line(simple):
    """Layers stand where their forward ran, with the cost of every phase."""
    first = states(simple.to_mermaid())[0]
    assert first == "conv1 (Conv2d)<br/>forward 792.0 k flops<br/>backward 792.0 k flops"


def test_modules_with_others_inside_are_states_with_states_inside():
    """What such a module does itself is a state where it first did work."""
    rows = [row("Net.a.x"), row("Net.a", 2, module_type="Block"), row("Net.a.y"), row("Net.b")]
    text = Profile(rows).to_mermaid()
    assert text.split("stateDiagram-v2\n")[1] == (
        "    %% Floating-point work (forward). Costs are where a layer first did work.\n"
        f"    %% {FIRST_USE}\n"
        '    state "a (Block): 20 flops" as s1 {\n'
        '        state "x (Linear)<br/>8 flops" as s3\n'
        '        state "Block itself<br/>4 flops" as s4\n'
        '        state "y (Linear)<br/>8 flops" as s5\n'
        "        [*] --> s3\n"
        "        s3 --> s4\n"
        "        s4 --> s5\n"
        "        s5 --> [*]\n"
        "    }\n"
        '    state "b (Linear)<br/>8 flops" as s2\n'
        "    [*] --> s1\n"
        "    s1 --> s2\n"
        "    s2 --> [*]\n"
        f"    note left of s1 : {FIRST_USE}\n"
    )


def test_bookkeeping_is_no_state():
    """Views cost nothing; a layer that only moves data is shown, a container's own copies are not."""
    moved = Cost(bytes_read=500, bytes_written=12)
    rows = [
        row("Net", 0, op="aten.view"),
        row("Net.flat", 0, op="aten.view"),
        Row("Net.embed", "Embedding", "aten.embedding", "forward", "float32", 1, moved),
        Row("Net", "Net", "aten.clone", "forward", "float32", 1, moved),
        row("Net.fc"),
    ]
    assert states(Profile(rows).to_mermaid()) == ["embed (Embedding)<br/>512 bytes moved", "fc (Linear)<br/>8 flops"]


def test_what_is_unpriced_is_said():
    """In the state, in the title, and as an attribute of the entity."""
    profile = Profile((row("Net.a"), row("Net.b", 0, op="mylib.f", priced=False)))
    assert "b (Linear)<br/>1 call unpriced" in states(profile.to_mermaid())
    assert 'title: "Net: 8 flops (1 operator has no formula)"' in profile.to_mermaid()
    assert profile.to_mermaid("er").count('string lacks "1 call unpriced"') == 1


def test_a_model_keeps_its_name_beside_work_outside():
    """A loss, a sum or an optimizer is no other model; what costs nothing, such as a view, is left out of the title."""
    rows = [row("Net.a"), row("Net.b")]
    assert 'title: "Net: 16 flops"' in Profile((*rows, row("", 0, module_type="", op="aten.view"))).to_mermaid()
    step = row("", 1, module_type="", op="aten._fused_adam_", phase="optimizer")
    assert 'title: "Net and work outside: 18 flops"' in Profile((*rows, step)).to_mermaid()
    alias, values = entities(Profile((*rows, step)).to_mermaid("er"))["MODEL"]
    assert (alias, values["id"], values["type"], values["flops"]) == ("Net", "Net", "Net", "18")


def test_many_roots_are_named_as_far_as_a_title_holds_them():
    """Three, and how many more there are."""
    profile = Profile([row(f"Net{number}.a") for number in "abcde"])
    assert 'title: "Neta, Netb, Netc and 2 more: 40 flops"' in profile.to_mermaid()
    assert entities(profile.to_mermaid("er"))["MODEL"][1]["id"] == "Neta, Netb, Netc and 2 more"
    assert 'title: "2 flops"' in Profile((row("", 1, module_type=""),)).to_mermaid()
    assert entities(Profile((row("", 1, module_type=""),)).to_mermaid("er"))["MODEL"][0] == "work outside any module"


def test_several_roots_are_states():
    """A title stands for one root only."""
    text = Profile((row("Net.a"), row("Net#2.a", 8), row("", 1, module_type=""))).to_mermaid()
    assert 'title: "Net, Net#2 and work outside: 26 flops"' in text
    assert [label for label in states(text) if ":" in label or "outside" in label] == [
        "Net: 8 flops",
        "Net#35;2: 16 flops",
        "(outside)<br/>2 flops",
    ]


def entities(text):
    """Read the attributes of each entity."""
    found = re.findall(r'^    (\w+)(?:\["(.*)"\])? \{\n((?:        .*\n)*)    \}', text, re.MULTILINE)
    return {entity: (alias, dict(re.findall(r'\w+ (\w+) "(.*)"', attributes))) for entity, alias, attributes in found}


def test_entities_are_the_model_and_its_layers(simple):
    """With id, type, macs and flops, and the relation of the article; layers add up to the model."""
    text = simple.to_mermaid("er")
    assert text.count("    MODEL ||--o{ LAYER : contains\n") == 1
    found = entities(text)
    assert found.pop("MODEL") == (
        "SimpleCNN",
        {
            "id": "SimpleCNN",
            "type": "SimpleCNN",
            # By hand: two convolutions and three linear layers, with biases.
            "parameters": f"{16 * 28 + 32 * 145 + 120 * 1153 + 84 * 121 + 10 * 85:,}",
            "calls": "1",
            "macs": f"{simple.total.macs:,}",
            "flops": f"{simple.total.flops:,}",
        },
    )
    assert found.pop("LAYER")[0] == ""
    assert [alias for alias, _ in found.values()] == [
        *("conv1", "ReLU()", "SimpleCNN itself", "conv2", "fc1", "fc2", "fc3")
    ]
    assert found["LAYER_4"][1] | {"flops": ""} == {
        "id": "SimpleCNN.conv2",
        "type": "Conv2d",
        "parameters": f"{32 * 145:,}",
        "calls": "1",
        # Forward, and twice as much backward.
        "macs": f"{3 * 778_752:,}",
        "flops": "",
    }
    assert sum(int(values["flops"].replace(",", "")) for _, values in found.values()) == simple.total.flops


@given(profiles)
def test_layers_add_up_to_the_total(profile):
    """Whatever is shown or not, no operation is lost or counted twice."""
    assert layers(profile.rows).total.flops == profile.total.flops
    for layer in layers(profile.rows).children:
        assert sum(times * leaf.cost.flops for _, times, leaf in layer.leaves()) == layer.cost.flops


def test_blocks_inside_blocks_count_as_often_as_they_are_there():
    """Three equal layers in each of forty equal blocks, with one that is not: by hand."""
    rows = [row(f"Net.{outer}.{inner}", 4) for outer in range(40) for inner in range(3)] + [row("Net.head", 5)]
    (net,) = merge_repeats(layers(rows)).children
    blocks, head = net.children
    assert (blocks.name, blocks.repeats, blocks.cost.flops) == ("0-39", 40, 3 * 8)
    assert (head.cost.flops, net.cost.flops) == (10, 40 * 3 * 8 + 10)
    assert flops_of(Profile(rows).to_mermaid("er")) == (970, 970, 2)
    assert "LAYER_1 ||--o{ LAYER_2" in Profile(rows).to_mermaid("er")


@given(profiles)
def test_putting_equal_blocks_together_loses_nothing(profile):
    """The sum stays what it was."""
    assert merge_repeats(layers(profile.rows)).total.flops == profile.total.flops


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x):
        return x + self.down(torch.relu(self.up(x)))


def flops_of(text):
    """Return the flops of the model, the sum over its innermost layers, and their number."""
    found = entities(text)
    above = set(re.findall(r"(LAYER_\d+) \|\|--o\{", text))
    whole = int(found["MODEL"][1]["flops"].replace(",", ""))
    parts = [
        int(values["flops"].replace(",", ""))
        for entity, (_, values) in found.items()
        if entity.startswith("LAYER_") and entity not in above
    ]
    return whole, sum(parts), len(parts)


def test_equal_blocks_become_one_when_there_are_too_many():
    """Eighty blocks of three layers are one block that says so, and count eighty times."""
    profile = count(nn.Sequential(*(Block(4) for _ in range(80))), torch.ones(2, 4))
    text = profile.to_mermaid()
    # Two products of 2 x 4 x 8, their biases, a ReLU on 2 x 8 and a sum of 2 x 4.
    flops = 2 * 2 * (2 * 4 * 8) + (16 + 8) + 16 + 8
    assert f'state "0-79 (80 x Block): each {flops} flops" as s1' in text
    assert re.search(r"note left of s1 : .* Equal blocks are shown as one\.", text)
    assert re.search(r"%% .* Equal blocks are shown as one\.", text)
    assert flops_of(profile.to_mermaid("er")) == (80 * flops, 80 * flops, 3)


def test_blocks_need_not_be_called_by_numbers_alone():
    """As in tables, a number somewhere in the name is enough."""
    rows = [row(f"Net.block{number}_up.{part}") for number in range(1, 81) for part in "ab"]
    (label,) = (each for each in states(Profile(rows).to_mermaid()) if "each" in each)
    assert label == "block1-80_up (80): each 16 flops"


def test_blocks_that_differ_stay_apart():
    """In cost, or in what is between them."""
    rows = [row(f"Net.{number}.{part}", 4 + (number == 50)) for number in range(90) for part in "ab"]
    assert [label for label in states(Profile(rows).to_mermaid()) if "each" in label or "50" in label] == [
        "0-49 (50): each 16 flops",
        "50: 20 flops",
        "51-89 (39): each 16 flops",
    ]


def test_deep_models_are_folded_until_they_can_be_read():
    """What is deeper is in the module above; the diagram says so, and adds up."""
    rows = [row(f"Net.b{outer}.c{inner}.d", outer + inner + 1) for outer in range(20) for inner in range(20)]
    profile = Profile(rows)
    text = profile.to_mermaid()
    assert len(states(text)) == 20
    assert f"note left of s1 : {FIRST_USE} Modules deeper than level 1 are folded into those above." in text
    whole = sum(2 * (outer + inner + 1) for outer in range(20) for inner in range(20))
    *flops, entities_shown = flops_of(profile.to_mermaid("er"))
    assert flops == [whole, whole]
    assert 10 < entities_shown <= 20


@pytest.mark.parametrize(
    "name", [lambda number: f"Net.l{number}", lambda number: f"Net{number}", lambda number: f"Net.{'♥' * 80}{number}"]
)
@pytest.mark.parametrize("diagram", ["state", "er"])
def test_wide_models_are_cut_until_they_can_be_drawn(name, diagram):
    """Mermaid takes 50,000 characters; what does not fit is one layer, so that the sum stays right."""
    text = Profile([row(name(number), number + 1) for number in range(1000)]).to_mermaid(diagram)
    assert 500 < len(text) <= 50_000
    if diagram == "er":
        assert flops_of(text)[:2] == (1000 * 1001, 1000 * 1001)
        assert 10 < flops_of(text)[2] <= 100
    else:
        assert re.search(r'state "\d{3} more<br/>', text)
        assert re.search(r"note left of s1 : .* are folded, and \d{3} more are one\.", text)


class UpDown(nn.Module):
    """Modules of two lists take turns, and the second of an encoder runs after another module."""

    def __init__(self):
        super().__init__()
        self.up = nn.ModuleList(nn.Linear(4 + i, 5 + i) for i in range(3))
        self.dec = nn.ModuleList(nn.Sequential(nn.Linear(5 + i, 5 + i), nn.GELU()) for i in range(3))

    def forward(self, x):
        for up, dec in zip(self.up, self.dec, strict=True):
            x = dec(up(x))
        return x


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(4, 4, bias=False) for _ in range(4))

    def forward(self, x):
        q = self.q(x) * 0.5
        k, v = self.k(x), self.v(x)
        return self.out(torch.softmax(q @ k.mT, -1) @ v)


def names(text):
    return [label.partition("<br/>")[0].partition(":")[0] for label in states(text)]


def test_lists_that_take_turns_are_drawn_in_turn():
    """Every item stands where it ran, also from a saved profile."""
    profile = count(UpDown(), torch.ones(2, 4))
    text = profile.to_mermaid(depth=1)
    assert names(text) == [
        f"{part}.{i} ({kind})" for i in range(3) for part, kind in (("up", "Linear"), ("dec", "Sequential"))
    ]
    assert Profile.from_json(profile.to_json()).to_mermaid(depth=1) == text


@pytest.mark.parametrize("backward", [False, True])
def test_what_a_module_does_itself_stands_between_its_layers(backward):
    """Attention scales after q, and multiplies after k and v; the backward of its products stands with them."""
    text = count(Attention(), torch.ones(1, 3, 4), backward=backward).to_mermaid()
    assert names(text) == [
        *("q (Linear)", "Attention itself", "k (Linear)", "v (Linear)", "Attention itself", "out (Linear)")
    ]
    products = [label for label in states(text) if "itself" in label][1]
    # Two products of 3 x 3 x 4; a softmax over 3 rows of 3 takes 2 + 3 + 2 + 3 operations each.
    assert f"{2 * 2 * 3 * 3 * 4 + 3 * 10} flops" in products
    assert ("backward" in products) == backward


def test_a_module_that_others_interrupt_is_in_parts():
    """Other modules work between the items of a list; parts say so, and lose nothing."""
    rows = [row("Net.enc.0"), row("Net.pool"), row("Net.enc.1"), row("Net.enc.2", 5), row("Net.head")]
    text = Profile(rows).to_mermaid(depth=1)
    assert names(text) == ["enc.0 (Linear)", "pool (Linear)", "enc (part 2 of 2)", "head (Linear)"]
    assert states(text)[2] == "enc (part 2 of 2)<br/>18 flops<br/>2 layers inside"


def test_a_second_call_is_said():
    """A shared module is there at each call, and its cost at the first."""

    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.shared, self.b = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            return self.shared(self.b(self.shared(self.a(x))))

    profile = count(Shared(), torch.ones(2, 4))
    labels = states(profile.to_mermaid())
    # Products of 2 x 4 x 4 and 2 x 4 biases, twice.
    flops = 2 * 2 * 4 * 4 + 2 * 4
    assert labels[1::2] == [f"shared (Linear)<br/>{2 * flops} flops<br/>in 2 calls", "shared (Linear) again"]
    assert [label.partition(" ")[0] for label in labels[::2]] == ["a", "b"]
    labels = states(replace(profile, execution=None).to_mermaid())
    assert [label.partition(" ")[0] for label in labels] == ["a", "shared", "b"]
    assert ["called 2 times, drawn at the first" in label for label in labels] == [False, True, False]


def test_blocks_that_alternate_are_a_series():
    """Three pairs of two forms in turn: what runs is a, b, a, b, a, b."""
    rows = [row(f"Net.{number}", 4 + number % 2) for number in range(6)]
    text = Profile(rows).to_mermaid()
    assert states(text) == [
        "0,2,4 (Linear)<br/>8 flops",
        "1,3,5 (Linear)<br/>10 flops",
        "3 times in turn: each 18 flops",
    ]
    assert flops_of(Profile(rows).to_mermaid("er"))[:2] == (54, 54)


def test_ranks_do_not_make_parts():
    """What rank 1 did stands with the same layers of rank 0."""
    rows = [row(f"Net.{name}", rank=rank) for rank in (0, 1) for name in "abc"]
    rows.insert(4, row("Net.a", op="aten.bmm", rank=1))
    assert names(Profile(rows).to_mermaid()) == ["a (Linear)", "b (Linear)", "c (Linear)"]


def test_more_levels_are_shown_on_demand():
    """The note says how, and a wrong depth gets a sentence."""
    rows = [row(f"Net.b{outer}.c{inner}.d", 9 * outer + inner + 1) for outer in range(9) for inner in range(9)]
    assert "depth#61;2) or --depth 2 shows more" in Profile(rows).to_mermaid()
    assert len(states(Profile(rows).to_mermaid(depth=2))) == 9 + 81
    with pytest.raises(ProfileError, match="depth must be a number of levels"):
        Profile(rows).to_mermaid(depth=-1)


def test_entities_are_a_hierarchy():
    """Each module is related to the one above it, and layers right below add up to it."""
    text = count(nn.Sequential(Block(4), nn.Linear(4, 3)), torch.ones(2, 4)).to_mermaid("er")
    found = entities(text)
    relations = re.findall(r'(\w+) \|\|--o\{ (\w+) : "\d+"', text)
    ids = {entity: alias for entity, (alias, _) in found.items()}
    assert [(ids[above], ids[below]) for above, below in relations] == [
        ("Sequential", "0"),
        *(("0", f"0{name}") for name in (".up", " itself", ".down")),
        ("Sequential", "1"),
    ]
    for entity in ("MODEL", "LAYER_1"):
        below = [int(found[each][1]["flops"].replace(",", "")) for above, each in relations if above == entity]
        assert sum(below) == int(found[entity][1]["flops"].replace(",", ""))
    assert found["LAYER_2"][1]["parameters"] == str(4 * 8 + 8)


def test_nothing_counted_is_a_diagram_too():
    """It says so."""
    assert states(Profile().to_mermaid()) == ["no floating-point work"]
    assert list(entities(Profile().to_mermaid("er"))) == ["MODEL", "LAYER"]


def test_expressions_are_shown():
    """States have the term that outgrows the others, entities all of them."""
    batch = torch.export.Dim("batch")
    profile = count(nn.Sequential(nn.Linear(4, 3)), torch.ones(2, 4), dynamic_shapes=({0: batch},))
    assert states(profile.to_mermaid()) == ["0 (Linear)<br/>27#42;batch flops"]
    assert entities(profile.to_mermaid("er"))["LAYER_1"][1]["macs"] == "12#42;batch"


def test_notes_are_comments():
    """What tables say below, each in a line of its own; nothing in them begins a directive."""
    batch = torch.export.Dim("batch")
    profile = count(nn.Sequential(nn.Linear(4, 3), nn.Flatten(0)), torch.ones(2, 4), dynamic_shapes=({0: batch},))
    condition = Condition(sympy.Ne(sympy.Symbol("batch"), 7), "model.py:3 %%{init: {}}%%")
    case = Case((("batch", 1),), profile.at(batch=1))
    text = replace(profile, conditions=(condition,), cases=(case,)).to_mermaid()
    assert "    %% The formulas hold for batch != 7 (model.py:3 % %{init: {}}% %).\n" in text
    assert "    %% For batch = 1 the costs differ; see profile.at(batch=1).\n" in text
    rows = [row("Net", 0, op="mylib.f", priced=False), row("Net", 4, estimate="as if\nfull")]
    for diagram in ("state", "er"):
        text = Profile(rows).to_mermaid(diagram)
        assert "    %% Estimated: aten.mm, 1 call: as if\\nfull.\n" in text
        assert "    %% Not counted: mylib.f, 1 call" in text


def test_many_notes_leave_room_for_the_diagram():
    """Mermaid counts comments too."""
    rows = [row(f"Net.l{number}", 4, op=f"my.op{number}", estimate="x" * 5000) for number in range(30)]
    text = Profile(rows).to_mermaid()
    assert len(states(text)) >= 20
    assert "    %% 10 more notes: see the table.\n" in text


@pytest.mark.parametrize("levels", [60, 1500])
def test_deep_models_take_no_longer_than_their_rows(levels):
    """Each of many levels was once tried with all rows; and Python calls no function a thousand times inside itself."""
    rows = [row(f"Net.{'d.' * levels}x{number}", number) for number in range(3000 if levels == 60 else 3)]
    start = time.process_time()
    text = Profile(rows).to_mermaid()
    assert time.process_time() - start < 8
    assert len(states(text)) <= 40
    assert flops_of(Profile(rows).to_mermaid("er"))[0] == sum(2 * number for number in range(len(rows)))


def test_a_count_that_no_float_holds_is_drawn():
    """In its largest unit."""
    profile = Profile((row("Net.a", 2**1100),))
    assert f"{(2**1101 + 5 * 10**23) // 10**24:,} Y flops" in profile.to_mermaid()


def test_an_unknown_diagram_gets_a_sentence():
    """With the nearest name."""
    with pytest.raises(ProfileError, match=r"no diagram 'states'; there are state, er\."):
        Profile().to_mermaid("states")
