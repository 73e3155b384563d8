"""Higher-order operators: how they call and compile the functions that they are given."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import torch
from torch._ops import HigherOrderOperator

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager


def subgraph_compilations() -> list[tuple[Any, str]]:
    """List what prepares the compiler, each time, before a higher-order operator called eagerly compiles its bodies."""
    modules = ("torch._higher_order_ops.utils", "torch.nn.attention.flex_attention")
    loaded = [sys.modules[name] for name in modules if name in sys.modules]
    return [(module, "setup_compilation_env") for module in loaded if hasattr(module, "setup_compilation_env")]


def subgraph_preparations() -> list[tuple[Any, str]]:
    """List what higher-order operators trace or try their bodies with, on made-up tensors, to differentiate them."""
    modules = ("torch._higher_order_ops.invoke_subgraph", "torch._higher_order_ops.flex_attention")
    names = ("create_fw_bw_graph", "trace_joint_graph_as_bwd", "_get_output_metadata_by_execution")
    loaded = [sys.modules[name] for name in modules if name in sys.modules]
    return [(module, name) for module in loaded for name in names if name in vars(module)]


def call_higher_order(op: HigherOrderOperator, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Call a higher-order operator without the checks of its arguments, which it has made by the time a mode sees it.

    They would refuse a body that is wrapped in a function.
    """
    return HigherOrderOperator.__call__(op, *args, **kwargs)


def hop_default_kernel(op: HigherOrderOperator) -> Any:
    """Return what a higher-order operator runs once no mode and no tensor subclass wants it; None for what has none."""
    kernels = op.py_kernels
    key = torch._C.DispatchKey
    return kernels.get(key.CompositeExplicitAutograd) or kernels.get(key.BackendSelect)


def indexing_by_tensors() -> AbstractContextManager[Any]:
    """Let Python's indexing with scalar tensors be an operator, as it is inside attention's score modifications."""
    from torch._dynamo._trace_wrapped_higher_order_op import (  # noqa: PLC0415 - loads the compiler
        TransformGetItemToIndex,
    )

    return TransformGetItemToIndex()


def triton_call(kernel: int, constants: int) -> tuple[str, dict[str, Any]]:
    """Return the name of a Triton kernel and the constants of a call, which its operator knows by number."""
    from torch._higher_order_ops.triton_kernel_wrap import kernel_side_table  # noqa: PLC0415 - rarely needed

    called: Any = kernel_side_table.get_kernel(kernel)
    # An autotuner, or heuristics, wrap what they tune; innermost is a Python function.
    while hasattr(called, "fn"):
        called = called.fn
    return called.__name__, dict(kernel_side_table.get_constant_args(constants))
