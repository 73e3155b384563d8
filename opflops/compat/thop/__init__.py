"""thop."""

from __future__ import annotations

from opflops.compat.thop.profile import default_dtype, profile, profile_origin
from opflops.compat.thop.utils import clever_format

__all__ = ["clever_format", "default_dtype", "profile", "profile_origin"]
