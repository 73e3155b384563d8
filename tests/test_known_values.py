"""Values that are known although nothing runs: ``count`` takes the branches of a run, and reads masks as a run does."""

import math
from contextlib import nullcontext

import pytest
import torch
from test_symbolic import whole
from torch import nn
from torch.export import Dim
from torch.nn.functional import scaled_dot_product_attention

from opflops import OpFlopMode, ValueNeededError, count

NO_VALUES = "the attention mask has no values here, so every pair counts"


def is_fake(tensor):
    """Ask as libraries do."""
    return isinstance(tensor, torch._subclasses.FakeTensor)


def arithmetic(profile):
    return {op: (cost.macs, cost.ops, cost.transcendentals) for op, cost in profile.by("op").items() if any(cost[:3])}


def assert_same(model, *inputs, causal="dense", **options):
    """See that a count is a run, operator by operator, and return it."""
    with OpFlopMode(causal=causal) as m:
        model(*inputs, **options)
    counted = count(model, *inputs, causal=causal, **options)
    assert arithmetic(counted) == arithmetic(m.profile)
    assert {row.estimate for row in counted.rows} == {row.estimate for row in m.profile.rows}
    return counted


class Attention(nn.Module):
    """Attend under a mask that is made in the way of ``make``, from the number of tokens alone."""

    def __init__(self, make):
        super().__init__()
        self.project = nn.Linear(8, 24)
        self.make = make

    def forward(self, x, mask=None):
        q, k, v = self.project(x).view(*x.shape[:2], 3, 2, 4).permute(2, 0, 3, 1, 4)
        return scaled_dot_product_attention(q, k, v, attn_mask=self.make(x.shape[1]) if self.make else mask)


def in_place(size):
    mask = torch.empty(size, size)
    mask.fill_(-math.inf)
    mask.triu_(1)
    return mask


def by_index(size):
    mask = torch.zeros(size, size, dtype=torch.bool)
    for row in range(size):
        mask[row, : row + 1] = True
    return mask


def by_positions(size):
    positions = torch.arange(size)
    return positions[:, None] >= positions


def by_a_loop_over_values(size):
    rows = [[column <= row for column in torch.arange(size).tolist()] for row in torch.arange(size).tolist()]
    return torch.tensor(rows)


WAYS = {
    "triangle of ones": lambda size: torch.ones(size, size, dtype=torch.bool).tril(),
    "full and triangle": lambda size: torch.triu(torch.full((size, size), -math.inf), diagonal=1),
    "filled": lambda size: torch.zeros(size, size).masked_fill(torch.ones(size, size).triu(1) == 1, -math.inf),
    "the smallest number": lambda size: torch.where(by_positions(size), 0.0, torch.finfo(torch.float32).min),
    "cumulative sums": lambda size: torch.eye(size).cumsum(0).T.flip(0).flip(1) > 0,
    "in place": in_place,
    "by index": by_index,
    "positions": by_positions,
    "lists": by_a_loop_over_values,
}


@pytest.mark.parametrize("make", WAYS.values(), ids=WAYS)
def test_a_mask_that_the_model_makes(make):
    """2 sequences x 2 heads x 21 of 36 pairs x (4 + 4) products, on fake tensors as in a run."""
    model, x = Attention(make), torch.randn(2, 6, 8)
    counted = assert_same(model, x, causal="exact")
    fused = [row for row in counted.rows if "attention" in row.op]
    assert sum(row.cost.macs for row in fused) == 2 * 2 * 21 * 8
    assert_same(model, x)
    on_meta = count(Attention(make).to("meta"), x.to("meta"), causal="exact")
    assert arithmetic(on_meta) == arithmetic(counted)


def test_a_mask_in_a_buffer_or_an_argument():
    """Where it comes from makes no difference; afterwards it is as before."""

    class Buffered(Attention):
        def __init__(self, mask):
            super().__init__(None)
            self.register_buffer("mask", mask)

        def forward(self, x):
            return super().forward(x, self.mask[: x.shape[1], : x.shape[1]])

    for mask in (torch.ones(9, 9, dtype=torch.bool).tril(), torch.full((9, 9), -math.inf).triu(1)):
        before = mask.clone()
        model = Buffered(mask)
        assert_same(model, torch.randn(2, 6, 8), causal="exact")
        query = torch.randn(1, 2, 9, 4)
        assert_same(scaled_dot_product_attention, query, query, query, mask, causal="exact")
        assert model.mask is mask
        assert torch.equal(mask, before)


def test_backward_of_a_mask():
    """Five products of the same pairs."""
    model, x = Attention(by_positions), torch.randn(2, 6, 8)
    with OpFlopMode(causal="exact") as m:
        out = model(x)
        out.backward(torch.ones_like(out))
    counted = count(model, x, backward=True, causal="exact")
    assert arithmetic(counted) == arithmetic(m.profile)
    of_attention = [row for row in counted.rows if "attention" in row.op]
    assert sum(row.cost.macs for row in of_attention) == 2 * 2 * 21 * 4 * (2 + 5)


def test_a_bias_of_parameters_hides_nothing_of_its_own():
    """Added to a mask, or under one, it leaves the pairs that the mask lets through."""

    class Biased(Attention):
        def __init__(self, join):
            super().__init__(None)
            self.join = join
            self.bias = nn.Parameter(torch.randn(1, 2, 9, 9))

        def forward(self, x):
            size = x.shape[1]
            return super().forward(x, self.join(self.bias[:, :, :size, :size], by_positions(size)))

    smallest = torch.finfo(torch.float32).min
    for join in (
        lambda bias, seen: torch.where(seen, bias, smallest),
        lambda bias, seen: bias.masked_fill(~seen, -math.inf),
        lambda bias, seen: (bias + torch.where(seen, 0.0, -math.inf)).contiguous(),
    ):
        model, x = Biased(join), torch.randn(2, 6, 8)
        with torch.no_grad(), OpFlopMode(causal="exact") as m:
            model(x)
        with torch.no_grad():
            counted = count(model, x, causal="exact")
        assert arithmetic(counted) == arithmetic(m.profile)
        assert sum(row.cost.macs for row in counted.rows if "attention" in row.op) == 2 * 2 * 21 * 8


def test_a_mask_that_depends_on_activations_has_no_values():
    """It counts every pair, and says so."""

    class Routed(Attention):
        def forward(self, x):
            q, k, v = self.project(x).view(*x.shape[:2], 3, 2, 4).permute(2, 0, 3, 1, 4)
            return scaled_dot_product_attention(q, k, v, attn_mask=x[:, None, None, :, 0] > 0)

    counted = count(Routed(None), torch.randn(2, 6, 8), causal="exact")
    (row,) = [row for row in counted.rows if "attention" in row.op]
    assert (row.estimate, row.cost.macs) == (NO_VALUES, 2 * 2 * 36 * 8)


class Branches(nn.Module):
    """Mask only what is padded, as transformers do: a mask of ones is no mask."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(50, 8)
        self.attend = Attention(None)

    def forward(self, ids, padding):
        is_needed = is_fake(padding) or not padding.all()
        return self.attend(self.embed(ids), padding[:, None, None, :].bool() if is_needed else None)


@pytest.mark.parametrize("causal", ["dense", "exact"])
@pytest.mark.parametrize("hidden", [0, 2])
def test_branches_on_values_and_on_fakes(causal, hidden):
    """A program that would not read a fake tensor takes the branch of a run: no mask has no addition for each score."""
    ids, padding = torch.randint(50, (2, 6)), torch.ones(2, 6, dtype=torch.int64)
    padding[1, :hidden] = 0
    counted = assert_same(Branches(), ids, padding, causal=causal)
    (fused,) = [row for row in counted.rows if "attention" in row.op]
    pairs = 2 * 2 * 36 - (2 * 6 * hidden if causal == "exact" else 0)
    assert fused.cost.macs == pairs * 8
    masked = pairs if hidden else 0
    rows = 2 * 2 * 6
    # Scale, mask, and the softmax: maxima, differences, sums and quotients.
    assert fused.cost.ops == pairs + masked + 4 * pairs - 2 * rows


def test_unknown_values_are_still_needed():
    """Parameters and activations have none, nor has what was written into."""
    with pytest.raises(ValueNeededError):
        count(lambda x: x if x.sum() > 0 else -x, torch.randn(3))
    with pytest.raises(ValueNeededError):
        count(lambda x: bool(torch.zeros(3).copy_(x).any()), torch.randn(3))
    with pytest.raises(ValueNeededError):
        count(lambda x: bool(torch.zeros(2, 3).index_fill_(0, x.argmax()[None], 1).any()), torch.randn(2))
    with pytest.raises(ValueNeededError):
        count(lambda _: bool(torch.rand(3).any()), torch.randn(3))
    with pytest.raises(ValueNeededError):
        count(lambda _: bool(torch.empty(3).any()), torch.randn(3))


def test_views_share_what_is_known():
    """What is written through a view is read from its base, and what is unknown there is unknown here."""

    def known(_):
        base = torch.zeros(4, dtype=torch.int64)
        base[1:3].add_(2)
        assert base.tolist() == [0, 2, 2, 0]
        base.view(2, 2)[1] = 7
        assert base.sum().item() == 16
        return torch.ones(1)

    count(known, torch.ones(1))

    def unknown(x):
        base = torch.zeros(4)
        base[:2].copy_(x)
        return bool(base[3] == 0)

    with pytest.raises(ValueNeededError):
        count(unknown, torch.randn(2))


def test_shapes_may_change_in_place():
    """What has got another shape is unknown until it is filled again, in that shape or another."""

    def model(x):
        made = torch.zeros(3, dtype=torch.int64)
        made.unsqueeze_(0)
        made.fill_(2)
        twice = made * 2
        assert twice.shape == (1, 3)
        return x, twice

    count(model, torch.ones(1))


@pytest.mark.parametrize("where", ["input", "buffer", "global", "large"])
def test_writing_leaves_the_originals_as_they_were(where):
    """What an input or a buffer holds is copied, and the program writes to the copy; what is not copied is unknown."""
    steps, large = torch.tensor([3, 4]), torch.full((10_000,), 3)

    class Counts(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("steps", steps)
            self.register_buffer("large", large)

        def forward(self, given):
            target = {"input": given, "buffer": self.steps, "global": GLOBAL_STEPS, "large": self.large}[where]
            target[0].add_(2)
            return torch.ones(int(target[0]), int(target[1])).exp()

    given = torch.tensor([3, 4])
    with nullcontext() if where in ("input", "buffer") else pytest.raises(ValueNeededError):
        for _ in range(2):
            assert count(Counts(), given).total.transcendentals == 5 * 4
    assert given.tolist() == steps.tolist() == GLOBAL_STEPS.tolist() == [3, 4]
    assert set(large.tolist()) == {3}


WRITES = {
    "+=": lambda net: net.steps.__iadd__(1),
    "add_": lambda net: net.steps.add_(1),
    "copy_": lambda net: net.steps.copy_(torch.arange(2)),
    "fill_": lambda net: net.steps.fill_(2),
    "zero_": lambda net: net.steps.zero_(),
    "scatter_": lambda net: net.steps.scatter_(0, torch.tensor([1]), 7),
    "index_fill_": lambda net: net.steps.index_fill_(0, torch.tensor([0]), 5),
    "an element": lambda net: net.steps.__setitem__(0, net.steps[0] + 1),
    "a view": lambda net: net.last.add_(3),
    "an attribute": lambda net: net.plain.mul_(2),
    "a bool": lambda net: net.flag.logical_not_(),
    "a bool from a number": lambda net: net.flag.copy_(net.steps[0] > 9),
}


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("name", WRITES)
def test_what_is_written_to_a_buffer_decides_branches(name, backward):
    """As a counter of steps does: a count has the rows of a run, and starts from the model's own values each time."""

    class Counter(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin = nn.Linear(3, 3)
            self.register_buffer("steps", torch.tensor([3, 4]))
            self.register_buffer("last", self.steps[1:])
            self.register_buffer("flag", torch.tensor(True))
            self.plain = torch.tensor(3)

        def forward(self, x):
            WRITES[name](self)
            x = self.lin(x)
            for _ in range(int(self.steps.sum() + self.plain + self.last)):
                x = x.tanh()
            return x.sin() if self.flag else x.cos() * x

    model, x = Counter(), torch.ones(2, 3)
    counted = [count(model, x, backward=backward) for _ in range(2)]
    with OpFlopMode() as mode:
        out = model(x)
        if backward:
            out.backward(torch.ones_like(out))
    costs = [{(row.module, row.op, row.phase): row.cost for row in each.rows if row.cost.ops} for each in counted]
    assert costs[0] == costs[1] == {(r.module, r.op, r.phase): r.cost for r in mode.profile.rows if r.cost.ops}


GLOBAL_STEPS = torch.tensor([3, 4])


def test_results_whose_size_depends_on_values():
    """Positions of nonzero elements, repetitions and a boolean index have the sizes of a run."""

    def model(x, lengths):
        mask = torch.arange(4) < lengths[:, None]
        return x[mask].exp(), x.repeat_interleave(lengths, 0).sin(), mask.nonzero() * 2

    counted = assert_same(model, torch.randn(3, 4), torch.tensor([4, 1, 2]))
    assert counted.total.transcendentals == 7 + 7 * 4


def test_large_tensors_are_not_computed():
    """A mask of 2**30 pairs has no values, and needs no memory."""
    query = torch.randn(1, 1, 8, 4)

    def model(query):
        mask = torch.ones(2**15, 2**15, dtype=torch.bool).tril()
        return scaled_dot_product_attention(query, query, query, mask[:8, :8])

    counted = count(model, query, causal="exact")
    assert {row.estimate for row in counted.rows if "attention" in row.op} == {NO_VALUES}


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("causal", ["dense", "exact"])
def test_formulas_for_all_sizes_are_those_of_runs(causal, padded):
    """Inputs of other sizes go on as the given ones do, so that the program takes the same branches."""
    ids, padding = torch.randint(50, (2, 6)), torch.ones(2, 6, dtype=torch.int64)
    padding[:, -1] = 0 if padded else 1
    sizes = {0: Dim("batch"), 1: Dim("seq")}
    found = count(Branches(), ids, padding, causal=causal, dynamic_shapes=(sizes, sizes))
    for batch, seq in ((2, 6), (3, 12), (5, 24)):
        padding = torch.ones(batch, seq, dtype=torch.int64)
        padding[:, -1] = 0 if padded else 1
        # A formula for all sizes reads no mask.
        concrete = count(Branches(), torch.zeros(batch, seq, dtype=torch.int64), padding, causal="dense")
        assert whole(found.at(batch=batch, seq=seq)) == whole(concrete)
    reasons = {row.estimate for row in found.rows if "attention" in row.op}
    assert reasons == ({NO_VALUES} if padded and causal == "exact" else {""})


def test_positions_go_on_at_other_sizes():
    """A model that tells packed sequences by their positions finds one sequence at every size."""

    class Packed(Attention):
        def forward(self, x, positions):
            packed = is_fake(positions) or bool((positions.diff() != 1).any())
            return super().forward(x, torch.ones(x.shape[1], x.shape[1], dtype=torch.bool) if packed else None)

    sizes = {1: Dim("seq")}
    found = count(
        Packed(None), torch.randn(1, 6, 8), torch.arange(6)[None] + 3, dynamic_shapes=(sizes, sizes)
    )  # fmt: skip
    model, x = Packed(None), torch.randn(1, 11, 8)
    with OpFlopMode() as m:
        model(x, torch.arange(11)[None])
    assert found.at(seq=11).total.flops == m.total.flops


def test_fake_tensors_are_found_again_after_a_count():
    """Programs are told the truth outside, and within about tensors of unknown values; so is PyTorch's own code."""
    cls = torch._subclasses.FakeTensor

    def model(x):
        assert is_fake(x)
        assert not is_fake(torch.arange(3))
        assert issubclass(cls, torch._subclasses.FakeTensor)
        with pytest.raises(AttributeError, match="no attribute 'nothing'"):
            _ = torch._subclasses.nothing
        return x

    count(model, torch.randn(2))
    assert torch._subclasses.FakeTensor is cls
    assert "__getattr__" not in vars(torch._subclasses)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # PyTorch's own use, in forward mode
@pytest.mark.parametrize("function", [lambda a: (a**2).sum(), lambda a: a.sin().sum(), lambda a: a.softmax(0).prod()])
@pytest.mark.parametrize("transform", [torch.func.hessian, lambda f: torch.func.jacfwd(torch.func.grad(f))])
def test_zeros_of_forward_mode_have_no_values(function, transform):
    """Those that have no storage cannot be read; a count is a run, and does not crash."""
    assert_same(transform(function), torch.ones(3))
