"""Integer functions of symbolic sizes, which stay symbolic and add no guards."""

from __future__ import annotations

from typing import Any

import sympy

from opflops.records.algebra import CEIL_LOG2, functions


def symbolic_ceil_log2(size: Any) -> Any:
    """Return ceil(log2 n) of a symbolic size."""
    node, function = size.node, functions()[CEIL_LOG2]
    return node.shape_env.create_symintnode(function(node.expr), hint=int(function(sympy.Integer(node.hint))))
