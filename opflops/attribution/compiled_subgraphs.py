"""Subgraphs that a higher-order operator compiles.

If the operator is called eagerly, the compiler normalizes its subgraphs and finds the tensors that they close over.
"""

from __future__ import annotations

import itertools
from contextlib import contextmanager
from functools import lru_cache, wraps
from typing import TYPE_CHECKING, Any

import torch

from opflops.attribution.module_stack import module_stacks_of
from opflops.attribution.subgraphs import MODULE_NAMES, AttributingInterpreter, compile_context, counting_modes_disabled
from opflops.torch_internals.compiler import compiling_inside_transforms, nn_module_stack_ids
from opflops.torch_internals.dispatch import dispatch_modes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    Subgraph = Callable[..., Any]


def wrap_compilation_env(
    original: Callable[[], AbstractContextManager[Any]],
) -> Callable[[], AbstractContextManager[Any]]:
    """Compile subgraphs as without a mode, and interpret the compiled graphs node by node.

    All other compiled code of a program runs in eager mode while a mode counts. Subgraphs would compute something else
    then: the tensors that they close over would get no gradients.

    Args:
        original: Prepares the compiler and yields its backend.
    """

    @wraps(original)
    @contextmanager
    def prepare() -> Iterator[Any]:
        stacks = module_stacks_of(dispatch_modes())
        if not stacks:
            with original() as backend:
                yield backend
            return
        before = compile_context.caller
        try:
            compile_context.caller = stacks[0].top_entry.module
            with torch.compiler.set_stance("default"), compiling_inside_transforms(), original() as backend:
                yield _interpreting_backend(backend)
        finally:
            compile_context.caller = before

    return prepare


def wrap_uncounted(original: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a function that tries a subgraph on made-up tensors, so that no mode counts this work."""

    @wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        with counting_modes_disabled():
            return original(*args, **kwargs)

    return call


# Cached, since the compiler reuses compiled graphs only for the same backend object.
@lru_cache(maxsize=8)
def _interpreting_backend(backend: Callable[..., Subgraph]) -> Callable[..., Subgraph]:
    def compile_graph(graph: torch.fx.GraphModule, example_inputs: list[Any]) -> Subgraph:
        # The operator's own backend returns the graph's forward. Others may do more than run the graph.
        compiled = backend(graph, example_inputs)
        if compiled != graph.forward:
            return compiled
        _name_modules(graph)
        _interpret_parts(graph)
        closure_names = _names_in_caller(example_inputs)

        def call(*args: Any) -> Any:
            before, caller = compile_context.modules, compile_context.caller
            compile_context.modules = {}
            # If the names differ, the graph was compiled for other modules or another caller, so attribute to none.
            if caller is not None and _names_in_caller(args) == closure_names:
                compile_context.modules = dict(caller.named_modules())
            try:
                return AttributingInterpreter(graph).run(*args)
            finally:
                compile_context.modules = before

        return call

    return compile_graph


def _interpret_parts(graph: torch.fx.GraphModule) -> None:
    """Interpret the graphs inside a graph where they are called: under ``vmap`` a branch is called before any mode."""
    for part in graph.modules():
        if part is not graph and isinstance(part, torch.fx.GraphModule):
            # Each graph module has a class of its own.
            type(part).__call__ = _run_interpreted  # type: ignore[method-assign]


def _run_interpreted(graph: torch.fx.GraphModule, *args: Any) -> Any:
    return AttributingInterpreter(graph).run(*args)


def _names_in_caller(values: Sequence[Any]) -> list[str | None]:
    """Return the names of the values that are parameters or buffers of the caller; None for the others."""
    caller = compile_context.caller
    if caller is None:
        return []
    named = itertools.chain(caller.named_parameters(), caller.named_buffers())
    names = {id(tensor): name for name, tensor in named}
    return [names.get(id(value)) for value in values]


def _name_modules(graph: torch.fx.GraphModule) -> None:
    """Store in every node the names, below the caller, of the modules that it came from.

    The compiler reuses a graph of one block of a model for the next block, whose modules have the same names below it.
    """
    caller = compile_context.caller
    if caller is None:
        return
    names_by_id = {id(module): name for name, module in caller.named_modules() if name}
    for part in graph.modules():
        if isinstance(part, torch.fx.GraphModule):
            for node in part.graph.nodes:
                names = tuple(names_by_id[key] for key in nn_module_stack_ids(node) if key in names_by_id)
                if names:
                    node.meta[MODULE_NAMES] = names
