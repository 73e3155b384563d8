"""The compiler: whether it is loaded, and what its graphs say of their nodes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def compiler_is_loaded() -> bool:
    """Tell whether the compiler's front end is loaded; importing torch alone does not."""
    return "torch._dynamo" in sys.modules


def nn_module_stack_ids(node: torch.fx.Node) -> list[int]:
    """List the identities of the modules whose calls a node of a compiled graph came from, outermost first."""
    # A module that is called again has a number behind its identity.
    return [int(key.split("@")[0]) for key in node.meta.get("nn_module_stack", {}) if key.split("@")[0].isdigit()]


def is_tagged_forward(node: torch.fx.Node) -> bool | None:
    """Tell whether a node of a backward's graph computes the forward again; None where the graph does not say."""
    tag = node.meta.get("partitioner_tag")
    return None if tag is None else tag == "is_forward"
