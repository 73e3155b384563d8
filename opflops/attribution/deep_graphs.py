"""Deep graphs of autograd, which the mode makes PyTorch free step by step.

To ask for a node, as the mode does for the one that runs in a backward pass, makes a Python object, which lives as long
as the node. PyTorch frees a chain of such nodes by one call of C++ inside another, about 180 bytes of stack each, and
the process ends by a stack overflow from about 45,000 on. So some nodes of a deep graph hold what they lead to in a way
that puts it off: once such a node is freed, what it leads to is in a reference cycle, which the garbage collector frees
later, with the stack at its beginning again. Until then, they keep nothing alive that they would not keep anyway.
"""

from __future__ import annotations

import gc
from typing import Any

from opflops.torch_internals.autograd import ACCUMULATE_GRAD_NR, node_metadata, nodes_below, sequence_nr

DIVIDING_NODES = 0xF00
"""Where the number of a node has none of these bits, it may divide the graph: 256 in turn of each 4,096.

That many, since a graph may have several branches side by side.
"""

_DEEP = 8192
"""How many nodes a pass must have come past; most graphs are freed at once, as without a mode."""

_KEY = "opflops: what is freed later"


class _FreedLater:
    """Hold nodes, and leave them to the garbage collector in the end."""

    __slots__ = ("_nodes",)

    def __init__(self, nodes: list[Any]) -> None:
        self._nodes = nodes

    def __del__(self) -> None:
        if gc.isenabled():
            cycle: list[Any] = [self._nodes]
            cycle.append(cycle)


def divide_graph(node: Any, number: int, start: int) -> None:
    """Free what a node leads to later than the node, if the backward pass has come far from where it started.

    Args:
        node: The node that runs.
        number: Its sequence number.
        start: The number of an earlier node of the pass.
    """
    if start - number < _DEEP:
        return
    metadata, below = node_metadata(node), nodes_below(node)
    if _KEY not in metadata:
        metadata[_KEY] = _FreedLater(below)
    # One of several nodes in turn is enough, and each one takes a collection.
    for each in below:
        if not sequence_nr(each) & DIVIDING_NODES:
            node_metadata(each).setdefault(_KEY)


def divide_nodes(nodes: list[Any]) -> None:
    """Divide a graph, if it is deep, of which all nodes were asked for; they are given in order of their creation."""
    numbers = [number for node in nodes if (number := sequence_nr(node)) != ACCUMULATE_GRAD_NR]
    if not numbers or numbers[-1] - numbers[0] < _DEEP:
        return
    for node, number in zip(reversed(nodes[: len(numbers)]), reversed(numbers), strict=True):
        if not number & DIVIDING_NODES:
            divide_graph(node, number, numbers[-1])
