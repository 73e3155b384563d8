"""Higher-order operators: how they call and compile their subgraphs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import torch
from torch._ops import HigherOrderOperator

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager


def subgraph_compilations() -> list[tuple[Any, str]]:
    """Return the functions that prepare the compiler when an eager higher-order operator compiles its subgraphs."""
    modules = ("torch._higher_order_ops.utils", "torch.nn.attention.flex_attention")
    loaded = [sys.modules[name] for name in modules if name in sys.modules]
    return [(module, "setup_compilation_env") for module in loaded if hasattr(module, "setup_compilation_env")]


def subgraph_preparations() -> list[tuple[Any, str]]:
    """Return the functions that trace or try subgraphs on made-up tensors, to differentiate them."""
    modules = ("torch._higher_order_ops.invoke_subgraph", "torch._higher_order_ops.flex_attention")
    names = ("create_fw_bw_graph", "trace_joint_graph_as_bwd", "_get_output_metadata_by_execution")
    loaded = [sys.modules[name] for name in modules if name in sys.modules]
    return [(module, name) for module in loaded for name in names if name in vars(module)]


def call_higher_order(op: HigherOrderOperator, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Call a higher-order operator without checking its arguments, which were checked before a mode sees the call.

    The checks reject a subgraph that is wrapped in a function, unless it is marked. Modes outside call the operator
    again, with the checks, so it is marked where it can be.
    """
    base = sys.modules.get("torch._higher_order_ops.base_hop")
    if base is not None and isinstance(op, base.BaseHOP) and not isinstance(args[0], torch.fx.GraphModule):
        args = base.FunctionWithNoFreeVars(args[0]), *args[1:]
    return HigherOrderOperator.__call__(op, *args, **kwargs)


def hop_default_kernel(op: HigherOrderOperator) -> Any:
    """Return the kernel that a higher-order operator runs below modes and tensor subclasses; None if it has none."""
    kernels = op.py_kernels
    key = torch._C.DispatchKey
    return kernels.get(key.CompositeExplicitAutograd) or kernels.get(key.BackendSelect)


def indexing_by_tensors() -> AbstractContextManager[Any]:
    """Return a context in which indexing with scalar tensors calls an operator, as in flex_attention's functions."""
    from torch._dynamo._trace_wrapped_higher_order_op import (  # noqa: PLC0415 - loads the compiler
        TransformGetItemToIndex,
    )

    return TransformGetItemToIndex()


def triton_call(kernel: int, constants: int) -> tuple[str, dict[str, Any]]:
    """Return the name of a Triton kernel and the constants of a call.

    Args:
        kernel: The index of the kernel in PyTorch's side table.
        constants: The index of the constants there.
    """
    from torch._higher_order_ops.triton_kernel_wrap import kernel_side_table  # noqa: PLC0415 - rarely needed

    function: Any = kernel_side_table.get_kernel(kernel)
    # Autotuners and heuristics wrap the Python function of the kernel.
    while hasattr(function, "fn"):
        function = function.fn
    return function.__name__, dict(kernel_side_table.get_constant_args(constants))
