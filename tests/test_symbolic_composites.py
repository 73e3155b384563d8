"""Formulas of operators that PyTorch composes of others, at their own sizes and others, and of what stays refused."""

from functools import partial
from itertools import product

import pytest
import torch
from test_symbolic import whole
from torch import nn
from torch.export import Dim
from torch.nn import functional

from opflops import DimensionError, OpFlopMode, Profile, count
from opflops.torch_internals import symint_composites, symint_patches, symint_recurrent
from opflops.torch_internals.symint_gradient import gradient

N = Dim("n")


def leaf(*shape):
    return torch.ones(*shape, requires_grad=True)


def attend_in_parts(q, k, v):
    return torch.cat([functional.softmax(part @ k.mT, -1) @ v for part in q.chunk(3, 1)], 1)


def attend_in_slices(q, k, v):
    size = q.shape[1] // 2
    return torch.cat([functional.softmax(q[:, i * size : (i + 1) * size] @ k.mT, -1) @ v for i in range(2)], 1)


TABLE = torch.ones(64, 5)

# A program, its inputs, their dynamic shapes, sizes to compare at (the first is traced), and whether it has gradients.
PROGRAMS = {
    "multi_dot": (
        lambda a, b, c: torch.linalg.multi_dot([a, b, c]),
        lambda n: (leaf(n, 3), leaf(3, 9), leaf(9, 2)),
        ({0: N}, None, None),
        (6, 17),
    ),
    "multi_dot of four": (
        lambda a, b, c, d: torch.linalg.multi_dot([a, b, c, d]),
        lambda n: (leaf(n), leaf(n, 4), leaf(4, 8), leaf(8, 2)),
        ({0: N}, {0: N}, None, None),
        (6, 17),
    ),
    "kron": (torch.kron, lambda n: (leaf(2, n), leaf(n, 3, 2)), ({1: N}, {0: N}), (4, 9)),
    "vander": (lambda x: torch.vander(x, 5), lambda n: (torch.ones(n),), ({0: N},), (4, 9)),
    "linspace": (lambda x: x * torch.linspace(0, 1, x.shape[0]), lambda n: (leaf(n, 1),), ({0: N},), (4, 9)),
    "window": (lambda x: x * torch.hann_window(len(x)), lambda n: (leaf(n),), ({0: N},), (4, 9)),
    "gradient": (lambda x: torch.gradient(x, spacing=[2.0, 0.5]), lambda n: (leaf(n, n),), ({0: N, 1: N},), (6, 9)),
    "gradient at edges": (
        lambda x: torch.gradient(x, spacing=(torch.arange(7.0),), dim=1, edge_order=2),
        lambda n: (leaf(n, 7),),
        ({0: N},),
        (6, 9),
    ),
    "diff": (lambda x: torch.diff(x, n=2, prepend=x[:, :1]), lambda n: (leaf(3, n),), ({1: N},), (6, 9)),
    "cov": (lambda x: x.cov(correction=0), lambda n: (leaf(3, n),), ({1: N},), (6, 9)),
    "corrcoef": (torch.corrcoef, lambda n: (leaf(n, 7),), ({0: N},), (6, 9)),
    "stft": (
        lambda x: torch.stft(x, 12, 5, win_length=8, window=torch.hann_window(8), return_complex=True),
        lambda n: (torch.ones(2, n),),
        ({1: N},),
        (40, 57),
    ),
    "stft of a batch": (
        lambda x: torch.stft(
            x, 12, window=torch.ones(12), center=False, onesided=False, normalized=True, return_complex=True
        ),
        lambda n: (torch.ones(n, 30),),
        ({0: N},),
        (5, 8),
    ),
    "affine grid": (
        lambda theta: functional.affine_grid(theta, [theta.shape[0], 3, 6, 5], align_corners=False),
        lambda n: (leaf(n, 2, 3),),
        ({0: N},),
        (5, 2, 9),
    ),
    "grid of a volume": (
        lambda theta, x: functional.affine_grid(theta, x.shape, align_corners=True),
        lambda n: (leaf(2, 3, 4), torch.ones(2, 1, 4, n, 3)),
        (None, {3: N}),
        (5, 9),
    ),
    "take_along_dim": (lambda x: torch.take_along_dim(x, x.argsort(1), 1), lambda n: (leaf(n, 6),), ({0: N},), (5, 9)),
    "unsafe_chunk": (lambda x: torch.cat(torch.unsafe_chunk(x, 2, 1)), lambda n: (leaf(n, 6),), ({0: N},), (5, 9)),
    "length": (lambda x: x.sum() / len(x) + torch.arange(len(x)), lambda n: (leaf(n, 6),), ({0: N},), (5, 9)),
    "antialiased, to a size": (
        lambda x: functional.interpolate(x, size=(5, 7), mode="bilinear", antialias=True),
        lambda n: (leaf(2, 3, n, 20),),
        ({2: N},),
        (16, 31, 4),
    ),
    "antialiased, by a factor": (
        lambda x: functional.interpolate(x, scale_factor=0.3, mode="bicubic", antialias=True),
        lambda n: (leaf(2, 3, n, n),),
        ({2: N, 3: N},),
        (30, 41),
    ),
    "attention in parts": (attend_in_parts, lambda n: (leaf(2, n, 4),) * 3, ({1: N},) * 3, (12, 15)),
    "whole slices": (
        lambda x: x[:, None, ...] * x[..., : x.shape[1]][None][:, : x.shape[0]],
        lambda n: (leaf(n, 5),),
        ({0: N},),
        (6, 9),
    ),
    "rows of a table": (lambda x: x * TABLE[: x.shape[0]][: len(x)], lambda n: (leaf(n, 5),), ({0: N},), (6, 9)),
    "attention in slices": (attend_in_slices, lambda n: (leaf(2, n, 4),) * 3, ({1: N},) * 3, (12, 15)),
    "projected LSTM": (
        nn.LSTM(3, 5, proj_size=2, batch_first=True),
        lambda n: (torch.ones(n, 2, 3),),
        ({0: N},),
        (4, 9),
    ),
    "LSTM cell": (nn.LSTMCell(3, 5), lambda n: (torch.ones(n, 3),), ({0: N},), (4, 9, 1)),
    "GRU cell": (nn.GRUCell(3, 5, bias=False), lambda n: (torch.ones(n, 3),), ({0: N},), (4, 9, 1)),
    "running products": (lambda x: x.cumprod(1), lambda n: (leaf(3, n),), ({1: N},), (5, 9, 2, 1)),
    "running products of a half": (
        lambda x: x[:, : x.shape[1] // 2].contiguous().cumprod(1),
        lambda n: (leaf(3, n),),
        ({1: N},),
        (8, 9, 3, 2),
    ),
    "running products of rows": (lambda x: x.cumprod(1), lambda n: (leaf(n, 3),), ({0: N},), (5, 9, 2, 1)),
    "lower triangle": (
        lambda x: x[tuple(torch.tril_indices(x.shape[0], x.shape[1], 1))] * 2,
        lambda n: (torch.ones(n, n),),
        ({0: N, 1: N},),
        (5, 9, 2),
    ),
    "upper triangle": (
        lambda x: torch.triu_indices(x.shape[0], 4, offset=-2) * 2,
        lambda n: (torch.ones(n),),
        ({0: N},),
        (7, 9, 3, 2),
    ),
    "strict triangle": (
        lambda x: x[tuple(torch.triu_indices(len(x), len(x), 1))].exp(),
        lambda n: (torch.ones(n, n),),
        ({0: N, 1: N},),
        (7, 9, 3, 2),
    ),
    "double LSTM": (
        nn.LSTM(3, 5, dtype=torch.float64),
        lambda n: (torch.ones(4, n, 3, dtype=torch.float64),),
        ({1: N},),
        (4, 9),
    ),
}


EXHAUSTIVE = ("double LSTM", "attention in parts", "gradient", "corrcoef", "multi_dot of four", "grid of a volume")


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.exhaustive if name in EXHAUSTIVE else ()) for name in PROGRAMS]
)
def test_formulas_are_those_of_counts_without_symbols(name):
    """At the example's own size and at others, in ``at`` and in the compiled function, also after JSON."""
    program, inputs, spec, (example, *others) = PROGRAMS[name]
    backward = isinstance(program, nn.Module) or any(each.requires_grad for each in inputs(example))
    profile = count(program, *inputs(example), dynamic_shapes=spec, backward=backward)
    read = Profile.from_json(profile.to_json())
    for size in (example, *others):
        expected = count(program, *inputs(size), backward=backward)
        assert whole(profile.at(n=size)) == whole(read.at(n=size)) == whole(expected), size
        assert profile.lambdify()(n=size) == expected.total


def rows(function):
    torch.manual_seed(0)
    with OpFlopMode() as mode:
        out = function()
    costs = {(row.op, row.dtype): (row.calls, row.cost) for row in mode.profile.rows if row.cost}
    return torch.utils._pytree.tree_leaves(out), costs


A, V = torch.rand(6, 7), torch.rand(6)
COMPOSITES = {
    "multi_dot": (torch.linalg.multi_dot, symint_composites.multi_dot, ([A, A.t(), torch.rand(6, 2)],), {}),
    "multi_dot of 5": (torch.linalg.multi_dot, symint_composites.multi_dot, ([V, A, A.t(), A, V[:1].expand(7)],), {}),
    "kron": (torch.kron, symint_composites.kron, (A, V), {}),
    "vander": (torch.vander, symint_composites.vander, (V, 4), {"increasing": True}),
    "unsafe_chunk": (torch.unsafe_chunk, symint_composites.unsafe_chunk, (A, 3), {"dim": 1}),
    "take_along_dim": (torch.take_along_dim, symint_composites.take_along_dim, (A, A.argsort(1)[:1], 1), {}),
    "take": (torch.take_along_dim, symint_composites.take_along_dim, (A, A.argsort(1)), {}),
    "cov": (torch.cov, symint_composites.cov, (A,), {"correction": 0}),
    "corrcoef": (torch.corrcoef, symint_composites.corrcoef, (A.to(torch.complex64),), {}),
    "corrcoef of one": (torch.corrcoef, symint_composites.corrcoef, (V,), {}),
    "gradient": (torch.gradient, gradient, (A,), {"dim": 1, "edge_order": 2}),
    "gradient at points": (torch.gradient, gradient, (A,), {"dim": 1, "spacing": (torch.rand(7).cumsum(0),)}),
    "edges at points": (
        torch.gradient,
        gradient,
        (A,),
        {"dim": 1, "spacing": (torch.rand(7).cumsum(0),), "edge_order": 2},
    ),
    "stft": (torch._VF.stft, symint_composites.stft, (A, 4, 1, 3, torch.rand(3), True, True, True), {}),
    "stft, complex": (
        torch._VF.stft,
        symint_composites.stft,
        (A[0] + 1j, 4, 1, 4, torch.rand(4), False, False, True),
        {},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", COMPOSITES)
def test_composites_in_python_are_those_of_pytorch(name):
    """The same values, and the same operators at the same costs."""
    theirs, ours, args, options = COMPOSITES[name]
    wanted, costs = rows(lambda: theirs(*args, **options))
    found, own_costs = rows(lambda: ours(*args, **options))
    for own, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(own, other)
    assert own_costs == costs


def backward_of_square(function, theta, size, align_corners):
    (function(theta, size, align_corners) ** 2).sum().backward()


def test_the_gradient_of_an_affine_grid_is_that_of_pytorch():
    """Its values, and its operators."""
    for shape, size in (((2, 2, 3), (2, 1, 4, 5)), ((1, 3, 4), (1, 2, 3, 4, 5))):
        for corners in (True, False):
            theta = torch.rand(*shape)
            results = []
            for function in (torch.affine_grid_generator, symint_composites.affine_grid_generator):
                own = theta.clone().requires_grad_()
                sizes = list(size)
                _, costs = rows(partial(backward_of_square, function, own, sizes, corners))
                results.append((own.grad, costs))
            torch.testing.assert_close(results[0][0], results[1][0])
            assert results[0][1] == results[1][1]


@pytest.mark.parametrize("options", [{"proj_size": 4}, {"proj_size": 4, "bidirectional": True}, {}], ids=str)
def test_a_stepwise_lstm_is_that_of_pytorch(monkeypatch, options):
    """With projections, and where oneDNN has no kernel."""
    layer = nn.LSTM(3, 5, 2, dtype=torch.float64, **options)
    x = torch.rand(4, 2, 3, dtype=torch.float64)
    wanted, costs = rows(lambda: layer(x))
    monkeypatch.setattr(symint_recurrent, "is_symbolic", lambda _: True)
    with symint_patches.symint_patches_active():
        found, own_costs = rows(lambda: layer(x))
    for own, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(own, other)
    assert own_costs == costs


CELLS = [(nn.LSTMCell, True), (nn.LSTMCell, False), (nn.GRUCell, True), (nn.GRUCell, False)]


@pytest.mark.parametrize(("kind", "bias"), CELLS)
def test_a_recurrent_cell_in_python_is_that_of_pytorch(kind, bias):
    """The same values, and the same operators at the same costs."""
    cell, name = kind(3, 5, bias=bias), {nn.LSTMCell: "lstm_cell", nn.GRUCell: "gru_cell"}[kind]
    state = (torch.rand(4, 5), torch.rand(4, 5)) if kind is nn.LSTMCell else torch.rand(4, 5)
    args = torch.rand(4, 3), state, *cell.parameters()
    wanted, costs = rows(lambda: getattr(torch, name)(*args))
    found, own_costs = rows(lambda: symint_recurrent.CELLS[name](*args))
    for own, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(own, other)
    assert own_costs == costs


def test_triangles_have_as_many_elements_as_pytorch_makes():
    """For each small matrix and diagonal, also where the diagonal is outside."""
    for height, width, offset in product(range(1, 6), range(1, 6), range(-7, 8)):
        for name in ("tril_indices", "triu_indices"):
            real = getattr(torch, name)(height, width, offset)
            assert symint_patches.ELEMENTS[name](height, width, offset) == real.shape[1]


def test_the_gradient_of_the_gradient_of_a_product_fixes_the_size():
    """It is a loop over the axis, another one for each size."""

    def twice(x):
        (first,) = torch.autograd.grad(x.cumprod(1).sum(), x, create_graph=True)
        return first.sum()

    with pytest.raises(DimensionError, match="fixes it to 5"):
        count(twice, leaf(3, 5), backward=True, dynamic_shapes=({1: N},))


def test_a_covariance_is_counted_without_values():
    """By hand: 3 means of 5, a subtraction each, 3 * 3 * 5 products, 9 divisions; two scalars are compared."""
    total = count(torch.cov, torch.ones(3, 5)).total
    assert (total.macs, total.ops) == (3 * 3 * 5, 3 * 4 + 3 + 15 + 9)
    spectrum = torch.stft(torch.rand(60), 12, 4, window=torch.ones(12), return_complex=True)

    def invert(x):
        return torch.istft(x, 12, 4, window=torch.ones(12))

    with OpFlopMode() as mode:
        invert(spectrum)
    assert count(invert, spectrum).total == mode.total


@pytest.mark.parametrize(
    ("program", "fixes"),
    [
        (lambda x: torch.stack([x[i] * 2 for i in range(len(x))]), r"the code"),
        (lambda x: torch.stack([row * 2 for row in x]), r"aten.unbind"),
        (lambda x: torch.cat([x[i : i + 4] * 2 for i in range(0, x.shape[0], 4)]), r"the code"),
    ],
)
def test_a_loop_over_a_dimension_is_refused_with_its_place(program, fixes):
    """There is another program for each size."""
    with pytest.raises(DimensionError, match=rf"{fixes} \(test_symbolic_composites.py:\d+\) fixes it to 8"):
        count(program, torch.ones(8, 3), dynamic_shapes=({0: N},))
