"""Integer functions of symbolic sizes, which stay symbolic and add no guards."""

from __future__ import annotations

from typing import Any

import sympy

from opflops.records.algebra import ANTIALIAS_TAPS, CEIL_LOG2, functions


def symbolic_ceil_log2(size: Any) -> Any:
    """Return ceil(log2 n) of a symbolic size."""
    node, function = size.node, functions()[CEIL_LOG2]
    return node.shape_env.create_symintnode(function(node.expr), hint=int(function(sympy.Integer(node.hint))))


def symbolic_antialias_taps(size: Any, results: Any, *others: float) -> Any:
    """Return :func:`opflops.records.algebra.antialias_taps` of sizes of which at least one is symbolic."""
    function = functions()[ANTIALIAS_TAPS]
    sizes = size, results
    hints = [each if isinstance(each, int) else each.node.hint for each in sizes]
    shape_env = next(each for each in sizes if not isinstance(each, int)).node.shape_env
    hint = None if None in hints else int(function(*hints, *others))
    return shape_env.create_symintnode(function(*map(_expression, sizes), *others), hint=hint)


def _expression(size: Any) -> sympy.Expr:
    return sympy.Integer(size) if isinstance(size, int) else size.node.expr
