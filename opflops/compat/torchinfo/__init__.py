"""Stand in for the package ``torchinfo``: ``from opflops.compat.torchinfo import summary``.

May import what ``opflops.compat`` may; only the programs of users import it.
"""

from __future__ import annotations

from opflops.compat.torchinfo.enums import ColumnSettings, Mode, RowSettings, Units, Verbosity
from opflops.compat.torchinfo.errors import SummaryError
from opflops.compat.torchinfo.layer_info import LayerInfo
from opflops.compat.torchinfo.model_statistics import ModelStatistics
from opflops.compat.torchinfo.torchinfo import clear_cached_forward_pass, summary

__all__ = [
    "ColumnSettings",
    "LayerInfo",
    "Mode",
    "ModelStatistics",
    "RowSettings",
    "SummaryError",
    "Units",
    "Verbosity",
    "clear_cached_forward_pass",
    "summary",
]
