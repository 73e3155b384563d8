"""Exact FLOP counts of PyTorch programs, per module and per operator, forward and backward.

- :class:`OpFlopMode` counts what runs in a ``with`` block, and :func:`count` a call of a model without running it. Both
  have a :class:`Profile`, which answers questions and writes reports.
- :func:`annotate` prints a model with its costs, :func:`time_step` times a step, :func:`largest_size` finds what fits
  into memory, and :func:`plan` counts what the ranks of a cluster would do.
- :func:`formula` adds an operator of your own, and :func:`coverage` tells which rule an operator has.
- ``opflops.compat`` has drop-ins for other counters, ``opflops.integrations`` meters of training loops, and
  ``help("opflops.formulas")`` says what counts as how many FLOPs.

``python -m opflops --help`` shows the command line.

Each public name is imported at its first use, so that a test runner that loads the plugin, or the command line's help,
does not import PyTorch.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opflops.compat.export import export_formulas
    from opflops.counting.count import count
    from opflops.counting.largest_size import largest_size
    from opflops.counting.timed_runs import time_step
    from opflops.devices import Device
    from opflops.distributed.plan import plan
    from opflops.distributed.plan_result import Plan
    from opflops.errors import (
        ActiveModeError,
        ArgumentError,
        DimensionError,
        DuplicateFormulaError,
        FormulaError,
        MissingExtraError,
        ModelError,
        OpflopsError,
        ProfileError,
        RankError,
        RootError,
        TimeLimitError,
        UnpricedOpError,
        UnpricedOpWarning,
        UsageWarning,
        ValueNeededError,
    )
    from opflops.mode import OpFlopMode
    from opflops.pricing.registration import coverage, formula
    from opflops.profile.annotation import annotate
    from opflops.profile.profile import Profile
    from opflops.records.cost import Cost, Estimate
    from opflops.records.rows import Row

    __version__: str

__all__ = [
    "ActiveModeError",
    "ArgumentError",
    "Cost",
    "Device",
    "DimensionError",
    "DuplicateFormulaError",
    "Estimate",
    "FormulaError",
    "MissingExtraError",
    "ModelError",
    "OpFlopMode",
    "OpflopsError",
    "Plan",
    "Profile",
    "ProfileError",
    "RankError",
    "RootError",
    "Row",
    "TimeLimitError",
    "UnpricedOpError",
    "UnpricedOpWarning",
    "UsageWarning",
    "ValueNeededError",
    "annotate",
    "count",
    "coverage",
    "export_formulas",
    "formula",
    "largest_size",
    "plan",
    "time_step",
]

_MODULES = {
    "annotate": "profile.annotation",
    "Cost": "records.cost",
    "Device": "devices",
    "Estimate": "records.cost",
    "OpFlopMode": "mode",
    "Plan": "distributed.plan_result",
    "Profile": "profile.profile",
    "Row": "records.rows",
    "count": "counting.count",
    "coverage": "pricing.registration",
    "export_formulas": "compat.export",
    "formula": "pricing.registration",
    "largest_size": "counting.largest_size",
    "plan": "distributed.plan",
    "time_step": "counting.timed_runs",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value = globals()[name] = import_module("opflops.extras").version_of_opflops()
        return value
    if name in __all__:
        if name in _MODULES:
            import_module("opflops.extras").import_torch()
        # Thousands of objects that stay would have the collector visit all objects of PyTorch.
        load = import_module("opflops.records.garbage_collection").with_gc_disabled(import_module)
        value = globals()[name] = getattr(load(f"opflops.{_MODULES.get(name, 'errors')}"), name)
        return value
    if name.isidentifier() and not name.startswith("_") and find_spec(f"opflops.{name}"):
        return import_module(f"opflops.{name}")
    raise AttributeError(f"module 'opflops' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
