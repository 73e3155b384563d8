"""Programs that trace, and what they record: compared with and without a mode."""

import re

import torch
from torch import nn
from torch.utils._pytree import tree_map


def _value(value):
    """Describe an argument or the metadata of a node without identities."""
    if isinstance(value, torch.fx.Node):
        return f"%{value.name}"
    if isinstance(value, torch.Tensor):
        return f"{type(value).__name__}{tuple(map(str, value.shape))} {value.dtype} {value.requires_grad}"
    if isinstance(value, torch.fx.GraphModule):
        return "graph"
    return re.sub(r"0x[0-9a-f]+", "0x", str(value))


def _stack(meta):
    modules = meta.get("nn_module_stack") or {}
    # The names of generated files are numbered.
    return [(name, str(kind)) for name, kind in modules.values()], re.sub(
        r"_key>\.\d+", "", str(meta.get("stack_trace"))
    )


def nodes(graph_module, prefix=""):
    """List the nodes of a graph and its subgraphs: all that PyTorch records of them."""
    listed = [
        (
            prefix,
            node.op,
            node.name,
            str(node.target),
            str(tree_map(_value, node.args)),
            str(tree_map(_value, node.kwargs)),
            str(tree_map(_value, node.meta.get("val"))),
            _stack(node.meta),
        )
        for node in graph_module.graph.nodes
    ]
    for name, child in graph_module.named_children():
        if isinstance(child, torch.fx.GraphModule):
            listed += nodes(child, f"{prefix}{name}.")
    return listed


def guards_of(graph_module):
    """List the guards of the symbols in a graph's placeholders."""
    for node in graph_module.graph.nodes:
        for value in torch.utils._pytree.tree_leaves(node.meta.get("val")):
            mode = getattr(value, "fake_mode", None)
            if mode is not None and mode.shape_env is not None:
                env = mode.shape_env
                return [str(guard.expr) for guard in env.guards], {str(k): str(v) for k, v in env.replacements.items()}
    return None


def recorded(result):
    """Describe what a tracing program returned, so that two results can be compared."""
    if isinstance(result, torch.export.ExportedProgram):
        ranges = {str(symbol): str(bounds) for symbol, bounds in result.range_constraints.items()}
        module = result.graph_module
        code = getattr(result, "_guards_code", None)
        return nodes(module), ranges, str(result.graph_signature), guards_of(module), code
    if isinstance(result, torch.fx.GraphModule):
        return nodes(result), guards_of(result)
    if isinstance(result, (torch.jit.ScriptModule, torch.jit.ScriptFunction)):
        return re.sub(r"___torch_mangle_\d+\.", "", str(result.inlined_graph))
    if isinstance(result, (list, tuple)):
        return [recorded(each) for each in result]
    if isinstance(result, nn.Module):
        return str(result)
    return _value(result)
