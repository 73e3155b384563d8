"""The checkers check: a formula that is wrong by one operation, multiply-accumulate or exponential is caught."""

import functools
from dataclasses import replace

import pytest
import test_activation as activation
import test_attention as attention
import test_contraction as contraction
import test_convolution as convolution
import test_embedding as embedding
import test_loss as loss
import test_normalization as normalization
import test_pooling as pooling
import test_recurrent as recurrent
import test_reduction as reduction
import test_transformer_encoder as encoder
import torch
from counted import cost_of
from oracle import excess
from torch import nn

from opflops import Cost
from opflops.pricing.registry import registry
from opflops.pricing.schemas import overloads_of

aten = torch.ops.aten
FLASH = aten._scaled_dot_product_flash_attention_for_cpu
x = torch.rand(2, 3)

# Each family: an operator, a test of it, and what that test is called with.
CHECKS = [
    (aten.mm, contraction.test_products_cost_what_a_loop_does, (torch.mm, "ik,kj->ij", (2, 3), (3, 4), torch.float64)),
    (aten.convolution, convolution.test_convolutions_cost_what_a_loop_does, convolution.ALL_CASES[0]),
    (aten.convolution_backward, convolution.test_gradients_cost_what_a_loop_does, convolution.ALL_CASES[0]),
    (aten.max_pool2d_with_indices, pooling.test_maxima_cost_what_a_loop_does, pooling.MAXIMUM_WINDOWS[-1]),
    (aten.sum, reduction.test_rows_cost_what_a_loop_over_them_does, (*reduction.ROWS[0], (5, 7))),
    (aten.native_batch_norm, normalization.test_batch_norm_in_training_costs_what_its_loop_does, ((None, None), True)),
    (aten.mse_loss, loss.test_gradients_by_hand, (aten.mse_loss.default, (x, x, 2), 2 * 6 + 5)),
    (
        aten.gelu,
        activation.test_one_element_costs_its_defining_expression,
        (lambda: nn.functional.gelu(activation.x), 4, 1),
    ),
    (FLASH, attention.test_kernels_cost_what_the_loops_do, (FLASH.default,)),
    (aten.mkldnn_rnn_layer, recurrent.test_modules_cost_what_the_loops_do, ("LSTM", {})),
    (aten._transformer_encoder_layer_fwd, encoder.test_fast_layer_products_by_hand, ()),
    (aten.embedding_dense_backward, embedding.test_embedding_gradient_adds_each_row_that_was_looked_up, (False,)),
]


@pytest.fixture
def planted():
    """Add something to the price of an operator, until the test is over."""
    changed = []

    def plant(packet, error):
        for overload in overloads_of(packet):
            rule = registry.get_rule(overload)
            if rule is not None and rule.formula is not None:
                changed.append((overload, rule))
                registry.register(
                    replace(rule, formula=off_by(rule.formula, error), per_element=None), [overload], override=True
                )

    yield plant
    for overload, rule in changed:
        registry.register(rule, [overload], override=True)


def off_by(price, error):
    @functools.wraps(price)
    def wrong(*args, **kwargs):
        return price(*args, **kwargs) + error

    return wrong


@pytest.mark.parametrize("error", [Cost(macs=1), Cost(ops=1), Cost(transcendentals=1)], ids=["mac", "op", "exp"])
@pytest.mark.parametrize(("packet", "check", "arguments"), CHECKS, ids=[check.__name__ for _, check, _ in CHECKS])
def test_a_formula_that_is_off_by_one_is_caught(planted, packet, check, arguments, error):
    """Each family's checker passes as things are, and fails when its formula counts one too many of anything."""
    check(*arguments)
    if check is encoder.test_fast_layer_products_by_hand and not error.macs:
        check = encoder.test_fast_layer_operations_by_hand  # the two share the work
    planted(packet, error)
    with pytest.raises(AssertionError):
        check(*arguments)


@pytest.mark.parametrize("error", [Cost(ops=1), Cost(transcendentals=1)], ids=["op", "exp"])
@pytest.mark.parametrize(
    "overload", [aten.relu.default, aten.tanh.default, aten.sigmoid.default, aten.logsumexp.default]
)
def test_the_oracle_tells_by_how_much_a_formula_is_off(planted, overload, error):
    """The comparison with PyTorch's reference decomposition names the very difference."""
    arguments = (x, [1]) if overload is aten.logsumexp.default else (x,)
    before = excess(overload, *arguments)
    planted(overload, error)
    after = excess(overload, *arguments)
    assert (after.ops - before.ops, after.transcendentals - before.transcendentals) == (
        error.ops,
        error.transcendentals,
    )


def test_a_planted_fault_is_taken_out_again(planted):
    """What the fixture plants is in the registry while a test runs, and the next test starts from the right price."""
    planted(aten.relu, Cost(ops=1))
    assert cost_of(torch.relu, x).ops == 7
