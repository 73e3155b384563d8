"""Activation functions and their gradients, by hand. The references are compared with in the pointwise tests."""

import pytest
import torch
from counted import cost_of
from oracle import aten, by_hand, priced
from torch.nn import functional

from opflops import Cost

x, y, g = torch.randn(3, 2, 3).unbind()
wide = torch.randn(2, 6)


@pytest.mark.parametrize(
    ("function", "ops", "transcendentals"),
    [
        (lambda: functional.relu(x), 1, 0),
        (lambda: functional.threshold(x, 0.1, 2), 1, 0),
        (lambda: functional.hardtanh(x), 2, 0),
        (lambda: functional.relu6(x), 2, 0),
        (lambda: functional.leaky_relu(x, 0.1), 2, 0),
        (lambda: functional.prelu(x, torch.ones(1)), 2, 0),
        (lambda: torch.sigmoid(x), 3, 1),
        (lambda: torch.tanh(x), 0, 1),
        (lambda: functional.silu(x), 4, 1),
        (lambda: functional.hardsigmoid(x), 4, 0),
        (lambda: functional.hardswish(x), 5, 0),
        (lambda: functional.mish(x), 1, 3),
        (lambda: functional.logsigmoid(x), 4, 2),
        (lambda: functional.glu(wide), 4, 1),
        (lambda: functional.gelu(x), 4, 1),
        (lambda: functional.gelu(x, approximate="tanh"), 8, 1),
        # The comparison, and a multiplication for each factor that is not 1.
        (lambda: functional.elu(x), 1, 1),
        (lambda: functional.elu(x, 0.5), 2, 1),
        (lambda: aten.elu(x, 0.5, 2.0, 1), 2, 1),  # alpha * scale is 1
        (lambda: aten.elu(x, 0.5, 3.0, 1), 3, 1),
        (lambda: aten.elu(x, 0.5, 3.0, 2.0), 4, 1),
        (lambda: functional.selu(x), 3, 1),
        (lambda: functional.celu(x, 0.5), 3, 1),  # alpha, and the input over alpha
        (lambda: functional.softplus(x), 1, 2),
        (lambda: functional.softplus(x, beta=2), 3, 2),
    ],
)
def test_one_element_costs_its_defining_expression(function, ops, transcendentals):
    """Each of six elements costs the operations and transcendental functions of the definition, counted by hand."""
    assert cost_of(function) == Cost(ops=6 * ops, transcendentals=6 * transcendentals)


@pytest.mark.parametrize(
    ("overload", "args", "ops", "transcendentals"),
    [
        # y = sigmoid(x): grad * (1 - y) * y.
        (aten.sigmoid_backward.default, (g, y), 3, 0),
        # y = tanh(x): a square, a difference, a product.
        (aten.tanh_backward.default, (g, y), 3, 0),
        (aten.threshold_backward.default, (g, x, 0), 1, 0),
        (aten.hardtanh_backward.default, (g, x, -1, 1), 2, 0),
        (aten.leaky_relu_backward.default, (g, x, 0.1, False), 2, 0),
        # A comparison for each of two gradients; slope * grad, x * grad.
        (aten._prelu_kernel_backward.default, (g, x, y), 4, 0),
        # The sigmoid (3 and exp), 1 - s, x *, 1 +, s *, grad *.
        (aten.silu_backward.default, (g, x), 8, 1),
        (aten.hardsigmoid_backward.default, (g, x), 3, 0),
        # Two comparisons; x / 3, + 0.5, grad *.
        (aten.hardswish_backward.default, (g, x), 5, 0),
        # t by exp, log1p, tanh; the sigmoid (3 and exp); x * s, t * t, 1 -, a product, t +, grad *.
        (aten.mish_backward.default, (g, x), 9, 4),
        # cdf: a * x, erf, 1 +, 0.5 *; pdf: x * x, -0.5 *, exp, b *; x * pdf, cdf +, grad *: 4 - 1 + 3 + 3 = 9.
        (aten.gelu_backward.default, (g, x), 9, 2),
        # t: x * x, x *, k *, x +, c *, tanh (5); 0.5 * x, 1 + t, and their product (3); t * t, 1 - (2);
        # 3k * x * x, 1 +, c * (3); the two products (2), 0.5 * (1 + t), the sum, grad * (3) with 0.5 * x shared: 17.
        (lambda *args: aten.gelu_backward.default(*args, approximate="tanh"), (g, x), 17, 1),
        # Both branches where x <= 0 decides: exp and its product with grad.
        (aten.elu_backward.default, (g, 1, 1, 1, False, x), 2, 1),
        (aten.elu_backward.default, (g, 0.5, 1, 1, False, x), 3, 1),
        (aten.elu_backward.default, (g, 0.5, 2, 1, False, x), 3, 1),
        (aten.elu_backward.default, (g, 0.5, 3, 1, False, x), 4, 1),
        (aten.elu_backward.default, (g, 0.5, 3, 4, False, x), 6, 1),
        # From the result: the comparison, y + alpha * scale, and its product with grad.
        (aten.elu_backward.default, (g, 1, 1, 1, True, y), 3, 0),
        (aten.elu_backward.default, (g, 0.5, 3, 1, True, y), 4, 0),
        (aten.elu_backward.default, (g, 0.5, 3, 4, True, y), 5, 0),
        # exp, grad * z, z + 1, the division, the comparison.
        (aten.softplus_backward.default, (g, x, 1, 20), 4, 1),
        (aten.softplus_backward.default, (g, x, 2, 20), 5, 1),
        # x < 0, 1 + z, z /, sign *, m -, grad *; and without the forward's buffer abs, neg, exp.
        (aten.log_sigmoid_backward.default, (g, x, x.abs().neg().exp()), 6, 0),
        # s (3 and exp), s * grad, 1 - s, and two products.
        (aten.glu_backward.default, (g, wide, -1), 7, 1),
    ],
)
def test_one_gradient_costs_its_defining_expression(overload, args, ops, transcendentals):
    """Each of six gradients costs the operations and transcendental functions of the definition, counted by hand."""
    assert cost_of(overload, *args) == Cost(ops=6 * ops, transcendentals=6 * transcendentals)


def test_a_gradient_of_logsigmoid_without_the_buffer_computes_it():
    """A device whose forward keeps no exponentials takes abs, neg and exp again: 8 operations and one of those."""
    arguments = (g, x, torch.empty(0))
    cost, _ = priced(aten.log_sigmoid_backward.default, *arguments, device="meta")
    assert (cost.ops, cost.transcendentals) == (8 * 6, 6)


@pytest.mark.parametrize(
    ("function", "forward", "backward"),
    [
        (functional.relu, Cost(ops=6), Cost(ops=6)),
        (torch.sigmoid, Cost(ops=18, transcendentals=6), Cost(ops=18)),
        (functional.silu, Cost(ops=24, transcendentals=6), Cost(ops=48, transcendentals=6)),
        (functional.gelu, Cost(ops=24, transcendentals=6), Cost(ops=54, transcendentals=12)),
    ],
)
def test_autograd_runs_one_gradient_of_each_activation(function, forward, backward):
    """Training adds the gradient's cost to the forward's, and nothing else."""
    leaf = x.clone().requires_grad_()
    assert cost_of(function, leaf) == forward
    assert cost_of(lambda: function(leaf).backward(torch.ones(2, 3))) == forward + backward


def test_a_sum_and_its_relu():
    """An addition and a comparison for each of six elements; an alpha other than 1 multiplies; in place is the same."""
    assert cost_of(aten._add_relu, x, y) == Cost(ops=12)
    assert cost_of(lambda: aten._add_relu(x, y, alpha=2)) == Cost(ops=18)
    assert cost_of(lambda: aten._add_relu.Scalar(x, 0.5, 3)) == Cost(ops=18)
    assert cost_of(lambda: aten._add_relu_(x.clone(), y)) == Cost(ops=12)
    assert cost_of(lambda: aten._add_relu_.Scalar(x.clone(), 0.5, 3)) == Cost(ops=18)


def _tangent_of_gradient(grad_x, pairs, tangents, pair_tangents):
    """Differentiate ``(grad * s, grad * s * a * (1 - s))`` once more, sharing what recurs."""
    results = []
    for u_row, row, d_row, dx_row in zip(grad_x, pairs, tangents, pair_tangents, strict=True):
        first, second = [], []
        for i, dgrad in enumerate(d_row):
            a, b, da, db, u = row[i], row[i + 3], dx_row[i], dx_row[i + 3], u_row[i]
            denominator = 1 + (-b).exp().value
            b.counts[0] += 1  # the sum above
            s = b._operation(1 / denominator)
            glu = a * s
            e = db - db * s
            du = dgrad * s + u * e
            first.append(du)
            second.append(du * (a - glu) + u * (da - da * s - glu * e))
        results.append(first + second)
    return results


def test_the_tangent_of_a_gated_gradient_costs_what_its_loop_does():
    """A sigmoid (3 and exp), 14 operations around it, and the derivative that a small step shows."""
    tangents, pair_tangents = torch.randn(2, 3), torch.randn(2, 6)
    grad_x = aten.glu_backward(g, wide, 1)
    work, expected = by_hand(_tangent_of_gradient, grad_x, wide, tangents, pair_tangents)
    result = aten.glu_backward_jvp(grad_x, g, wide, tangents, pair_tangents, 1)
    torch.testing.assert_close(result.double(), expected, rtol=1e-4, atol=1e-5)
    step, doubles = 1e-4, [tensor.double() for tensor in (g, wide, tangents, pair_tangents)]
    ahead, behind = (
        aten.glu_backward(doubles[0] + h * doubles[2], doubles[1] + h * doubles[3], 1) for h in (step, -step)
    )
    torch.testing.assert_close(result.double(), (ahead - behind) / (2 * step), rtol=1e-4, atol=1e-4)
    cost = cost_of(aten.glu_backward_jvp, grad_x, g, wide, tangents, pair_tangents, 1)
    assert cost == Cost(ops=work.ops, transcendentals=work.transcendentals) == Cost(ops=6 * 17, transcendentals=6)


def test_in_place_forms_whose_arguments_differ_cost_what_the_others_do():
    """A comparison and a product for a leaky relu with noise; one function for a polygamma."""
    noise = (torch.empty(2, 3), 0.1, 0.3, True)
    assert cost_of(lambda: aten.rrelu_with_noise_(x.clone(), *noise)) == Cost(ops=12)
    assert cost_of(lambda: aten.rrelu_with_noise(x, *noise)) == Cost(ops=12)
    assert cost_of(lambda: aten.polygamma_(x.abs(), 2)) == Cost(ops=6, transcendentals=6)  # abs, polygamma
    assert cost_of(lambda: aten.polygamma(2, x)) == Cost(transcendentals=6)


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_softmax_into_a_given_tensor_costs_what_it_does_elsewhere(dim):
    """Without ``out=`` it decomposes; either way rows lie along the axis."""
    for operator, function in [(aten.softmax, torch.softmax), (aten.log_softmax, torch.log_softmax)]:
        cost = cost_of(lambda operator=operator: operator.int_out(x, dim, out=torch.empty(2, 3)))
        assert cost == cost_of(function, x, dim)
        assert cost.transcendentals > 0
    rows = 3 if dim == 0 else 2
    assert cost_of(lambda: aten.softmax.int_out(x, dim, out=torch.empty(2, 3))).ops == 2 * (6 - rows) + 12
