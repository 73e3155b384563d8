"""A formula for a name that no operator has, or will have, is refused, or found once it is missed."""

import pytest
import torch

from opflops import Cost, FormulaError, OpFlopMode, UnpricedOpError, UnpricedOpWarning, formula
from opflops.pricing.registry import Registry, registry
from opflops.pricing.schema_binding import PricingRule

X = torch.ones(2, 4)


def register(name):
    """Register a formula for all modes."""
    formula(name)(lambda: Cost())


def give_to_mode(name):
    """Give a formula to one mode."""
    OpFlopMode(formulas={name: lambda: Cost()})


@pytest.mark.parametrize("give", [register, give_to_mode])
@pytest.mark.parametrize(
    ("name", "sentences"),
    [
        ("aten::reluu", ["There is no operator 'aten::reluu'; did you mean aten::relu or", "defines all of aten"]),
        ("aten::addm", ["There is no operator 'aten::addm'; did you mean ", "aten::addmm"]),
        ("aten::append", ["There is no operator 'aten::append'"]),
        ("aten::xyzzyxyzzy", ["There is no operator 'aten::xyzzyxyzzy'. PyTorch defines"]),
        ("aten.relu", ["'aten.relu' is not the name of an operator", "write 'aten::relu'."]),
        ("aten::relu.default", ["For all overloads of the operator, write 'aten::relu'. For one of them, pass "]),
        ("aten::relu.typo", ["write 'aten::relu'."]),
        ("aten::reluu.default", ["There is no operator 'aten::reluu'; did you mean aten::relu or"]),
    ],
)
def test_a_name_that_no_operator_can_have_is_refused(name, sentences, give):
    """The operators of aten are all there once PyTorch is; the message names the nearest."""
    known = registry.named
    with pytest.raises(FormulaError) as caught:
        give(name)
    assert all(each in str(caught.value) for each in sentences)
    assert ("torch.ops.aten.relu.default." in str(caught.value)) is (name == "aten::relu.default")
    assert "torch.ops.aten.relu.typo" not in str(caught.value)
    assert registry.named == known


@pytest.mark.parametrize("name", ["aten::relu", "prims::opflops_later", "opflops_names::later", "triton::later"])
def test_a_name_that_an_operator_has_or_may_get_is_taken(name):
    """Libraries define operators when they are imported; PyTorch itself adds to prims as it compiles."""
    Registry().register(PricingRule(None), [name], override=True)


@pytest.mark.parametrize("where", ["mode", "all modes"])
def test_an_operator_without_a_formula_is_told_of_one_for_a_name_like_its_own(where, monkeypatch):
    """A warning, or under strict an error, quotes the name, which no operator has."""
    for kept in ("_rules_by_name", "_added_names"):
        monkeypatch.setattr(registry, kept, {**getattr(registry, kept)})
    library = f"opflops_names_{where[:3]}"
    torch.library.define(f"{library}::swiglu", "(Tensor x) -> Tensor")
    torch.library.impl(f"{library}::swiglu", "CPU", lambda x: x.clone())
    function = lambda x: Cost()  # noqa: E731 - for all modes
    # A mode with formulas of its own has those of all modes, too.
    formulas = {f"{library}::swigul" if where == "mode" else torch.ops.aten.relu: lambda: Cost()}
    if where != "mode":
        formula(f"{library}::swigul")(function)
    sentence = rf"There is a formula for '{library}::swigul', which is no operator; is it for this one\?"
    operator = getattr(torch.ops, library).swiglu
    with OpFlopMode(formulas=formulas), pytest.warns(UnpricedOpWarning, match=sentence):
        operator(X)
    with OpFlopMode(formulas=formulas, strict=True), pytest.raises(UnpricedOpError, match=sentence):
        operator(X)


def test_other_formulas_are_not_suggested():
    """Neither those of operators that are defined, nor those of names that are unlike."""
    for name in ("opflops_names::rotary", "opflops_names::rotary_"):
        torch.library.define(name, "(Tensor x) -> Tensor")
    torch.library.impl("opflops_names::rotary", "CPU", lambda x: x.clone())
    formulas = {"opflops_names::rotary_": lambda x: Cost(), "opflops_names::permute": lambda x: Cost()}
    with OpFlopMode(formulas=formulas), pytest.warns(UnpricedOpWarning) as caught:
        torch.ops.opflops_names.rotary(X)
    assert "There is a formula" not in str(caught[0].message)
