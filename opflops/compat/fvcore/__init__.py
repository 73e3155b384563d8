"""fvcore's counters on opflops' figures: change ``fvcore.nn`` to ``opflops.compat.fvcore`` in the imports.

May import everything but the command line and the integrations; nothing in opflops imports it.
"""

from __future__ import annotations

from typing import NoReturn

from opflops.compat.fvcore.activation_count import ActivationCountAnalysis, activation_count
from opflops.compat.fvcore.flop_count import FlopCountAnalysis, flop_count
from opflops.compat.fvcore.jit_analysis import JitModelAnalysis
from opflops.compat.fvcore.parameter_count import parameter_count, parameter_count_table
from opflops.compat.fvcore.print_model_statistics import flop_count_str, flop_count_table

__all__ = [
    "ActivationCountAnalysis",
    "FlopCountAnalysis",
    "JitModelAnalysis",
    "activation_count",
    "flop_count",
    "flop_count_str",
    "flop_count_table",
    "parameter_count",
    "parameter_count_table",
]


def __getattr__(name: str) -> NoReturn:
    problem = f"module 'opflops.compat.fvcore' has no attribute {name!r}; it has what fvcore.nn counts with"
    raise AttributeError(f"{problem}. Import losses, initializers and layers from fvcore.nn itself.")
