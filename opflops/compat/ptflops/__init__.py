"""ptflops."""

from __future__ import annotations

from opflops.compat.ptflops.flops_counter import FLOPS_BACKEND, get_model_complexity_info
from opflops.compat.ptflops.utils import flops_to_string, params_to_string

__all__ = ["FLOPS_BACKEND", "flops_to_string", "get_model_complexity_info", "params_to_string"]
