"""The compiler: whether it is loaded, and the metadata of its graph nodes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def compiler_is_loaded() -> bool:
    """Return whether the compiler's front end is loaded; importing torch does not load it."""
    return "torch._dynamo" in sys.modules


def present_stance() -> Any:
    """Return the stance of the compiler, which must be loaded, for :func:`restore_stance`."""
    return sys.modules["torch._dynamo.eval_frame"]._stance


def restore_stance(stance: Any) -> None:
    """Set the stance that the compiler had; :func:`torch.compiler.set_stance` knows the way back only by its object."""
    sys.modules["torch._dynamo.eval_frame"]._set_stance(stance)


def nn_module_stack_ids(node: torch.fx.Node) -> list[int]:
    """Return the ids of the modules whose calls a node of a compiled graph came from, outermost first."""
    # For the second call of a module the key is "id@1".
    return [int(key.split("@")[0]) for key in node.meta.get("nn_module_stack", {}) if key.split("@")[0].isdigit()]


def is_tagged_forward(node: torch.fx.Node) -> bool | None:
    """Return whether a node of a backward graph recomputes the forward; None if the graph has no such tags."""
    tag = node.meta.get("partitioner_tag")
    return None if tag is None else tag == "is_forward"
