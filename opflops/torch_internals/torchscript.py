"""TorchScript: its callables, and the nodes of a graph that has run whose arithmetic no operator shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

_FUSED = frozenset(
    f"prim::{name}"
    for name in [
        "TensorExprGroup",
        "TensorExprDynamicGroup",
        "FusionGroup",
        "CudaFusionGroup",
        "oneDNNFusionGroup",
        "StaticSubgraph",
        "mkldnn_convolution",
        "MKLDNNGroupNorm",
        "MKLDNNHardSigmoid",
        "MKLDNNHardSwish",
        "MKLDNNHardTanh",
        "MKLDNNLayerNorm",
        "MKLDNNClamp",
        "MKLDNNScalarMul",
    ]
)
"""Kinds of nodes that the interpreter runs without the dispatcher: fused groups, and layers of oneDNN."""


SCRIPT_CALLABLES: list[tuple[type, str]] = [(torch._C.ScriptFunction, "__call__"), (torch._C.ScriptMethod, "__call__")]
"""The classes of scripted and traced functions and methods, with the method that calls one."""


def fused_nodes() -> list[str]:
    """Name the nodes without operators in the graph that this thread ran last, as rows name operators."""
    # None before any script has run.
    graph: Any = torch._C._last_executed_optimized_graph()
    return [node.kind().replace("::", ".") for node in _nodes(graph) if node.kind() in _FUSED] if graph else []


def _nodes(graph: Any) -> Iterator[Any]:
    for node in graph.nodes():
        yield node
        if node.kind() in _FUSED:
            continue
        for block in node.blocks():
            yield from _nodes(block)
        if node.hasAttribute("Subgraph"):
            yield from _nodes(node.g("Subgraph"))
