"""The attributes that hooks of ptflops find at a module."""

from __future__ import annotations

FLOPS, PARAMS = "__flops__", "__params__"
