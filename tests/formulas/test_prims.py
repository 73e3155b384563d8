"""Primitives: each against the aten operators that PyTorch runs it as, and the bytes of those that only move."""

import functools
from dataclasses import replace

import pytest
import torch
import torch._prims
from counted import cost_of

from opflops import Cost, OpFlopMode, coverage
from opflops.pricing.registry import registry
from opflops.records.cost import Estimate
from opflops.torch_internals.dispatch import packet_of

prims = torch.ops.prims

x, y = (torch.rand(2, 3) * 0.5 + 0.25 for _ in range(2))
m, n = torch.randint(1, 5, (2, 2, 3)).unbind()
z, w = torch.rand(2, 2, 3, dtype=torch.complex64).unbind()
tall = torch.rand(2, 4, 3)
cpu = torch.device("cpu")

_UNARY = """
abs acos acosh asin asinh atan atanh bessel_i0 bessel_i0e bessel_i1 bessel_i1e bessel_j0 bessel_j1 cbrt ceil cos
cosh digamma erf erf_inv erfc erfcx exp exp2 expm1 floor frexp isfinite lgamma log log10 log1p log2 ndtri neg reciprocal
round rsqrt sign signbit sin sinh spherical_bessel_j0 sqrt tan tanh trunc
"""
_BINARY = """
add atan2 div eq fmax fmin fmod ge gt hypot igamma igammac le lt maximum minimum mul ne nextafter pow remainder sub zeta
"""
_ON_BITS = "bitwise_and bitwise_or bitwise_xor div gcd shift_left shift_right_arithmetic"
_COMPLEX = "abs acos conj_physical exp isfinite log neg reciprocal rsqrt sin sqrt tanh"
_COMPLEX_PAIRS = "add div eq mul ne pow sub"
_FOLDS = "amax amin prod sum"


def _cases():
    for names, args in [
        (_UNARY, (x,)),
        (_BINARY, (x, y)),
        (_ON_BITS, (m, n)),
        ("bitwise_not isfinite neg", (m,)),
        (_COMPLEX, (z,)),
        (_COMPLEX_PAIRS, (z, w)),
        (_FOLDS, (tall, [1])),
        (_FOLDS, (tall, [0, 2])),
        ("prod sum", (tall * 1j, [1])),
        ("var", (tall, [1], 1)),
        ("var", (tall * 1j, [1], 1)),
    ]:
        for name in names.split():
            yield getattr(prims, name).default, args
    yield from ((prims.fft_c2c.default, (z, [1], True)), (prims.fft_r2c.default, (x, [1], True)))
    yield prims.fft_c2r.default, (z, [1], 4)
    yield prims.svd.default, (tall, True)
    yield prims.svd.default, (tall, False)


CASES = list(_cases())
NAMES = [f"{packet_of(prim).__name__}-{len(args)}-{args[0].dtype}" for prim, args in CASES]


def called(prim, args):
    """Give the last arguments by name where the schema wants that."""
    schema = prim._schema.arguments
    positional = sum(not argument.kwarg_only for argument in schema)
    given = dict(zip([argument.name for argument in schema if argument.kwarg_only], args[positional:], strict=False))
    return args[:positional], given


def work(function, args, named):
    """Add up the operations of every row; of floating rows alone where there are any."""
    with OpFlopMode(strict=True) as mode:
        function(*args, **named)
    rows = mode.profile.rows
    total = mode.total
    if not any(argument.is_floating_point() or argument.is_complex() for argument in args if torch.is_tensor(argument)):
        total = sum((row.cost for row in rows), Cost())
    return Cost(total.macs, total.ops, total.transcendentals), {row.estimate for row in rows}


@pytest.mark.parametrize(("prim", "args"), CASES, ids=NAMES)
def test_a_primitive_costs_what_it_is_run_as(prim, args):
    """The aten operators that PyTorch implements a primitive by are charged the same, with the same reserve."""
    args, named = called(prim, args)
    assert work(prim, args, named) == work(prim.impl_aten, args, named)


@pytest.mark.parametrize(("prim", "args"), CASES, ids=NAMES)
def test_meta_tensors_cost_what_real_ones_do(prim, args):
    """Only sizes and dtypes decide."""
    args, named = called(prim, args)
    on_meta = [argument.to("meta") if torch.is_tensor(argument) else argument for argument in args]
    assert work(prim, on_meta, named) == work(prim, args, named)


@pytest.mark.parametrize(
    ("function", "ops", "transcendentals"),
    [
        (lambda: prims.add(x, y), 6, 0),
        (lambda: prims.div(x, y), 6, 0),
        (lambda: prims.fmod(x, y), 24, 0),
        (lambda: prims.isfinite(x), 18, 0),  # it is itself, its size is not infinite
        (lambda: prims.exp(x), 0, 6),
        (lambda: prims.erf_inv(x), 0, 6),
        (lambda: prims.cbrt(x), 12, 6),  # the size, a power, the sign
        (lambda: prims.mul(z, w), 36, 0),
        # 24 elements in 6 columns of 4
        (lambda: prims.sum(tall, [1]), 18, 0),
        (lambda: prims.amax(tall, [1]), 18, 0),
        (lambda: prims.prod(tall, [1]), 18, 0),
        # means 18 + 6, differences 24, squares 24, sums 18, divisions 6
        (lambda: prims.var(tall, [1], 1), 96, 0),
    ],
)
def test_primitives_by_hand(function, ops, transcendentals):
    """The operations of the definition, counted by hand."""
    assert cost_of(function) == Cost(ops=ops, transcendentals=transcendentals)


def test_whole_numbers_are_divided_and_cut():
    """As in aten with rounding: 2 operations an element, in no floating-point total."""
    assert work(prims.div, (m, n), {})[0] == Cost(ops=12)
    assert cost_of(prims.div, m, n) == Cost()


def test_a_fold_of_bits_takes_a_step_less_than_there_are():
    """No eager kernel runs it; 24 numbers in 6 columns fold in 18 steps."""
    columns = torch.empty(2, 4, 3, dtype=torch.int64, device="meta")
    assert work(prims.xor_sum, (columns, [1]), {})[0] == Cost(ops=18)


MADE = {"dtype": torch.float32, "device": cpu, "requires_grad": False}
# Bytes read and written; x has 24 bytes.
MOVES = [
    (lambda: prims.as_strided(x.clone(), [3], [1], 0), 0, 0),
    (lambda: prims.broadcast_in_dim(x, [4, 2, 3], [1, 2]), 0, 0),
    (lambda: prims.collapse_view(x, 0, 1), 0, 0),
    (lambda: prims.conj(z), 0, 0),
    (lambda: prims.imag(z), 0, 0),
    (lambda: prims.real(z), 0, 0),
    (lambda: prims.resize(torch.empty(0), [2, 3]), 0, 0),
    (lambda: prims.split_dim(x, 1, 3), 0, 0),
    (lambda: prims.squeeze(x[:, :1], [1]), 0, 0),
    (lambda: prims.transpose(x, [1, 0]), 0, 0),
    (lambda: prims.view_of(x), 0, 0),
    (lambda: prims.view_of_dtype(x, torch.int32), 0, 0),
    (lambda: prims.empty([2, 3], **MADE), 0, 0),
    (lambda: prims.empty_permuted([2, 3], [1, 0], **MADE), 0, 0),
    (lambda: prims.empty_strided([2, 3], [3, 1], **MADE), 0, 0),
    (lambda: prims.as_strided_scatter(x, y[0], [3], [1], 0), 24 + 12, 24),
    (lambda: prims.cat([x, y], 0), 48, 48),
    (lambda: prims.clone(x), 24, 24),
    (lambda: prims.collapse(x, 0, 1), 24, 24),
    (lambda: prims.convert_element_type(x, torch.float64), 24, 48),
    (lambda: prims.copy_strided(x, [1, 2]), 24, 24),
    (lambda: prims.device_put(x, torch.device("meta")), 24, 24),
    (lambda: prims.item(x[0, 0]), 4, 0),
    (lambda: prims.reshape(x, [6]), 24, 24),
    (lambda: prims.rev(x, [0]), 24, 24),
    (lambda: prims.where(m > 2, x, y), 6 + 24 + 24, 24),
    (lambda: prims.copy_to(x.clone(), y), 24, 24),
    (lambda: prims.full_like(x, 3, **MADE), 0, 24),
    (lambda: prims.fill(x, 3), 0, 24),
    (lambda: prims.full([2, 3], 3, **MADE), 0, 24),
    (lambda: prims.iota(5, start=0, step=1, **(MADE | {"dtype": torch.int64})), 0, 40),
    (lambda: prims.normal([2, 3], mean=0, std=1, **MADE), 0, 24),
    (lambda: prims.scalar_tensor(3, dtype=torch.float64, device=cpu), 0, 8),
]


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
@pytest.mark.parametrize(("function", "read", "written"), MOVES)
def test_what_only_moves(function, read, written):
    """No arithmetic: views cost nothing, copies read and write, what is overwritten is not read."""
    with OpFlopMode(strict=True) as mode:
        function()
    row = [row for row in mode.profile.rows if row.op.startswith("prims.")][-1]
    assert row.cost == Cost(bytes_read=read, bytes_written=written)


def test_random_numbers_are_written():
    """An older PyTorch takes no strides for its uniform numbers."""
    strides = {"stride": [3, 1]} if "stride" in str(prims.uniform.default._schema) else {}
    with OpFlopMode(strict=True) as mode:
        prims.uniform([2, 3], low=0.0, high=1.0, dtype=torch.float32, device=cpu, **strides)
    assert mode.profile.by("op")["prims.uniform"] == Cost(bytes_written=24)


@pytest.mark.parametrize(
    "function",
    [
        lambda: prims.maximum_value(torch.float32),
        lambda: prims.minimum_value(torch.float32),
        lambda: prims._sink_tokens([prims._make_token()]),
    ],
)
def test_questions_and_marks_leave_no_row(function):
    """They run no kernel."""
    with OpFlopMode(strict=True) as mode:
        function()
    assert [row for row in mode.profile.rows if row.op.startswith("prims.")] == []


def test_every_primitive_is_priced_and_every_price_is_tested():
    """A primitive that is added to PyTorch has to be priced, and then to be added here.

    Inductor puts operators of its own into the namespace once it is loaded; they stand in what it compiles alone.
    """
    verdicts = {
        name: verdict
        for name, verdict in coverage("prims").items()
        if hasattr(torch._prims, name.removeprefix("prims."))
    }
    assert len(verdicts) > 120
    assert "unpriced" not in verdicts.values()
    compared = {str(packet_of(prim)) for prim, _ in CASES} | {"prims.xor_sum"}
    assert {name for name, verdict in verdicts.items() if verdict == "formula"} == compared


@pytest.mark.parametrize("error", [Cost(macs=1), Cost(ops=1), Cost(transcendentals=1)], ids=["mac", "op", "exp"])
@pytest.mark.parametrize(("prim", "args"), CASES, ids=NAMES)
def test_a_price_that_is_off_by_one_is_caught(prim, args, error):
    """The comparison fails when a primitive counts one too many of anything."""
    entry = registry.get_rule(prim)

    @functools.wraps(entry.formula)
    def wrong(**arguments):
        answer = entry.formula(**arguments)
        return answer._replace(cost=answer.cost + error) if isinstance(answer, Estimate) else answer + error

    registry.register(replace(entry, formula=wrong, per_element=None), [prim], override=True)
    try:
        with pytest.raises(AssertionError):
            test_a_primitive_costs_what_it_is_run_as(prim, args)
    finally:
        registry.register(entry, [prim], override=True)
