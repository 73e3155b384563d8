"""The model's repr with costs on each line."""

import re
from dataclasses import replace

import pytest
import torch
from torch import nn
from zoo.dynamic import DeepUNet

from opflops import Cost, OpFlopMode, Profile, ProfileError, Row, count
from opflops.errors import ProfileArgumentError
from opflops.example import INPUT_SHAPE, SimpleCNN
from opflops.profile.annotation import annotate
from opflops.records.memory import Memory


def bare(text):
    """Take the comments away."""
    return "\n".join(line.partition("  # ")[0].rstrip() for line in text.splitlines())


def comments(text):
    """Return the comments by the label of their line, "" for the first; spaces as they would be in a sentence."""
    found = {}
    for line in text.splitlines():
        code, _, comment = line.partition("  # ")
        label = re.match(r"\s*\((.*?)\): ", code)
        if comment:
            found.setdefault(label[1] if label else "", " ".join(comment.split()))
    return found


def test_the_example_has_its_costs():
    """By hand: 16 x 30 x 30 outputs of 27 products and a bias each, and so on."""
    model = SimpleCNN()
    text = annotate(model, count(model, torch.ones(INPUT_SHAPE)), numbers="exact")
    macs = [16 * 30 * 30 * 27, 32 * 13 * 13 * 144, 1152 * 120, 120 * 84, 84 * 10]
    outputs = [16 * 30 * 30, 32 * 13 * 13, 120, 84, 10]
    own = sum(outputs[:4]) + 3 * (16 * 15 * 15 + 32 * 6 * 6)
    flops = [2 * products + bias for products, bias in zip(macs, outputs, strict=True)]
    params = [16 * 27 + 16, 32 * 144 + 32, 1152 * 120 + 120, 120 * 84 + 84, 84 * 10 + 10]
    shapes = ["1×16×30×30", "1×32×13×13", "1×120", "1×84", "1×10"]
    assert list(comments(text).values()) == [
        (
            f"{sum(macs):,} macs, {sum(flops) + own:,} flops, 100.0 %, {sum(params):,} params; "
            f"own {own / 1000:.2f} k flops: ReLU(), aten.max_pool2d_with_indices; output 1×10"
        ),
        *(
            f"{products:,} macs, {operations:,} flops, {100 * operations / (sum(flops) + own):.1f} %, "
            f"{elements:,} params; output {shape}"
            for products, operations, elements, shape in zip(macs, flops, params, shapes, strict=True)
        ),
    ]


def test_comments_stand_below_each_other():
    """In one column, with the ends of numbers below each other."""
    model = SimpleCNN()
    lines = annotate(model, count(model, torch.ones(INPUT_SHAPE))).splitlines()[:-1]
    assert len({line.index("  # ") for line in lines}) == 1
    assert len({line.index(" macs") for line in lines}) == 1
    assert len({line.index(" %") for line in lines}) == 1


def test_comments_of_a_block_stand_below_each_other():
    """In a U-Net, whose batch norms are its longest lines; a block ends at a closing parenthesis."""
    model = DeepUNet(8, 2)
    text = annotate(model, count(model, torch.ones(1, 3, 16, 16)))
    blocks = [block.splitlines() for block in re.split(r"^ *\)$", text, flags=re.MULTILINE)]
    columns = [{line.index("  # ") for line in block if line} for block in blocks]
    assert sum(map(bool, columns)) > 5
    assert all(len(each) < 2 for each in columns)


class Odd(nn.Module):
    """Print itself in a way of its own, on several lines."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def __repr__(self):
        return "Odd:\n  of\n    several lines"

    def forward(self, x):
        return self.fc(x)


class Everything(nn.Module):
    def __init__(self):
        super().__init__()
        self.shared = nn.Linear(4, 4)
        self.again = nn.Sequential(self.shared, nn.ReLU(), self.shared)
        self.odd = Odd()
        self.register_module("none", None)
        self.empty = nn.ModuleList()
        self.dict = nn.ModuleDict({"a": nn.Flatten(), "b": nn.Dropout()})
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(4, 4), nn.GELU()) for _ in range(5))
        self.different = nn.ModuleList([nn.Linear(4, 4), nn.ReLU(), nn.ReLU(), nn.Linear(4, 4)])

    def extra_repr(self):
        return "first=1\nsecond=2"

    def forward(self, x):
        x = self.dict["a"](self.odd(self.again(self.shared(x))))
        for block in [*self.blocks, *self.different]:
            x = block(x)
        return x


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (SimpleCNN, INPUT_SHAPE),
        (Everything, (2, 4)),
        (Odd, (2, 4)),
        (lambda: nn.Linear(4, 3), (2, 4)),
        (lambda: nn.Sequential(nn.Sequential(nn.Sequential(nn.ReLU())), nn.LSTM(4, 3)), (2, 3, 4)),
        (
            lambda: nn.TransformerEncoder(
                nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 4, enable_nested_tensor=False
            ),
            (2, 3, 8),
        ),
    ],
    ids=["example", "everything", "own repr", "leaf", "nested", "transformer"],
)
def test_without_comments_it_is_the_repr(model, shape):
    """Several lines of extra_repr, None, lists, dictionaries, reprs of all kinds."""
    made = model()
    assert bare(annotate(made, count(made, torch.ones(shape)))) == repr(made)


def test_equal_modules_of_a_list_are_told_together():
    """Their sum at the first line and inside, and what one of them is."""
    model = Everything()
    found = comments(annotate(model, count(model, torch.ones(2, 4)), numbers="exact"))
    flops = 2 * (2 * 16 + 4)
    pattern = r"160 macs, (\d+) flops, [\d.]+ %, 100 params; 5 x (\d+) flops; output 2×4"
    together, each = re.fullmatch(pattern, found["0-4"]).groups()
    assert int(together) == 5 * int(each)
    inside = comments_inside(model)["0"]
    assert re.fullmatch(rf"160 macs, {5 * flops} flops, [\d.]+ %, 100 params; 5 x {flops} flops; output 2×4", inside)


def comments_inside(model):
    lines = annotate(model, count(model, torch.ones(2, 4)), numbers="exact").splitlines()
    start = next(number for number, line in enumerate(lines) if "(0-4)" in line)
    return comments("\n".join(lines[start + 1 :]))


def test_modules_that_cost_differently_are_apart():
    """One repr, two prices: the first layer's input needs no gradient."""

    class Layers(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(6))

        def forward(self, x):
            for layer in self.layers:
                x = layer(x)
            return x

    model = Layers()
    assert "(0-5): 6 x Linear" in repr(model)
    text = annotate(model, count(model, torch.ones(2, 4), backward=True), numbers="exact")
    found = comments(text)
    assert "(0): Linear(" in text
    assert "(1-5): 5 x Linear(" in text
    assert found["0"].startswith("64 macs")
    assert found["1-5"].startswith("480 macs")
    assert f"; 5 x {2 * 96 + 2 * 4 + 4} flops;" in found["1-5"]


def test_what_never_ran_and_what_is_shared_say_so():
    """A shared module has its costs where it is shown first; the places that call it are counted."""
    model = Everything()
    text = annotate(model, count(model, torch.ones(2, 4)))
    found = comments(text)
    assert found["b"] == found["empty"] == "never ran"
    assert "called from 3 places" in found["shared"]
    assert found["2"] == "the same module as shared"
    assert "none" not in found
    assert found["a"] == "no macs or flops; output 2×4"


@pytest.mark.parametrize("measure", ["macs", "ops", "transcendentals", "bytes", "bytes_read", "bytes_written"])
def test_other_measures_can_be_shown(measure):
    """One figure and its share."""
    model = nn.Sequential(nn.Linear(4, 4), nn.GELU())
    profile = count(model, torch.ones(2, 4))
    first = comments(annotate(model, profile, measure=measure, numbers="exact"))[""]
    assert first == f"{getattr(profile.total, measure):,} {measure}, 100.0 %, 20 params; output 2×4"


def test_costs_for_all_sizes_are_shown():
    """The term that outgrows the others, or all; shares are those at the example's sizes."""
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    batch = torch.export.Dim("batch")
    profile = count(model, torch.ones(2, 4), dynamic_shapes=({0: batch},))
    found = comments(annotate(model, profile))
    assert found[""] == "18*batch macs, 41*batch flops, 100.0 %, 23 params; shares at batch = 2; output batch×2"
    assert found["0"] == "12*batch macs, 27*batch flops, 65.9 %, 15 params; output batch×3"


def test_the_second_model_of_a_class_has_its_own_costs():
    """By its path in the profile."""
    first, second = nn.Linear(4, 4), nn.Linear(4, 2)
    with OpFlopMode() as mode:
        second(first(torch.ones(1, 4)))
    assert (
        comments(annotate(second, mode.profile, root="Linear#2"))[""]
        == "8 macs, 18 flops, 100.0 %, 10 params; output 1×2"
    )
    assert comments(annotate(first, mode.profile))[""] == "16 macs, 36 flops, 100.0 %, 20 params; output 1×4"


def test_the_model_is_not_run():
    """Its repr and the profile are all that is needed."""
    model = nn.Linear(4, 4)
    profile = count(model, torch.ones(2, 4))
    model.forward = None
    assert "32 macs" in annotate(model, profile)


def test_what_a_profile_calls_its_operators_stays_off_the_terminal():
    """It may be a stranger's."""
    model = nn.Sequential(nn.Linear(4, 4))
    row = Row("Sequential", "Sequential", "my.\x1b[2J", "forward", "float32", 1, Cost(ops=5))
    text = annotate(model, Profile((row,), called=("Sequential", "Sequential.0")))
    assert r"own 5 flops: my.\x1b[2J" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"root": "linear"}, r"No 'linear' was called in this profile; called were Linear; did you mean root='Linear'"),
        ({"root": "Other"}, r"No 'Other' was called in this profile; called were Linear\."),
        ({"measure": "mac"}, r"no measure 'mac'; did you mean macs"),
        ({"measure": "seconds"}, "no measure 'seconds'"),
        ({"numbers": "short"}, "'scaled' or 'exact'"),
    ],
)
def test_what_cannot_be_shown_gets_a_sentence(options, message):
    """With what there is."""
    model = nn.Linear(4, 4)
    with pytest.raises(ProfileError, match=message):
        annotate(model, count(model, torch.ones(2, 4)), **options)


def test_an_empty_profile_has_no_model():
    """It says that nothing was called."""
    with pytest.raises(ProfileError, match="called were no modules"):
        annotate(nn.Linear(4, 4), Profile())


def test_unpriced_work_is_told():
    """At the module that did it, and at those above."""
    library = torch.library.Library("annotated", "DEF")
    library.define("odd(Tensor x) -> Tensor")
    library.impl("odd", lambda x: x + 1, "CompositeExplicitAutograd")

    class Calls(nn.Module):
        def forward(self, x):
            return torch.ops.annotated.odd(x)

    model = nn.Sequential(Calls())
    with pytest.warns(UserWarning, match="odd"), OpFlopMode() as mode:
        model(torch.ones(2))
    found = comments(annotate(model, mode.profile))
    assert "; 1 call unpriced;" in found["0"]
    assert "; 1 call unpriced;" in found[""]


class Tied(nn.Module):
    """Use the weight of an embedding again, a parameter of its own, and layers of which most are frozen."""

    def __init__(self):
        super().__init__()
        self.tokens = nn.Embedding(10, 4)
        self.blocks = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
        self.head = nn.Linear(4, 10)
        self.head.weight = self.tokens.weight
        self.start = nn.Parameter(torch.ones(4))
        self.idle = nn.Linear(7, 1)
        self.blocks.requires_grad_(requires_grad=False)

    def forward(self, ids):
        x = self.tokens(ids) + self.start
        for block in self.blocks:
            x = block(x)
        return self.head(x), ids


def test_parameters_are_own_shared_and_trainable():
    """A shared one counts for its first owner; what a container holds itself is told apart; outputs have dtypes."""
    model = Tied()
    found = comments(annotate(model, count(model, torch.zeros(2, 3, dtype=torch.int64)), numbers="exact"))
    whole = 40 + 3 * 20 + 10 + 4 + 8
    assert f", {whole} params;" in found[""]
    assert found[""].endswith(f"own 4 params; {whole - 60} trainable; output 2×3×10, 2×3 int64")
    assert found["tokens"] == "40 params; no macs or flops; output 2×3×4"
    assert ", 10 params; weight is that of tokens; output 2×3×10" in found["head"]
    assert ", 60 params; 3 x 216 flops; each 0 trainable; output 2×3×4" in found["0-2"]
    assert found["idle"] == "8 params; never ran"


def test_what_is_kept_in_memory_is_shown():
    """What a module and those below it keep, and the highest peak of equal ones, which do not differ by it."""
    model = Tied()
    profile = count(model, torch.zeros(2, 3, dtype=torch.int64))
    saved = {"Tied": 7, "Tied.blocks.0": 1_000, "Tied.blocks.1": 1_000, "Tied.blocks.2": 1_000, "Tied.blocks.2.f()": 0}
    peaks = {"Tied": 9_000_000, **{f"Tied.blocks.{index}": 2_000_000 + index for index in range(3)}}
    known = replace(profile, memory=Memory(peak=9_000_000, saved=saved, module_peaks=peaks))
    found = comments(annotate(model, known))
    assert ", 122 params, 3.007 kB saved, 9.000 MB peak;" in found[""]
    assert ", 60 params, 3.000 kB saved, 2.000 MB peak; 3 x " in found["0-2"]
    assert ", 60 params, 3,000 B saved, 2,000,002 B peak;" in comments(annotate(model, known, numbers="exact"))["0-2"]
    assert ", 10 params, 0 B saved; " in found["head"]
    saved["Tied.blocks.1"] = 1_001
    assert "0-2" not in comments(annotate(model, known))


def test_a_profile_that_knows_no_modules_is_shown_without():
    """As one from an older file."""
    model = nn.Linear(4, 4)
    profile = replace(count(model, torch.ones(2, 4)), modules=())
    assert annotate(model, profile).endswith("# 32 macs, 72 flops, 100.0 %")


def test_a_difference_is_refused():
    """And not looked up as if its modules had not been called."""
    model, x = nn.Linear(4, 3), torch.ones(2, 4)
    change = count(model, x, backward=True) - count(model, x)
    with pytest.raises(ProfileArgumentError, match=r"this is a difference.*annotate\(model, difference\.after\)"):
        annotate(model, change)
    assert "macs" in annotate(model, change.after)
