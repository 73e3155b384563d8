"""The model's repr with costs on each line."""

import re

import pytest
import torch
from torch import nn

from opflops import Cost, OpFlopMode, Profile, ProfileError, Row, count
from opflops.example import INPUT_SHAPE, SimpleCNN
from opflops.profile.annotation import annotate


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
    assert list(comments(text).values()) == [
        (
            f"{sum(macs):,} macs, {sum(flops) + own:,} flops, 100.0 %; "
            f"own {own / 1000:.2f} k flops: ReLU(), aten.max_pool2d_with_indices"
        ),
        *(
            f"{products:,} macs, {operations:,} flops, {100 * operations / (sum(flops) + own):.1f} %"
            for products, operations in zip(macs, flops, strict=True)
        ),
    ]


def test_comments_stand_below_each_other():
    """In one column, with the ends of numbers below each other."""
    model = SimpleCNN()
    lines = annotate(model, count(model, torch.ones(INPUT_SHAPE))).splitlines()[:-1]
    assert len({line.index("  # ") for line in lines}) == 1
    assert len({line.index(" macs") for line in lines}) == 1
    assert len({line.index(" %") for line in lines}) == 1


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
    """Their sum at the first line, one of them inside."""
    model = Everything()
    found = comments(annotate(model, count(model, torch.ones(2, 4)), numbers="exact"))
    flops = 2 * (2 * 16 + 4)
    together, each = re.fullmatch(r"160 macs, (\d+) flops, [\d.]+ %; 5 x (\d+) flops", found["0-4"]).groups()
    assert int(together) == 5 * int(each)
    assert re.fullmatch(rf"32 macs, {flops} flops, [\d.]+ %; each", comments_inside(model)["0"])


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
    assert found["1-5"].startswith("480 macs") and found["1-5"].endswith(f"5 x {2 * 96 + 2 * 4 + 4} flops")  # noqa: PT018 - one line's


def test_what_never_ran_and_what_is_shared_say_so():
    """A shared module has its costs where it is shown first; the places that call it are counted."""
    model = Everything()
    text = annotate(model, count(model, torch.ones(2, 4)))
    found = comments(text)
    assert found["b"] == found["empty"] == "never ran"
    assert found["shared"].endswith("called from 3 places")
    assert found["2"] == "the same module as shared"
    assert "none" not in found
    assert found["a"] == "no macs or flops"


@pytest.mark.parametrize("measure", ["macs", "ops", "transcendentals", "bytes", "bytes_read", "bytes_written"])
def test_other_measures_can_be_shown(measure):
    """One figure and its share."""
    model = nn.Sequential(nn.Linear(4, 4), nn.GELU())
    profile = count(model, torch.ones(2, 4))
    first = comments(annotate(model, profile, measure=measure, numbers="exact"))[""]
    assert first == f"{getattr(profile.total, measure):,} {measure}, 100.0 %"


def test_costs_for_all_sizes_are_shown():
    """The term that outgrows the others, or all; shares are those at the example's sizes."""
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    batch = torch.export.Dim("batch")
    profile = count(model, torch.ones(2, 4), dynamic_shapes=({0: batch},))
    found = comments(annotate(model, profile))
    assert found[""] == "18*batch macs, 41*batch flops, 100.0 %; shares at batch = 2"
    assert found["0"] == "12*batch macs, 27*batch flops, 65.9 %"


def test_the_second_model_of_a_class_has_its_own_costs():
    """By its path in the profile."""
    first, second = nn.Linear(4, 4), nn.Linear(4, 2)
    with OpFlopMode() as mode:
        second(first(torch.ones(1, 4)))
    assert comments(annotate(second, mode.profile, root="Linear#2"))[""] == "8 macs, 18 flops, 100.0 %"
    assert comments(annotate(first, mode.profile))[""] == "16 macs, 36 flops, 100.0 %"


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
    assert found["0"].endswith("1 call unpriced")
    assert found[""].endswith("1 call unpriced")
