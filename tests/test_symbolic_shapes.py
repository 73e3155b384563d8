"""PyTorch's private interfaces for symbolic sizes mean what opflops takes them to mean."""

import itertools
from functools import partial

import pytest
import sympy
import torch
from torch import nn
from torch.nn import functional
from torch.utils._sympy import functions as own

from opflops import OpFlopMode, count
from opflops.torch_internals import fake_tensors, size_arithmetic, symint_patches
from opflops.torch_internals.shared_context import patched
from opflops.torch_internals.symbolic_shapes import Dim, RecordingShapeEnv, parse_dim
from opflops.torch_internals.sympy_conversion import to_standard_sympy
from opflops.torch_internals.sympy_inequalities import solved


def symbolic(*names, location=lambda: "here"):
    """Make symbols, and sizes of 4, 8, 16, ... for them."""
    symbols = RecordingShapeEnv(location)
    return symbols, *(symbols.size(name, 4 << index, 1, None) for index, name in enumerate(names))


def test_a_size_is_an_expression_in_its_dimensions_name():
    """Arithmetic on it stays symbolic, in standard sympy; an integer stays an integer."""
    symbols, n, m = symbolic("n", "m")
    assert symbols.expression(3 * n * (m + 1)) == sympy.sympify("3*n*m + 3*n")
    assert symbols.expression((n - 1) // 2 + 1) == sympy.floor(sympy.Symbol("n") / 2 - sympy.Rational(1, 2)) + 1
    assert symbols.expression(n - n + 3) == 3
    assert type(symbols.expression(n - n + 3)) is type(symbols.expression(7)) is int


def test_guards_are_recorded_with_their_locations():
    """They hold for the example size. Conditions that hold for every size are left out."""
    locations = iter("abc")
    symbols, n, m = symbolic("n", "m", location=lambda: next(locations))
    assert n > 0
    assert n < 9
    assert n * m != 33
    assert [(str(condition), location) for condition, location in symbols.conditions()] == [
        ("n < 9", "a"),
        ("Ne(m*n, 33)", "b"),
    ]
    assert symbols.specialized_dims() == {}
    assert int(n) == 4
    assert symbols.specialized_dims() == {"n": (4, "c")}


def test_bounds_are_known():
    """Those of a Dim, and of one derived from it."""
    dim = Dim("n", min=3, max=9)
    assert parse_dim(dim)[:3] == ("n", 3, 9)
    assert parse_dim(Dim("n"))[:3] == ("n", 0, None)
    derived = parse_dim(2 * dim + 1)
    assert derived[:3] == ("n", 3, 9)
    assert derived.of(5) == 11
    symbols = RecordingShapeEnv(lambda: "")
    assert symbols.size("n", 4, 3, 9) < 10
    assert symbols.recorded_guards == []


def test_no_symbol_stands_for_one():
    """PyTorch assumes that a symbolic size is at least 2, and adds no guard."""
    symbols, n = symbolic("n")
    assert n != 1
    assert symbols.recorded_guards == []


@pytest.mark.parametrize(
    ("function", "plain"),
    [
        (lambda n: own.FloorDiv(n + 1, 3), lambda n: (n + 1) // 3),
        (lambda n: own.CeilDiv(n, 3), lambda n: -(-n // 3)),
        (lambda n: own.CleanDiv(6 * n, 3), lambda n: 2 * n),
        (lambda n: own.Mod(n, 5), lambda n: n % 5),
        (lambda n: own.PythonMod(n - 7, 5), lambda n: (n - 7) % 5),
        (lambda n: own.ModularIndexing(n, 2, 3), lambda n: n // 2 % 3),
        (lambda n: own.Max(1, n - 3), lambda n: max(1, n - 3)),
        (lambda n: own.Min(5, 2 * n), lambda n: min(5, 2 * n)),
        (lambda n: own.TruncToInt(own.ToFloat(n) * 2.5), lambda n: int(n * 2.5)),
        (lambda n: own.TruncToInt(own.ToFloat(n) * 0.7), lambda n: int(n * 0.7)),
        (lambda n: own.TruncToInt(own.ToFloat(n) * 1.3), lambda n: int(n * 1.3)),
        (lambda n: own.FloorToInt(own.IntTrueDiv(n, 4)), lambda n: int(n / 4)),
        (lambda n: own.CeilToInt(own.IntTrueDiv(n, 4)), lambda n: -(-n // 4)),
        (lambda n: own.RoundToInt(own.IntTrueDiv(n, 3)), lambda n: round(n / 3)),
        (lambda n: own.PowByNatural(n, 3), lambda n: n**3),
        (lambda n: own.Where(n > 6, n, 2 * n), lambda n: n if n > 6 else 2 * n),
    ],
)
def test_functions_on_sizes_are_converted_to_standard_sympy(function, plain):
    """With the same values, for small and large sizes."""
    n = sympy.Symbol("n", integer=True, positive=True)
    expression = to_standard_sympy(function(n))
    assert not [part for part in sympy.preorder_traversal(expression) if type(part).__module__.startswith("torch")]
    for size in (*range(1, 60), 1000, 4096):
        assert expression.xreplace({n: sympy.Integer(size)}) == plain(size), size


def addresses(sizes, strides):
    """Visit every element."""
    places = itertools.product(*map(range, sizes))
    return len({sum(index * stride for index, stride in zip(place, strides, strict=True)) for place in places})


@pytest.mark.parametrize(
    ("sizes", "strides"),
    [
        (lambda n, m: (n, m), lambda n, m: (m, 1)),
        (lambda n, m: (m, n), lambda n, m: (1, m)),
        (lambda n, m: (n, m), lambda n, m: (0, 1)),
        (lambda n, m: (n, 3, m), lambda n, m: (m, 0, 1)),
        (lambda n, m: (n, m), lambda n, m: (2 * m, 2)),
        (lambda n, m: (n, m), lambda n, m: (2 * m, 1)),
        (lambda n, m: (n // 2, m), lambda n, m: (m, 1)),
        (lambda n, m: (n, 3), lambda n, m: (1, 1)),
        (lambda n, m: (n, m), lambda n, m: (1, 1)),
    ],
)
def test_distinct_elements_are_counted_without_guards(sizes, strides):
    """Dense, transposed, broadcast, with gaps, and windows that overlap, by visiting every element."""
    symbols, n, m = symbolic("n", "m")
    counted = symbols.expression(size_arithmetic.distinct_elements(sizes(n, m), strides(n, m)))
    assert symbols.recorded_guards == []
    for example in itertools.product((2, 3, 4, 7), repeat=2):
        known = dict(zip(sympy.symbols("n m"), map(sympy.Integer, example), strict=True))
        assert counted.xreplace(known) == addresses(sizes(*example), strides(*example)), example


def test_distinct_elements_of_a_tensor_that_may_be_empty_are_its_elements():
    """PyTorch computes strides with at least one element in each dimension."""
    symbols, n, m = symbolic("n", "m")
    rows, columns = n // 8, m // 8
    counted = size_arithmetic.distinct_elements(
        (3, rows, columns), (torch.sym_max(1, rows) * torch.sym_max(1, columns), torch.sym_max(1, columns), 1)
    )
    assert symbols.expression(counted) == symbols.expression(3 * rows * columns)
    assert symbols.recorded_guards == []


def test_halvings_are_exact():
    """ceil(log2 n), of numbers and of symbols."""
    symbols, n = symbolic("n")
    expression = symbols.expression(size_arithmetic.ceil_log2(n))
    for size in (1, 2, 3, 4, 5, 8, 9, 2**31, 2**31 + 1, 2**60):
        wanted = (size - 1).bit_length()
        assert (
            size_arithmetic.ceil_log2(size) == expression.xreplace({sympy.Symbol("n"): sympy.Integer(size)}) == wanted
        )
    assert size_arithmetic.ceil_log2(0) == 0
    assert symbols.recorded_guards == []


def counted(function):
    """Run a function on real tensors; returns its results and the rows."""
    torch.manual_seed(0)
    with torch.no_grad(), OpFlopMode() as mode:
        out = function()
    return torch.utils._pytree.tree_leaves(out), mode.profile.rows


RESAMPLED = {
    "nearest": (1, 2, 3),
    "nearest-exact": (1, 2, 3),
    "linear": (1,),
    "bilinear": (2,),
    "bicubic": (2,),
    "trilinear": (3,),
}


@pytest.mark.parametrize("by", [{"scale_factor": 2}, {"scale_factor": 1.3}, {"size": 7}], ids=str)
@pytest.mark.parametrize("mode", RESAMPLED)
def test_patched_interpolation_is_that_of_pytorch(monkeypatch, mode, by):
    """The same operators, and the same values."""
    for rank in RESAMPLED[mode]:
        x = torch.rand(2, 3, *(5, 6, 4)[:rank])
        options = [{}] if "nearest" in mode else [{"align_corners": True}, {"align_corners": False}]
        options += [{"align_corners": False, "antialias": True}] if mode in ("bilinear", "bicubic") else []
        for option in options:
            call = partial(functional.interpolate, x, mode=mode, **by, **option)
            with monkeypatch.context() as patch:
                wanted, rows = counted(call)
                patch.setattr(symint_patches, "_is_symbolic", lambda _: True)
                with symint_patches.symint_patches_active():
                    found, own_rows = counted(call)
            assert torch.equal(found[0], wanted[0])
            assert own_rows == rows


@pytest.mark.parametrize("options", [{}, {"bias": False}, {"batch_first": True}, {"dropout": 0.5}], ids=str)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_patched_recurrent_layers_are_those_of_pytorch(monkeypatch, kind, bidirectional, options):
    """The same operators, as many calls, and the same values."""
    layer, x = kind(6, 10, 2, bidirectional=bidirectional, **options), torch.rand(5, 3, 6)
    wanted, rows = counted(lambda: layer(x))
    monkeypatch.setattr(symint_patches, "_is_symbolic", lambda _: True)
    with symint_patches.symint_patches_active():
        found, own_rows = counted(lambda: layer(x))
    for ours, pytorchs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, pytorchs)
    assert {(row.op, row.calls, row.cost) for row in own_rows} == {(row.op, row.calls, row.cost) for row in rows}


@pytest.mark.parametrize(
    "index",
    {
        "[:]": lambda n: slice(None),
        "[:, :5]": lambda n: (slice(None), slice(5)),
        "[:, 1:]": lambda n: (slice(None), slice(1, None)),
        "[:, :, None]": lambda n: (slice(None), slice(None), None),
        "[..., :, 1]": lambda n: (..., slice(None), 1),
        "[None, ..., None, :]": lambda n: (None, ..., None, slice(None)),
        "[0:, -1, ...]": lambda n: (slice(0, None), -1, ...),
        "[:n]": lambda n: slice(n),
        "[:n + 1, ::2]": lambda n: (slice(n + 1), slice(None, None, 2)),
        "[None, :n]": lambda n: (None, slice(n)),
        "[n // 2:, None]": lambda n: (slice(n // 2, None), None),
    }.items(),
    ids=lambda item: item[0],
)
def test_indexing_runs_the_operators_of_a_run(index):
    """A slice of a whole dimension calls none, whether its bounds are left out or symbolic."""
    _, index = index

    def program(x):
        x[index(x.shape[0])].sin().sum().backward()

    found = count(program, torch.rand(8, 5, requires_grad=True), dynamic_shapes=({0: Dim("n")},))
    for size in (8, 13):
        wanted = count(program, torch.rand(size, 5, requires_grad=True))
        assert [(row.op, row.calls) for row in found.rows] == [(row.op, row.calls) for row in wanted.rows]
        assert sympy.sympify(found.total.ops).subs("n", size) == wanted.total.ops


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_contexts_that_patch_one_attribute_end_in_any_order(order):
    """Each wraps what is there while it lasts, and the last one puts back what was there before the first."""
    owner = type("Owner", (), {"method": lambda: 0})
    original = owner.method
    contexts = [patched(lambda k=k: [(owner, "method", lambda call: lambda: 10 * call() + k)])() for k in (1, 2, 3)]
    for context in contexts:
        context.__enter__()
    assert owner.method() == 123
    active = [1, 2, 3]
    for index in order:
        contexts[index].__exit__(None, None, None)
        active.remove(index + 1)
        assert owner.method() == int("".join(map(str, active)) or 0)
    assert vars(owner)["method"] is original


def test_all_patches_are_removed():
    """From attributes of the object itself, and from inherited ones."""
    before = [
        (owner, name, vars(owner).get(name), getattr(owner, name)) for owner, name, _ in symint_patches._patches()
    ]
    assert len(before) > 15

    def fail():
        with symint_patches.symint_patches_active():
            assert all(getattr(owner, name) is not value for owner, name, _, value in before)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert all(vars(owner).get(name) is own and getattr(owner, name) == value for owner, name, own, value in before)


def test_gradients_of_interpolation_take_their_shape_as_an_argument():
    """At the index that symint_patches expects, by the schema."""
    assert len(symint_patches._INPUT_SIZE_ARGUMENT) > 8
    for overload, index in symint_patches._INPUT_SIZE_ARGUMENT.items():
        assert overload._schema.arguments[index].name == "input_size"


def test_no_fake_result_is_returned_twice():
    """A fake kernel may return one tensor twice, depending on the calls before."""
    layer = nn.LSTM(4, 3)
    with fake_tensors.fake_copies((layer, torch.rand(5, 2, 4))) as (copied, x):
        for _ in range(2):
            copied.zero_grad(set_to_none=True)
            copied(x)[0].sum().backward()
            gradients = [parameter.grad for parameter in copied.parameters()]
            assert len({id(gradient) for gradient in gradients}) == len(gradients)


@pytest.mark.parametrize("relation", [sympy.Ne, sympy.Eq, sympy.Gt, sympy.Ge, sympy.Lt, sympy.Le])
def test_a_solved_condition_holds_at_the_same_sizes(relation):
    """By brute force; it is about the size itself wherever the coefficient divides the constant."""
    n = sympy.Symbol("n", integer=True)
    for factor, constant, other in itertools.product((-3, -2, -1, 1, 2, 3), (-6, -1, 0, 4), (-2, 0, 5)):
        condition = relation(factor * n + constant, other, evaluate=False)
        found = solved(condition)
        for size in range(-12, 13):
            assert bool(found.subs(n, size)) == bool(condition.subs(n, size))
        if (other - constant) % factor == 0:
            assert (found.lhs, found.rhs.is_Integer) == (n, True)
    for kept in (relation(n**2, 4), relation(n * sympy.Symbol("m"), 4), relation(sympy.floor(n / 2), 4)):
        assert solved(kept) == kept


def test_conditions_of_one_size_are_about_the_size_itself():
    """As b - 1 != 1, which excludes 2."""
    symbols, n = symbolic("n")
    assert n - 1 != 1
    assert 2 * n + 1 != 13
    assert 20 - 2 * n > 4
    assert [str(condition) for condition, _ in symbols.conditions()] == ["Ne(n, 2)", "Ne(n, 6)", "n < 8"]
