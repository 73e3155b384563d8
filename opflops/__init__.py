"""Exact FLOP counts of PyTorch programs: every aten operator, in the module that asked for it."""

from importlib import import_module

from opflops.cost import Cost, Estimate
from opflops.counting import count
from opflops.errors import (
    ActiveModeError,
    DimensionError,
    DuplicateFormulaError,
    FormulaError,
    OpflopsError,
    ProfileError,
    UnpricedOpError,
    UnpricedOpWarning,
    ValueNeededError,
)
from opflops.mode import OpFlopMode
from opflops.profile import Profile, Row
from opflops.registry import coverage, formula, registry

__all__ = [
    "ActiveModeError",
    "Cost",
    "DimensionError",
    "DuplicateFormulaError",
    "Estimate",
    "FormulaError",
    "OpFlopMode",
    "OpflopsError",
    "Profile",
    "ProfileError",
    "Row",
    "UnpricedOpError",
    "UnpricedOpWarning",
    "ValueNeededError",
    "count",
    "coverage",
    "formula",
]


def _register_formulas() -> bool:
    """Import the formulas, which register themselves; a package that is still being imported has no names yet."""
    return hasattr(import_module("opflops.formulas"), "__all__")


registry.fill = _register_formulas
