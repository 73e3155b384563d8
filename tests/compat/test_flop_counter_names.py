"""Names of ``torch.utils.flop_counter`` that programs import beside the class, late libraries, and estimates."""

import warnings

import pytest
import torch
from torch.utils import flop_counter as of_torch

import opflops
from opflops.compat import FlopCounterMode, flop_counter, flop_registry, product_formulas, product_operators

aten = torch.ops.aten
CONVOLUTION = (None, [1, 1], [0, 0], [1, 1])


def test_a_name_that_is_missing_is_an_error_that_says_what_there_is():
    """As in an import."""
    with pytest.raises(AttributeError, match=r"'no_such_flop'.*conv_flop, .*flop_registry"):
        _ = flop_counter.no_such_flop
    with pytest.raises(ImportError):
        from opflops.compat.flop_counter import no_such_flop  # noqa: F401, PLC0415


def test_public_names_of_pytorchs_module_are_there():
    """All but what it imports itself, and a helper of its autograd functions; private ones are an error."""
    public = {
        name
        for name, value in vars(of_torch).items()
        if not name.startswith("_") and getattr(value, "__module__", of_torch.__name__) == of_torch.__name__
    }
    modules = {name for name in public if type(getattr(of_torch, name)) is type(torch)}
    assert {"conv_flop", "sdpa_flop", "suffixes", "get_suffix_str"} <= public
    assert [name for name in sorted(public - modules - {"normalize_tuple"}) if not hasattr(flop_counter, name)] == []


@pytest.mark.parametrize(
    ("number", "suffix", "text"),
    [
        (0, "", "0.000"),
        (7, "", "7.000"),
        (9999, "", "9999.000"),
        (12345, "K", "12.345K"),
        (1_010_000_000, "M", "1010.000M"),
        (98_765_432_100, "B", "98.765B"),
        (3 * 10**18, "T", "3000000.000T"),
    ],
)
def test_units_are_pytorchs(number, suffix, text):
    """Two to four digits before the point, by hand and as PyTorch's own functions write them."""
    for module in (flop_counter, of_torch):
        assert module.get_suffix_str(number) == suffix
        assert module.convert_num_with_suffix(number, suffix) == text
    assert flop_counter.suffixes == of_torch.suffixes


@pytest.mark.parametrize(
    ("part", "total", "text"), [(1, 3, "33.33%"), (5, 5, "100.00%"), (0, 7, "0.00%"), (3, 0, "0%")]
)
def test_shares_are_pytorchs(part, total, text):
    """Of nothing it is 0."""
    for module in (flop_counter, of_torch):
        assert module.convert_to_percent_str(part, total) == text


@pytest.mark.parametrize("transposed", [False, True])
def test_formulas_of_convolutions_take_shapes_and_tensors(transposed):
    """Two for each element of the weight and position of the result, or of the input if it is transposed."""
    x, weight, result = (2, 4, 7, 7), (4, 6, 3, 3), (2, 6, 9, 9)
    flops = 2 * 2 * 7 * 7 * 4 * 6 * 9
    if not transposed:
        x, weight, result = (2, 4, 7, 7), (6, 4, 3, 3), (2, 6, 5, 5)
        flops = 2 * 2 * 5 * 5 * 4 * 6 * 9
    given = [torch.ones(shape) for shape in (x, weight, result)]
    options = (*CONVOLUTION, transposed)
    for module in (flop_counter, of_torch):
        assert module.conv_flop(*given[:2], *options, [0, 0], 1, out_val=given[2]) == flops
        assert module.conv_flop(x, weight, *options, out_val=result) == flops
    gradients = ([x, weight, None], [given[0], given[1], None])
    for shapes, (grad, *inputs) in zip(gradients, [(result, x, weight), (given[2], *given[:2])], strict=True):
        count = flop_counter.conv_backward_flop(grad, *inputs, *options, [0, 0], 1, [True, True, False], out_val=shapes)
        assert count == 2 * flops
    for mask, times in (([True, False, True], 1), ([False, True, False], 1), ([False, False, True], 0)):
        assert (
            flop_counter.conv_backward_flop(result, x, weight, *options, [0, 0], 1, mask, out_val=None) == times * flops
        )


def test_formulas_of_attention_take_shapes_and_tensors():
    """Of two matmuls forward and five backward, whatever else the operator takes."""
    query, key, value = (2, 3, 8, 4), (2, 3, 9, 4), (2, 3, 9, 5)
    tensors = [torch.ones(shape) for shape in (query, key, value)]
    forward, backward = 2 * 2 * 3 * 8 * 9 * (4 + 5), 2 * 2 * 3 * 8 * 9 * (3 * 4 + 2 * 5)
    for module in (flop_counter, of_torch):
        assert module.sdpa_flop(query, key, value, 0.0, is_causal=True) == forward
        assert module.sdpa_flop(*tensors) == forward
        assert module.sdpa_backward_flop((2, 3, 8, 5), query, key, value) == backward
        assert module.sdpa_backward_flop(torch.ones(2, 3, 8, 5), *tensors, None, scale=1.0) == backward


@pytest.fixture
def late_library(monkeypatch):
    """Return a function that defines an operator of the list, as the import of a library does."""
    monkeypatch.setattr(product_operators, "PRODUCT_OPERATORS", (*product_operators.PRODUCT_OPERATORS, "late::outer"))
    monkeypatch.setattr(product_formulas, "_own", dict(product_formulas._own))
    before = dict(flop_registry)
    libraries = []

    def load():
        library = torch.library.Library("late", "DEF")
        library.define("outer(Tensor x) -> Tensor")
        library.impl("outer", lambda x: x[:, None] * x, "CompositeExplicitAutograd")
        opflops.formula(torch.ops.late.outer, override=True)(lambda x: opflops.Cost(macs=x.numel() ** 2))
        libraries.append(library)
        return torch.ops.late.outer

    yield load
    flop_registry.clear()
    flop_registry.update(before)
    for library in libraries:
        library._destroy()


def test_operators_of_a_library_that_is_imported_after_the_counter_was_made_count(late_library):
    """In each of its blocks; what was removed from its registry does not, nor what is removed then."""
    counter = FlopCounterMode(display=False)
    del counter.flop_registry[aten.mm]
    outer = late_library()
    for _ in range(2):
        with counter:
            outer(torch.ones(5))
            torch.ones(2, 3) @ torch.ones(3, 4)
        assert counter.get_flop_counts() == {"Global": {outer: 50}}
    assert outer in counter.flop_registry
    del counter.flop_registry[outer]
    with counter:
        outer(torch.ones(5))
    assert counter.get_total_flops() == 0


def test_operators_of_a_library_that_is_imported_in_the_block_count(late_library):
    """They are in the registry of the counter afterwards."""
    counter = FlopCounterMode(display=False)
    with counter:
        outer = late_library()
        outer(torch.ones(3))
        assert counter.get_total_flops() == 18
    assert counter.get_flop_counts() == {"Global": {outer: 18}}


def test_an_estimate_says_so_once():
    """A matrix exponential has as many products as its norm asks for; a formula of one's own is no estimate."""
    x = torch.eye(3)
    counter = FlopCounterMode(display=False)
    with pytest.warns(opflops.UsageWarning, match="aten.linalg_matrix_exp are an estimate: ") as caught, counter:
        torch.matrix_exp(torch.matrix_exp(x)) @ x
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert counter.get_total_flops() > 2 * 27
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with FlopCounterMode(display=False, custom_mapping={aten.linalg_matrix_exp: lambda *_, **__: 5}) as counter:
            torch.matrix_exp(x) @ x
        assert counter.get_total_flops() == 5 + 2 * 27
