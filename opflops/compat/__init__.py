"""Drop-ins for other counters: change the import, keep the code, get opflops' figures.

``FlopCounterMode``, ``register_flop_formula`` and ``flop_registry`` stand for those of ``torch.utils.flop_counter``;
the modules ``calflops``, ``deepspeed``, ``fvcore``, ``ptflops``, ``thop`` and ``torchinfo`` stand for those packages.
None of them needs the package that it stands for. Where a figure differs from what that package prints, its docstring
says how and why.

May import everything but the command line and the integrations; no package may import it, only ``opflops`` itself,
which has ``export_formulas``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opflops.compat.flop_counter import FlopCounterMode, flop_registry, register_flop_formula

__all__ = ["FlopCounterMode", "flop_registry", "register_flop_formula"]

# What else torch.utils.flop_counter has.
_HELPERS = ("conv_flop_count", "get_shape", "sdpa_backward_flop_count", "sdpa_flop_count", "shape_wrapper")
_MODULES = ("calflops", "deepspeed", "flop_counter", "fvcore", "ptflops", "thop", "torchinfo")


def __getattr__(name: str) -> Any:
    if name in __all__ or name in _HELPERS:
        value = globals()[name] = getattr(import_module("opflops.compat.flop_counter"), name)
        return value
    if name in _MODULES:
        return import_module(f"opflops.compat.{name}")
    raise AttributeError(f"module 'opflops.compat' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
