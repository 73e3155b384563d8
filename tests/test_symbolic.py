"""Counting for all sizes: expressions that equal, at any sizes, what a run at those sizes counts."""

import copy
import ctypes
import logging
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import sympy
import torch
from test_counting import arithmetic
from torch import nn
from torch.export import Dim
from zoo.dynamic import CachedDecoder, ConvNet, MixtureOfExperts, UNet
from zoo.transformers import ViT

from opflops import Cost, DimensionError, OpFlopMode, OpflopsError, Profile, ProfileError, count
from opflops.records.code_generation import compile_expressions

B, S, H, W = Dim("batch"), Dim("seq"), Dim("height"), Dim("width")
batch, seq, height, width, past = sympy.symbols("batch seq height width past")


def mlp():
    return nn.Sequential(nn.Linear(8, 16), nn.LayerNorm(16), nn.GELU(), nn.Linear(16, 4))


def tokens(**sizes):
    return (torch.zeros(sizes["batch"], sizes["seq"], dtype=torch.int64),)


def vectors(features):
    return lambda **sizes: (torch.zeros(sizes["batch"], sizes["seq"], features),)


def image(**sizes):
    return (torch.zeros(sizes["batch"], 3, sizes["height"], sizes["width"]),)


def next_token(**sizes):
    cache = [tuple(torch.zeros(sizes["batch"], 4, sizes["past"], 8) for _ in range(2)) for _ in range(2)]
    return torch.zeros(sizes["batch"], 1, dtype=torch.int64), cache


CACHE = [({0: B, 2: Dim("past")}, {0: B, 2: Dim("past")})] * 2
BATCH_AND_SEQ, IMAGE = ({0: B, 1: S},), ({0: B, 2: H, 3: W},)

# What makes the model; what makes inputs of some sizes; their dynamic shapes; sizes to follow, and to compare at.
MODELS = {
    "mlp": (mlp, lambda batch: (torch.zeros(batch, 8),), ({0: B},), [{"batch": size} for size in (4, 1, 3, 64)]),
    "cnn": (
        ConvNet,
        image,
        IMAGE,
        [
            {"batch": 2, "height": 32, "width": 40},
            {"batch": 1, "height": 33, "width": 47},
            {"batch": 5, "height": 64, "width": 29},
            {"batch": 3, "height": 224, "width": 225},
        ],
    ),
    "unet": (
        UNet,
        image,
        IMAGE,
        [
            {"batch": 2, "height": 32, "width": 48},
            {"batch": 1, "height": 20, "width": 64},
            {"batch": 3, "height": 128, "width": 12},
        ],
    ),
    "unet, bilinear": (
        lambda: UNet("bilinear"),
        image,
        IMAGE,
        [{"batch": 2, "height": 32, "width": 48}, {"batch": 3, "height": 20, "width": 64}],
    ),
    "lstm": (
        lambda: nn.LSTM(6, 10, 2, bidirectional=True, batch_first=True),
        vectors(6),
        BATCH_AND_SEQ,
        [{"batch": 3, "seq": 5}, {"batch": 2, "seq": 9}, {"batch": 7, "seq": 2}],
    ),
    "gru": (
        lambda: nn.GRU(6, 10, 2, bidirectional=True),
        lambda batch: (torch.zeros(5, batch, 6),),
        ({1: B},),
        [{"batch": size} for size in (3, 1, 8)],
    ),
    "encoder": (
        lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 2),
        vectors(16),
        BATCH_AND_SEQ,
        [{"batch": 3, "seq": 5}, {"batch": 2, "seq": 17}, {"batch": 8, "seq": 2}],
    ),
    "prefill": (CachedDecoder, tokens, BATCH_AND_SEQ, [{"batch": 3, "seq": 5}, {"batch": 1, "seq": 17}]),
    "decode": (
        CachedDecoder,
        next_token,
        {"ids": {0: B}, "caches": CACHE},
        [{"batch": 3, "past": 5}, {"batch": 1, "past": 17}, {"batch": 2, "past": 1}],
    ),
    "vit": (
        lambda: ViT(width=24, heads=2, depth=2, patch=4, image=16),
        lambda batch: (torch.zeros(batch, 3, 16, 16),),
        ({0: B},),
        [{"batch": size} for size in (2, 1, 9)],
    ),
    "mixture of experts": (
        MixtureOfExperts,
        vectors(16),
        BATCH_AND_SEQ,
        [{"batch": 2, "seq": 6}, {"batch": 3, "seq": 5}, {"batch": 1, "seq": 31}],
    ),
}


def whole(profile):
    """Key the rows that cost anything by all that tells them apart."""
    return {(row.module, row.op, row.phase, row.dtype): (row.calls, row.cost) for row in profile.rows if row.cost}


OPTIMIZED = ("mlp", "cnn", "lstm", "decode")
# One of each kind is always followed: products alone, rounded sizes, steps one by one, a cache. The others are
# exhaustive tests.
EXHAUSTIVE = {name: () if name in OPTIMIZED else pytest.mark.exhaustive for name in MODELS}
PASSES = [
    pytest.param(name, options, id=f"{name}, {label}", marks=EXHAUSTIVE[name])
    for names, options, label in (
        (MODELS, {}, "forward"),
        (MODELS, {"backward": True}, "backward"),
        (OPTIMIZED, {"optimizer": torch.optim.AdamW}, "optimizer"),
    )
    for name in names
]


@pytest.mark.parametrize(("name", "options"), PASSES)
def test_at_other_sizes_costs_are_those_of_a_concrete_count(name, options):
    """Row by row and field by field, at sizes other than those that were followed."""
    make, inputs, spec, (example, *others) = MODELS[name]
    model = make()
    profile = count(model, *inputs(**example), dynamic_shapes=spec, **options)
    assert {each.name for each in profile.dimensions} == set(example)
    total = profile.lambdify()
    for sizes in [example, *others]:
        concrete = count(model, *inputs(**sizes), **options)
        assert whole(profile.at(**sizes)) == whole(concrete), sizes
        assert profile.at(**sizes).total == concrete.total == total(**sizes), sizes
        assert profile.at(**sizes).inclusive() == concrete.inclusive()


@pytest.mark.parametrize("name", [pytest.param(name, marks=EXHAUSTIVE[name]) for name in MODELS])
def test_costs_are_those_of_a_real_run(name):
    """Not only of a count without storage: arithmetic, forward and backward."""
    make, inputs, spec, (example, sizes, *_) = MODELS[name]
    model = make()
    profile = count(model, *inputs(**example), dynamic_shapes=spec, backward=True)
    with OpFlopMode() as mode:
        outputs = [each for each in torch.utils._pytree.tree_leaves(model(*inputs(**sizes))) if each.requires_grad]
        torch.autograd.backward(outputs, [torch.ones_like(each) for each in outputs])
    assert arithmetic(profile.at(**sizes)) == arithmetic(mode.profile)


def test_a_polynomial_is_known_by_hand():
    """A linear layer of 8 by 16: its products, its bias, its traffic in float32."""
    cost = count(nn.Linear(8, 16), torch.zeros(3, 5, 8), dynamic_shapes=BATCH_AND_SEQ).total
    assert cost.macs == 8 * 16 * batch * seq
    assert cost.ops == 16 * batch * seq
    assert cost.flops == (2 * 8 * 16 + 16) * batch * seq
    assert cost.bytes_read == 4 * (8 * batch * seq + 8 * 16 + 16)
    assert cost.bytes_written == 4 * 16 * batch * seq


def test_attention_grows_with_the_square_of_the_sequence():
    """Two products of 16 features over all pairs."""
    attention = nn.functional.scaled_dot_product_attention
    x = torch.zeros(2, 4, 6, 16)
    spec = {name: {0: B, 2: S} for name in ("query", "key", "value")}

    def attend(query, key, value):
        return attention(query, key, value)

    assert count(attend, x, x, x, dynamic_shapes=spec).total.macs == 2 * 4 * 16 * batch * seq**2


def test_generating_a_token_is_a_formula_in_those_before_it():
    """Two layers of width 32: 12 * 32**2 weights each and the head's 50 * 32, and 2 * 32 for each key."""
    profile = count(CachedDecoder(), *next_token(batch=3, past=5), dynamic_shapes={"ids": {0: B}, "caches": CACHE})
    assert profile.total.macs == sympy.expand(batch * (2 * 12 * 32**2 + 50 * 32 + 2 * 2 * 32 * (past + 1)))


def test_reading_a_prompt_costs_what_its_tokens_cost_one_by_one_and_the_masked_half():
    """Under a causal mask the dense convention counts all pairs; tokens one by one make those up to the diagonal."""
    decode = count(CachedDecoder(), *next_token(batch=3, past=5), dynamic_shapes={"ids": {0: B}, "caches": CACHE})
    prefill = count(CachedDecoder(), *tokens(batch=3, seq=5), dynamic_shapes=BATCH_AND_SEQ)
    one_by_one = sympy.summation(decode.total.macs.subs(past, sympy.Symbol("t") - 1), (sympy.Symbol("t"), 1, seq))
    assert (
        sympy.expand(prefill.total.macs - one_by_one) == batch * (2 * 2 * 32) * seq * (seq - 1) / 2
        or sympy.expand(prefill.total.macs - one_by_one - batch * (2 * 2 * 32) * seq * (seq - 1) / 2) == 0
    )


def test_rounded_sizes_come_out_exactly():
    """A strided convolution with padding: positions by the formula of the textbook, rounded down."""
    macs = count(
        nn.Conv2d(3, 8, 3, 2, 1, bias=False), *image(batch=2, height=32, width=31), dynamic_shapes=IMAGE
    ).total.macs
    for size in (2, 3, 17, 224):
        positions = (size + 2 - 3) // 2 + 1
        assert macs.subs({"batch": 1, "height": size, "width": size}) == 8 * 3 * 9 * positions**2


def test_every_grouping_works_on_expressions():
    """They add up to the total, as numbers do; part of them can be given sizes."""
    profile = count(CachedDecoder(), *tokens(batch=3, seq=5), dynamic_shapes=BATCH_AND_SEQ, backward=True)
    for key in ("module", "op", "phase", "dtype"):
        assert sum(profile.by(key).values(), Cost()) == profile.total
    outside = profile.by("module").get("", Cost())
    assert profile.inclusive()["CachedDecoder"] + outside == profile.total
    assert profile.where(phase="forward").total.macs == sympy.expand(
        batch * seq * (2 * 12 * 32**2 + 50 * 32 + 2 * 2 * 32 * seq)
    )
    part = profile.at(batch=2)
    assert [each.name for each in part.dimensions] == ["seq"]
    assert part.total.macs.free_symbols == {seq}
    assert part.at(seq=9) == profile.at(batch=2, seq=9)
    assert (profile + profile).total == 2 * profile.total
    assert not profile.diff(profile).rows


def test_json_holds_expressions():
    """Without loss, dimensions and conditions too; a profile of numbers has none."""
    profile = count(ConvNet(), *image(batch=2, height=32, width=40), dynamic_shapes=IMAGE, backward=True)
    assert profile.conditions
    again = Profile.from_json(profile.to_json())
    assert again == profile
    assert '"version": 7' in profile.to_json()
    sizes = {"batch": 3, "height": 65, "width": 64}
    assert again.at(**sizes) == profile.at(**sizes)
    assert Profile.from_json(profile.at(**sizes).to_json()) == profile.at(**sizes)
    assert '"dimensions"' not in profile.at(**sizes).to_json()


@pytest.mark.parametrize(
    "text", ["__import__('os')", "batch.real", "print", "batch if 1 else 2", "[batch]", "'batch'", "lambda: 1"]
)
def test_no_code_in_a_file_is_run(text):
    """An expression is numbers, its dimensions, arithmetic, and rounding."""
    profile = count(nn.Linear(2, 2), torch.zeros(2, 2), dynamic_shapes=({0: B},))
    planted = profile.to_json().replace('"4*batch"', f'"{text}"')
    assert planted != profile.to_json()
    with pytest.raises(ProfileError, match="damaged"):
        Profile.from_json(planted)


def test_the_report_shows_expressions():
    """In full where they fit, or the term that outgrows the others; shares are those at the example's sizes."""
    profile = count(mlp(), torch.zeros(4, 8), dynamic_shapes=({0: B},))
    wide = profile.table(by="op", width=200)
    assert "192*batch" in wide
    assert "Percentages and sort order are for batch = 4." in wide
    narrow = count(CachedDecoder(), *tokens(batch=3, seq=5), dynamic_shapes=BATCH_AND_SEQ).table(width=90)
    assert "128*batch*seq**2 + …" in narrow
    assert "256*batch*seq**2 + 52352*batch*seq" not in narrow
    by_share = profile.table(by="op", sort="flops", tablefmt="tsv").splitlines()
    assert by_share[1].startswith("aten.addmm")


def test_what_the_program_decides_about_sizes_is_a_condition():
    """Costs hold where it holds, and the report says where it was decided."""

    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.small, self.large = nn.Linear(4, 4), nn.Linear(4, 8)

        def forward(self, x):
            return self.small(x) if x.shape[0] <= 100 else self.large(x)

    profile = count(Branches(), torch.zeros(8, 4), dynamic_shapes=({0: B},))
    (condition,) = profile.conditions
    assert condition.expression == sympy.Le(batch, 100)
    assert "Branches (test_symbolic.py:" in condition.reason
    assert profile.at(batch=100).total.macs == 1600
    assert "The formulas hold for batch <= 100 (the code in Branches" in " ".join(str(profile).split())
    with pytest.raises(
        ProfileError, match=r"formulas hold for batch <= 100 \(the code in Branches.*, and batch=101 is outside"
    ):
        profile.at(batch=101)
    with pytest.raises(ProfileError, match="batch=101"):
        profile.lambdify()(batch=101)


def transposed(x):
    return x.transpose(0, 1).contiguous() * 2


def test_sizes_of_one_are_followed_by_themselves():
    """PyTorch copies nothing where an axis has one element; the costs there are those, and still exact."""
    profile = count(transposed, torch.zeros(3, 5), dynamic_shapes=BATCH_AND_SEQ)
    assert profile.total.bytes_written == 2 * 4 * batch * seq
    assert profile.at(batch=1).total.bytes_written == 4 * seq
    assert profile.at(seq=1).at(batch=7).total.bytes_written == 4 * 7
    assert profile.at(batch=1, seq=1).total.bytes_written == 4
    assert profile.at(batch=7, seq=7).total.bytes_written == 2 * 4 * 49
    cost = profile.lambdify()
    assert [cost(batch=1, seq=9).bytes_written, cost(batch=2, seq=9).bytes_written] == [36, 144]
    assert [case.sizes for case in profile.cases] == [(("batch", 1),), (("seq", 1),)]
    note = "For batch = 1 the costs differ; see profile.at(batch=1) (aten.clone runs 0 times instead of 1"
    assert note in " ".join(str(profile).split())
    assert "The formulas hold" not in str(profile)


def test_other_costs_at_one_go_along_with_every_transform():
    """Written and read, selected, added and compared."""
    profile = count(transposed, torch.zeros(3, 5), dynamic_shapes=BATCH_AND_SEQ)
    assert Profile.from_json(profile.to_json()) == profile
    assert profile.where(op="aten.clone").at(batch=1).total == Cost()
    twice = profile + profile
    assert twice.at(batch=1, seq=9).total == 2 * profile.at(batch=1, seq=9).total
    assert twice.diff(profile).at(seq=1, batch=9).total == -1 * profile.at(seq=1, batch=9).total
    other = count(transposed, torch.zeros(4, 6), dynamic_shapes={"x": {0: Dim("rows"), 1: Dim("columns")}})
    both = (profile + other).at(rows=1, columns=3, seq=5)
    assert both.at(batch=1).total.bytes_written == 4 * 5 + 4 * 3
    assert both.at(batch=2).total.bytes_written == 2 * 4 * 10 + 4 * 3


def test_a_size_of_one_at_which_the_program_fails_is_refused():
    """The variance of one value in training, for example; the error quotes the program's."""
    profile = count(nn.BatchNorm1d(4), torch.zeros(3, 4), dynamic_shapes=({0: B},))
    with pytest.raises(ProfileError, match=r"hold for batch != 1 \(it fails \(ValueError: Expected more than 1 value"):
        profile.at(batch=1)


def test_a_program_that_fixes_a_size_is_refused():
    """The error names the operator, the module and the line."""

    class Fixes(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Flatten(0)

        def forward(self, x):
            return self.inner(x).view(2, 8) * 2

    with pytest.raises(
        DimensionError, match=r"for all sizes of batch: aten.view in Fixes \(test_symbolic.py:\d+\) fixes it to 2"
    ):
        count(Fixes(), torch.zeros(2, 8), dynamic_shapes=({0: B},))


def test_steps_of_a_recurrent_network_are_run_one_by_one():
    """A GRU without a fused kernel unrolls its sequence, which fixes its length."""
    with pytest.raises(DimensionError, match=r"for all sizes of seq: .*GRU"):
        count(nn.GRU(6, 10), torch.zeros(5, 3, 6), dynamic_shapes=({0: S, 1: B},))


def test_a_program_that_is_another_one_elsewhere_is_refused():
    """What hides its decisions from PyTorch is found by counting again at other sizes."""

    def hides(x):
        return x * 2 if str(torch.empty_like(x).numel()).isdigit() else x * 2 + 1

    with pytest.raises(
        DimensionError, match=r"cannot be counted for all sizes: with batch = 9 aten.\w+ runs \d times instead of"
    ):
        count(hides, torch.zeros(4, 8), dynamic_shapes=({0: B},))


def linear():
    return nn.Linear(8, 4)


X = torch.zeros(3, 8)


@pytest.mark.parametrize(
    ("model", "inputs", "spec", "message"),
    [
        (linear, (X,), {"inpt": {0: B}}, "has 'inpt', but Linear is called with input; did you mean 'input'"),
        (linear, (X,), ({0: B}, {0: B}), "has 2 entries, but Linear is called with 1 arguments: input"),
        (linear, (X,), {"input": {2: B}}, "axis 2 of input, which has 2 dimensions"),
        (linear, (X,), {"input": {0: 4}}, "size 4 for axis 0 of input, but its size is 3"),
        (linear, (X,), {"input": {0: 1.5}}, "for axis 0 of input must be a torch.export.Dim, not 1.5"),
        (linear, (X,), {"input": (B,)}, "has 1 entries for input, which has 2 dimensions"),
        (linear, (X,), {"input": B}, "for input must be a dict of Dims by axis"),
        (linear, (X,), {"input": {0: None}}, "names no dimension"),
        (linear, (X,), 3, "must be a dict by argument name or a tuple by position"),
        (linear, (X,), {"input": {0: Dim("n", min=8)}}, "n is 3 in axis 0 of input, but its Dim allows 8 to any size"),
        (linear, (X,), {"input": {0: 2 * B}}, "Axis 0 of input has size 3, which no size of batch gives"),
        (linear, (X,), {"input": {1: S}}, r"for all sizes of seq: aten.\w+ in Linear .* fixes it to 8"),
        (linear, (X, X), {"input": {0: B}}, "The inputs do not fit Linear: too many positional arguments"),
        (linear, (torch.zeros(6, 16)[:, ::2],), ({0: B},), "input is a part of a larger tensor in memory"),
        (lambda: torch.add, (X, 3), {"input": {0: B}}, "has 'input', but add is called with argument 0, argument 1"),
        (lambda: (lambda x, y: x + y), (X, X[:2]), ({0: B}, {0: B}), "batch is 3 in axis 0 of x, but 2 in axis 0 of y"),
        (lambda: (lambda x, y: x * y), (X, 2), {"y": {0: B}}, "for y, which is a int and not a tensor"),
        (lambda: (lambda x: x[0]), ([X, X],), {"x": [{0: B}]}, "has 1 entries for x, which has 2 parts"),
        (lambda: (lambda x: x["a"]), ({"a": X},), {"x": {"b": {0: B}}}, r"has x\['b'\], but x has 'a'"),
    ],
)  # fmt: skip
def test_what_does_not_fit_gets_a_sentence(model, inputs, spec, message):
    """What was given, what is wrong, what would be right."""
    with pytest.raises(DimensionError, match=message):
        count(model(), *inputs, dynamic_shapes=spec)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"bacth": 2}, "no dimension 'bacth'; it has batch, seq; did you mean 'batch'"),
        ({"batch": 0}, "batch must be a whole number, 1 or more, not 0"),
        ({"batch": 2.0}, "batch must be a whole number, 1 or more, not 2.0"),
        ({"seq": 65}, "seq must be a whole number, 1 to 64, not 65"),
    ],
)
def test_sizes_that_a_dimension_cannot_have_get_a_sentence(sizes, message):
    """Of the profile, and of its function."""
    profile = count(linear(), torch.zeros(3, 5, 8), dynamic_shapes=({0: B, 1: Dim("seq", max=64)},))
    with pytest.raises(ProfileError, match=message):
        profile.at(**sizes)
    with pytest.raises(ProfileError):
        profile.lambdify()(**{"batch": 2, "seq": 2, **sizes})
    with pytest.raises(ProfileError, match="'seq' is missing"):
        profile.lambdify()(batch=2)
    with pytest.raises(ProfileError, match="its counts are numbers"):
        count(linear(), X).at(batch=2)


def test_one_dimension_may_be_the_double_of_another():
    """Derived dimensions are expressions in the one that they were derived from."""

    def glue(x, y):
        return torch.cat([x, x]) + y

    half = Dim("half")
    profile = count(glue, torch.zeros(3, 4), torch.zeros(6, 4), dynamic_shapes={"x": {0: half}, "y": {0: 2 * half}})
    assert profile.total.ops == 8 * sympy.Symbol("half")
    assert profile.at(half=10).total.ops == 80


def test_dimensions_that_must_agree_are_told():
    """Adding two sequences of different names only works where they are as long as each other."""

    def add(x, y):
        return x + y

    profile = count(add, torch.zeros(3), torch.zeros(3), dynamic_shapes=({0: B}, {0: S}))
    assert profile.at(batch=7, seq=7).total.ops == 7
    with pytest.raises(ProfileError, match=r"hold for (batch == seq|seq == batch)"):
        profile.at(batch=7, seq=8)


def test_names_may_be_plain_or_left_to_opflops():
    """A string stands for a Dim; Dim.AUTO takes the name of the argument and the number of the axis."""
    profile = count(
        nn.Linear(8, 4), torch.zeros(3, 5, 8), dynamic_shapes={"input": {0: "rows", 1: Dim.AUTO, 2: Dim.STATIC}}
    )
    assert [each.name for each in profile.dimensions] == ["rows", "input_1"]


def test_inputs_may_lie_in_memory_in_any_order():
    """A transposed input is transposed at all sizes, a broadcast one is broadcast."""

    def copies(x):
        return x.contiguous()

    turned = count(copies, torch.zeros(4, 6).t(), dynamic_shapes=({0: B, 1: S},))
    assert turned.total.bytes_read == turned.total.bytes_written == 4 * batch * seq
    spread = count(copies, torch.zeros(4, 1).expand(4, 6), dynamic_shapes=({0: B, 1: S},))
    assert spread.total.bytes_read == 4 * batch
    assert spread.total.bytes_written == 4 * batch * seq


def test_the_model_and_the_inputs_stay_as_they_are():
    """However often it is followed, and PyTorch's own functions too."""
    model, x = ConvNet(), image(batch=2, height=32, width=40)[0]
    state, methods, resample = (
        copy.deepcopy(model.state_dict()),
        vars(torch.Tensor).copy(),
        torch._C._nn.upsample_nearest2d,
    )
    count(model, x, dynamic_shapes=IMAGE, optimizer=torch.optim.SGD)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert vars(torch.Tensor) == methods
    # A tensor is no sequence to CPython, which decides what an index of tuples of tensors means.
    assert not ctypes.pythonapi.PySequence_Check(ctypes.py_object(x))
    rows, columns = zip(*torch.tensor([[0, 1], [1, 0]]), strict=True)
    assert torch.eye(2)[rows, columns].tolist() == [0, 0]
    assert torch._C._nn.upsample_nearest2d is resample
    assert "lstm" not in vars(torch._VF)


def test_a_model_on_meta_is_followed_too():
    """Where nothing has storage to begin with."""
    with torch.device("meta"):
        model, x = CachedDecoder(), torch.zeros(3, 5, dtype=torch.int64)
    profile = count(model, x, dynamic_shapes=BATCH_AND_SEQ)
    assert profile.at(batch=2, seq=9).total.macs == 2 * 9 * (2 * 12 * 32**2 + 50 * 32 + 2 * 2 * 32 * 9)
    assert whole(profile.at(batch=2, seq=9)) == whole(count(model, x[:2, :1].expand(2, 9).contiguous()))


def test_growth_is_told_by_dimension():
    """Degree and leading coefficient, of the total, of like modules together and of operators."""
    scaling = count(CachedDecoder(), *tokens(batch=3, seq=5), dynamic_shapes=BATCH_AND_SEQ).scaling("macs")
    assert scaling.total["seq"] == (2, 128 * batch)
    assert scaling.total["batch"] == (1, 128 * seq**2 + (2 * 12 * 32**2 + 50 * 32) * seq)
    assert scaling.modules["CachedDecoder.mlp.*"]["seq"] == (1, 2 * 8 * 32**2 * batch)
    assert scaling.ops["aten.addmm"]["seq"] == (1, 2 * 12 * 32**2 * batch)
    attention, products = "aten._scaled_dot_product_flash_attention_for_cpu", "aten.addmm"
    # 128 s² reaches 24576 s at 192.
    assert (attention, products, "seq", 192) in scaling.crossovers
    assert f"{attention} overtakes {products} at seq = 192." in " ".join(str(scaling).split())
    with pytest.raises(ProfileError, match="not 'flop'"):
        count(linear(), X, dynamic_shapes=({0: B},)).scaling("flop")
    with pytest.raises(ProfileError, match="Scaling needs dimensions"):
        count(linear(), X).scaling()


def test_rounding_does_not_change_how_a_count_grows():
    """A convolution of stride 2 has a quarter of the positions."""
    scaling = count(nn.Conv2d(3, 8, 3, 2, 1), *image(batch=2, height=32, width=40), dynamic_shapes=IMAGE).scaling(
        "macs"
    )
    assert scaling.total["height"].degree == 1
    assert scaling.total["height"].coefficient == 54 * batch * width + 54 * batch


def test_sorting_grows_by_no_power():
    """N log n is none, and the result says so."""
    profile = count(lambda x: torch.sort(x, 0), torch.zeros(6), dynamic_shapes=({0: B},))
    for size in (2, 8, 9, 2**40 + 1):
        assert profile.at(batch=size).total.ops == size * (size - 1).bit_length() == profile.lambdify()(batch=size).ops
    assert Profile.from_json(profile.to_json()) == profile
    scaling = profile.scaling("ops")
    assert scaling.total["batch"] == (None, None)
    assert "not polynomial" in str(scaling)


def gradient(*shape):
    return torch.ones(*shape, requires_grad=True)


def mask():
    return torch.ones(64, 64).tril().bool()


def masked(x, table):
    return (x @ x.mT).masked_fill(~table[: x.shape[1], : x.shape[1]], 0.0)


def halved(x):
    return x[: round(x.shape[0] / 2)] @ torch.ones(4, 3)


def routed(x):
    return torch.cond(x.sum() > 0, lambda y: y @ y.t(), lambda y: y @ y.t() + 1, (x,))


# A program, its inputs, their dynamic shapes, and sizes to compare at; all with a backward where there can be one.
PROGRAMS = {
    "a gradient from a number": (lambda x: x.mean(), lambda batch: (gradient(batch, 8),), ({0: B},), (1, 5)),
    "ceiling": (
        nn.Sequential(nn.Conv2d(4, 4, 1), nn.MaxPool2d(3, 2, ceil_mode=True)),
        lambda batch: (gradient(batch, 4, 16, 20),),
        ({0: B},),
        (1, 3),
    ),
    "integers": (lambda x: x.masked_fill(~(x > 0), 1.0), lambda batch: (gradient(batch, 8),), ({0: B},), (1, 5)),
    "windows": (
        lambda x: x.unfold(1, 4, 2) @ torch.ones(4, 3),
        lambda seq: (gradient(2, seq),),
        ({1: S},),
        (9, 16, 33),
    ),
    "positions to size": (
        lambda x, table: x + nn.functional.interpolate(table, size=x.shape[2:], mode="bicubic"),
        lambda height: (torch.ones(2, 4, height, 9), gradient(1, 4, 4, 4)),
        ({2: H}, None),
        (5, 16, 33),
    ),
    "the table's end": (masked, lambda seq: (gradient(2, seq, 8), mask()), ({1: S}, None), (2, 33, 64)),
    "half to even": (halved, lambda batch: (gradient(batch, 4),), ({0: B},), (5, 6, 7, 9, 101)),
    "max_pool1d": (
        nn.Sequential(nn.Conv1d(4, 4, 3), nn.MaxPool1d(3, 2, 1)),
        lambda seq: (gradient(2, 4, seq),),
        ({2: S},),
        (9, 10, 64),
    ),
    "a bag": (
        nn.EmbeddingBag(10, 8),
        lambda batch: (torch.zeros(batch, 6, dtype=torch.long),),
        ({0: B},),
        (1, 5),
    ),
    "spectrum": (
        lambda x: torch.fft.irfft(torch.fft.rfft(x, dim=1) * 2, n=x.shape[1], dim=1),
        lambda seq: (torch.ones(2, seq, 3),),
        ({1: S},),
        (1, 2, 17, 64),
    ),
    "branches": (routed, lambda batch: (torch.ones(batch, 8),), ({0: B},), (1, 5)),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_that_are_easily_followed_wrongly(name):
    """As above, with what is made of them: function, JSON, report, growth and pickle."""
    program, inputs, spec, sizes = PROGRAMS[name]
    options = {"backward": any(x.requires_grad for x in inputs(8)) or isinstance(program, nn.Module)}
    profile = count(program, *inputs(8), dynamic_shapes=spec, **options)
    (dimension,) = profile.dimensions
    for size in sizes:
        concrete = count(program, *inputs(size), **options)
        assert whole(profile.at(**{dimension.name: size})) == whole(concrete), size
        assert profile.lambdify()(**{dimension.name: size}) == concrete.total
    assert Profile.from_json(profile.to_json()) == pickle.loads(pickle.dumps(profile)) == profile  # noqa: S301 - ours
    assert dimension.name in str(profile)
    for measure in ("flops", "ops", "transcendentals", "bytes"):
        assert str(profile.scaling(measure))


def transformed(x):
    return torch.istft(x, 16, window=torch.ones(16))


def pooled(x):
    return nn.functional.interpolate(x[None], scale_factor=1.5, mode="area")


@pytest.mark.parametrize(
    ("program", "x", "axis", "message"),
    [
        (transformed, torch.ones(4, 9, 8, dtype=torch.complex64), 0, "runs, but PyTorch cannot trace"),
        (lambda x: x[x > 0], torch.ones(2, 3), 0, "needs the value of a tensor .aten.index"),
        (lambda x: x * x.sum().item(), torch.ones(2, 3), 0, "needs the value of a tensor .aten._local_scalar_dense"),
        (pooled, torch.ones(4, 16), 1, "for other sizes of batch than 16: it needs"),
        (lambda x: x @ torch.ones(4, 4), torch.ones(2, 3), 0, "same reduction dim"),
    ],
)
def test_programs_that_cannot_be_followed_get_a_sentence(program, x, axis, message):
    """Of opflops, or the program's own where it fails anyway."""
    with pytest.raises((OpflopsError, RuntimeError), match=message):
        count(program, x, backward=x.requires_grad, dynamic_shapes=({axis: B},))


def test_decisions_are_dropped_only_where_they_make_no_difference():
    """Two that only together do stay, and so does one that is true of both ends."""

    def together(x, y):
        unlike = bool(x.shape[0] > 20) != bool(y.shape[0] > 20)
        return x.sum() * y.sum() + (torch.ones(9, 9) @ torch.ones(9, 9)).sum() if unlike else x.sum() * y.sum()

    profile = count(together, torch.ones(8), torch.ones(6), dynamic_shapes=({0: B}, {0: S}))
    assert not profile.holds({"batch": 8, "seq": 64})
    assert profile.holds({"batch": 9, "seq": 19})

    def between(x):
        return x * 2 if 20 < x.shape[0] < 30 else x * 3 + 1

    profile = count(between, torch.ones(8), dynamic_shapes=({0: B},))
    assert [profile.holds({"batch": size}) for size in (2, 20, 21, 25)] == [True, True, False, False]


def test_choosing_another_kernel_is_no_other_program():
    """OneDNN takes large convolutions alone; what they cost is the same, and holds for all."""
    net = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1))
    profile = count(net, *image_of(4, batch=2, height=8, width=8), dynamic_shapes=IMAGE)
    for sizes in ({"batch": 1, "height": 8, "width": 9}, {"batch": 64, "height": 64, "width": 64}):
        assert whole(profile.at(**sizes)) == whole(count(net, *image_of(4, **sizes)))


def image_of(channels, **sizes):
    return (torch.zeros(sizes["batch"], channels, sizes["height"], sizes["width"]),)


def test_a_branch_that_is_chosen_by_its_cost_is_a_condition():
    """Of a branch that depends on values the dearer one counts; which that is may depend on sizes."""

    def either(x):
        return torch.cond(x.sum() > 0, lambda y: (y @ y.t()).sum(), lambda y: (y @ torch.ones(8, 32)).sum(), (x,))

    profile = count(either, torch.ones(8, 8), dynamic_shapes=({0: B},))
    assert whole(profile.at(batch=16)) == whole(count(either, torch.ones(16, 8)))
    if profile.holds({"batch": 64}):
        assert whole(profile.at(batch=64)) == whole(count(either, torch.ones(64, 8)))


def test_functions_of_sizes_are_exact_for_large_ones():
    """In integers, however sympy writes an expression."""
    n = sympy.Symbol("n")
    half = sympy.Rational(1, 2)
    for expression, exactly in (
        (n**2 / 2 + n / 2, lambda size: (size**2 + size) // 2),
        (sympy.floor(n / 2) + sympy.floor(n / 2 + half), lambda size: size // 2 + (size + 1) // 2),
        (sympy.ceiling(n / 3) * 3, lambda size: -(-size // 3) * 3),
        (sympy.floor(sympy.Float(0.7) * n), lambda size: int(0.7 * size)),
        (sympy.floor(sympy.sqrt(n)), lambda size: int(size**0.5)),
        (sympy.Mod(n, 7) + sympy.Min(n, 12), lambda size: size % 7 + min(size, 12)),
    ):
        function = compile_expressions(["n"], [expression])
        for size in (1, 2, 7, 10, 4096, *([2**60 + 1] if expression.is_polynomial() else [])):
            (value,) = function(size)
            assert (value, type(value)) == (exactly(size), int), (expression, size)
    assert compile_expressions(["n"], [sympy.floor(n / 2) + sympy.floor(n / 2 + half)])(2**60 + 1) == (2**60 + 1,)


def test_costs_of_expressions_stay_expanded():
    """So that equal ones are written alike; what cancels is a plain zero."""
    n = sympy.Symbol("n")
    assert (Cost(macs=n + 1) * (n + 2)).macs == n**2 + 3 * n + 2
    nothing = Cost(macs=n) - Cost(macs=n)
    assert nothing == Cost()
    assert type(nothing.macs) is int


def test_threads_may_count_at_a_time():
    """PyTorch's functions are put back once, by the last of them."""
    before = [dict(vars(torch.Tensor)), torch._C._nn.upsample_nearest1d, torch.max_pool1d]

    def work(_):
        return count(nn.Linear(8, 4), torch.zeros(3, 8), dynamic_shapes=({0: B},)).total.macs

    with ThreadPoolExecutor(3) as pool:
        assert set(pool.map(work, range(6))) == {32 * batch}
    assert [dict(vars(torch.Tensor)), torch._C._nn.upsample_nearest1d, torch.max_pool1d] == before
    assert not logging.getLogger("torch._subclasses.fake_tensor").disabled


def test_many_dimensions_are_tried_in_bounded_time():
    """Each and each two of them at 1, and all."""
    x = torch.ones(2, 3, 4, 5, 6)
    spec = ({axis: Dim(f"d{axis}") for axis in range(5)},)
    profile = count(torch.relu, x, dynamic_shapes=spec)
    assert profile.total.ops == sympy.prod(sympy.symbols("d0:5"))


@pytest.mark.parametrize(
    "text", ["1.5", "n > 3", "1/0", "Mod(n, 0)", "9**9**9", "-" * 100_000 + "n", "sqrt", "Eq(n, 2)"]
)
def test_texts_that_are_no_counts_are_refused(text):
    """However they are written."""
    profile = count(nn.Linear(2, 2), torch.zeros(2, 2), dynamic_shapes=({0: Dim("n")},))
    with pytest.raises(ProfileError, match="damaged"):
        Profile.from_json(profile.to_json().replace('"4*n"', f'"{text}"'))


@pytest.mark.parametrize(
    ("model", "dtype"),
    [
        (nn.Sequential(nn.BatchNorm2d(8), nn.GroupNorm(2, 8), nn.LayerNorm(6)), torch.bfloat16),
        (nn.Sequential(nn.LayerNorm(6), nn.Flatten(), nn.Linear(288, 2)), torch.float32),
    ],
)
def test_norms_for_all_sizes_are_those_of_each_size(model, dtype):
    """Statistics in float32 beside an input of lower precision, and layouts, are the same with symbols for sizes."""
    x = torch.zeros(4, 8, 6, 6, dtype=dtype, requires_grad=True)
    formula = count(model, x, backward=True, dynamic_shapes=({0: Dim("batch")},))
    for size in (2, 4, 9):
        counted = count(model, x.new_zeros(size, 8, 6, 6).requires_grad_(), backward=True)
        assert formula.at(batch=size).total == counted.total


@pytest.mark.parametrize("backward", [False, True])
def test_a_size_that_only_a_shifted_guard_excludes_is_tried(backward):
    """As PyTorch guards y[1:] * y[:-1] by b - 1 != 1; the costs at 2 are those of a count there."""

    class Neighbors(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(8, 8)

        def forward(self, x):
            y = self.linear(x)
            return y[1:] * y[:-1]

    model = Neighbors()
    profile = count(model, torch.ones(4, 8), dynamic_shapes=({0: Dim("b")},), backward=backward)
    assert not [each for each in profile.conditions if "- 1" in str(each.expression)]
    for size in (2, 3, 7):
        assert profile.at(b=size).total == count(model, torch.ones(size, 8), backward=backward).total
