"""Nested tensors of both layouts: they run as without a mode, and cost what their components cost one by one."""

import copy
import logging
from contextlib import nullcontext, suppress

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_leaves

from opflops import Cost, Estimate, OpFlopMode, UnpricedOpWarning, ValueNeededError, count
from opflops.pricing.nested_calls import calls_by_component

pytestmark = pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")

GRAD_MODES = [torch.enable_grad, torch.no_grad, torch.inference_mode]
LAYOUTS = [torch.jagged, torch.strided]
LENGTHS, WIDTH = (3, 5, 2), 4
ROWS = sum(LENGTHS)
WEIGHT, BIAS, NORM = torch.randn(6, WIDTH), torch.randn(6), torch.ones(WIDTH)


def jagged(components, **options):
    return torch.nested.nested_tensor(components, layout=torch.jagged, **options)


def strided(components, **options):
    return torch.nested.nested_tensor(components, layout=torch.strided, **options)


def work(profile):
    """Return macs, ops and transcendentals."""
    return tuple(profile.total)[:3]


def dense_parts(value):
    """List the dense tensors that a value consists of."""
    parts = []
    for leaf in tree_leaves(value):
        if isinstance(leaf, torch.Tensor):
            parts += [each.detach() for each in (leaf.unbind() if leaf.is_nested else [leaf])]
    return parts


def heads(number, size, lengths=LENGTHS):
    """Make queries, keys or values of each sequence: (heads, length, size)."""
    return [torch.randn(number, length, size) for length in lengths]


def as_jagged(components, **options):
    """Lay (heads, length, size) out as the projections of a model are: (length, heads, size), transposed."""
    return jagged([each.transpose(0, 1).contiguous() for each in components], **options).transpose(1, 2)


def softmax_work(rows, number):
    """Count the operations of a softmax that is zero for rows of -inf only: it compares each score, and reduces those.

    A row of n takes n - 1 steps for each of three reductions, and n subtractions, divisions and comparisons.
    """
    return sum(number * length * (3 * (length - 1) + 3 * length) for length in rows)


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("grad_mode", GRAD_MODES)
@pytest.mark.parametrize(("lengths", "number", "size"), [((5,), 2, 8), ((7, 1, 4), 3, 16)])
def test_attention_on_jagged_tensors(lengths, number, size, grad_mode, inside):
    """On the CPU, by true lengths, in each grad mode, for tensors made in the block or before it."""
    macs = 2 * number * size * sum(length**2 for length in lengths)
    parts = [heads(number, size, lengths) for _ in range(3)]
    with grad_mode():
        without = functional.scaled_dot_product_attention(*map(as_jagged, parts)).values()
        tensors = None if inside else [as_jagged(each) for each in parts]
        with OpFlopMode(strict=True) as mode:
            out = functional.scaled_dot_product_attention(*(tensors or map(as_jagged, parts))).values()
    assert torch.equal(out, without)
    elements = number * size * sum(lengths)
    scores = number * sum(length**2 for length in lengths)
    # Queries and keys are both scaled by the fourth root.
    assert work(mode.profile) == (macs, 2 * elements + softmax_work(lengths, number), scores)
    assert not any(row.estimate for row in mode.profile.rows)


def test_the_backward_of_attention_on_jagged_tensors():
    """Each of the two products has two gradients, which PyTorch runs as matmuls: twice the forward."""
    lengths = (32, 64, 96, 128)
    parts = [heads(8, 64, lengths) for _ in range(3)]

    def gradients():
        leaves = [jagged([one.transpose(0, 1).contiguous() for one in each], requires_grad=True) for each in parts]
        out = functional.scaled_dot_product_attention(*(leaf.transpose(1, 2) for leaf in leaves))
        out.values().sum().backward()
        return dense_parts([leaf.grad for leaf in leaves])

    without = gradients()
    with OpFlopMode(strict=True) as mode:
        counted = gradients()
    assert all(map(torch.equal, counted, without))
    macs = {phase: cost.macs for phase, cost in mode.profile.by("phase").items() if cost.macs}
    assert macs == {"forward": 31_457_280, "backward": 62_914_560}


@pytest.mark.parametrize("make", [as_jagged, strided])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_attention_on_nested_tensors_costs_what_its_components_cost(make, dropout):
    """In arithmetic and in bytes, by the math path, which is what PyTorch runs; dropout draws, masks and scales."""
    parts = [heads(2, 4) for _ in range(3)]
    tensors = [make(each) for each in parts]
    with torch.no_grad(), OpFlopMode() as mode:
        functional.scaled_dot_product_attention(*tensors, dropout_p=dropout)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), OpFlopMode() as one_by_one:
        for each in zip(*parts, strict=True):
            functional.scaled_dot_product_attention(*(one[None] for one in each))
    scores = 2 * sum(length**2 for length in LENGTHS)
    dropped = Cost(ops=3 * scores) if dropout else Cost()
    assert work(mode.profile) == tuple(one_by_one.total + dropped)[:3]
    if make is strided and not dropout:
        assert mode.total == one_by_one.total


class Attention(nn.Module):
    """Attention as the tutorial on nested tensors writes it."""

    def __init__(self, width=16, number=4):
        super().__init__()
        self.number = number
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x):
        projected = (layer(x).unflatten(-1, [self.number, -1]).transpose(1, 2) for layer in self.layers())
        return self.out(functional.scaled_dot_product_attention(*projected).transpose(1, 2).flatten(-2))

    def layers(self):
        return self.query, self.key, self.value


class Block(nn.Module):
    def __init__(self, width=16):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width)
        self.feed_forward = nn.Sequential(nn.Linear(width, 32), nn.GELU(), nn.Linear(32, width))

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.feed_forward(self.norm2(x))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("grad_mode", GRAD_MODES)
def test_a_transformer_on_jagged_tensors_costs_what_its_sequences_cost(grad_mode, training):
    """Each module, forward and backward; results and gradients are as without a mode."""
    model = Block().train(training)
    sequences = [torch.randn(length, 16) for length in (3, 7, 5)]
    with_gradients = grad_mode is torch.enable_grad

    def step(x):
        model.zero_grad()
        out = model(x)
        out = out.values() if out.is_nested else out
        if with_gradients:
            out.sum().backward()
        return [out.detach(), *[each.grad.clone() for each in model.parameters() if with_gradients]]

    with grad_mode():
        without = step(jagged(sequences, requires_grad=with_gradients))
        with OpFlopMode(strict=True) as mode:
            counted = step(jagged(sequences, requires_grad=with_gradients))
        one_by_one = {}
        for sequence in sequences:
            with sdpa_kernel(SDPBackend.MATH), OpFlopMode() as alone:
                step(sequence[None].clone().requires_grad_(with_gradients))
            for key, cost in alone.profile.by("module", "phase").items():
                one_by_one[key] = one_by_one.get(key, Cost()) + cost
    assert all(map(torch.equal, counted, without))
    together = mode.profile.by("module", "phase")
    for (module, phase), cost in one_by_one.items():
        assert together[module, phase].macs == cost.macs, module
        assert together[module, phase].transcendentals == cost.transcendentals, module
        if phase == "forward" and module:
            assert together[module, phase].ops == cost.ops, module


def components(*tail):
    return [torch.rand(length, *tail) + 0.1 for length in LENGTHS]


# Functions of strided nested tensors, and how many of them they take.
STRIDED = {
    "linear": (lambda x: functional.linear(x, WEIGHT, BIAS), 1),
    "linear without bias": (lambda x: functional.linear(x, WEIGHT), 1),
    "matmul": (lambda x, y: x @ y.transpose(-1, -2), 2),
    "bmm": (lambda x, y: torch.bmm(x, y.transpose(1, 2)), 2),
    "softmax": (lambda x: torch.softmax(x, -1), 1),
    "softmax of the ragged axis": (lambda x: torch.softmax(x, 1), 1),
    "layer_norm": (lambda x: functional.layer_norm(x, (WIDTH,), NORM, NORM), 1),
    **{name: (getattr(functional, name), 1) for name in ("gelu", "relu", "silu")},
    "gelu of tanh": (lambda x: functional.gelu(x, approximate="tanh"), 1),
    **{name: (getattr(torch, name), 1) for name in ("abs", "neg", "sgn", "sin", "cos", "sqrt", "tanh", "isnan")},
    **{name: (getattr(torch, name), 2) for name in ("add", "sub", "mul", "div")},
    "add with alpha": (lambda x, y: torch.add(x, y, alpha=3), 2),
    "add a number": (lambda x: x + 2, 1),
    "add in place": (lambda x, y: (x * 1).add_(y), 2),
    "compare": (lambda x: (x > 0.5, x == 0.5, x >= 0.5), 1),
    "transpose": (lambda x: x.transpose(1, 2).contiguous(), 1),
    "select": (lambda x: x.select(2, 1), 1),
    "chunk": (lambda x: x.chunk(2, -1), 1),
    "narrow": (lambda x: x.narrow(0, 0, 1), 1),
    "split": (lambda x: torch.split(x, [1, 3], -1), 1),
    "reshape": (lambda x: x.reshape(x.size(0), -1, 2, 2), 1),
    "sum": (lambda x: x.sum(-1, keepdim=True), 1),
    "cat": (lambda x, y: torch.cat([x, y], 0), 2),
    "masked_fill": (lambda x: x.masked_fill(x > 0.5, 0.0), 1),
    "unbind": (lambda x: x.unbind(), 1),
    "clone": (lambda x: x.clone(), 1),
    "dtype": (lambda x: x.to(torch.float64), 1),
}


@pytest.mark.parametrize("grad_mode", GRAD_MODES)
@pytest.mark.parametrize("name", STRIDED)
def test_operators_on_strided_nested_tensors_cost_what_their_components_cost(name, grad_mode):
    """Matmuls, reductions and pointwise operators; nothing is unpriced, and the results are as without a mode."""
    function, number = STRIDED[name]
    parts = [components(WIDTH) for _ in range(number)]
    with grad_mode():
        tensors = [strided(each) for each in parts]
        without = function(*tensors)
        with OpFlopMode(strict=True) as mode:
            out = function(*tensors)
        assert all(map(torch.equal, dense_parts(out), dense_parts(without)))
        one_by_one = (0, 0, 0)
        for each in zip(*parts, strict=True):
            with OpFlopMode() as alone:
                function(*(one[None] for one in each))
            one_by_one = tuple(map(sum, zip(one_by_one, work(alone.profile), strict=True)))
    assert work(mode.profile) == one_by_one


# PyTorch has no gradients of the others for strided nested tensors.
DIFFERENTIABLE = """
linear matmul bmm softmax layer_norm gelu relu silu abs neg sin cos sqrt add sub mul div transpose sum masked_fill clone
dtype
""".split()  # noqa: SIM905 - a list of names to read


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_gradients_of_strided_nested_tensors_cost_what_their_components_cost(name):
    """The gradients are as without a mode. Each takes the products and functions of the components' gradients."""
    function, number = STRIDED[name]
    parts = [components(WIDTH) for _ in range(number)]

    def gradients(leaves):
        outputs = [each for each in tree_leaves(function(*leaves)) if isinstance(each, torch.Tensor)]
        ones = [torch.ones_like(each) for each in outputs]
        return torch.autograd.grad(outputs, leaves, ones)

    without = gradients([strided(each, requires_grad=True) for each in parts])
    with OpFlopMode(strict=True) as mode:
        counted = gradients([strided(each, requires_grad=True) for each in parts])
    assert all(map(torch.equal, dense_parts(counted), dense_parts(without)))
    one_by_one = (0, 0, 0)
    for each in zip(*parts, strict=True):
        with OpFlopMode() as alone:
            gradients([one[None].clone().requires_grad_() for one in each])
        one_by_one = tuple(map(sum, zip(one_by_one, work(alone.profile), strict=True)))
    assert work(mode.profile) == one_by_one


def test_a_matmul_of_strided_nested_tensors_by_hand():
    """Two rows of three by three columns, and four of three by one, in one row of the operator's own name."""
    left, right = strided([torch.rand(2, 3), torch.rand(4, 3)]), strided([torch.rand(3, 3), torch.rand(3, 1)])
    for grad_mode in GRAD_MODES:
        with grad_mode(), OpFlopMode(strict=True) as mode:
            left @ right
        (row,) = mode.profile.rows
        assert (row.op, row.calls) == ("aten.matmul", 1)
        assert row.cost == Cost(
            macs=2 * 3 * 3 + 4 * 3 * 1, bytes_read=4 * (6 + 12 + 9 + 3), bytes_written=4 * (2 * 3 + 4 * 1)
        )


def test_components_of_one_shape_count_each():
    """By hand: two products of two by three by two, and one of one by three by one; so do those of rows of weights."""
    x = strided([torch.rand(2, 3), torch.rand(1, 3), torch.rand(2, 3)])
    for grad_mode in GRAD_MODES:
        with grad_mode(), OpFlopMode(strict=True) as mode:
            x @ x.transpose(1, 2)
            functional.linear(x, torch.ones(4, 3))
        by_op = mode.profile.by("op")
        assert by_op["aten.matmul"].macs == 2 * 2 * 3 * 2 + 1 * 3 * 1
        assert by_op["aten.linear"].macs == 5 * 3 * 4


def test_inference_mode_runs_the_operators_of_other_grad_modes():
    """Composite operators without a kernel for nested tensors decompose, and views count as views of any part."""

    def program(query, x):
        functional.scaled_dot_product_attention(query, query, query)
        functional.dropout(x.reshape(3, -1, 2, 2), 0.5, training=True)
        return x.narrow(0, 1, 2), x.chunk(4, -1)

    query, x = strided(heads(2, 4)), strided(components(WIDTH))
    counted = []
    for grad_mode in GRAD_MODES[1:]:
        with grad_mode(), OpFlopMode(strict=True) as mode:
            program(query, x)
        counted.append({op: tuple(cost)[:3] for op, cost in mode.profile.by("op").items() if any(cost[:3])})
    assert counted[0] == counted[1]
    assert set(counted[0]) == {"aten.mul", "aten.matmul", "aten._safe_softmax", "aten.native_dropout"}


def test_a_product_of_complex_nested_tensors_takes_four_real_products():
    """By hand: two by two and four by four results of three pairs each, and 24 weights of an input row with a bias."""
    x = strided([torch.rand(2, 3, dtype=torch.complex64), torch.rand(4, 3, dtype=torch.complex64)])
    weight, bias = torch.rand(8, 3, dtype=torch.complex64), torch.rand(8, dtype=torch.complex64)
    with torch.no_grad(), OpFlopMode(strict=True) as mode:
        x @ x.transpose(1, 2)
        functional.linear(x, weight, bias)
    by_op = mode.profile.by("op")
    assert by_op["aten.matmul"].macs == 4 * (2 * 2 + 4 * 4) * 3
    assert (by_op["aten.linear"].macs, by_op["aten.linear"].ops) == (4 * 6 * 24, 2 * 6 * 8)


def test_a_linear_layer_on_strided_nested_tensors_reads_its_weight_once():
    """By hand: ten rows of 4 by 24 weights, 6 additions of a bias a row; the weight is shared by all components."""
    with OpFlopMode(strict=True) as mode:
        functional.linear(strided(components(WIDTH)), WEIGHT, BIAS)
    (cost,) = [row.cost for row in mode.profile.rows if row.op == "aten.linear"]
    assert cost == Cost(ROWS * 24, ROWS * 6, 0, 4 * (ROWS * WIDTH + 24 + 6), 4 * ROWS * 6)


def test_a_nested_tensor_without_components_costs_nothing():
    """There is nothing to compute."""
    with OpFlopMode(strict=True) as mode:
        torch.relu(strided([]))
    assert mode.total == Cost()


def test_timing_of_nested_tensors():
    """A matmul of nested tensors is timed as one operator."""
    left = strided(components(WIDTH))
    with OpFlopMode(timing=True) as mode:
        left @ left.transpose(1, 2)
    (row,) = [row for row in mode.profile.rows if row.op == "aten.matmul"]
    assert row.seconds > 0
    assert row.cost.macs == WIDTH * sum(length**2 for length in LENGTHS)


def test_a_formula_that_fails_on_nested_tensors_is_reported():
    """The operator runs, and the warning names the shapes of the components."""

    def broken(self):
        raise ValueError("no luck")

    x = strided([torch.ones(2, 3), torch.ones(1, 3)])
    message = r"failed on nested \[\(2, 3\), \(1, 3\)\]: ValueError\('no luck'\)"
    with pytest.warns(UnpricedOpWarning, match=message), OpFlopMode(formulas={torch.ops.aten.relu: broken}) as mode:
        out = torch.relu(x)
    assert mode.profile.unpriced == {"aten.relu": 1}
    assert out.unbind()[0].shape == (2, 3)


def test_a_formula_of_shapes_holds_for_nested_tensors():
    """A user's formula that asks for a shape gets that of each component, as a batch of one."""
    shapes = []

    def by_shape(self):
        shapes.append(tuple(self.shape))
        return Cost(ops=self.shape[1])

    x = strided(components(WIDTH))
    with OpFlopMode(formulas={torch.ops.aten.relu: by_shape}) as mode:
        torch.relu(x)
    assert shapes[-3:] == [(1, length, WIDTH) for length in LENGTHS]
    assert mode.total.ops == ROWS


def test_an_estimate_of_a_component_makes_the_whole_one():
    """Its cost is in the sum, and each reason stands once."""

    def estimated(self):
        cost = Cost(ops=self.shape[1])
        return Estimate(cost, "too long to look at") if self.shape[1] > 2 else cost

    x = strided(components(WIDTH))
    with OpFlopMode(formulas={torch.ops.aten.relu: estimated}) as mode:
        torch.relu(x)
    (row,) = mode.profile.rows
    assert (row.cost.ops, row.estimate) == (ROWS, "too long to look at")


def test_dense_tensors_of_the_batch_are_split_with_it():
    """A formula sees the part of a component; a tensor of other axes is seen whole."""
    x, batch, shared = strided(components(WIDTH)), torch.arange(12.0).view(3, 1, 4), torch.ones(3, 4)
    calls = calls_by_component(([x, batch], {"shared": shared}))
    assert [tuple(nested.shape) for (nested, _), _ in calls] == [(1, length, WIDTH) for length in LENGTHS]
    assert torch.equal(torch.cat([part for (_, part), _ in calls]), batch)
    assert all(each["shared"] is shared for _, each in calls)
    assert calls_by_component([batch, shared]) is None
    assert calls_by_component([x, strided([torch.ones(2, 2)])]) is None


@pytest.mark.parametrize("layout", LAYOUTS)
def test_count_says_why_it_cannot_run_on_nested_tensors(layout):
    """Their lengths are values: of inputs, and of tensors that the model makes."""
    x = torch.nested.nested_tensor([torch.ones(2, 4), torch.ones(3, 4)], layout=layout)
    with pytest.raises(ValueNeededError, match="Linear runs on nested tensors, and their lengths are values"):
        count(nn.Linear(4, 3), x)
    with pytest.raises(ValueNeededError, match=r"runs on nested tensors .* run it on real inputs inside OpFlopMode"):
        count(lambda a: torch.nested.as_nested_tensor([a, a], layout=layout).relu(), torch.ones(2, 4))


# Functions of jagged tensors, and how many of them they take.
JAGGED = {
    "linear": (lambda x: functional.linear(x, WEIGHT, BIAS), 1),
    "matmul": (lambda x: x @ WEIGHT.t(), 1),
    "softmax": (lambda x: torch.softmax(x, -1), 1),
    "layer_norm": (lambda x: functional.layer_norm(x, (WIDTH,), NORM, NORM), 1),
    "rms_norm": (lambda x: functional.rms_norm(x, (WIDTH,)), 1),
    **{name: (getattr(functional, name), 1) for name in ("gelu", "relu", "silu", "softplus")},
    **{name: (getattr(torch, name), 1) for name in ("abs", "exp", "sigmoid", "sqrt", "tanh", "rsqrt")},
    **{name: (getattr(torch, name), 2) for name in ("add", "sub", "mul", "div", "maximum", "pow")},
    "a row": (lambda x: x * NORM + BIAS[:WIDTH], 1),
    "where": (lambda x, y: torch.where(x > y, x, y), 2),
    "sum": (lambda x: x.sum(-1), 1),
    "mean": (lambda x: x.mean(-1, keepdim=True), 1),
    "views": (lambda x: x.unflatten(-1, (2, 2)).transpose(1, 2).transpose(1, 2).flatten(-2), 1),
    "chunk": (lambda x: x.chunk(2, -1)[1], 1),
}


# PyTorch has no gradients of these for jagged tensors.
WITHOUT_GRADIENTS = ("maximum", "sum")


@pytest.mark.parametrize("grad_mode", GRAD_MODES)
@pytest.mark.parametrize("name", JAGGED)
def test_operators_on_jagged_tensors_cost_what_their_components_cost(name, grad_mode):
    """Forward and backward, with results and gradients as without a mode, and nothing unpriced."""
    function, number = JAGGED[name]
    parts = [components(WIDTH) for _ in range(number)]
    offsets = torch.tensor([0, *LENGTHS]).cumsum(0)
    with_gradients = grad_mode is torch.enable_grad and name not in WITHOUT_GRADIENTS

    def run(given):
        tensors = [torch.nested.nested_tensor_from_jagged(each, offsets) for each in given]
        return [each.values() for each in tree_leaves(function(*tensors))]

    def run_dense(given):
        return tree_leaves(function(*given))

    def step(run, tensors):
        given = [each.clone().requires_grad_(with_gradients) for each in tensors]
        out = run(given)
        gradients = torch.autograd.grad(out, given, [torch.ones_like(each) for each in out]) if with_gradients else []
        return [each.detach() for each in (*out, *gradients)]

    values = [torch.cat(each) for each in parts]
    with grad_mode():
        without = step(run, values)
        with OpFlopMode(strict=True) as mode:
            counted = step(run, values)
        one_by_one = (0, 0, 0)
        for each in zip(*parts, strict=True):
            with OpFlopMode() as alone:
                step(run_dense, [one[None] for one in each])
            one_by_one = tuple(map(sum, zip(one_by_one, work(alone.profile), strict=True)))
    assert all(map(torch.equal, counted, without))
    assert work(mode.profile) == one_by_one


def njt_operators():
    module = pytest.importorskip("torch.testing._internal.opinfo.definitions.nested")
    return {op.full_name: op for op in module.njt_op_db if op.supports_njt}


# PyTorch itself crashes in the gradient of this one.
CRASHES = ("split_with_sizes",)


def same_as_without(op, sample, *, gradients):
    """Run a sample with and without the mode, and return whether the outcome is the same."""
    leaves = [
        each for each in tree_leaves((sample.input, sample.args, sample.kwargs)) if isinstance(each, torch.Tensor)
    ]
    wanted = [leaf for leaf in leaves if leaf.requires_grad]

    def run():
        torch.manual_seed(0)
        out = op.op(sample.input, *sample.args, **sample.kwargs)
        outputs = [each for each in tree_leaves(out) if isinstance(each, torch.Tensor) and each.requires_grad]
        if not gradients or not outputs:
            return out
        sums = [(each.values() if each.is_nested else each).sum() for each in outputs]
        return out, torch.autograd.grad(sums, wanted, allow_unused=True)

    without, counted = outcome(run), outcome(run, OpFlopMode(strict=True))
    if isinstance(without, type) or isinstance(counted, type):
        return without is counted
    return all(torch.allclose(one, other, equal_nan=True) for one, other in zip(without, counted, strict=True))


def outcome(run, mode=None):
    """Return the tensors that a function returns, or the type of what it raises."""
    try:
        with mode or nullcontext():
            out = run()
    except Exception as error:  # noqa: BLE001 - any, as long as it is the same
        return type(error)
    return [each.values().detach() if each.is_nested else each.detach() for each in _tensors(out)]


def _tensors(value):
    return [each for each in tree_leaves(value) if isinstance(each, torch.Tensor)]


def check_samples(op, step):
    logging.disable(logging.WARNING)  # PyTorch says at length which attention kernels do not suit
    try:
        for requires_grad in (False, True) if op.supports_autograd else (False,):
            dtype = torch.float32 if torch.float32 in op.dtypes else next(iter(op.dtypes))
            samples = op.sample_inputs("cpu", dtype, requires_grad=requires_grad)
            for number, sample in enumerate(_until_error(samples)):
                if number % step == 0:
                    for grad_mode in GRAD_MODES[:1] if requires_grad else GRAD_MODES[1:]:
                        with grad_mode():
                            assert same_as_without(op, sample, gradients=requires_grad), (sample.name, grad_mode)
    finally:
        logging.disable(logging.NOTSET)


def _until_error(samples):
    """Yield samples until PyTorch cannot make the next one."""
    with suppress(NotImplementedError, RuntimeError):
        yield from samples


@pytest.mark.exhaustive
@pytest.mark.filterwarnings("ignore")
def test_all_operators_of_jagged_tensors_run_as_without_a_mode():
    """PyTorch's own samples for jagged tensors: the same results and gradients, or the same error; nothing unpriced."""
    operators = [op for name, op in njt_operators().items() if name not in CRASHES]
    assert len(operators) > 100
    for op in operators:
        check_samples(op, 8)


def test_conversions_between_layouts():
    """From strided to jagged and back, copies and pickles move data and compute nothing."""
    with OpFlopMode(strict=True) as mode:
        first = jagged([torch.ones(2, 3), torch.ones(1, 3)])
        second = strided(list(first.unbind()))
        third = torch.nested.nested_tensor_from_jagged(first.values(), first.offsets())
        torch.nested.to_padded_tensor(second, 0.0)
        copy.deepcopy(first)
    assert torch.equal(third.values(), first.values())
    assert work(mode.profile) == (0, 0, 0)
