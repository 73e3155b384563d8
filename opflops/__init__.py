"""Exact FLOP counts of PyTorch programs: every aten operator, in the module that asked for it."""

from opflops import formulas
from opflops.cost import Cost, Estimate
from opflops.counting import count
from opflops.errors import (
    ActiveModeError,
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
from opflops.registry import coverage, formula

__all__ = [
    "ActiveModeError",
    "Cost",
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
    "formulas",
]
