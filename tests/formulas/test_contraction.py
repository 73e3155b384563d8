"""Matrix products: against loops over single numbers, and the laws that join one product to another."""

from itertools import product

import pytest
import torch
from counted import cost_of
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional

from opflops import Cost, OpFlopMode
from opflops.pricing.registry import registry

aten = torch.ops.aten

REAL = [(0, 0, 0, 1)]
# (a + bi)(c + di): which parts of the two factors meet, in which part of the product, and with which sign.
COMPLEX = [(0, 0, 0, 1), (1, 1, 0, -1), (0, 1, 1, 1), (1, 0, 1, 1)]


def contract(equation, left, right):
    """Contract two tensors one real product at a time; returns the result and how many there were."""
    axes, result_axes = equation.split("->")
    left_axes, right_axes = axes.split(",")
    sizes = dict(zip(left_axes + right_axes, (*left.shape, *right.shape), strict=True))
    result = torch.zeros([sizes[axis] for axis in result_axes], dtype=left.dtype)
    meetings = COMPLEX if left.is_complex() else REAL
    lefts, rights, results = (
        (torch.view_as_real(tensor) if tensor.is_complex() else tensor.unsqueeze(-1)).numpy()
        for tensor in (left, right, result)
    )
    macs = 0
    for position in product(*map(range, sizes.values())):
        at = dict(zip(sizes, position, strict=True))
        i, j, k = (tuple(at[axis] for axis in names) for names in (left_axes, right_axes, result_axes))
        for left_part, right_part, part, sign in meetings:
            results[(*k, part)] += sign * lefts[(*i, left_part)] * rights[(*j, right_part)]
            macs += 1
    return result, macs


def drawn(shapes, dtype=torch.float64, device="cpu"):
    return [torch.randn(shape, dtype=dtype, device=device) for shape in shapes]


PRODUCTS = [
    (torch.mm, "ik,kj->ij", (3, 4), (4, 5)),
    (torch.mm, "ik,kj->ij", (1, 6), (6, 1)),
    (torch.mm, "ik,kj->ij", (3, 0), (0, 5)),
    (torch.bmm, "bik,bkj->bij", (2, 3, 4), (2, 4, 5)),
    (torch.mv, "ik,k->i", (3, 4), (4,)),
    (torch.dot, "k,k->", (7,), (7,)),
    (torch.matmul, "k,kj->j", (4,), (4, 5)),
    (torch.matmul, "abik,kj->abij", (2, 3, 2, 4), (4, 5)),
    (torch.matmul, "ik,abkj->abij", (2, 4), (2, 3, 4, 5)),
    (functional.linear, "abk,jk->abj", (2, 3, 4), (5, 4)),
]


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize(("function", "equation", "left", "right"), PRODUCTS)
def test_products_cost_what_a_loop_does(function, equation, left, right, dtype):
    """One multiply-accumulate for each pair of numbers that meet, four where the numbers are complex."""
    left, right = drawn([left, right], dtype)
    expected, macs = contract(equation, left, right)
    torch.testing.assert_close(function(left, right), expected)
    assert cost_of(function, left, right) == Cost(macs=macs)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_conjugated_dot_product_costs_what_a_loop_does(dtype):
    """A dot product with the conjugate of the first vector costs as much as one without."""
    left, right = drawn([(7,), (7,)], dtype)
    expected, macs = contract("k,k->", left.conj().resolve_conj(), right)
    torch.testing.assert_close(torch.vdot(left, right), expected)
    assert cost_of(torch.vdot, left, right) == Cost(macs=macs)


def test_broadcast_batches_count_for_each_result():
    """Batch axes that broadcast multiply the work: 2 x 3 batches of (4, 8) @ (8, 5) are 960 multiply-accumulates."""
    left, right = drawn([(2, 1, 4, 8), (3, 8, 5)])
    expected, macs = contract("abik,abkj->abij", left.expand(2, 3, 4, 8), right.expand(2, 3, 8, 5))
    torch.testing.assert_close(left @ right, expected)
    assert macs == 960
    assert cost_of(torch.matmul, left, right) == Cost(macs=960)


SUMS = [
    (torch.addmm, "ik,kj->ij", [(3, 5), (3, 4), (4, 5)]),
    (torch.addmm, "ik,kj->ij", [(5,), (3, 4), (4, 5)]),
    (torch.baddbmm, "bik,bkj->bij", [(2, 3, 5), (2, 3, 4), (2, 4, 5)]),
    (torch.baddbmm, "bik,bkj->bij", [(5,), (2, 3, 4), (2, 4, 5)]),
    (torch.addbmm, "bik,bkj->ij", [(3, 5), (2, 3, 4), (2, 4, 5)]),
    (torch.addmv, "ik,k->i", [(3,), (3, 4), (4,)]),
    (torch.addr, "i,j->ij", [(3, 5), (3,), (5,)]),
]


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize(
    ("beta", "alpha", "additions", "multiplications"),
    [(1, 1, 1, 0), (0, 1, 0, 0), (2, 1, 1, 1), (1, 3, 1, 1), (2, 3, 1, 2), (0, 3, 0, 1), (1, 0, 1, 0), (-1, -2, 1, 2)],
)
@pytest.mark.parametrize(("function", "equation", "shapes"), SUMS)
def test_scaled_sums_add_their_elements(function, equation, shapes, beta, alpha, additions, multiplications, dtype):
    """Each result takes an addition unless beta is 0, and a multiplication for each factor other than 0 and 1.

    A complex addition is two real operations, a complex multiplication six.
    """
    self, left, right = drawn(shapes, dtype)
    contracted, macs = contract(equation, left, right)
    out = function(self, left, right, beta=beta, alpha=alpha)
    torch.testing.assert_close(out, beta * self + alpha * contracted)
    each = 2 * additions + 6 * multiplications if dtype.is_complex else additions + multiplications
    cost = cost_of(lambda: function(self, left, right, beta=beta, alpha=alpha))
    assert cost == Cost(macs=macs, ops=out.numel() * each)


@pytest.mark.parametrize(
    ("use_gelu", "reference", "ops", "transcendentals"),
    [(False, functional.relu, 1 + 1, 0), (True, functional.gelu, 1 + 4, 1)],
)
def test_activation_after_a_product(use_gelu, reference, ops, transcendentals):
    """An epilogue costs a comparison for relu; for gelu the four operations and the erf of its exact form."""
    self, left, right = drawn([(5,), (3, 4), (4, 5)])
    torch.testing.assert_close(
        torch._addmm_activation(self, left, right, use_gelu=use_gelu), reference(self + left @ right)
    )
    cost = cost_of(lambda: torch._addmm_activation(self, left, right, use_gelu=use_gelu))
    assert cost == Cost(macs=60, ops=15 * ops, transcendentals=15 * transcendentals)


def test_activation_after_a_product_scales_first():
    """The factors of an epilogue's sum cost what they do without it."""
    self, left, right = drawn([(5,), (3, 4), (4, 5)])
    cost = cost_of(lambda: torch._addmm_activation(self, left, right, beta=2, alpha=3))
    assert cost == Cost(macs=60, ops=15 * (1 + 2 + 1))


def test_activation_after_a_product_on_cuda():
    """CUDA kernels have gelu in its tanh form: eight operations and a tanh."""
    with FakeTensorMode():
        self, left, right = (torch.empty(shape, device="cuda") for shape in [(5,), (3, 4), (4, 5)])
        cost = cost_of(lambda: torch._addmm_activation(self, left, right, use_gelu=True))
    assert cost == Cost(macs=60, ops=15 * (1 + 8), transcendentals=15)


def test_linear_adds_its_bias_to_every_result():
    """Six rows through 4 x 5 weights: 120 multiply-accumulates, and 30 additions of a bias."""
    x, weight, bias = drawn([(2, 3, 4), (5, 4), (5,)])
    assert cost_of(functional.linear, x, weight) == Cost(macs=120)
    assert cost_of(functional.linear, x, weight, bias) == Cost(macs=120, ops=30)
    out = torch.empty(2, 3, 5, dtype=torch.float64)
    assert cost_of(lambda: torch._C._nn.linear(x, weight, bias, out=out)) == Cost(macs=120, ops=30)
    assert cost_of(lambda: torch._C._nn.linear(x, weight, out=out)) == Cost(macs=120)


def test_linear_of_onednn():
    """The oneDNN kernel of a linear layer costs what the layer does."""
    weight, bias = drawn([(5, 4), (5,)], torch.float32)
    x = torch.randn(2, 3, 4).to_mkldnn()
    assert cost_of(aten.mkldnn_linear, x, weight, bias) == Cost(macs=120, ops=30)
    assert cost_of(aten.mkldnn_linear, x, weight) == Cost(macs=120)


def test_gradient_of_a_product_is_two_products():
    """Both factors' gradients cost as much as the product itself: 60 multiply-accumulates each."""
    left, right = drawn([(3, 4), (4, 5)])
    out = left.requires_grad_() @ right.requires_grad_()
    assert cost_of(torch.autograd.grad, out, (left, right), torch.ones_like(out)) == Cost(macs=120)
    out = left @ right
    assert cost_of(torch.autograd.grad, out, left, torch.ones_like(out)) == Cost(macs=60)


def test_products_widen_in_the_dtype_of_their_result():
    """A product of halves that comes out in single precision is counted as single-precision work."""
    left, right = drawn([(3, 4), (4, 5)], torch.bfloat16, "meta")
    out = aten.mm.dtype(left, right, torch.float32)
    cost, dtype, reason = registry.resolve(aten.mm.dtype, {}).charge(out, (left, right, torch.float32), {})
    # 12 + 20 halves read, 15 singles written.
    assert (cost, dtype, reason) == (Cost(macs=60, bytes_read=64, bytes_written=60), torch.float32, "")


def test_integer_products_are_no_floating_point_work():
    """Products of integers are counted in rows of their own dtype and stay out of the total."""
    left, right = torch.ones(3, 4, dtype=torch.int64), torch.ones(4, 5, dtype=torch.int64)
    with OpFlopMode(strict=True) as mode:
        torch.addmm(torch.ones(5, dtype=torch.int64), left, right, beta=2)
    assert mode.total == Cost()
    (row,) = [row for row in mode.profile.rows if row.op == "aten.addmm"]
    assert (row.dtype, row.cost.macs, row.cost.ops) == ("int64", 60, 30)


CALLS = [*((function, [left, right]) for function, _, left, right in PRODUCTS), *((f, shapes) for f, _, shapes in SUMS)]


@pytest.mark.parametrize(("function", "shapes"), CALLS)
def test_devices_and_gradient_modes_agree(function, shapes):
    """A product costs the same on meta tensors, with gradients, and in inference mode."""
    tensors = drawn(shapes)
    cost = cost_of(function, *tensors)
    assert cost_of(function, *drawn(shapes, device="meta")) == cost
    assert cost_of(function, *(tensor.requires_grad_() for tensor in tensors)) == cost
    with torch.inference_mode():
        assert cost_of(function, *drawn(shapes)) == cost


@pytest.mark.parametrize(
    ("function", "shapes"), [(f, shapes) for f, shapes in CALLS if f not in (functional.linear, torch.matmul)]
)
def test_out_costs_what_the_functional_form_does(function, shapes):
    """Writing into a given tensor changes nothing in the count."""
    tensors = drawn(shapes)
    out = torch.empty_like(function(*tensors))
    assert cost_of(lambda: function(*tensors, out=out)) == cost_of(function, *tensors)


@pytest.mark.parametrize(("function", "_", "shapes"), [row for row in SUMS if row[2][0] != (5,)])
def test_in_place_costs_what_the_functional_form_does(function, _, shapes):
    """Overwriting ``self`` changes nothing in the count."""
    self, *factors = drawn(shapes)
    in_place = getattr(torch.Tensor, f"{function.__name__}_")
    expected = cost_of(lambda: function(self, *factors, beta=2, alpha=3))
    assert expected.ops > 0
    assert cost_of(lambda: in_place(self, *factors, beta=2, alpha=3)) == expected


def test_batched_product_is_the_sum_of_its_products():
    """A batch costs what its matrices cost one by one, in whichever way the batch is multiplied."""
    self, left, right = drawn([(6, 3, 5), (6, 3, 4), (6, 4, 5)])
    one_by_one = 6 * cost_of(torch.mm, left[0], right[0])
    assert one_by_one == Cost(macs=360)
    assert cost_of(torch.bmm, left, right) == cost_of(torch.matmul, left, right) == one_by_one
    assert cost_of(torch.baddbmm, self, left, right) == 6 * cost_of(torch.addmm, self[0], left[0], right[0])
    # The contraction itself sums over the batch, so only one matrix is added.
    assert cost_of(torch.addbmm, self[0], left, right) == one_by_one + Cost(ops=15)


@pytest.mark.parametrize("doubled", ["b", "i", "j", "k"])
@pytest.mark.parametrize("equation", ["bik,bkj->bij", "bik,kj->bij", "bik,bjk->bij", "kbi,kj->jib"])
def test_einsum_costs_the_product_of_its_axes(equation, doubled):
    """Twice as long an axis is twice as much work, whichever axis it is."""
    sizes = {"b": 2, "i": 3, "j": 5, "k": 4}

    def cost(sizes):
        axes = equation.split("->")[0].split(",")
        return cost_of(torch.einsum, equation, *drawn([[sizes[axis] for axis in names] for names in axes]))

    assert cost(sizes) == Cost(macs=120)
    assert cost(sizes | {doubled: 2 * sizes[doubled]}) == Cost(macs=240)
